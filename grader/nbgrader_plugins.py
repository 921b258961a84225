"""What we put into nbgrader's pipeline. The rest of the grader is imported when it is needed: it brings PyTorch."""

from __future__ import annotations

import atexit
import contextlib
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Integer

from grader.submission import timestamps

if TYPE_CHECKING:
    from grader.grading.pool import GradingJob, Judge
    from grader.sandbox.host import Zygote


class ReleaseError(Exception):
    """An assignment that cannot be released, in one line that says why."""


class WritePublicCases(NbGraderPreprocessor):
    """Puts `public.json` beside a released notebook: the public cases, and what the reference gives in them."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Leave the notebook alone; hand the file to nbconvert's writer."""
        from d2lblocks.checking.public import Public, write_public
        from grader.authoring.exercise import load, points_that_differ
        from grader.authoring.release import address_of_the_book

        coursedir = self.parent.parent.coursedir
        source = Path(coursedir.format_path(coursedir.source_directory, ".", resources["nbgrader"]["assignment"]))
        book = address_of_the_book(source)
        tasks = load(source).tasks
        problem = points_that_differ(tasks.values(), nb)
        if problem:
            raise ReleaseError(f"{problem}; change one of the two, in {source}")
        exercises = {name: replace(task.exercise(), book=book) for name, task in tasks.items()}
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
    """Bounds what a page of feedback shows, so that nbgrader's own command is done in a short time."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Change only what is shown; the graded notebook stays as it is."""
        from grader.display.bounds import bound

        bound(nb)
        return nb, resources


class GradingError(Exception):
    """A submission that was not graded, in one line that says why."""


class GradeInSandbox(NbGraderPreprocessor):
    """Grades a submission with the engine, in place of nbgrader's own repair and execution.

    It stands where nbgrader sanitizes; what it gives back is graded, and only has to be entered into the gradebook.
    The first submission in a process waits until the sandbox is ready; it stays for the others, so the second click on
    the formgrader's button is answered at once.
    """

    isolated = Bool(True, help="Whether students' code runs in the sandbox; if not, reports say so.").tag(config=True)
    seed = Integer(-1, help="Of the secret cases; negative: drawn by each process that grades.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The graded notebook; that of the submission is read anew, because nbgrader's reader repairs in its own way.

        Raises:
            GradingError: it could not be graded. nbgrader then keeps nothing of it, and says so.
        """
        coursedir: CourseDirectory = self.parent.parent.coursedir
        releases = Path(coursedir.root, coursedir.release_directory).resolve()
        own = resources["nbgrader"]
        folder = Path(coursedir.format_path(coursedir.submitted_directory, own["student"], own["assignment"]))
        for path in folder.rglob("*"):  # also what is hidden
            if path.is_symlink():  # nbgrader has copied what it leads to, and would give it back as feedback
                raise GradingError(f"{path.relative_to(folder)} is a link; a submission holds files")
        zygote = _sandbox(self.isolated)
        # Imported while the sandbox starts.
        from grader.gradebook.marks import FINGERPRINT
        from grader.grading.fingerprint import fingerprint
        from grader.grading.plain_check import NUMBER_OF_SEEDS
        from grader.grading.pool import GradingJob, Submission, private_folders
        from grader.sandbox.host import SandboxError

        submission = Submission(own["student"], own["assignment"], folder)
        solutions = Path(coursedir.root, coursedir.source_directory).resolve()
        seed = secrets.randbelow(NUMBER_OF_SEEDS) if self.seed < 0 else self.seed
        job = GradingJob(solutions, releases, seed, self.isolated, private_folders(coursedir))
        try:
            outcome = _judge(job, submission.assignment, zygote, any_seed=self.seed < 0).grade(submission)
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


_zygotes: dict[bool, Zygote] = {}  # by whether it is isolated
_judges: dict[tuple[bool, str], tuple[str, Judge]] = {}  # by that and the assignment: what it depends on, and it


def _sandbox(isolated: bool) -> Zygote:
    """The one sandbox of this process, which is started if it has not been; returns before it is ready."""
    if isolated not in _zygotes:
        from grader.sandbox import host

        problem = host.why_not() if isolated else ""
        if problem:
            raise GradingError(f"{problem}. For code that you trust: c.GradeInSandbox.isolated = False")
        zygote = host.Zygote(isolated)
        with contextlib.suppress(host.SandboxError):  # the judge starts it again, and says why it cannot
            zygote.start()
        _zygotes[isolated] = zygote
    return _zygotes[isolated]


def _judge(job: GradingJob, assignment: str, zygote: Zygote, any_seed: bool) -> Judge:
    """The judge that graded the last submission for an assignment, if nothing has changed since; else a new one.

    Args:
        order: what is to be graded.
        assignment: of which.
        zygote: for the judge.
        any_seed: whether the seed of the order is as good as any other.
    """
    from grader.grading.fingerprint import state
    from grader.grading.pool import Judge

    version = f"{state(job, assignment)} {job.private} {'' if any_seed else job.seed}"
    key = job.isolated, assignment
    if key not in _judges or _judges[key][0] != version:
        _judges[key] = version, Judge(job, zygote)
    return _judges[key][1]


@atexit.register
def stop() -> None:
    """End the sandbox that is kept."""
    _judges.clear()
    while _zygotes:
        _zygotes.popitem()[1].stop()
