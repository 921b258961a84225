"""A course of its own for the tests: the real configuration and the real solutions, in another place."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from grader.course import Course
from grader.files import folders
from tests import ROOT
from tests.courses import make_course


def _release_everything(base: Path) -> None:
    course = make_course(base, *(path.name for path in folders.entries(ROOT / "solutions")))
    # Nothing that the tests have a kernel run takes long by itself; the machine may.
    with (course.root / "nbgrader_config.py").open("a", encoding="utf-8") as config:
        config.write("\nc.Execute.timeout = 300\n")
    course = Course(course.root)
    for assignment in course.assignments():
        course.release(assignment)  # not quickly: the tests of a release look at what it has computed


@pytest.fixture(scope="session")
def released_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a released course, made once for all files and all workers of pytest; for copies only."""
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


_shared: dict[Path, dict[Path, tuple[int, int]]] = {}  # courses that tests share, and the files that all rely on


def _files(base: Path) -> dict[Path, tuple[int, int]]:
    found = (path for top in ("solutions", "exercises") for path in (base / top).rglob("*"))
    known = ((path, path.stat()) for path in found if path.is_file() and "__pycache__" not in path.parts)
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in known}


def rely_on(course: Course) -> None:
    """From now on all tests of a file rely on the solutions and the release of a course as they are now."""
    _shared[course.root.parent] = _files(course.root.parent)


@pytest.fixture(scope="module")
def course(released_course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """An nbgrader course with nothing handed in, released; the tests of a file share it."""
    base = (tmp_path_factory.mktemp("course") / "course").resolve()
    shutil.copytree(released_course, base)
    made = Course(base / "grader")
    rely_on(made)
    yield made
    del _shared[base]


@pytest.fixture(autouse=True)
def what_is_released_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test that changes the solutions or the release of a course which others share, and put them back."""
    yield
    for base, before in _shared.items():
        after = _files(base)
        changed = sorted(str(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        if changed:
            for top in ("solutions", "exercises"):
                shutil.rmtree(base / top)
                shutil.copytree(request.getfixturevalue("released_course") / top, base / top)
            _shared[base] = _files(base)
            pytest.fail(f"the test leaves files changed that others rely on: {', '.join(changed)}", pytrace=False)
