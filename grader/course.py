"""A course: release assignments, grade submissions, write feedback and marks.

In: the folder with `nbgrader_config.py`. Out: what each command needs, in one method for each step. Most steps are
short calls of nbgrader or of the folder that does the work.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from tornado.log import app_log
from traitlets.config import Config

from grader.authoring.release import keep_if_same
from grader.errors import CourseError
from grader.files.atomic import PUBLIC_FILE, PUBLIC_FOLDER, make_private, new_folder, recover, umask
from grader.files.course_directory import (
    assignments_of,
    directory_of,
    releases_of,
    solutions_of,
    student_folders,
)
from grader.gradebook import backup, failures, status
from grader.gradebook.failures import failure_path, write_failure
from grader.gradebook.marks import FINGERPRINT, GradebookWriter, write_notebook
from grader.gradebook.queries import Mark, class_marks
from grader.gradebook.status import SubmissionStatus, submission_statuses
from grader.grading.job import GradingJob, new_seed, private_folders
from grader.grading.outcome import Outcome
from grader.grading.pool import grade_submissions
from grader.lock import LOCK
from grader.publishing.export import ExportMarks
from grader.publishing.feedback import Page, feedback_pages
from grader.publishing.page_writer import PageResult, PageWriter
from grader.submission import timestamps
from grader.submission.students import check_name, similar_names

MARKS = "marks.csv"  # the default file for exported marks
DEFAULT_ROOT = Path(__file__).resolve().parent


class Course:
    """An nbgrader course: the folder that holds `nbgrader_config.py`.

    Args:
        root: that folder. Its settings say where all other folders are.

    Raises:
        CourseError: `root` has no `nbgrader_config.py`.
    """

    def __init__(self, root: Path = DEFAULT_ROOT) -> None:
        # nbgrader 0.9.6 causes this warning for every submission; it means nothing.
        warnings.filterwarnings("ignore", category=SAWarning, message="Object of type .* not in session")
        self.root = root.resolve()
        if not (self.root / "nbgrader_config.py").is_file():
            raise CourseError(f"{root} is not a course: it has no nbgrader_config.py")
        self.config, self.directory = directory_of(self.root)
        self.api = self._api(self.config)

    def _api(self, config: Config, directory: CourseDirectory | None = None) -> NbGraderAPI:
        directory = directory or self.directory
        api = NbGraderAPI(directory, config=config)
        # Each call returns nbgrader's log; if it was printed, too, nobody would see the one line that matters.
        for logger in (api.log, directory.log, app_log):  # app_log is the gradebook's
            logger.handlers = [logging.NullHandler()]
            logger.propagate = False
        return api

    @property
    def solutions(self) -> Path:
        """nbgrader's source directory."""
        return solutions_of(self.directory)

    @property
    def exercises(self) -> Path:
        """nbgrader's release directory."""
        return releases_of(self.directory)

    @property
    def submitted(self) -> Path:
        """Where submissions are: ``<student>/<assignment>/<assignment>.ipynb``."""
        return self.root / self.directory.submitted_directory

    @property
    def autograded(self) -> Path:
        """Where graded notebooks are."""
        return self.root / self.directory.autograded_directory

    @property
    def feedback_directory(self) -> Path:
        """Where the pages for students are."""
        return self.root / self.directory.feedback_directory

    def readable_by_others(self) -> list[Path]:
        """Files and folders with students' work or marks that other users of this machine can read."""
        gradebook = backup.sqlite_file(self.directory.db_url)
        names = (backup.FOLDER, failures.FOLDER, MARKS, LOCK, ".nbgrader.log", "downloaded")
        private = [
            *([gradebook, gradebook.with_name(f"{gradebook.name}-journal")] if gradebook else []),
            *(self.submitted, self.autograded, self.feedback_directory),
            *(self.root / name for name in names),
        ]
        others = 0o007 if self.directory.groupshared else 0o077
        return [path for path in private if path.exists() and path.stat().st_mode & others]

    @contextlib.contextmanager
    def gradebook(self) -> Iterator[Gradebook]:
        """The gradebook, open; if there is none yet, it is created, and only its owner can read it."""
        if not self.directory.groupshared:
            backup.make_private_gradebook(self.directory.db_url)
        address = backup.with_lock_timeout(self.directory.db_url)
        with Gradebook(address, self.directory.course_id) as gradebook:
            yield gradebook

    def check_writable(self) -> None:
        """Check that graded notebooks can be written, before the first one is made.

        Raises:
            OSError: they cannot be written.
        """
        make_private(self.autograded)
        with tempfile.TemporaryFile(dir=self.autograded):
            pass

    def assignments(self) -> list[str]:
        """The folders in `solutions/` that hold a notebook of the same name."""
        return assignments_of(self.directory)

    def choose(self, names: Sequence[str]) -> list[str]:
        """The named assignments, or all if no name is given.

        Raises:
            CourseError: there is no assignment of this name.
        """
        known = self.assignments()
        if not known:
            raise CourseError(f"no assignment in {self.solutions}: each is a folder with a notebook of the same name")
        for name in names:
            if name not in known:
                raise CourseError(f"no assignment {name!r} in {self.solutions}; there are: {', '.join(known)}")
        return list(names) or known

    def release(
        self,
        assignment: str,
        *,
        remove_marks: bool = False,
        renamed: Mapping[str, str] = MappingProxyType({}),
        public: Path | None = None,
    ) -> list[str]:
        """Make the students' version of an assignment from `solutions/`, and enter its cells into the gradebook.

        All marks and comments of cells that still exist are kept. The folder is replaced in one step.

        Args:
            assignment: its name.
            remove_marks: whether marks that a person gave may be deleted, if their cell no longer exists; the
                gradebook is backed up first.
            renamed: new names of cells by old ones; they keep their marks.
            public: a `public.json` that was made from the same solutions before; None: a new one is made.

        Returns:
            What has changed for students who have submitted already, in lines.

        Raises:
            CourseError: the release cannot be made; the old one stays.
        """
        changes: list[str] = []
        folder = self.exercises / assignment
        self.exercises.mkdir(parents=True, exist_ok=True)
        mask = umask()
        with new_folder(folder, PUBLIC_FOLDER & ~mask) as new:
            config = copy.deepcopy(self.config)
            config.CourseDirectory.release_directory = str(new / ".made")
            config.KeepMarks.remove_marks = remove_marks
            config.KeepMarks.renamed = dict(renamed)
            config.KeepMarks.say = changes.append
            config.WritePublicCases.enabled = public is None
            api = self._api(config, CourseDirectory(config=config))
            self._check_result(api.generate_assignment(assignment, force=True), f"releasing {assignment}")
            for path in (new / ".made" / assignment).iterdir():
                path.rename(new / path.name)
            shutil.rmtree(new / ".made")
            if public is not None:
                shutil.copyfile(public, new / "public.json")
            keep_if_same(new / "public.json", folder / "public.json")
            for path in new.rglob("*"):  # this is for students
                path.chmod((PUBLIC_FOLDER if path.is_dir() else PUBLIC_FILE) & ~mask)
        return changes

    def submissions(self, assignment: str, students: Sequence[str] = ()) -> list[SubmissionStatus]:
        """The submissions for an assignment, of all students or of the named ones.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
        """
        with self.gradebook() as gradebook:
            return submission_statuses(self.directory, gradebook, assignment, students)

    def skipped(self) -> Iterator[str]:
        """What lies in `submitted/` and is no submission, with the reason, in lines."""
        return status.skipped(self.directory)

    def similar_students(self) -> list[list[str]]:
        """Groups of students' folders whose names look like those of one student."""
        names = [folder.name for folder in student_folders(self.directory)]
        return similar_names(name for name in names if check_name(name) is None)

    def job(self, seed: int | None = None, isolated: bool = True) -> GradingJob:
        """What all submissions of a grading run have in common.

        Args:
            seed: of the secret cases; None: a new one is drawn.
            isolated: whether students' code runs in the sandbox.
        """
        chosen = new_seed() if seed is None else seed
        return GradingJob(self.solutions, self.exercises, chosen, isolated, private_folders(self.directory))

    def grade(self, submissions: Sequence[SubmissionStatus], job: GradingJob, jobs: int) -> Iterator[Outcome]:
        """Grade submissions and enter their marks.

        The marks of each submission are entered as soon as it is graded. If the run is stopped, only the others are
        still pending.

        Args:
            submissions: which.
            job: what they have in common.
            jobs: how many at a time.

        Raises:
            CourseError: an assignment is not in the gradebook.
            GradingError: nothing can be graded here.
        """
        fingerprints = {(each.student, each.assignment): each.fingerprint for each in submissions}
        with self.gradebook() as gradebook:
            for assignment in {each.assignment for each in submissions}:
                try:
                    gradebook.find_notebook(assignment, assignment)
                except MissingEntry:
                    message = f"{assignment} is not in the gradebook; first: python -m grader release {assignment}"
                    raise CourseError(message) from None
                recover(job.releases / assignment)
            writer = GradebookWriter(gradebook, self.config)
            for outcome in grade_submissions(job, submissions, jobs):
                student, assignment = outcome.submission.student, outcome.submission.assignment
                fingerprint = fingerprints[student, assignment]
                if outcome.entry is not None:
                    timestamp = timestamps.read(outcome.submission.folder)
                    writer.enter(student, assignment, outcome.entry, timestamp.date)
                    # The marks come first: if the run is killed between the two, the submission is graded again, and
                    # gets the same marks.
                    write_notebook(
                        outcome.entry.notebook,
                        self.autograded / student / assignment,
                        job.releases / assignment,
                        {FINGERPRINT: fingerprint} | ({timestamps.FILE: timestamp.text} if timestamp.text else {}),
                    )
                    if timestamp.problem:
                        outcome = replace(outcome, notes=(*outcome.notes, timestamp.problem))
                write_failure(failure_path(self.directory, outcome.submission), fingerprint, outcome.problem)
                yield outcome

    def update_late_penalties(self, assignment: str) -> list[str]:
        """Compute the penalties of late submissions again; returns the students whose penalty has changed."""
        with self.gradebook() as gradebook:
            return GradebookWriter(gradebook, self.config).update_late_penalties(assignment)

    def pages(self, assignment: str) -> list[Page]:
        """The pages of feedback: one for each graded submission of an assignment.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
        """
        with self.gradebook() as gradebook:
            return feedback_pages(self.directory, self.config, gradebook, assignment)

    def write_pages(self, pages: Sequence[Page], jobs: int) -> Iterator[PageResult]:
        """Write pages, several at a time, and yield each result as it is ready."""
        yield from PageWriter(self.directory, self.config).write(pages, jobs)

    def export(self, path: Path) -> None:
        """Write all marks to a CSV file."""
        exporter = ExportMarks(config=self.config)
        exporter.directory = self.directory
        exporter.to = str(path)
        exporter.log.handlers = [logging.NullHandler()]
        with self.gradebook() as gradebook:
            exporter.export(gradebook)

    def marks(self) -> list[Mark]:
        """Every mark in the gradebook, sorted by student and assignment."""
        with self.gradebook() as gradebook:
            return class_marks(gradebook)

    @staticmethod
    def _check_result(result: dict[str, object], what: str) -> None:
        """Raise an error of one line if a step of nbgrader has failed."""
        if result["success"]:
            return
        if "\nKeyboardInterrupt" in f"{result.get('error')}":  # Ctrl-C, which nbgrader reports as a failure
            raise KeyboardInterrupt
        lines = f"{result.get('error')}\n{result.get('log')}".splitlines()
        # nbgrader gives only its log as text; the last exception in it is the cause.
        causes = [line.strip() for line in lines if re.match(r"\s*[\w.]+(Error|Exception)\b", line)]
        cause = causes[-1] if causes else lines[-1].strip() or "no reason given"
        if cause.startswith("SyntaxError"):
            file, number = re.findall(r'File "(.*)", line (\d+)', "\n".join(lines))[-1]
            cause = f"{cause} ({Path(file).name}, line {number})"
        cause = re.sub(r"^grader\.[\w.]+: ", "", cause)  # the name of one of our exceptions
        raise CourseError(f"{what} failed: {cause}")
