"""Courses for tests to throw away: the real settings and the real solutions, in another place."""

from __future__ import annotations

import shutil
from pathlib import Path

from grader.course import Course
from grader.files import folders
from tests import ROOT


def make_course(base: Path, *assignments: str) -> Course:
    """A course with nothing handed in, not yet released.

    Args:
        base: gets `grader/` and `solutions/`.
        assignments: of this repository's; none if none is named.
    """
    for name in assignments:
        shutil.copytree(ROOT / "solutions" / name, base / "solutions" / name, ignore=folders.ignored)
    (base / "solutions").mkdir(parents=True, exist_ok=True)
    (base / "grader").mkdir()
    shutil.copy(ROOT / "grader" / "nbgrader_config.py", base / "grader")
    return Course(base / "grader")


def release_quickly(course: Course) -> Course:
    """Release everything with the committed `public.json`, which need not be computed; returns the course."""
    for name in course.assignments():
        course.release(name, public=ROOT / "exercises" / name / "public.json")
    return course
