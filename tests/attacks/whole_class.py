"""Submit all attacks in one class, with an innocent student between any two of them, and grade the class."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.__main__ import main
from grader.authoring.fill_in import solution_cells
from grader.course import Course
from grader.files import folders
from grader.sandbox import worker_client
from tests import ROOT
from tests.attacks import ATTACKS, NAME, NOTE, Attack

FIRST = "innocent-first"
INNOCENT = Attack("innocent", "is right")
# For attacks that wait for the timeout. The innocent students between them need a tenth of this on a slow machine.
SHORT = {"CELL_TIMEOUT": 4.0, "EXERCISE_TIMEOUT": 4.0, "SUBMISSION_TIMEOUT": 16.0}
# For all others: some need long until they reach their attempt.
LONG = {"CELL_TIMEOUT": 60.0, "EXERCISE_TIMEOUT": 60.0, "SUBMISSION_TIMEOUT": 300.0}


def mallory(attack: Attack) -> str:
    """The student who submits the attack."""
    return f"mallory-{attack.id}"


def neighbour(attack: Attack) -> str:
    """The student who is graded after the attack, and before or beside the next one."""
    return f"{mallory(attack)}-neighbour"


@dataclass(frozen=True)
class Class:
    """The result of grading the class.

    Attributes:
        said: what the command printed about each student.
        marks: by student and exercise.
        changed: files that no submission may change, and that have changed.
        left: processes that still run.
    """

    said: dict[str, str]
    marks: dict[str, dict[str, float]]
    changed: set[str]
    left: set[int]


def notebook_of(course: Course, attack: Attack) -> NotebookNode | None:
    """The attack's notebook as it was graded; None if it was not."""
    path = course.autograded / mallory(attack) / NAME / f"{NAME}.ipynb"
    return nbformat.read(path, as_version=4) if path.exists() else None


def make_course(base: Path) -> Course:
    """A course with the one assignment, released."""
    (base / "grader").mkdir(parents=True)
    shutil.copytree(ROOT / "solutions" / NAME, base / "solutions" / NAME, ignore=folders.ignored)
    shutil.copy(ROOT / "grader" / "nbgrader_config.py", base / "grader")
    made = Course(base / "grader")
    made.release(NAME)
    return made


def grade_everybody(course: Course, attacks: Sequence[Attack] = ATTACKS) -> Class:
    """Submit attacks, with innocent students between them, and grade with the real command and two jobs.

    Args:
        course: with the assignment, and no submissions.
        attacks: what is submitted.
    """
    release = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    solved = nbformat.read(course.solutions / NAME / f"{NAME}.ipynb", as_version=4)
    right = {name: cell.source for name, cell in solution_cells(solved).items()}
    running = _descendants()
    INNOCENT.hand_in(release, right, course.submitted / FIRST / NAME)
    said, changed = "", set()
    for waits, limits in ((True, SHORT), (False, LONG)):
        for attack in attacks:
            if attack.waits == waits:
                INNOCENT.hand_in(release, right, course.submitted / neighbour(attack) / NAME)
                attack.hand_in(release, right, course.submitted / mallory(attack) / NAME)
        before = _outside(course)
        with contextlib.ExitStack() as stack:
            for name, seconds in limits.items():  # the grading processes are forked and see it
                stack.enter_context(_replaced(worker_client, name, seconds))
            said += _command(course, "autograde", NAME, "--jobs", "2", "--seed", "17")
        changed |= before ^ _outside(course)
    deadline = time.monotonic() + 300
    while _descendants() != running and time.monotonic() < deadline:  # a killed process ends a moment later
        time.sleep(0.1)
    marks: dict[str, dict[str, float]] = {}
    for mark in course.marks():
        marks.setdefault(mark.student, {})[mark.exercise] = mark.score
    return Class(_about_each(said), marks, changed, _descendants() - running)


def _about_each(said: str) -> dict[str, str]:
    """By student: the line about the submission, and the indented lines below it; nothing else."""
    found = re.finditer(r"^ +\d+ / \d+  ((\S+) .*\n(?: {8}.*\n)*)", said, flags=re.MULTILINE)
    return {match[2]: match[1] for match in found}


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _command(course: Course, *arguments: str) -> str:
    """Run a command; returns all that it printed."""
    said = io.StringIO()
    with (
        _replaced(sys, "argv", ["grader", "--course", str(course.root), *arguments]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        main()
    return said.getvalue()


def _outside(course: Course) -> set[str]:
    """What no submission may change: the course and the grader, Python's packages, the home folder."""
    base = course.root.parent
    tops = [base / "solutions", base / "exercises", course.submitted, ROOT / "grader", ROOT / "d2lblocks"]
    files = {path for top in tops for path in top.rglob("*") if path.is_file() and not path.is_symlink()}
    seen = {_fingerprint(path) for path in {*files, course.root / "nbgrader_config.py"} if path.suffix != ".pyc"}
    packages = [Path(sysconfig.get_path(name)) for name in ("purelib", "stdlib")]
    seen |= {str(path) for top in packages for path in top.iterdir()}
    # Other programs write to the home folder at any time; no other writes what Python runs there, or a note.
    own = [*Path.home().iterdir(), *(Path.home() / ".ipython").rglob("*")]
    return seen | {str(path) for path in own if path.suffix in (".py", ".pth") or path.name == NOTE}


def _fingerprint(path: Path) -> str:
    size = path.stat().st_size
    readable = os.access(path, os.R_OK) and size < 2**24
    return f"{path} {hashlib.sha256(path.read_bytes()).hexdigest() if readable else size}"


def _descendants() -> set[int]:
    """The processes that this one has started, and theirs."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text(encoding="utf-8")
                parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found
