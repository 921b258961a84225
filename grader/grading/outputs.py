"""Turn the answers of a worker into outputs of a notebook's cells. A worker may have been taken over."""

from __future__ import annotations

from typing import Any

from nbformat.notebooknode import NotebookNode

from grader.display import characters
from grader.display.pictures import Pictures
from grader.errors import PictureError
from grader.sandbox.inside.protocol import TOO_LARGE
from grader.sandbox.worker_client import Answer, WorkerFailure, size_in_words
from grader.submission.sanitize import sanitize_text

# Of what a student's code displays. HTML and SVG can hold programs, which would run in the instructor's browser.
SHOWN = ("text/plain", "text/latex", "image/png", "image/jpeg")
# The worker has limits of its own, which are a little lower.
MAX_OUTPUTS = 202
MAX_TEXT_LENGTH = 110_000  # characters of a text
MAX_CELL_OUTPUT = 8_000_000  # characters of all outputs of a cell
MAX_NAME_LENGTH = 200
MAX_TRACEBACK_LINES = 100
_OF_TERMINALS = "\x1b\r\b"  # characters of colours and progress bars


def cell_outputs(answer: Answer | WorkerFailure, count: int, pictures: Pictures) -> list[NotebookNode]:
    """The outputs of a cell, as nbformat defines them; what does not fit is left out.

    Args:
        answer: of the worker that ran the cell.
        count: the cell's execution count.
        pictures: checks those of the whole notebook.
    """
    if isinstance(answer, WorkerFailure):
        text = f"This cell {answer.message}."
        return [NotebookNode(output_type="error", ename=answer.kind.value, evalue=text, traceback=[text])]
    if TOO_LARGE in answer:
        return [error_stream(f"(not kept: the outputs of this cell are too large, {size_in_words(answer)})\n")]
    kept: list[NotebookNode] = []
    room = MAX_CELL_OUTPUT
    outputs = answer.get("outputs")
    for output in outputs[:MAX_OUTPUTS] if isinstance(outputs, list) else ():
        made = _output(output, count, pictures)
        if made is not None:
            room -= len(str(made))
            if room < 0:
                return [*kept, error_stream("… and more, which is not kept\n")]
            kept.append(made)
    return kept


def error_stream(text: str) -> NotebookNode:
    """An output that shows a text as if the cell had written it to standard error."""
    return NotebookNode(output_type="stream", name="stderr", text=text)


def _output(output: Any, count: int, pictures: Pictures) -> NotebookNode | None:
    match output:
        case {"output_type": "stream", "name": "stdout" | "stderr" as name, "text": str(text)}:
            return NotebookNode(output_type="stream", name=name, text=_terminal_text(text[:MAX_TEXT_LENGTH]))
        case {"output_type": "error", "ename": str(kind), "evalue": str(value), "traceback": [*lines]}:
            kind, value = (characters.text(part) for part in (kind[:MAX_NAME_LENGTH], value[:MAX_TEXT_LENGTH]))
            texts = (line for line in lines[:MAX_TRACEBACK_LINES] if isinstance(line, str))
            traceback = [_terminal_text(line[:MAX_TEXT_LENGTH]) for line in texts]
            return NotebookNode(output_type="error", ename=kind, evalue=value, traceback=traceback)
        case {"output_type": "execute_result" | "display_data" as sort, "data": dict(data)}:
            shown = _displayed(data, pictures)
            if not shown:
                return None
            made = NotebookNode(output_type=sort, data=NotebookNode(shown), metadata=NotebookNode())
            if sort == "execute_result":
                made.execution_count = count
            return made
    return None


def _displayed(data: dict[Any, Any], pictures: Pictures) -> dict[str, str]:
    """The forms of a displayed value that are shown, by MIME type."""
    shown = {
        mime: data[mime][: MAX_TEXT_LENGTH if mime.startswith("text/") else MAX_CELL_OUTPUT]
        for mime in SHOWN
        if isinstance(data.get(mime), str)
    }
    for mime in ("image/png", "image/jpeg"):
        try:
            if mime in shown:
                pictures.add(mime, shown[mime])
        except PictureError as error:
            del shown[mime]
            shown["text/plain"] = f"{shown.get('text/plain', '')}\n(a picture is not shown: {error})".strip()
    if "text/plain" in shown:
        shown["text/plain"] = _terminal_text(shown["text/plain"])
    if "text/latex" in shown:
        shown["text/latex"] = sanitize_text(shown["text/latex"])
    return shown


def _terminal_text(text: str) -> str:
    return characters.text(text, _OF_TERMINALS)
