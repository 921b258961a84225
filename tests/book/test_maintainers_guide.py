"""The example in the guide for maintainers works.

It also keeps to the rules for every exercise (`tests/grader/test_catalogue.py`), is released like every assignment
(`test_release.py`), and the sample class hands it in and gets its marks (`test_course.py`).
"""

import subprocess
import sys

import pytest

from d2lblocks.checking.check import examine
from grader.authoring import define, load
from tests import ROOT
from tests.guide import STUB, write_example


@pytest.fixture
def folder(tmp_path):
    """`solutions/warm_up` as the guide has it made."""
    return write_example(tmp_path / "solutions")


def test_the_example_reference_catches_its_mistake_and_lets_right_answers_pass(folder):
    (task,) = load(folder).tasks.values()
    exercise = task.exercise(seed=3)

    (mistake,) = task.mistakes
    report = examine(exercise, define(mistake.source, task.defines))
    assert {v.check.id for v in report.verdicts if v.status != "pass"} == mistake.fails
    assert report.known.id == mistake.id

    for right in (STUB, *task.alternatives.values()):
        report = examine(exercise, define(right, task.defines))
        assert report.passed
        assert report.points == 3


def test_the_example_has_the_style_that_make_test_demands(folder):
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
        done = subprocess.run([*ruff, str(folder)], cwd=folder.parent.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
