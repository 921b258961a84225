"""What we put into nbgrader's pipeline. The rest of the grader is imported when it is needed: it brings PyTorch."""

from __future__ import annotations

import atexit
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Integer

if TYPE_CHECKING:
    from grader.class_run import Judge, Order
    from grader.jail import Zygote


class ReleaseError(Exception):
    """An assignment that cannot be released, in one line that says why."""


class WritePublicCases(NbGraderPreprocessor):
    """Puts `public.json` beside a released notebook: the public cases, and what the reference gives in them."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Leave the notebook alone; hand the file to nbconvert's writer."""
        from d2lblocks.checking.exercises import Public, write_public
        from grader.authoring import load, points_that_differ
        from grader.release import address_of_the_book

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
        resources.setdefault("outputs", {})["public.json"] = write_public(Public(exercises, by_hand)).encode()
        return nb, resources


class BoundWhatIsShown(NbGraderPreprocessor):
    """Bounds what a page of feedback shows, so that nbgrader's own command is done in a short time."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Change only what is shown; the graded notebook stays as it is."""
        from grader.shown import bound

        bound(nb)
        return nb, resources


class GradingError(Exception):
    """A submission that was not graded, in one line that says why."""


class GradeInJail(NbGraderPreprocessor):
    """Grades a submission with the engine, in place of nbgrader's own repair and execution.

    It stands where nbgrader sanitizes; what it gives back is graded, and only has to be entered into the gradebook.
    The first submission in a process waits until the jail is ready; it stays for the others, so the second click on
    the formgrader's button is answered at once.
    """

    isolated = Bool(True, help="Whether students' code runs in the jail; if not, reports say so.").tag(config=True)
    seed = Integer(-1, help="Of the secret cases; negative: drawn by each process that grades.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """The graded notebook; that of the submission is read anew, because nbgrader's reader repairs in its own way.

        Raises:
            GradingError: it could not be graded. nbgrader then keeps nothing of it, and says so.
        """
        coursedir: CourseDirectory = self.parent.parent.coursedir
        releases = Path(coursedir.root, coursedir.release_directory).resolve()
        if not _kept:
            _start_jail(self.isolated)
        # Imported while the jail starts.
        from grader.class_run import Order, Submission, fingerprint
        from grader.inside import MOST_SEEDS
        from grader.record import FINGERPRINT

        own = resources["nbgrader"]
        folder = Path(coursedir.format_path(coursedir.submitted_directory, own["student"], own["assignment"]))
        for path in folder.rglob("*"):
            if path.is_symlink():  # nbgrader has copied what it leads to, and would give it back as feedback
                raise GradingError(f"{path.relative_to(folder)} is a link; a submission holds files")
        submission = Submission(own["student"], own["assignment"], folder)
        solutions = Path(coursedir.root, coursedir.source_directory).resolve()
        seed = secrets.randbelow(MOST_SEEDS) if self.seed < 0 else self.seed
        order = Order(solutions, releases, seed, self.isolated)
        outcome = _judge(order, submission.assignment, any_seed=self.seed < 0).grade(submission)
        if outcome.entry is None:
            raise GradingError(outcome.problem)
        for note in outcome.notes:
            self.log.warning(note)
        depends_on = fingerprint(order, submission)
        resources.setdefault("outputs", {})[FINGERPRINT] = depends_on.encode()
        return nbformat.reads(outcome.entry.notebook, as_version=4), resources


_kept: dict[str, Judge] = {}
_started: list[Zygote] = []


def _start_jail(isolated: bool) -> None:
    from grader import jail

    problem = jail.why_not() if isolated else ""
    if problem:
        raise GradingError(f"{problem}. For code that you trust: c.GradeInJail.isolated = False")
    zygote = jail.Zygote(isolated)
    zygote.start()
    _started.append(zygote)


def _judge(order: Order, assignment: str, any_seed: bool) -> Judge:
    """The judge that graded the last submission, if nothing has changed since; else a new one.

    Args:
        order: what is to be graded.
        assignment: of which.
        any_seed: whether the seed of the order is as good as any other.
    """
    from grader.class_run import Judge, versions

    version = f"{versions(order, assignment)} {order.isolated} {'' if any_seed else order.seed}"
    if version not in _kept:
        if _kept:  # the release may have changed
            stop()
            _start_jail(order.isolated)
        _kept[version] = Judge(order, _started[-1])
    return _kept[version]


@atexit.register
def stop() -> None:
    """End the jail that is kept."""
    _kept.clear()
    while _started:
        _started.pop().stop()
