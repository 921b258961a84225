"""Everything that a submission can do, through the whole path, with an innocent student before, beside and after it.

All of `tests/grader/attacks.py` hands in to one class, an innocent student stands between any two of them, and the
real command grades it with two jobs. Nobody gets more than an honest answer would, nobody else loses anything, and
nothing outside is changed.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from grader import engine, jail
from grader.__main__ import main
from grader.accuracy import right_answers
from grader.authoring import load
from grader.course import Course
from tests import ROOT
from tests.grader.attacks import ATTACKED, ATTACKS, HURT, NAME, POINTS, READ, Attack

WHY_NOT = jail.why_not() or jail.try_walls()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")
FIRST = "innocent-first"
INNOCENT = Attack("innocent", "is right")


def mallory(attack):
    return f"mallory-{attack.id}"


def neighbour(attack):
    """Who is graded after the attack, and before or beside the next one."""
    return f"{mallory(attack)}-neighbour"


def run(course, *arguments):
    """One command; its exit status and all that it said."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setattr("sys.argv", ["grader", "--course", str(course.root), *arguments])
        status = main()
    return status, said.getvalue()


def contents(folder):
    """Every file below a folder, with what is in it."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.stat().st_size < 2**24
        else path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def outside(course):
    """What no submission may change: the course, Python's packages, the home folder."""
    ours = {}
    for name in ("solutions", "exercises", "grader/submitted", "grader/nbgrader_config.py"):
        path = course.root.parent / name
        ours |= contents(path) if path.is_dir() else {name: path.read_bytes()}
    for name in ("grader", "d2lblocks"):
        ours |= {path: text for path, text in contents(ROOT / name).items() if "__pycache__" not in path}
    packages = {*Path(sysconfig.get_path("purelib")).iterdir(), *Path(sysconfig.get_path("stdlib")).iterdir()}
    home = {path for path in (Path.home(), Path.home() / ".ipython") if path.is_dir() for path in path.iterdir()}
    return ours, packages, home


def descendants():
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


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    base = tmp_path_factory.mktemp("attacked")
    (base / "grader").mkdir()
    shutil.copytree(
        ROOT / "solutions" / NAME, base / "solutions" / NAME, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "grader" / "nbgrader_config.py", base / "grader")
    made = Course(base / "grader")
    made.release(NAME)
    return made


@dataclass(frozen=True)
class Class:
    """What became of the class.

    Attributes:
        said: what the command said about each student.
        marks: by student and exercise.
        status: exit status of the command.
        before: what no submission may change and which processes there were, before.
        after: the same afterwards.
    """

    said: dict[str, str]
    marks: dict[tuple[str, str], float]
    status: int
    before: tuple[object, object]
    after: tuple[object, object]


@pytest.fixture(scope="module")
def graded(course):
    release = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    right = {
        name: right_answers(task, course.solutions / NAME)["worked"]
        for name, task in load(course.solutions / NAME).tasks.items()
    }
    for student in (FIRST, *map(neighbour, ATTACKS)):
        INNOCENT.hand_in(release, right, course.submitted / student / NAME)
    for attack in ATTACKS:
        attack.hand_in(release, right, course.submitted / mallory(attack) / NAME)
    before = outside(course), descendants()
    with pytest.MonkeyPatch.context() as patch:
        # Long enough for what is honest, on a busy machine too; the judges are forked and see it.
        patch.setattr(engine, "SECONDS_FOR_A_CELL", 4.0)
        patch.setattr(engine, "SECONDS_FOR_AN_EXERCISE", 4.0)
        patch.setattr(engine, "SECONDS_FOR_A_SUBMISSION", 20.0)
        status, said = run(course, "autograde", NAME, "--jobs", "2", "--seed", "17")
    deadline = time.monotonic() + 10
    while descendants() != before[1] and time.monotonic() < deadline:  # what was killed is gone a moment later
        time.sleep(0.1)
    lines = re.split(r"\n +\d+ / \d+  ", said)[1:]
    by_student = {line.split()[0]: line for line in lines}
    marks = {(mark.student, mark.exercise): mark.score for mark in course.marks()}
    return Class(by_student, marks, status, before, (outside(course), descendants()))


def test_nobody_else_loses_anything(graded):
    for student in (FIRST, *map(neighbour, ATTACKS)):
        assert marks_of(graded, student) == POINTS, student
    assert {name for name, _ in graded.marks} <= {FIRST, *map(neighbour, ATTACKS), *map(mallory, ATTACKS)}


def marks_of(graded, student):
    return {exercise: score for (name, exercise), score in graded.marks.items() if name == student}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_it_gets_what_it_has_earned(attack, graded, course):
    said = graded.said[mallory(attack)]
    assert attack.says in said
    assert "the grader's fault" not in said
    assert said.replace("\n", "").isprintable()  # nothing that a terminal takes for a command
    marks = marks_of(graded, mallory(attack))
    path = course.autograded / mallory(attack) / NAME / f"{NAME}.ipynb"
    assert ("FAILED" in said) == (not attack.graded) == (not marks) == (not path.exists())
    if not attack.graded:
        assert len(said.strip().splitlines()) <= 2, "why it cannot be graded is one line"
        return
    assert attack.least <= marks[ATTACKED] <= attack.most
    for exercise in POINTS.keys() - {ATTACKED}:
        assert marks[exercise] == POINTS[exercise] or exercise in attack.costs
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = json.dumps([cell.get("outputs") for cell in notebook.cells], ensure_ascii=False)
    assert READ not in outputs
    assert attack.shows in outputs
    assert path.stat().st_size < 25_000_000


def test_nothing_outside_is_changed(graded):
    assert graded.after[0] == graded.before[0]


def test_no_process_is_left(graded):
    assert graded.after[1] == graded.before[1]


def test_feedback_can_be_written_and_runs_no_program(graded, course):
    for attack in HURT:
        course.feedback(NAME, mallory(attack))
        page = (course.feedback_directory / mallory(attack) / NAME / f"{NAME}.html").read_text(encoding="utf-8")
        if not attack.notebook:  # what stands in a text cell is shown as nbgrader shows it
            assert "<script>alert(1)" not in page
            assert "<img src=x" not in page
