"""What a grading run is about: its job, the same for all submissions, and the submissions."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from nbgrader.coursedir import CourseDirectory
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

NUMBER_OF_SEEDS = 10**6


@dataclass(frozen=True)
class GradingJob:
    """What one grading run is about: the same for all its submissions.

    Attributes:
        solutions: the folder of that name.
        releases: the folder `exercises/`.
        seed: of the secret cases.
        isolated: whether students' code runs in the sandbox.
        private: further folders that no submission may reach.
    """

    solutions: Path
    releases: Path
    seed: int
    isolated: bool = True
    private: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Submission:
    """One student's work on one assignment.

    Attributes:
        student: the name of the student's folder.
        assignment: its name.
        folder: that holds the notebook.
    """

    student: str
    assignment: str
    folder: Path


def new_seed() -> int:
    """A random seed for secret cases."""
    return secrets.randbelow(NUMBER_OF_SEEDS)


def private_folders(directory: CourseDirectory) -> tuple[Path, ...]:
    """The folders of a course that no submission may reach, besides the solutions: others' work, marks, the
    gradebook.

    Args:
        directory: the course's, as nbgrader describes it.
    """
    root = Path(directory.root)
    names = (directory.submitted_directory, directory.autograded_directory, directory.feedback_directory)
    found = [root, *(root / name for name in names)]
    with contextlib.suppress(ArgumentError):
        url = make_url(directory.db_url)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            found.append(Path(url.database).resolve().parent)
    return tuple(found)
