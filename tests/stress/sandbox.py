"""A sandbox in which nbgrader's own command can meet a hostile submission, and what is measured in it.

nbgrader runs submissions as the person who grades, with nothing between them and the machine. So here everything of
that person is a copy that is thrown away: the course, the home folder, Python's packages. `meet` makes the sandbox;
inside of it this file is run as the first process of its own namespaces, which nothing there can end:

    python -m tests.stress.sandbox ID      submit, let nbgrader grade, and print what happened as JSON
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import nbformat

from grader.authoring.fill_in import solution_cells
from grader.sandbox.bubblewrap import find_bubblewrap
from tests.attacks import ATTACKS, MARK_FILE, NAME, READ, Attack

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE, COURSE, HOME = Path("/template"), Path("/course"), Path("/home/instructor")
MALLORY, INNOCENT = "mallory", "zoe"  # nbgrader grades by the alphabet
SECONDS = 180.0  # for both submissions; honest ones take about ten, on a machine with nothing else to do
MAX_MEMORY = 4 * 2**30  # for each process
MAX_PROCESSES = 300
MAX_DISK_BYTES = 2 * 2**30
FIRST_PERSON = 70_000  # who grades; another in each sandbox, because processes are counted by person


def meet(attack: Attack, course: Path) -> dict[str, Any]:
    """Let nbgrader's own command grade an attack and an innocent student after it, in a sandbox.

    Args:
        attack: what is handed in.
        course: a released course; it is copied.

    Returns:
        What happened, as `observe` writes it; empty if the sandbox itself was lost.
    """
    done = subprocess.run(
        [*_command(course), sys.executable, "-m", "tests.stress.sandbox", attack.id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=3 * SECONDS,
        check=False,
    )
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        return {}


def _command(course: Path) -> list[str]:
    """How bubblewrap is called: everything that can be written to is in memory, and bounded."""
    visible = _where_python_is()
    parents = {str(parent) for path in visible for parent in list(Path(path).parents)[:-1]}
    packages = sysconfig.get_path("purelib")
    as_root = os.geteuid() == 0
    needed = ("SETUID", "SETGID", "CHOWN", "KILL", "DAC_OVERRIDE", "FOWNER")
    binds = [part for path in visible for part in ("--ro-bind", path, path)]
    for name in ("d2lblocks", "grader", "tools", "tests", "exercises"):
        binds += ["--ro-bind", str(ROOT / name), f"/repository/{name}"]
    return [
        str(find_bubblewrap()),
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *(("--cap-drop", "ALL") if as_root else ("--unshare-user",)),
        *(part for name in needed if as_root for part in ("--cap-add", f"CAP_{name}")),
        *("--as-pid-1", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--perms", "1777", "--size", str(2**28), "--tmpfs", "/tmp"),
        *(part for path in sorted({*parents, "/repository", str(HOME.parent)}) for part in ("--dir", path)),
        *_programs(),
        *("--ro-bind-try", "/etc/passwd", "/etc/passwd"),
        *binds,
        *("--overlay-src", packages, "--tmp-overlay", packages),
        *("--ro-bind", str(course), str(TEMPLATE)),
        *("--size", str(MAX_DISK_BYTES), "--tmpfs", str(COURSE), "--size", str(2**28), "--tmpfs", str(HOME)),
        *("--setenv", "PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin", "--setenv", "HOME", str(HOME)),
        *("--setenv", "PYTHONPATH", "/repository", "--setenv", "LANG", "C.UTF-8", "--setenv", "OMP_NUM_THREADS", "1"),
        *("--setenv", "PYTHONDONTWRITEBYTECODE", "1", "--chdir", "/repository"),
    ]


def _where_python_is() -> list[str]:
    """The folders of this Python and its packages, as far as they are not the system's."""
    prefixes = [os.path.normpath(path) for path in (sys.prefix, sys.base_prefix)]
    folders = {os.path.realpath(path) for path in prefixes} | set(prefixes)
    return [path for path in sorted(folders) if not path.startswith("/usr/")]


def _programs() -> list[str]:
    """For bubblewrap: the system's programs and libraries, read-only and at their usual paths."""
    found = ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        at = Path("/", name)
        if at.is_symlink():
            found += ["--symlink", os.readlink(at), str(at)]
        elif at.is_dir():
            found += ["--ro-bind", str(at), str(at)]
    return found


