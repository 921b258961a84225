"""What lies inside the jail: nothing of the course, wherever the course, Python and its packages lie."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from grader import jail
from grader.course import Course
from grader.jailed import reach, wire
from grader.submissions import fill_in, solution_cells
from tests import ROOT
from tests.grader.attacks import NAME, POINTS, READ

WHY_NOT = jail.why_not() or jail.try_walls()
isolated = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")

# It knows where everything lies, and also looks everywhere.
SPY = """
import os

wanted = {paths}
found = [path for path in wanted if os.path.exists(path)]
names = {{os.path.basename(path) for path in wanted}} | {{"nbgrader_config.py"}}
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if name not in ("site-packages", "proc")]
    found += [os.path.join(folder, name) for name in names.intersection([*files, *folders])]
found = [path for path in found if not path.startswith("/scratch/")]
print("I could " + "read" if found else "nothing " + "there", found)
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository with a course of one assignment, and an innocent student in it."""
    base = tmp_path_factory.mktemp("clone")
    unwanted = shutil.ignore_patterns(
        "__pycache__", "*.db", "submitted", "autograded", "feedback", "*.csv", ".grading.lock"
    )
    for name in ("d2lblocks", "grader", f"solutions/{NAME}"):
        shutil.copytree(ROOT / name, base / name, ignore=unwanted)
    Course(base / "grader").release(NAME)
    hand_in(base, "ada")
    return base


def hand_in(base, student, *cells):
    solved = nbformat.read(base / "solutions" / NAME / f"{NAME}.ipynb", as_version=4)
    release = nbformat.read(base / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    notebook = fill_in(release, {name: cell.source for name, cell in solution_cells(solved).items()})
    notebook.cells[1:1] = map(nbformat.v4.new_code_cell, cells)
    folder = base / "grader" / "submitted" / student / NAME
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{NAME}.ipynb")


def below_usr(clone):
    """In a folder of the system that the jail needs for its programs."""
    place = next(path for path in map(Path, ("/usr/share/doc", "/usr/share/man", "/usr/share/locale")) if path.is_dir())
    return place, ["--bind", clone, place]


def beside_usr(clone):
    return Path("/usr/src"), ["--bind", clone, "/usr/src"]


def is_the_environment(clone):
    """As after `python -m venv .`"""
    for name in ("bin", "lib"):
        (clone / name).mkdir(exist_ok=True)
    (clone / "pyvenv.cfg").touch()
    return clone, [part for name in ("bin", "lib", "pyvenv.cfg") for part in (
        "--ro-bind", Path(sys.prefix, name), clone / name)]  # fmt: skip


@isolated
@pytest.mark.parametrize("layout", [below_usr, beside_usr, is_the_environment])
def test_no_submission_sees_the_course_wherever_it_lies(clone, layout):
    place, mounted = layout(clone)
    python = place / "bin" / "python"
    if layout is not is_the_environment:
        (clone / ".venv").mkdir(exist_ok=True)
        mounted += ["--ro-bind", sys.prefix, place / ".venv"]
        python = place / ".venv" / "bin" / "python"
    wanted = [
        place / "solutions" / NAME / "my_linear.py",
        place / "grader" / "gradebook.db",
        place / "grader" / "submitted" / "ada",
    ]
    hand_in(clone, "mallory", SPY.format(paths=[*map(str, wanted)]))
    command = [python, "-m", "grader", "autograde", "--jobs", "1", "--students", "mallory", "--force"]
    done = subprocess.run(
        [str(each) for each in (jail.bubblewrap(), "--dev-bind", "/", "/", *mounted, *command)],
        cwd=place if layout is is_the_environment else "/",
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    path = clone / "grader" / "autograded" / "mallory" / NAME / f"{NAME}.ipynb"
    text = path.read_text("utf-8")
    assert READ not in text
    assert "nothing there" in text
    with Course(clone / "grader").gradebook() as gradebook:
        assert gradebook.find_submission(NAME, "mallory").score == sum(POINTS.values())
