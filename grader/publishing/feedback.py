"""The page that a student gets back: when it has to be written, and how.

A page shows the graded notebook with the marks and comments of the gradebook. It is made with nbgrader's exporter
and looks like nbgrader's own feedback. Each page ends with a digest of what it shows, so a page is old when the
digest has changed: after a new grading, and also after a mark or a comment that a person has given in the formgrader.

A student has written most of what is shown. So each page is made in a process of its own that may use only so much
time and memory; where that is not enough, the page shows the same notebook as plain text.
"""

from __future__ import annotations

import contextlib
import filecmp
import fnmatch
import hashlib
import html
import importlib.metadata
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import Exporter
from nbformat.notebooknode import NotebookNode
from nbgrader import utils
from nbgrader.api import (
    Assignment,
    BaseCell,
    Comment,
    Grade,
    Gradebook,
    Notebook,
    SubmittedAssignment,
    SubmittedNotebook,
)
from nbgrader.converters import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import GetGrades
from traitlets.config import Config

from grader.display import bounds
from grader.sandbox.inside import namespaces

PAGE_CPU_TIMEOUT = 20  # seconds of the processor; a usual page takes a fifth of a second
PAGE_TIMEOUT = 200.0  # seconds that pass, on a machine that is busy with other things
MAX_PAGE_MEMORY = 2**30  # bytes, more than what the command has when it begins

_DIGEST = re.compile(rb"<!-- shows ([0-9a-f]{64}) -->\s*\Z")
_NO_MEMORY, _NO_TIME = "it needs too much memory", "it takes too long"


@dataclass(frozen=True)
class Marks:
    """What the gradebook says about one student's notebook.

    Attributes:
        scores: points by `grade_id`.
        points: the points that there are, by `grade_id`.
        comments: by `grade_id`; None where there is none.
        points_of_all: the points that there are in the whole notebook.
        late: the points that it loses for being late.
    """

    scores: dict[str, float] = field(default_factory=dict)
    points: dict[str, float] = field(default_factory=dict)
    comments: dict[str, str | None] = field(default_factory=dict)
    points_of_all: float = 0.0
    late: float = 0.0

    @property
    def score(self) -> float:
        """The points of the whole notebook."""
        return sum(self.scores.values()) - self.late


