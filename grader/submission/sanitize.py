"""Text cells and pictures of a student that cannot run a program in a browser.

In: a cell as the student wrote it. Out: a cell with its source and its PNG and JPEG pictures only, in which no
browser finds HTML, scripts or pictures of other hosts. nbgrader shows text cells as they are, in the browser of the
person who marks them; a program in them could do there whatever nbgrader may.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.display import characters
from grader.display.pictures import Pictures
from grader.errors import PictureError
from grader.submission.read import source_of

MAX_PICTURES = 20  # in one text cell
MAX_PICTURE_LENGTH = 8_000_000  # characters, in base64
MAX_NAME_LENGTH = 200

Attachments = dict[str, dict[str, str]]  # base64 by MIME type, by name


def _with_ignored_between(word: str) -> str:
    """A pattern for a word, also with characters in it that Markdown or a browser ignores in an address."""
    return r"[\s\\\x00-\x1f]*".join([*word, ""])


# The beginning of a tag, an entity, a picture or the address of a program, in Markdown or TeX.
_ACTIVE = re.compile(
    "|".join(
        [r"(?<=<)(?=[a-z/!?])", r"(?<=&)(?=[#a-z])", r"(?<=!)(?=\[)"]
        + [rf"{_with_ignored_between(scheme)}(?=:)" for scheme in ("script", "data")]
    ),
    re.IGNORECASE,
)
_ATTACHED_PICTURE = re.compile(r"!(\[[^\[\]<&\n]*\]\(attachment:([\w.-]+)\))", re.ASCII)


def sanitize_text(text: str, pictures: Collection[str] = ()) -> str:
    """A text in which no browser finds a program.

    It looks the same: an invisible space (U+200B) breaks every tag, entity and address of a program. A picture from
    elsewhere becomes a link, because a browser would request it as soon as it shows the text.

    Args:
        text: Markdown or TeX.
        pictures: names of pictures in the notebook itself; these stay pictures.
    """
    parts, start = [], 0
    for found in _ATTACHED_PICTURE.finditer(text):
        if found[2] in pictures:
            parts += [_break(text[start : found.start()]), found[0]]
            start = found.end()
    return "".join([*parts, _break(text[start:])])


def sanitize_markdown(cell: NotebookNode, pictures: Pictures) -> dict[str, Any]:
    """The source and the attachments of a text cell, sanitized.

    Args:
        cell: of the submission.
        pictures: all pictures of the notebook so far; those of this cell are counted there.
    """
    kept, problems = _attachments(cell, pictures)
    source = "\n\n".join([characters.text(source_of(cell)), *map(characters.text, problems)])
    text = {"source": sanitize_text(source, kept)}
    return {**text, "attachments": kept} if kept else text


def sanitize_cell(cell: NotebookNode, cell_id: str, pictures: Pictures) -> NotebookNode:
    """A cell that the student has added, without outputs and metadata.

    Args:
        cell: of the submission.
        cell_id: for the new cell.
        pictures: all pictures of the notebook so far; those of this cell are counted there.
    """
    match cell.cell_type:
        case "code":
            return nbformat.v4.new_code_cell(source_of(cell), id=cell_id)
        case "raw":
            return nbformat.v4.new_raw_cell(sanitize_text(characters.text(source_of(cell))), id=cell_id)
    return nbformat.v4.new_markdown_cell(**sanitize_markdown(cell, pictures), id=cell_id)


def _break(text: str) -> str:
    return _ACTIVE.sub("\\g<0>\N{ZERO WIDTH SPACE}", text)


def _attachments(cell: NotebookNode, pictures: Pictures) -> tuple[Attachments, list[str]]:
    """The pictures in a text cell that may be shown, and a sentence for each that may not."""
    given = cell.get("attachments")
    kept: Attachments = {}
    problems = []
    for name, data in list(given.items())[:MAX_PICTURES] if isinstance(given, dict) else ():
        for mime in ("image/png", "image/jpeg"):
            content = data.get(mime) if isinstance(data, dict) else None
            if isinstance(content, list):
                content = "".join(str(line) for line in content)
            if isinstance(content, str) and len(content) <= MAX_PICTURE_LENGTH:
                try:
                    pictures.add(mime, content)
                    kept[name] = {mime: content}
                except PictureError as error:
                    problems.append(f"(The picture {name[:MAX_NAME_LENGTH]} is not shown: {error}.)")
    return kept, problems
