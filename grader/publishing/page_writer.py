"""Write pages of feedback, several at a time.

In: pages that are outdated. Out: HTML files, and for each page how long it took and what went wrong. nbgrader's
exporter makes the pages, so they look like nbgrader's own. Most of a page comes from the student; so each page is
made in a process of its own with limits on time and memory. If a page exceeds them, it shows the same notebook as
plain text.
"""

from __future__ import annotations

import contextlib
import filecmp
import fnmatch
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

import nbformat
from nbconvert.exporters import Exporter
from nbformat.notebooknode import NotebookNode
from nbgrader import utils
from nbgrader.converters import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import GetGrades
from traitlets.config import Config

from grader.display import bounds
from grader.errors import PageError
from grader.gradebook.queries import NotebookMarks
from grader.publishing.feedback import Page
from grader.publishing.plain_page import plain_page
from grader.sandbox.inside import namespaces

PAGE_CPU_TIMEOUT = 20  # seconds of CPU time; a usual page takes 0.2 s
PAGE_TIMEOUT = 200.0  # seconds of wall-clock time, on a machine that is busy with other work
MAX_PAGE_MEMORY = 2**30  # bytes, in addition to what the command uses when the page begins
MAX_REASON = 500  # characters of an exception's message

_OUT_OF_MEMORY, _OUT_OF_TIME = "it needs too much memory", "it takes too long"


@dataclass(frozen=True)
class PageResult:
    """What became of a page.

    Attributes:
        page: which.
        seconds: how long it took.
        plain_because: why the page shows plain text; None if it has formats and colours.
        error: why there is no new page; None if it was written.
    """

    page: Page
    seconds: float
    plain_because: str | None = None
    error: str | None = None


class PageWriter:
    """Writes pages. Make one for a whole run: it takes a second to import and try the exporter.

    Args:
        directory: of the course.
        config: nbgrader's.
    """

    def __init__(self, directory: CourseDirectory, config: Config) -> None:
        converter = GenerateFeedback(coursedir=directory, config=config)
        self._ignored = [*directory.ignore, "*.ipynb", ".*"]
        own = config.get("GenerateFeedback", {})
        if "permissions" in own:
            self.mode = int(str(own["permissions"]), 8)
        else:
            self.mode = 0o660 if directory.groupshared else 0o600
        self._exporter: Exporter = converter.exporter_class(parent=converter, config=converter.config)
        for each in converter.preprocessors:
            if each is not GetGrades:  # the marks must be the ones in the page's digest
                self._exporter.register_preprocessor(each)
        # A first export loads everything that is loaded on first use, before a process is forked.
        v4 = nbformat.v4
        first = v4.new_notebook(cells=[v4.new_code_cell("a = 1"), v4.new_markdown_cell("*a* $x$ `b`")])
        self._export(first, Path(), "", NotebookMarks())

    def write(self, pages: Sequence[Page], jobs: int) -> Iterator[PageResult]:
        """Write pages, and yield each result as it is ready. A page is replaced in one step.

        Args:
            pages: which.
            jobs: how many at a time.

        Raises:
            OSError: they cannot be written.
        """
        pending: deque[tuple[Page, str | None]] = deque((page, None) for page in pages)
        running: list[_PageProcess] = []
        try:
            while pending or running:
                while pending and len(running) < jobs:
                    page, plain_because = pending.popleft()
                    if page.marks is None:
                        error = "the gradebook does not have this submission; grade it again: --force"
                        yield PageResult(page, 0.0, error=error)
                    else:
                        running.append(_PageProcess(self, page, plain_because))
                if not running:
                    continue
                seconds = min(process.deadline for process in running) - time.monotonic()
                wait([process.sentinel for process in running], timeout=max(0.0, seconds))
                for process in [each for each in running if each.is_over]:
                    running.remove(process)
                    page, plain_because = process.page, process.plain_because
                    try:
                        process.finish()
                    except PageError as reason:
                        if plain_because is None:
                            pending.appendleft((page, str(reason)))
                        else:
                            yield PageResult(page, process.seconds, plain_because, f"no page: {reason}")
                    else:
                        self._copy_files(page)
                        yield PageResult(page, process.seconds, plain_because)
        finally:
            for process in running:
                process.end()

    def make(self, page: Page, plain_because: str | None) -> str:
        """The HTML of a page.

        Args:
            page: which.
            plain_because: why it has to be plain text; None if it has formats and colours.

        Raises:
            PageError: the gradebook has no mark for one of its cells.
        """
        marks = page.marks or NotebookMarks()
        notebook = nbformat.read(page.notebook, as_version=4)
        bounds.bound(notebook)
        _enter_marks(notebook, marks)
        if plain_because is not None:
            return page.sign(plain_page(notebook, page.assignment, marks, plain_because))
        return page.sign(self._export(notebook, page.notebook.parent, page.assignment, marks, page.student))

    def _export(
        self, notebook: NotebookNode, folder: Path, assignment: str, marks: NotebookMarks, student: str = ""
    ) -> str:
        resources = {
            "unique_key": assignment,
            "nbgrader": {
                "student": student,
                "assignment": assignment,
                "notebook": assignment,
                "score": marks.score,
                "max_score": marks.max_score,
                "late_penalty": marks.late_penalty,
            },
            "metadata": {"path": str(folder), "name": assignment},
        }
        html: str = self._exporter.from_notebook_node(notebook, resources=resources)[0]
        return html

    def _copy_files(self, page: Page) -> None:
        """Copy the assignment's other files and the timestamp beside a page, as nbgrader does."""
        for path in page.notebook.parent.iterdir():
            target = page.path.with_name(path.name)
            if path.is_symlink() or not path.is_file() or any(fnmatch.fnmatch(path.name, i) for i in self._ignored):
                continue
            if not target.is_file() or not filecmp.cmp(path, target, shallow=False):
                new = _temporary_file(target)
                shutil.copyfile(path, new)
                new.chmod(self.mode)
                os.replace(new, target)


