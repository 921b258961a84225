"""One small table for everything that `d2lblocks` shows, as HTML for notebooks and as text for terminals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

# Inline styles, because JupyterLab, nbconvert and the website load no style sheet of ours; `currentColor` and
# translucent grey, because all three have a light and a dark theme.
_SHORT = 28  # characters that are better not broken over two lines
_CELL = "padding:.2em .8em;text-align:{align};border-bottom:1px solid rgba(128,128,128,.35);vertical-align:top"


def with_code(text: str) -> str:
    """HTML of a text in which code is between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


@dataclass(frozen=True)
class Table:
    """Rows under headings.

    Args:
        headings: one for each column.
        rows: sequences of strings or numbers, as long as `headings`. Numbers are aligned to the right.
        caption: a sentence above the table.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    caption: str = ""

    def __repr__(self) -> str:
        cells = [[str(cell) for cell in row] for row in (self.headings, *self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.headings))]
        lines = [self.caption] if self.caption else []
        for number, row in enumerate(cells):
            padded = [
                cell.rjust(width) if number and self._is_number(number - 1, i) else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
            if number == 0:
                lines.append("  ".join("─" * width for width in widths))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="{_CELL.format(align="left")}">{escape(h)}</th>' for h in self.headings
        )
        body = "".join(
            "<tr>"
            + "".join(
                f'<td style="{_CELL.format(align="right" if self._is_number(r, i) else "left")};'
                f'white-space:{"pre" if len(str(cell)) <= _SHORT else "pre-wrap"}">{with_code(str(cell))}</td>'
                for i, cell in enumerate(row)
            )
            + "</tr>"
            for r, row in enumerate(self.rows)
        )
        caption = (
            f'<caption style="caption-side:top;text-align:left;padding:.2em .8em">{escape(self.caption)}</caption>'
            if self.caption
            else ""
        )
        return (
            '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:.3em 0">'
            f"{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )

    def _is_number(self, row: int, column: int) -> bool:
        return isinstance(self.rows[row][column], int | float)
