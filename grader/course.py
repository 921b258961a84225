"""nbgrader's course: release, grade, feedback, marks. Each step is a thin call of nbgrader's own API."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from nbgrader.api import Assignment, Gradebook, MissingEntry, SubmittedAssignment
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SAWarning
from tornado.log import app_log
from traitlets.config import Config

from grader.authoring.release import keep_if_same
from grader.errors import CourseError
from grader.files import folders
from grader.files.atomic import PUBLIC_FILE, PUBLIC_FOLDER, make_private, new_folder, recover, umask
from grader.files.course_directory import directory_of
from grader.gradebook.backup import FOLDER as BACKUPS
from grader.gradebook.backup import file_of, make_private_gradebook, patient
from grader.gradebook.marks import FINGERPRINT, Marks, failure, keep_failure, write_notebook
from grader.grading.fingerprint import fingerprint
from grader.grading.job import GradingJob, Submission, new_seed, private_folders
from grader.grading.outcome import Outcome
from grader.grading.pool import grade_submissions
from grader.lock import LOCK
from grader.publishing.export import ExportMarks, by_hand
from grader.publishing.feedback import Page, Writer, Written, pages
from grader.submission import timestamps
from grader.submission.students import look_alike, problem_with

MARKS = "marks.csv"  # where they are exported to
FAILED = ".failed"  # holds why submissions could not be graded
DEFAULT_ROOT = Path(__file__).resolve().parent


@dataclass(frozen=True)
class PendingSubmission(Submission):
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
        given: whether there is a mark; until then the score is 0, and says nothing.
    """

    student: str
    assignment: str
    exercise: str
    score: float
    most: float
    by_hand: bool
    late: float = 0.0
    given: bool = True


