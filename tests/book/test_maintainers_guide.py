"""The example in the guide for maintainers works as it stands there.

It keeps to the rules for every exercise (`authoring/test_catalogue.py`), is released like every assignment
(`test_release.py`), and the sample class hands it in and gets its marks (`test_course.py`).
"""

import subprocess
import sys

import pytest

from grader.__main__ import main
from grader.authoring.exercise import load
from grader.course import Course
from tests import ROOT, guide


@pytest.fixture
def course(tmp_path):
    """A course without any assignment."""
    (tmp_path / "grader").mkdir()
    (tmp_path / "grader" / "nbgrader_config.py").write_bytes((ROOT / "grader" / "nbgrader_config.py").read_bytes())
    return Course(tmp_path / "grader")


@pytest.fixture
def run(course, capsys, monkeypatch):
    """What runs a command on the course; it returns the exit status and what was written on stderr."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["grader", "--course", str(course.root), *words])
        capsys.readouterr()
        return main(), capsys.readouterr().err

    return call


def ruff_problems(folder):
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
        done = subprocess.run([*ruff, str(folder)], cwd=folder.parent.parent, capture_output=True, text=True)
        if done.returncode:
            return done.stdout
    return None


def test_every_command_of_the_guide_in_its_order(course, run):
    """The stub itself is released and tried as well, before it is edited."""
    new, *rest, last = guide.COMMANDS
    assert last == "make test"
    for command in (new, *rest, "edit", *rest):
        if command == "edit":
            guide.edit(course.solutions)
            continue
        status, error = run(*guide.arguments(command))
        assert status == 0, f"{command}: {error}"
    assert ruff_problems(course.solutions / guide.NAME) is None
    assert course.assignments() == [guide.NAME]
    (scale,) = load(course.solutions / guide.NAME).exercises.values()
    assert (scale.name, len(scale.checks), len(scale.mistakes), len(scale.right_answers)) == ("scale", 2, 2, 2)
    assert {path.name for path in (course.exercises / guide.NAME).iterdir()} == {"public.json", f"{guide.NAME}.ipynb"}


def test_a_second_exercise_is_added_behind_the_first_one(course, run):
    assert run("new", guide.NAME, "scale")[0] == 0
    assert run("new", guide.NAME, "another_scale")[0] == 0
    assert ruff_problems(course.solutions / guide.NAME) is None
    assert list(load(course.solutions / guide.NAME).exercises) == ["scale", "another_scale"]
    status, error = run("release")
    assert status == 0, error


def test_new_overwrites_nothing_and_says_what_is_in_the_way(course, run):
    assert run("new", guide.NAME, "scale")[0] == 0
    folder = course.solutions / guide.NAME
    for removed, named in ((), "scale.py"), (["scale.py"], "scale.md"), (["scale.md"], "has a cell about_scale"):
        for name in removed:
            (folder / name).unlink()
        before = {path: path.read_bytes() for path in folder.iterdir()}
        status, error = run("new", guide.NAME, "scale")
        assert status == 1
        assert named in error
        assert error.count("\n") == 1
        assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("names", [("warm up", "scale"), ("../x", "scale"), ("x", "Scale"), ("x", "class")])
def test_new_refuses_a_name_that_cannot_be_used(course, run, names):
    status, error = run("new", *names)
    assert status == 1
    assert "cannot be called" in error
    assert error.count("\n") == 1
    assert not course.solutions.exists()