class _PageProcess:
    """A process that makes one page."""

    def __init__(self, writer: PageWriter, page: Page, plain_because: str | None) -> None:
        self.page, self.plain_because = page, plain_because
        self._mode = writer.mode
        page.path.parent.mkdir(parents=True, exist_ok=True)
        self._new = _temporary_file(page.path)
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe(duplex=False)
        self._start = time.monotonic()
        self.deadline = self._start + PAGE_TIMEOUT
        arguments = (writer, page, plain_because, self._new, theirs, os.getpid())
        self._process: ForkProcess = context.Process(target=_make_page, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    @property
    def sentinel(self) -> int:
        """A file descriptor that is ready when the process has ended."""
        return self._process.sentinel

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._start

    @property
    def is_over(self) -> bool:
        """Whether it has ended or has to be ended."""
        return not self._process.is_alive() or time.monotonic() >= self.deadline

    def finish(self) -> None:
        """Replace the page by the new one.

        Raises:
            PageError: the process has not made a page; the old one stays.
        """
        timed_out = self._process.is_alive()
        self._process.join(0 if timed_out else None)
        reason: str | None = _OUT_OF_TIME
        try:
            if self._pipe.poll() and not timed_out:
                reason = self._pipe.recv()
        except EOFError:  # it was killed before it could send anything
            reason = _OUT_OF_MEMORY if self._process.exitcode == -signal.SIGKILL else _OUT_OF_TIME
        if reason is None:
            self._new.chmod(self._mode)
            os.replace(self._new, self.page.path)
        self.end()
        if reason is not None:
            raise PageError(reason)

    def end(self) -> None:
        """End it, and delete what it has written."""
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._new.unlink(missing_ok=True)


def _make_page(
    writer: PageWriter, page: Page, plain_because: str | None, to: Path, pipe: Connection, parent: int
) -> None:
    """Make a page in this process; sends None, or why there is no page."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which then ends this process
    if sys.platform == "linux":
        namespaces.die_with_parent()
        namespaces.set_process_name("page")
        in_use = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        _set_limit(resource.RLIMIT_AS, in_use + MAX_PAGE_MEMORY)
    _set_limit(resource.RLIMIT_CPU, PAGE_CPU_TIMEOUT)
    if os.getppid() != parent:
        return
    reason = None
    try:
        to.write_text(writer.make(page, plain_because), encoding="utf-8", errors="backslashreplace")
    except MemoryError:
        reason = _OUT_OF_MEMORY
    except RecursionError:
        reason = "it is nested too deeply"
    except PageError as error:
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"[:MAX_REASON]
    with contextlib.suppress(OSError):
        pipe.send(reason)


def _set_limit(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _temporary_file(path: Path) -> Path:
    """A new file beside another one, which it replaces when it is complete."""
    for leftover in path.parent.iterdir():
        if leftover.name.startswith(f".{path.name}-"):  # of a run that was killed
            leftover.unlink()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    return Path(name)


def _enter_marks(notebook: NotebookNode, marks: NotebookMarks) -> None:
    """Enter marks and comments into a notebook's metadata, where nbgrader's template reads them."""
    try:
        for cell in notebook.cells:
            if utils.is_solution(cell) or utils.is_task(cell):
                cell.metadata.nbgrader["comment"] = marks.comments[cell.metadata.nbgrader["grade_id"]]
            if utils.is_grade(cell) or utils.is_task(cell):
                cell.metadata.nbgrader["score"] = marks.scores[cell.metadata.nbgrader["grade_id"]]
                cell.metadata.nbgrader["points"] = marks.max_scores[cell.metadata.nbgrader["grade_id"]]
    except KeyError as error:
        raise PageError(f"the gradebook has no {error}; grade it again: --force") from None
