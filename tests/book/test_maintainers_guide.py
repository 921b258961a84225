"""The example in the guide for maintainers works as it stands there.

It keeps to the rules for every exercise (`authoring/test_catalogue.py`), is released like every assignment
(`test_release.py`), and the sample class hands it in and gets its marks (`test_course.py`).
"""

import subprocess
import sys

from grader.authoring.exercise import load
from grader.course import Course
from tests import ROOT, guide


def test_an_assignment_is_there_when_its_folder_is(tmp_path):
    (tmp_path / "grader").mkdir()
    (tmp_path / "grader" / "nbgrader_config.py").write_bytes((ROOT / "grader" / "nbgrader_config.py").read_bytes())
    folder = guide.write_example(tmp_path / "solutions")
    assert Course(tmp_path / "grader").assignments() == [guide.NAME]
    assert load(folder).exercises.keys() == {"scale"}


def test_the_example_has_the_style_that_make_test_demands(tmp_path):
    folder = guide.write_example(tmp_path / "solutions")
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), "--no-cache"]
        done = subprocess.run([*ruff, str(folder)], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
