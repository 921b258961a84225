"""A course of its own for the tests: the real configuration and the real solutions, in another place."""

import shutil

import pytest

from grader import folders
from grader.course import Course
from tests import ROOT


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """An nbgrader course with nothing in it yet, released."""
    base = tmp_path_factory.mktemp("course")
    (base / "grader").mkdir()
    shutil.copytree(ROOT / "solutions", base / "solutions", ignore=folders.ignored)
    config = (ROOT / "grader" / "nbgrader_config.py").read_text(encoding="utf-8")
    # A loop in a cell must not hold up the tests for half a minute.
    (base / "grader" / "nbgrader_config.py").write_text(f"{config}\nc.Execute.timeout = 20\n", encoding="utf-8")
    result = Course(base / "grader")
    for assignment in result.assignments():
        result.release(assignment)
    return result
