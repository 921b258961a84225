"""How much of a graded notebook is shown, so that a page is made quickly.

In: a graded notebook. Out: the same notebook, in which long or difficult texts are shown without formats and
colours, and very long ones are cut. The submission itself does not change.

nbgrader's feedback and its formgrader use nbconvert to make a page of a graded notebook. Its Markdown parser and
its highlighter use patterns that start again at every character of some texts: 190,000 characters of ``\\begin{a}``
take many minutes, and one picture that a text shows a thousand times fills the memory. The formgrader does this in
the server that the person who marks uses.
"""

from __future__ import annotations

import re

from nbformat.notebooknode import NotebookNode

MAX_FORMATTED = 5_000  # characters of a source that is shown with formats or colours
MAX_NOTEBOOK_FORMATTED = 50_000
MAX_SOURCE = 50_000  # characters of a source that is shown at all
MAX_NOTEBOOK_SOURCE = 1_000_000
MAX_NOTEBOOK_TEXT = 1_000_000  # characters of all that cells print
MAX_NOTEBOOK_PICTURES = 24_000_000  # characters of all pictures in text cells, each as often as it is shown
MAX_LINE = 500  # characters of a line of a text that is shown without formats
MAX_MATHEMATICS = 100  # formulas in one text

# In the metadata of a notebook that is bounded already. The metadata of a submission never reach a graded notebook.
BOUNDED = "bounded"

# Texts that make nbconvert slow at any length: many spaces and line ends, or code and formulas without a space.
_SLOW = re.compile(r"\s{200}|[!-~]{300}")
_MATHEMATICS = re.compile(r"\\begin|\\\\[\[(]|\$")
_OTHER_LANGUAGE = re.compile(r"\s*%%|^ {0,3}(?:```|~~~)[ \t]*\w", re.MULTILINE)
_ATTACHED = re.compile(r"attachment:([\w.-]+)", re.ASCII)
_TICKS = re.compile(r"`+")


def bound(notebook: NotebookNode) -> None:
    """Bound what a notebook shows, in place. Released cells do not change.

    Args:
        notebook: graded.
    """
    if notebook.metadata.get(BOUNDED):
        return
    notebook.metadata[BOUNDED] = True
    formatted, source, printed, pictures = (
        _Budget(MAX_NOTEBOOK_FORMATTED),
        _Budget(MAX_NOTEBOOK_SOURCE),
        _Budget(MAX_NOTEBOOK_TEXT),
        _Budget(MAX_NOTEBOOK_PICTURES),
    )
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("locked"):
            continue
        is_quick = not _is_slow(cell) and pictures.take(_shown_pictures(cell)) and formatted.take(len(cell.source))
        cell.source = _cut(cell.source, min(MAX_SOURCE, source.left), "they are in the submission")
        source.take(min(len(cell.source), source.left))
        if not is_quick:
            _show_as_text(cell)
        for output in cell.get("outputs", ()):
            _bound_output(output, printed)


class _Budget:
    """An amount of something, of which parts are taken."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, amount: int) -> bool:
        """Take an amount; returns False if not enough is left."""
        if amount > self.left:
            return False
        self.left -= amount
        return True


def _is_slow(cell: NotebookNode) -> bool:
    """Whether it may take long to show a cell with formats and colours."""
    text = cell.source
    if len(text) > MAX_FORMATTED or _SLOW.search(text):
        return True
    # There are too many highlighters of other languages to try them all.
    if _OTHER_LANGUAGE.search(text) and len(text) > MAX_FORMATTED // 5:
        return True
    return cell.cell_type != "code" and len(_MATHEMATICS.findall(text)) > 2 * MAX_MATHEMATICS


def _shown_pictures(cell: NotebookNode) -> int:
    """The number of characters of all pictures that a text shows; a picture that is shown twice counts twice."""
    given = cell.get("attachments", {})
    sizes = {name: sum(len(content) for content in data.values()) for name, data in given.items()}
    return sum(sizes.get(found[1], 0) for found in _ATTACHED.finditer(cell.source)) if sizes else 0


def _show_as_text(cell: NotebookNode) -> None:
    """Change a cell so that it is shown without formats and colours."""
    if cell.cell_type == "code":
        cell.metadata["magics_language"] = "text"  # so nbconvert does not use the highlighter for Python
        if cell.source.lstrip().startswith("%%"):  # nbconvert would choose a highlighter by this line
            cell.source = f"\N{ZERO WIDTH SPACE}{cell.source}"
    elif cell.cell_type == "markdown":
        longest = max((len(ticks) for ticks in _TICKS.findall(cell.source)), default=0)
        fence = "`" * max(3, longest + 1)
        # nbgrader's template searches each line for addresses, from every bracket on.
        lines = [
            line[i : i + MAX_LINE] for line in cell.source.split("\n") for i in range(0, len(line) or 1, MAX_LINE)
        ]
        cell.source = "\n".join([fence, *lines, fence])
        cell.pop("attachments", None)  # such a text shows no pictures


def _bound_output(output: NotebookNode, printed: _Budget) -> None:
    match output.output_type:
        case "stream":
            output.text = _shorten(output.text, printed)
        case "error":
            output.traceback = [_shorten(line, printed) for line in output.traceback]
        case "execute_result" | "display_data":
            if len(output.data.get("text/latex", "")) > MAX_FORMATTED:
                del output.data["text/latex"]
            for kind in ("text/plain", "text/latex"):
                if kind in output.data:
                    output.data[kind] = _shorten(output.data[kind], printed)


def _shorten(text: str, budget: _Budget) -> str:
    kept = _cut(text, budget.left, "they were not kept")
    budget.take(min(len(text), budget.left))
    return kept


def _cut(text: str, limit: int, where: str) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n… and {len(text) - limit:,} more characters; {where}"