@dataclass(frozen=True)
class Page:
    """A page that there is or should be.

    Attributes:
        student: whose.
        assignment: of which.
        notebook: the graded notebook that it shows.
        path: where the page is.
        marks: what it shows of the gradebook; None if the gradebook does not know this submission.
        digest: of everything that it shows.
    """

    student: str
    assignment: str
    notebook: Path
    path: Path
    marks: Marks | None
    digest: str

    @property
    def old(self) -> bool:
        """Whether it is missing or shows something else than it should."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self.path.stat().st_size - 200))
                found = _DIGEST.search(file.read())
        except OSError:
            return True
        return found is None or found[1].decode() != self.digest


@dataclass(frozen=True)
class Written:
    """What became of a page.

    Attributes:
        page: which.
        seconds: how long it took.
        plain: why it shows plain text; empty if it does not.
        problem: why it could not be written; empty if it was.
    """

    page: Page
    seconds: float
    plain: str = ""
    problem: str = ""


def pages(directory: CourseDirectory, config: Config, gradebook: Gradebook, assignment: str) -> list[Page]:
    """The page of each graded submission of an assignment.

    Args:
        directory: of the course.
        config: nbgrader's.
        gradebook: open.
        assignment: its name.

    Raises:
        OSError: the graded notebooks cannot be read.
        sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
    """
    marks = _marks(gradebook, assignment)
    maker = _maker(config)
    graded = Path(directory.root, directory.autograded_directory)
    found = []
    for folder in sorted(graded.iterdir()) if graded.is_dir() else ():
        notebook = folder / assignment / f"{assignment}.ipynb"
        if not folder.name.startswith(".") and notebook.is_file():
            own = marks.get(folder.name)
            path = Path(directory.root, directory.feedback_directory, folder.name, assignment, f"{assignment}.html")
            says = [maker, folder.name, assignment, own and vars(own)]
            digest = hashlib.sha256(json.dumps(says, sort_keys=True).encode("utf-8", "surrogatepass"))
            digest.update(hashlib.sha256(notebook.read_bytes()).digest())
            found.append(Page(folder.name, assignment, notebook, path, own, digest.hexdigest()))
    return found


def _marks(gradebook: Gradebook, assignment: str) -> dict[str, Marks]:
    """What the gradebook says about an assignment, by student, with a few queries for the whole class."""
    db = gradebook.db
    total = db.query(Notebook.max_score).join(Assignment).filter(Assignment.name == assignment)
    total = total.filter(Notebook.name == assignment).scalar() or 0.0

    def of_the_class(*columns: object) -> list[tuple[Any, ...]]:
        query = db.query(SubmittedAssignment.student_id, *columns).select_from(SubmittedNotebook)
        query = query.join(SubmittedAssignment, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        query = query.join(Assignment, SubmittedAssignment.assignment_id == Assignment.id)
        query = query.join(Notebook, SubmittedNotebook.notebook_id == Notebook.id)
        for table in (Grade, Comment):
            if any(getattr(column, "class_", None) is table for column in columns):
                query = query.join(table, table.notebook_id == SubmittedNotebook.id)
                query = query.join(BaseCell, table.cell_id == BaseCell.id)
        rows: list[tuple[Any, ...]] = query.filter(Assignment.name == assignment, Notebook.name == assignment).all()
        return rows

    found = {
        student: Marks(points_of_all=total, late=penalty or 0.0)
        for student, penalty in of_the_class(SubmittedNotebook.late_submission_penalty)
    }
    for student, name, score, points in of_the_class(BaseCell.name, Grade.score, Grade.max_score):
        found[student].scores[name] = score
        found[student].points[name] = points
    for student, name, comment in of_the_class(BaseCell.name, Comment.comment):
        found[student].comments[name] = comment
    return found


def _maker(config: Config) -> str:
    """What a page looks like besides what it shows: the programs and settings that make it."""
    versions = [importlib.metadata.version(name) for name in ("nbgrader", "nbconvert", "mistune", "pygments")]
    sources = [Path(module).read_text("utf-8") for module in (__file__, bounds.__file__)]
    settings = [str(config.get(name)) for name in ("GenerateFeedback", "HTMLExporter", "CSSHTMLHeaderPreprocessor")]
    return hashlib.sha256(json.dumps([versions, sources, settings]).encode()).hexdigest()


class Writer:
    """Writes pages, several at a time. Made once for a run: to import and try the exporter takes a second.

    Args:
        directory: of the course.
        config: nbgrader's.
    """

    def __init__(self, directory: CourseDirectory, config: Config) -> None:
        converter = GenerateFeedback(coursedir=directory, config=config)
        self._ignored = [*directory.ignore, "*.ipynb", ".*"]
        own = config.get("GenerateFeedback", {})
        self._mode = (
            int(str(own["permissions"]), 8) if "permissions" in own else 0o660 if directory.groupshared else 0o600
        )
        self._exporter: Exporter = converter.exporter_class(parent=converter, config=converter.config)
        for each in converter.preprocessors:
            if each is not GetGrades:  # the marks are those that the digest was made from
                self._exporter.register_preprocessor(each)
        # What is loaded when it is first used is there before the first process is forked.
        v4 = nbformat.v4
        tried = v4.new_notebook(cells=[v4.new_code_cell("a = 1"), v4.new_markdown_cell("*a* $x$ `b`")])
        self._export(tried, Path(), "", Marks())

    def write(self, due: Sequence[Page], jobs: int) -> Iterator[Written]:
        """Write pages; yields each as it is done. A page is replaced in one step.

        Args:
            due: which.
            jobs: how many at a time.

        Raises:
            OSError: they cannot be written.
        """
        waiting = deque((page, "") for page in due)
        running: list[_Making] = []
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    page, plain = waiting.popleft()
                    if page.marks is None:
                        yield Written(page, 0.0, problem="the gradebook does not know it; grade it again: --force")
                    else:
                        running.append(_Making(self, page, plain))
                if not running:
                    continue
                left = min(making.deadline for making in running) - time.monotonic()
                wait([making.process.sentinel for making in running], timeout=max(0.0, left))
                for making in [each for each in running if each.is_over]:
                    running.remove(making)
                    why_not = making.finish()
                    if why_not and not making.plain:
                        waiting.appendleft((making.page, why_not))
                        continue
                    if not why_not:
                        self._copy_files(making.page)
                    yield Written(making.page, making.seconds, making.plain, why_not and f"no page: {why_not}")
        finally:
            for making in running:
                making.end()

    def make(self, page: Page, plain: str) -> str:
        """The HTML of a page.

        Args:
            page: which.
            plain: why it has to be plain text; empty if it has not.

        Raises:
            ValueError: the gradebook has no mark for one of its cells.
        """
        marks = page.marks or Marks()
        notebook = nbformat.read(page.notebook, as_version=4)
        bounds.bound(notebook)
        _enter(notebook, marks)
        if plain:
            made = _as_plain_text(notebook, page, marks, plain)
        else:
            made = self._export(notebook, page.notebook.parent, page.assignment, marks, page.student)
        return f"{made.rstrip()}\n<!-- shows {page.digest} -->\n"

    def _export(self, notebook: NotebookNode, folder: Path, assignment: str, marks: Marks, student: str = "") -> str:
        about = {
            "student": student,
            "assignment": assignment,
            "notebook": assignment,
            "score": marks.score,
            "max_score": marks.points_of_all,
            "late_penalty": marks.late,
        }
        resources = {
            "unique_key": assignment,
            "nbgrader": about,
            "metadata": {"path": str(folder), "name": assignment},
        }
        made: str = self._exporter.from_notebook_node(notebook, resources=resources)[0]
        return made

    def _copy_files(self, page: Page) -> None:
        """Put the assignment's other files, and the date, beside a page, as nbgrader does."""
        for path in page.notebook.parent.iterdir():
            beside = page.path.with_name(path.name)
            if path.is_symlink() or not path.is_file() or any(fnmatch.fnmatch(path.name, i) for i in self._ignored):
                continue
            if not beside.is_file() or not filecmp.cmp(path, beside, shallow=False):
                made = _beside(beside)
                shutil.copyfile(path, made)
                made.chmod(self._mode)
                os.replace(made, beside)

    @property
    def mode(self) -> int:
        """The permissions of what is written."""
        return self._mode