# --- inside -------------------------------------------------------------------------------------------------------


def observe(attack: Attack) -> dict[str, Any]:
    """Hand in, let nbgrader grade, and look at what there is afterwards."""
    person = FIRST_PERSON + ATTACKS.index(attack)
    packages = Path(sysconfig.get_path("purelib"))
    for path in TEMPLATE.iterdir():
        shutil.copytree(path, COURSE / path.name)
    release = nbformat.read(COURSE / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    solved = nbformat.read(COURSE / "solutions" / NAME / f"{NAME}.ipynb", as_version=4)
    right = {name: cell.source for name, cell in solution_cells(solved).items()}
    submitted = COURSE / "grader" / "submitted"
    Attack("innocent", "is right").hand_in(release, right, submitted / INNOCENT / NAME)
    attack.hand_in(release, right, submitted / MALLORY / NAME)
    handed_in = submitted / MALLORY / NAME / f"{NAME}.ipynb"
    marks_its_attempt = handed_in.is_file() and "attempt()" in handed_in.read_text("utf-8", "replace")
    if os.geteuid() == 0:
        # What the one who grades may write to is what an instructor may: the course, Python's packages, the home.
        for top in (COURSE, HOME):
            for folder, folders, files in os.walk(top):
                for name in (".", *folders, *files):
                    os.chown(Path(folder, name), person, person, follow_symlinks=False)
        os.chown(packages, person, person)
    before = _outside(packages)
    status = _grade(person)
    time.sleep(2)  # a kernel that was told to end is given the time to
    left = [number for number in map(int, filter(str.isdigit, os.listdir("/proc"))) if number != os.getpid()]
    _end_everything()
    graded = COURSE / "grader" / "autograded" / MALLORY / NAME / f"{NAME}.ipynb"
    text = graded.read_text(encoding="utf-8", errors="replace") if graded.is_file() else ""
    cells = json.loads(text)["cells"] if text else []
    return {
        "status": status,
        "marks": _marks(),
        "graded": bool(text),
        "attempted": MARK_FILE.exists() or not marks_its_attempt,
        "megabytes": len(text) / 2**20,
        "read": any(READ in json.dumps(cell.get("outputs")) for cell in cells),
        "left": len(left),
        "changed": sorted(_outside(packages) ^ before),
        "gigabytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
    }


def _grade(person: int) -> int | None:
    """nbgrader's command, as an ordinary person; returns its exit status, None if it had to be ended."""

    def become_a_person() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(person, person, person)
            os.setresuid(person, person, person)
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_NPROC, (MAX_PROCESSES, MAX_PROCESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    with Path("/tmp/log").open("wb") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "nbgrader", "autograde", NAME],
            cwd=COURSE / "grader",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=become_a_person,
        )
        try:
            return running.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return None


def _end_everything() -> None:
    """End all processes but this one, and wait for them."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if len([name for name in os.listdir("/proc") if name.isdigit()]) == 1:
            return
        time.sleep(0.1)


def _outside(packages: Path) -> set[str]:
    """What a submission has no business with: the course's own files with their sizes, packages, the home folder."""
    kept = (COURSE / "solutions", COURSE / "exercises", COURSE / "grader" / "submitted" / INNOCENT)
    files = {f"{path} {path.stat().st_size}" for top in kept for path in top.rglob("*") if path.is_file()}
    own = {path for path in HOME.rglob("*") if path.is_file() and path.suffix in (".py", ".pth")}
    return files | {str(path) for path in (*packages.iterdir(), *own) if path.name != "__pycache__"}


def _marks() -> dict[str, dict[str, float]]:
    """Points by student and exercise, as the gradebook has them."""
    question = """
        SELECT submitted_assignment.student_id, base_cell.name, COALESCE(grade.manual_score, grade.auto_score, 0)
        FROM grade JOIN base_cell ON base_cell.id = grade.cell_id
        JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
        JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
    """
    found: dict[str, dict[str, float]] = {}
    with closing(sqlite3.connect(COURSE / "grader" / "gradebook.db")) as base:
        for student, cell, points in base.execute(question):
            found.setdefault(student, {})[cell.removeprefix("test_")] = points
    return found


if __name__ == "__main__":
    (chosen,) = (attack for attack in ATTACKS if attack.id == sys.argv[1])
    json.dump(observe(chosen), sys.stdout)