class Course:
    """An nbgrader course: the folder that holds `nbgrader_config.py`.

    Args:
        root: that folder. Its settings say where all others are.

    Raises:
        CourseError: `root` has no `nbgrader_config.py`.
    """

    def __init__(self, root: Path = DEFAULT_ROOT) -> None:
        # nbgrader 0.9.6 does this on every submission; nothing is wrong and nobody can do anything about it.
        warnings.filterwarnings("ignore", category=SAWarning, message="Object of type .* not in session")
        self.root = root.resolve()
        if not (self.root / "nbgrader_config.py").is_file():
            raise CourseError(f"{root} is not a course: it has no nbgrader_config.py")
        self.config, self.directory = directory_of(self.root)
        self.api = self._api(self.config)

    def _api(self, config: Config, directory: CourseDirectory | None = None) -> NbGraderAPI:
        directory = directory or self.directory
        api = NbGraderAPI(directory, config=config)
        # What nbgrader logs comes back from each call; printing it as well would bury the one line that matters.
        for logger in (api.log, directory.log, app_log):  # the last one is the gradebook's
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

    def open_to_others(self) -> list[Path]:
        """What holds students' work or marks, and lets others on this machine in: it was made in another way."""
        gradebook = file_of(self.directory.db_url)
        private = [
            *([gradebook, gradebook.with_name(f"{gradebook.name}-journal")] if gradebook else []),
            *(self.submitted, self.autograded, self.feedback_directory),
            *(self.root / name for name in (BACKUPS, FAILED, MARKS, LOCK, ".nbgrader.log", "downloaded")),
        ]
        theirs = 0o007 if self.directory.groupshared else 0o077
        return [path for path in private if path.exists() and path.stat().st_mode & theirs]

    @contextlib.contextmanager
    def gradebook(self) -> Iterator[Gradebook]:
        """The gradebook, open; if there is none yet, it is made, for its owner only."""
        if not self.directory.groupshared:
            make_private_gradebook(self.directory.db_url)
        with Gradebook(patient(self.directory.db_url), self.directory.course_id) as gradebook:
            yield gradebook

    def prove_writable(self) -> None:
        """See that graded notebooks can be kept, before the first one is made.

        Raises:
            OSError: they cannot.
        """
        make_private(self.autograded)
        with tempfile.TemporaryFile(dir=self.autograded):
            pass

    def assignments(self) -> list[str]:
        """Every folder of `solutions/` that has a notebook of its own name."""
        if not self.solutions.is_dir():
            return []
        return [path.name for path in folders.entries(self.solutions) if (path / f"{path.name}.ipynb").is_file()]

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

    def release(
        self,
        assignment: str,
        *,
        remove_marks: bool = False,
        renamed: Mapping[str, str] = MappingProxyType({}),
        public: Path | None = None,
    ) -> list[str]:
        """Make the student's side of an assignment from `solutions/`, and enter it into the gradebook.

        Every mark and comment of the cells that still exist is kept. The folder is replaced in one step.

        Args:
            assignment: its name.
            remove_marks: whether marks that a person has given may go, if their cell is gone; they are backed up.
            renamed: new names of cells by old ones; their marks go with them.
            public: a `public.json` that was made from the same solutions before; a new one is made if None.

        Returns:
            What was changed for those who have handed in already, in lines.

        Raises:
            CourseError: it cannot be made; then the release that there was is still there.
        """
        said: list[str] = []
        folder = self.exercises / assignment
        self.exercises.mkdir(parents=True, exist_ok=True)
        mask = umask()
        with new_folder(folder, PUBLIC_FOLDER & ~mask) as made:
            config = copy.deepcopy(self.config)
            config.CourseDirectory.release_directory = str(made / ".made")
            config.KeepMarks.remove_marks = remove_marks
            config.KeepMarks.renamed = dict(renamed)
            config.KeepMarks.say = lambda line: said.append(line)
            config.WritePublicCases.enabled = public is None
            api = self._api(config, CourseDirectory(config=config))
            self._done(api.generate_assignment(assignment, force=True), f"releasing {assignment}")
            for path in (made / ".made" / assignment).iterdir():
                path.rename(made / path.name)
            shutil.rmtree(made / ".made")
            if public is not None:
                shutil.copyfile(public, made / "public.json")
            keep_if_same(made / "public.json", folder / "public.json")
            for path in made.rglob("*"):  # this is for students
                path.chmod((PUBLIC_FOLDER if path.is_dir() else PUBLIC_FILE) & ~mask)
        return said

    def submissions(self, assignment: str, students: Sequence[str] = ()) -> list[PendingSubmission]:
        """What was handed in for an assignment, by all students or by those who are named.

        A submission is due if it was never graded, if it, the release, the reference or the grader has changed, or if
        the gradebook does not know it.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
        """
        students_there = (folder for folder in self._students() if not problem_with(folder.name))
        handed_in = [folder / assignment for folder in students_there if os.access(folder, os.R_OK | os.X_OK)]
        found = {path.parent.name: path for path in handed_in if path.is_symlink() or path.exists()}
        job = self.job()
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
                depends_on = fingerprint(job, Submission(student, assignment, folder))
                known = self.autograded / student / assignment / FINGERPRINT
                kept = known.is_file() and known.read_text(encoding="ascii") == depends_on
                due = not kept or student not in entered  # in a gradebook that was put back, perhaps
                result.append(PendingSubmission(student, assignment, folder, depends_on, due))
        return result

    def not_looked_at(self) -> Iterator[str]:
        """What lies where submissions are put, and is not the submission of anybody for an assignment."""
        known = set(self.assignments())
        for student in self._students():
            if problem_with(student.name):
                yield f"{student.name}, {problem_with(student.name)}"
            elif not student.is_dir():
                yield f"{student.name}, which is not a student's folder"
            elif not os.access(student, os.R_OK | os.X_OK):
                yield f"{student.name}, which cannot be read"
            else:
                for path in folders.entries(student):
                    if path.name not in known:
                        yield f"{student.name}/{path.name}, which is not the folder of an assignment"

    def _students(self) -> list[Path]:
        """What lies where submissions are put: the folders of students."""
        return folders.entries(self.submitted) if self.submitted.is_dir() else []

    def look_alike(self) -> list[list[str]]:
        """Students' folders that look like those of one student, by name, in groups."""
        return look_alike(folder.name for folder in self._students() if not problem_with(folder.name))

    def job(self, seed: int | None = None, isolated: bool = True) -> GradingJob:
        """What a grading run of this course is about.

        Args:
            seed: of the secret cases; a new one if None.
            isolated: whether students' code runs in the sandbox.
        """
        chosen = new_seed() if seed is None else seed
        return GradingJob(self.solutions, self.exercises, chosen, isolated, private_folders(self.directory))

    def grade(self, due: Sequence[PendingSubmission], job: GradingJob, jobs: int) -> Iterator[Outcome]:
        """Grade submissions with the engine, and enter their marks.

        Each is entered as it is done; what is stopped in between is due again, and nothing else is.

        Args:
            due: which.
            order: what to grade.
            jobs: how many at a time.
        """
        depends_on = {(each.student, each.assignment): each.depends_on for each in due}
        with self.gradebook() as gradebook:
            for assignment in {each.assignment for each in due}:
                try:
                    gradebook.find_notebook(assignment, assignment)
                except MissingEntry:
                    message = f"{assignment} is not in the gradebook; first: python -m grader release {assignment}"
                    raise CourseError(message) from None
                recover(job.releases / assignment)
            marks = Marks(gradebook, self.config)
            for outcome in grade_submissions(job, due, jobs):
                if outcome.entry is not None:
                    student, assignment = outcome.submission.student, outcome.submission.assignment
                    handed_in = timestamps.read(outcome.submission.folder)
                    marks.enter(student, assignment, outcome.entry, handed_in.date)
                    # The marks first: a run that is killed between the two grades this one again, to the same marks.
                    write_notebook(
                        outcome.entry.notebook,
                        self.autograded / student / assignment,
                        job.releases / assignment,
                        {FINGERPRINT: depends_on[student, assignment]}
                        | ({timestamps.FILE: handed_in.text} if handed_in.text else {}),
                    )
                    outcome = replace(outcome, notes=(*outcome.notes, *filter(None, [handed_in.problem])))
                key = (outcome.submission.student, outcome.submission.assignment)
                keep_failure(self._failed(outcome.submission), depends_on[key], outcome.problem)
                yield outcome

    def settle_lateness(self, assignment: str) -> list[str]:
        """Work out anew what graded submissions lose for being late; returns the students for whom that changed."""
        with self.gradebook() as gradebook:
            return Marks(gradebook, self.config).settle_lateness(assignment)

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
        """Write all marks to a CSV file."""
        exporter = ExportMarks(config=self.config)
        exporter.course = self
        exporter.to = str(path)
        exporter.log.handlers = [logging.NullHandler()]
        with self.gradebook() as gradebook:
            exporter.export(gradebook)

    def failure(self, submission: PendingSubmission) -> str:
        """Why what is handed in now could not be graded, when that was last tried; empty if it was not, or could."""
        return failure(self._failed(submission), submission.depends_on) if submission.due else ""

    def _failed(self, submission: Submission) -> Path:
        return self.root / FAILED / submission.student / f"{submission.assignment}.json"

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
                    grade.needs_manual_grade and (grade.manual_score is not None or by_hand(grade)),
                    notebook.late_submission_penalty or 0.0,
                    grade.auto_score is not None or grade.manual_score is not None,
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
