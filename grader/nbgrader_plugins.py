"""What we put into nbgrader's pipeline: into its release, its grading and its feedback.

The rest of the grader is imported when it is needed, because it imports PyTorch.
"""

from __future__ import annotations

import atexit
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Integer

from grader.errors import GradingError, ReleaseError, SandboxError
from grader.submission import timestamps

if TYPE_CHECKING:
    from grader.grading.job import GradingJob
    from grader.grading.submission_grader import SubmissionGrader


class WritePublicCases(NbGraderPreprocessor):
    """Writes `public.json` beside a released notebook: the public cases, and the reference's observations of them."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Give the file to nbconvert's writer; the notebook stays as it is."""
        from d2lblocks.checking.public import Public, write_public
        from grader.authoring.exercise import load, points_that_differ
        from grader.authoring.release import address_of_the_book

        coursedir = self.parent.parent.coursedir
        source = Path(coursedir.format_path(coursedir.source_directory, ".", resources["nbgrader"]["assignment"]))
        book = address_of_the_book(source)
        tasks = load(source).exercises
        problem = points_that_differ(tasks.values(), nb)
        if problem:
            raise ReleaseError(f"{problem}; change one of the two, in {source}")
        exercises = {
            name: replace(task.exercise(), book=book, assignment=source.name) for name, task in tasks.items()
        }
        by_hand = {
            cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
            for cell in nb.cells
            if (own := cell.metadata.get("nbgrader", {})) and own.get("grade") and own.get("solution")
        }
        try:
            text = write_public(Public(exercises, by_hand))
        except ValueError as error:
            raise ReleaseError(f"{error}; change it in {source}") from error
        resources.setdefault("outputs", {})["public.json"] = text.encode()
        return nb, resources


class BoundWhatIsShown(NbGraderPreprocessor):
    """Limits what a page of feedback shows, so that nbgrader's own command takes a short time."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Change what the page shows; the graded notebook stays as it is."""
        from grader.display.bounds import bound

        bound(nb)
        return nb, resources


class GradeInSandbox(NbGraderPreprocessor):
    """Grades a submission with the engine, in place of nbgrader's own repair and execution.

    It is the first of nbgrader's preprocessors. The notebook that it returns is graded; nbgrader only has to enter
    the marks. The first submission in a process waits until the sandbox is ready. The sandbox stays for the next
    ones, so the second click on the formgrader's button is answered at once.
    """

    isolated = Bool(True, help="Whether students' code runs in the sandbox; if not, reports say so.").tag(config=True)
    seed = Integer(-1, help="Of the secret cases; negative: each grading process draws one.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The graded notebook. The submission is read again, because nbgrader's reader repairs in its own way.

        Raises:
            GradingError: it could not be graded. Then nbgrader keeps nothing of it, and logs the error.
        """
        coursedir: CourseDirectory = self.parent.parent.coursedir
        releases = Path(coursedir.root, coursedir.release_directory).resolve()
        own = resources["nbgrader"]
        folder = Path(coursedir.format_path(coursedir.submitted_directory, own["student"], own["assignment"]))
        for path in folder.rglob("*"):  # also hidden files
            if path.is_symlink():  # nbgrader has copied what it leads to, and would give it back as feedback
                raise GradingError(f"{path.relative_to(folder)} is a link; a submission holds files")
        kept = _kept.setdefault(self.isolated, _Kept())
        kept.prestart(self.isolated)
        # Imported while the sandbox starts.
        from grader.gradebook.marks import FINGERPRINT
        from grader.grading.fingerprint import fingerprint
        from grader.grading.job import GradingJob, Submission, new_seed, private_folders

        submission = Submission(own["student"], own["assignment"], folder)
        solutions = Path(coursedir.root, coursedir.source_directory).resolve()
        seed = new_seed() if self.seed < 0 else self.seed
        job = GradingJob(solutions, releases, seed, self.isolated, private_folders(coursedir))
        try:
            outcome = kept.grader(job, submission.assignment, any_seed=self.seed < 0).grade(submission)
        except SandboxError as error:
            raise GradingError(f"students' code cannot be isolated here: {error}") from error
        if outcome.entry is None:
            raise GradingError(outcome.problem)
        # nbgrader keeps a time stamp that it knew before, and copies one that it cannot read.
        handed_in = timestamps.read(folder)
        with Gradebook(coursedir.db_url, coursedir.course_id) as gradebook:
            gradebook.update_or_create_submission(own["assignment"], own["student"], timestamp=handed_in.date)
        if handed_in.problem:
            graded = coursedir.format_path(coursedir.autograded_directory, own["student"], own["assignment"])
            Path(graded, timestamps.FILE).unlink(missing_ok=True)
        for note in (*outcome.notes, *filter(None, [handed_in.problem])):
            self.log.warning(note)
        depends_on = fingerprint(job, submission)
        resources.setdefault("outputs", {})[FINGERPRINT] = depends_on.encode()
        return nbformat.reads(outcome.entry.notebook, as_version=4), resources


@dataclass
class _Kept:
    """What this process keeps from one submission for the next: graders, which share one sandbox."""

    graders: dict[str, tuple[str, SubmissionGrader]] = field(default_factory=dict)  # by assignment, with its version

    def prestart(self, isolated: bool) -> None:
        """Start the sandbox, unless there is one; returns before it is ready.

        Raises:
            GradingError: this machine has no sandbox.
        """
        if self.graders:
            return
        from grader.sandbox.bubblewrap import require_bubblewrap
        from grader.sandbox.prestart import prestart

        if isolated:
            try:
                require_bubblewrap()
            except SandboxError as error:
                raise GradingError(f"{error}. For code that you trust: c.GradeInSandbox.isolated = False") from error
        prestart(isolated)

    def grader(self, job: GradingJob, assignment: str, any_seed: bool) -> SubmissionGrader:
        """The grader of the last submission for an assignment, if nothing has changed since; else a new one.

        Args:
            job: what is to be graded.
            assignment: of which.
            any_seed: whether the job's seed is as good as any other.
        """
        from grader.grading.fingerprint import state
        from grader.grading.submission_grader import SubmissionGrader
        from grader.sandbox.prestart import take

        version = f"{state(job, assignment)} {job.private} {'' if any_seed else job.seed}"
        if assignment not in self.graders or self.graders[assignment][0] != version:
            zygote = next((other.zygote for _, other in self.graders.values()), None) or take(job.isolated)
            self.graders[assignment] = version, SubmissionGrader(job, zygote)
        return self.graders[assignment][1]


_kept: dict[bool, _Kept] = {}  # by whether students' code is isolated


@atexit.register
def stop() -> None:
    """End the sandboxes that are kept."""
    while _kept:
        for _, grader in _kept.popitem()[1].graders.values():
            grader.zygote.stop()
