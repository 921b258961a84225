"""Read a notebook that a student has written.

In: a file that may hold anything. Out: a notebook of the current format, and what its cells say. Notebooks of the
older formats and in any Unicode encoding are read, because students have them. All sizes are limited.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.errors import SubmissionError
from grader.sandbox.inside.protocol import parse

MAX_BYTES = 50 * 2**20
MAX_CELLS = 500
MAX_CHARACTERS = 200_000  # of one cell's source
MAX_REASON = 200  # characters of a converter's error message


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        SubmissionError: the file is not a notebook, or it is too large.
    """
    size = 0
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SubmissionError(
                f"{path.name} is too large: {size / 2**20:.0f} MB, the maximum is {MAX_BYTES / 2**20:.0f} MB"
            )
        data = path.read_bytes()
        form = parse(data.decode(json.detect_encoding(data)).removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        reason = "it is empty" if size == 0 else str(error)
        raise SubmissionError(
            f"{path.name} is not a notebook that can be read: {reason}; ask for another copy"
        ) from error
    except OSError as error:
        raise SubmissionError(f"{path.name} cannot be read: {error.strerror}") from error
    if not isinstance(form, dict) or type(form.get("nbformat")) is not int:
        raise SubmissionError(f"{path.name} is JSON, but not a notebook")
    try:
        return _in_current_format(form, path.name)
    except RecursionError as error:
        raise SubmissionError(f"{path.name} is not a notebook that can be read: it is nested too deeply") from error


def cells_of(notebook: NotebookNode) -> list[NotebookNode]:
    """The code, Markdown and raw cells of a notebook.

    Raises:
        SubmissionError: there are more than `MAX_CELLS`.
    """
    cells = [c for c in notebook.cells if isinstance(c, dict) and c.get("cell_type") in ("code", "markdown", "raw")]
    _check_number(cells)
    return cells


def source_of(cell: NotebookNode) -> str:
    """The source of a cell with Unix line ends, at most `MAX_CHARACTERS` long."""
    source = cell.get("source", "")
    text = "".join(str(line) for line in source) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")[:MAX_CHARACTERS]


def grade_id_of(cell: NotebookNode) -> str | None:
    """The name that nbgrader's metadata gives a cell; None for a cell that is not part of the assignment."""
    name = _nbgrader_metadata(cell).get("grade_id")
    return name if name and isinstance(name, str) else None


def is_answer(cell: NotebookNode) -> bool:
    """Whether a released cell is one that students fill in (in nbgrader's words, a solution cell)."""
    return bool(_nbgrader_metadata(cell).get("solution"))


def _in_current_format(form: dict[str, Any], name: str) -> NotebookNode:
    major = form["nbformat"]
    if not 1 <= major <= nbformat.current_nbformat:
        raise SubmissionError(
            f"{name} has the format {major}; formats 1 to {nbformat.current_nbformat} can be read; ask for another "
            "copy"
        )
    if major < nbformat.current_nbformat:
        return _convert(form, name)
    if not isinstance(form.get("cells"), list):
        raise SubmissionError(f"{name} has no cells")
    return nbformat.from_dict(form)


def _convert(form: dict[str, Any], name: str) -> NotebookNode:
    """A notebook of an older format in the current one."""
    major = form["nbformat"]
    sheets = form.get("worksheets") if major > 1 else [form]
    try:
        cells = [cell for sheet in sheets or () for cell in sheet["cells"]]
        _check_number(cells)
        for cell in cells:
            if "outputs" in cell:  # grading computes them again
                cell["outputs"] = []
        old = nbformat.versions[major].to_notebook_json({"metadata": {}, **form})
        return nbformat.convert(old, nbformat.current_nbformat)
    except SubmissionError:
        raise
    except Exception as error:  # the converter raises anything if a notebook is damaged
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:MAX_REASON]}"
        raise SubmissionError(f"{name} has the old format {major} and is damaged ({reason})") from error


def _check_number(cells: Sequence[object]) -> None:
    if len(cells) > MAX_CELLS:
        raise SubmissionError(f"it has {len(cells)} cells, the maximum is {MAX_CELLS}")


def _nbgrader_metadata(cell: NotebookNode) -> dict[str, Any]:
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return own if isinstance(own, dict) else {}