class _Making:
    """A page that is being made, in a process of its own."""

    def __init__(self, writer: Writer, page: Page, plain: str) -> None:
        self.page, self.plain = page, plain
        self._mode = writer.mode
        page.path.parent.mkdir(parents=True, exist_ok=True)
        self._made = _beside(page.path)
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe(duplex=False)
        self._start = time.monotonic()
        self.deadline = self._start + PAGE_TIMEOUT
        arguments = (writer, page, plain, self._made, theirs, os.getpid())
        self.process: ForkProcess = context.Process(target=_make, args=arguments, daemon=True)
        self.process.start()
        theirs.close()

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self._start

    @property
    def is_over(self) -> bool:
        """Whether it has ended or has to be ended."""
        return not self.process.is_alive() or time.monotonic() >= self.deadline

    def finish(self) -> str:
        """Put the page into its place; returns why there is none, or nothing."""
        late = self.process.is_alive()
        self.process.join(0 if late else None)
        why_not = _NO_TIME
        try:
            why_not = self._pipe.recv() if self._pipe.poll() else why_not
        except EOFError:  # it was ended before it could say anything
            why_not = _NO_MEMORY if self.process.exitcode == -signal.SIGKILL else why_not
        if late or why_not:
            self.end()
            return why_not or _NO_TIME
        self._made.chmod(self._mode)
        os.replace(self._made, self.page.path)
        self.end()
        return ""

    def end(self) -> None:
        """End it, and leave nothing behind."""
        self.process.kill()
        self.process.join()
        self._pipe.close()
        self._made.unlink(missing_ok=True)


