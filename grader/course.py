"""nbgrader's course: release, grade, feedback, marks. Each step is a thin call of nbgrader's own API."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import re
import secrets
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from nbgrader.api import Assignment, Gradebook, MissingEntry, SubmittedAssignment
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import CsvExportPlugin
from nbgrader.utils import parse_utc
from sqlalchemy import make_url
from sqlalchemy.exc import SAWarning
from tornado.log import app_log
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from grader.class_run import Order, Outcome, Submission, fingerprint, handed_in_at, run
from grader.feedback import Page, Writer, Written, pages
from grader.inside import MOST_SEEDS, SEED_VARIABLE
from grader.jail import Zygote
from grader.record import FINGERPRINT, Marks, write_notebook
from grader.release import keep_if_same, kept_on_error

SECONDS_FOR_A_LOCK = 10  # that another program may hold a gradebook of SQLite
# The settings of nbgrader's `Autograde` that put the engine into it.
OURS = ("sanitize_preprocessors", "autograde_preprocessors")
DEFAULT_ROOT = Path(__file__).resolve().parent


def _patient(address: str) -> str:
    """The address of a gradebook that waits longer for another program's lock."""
    url = make_url(address)
    if url.get_backend_name() == "sqlite" and "timeout" not in url.query:
        url = url.update_query_dict({"timeout": str(SECONDS_FOR_A_LOCK)})
    return url.render_as_string(hide_password=False)


class CourseError(Exception):
    """Something that the person at the keyboard can mend, said in one line."""


@dataclass(frozen=True)
class HandedIn(Submission):
    """A submission, and whether it still has to be graded.

    Attributes:
        depends_on: what its marks depend on, as a fingerprint.
        due: whether they were never given, or depended on something else.
    """

    depends_on: str
    due: bool


@dataclass(frozen=True)
class Mark:
    """What the gradebook says about one answer.

    Attributes:
        student: whose.
        assignment: in which it is.
        exercise: its name.
        score: the points.
        most: the points that there are.
        by_hand: whether a person has to look at it.
        late: the points that the whole submission loses for being late.
    """

    student: str
    assignment: str
    exercise: str
    score: float
    most: float
    by_hand: bool
    late: float = 0.0


