"""Put a submission into the form that is graded: the release, with the student's answers in it.

What is graded is always the released notebook. From the submission come only the student's answers, found by their
`grade_id`, and cells that the student has added, because an answer may need them. So cells of ours that were deleted,
edited, copied or moved do no harm; each such thing is noted, for the student to read.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.jailed.wire import parse

MOST_BYTES = 50 * 2**20
MOST_CELLS = 500
MOST_CHARACTERS = 200_000  # of one cell's source
MOST_NAMED = 5  # of files, in a sentence
MOST_PICTURES = 20  # pasted into a text cell
MOST_OF_A_PICTURE = 8_000_000  # characters


class BadSubmission(Exception):
    """A submission that cannot be graded, in one line that says why."""


@dataclass(frozen=True)
class Repaired:
    """A notebook that is ready to be run, and what had to be done to it."""

    notebook: NotebookNode
    notes: tuple[str, ...]


def find(folder: Path, assignment: str) -> tuple[Path, tuple[str, ...]]:
    """The notebook of a submission, and notes about what is odd.

    Raises:
        BadSubmission: there is none that could be meant.
    """
    named = folder / f"{assignment}.ipynb"
    for path in (folder, folder.parent):  # to somebody else's work, perhaps
        if path.is_symlink():
            raise BadSubmission(f"{path.name} is a link, not a submission")
    if not folder.is_dir():
        raise BadSubmission(f"{folder} is not there any more; nothing was entered")
    found = sorted(path for path in folder.glob("*.ipynb") if path.is_file() and not path.is_symlink())
    if named in found:
        extra = [path.name for path in found if path != named]
        return named, (f"Also handed in, and not looked at: {some(extra)}.",) if extra else ()
    if named.is_symlink():
        raise BadSubmission(f"{named.name} is a link, not a notebook")
    if len(found) == 1:
        return found[0], (f"The notebook is called {found[0].name}; it was graded as {named.name}.",)
    there = [path.name for path in found or sorted(folder.iterdir()) if path.name != "timestamp.txt"]
    raise BadSubmission(f"there is no {named.name}; there is {some(there) or 'nothing'}")


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def read(path: Path) -> NotebookNode:
    """Read a notebook that a stranger has written.

    Raises:
        BadSubmission: it is no notebook.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BadSubmission(f"{path.name} is too large: {size / 2**20:.0f} MB, {MOST_BYTES / 2**20:.0f} at most")
        form = parse(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        what = "it is empty" if size == 0 else str(error)
        raise BadSubmission(
            f"{path.name} is not a notebook that can be read: {what}; ask for another copy"
        ) from error
    except OSError as error:
        raise BadSubmission(f"{path.name} cannot be read: {error.strerror}") from error
    if not isinstance(form, dict) or not isinstance(form.get("nbformat"), int):
        raise BadSubmission(f"{path.name} is JSON, but not a notebook")
    if form["nbformat"] < 4:
        try:
            form = nbformat.convert(nbformat.from_dict(form), 4)
        except Exception as error:  # the converter trips over anything
            raise BadSubmission(f"{path.name} has the old format {form['nbformat']} and is damaged") from error
    if not isinstance(form.get("cells"), list):
        raise BadSubmission(f"{path.name} has no cells")
    try:
        return nbformat.from_dict(form)
    except RecursionError as error:
        raise BadSubmission(f"{path.name} is not a notebook that can be read: it is nested too deeply") from error


def repair(release: NotebookNode, submission: NotebookNode, kept: tuple[str, ...] = ()) -> Repaired:
    """The release with the student's answers and added cells.

    Args:
        release: as it was handed out.
        submission: as it was handed in.
        kept: notes that there are already.

    Raises:
        BadSubmission: none of the release's answer cells is in it.
    """
    notes = list(kept)
    ours = {_id(cell): cell for cell in release.cells if _id(cell)}
    result = copy.deepcopy(NotebookNode({name: value for name, value in release.items() if name != "cells"}))
    answers: dict[str, NotebookNode] = {}
    added: dict[str, list[NotebookNode]] = {"": []}
    order: list[str] = []
    last = ""
    for number, cell in enumerate(_cells(submission)):
        name = _id(cell)
        if name not in ours:
            added[last].append(_plain_cell(cell, number))
        elif name in order:
            notes.append(f"The cell {name!r} is there more than once; the copy was run where it stands.")
            if not _locked(ours[name]) and _source(cell) != _source(answers[name]):
                added[last].append(_plain_cell(cell, number))
        else:
            order.append(name)
            added[name] = []
            last = name
            if not _locked(ours[name]):
                answers[name] = cell
            elif _source(cell) != _source(ours[name]):
                notes.append(f"The cell {name!r} is not yours to change; it was put back as it was.")
    wanted = [name for name, cell in ours.items() if not _locked(cell)]
    if not answers and wanted:
        raise BadSubmission(
            "none of the assignment's answer cells is in it; is it the notebook of another assignment, or was it "
            "saved by a program that drops nbgrader's metadata?"
        )
    missing = [name for name in ours if name not in order]
    if missing:
        notes.append(f"Cells were missing and have been put back: {', '.join(missing)}.")
    if order != [name for name in ours if name in order]:
        notes.append("Cells had been moved; they were run in the order of the assignment.")
    result.cells = [*added[""]]
    for cell in copy.deepcopy(release.cells):
        name = _id(cell)
        if name in answers:
            source = _source(answers[name])
            if source != _source(cell) and cell.cell_type == "code":
                cell.source = source
            elif source != _source(cell):
                cell.update(_text(answers[name]))
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        result.cells.append(cell)
        result.cells += added.get(name, [])
    return Repaired(result, tuple(dict.fromkeys(notes)))


def _cells(notebook: NotebookNode) -> list[NotebookNode]:
    cells = [c for c in notebook.cells if isinstance(c, dict) and c.get("cell_type") in ("code", "markdown", "raw")]
    if len(cells) > MOST_CELLS:
        raise BadSubmission(f"it has {len(cells)} cells, {MOST_CELLS} at most")
    return cells


def _own(cell: NotebookNode) -> dict[str, Any]:
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return own if isinstance(own, dict) else {}


def _id(cell: NotebookNode) -> str:
    name = _own(cell).get("grade_id")
    return name if isinstance(name, str) else ""


def _locked(cell: NotebookNode) -> bool:
    return not _own(cell).get("solution")


def _source(cell: NotebookNode) -> str:
    """The source with Unix line ends, capped."""
    source = cell.get("source", "")
    text = "".join(str(line) for line in source) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")[:MOST_CHARACTERS]


def _loosely(word: str) -> str:
    """The letters of a word, and between them what Markdown or a browser leaves out of an address."""
    return r"[\s\\\x00-\x1f]*".join([*word, ""])


# Where a tag, an entity, a picture or the address of a program begins, in Markdown or TeX.
_ALIVE = re.compile(
    "|".join(
        [r"(?<=<)(?=[a-z/!?])", r"(?<=&)(?=[#a-z])", r"(?<=!)(?=\[)"]
        + [rf"{_loosely(scheme)}(?=:)" for scheme in ("script", "data")]
    ),
    re.IGNORECASE,
)
_PICTURE = re.compile(r"!(\[[^\[\]<&\n]*\]\(attachment:([\w.-]+)\))", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/=\n]*")


def harmless(text: str, pictures: Collection[str] = ()) -> str:
    """Text in which no browser finds a program: it looks the same, with an invisible space where one would begin.

    nbgrader shows text cells as they are, in the browser of whoever marks them, who may do there what nbgrader may.
    A picture becomes a link, because its address is called as soon as it is shown.

    Args:
        text: Markdown or TeX.
        pictures: names of those that lie in the notebook itself; they stay.
    """
    parts, start = [], 0
    for found in _PICTURE.finditer(text):
        if found[2] in pictures:
            parts += [_broken(text[start : found.start()]), found[0]]
            start = found.end()
    return "".join([*parts, _broken(text[start:])])


def _broken(text: str) -> str:
    return _ALIVE.sub("\\g<0>\N{ZERO WIDTH SPACE}", text)


def _pictures(cell: NotebookNode) -> dict[str, dict[str, str]]:
    """The pictures that were pasted into a text cell, by name."""
    given = cell.get("attachments")
    kept: dict[str, dict[str, str]] = {}
    for name, data in given.items() if isinstance(given, dict) else ():
        for mime in ("image/png", "image/jpeg"):
            content = data.get(mime) if isinstance(data, dict) else None
            if isinstance(content, str) and len(content) <= MOST_OF_A_PICTURE and _BASE64.fullmatch(content):
                kept[name] = {mime: content}
    return dict(list(kept.items())[:MOST_PICTURES])


def _text(cell: NotebookNode) -> dict[str, Any]:
    """The source of a text cell, harmless, and its pictures."""
    pictures = _pictures(cell)
    text = {"source": harmless(_source(cell), pictures)}
    return {**text, "attachments": pictures} if pictures else text


def _plain_cell(cell: NotebookNode, number: int) -> NotebookNode:
    """A cell that the student has added, without what a notebook may carry besides its source."""
    name = f"added-{number}"
    match cell.cell_type:
        case "code":
            return nbformat.v4.new_code_cell(_source(cell), id=name)
        case "raw":
            return nbformat.v4.new_raw_cell(harmless(_source(cell)), id=name)
    return nbformat.v4.new_markdown_cell(**_text(cell), id=name)