def _make(writer: Writer, page: Page, plain: str, to: Path, pipe: Connection, parent: int) -> None:
    """Make a page, in a process of its own; says why it could not, or nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which then ends this
    if sys.platform == "linux":
        namespaces.die_with_parent()
        namespaces.be_called("page")
        in_use = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, in_use + MAX_PAGE_MEMORY)
    _limit(resource.RLIMIT_CPU, PAGE_CPU_TIMEOUT)
    if os.getppid() != parent:
        return
    try:
        to.write_text(writer.make(page, plain), encoding="utf-8", errors="backslashreplace")
        why_not = ""
    except MemoryError:
        why_not = _NO_MEMORY
    except RecursionError:
        why_not = "it is nested too deeply"
    except Exception as error:
        why_not = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
    with contextlib.suppress(OSError):
        pipe.send(why_not)


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _beside(path: Path) -> Path:
    """A new file beside the place of another one, into which it is moved when it is complete."""
    for left in path.parent.iterdir():
        if left.name.startswith(f".{path.name}-"):  # by a run that was killed
            left.unlink()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    return Path(name)


def _enter(notebook: NotebookNode, marks: Marks) -> None:
    """Enter marks and comments into a notebook's metadata, where nbgrader's template looks for them."""
    try:
        for cell in notebook.cells:
            if utils.is_solution(cell) or utils.is_task(cell):
                cell.metadata.nbgrader["comment"] = marks.comments[cell.metadata.nbgrader["grade_id"]]
            if utils.is_grade(cell) or utils.is_task(cell):
                cell.metadata.nbgrader["score"] = marks.scores[cell.metadata.nbgrader["grade_id"]]
                cell.metadata.nbgrader["points"] = marks.points[cell.metadata.nbgrader["grade_id"]]
    except KeyError as error:
        raise ValueError(f"the gradebook has no {error}; grade it again: --force") from None


_STYLE = """
body { font-family: sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: 0.6rem; }
section { border-top: 1px solid #bbb; }
td, th { text-align: left; padding: 0.1rem 0.8rem 0.1rem 0; }
"""


def _as_plain_text(notebook: NotebookNode, page: Page, marks: Marks, why: str) -> str:
    """A page of plain text. Of HTML it has only the tables of the checks, which are the grader's own."""
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{score:g} / {marks.points[name]:g}</td></tr>"
        for name, score in marks.scores.items()
    ]
    if marks.late:
        rows.append(f"<tr><td>handed in late</td><td>-{marks.late:g}</td></tr>")
    parts = [_plain_cell(cell) for cell in notebook.cells]
    title = html.escape(page.assignment)
    return "\n".join(
        [
            f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{_STYLE}</style></head>\n<body>",
            f"<h1>{title} (Score: {marks.score:g} / {marks.points_of_all:g})</h1>",
            f"<p>This page shows the notebook as plain text. With formats and colours, {html.escape(why)}.</p>",
            "<table>",
            *rows,
            "</table>",
            *parts,
            "</body>\n</html>",
        ]
    )


def _plain_cell(cell: NotebookNode) -> str:
    own = cell.metadata.get("nbgrader", {})
    parts = [f"<pre>{html.escape(cell.source)}</pre>"]
    if "score" in own:
        name = html.escape(str(own["grade_id"]))
        parts.insert(0, f"<p><b>{name}</b>: {own['score']:g} / {own['points']:g}</p>")
    if own.get("comment"):
        parts.append(f"<p><b>Comments:</b> {html.escape(own['comment'])}</p>")
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if own.get("locked") and "text/html" in data:
            parts.append(data["text/html"])
            continue
        text = "\n".join(output.get("traceback", ())) or output.get("text") or data.get("text/plain", "")
        parts.append(f"<pre>{html.escape(text or '(a picture)')}</pre>")
    return "<section>\n" + "\n".join(parts) + "\n</section>"
