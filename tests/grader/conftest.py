"""A course of its own for the tests: the real configuration and the real solutions, in another place."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from grader.course import Course
from tests import ROOT


def _release_everything(base: Path) -> None:
    (base / "grader").mkdir(parents=True)
    shutil.copytree(ROOT / "solutions", base / "solutions", ignore=shutil.ignore_patterns("__pycache__"))
    config = (ROOT / "grader" / "nbgrader_config.py").read_text(encoding="utf-8")
    # A loop in a cell must not hold up the tests for half a minute.
    (base / "grader" / "nbgrader_config.py").write_text(f"{config}\nc.Execute.timeout = 20\n", encoding="utf-8")
    course = Course(base / "grader")
    for assignment in course.assignments():
        course.release(assignment)


@pytest.fixture(scope="session")
def released_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a released course, made once for all files and all workers of pytest; to be copied."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made, failed = shared / "released", shared / "released.failed"
    with (shared / "released.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, or the worker is gone
        if failed.exists():
            pytest.fail(f"the course was not released: {failed.read_text('utf-8')}", pytrace=False)
        if not made.exists():
            unfinished = shared / "released.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                _release_everything(unfinished)
            except BaseException as error:
                failed.write_text(f"{type(error).__name__}: {error}", encoding="utf-8")
                raise
            unfinished.rename(made)
    return made


@pytest.fixture(scope="module")
def course(released_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """An nbgrader course with nothing handed in, released."""
    base = tmp_path_factory.mktemp("course")
    shutil.copytree(released_course, base, dirs_exist_ok=True)
    return Course(base / "grader")