class Course:
    """An nbgrader course: the folder that holds `nbgrader_config.py`.

    Args:
        root: that folder; `solutions/` and `exercises/` lie beside it.

    Raises:
        CourseError: `root` has no `nbgrader_config.py`.
    """

    def __init__(self, root: Path = DEFAULT_ROOT) -> None:
        # nbgrader 0.9.6 does this on every submission; nothing is wrong and nobody can do anything about it.
        warnings.filterwarnings("ignore", category=SAWarning, message="Object of type .* not in session")
        self.root = root.resolve()
        if not (self.root / "nbgrader_config.py").is_file():
            raise CourseError(f"{root} is not a course: it has no nbgrader_config.py")
        self.config: Config = PyFileConfigLoader("nbgrader_config.py", path=str(self.root)).load_config()
        self.directory = CourseDirectory(config=self.config)
        self.api = self._api(self.config)

    def _api(self, config: Config) -> NbGraderAPI:
        api = NbGraderAPI(self.directory, config=config)
        # What nbgrader logs comes back from each call; printing it as well would bury the one line that matters.
        for logger in (api.log, self.directory.log, app_log):  # the last one is the gradebook's
            logger.handlers = [logging.NullHandler()]
            logger.propagate = False
        return api

    @property
    def solutions(self) -> Path:
        """nbgrader's source directory."""
        return Path(self.directory.root, self.directory.source_directory).resolve()

    @property
    def exercises(self) -> Path:
        """nbgrader's release directory."""
        return Path(self.directory.root, self.directory.release_directory).resolve()

    @property
    def submitted(self) -> Path:
        """Where submissions are put: ``<student>/<assignment>/<assignment>.ipynb``."""
        return self.root / self.directory.submitted_directory

    @property
    def autograded(self) -> Path:
        """Where graded notebooks are."""
        return self.root / self.directory.autograded_directory

    @property
    def feedback_directory(self) -> Path:
        """Where the pages for the students are."""
        return self.root / self.directory.feedback_directory

    @contextlib.contextmanager
    def gradebook(self) -> Iterator[Gradebook]:
        """The gradebook, open."""
        with Gradebook(_patient(self.directory.db_url), self.directory.course_id) as gradebook:
            yield gradebook

    def prove_writable(self) -> None:
        """See that graded notebooks can be kept, before the first one is made.

        Raises:
            OSError: they cannot.
        """
        self.autograded.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=self.autograded):
            pass

    def assignments(self) -> list[str]:
        """Every folder of `solutions/` that has a notebook of its own name."""
        return sorted(path.parent.name for path in self.solutions.glob("*/*.ipynb") if path.stem == path.parent.name)

    def choose(self, names: Sequence[str]) -> list[str]:
        """The named assignments, or all.

        Raises:
            CourseError: there is no assignment of some name.
        """
        there = self.assignments()
        if not there:
            raise CourseError(f"no assignment in {self.solutions}: each is a folder with a notebook of the same name")
        for name in names:
            if name not in there:
                raise CourseError(f"no assignment {name!r} in {self.solutions}; there are: {', '.join(there)}")
        return list(names) or there

    def release(self, assignment: str) -> None:
        """Make the student's side of an assignment from `solutions/`, and enter it into the gradebook.

        Raises:
            CourseError: it cannot be made; then the release that there was is still there.
        """
        folder = self.exercises / assignment
        with kept_on_error(folder), keep_if_same(folder / "public.json"):
            try:
                self._done(self.api.generate_assignment(assignment, force=True), f"releasing {assignment}")
            except CourseError as error:
                if "Cannot add or remove cells" in str(error):
                    raise CourseError(
                        f"{assignment} has other cells than when it was handed in; take those submissions out of "
                        "the gradebook first: make clean-class, or in grader/: nbgrader db assignment remove "
                        f"{assignment}"
                    ) from None
                raise

    def submissions(self, assignment: str, students: Sequence[str] = ()) -> list[HandedIn]:
        """What was handed in for an assignment, by all students or by those who are named.

        A submission is due if it was never graded, if it, the release, the reference or the grader has changed, or if
        the gradebook does not know it.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
        """
        handed_in = sorted(self.submitted.glob(f"*/{assignment}"))
        found = {path.parent.name: path for path in handed_in if not path.parent.name.startswith(".")}
        order = self.order()
        with self.gradebook() as gradebook:
            of = (
                gradebook.db.query(SubmittedAssignment.student_id)
                .join(Assignment)
                .filter(Assignment.name == assignment)
            )
            entered = {student for (student,) in of}
        result = []
        for student, folder in found.items():
            if not students or student in students:
                depends_on = fingerprint(order, Submission(student, assignment, folder))
                known = self.autograded / student / assignment / FINGERPRINT
                kept = known.is_file() and known.read_text(encoding="ascii") == depends_on
                due = not kept or student not in entered  # in a gradebook that was put back, perhaps
                result.append(HandedIn(student, assignment, folder, depends_on, due))
        return result

    def not_looked_at(self) -> Iterator[str]:
        """What lies where submissions are put, and is not the submission of anybody for an assignment."""
        known = set(self.assignments())
        for student in sorted(self.submitted.glob("[!.]*")):
            if not student.is_dir():
                yield f"{student.name}, which is not a student's folder"
            elif not os.access(student, os.R_OK | os.X_OK):
                yield f"{student.name}, which cannot be read"
            else:
                for path in sorted(student.glob("[!.]*")):
                    if path.name not in known:
                        yield f"{student.name}/{path.name}, which is not the folder of an assignment"

    def order(self, seed: int | None = None, isolated: bool = True) -> Order:
        """What a grading run of this course is about.

        Args:
            seed: of the secret cases; a new one if None.
            isolated: whether students' code runs in the jail.
        """
        chosen = secrets.randbelow(MOST_SEEDS) if seed is None else seed
        return Order(self.solutions, self.exercises, chosen, isolated)

    def grade(
        self, due: Sequence[HandedIn], order: Order, jobs: int, zygote: Zygote | None = None
    ) -> Iterator[Outcome]:
        """Grade submissions with the engine, and enter their marks.

        Each is entered as it is done; what is stopped in between is due again, and nothing else is.

        Args:
            due: which.
            order: what to grade.
            jobs: how many at a time.
            zygote: one that may have been started before.
        """
        depends_on = {(each.student, each.assignment): each.depends_on for each in due}
        with self.gradebook() as gradebook:
            for assignment in {each.assignment for each in due}:
                try:
                    gradebook.find_notebook(assignment, assignment)
                except MissingEntry:
                    message = f"{assignment} is not in the gradebook; first: python -m grader release {assignment}"
                    raise CourseError(message) from None
            marks = Marks(gradebook, self.config)
            for outcome in run(order, due, jobs, zygote):
                if outcome.entry is not None:
                    student, assignment = outcome.submission.student, outcome.submission.assignment
                    handed_in, date, note = _timestamp(outcome.submission.folder)
                    marks.enter(student, assignment, outcome.entry, handed_in)
                    # The marks first: a run that is killed between the two grades this one again, to the same marks.
                    write_notebook(
                        outcome.entry.notebook,
                        self.autograded / student / assignment,
                        order.releases / assignment,
                        {FINGERPRINT: depends_on[student, assignment], **date},
                    )
                    outcome = replace(outcome, notes=outcome.notes + note)
                yield outcome

    def autograde_plainly(self, submission: Submission, seed: int | None = None) -> None:
        """Run a submission with nbgrader's own execution, without isolation, and enter its marks into the gradebook.

        Args:
            submission: which.
            seed: from which the secret cases are drawn; a new one if None. The graded notebook names it.
        """
        config = copy.deepcopy(self.config)
        for ours in OURS:
            config.Autograde.pop(ours, None)
        os.environ[SEED_VARIABLE] = str(secrets.randbelow(MOST_SEEDS) if seed is None else seed)
        try:
            result = self._api(config).autograde(submission.assignment, submission.student, force=True)
        finally:
            del os.environ[SEED_VARIABLE]
        self._done(result, f"grading {submission.assignment} of {submission.student}")

    def pages(self, assignment: str) -> list[Page]:
        """The pages that students get back: one for each graded submission of an assignment.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
        """
        with self.gradebook() as gradebook:
            return pages(self.directory, self.config, gradebook, assignment)

    def write_pages(self, due: Sequence[Page], jobs: int) -> Iterator[Written]:
        """Write pages, several at a time; yields each as it is done."""
        yield from Writer(self.directory, self.config).write(due, jobs)

    def export(self, path: Path) -> None:
        """Write all marks to a CSV file, with nbgrader's own exporter."""
        exporter = CsvExportPlugin(config=self.config)
        exporter.to = str(path)
        exporter.log.handlers = [logging.NullHandler()]
        with self.gradebook() as gradebook:
            exporter.export(gradebook)

    def marks(self) -> list[Mark]:
        """Every mark in the gradebook, by student, assignment and exercise."""
        with self.gradebook() as gradebook:
            found = [
                Mark(
                    submission.student.id,
                    submission.assignment.name,
                    grade.cell.name.removeprefix("test_"),
                    grade.score,
                    grade.max_score,
                    grade.needs_manual_grade,
                    notebook.late_submission_penalty or 0.0,
                )
                for assignment in gradebook.assignments
                for submission in assignment.submissions
                for notebook in submission.notebooks
                for grade in notebook.grades
            ]
        return sorted(found, key=lambda mark: (mark.student, mark.assignment))

    @staticmethod
    def _done(result: dict[str, object], what: str) -> None:
        """Turn nbgrader's answer into an error of one line, if it is one."""
        if result["success"]:
            return
        if "\nKeyboardInterrupt" in f"{result.get('error')}":  # Ctrl-C, which nbgrader takes for a failure
            raise KeyboardInterrupt
        lines = f"{result.get('error')}\n{result.get('log')}".splitlines()
        # The log ends with "see above"; what one wants to read is the last exception in it.
        causes = [line.strip() for line in lines if re.match(r"\s*[\w.]+(Error|Exception)\b", line)]
        cause = causes[-1] if causes else lines[-1].strip() or "no reason given"
        if cause.startswith("SyntaxError"):
            file, number = re.findall(r'File "(.*)", line (\d+)', "\n".join(lines))[-1]
            cause = f"{cause} ({Path(file).name}, line {number})"
        cause = re.sub(r"^grader\.[\w.]+: ", "", cause)  # the name of an error of ours
        raise CourseError(f"{what} failed: {cause}")


def _timestamp(folder: Path) -> tuple[datetime | None, dict[str, str], tuple[str, ...]]:
    """When it was handed in; the file that says so, for nbgrader; and a note if there is one that says no date."""
    said = handed_in_at(folder)
    if said is None:
        return None, {}, ()
    try:
        date = said.decode("utf-8-sig").strip()
        return parse_utc(date), {"timestamp.txt": date}, ()
    except (ValueError, OverflowError):
        return None, {}, ("timestamp.txt does not say when it was handed in; it counts as handed in on time.",)
