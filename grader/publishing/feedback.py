"""The pages of feedback that students get back: which ones there are, and which are outdated.

In: the graded notebooks of an assignment, and the gradebook. Out: one `Page` for each. A page shows the graded
notebook with the marks and comments of the gradebook. Each page ends with a digest of everything that it shows. It
is outdated if the digest has changed: after a new grading, and also after a person has changed a mark or a comment
in the formgrader.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from grader.display import bounds
from grader.gradebook.queries import NotebookMarks, notebook_marks

# The programs that decide how a page looks.
_PROGRAMS = [Path(__file__).with_name(f"{name}.py") for name in ("feedback", "page_writer", "plain_page")]
_PACKAGES = ("nbgrader", "nbconvert", "mistune", "pygments")
_SETTINGS = ("GenerateFeedback", "HTMLExporter", "CSSHTMLHeaderPreprocessor")
_DIGEST = re.compile(rb"<!-- shows ([0-9a-f]{64}) -->\s*\Z")
_DIGEST_LENGTH = 200  # bytes at the end of a page in which the digest is searched


@dataclass(frozen=True)
class Page:
    """A page of feedback, whether it is written or not.

    Attributes:
        student: who gets it.
        assignment: its name.
        notebook: the graded notebook that the page shows.
        path: of the page.
        marks: what the page shows of the gradebook; None if the gradebook does not have this submission.
        digest: of everything that the page shows.
    """

    student: str
    assignment: str
    notebook: Path
    path: Path
    marks: NotebookMarks | None
    digest: str

    @property
    def is_outdated(self) -> bool:
        """Whether the page is missing, or does not show what it should."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, self.path.stat().st_size - _DIGEST_LENGTH))
                found = _DIGEST.search(file.read())
        except OSError:
            return True
        return found is None or found[1].decode() != self.digest

    def sign(self, html: str) -> str:
        """The HTML of this page with its digest at the end."""
        return f"{html.rstrip()}\n<!-- shows {self.digest} -->\n"


def feedback_pages(directory: CourseDirectory, config: Config, gradebook: Gradebook, assignment: str) -> list[Page]:
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
    marks = notebook_marks(gradebook, assignment)
    layout = _layout(config)
    graded = Path(directory.root, directory.autograded_directory)
    pages = []
    for folder in sorted(graded.iterdir()) if graded.is_dir() else ():
        student = folder.name
        notebook = folder / assignment / f"{assignment}.ipynb"
        if not student.startswith(".") and notebook.is_file():
            own = marks.get(student)
            path = Path(directory.root, directory.feedback_directory, student, assignment, f"{assignment}.html")
            shown = json.dumps([layout, student, assignment, own and vars(own)], sort_keys=True)
            digest = hashlib.sha256(shown.encode("utf-8", "surrogatepass"))
            digest.update(hashlib.sha256(notebook.read_bytes()).digest())
            pages.append(Page(student, assignment, notebook, path, own, digest.hexdigest()))
    return pages


def _layout(config: Config) -> str:
    """A digest of the programs and settings that decide how a page looks."""
    versions = [importlib.metadata.version(name) for name in _PACKAGES]
    programs = [path.read_text("utf-8") for path in (*_PROGRAMS, Path(bounds.__file__))]
    settings = [str(config.get(name)) for name in _SETTINGS]
    return hashlib.sha256(json.dumps([versions, programs, settings]).encode()).hexdigest()
