"""A course of its own for the tests: the real configuration and the real solutions, in another place."""

import shutil
from pathlib import Path

import pytest

from grader import folders
from grader.course import Course
from tests import ROOT


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """An nbgrader course with nothing in it yet, released; for copies only."""
    base = tmp_path_factory.mktemp("released")
    (base / "grader").mkdir()
    shutil.copytree(ROOT / "solutions", base / "solutions", ignore=folders.ignored)
    config = (ROOT / "grader" / "nbgrader_config.py").read_text(encoding="utf-8")
    # Nothing that the tests have a kernel run takes long by itself; the machine may.
    (base / "grader" / "nbgrader_config.py").write_text(f"{config}\nc.Execute.timeout = 300\n", encoding="utf-8")
    made = Course(base / "grader")
    for assignment in made.assignments():
        made.release(assignment)
    return base


_shared: dict[Path, dict[Path, tuple[int, int]]] = {}  # courses that tests share, and the files that all rely on


def _files(base):
    found = (path for top in ("solutions", "exercises") for path in (base / top).rglob("*"))
    known = ((path, path.stat()) for path in found if path.is_file() and "__pycache__" not in path.parts)
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in known}


@pytest.fixture(scope="module")
def course(released, tmp_path_factory):
    """A copy of that course; the tests of a file share it."""
    base = tmp_path_factory.mktemp("course") / "course"
    shutil.copytree(released, base)
    _shared[base] = _files(base)
    yield Course(base / "grader")
    del _shared[base]


@pytest.fixture(autouse=True)
def what_is_released_stays(request):
    """Fail the test that changes the solutions or the release of a course which others share, and put them back."""
    yield
    for base, before in _shared.items():
        after = _files(base)
        changed = sorted(str(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        if changed:
            for top in ("solutions", "exercises"):
                shutil.rmtree(base / top)
                shutil.copytree(request.getfixturevalue("released") / top, base / top)
            _shared[base] = _files(base)
            pytest.fail(f"the test leaves files changed that others rely on: {', '.join(changed)}", pytrace=False)
