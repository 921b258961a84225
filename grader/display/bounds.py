"""How much of a graded notebook is shown in full, so that whoever shows it is done in a short time.

nbgrader's feedback and its formgrader turn a graded notebook into a page with nbconvert. Its Markdown parser and its
highlighter compare some texts with patterns that start again at every character: 190,000 characters of ``\\begin{a}``
take many minutes, and one picture that a text shows a thousand times fills the memory. The formgrader does this work
in the server that the marker uses. So what is written into a graded notebook is bounded here: a text that is long or
has such a form is kept as it is, without formats and colours, and what is longer still is cut. The submission itself
is not touched.
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

# In the metadata of a notebook: it is bounded already. A submission's own metadata never reach a graded notebook.
BOUNDED = "bounded"

# What makes nbconvert slow, at any length: nothing but spaces and line ends, or code and formulas without a space.
_HARD = re.compile(r"\s{200}|[!-~]{300}")
_MATHEMATICS = re.compile(r"\\begin|\\\\[\[(]|\$")
_OTHER_LANGUAGE = re.compile(r"\s*%%|^ {0,3}(?:```|~~~)[ \t]*\w", re.MULTILINE)
_ATTACHED = re.compile(r"attachment:([\w.-]+)", re.ASCII)
_TICKS = re.compile(r"`+")


def bound(notebook: NotebookNode) -> None:
    """Bound what a notebook shows, in place. What is there already when it is released stays as it is.

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
        easy = not _hard(cell) and pictures.take(_shown_pictures(cell)) and formatted.take(len(cell.source))
        cell.source = _cut(cell.source, min(MAX_SOURCE, source.left), "they are in the submission")
        source.take(min(len(cell.source), source.left))
        if not easy:
            _show_as_text(cell)
        for output in cell.get("outputs", ()):
            _bound_output(output, printed)


class _Budget:
    """An amount from which is taken until there is none."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, amount: int) -> bool:
        """Take an amount, if there is as much."""
        if amount > self.left:
            return False
        self.left -= amount
        return True


def _hard(cell: NotebookNode) -> bool:
    """Whether it could take long to show a cell with formats and colours."""
    text = cell.source
    if len(text) > MAX_FORMATTED or _HARD.search(text):
        return True
    # The highlighters of other languages are many, and nobody has tried them all.
    if _OTHER_LANGUAGE.search(text) and len(text) > MAX_FORMATTED // 5:
        return True
    return cell.cell_type != "code" and len(_MATHEMATICS.findall(text)) > 2 * MAX_MATHEMATICS


def _shown_pictures(cell: NotebookNode) -> int:
    """The characters of a text's own pictures, each as often as the text shows it."""
    given = cell.get("attachments", {})
    sizes = {name: sum(len(content) for content in data.values()) for name, data in given.items()}
    return sum(sizes.get(found[1], 0) for found in _ATTACHED.finditer(cell.source)) if sizes else 0


def _show_as_text(cell: NotebookNode) -> None:
    """Have a cell shown as it was written."""
    if cell.cell_type == "code":
        cell.metadata["magics_language"] = "text"  # nbconvert's way to choose another highlighter than Python's
        if cell.source.lstrip().startswith("%%"):  # from which nbconvert would choose yet another one
            cell.source = f"\N{ZERO WIDTH SPACE}{cell.source}"
    elif cell.cell_type == "markdown":
        longest = max((len(ticks) for ticks in _TICKS.findall(cell.source)), default=0)
        fence = "`" * max(3, longest + 1)
        # nbgrader's template looks for addresses in each line, from every bracket on.
        lines = [
            line[i : i + MAX_LINE] for line in cell.source.split("\n") for i in range(0, len(line) or 1, MAX_LINE)
        ]
        cell.source = "\n".join([fence, *lines, fence])
        cell.pop("attachments", None)  # in a text that is shown as it was written there is no picture


def _bound_output(output: NotebookNode, printed: _Budget) -> None:
    match output.output_type:
        case "stream":
            output.text = _spend(output.text, printed)
        case "error":
            output.traceback = [_spend(line, printed) for line in output.traceback]
        case "execute_result" | "display_data":
            if len(output.data.get("text/latex", "")) > MAX_FORMATTED:
                del output.data["text/latex"]
            for kind in ("text/plain", "text/latex"):
                if kind in output.data:
                    output.data[kind] = _spend(output.data[kind], printed)


def _spend(text: str, budget: _Budget) -> str:
    kept = _cut(text, budget.left, "they are not kept")
    budget.take(min(len(text), budget.left))
    return kept


def _cut(text: str, most: int, where: str) -> str:
    return text if len(text) <= most else f"{text[:most]}\n… and {len(text) - most:,} more characters; {where}"
