"""Verdicts as a table that a student can act on: HTML in a notebook and in feedback, text in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from d2lblocks.checking.exercises import Known
from d2lblocks.checking.judge import Verdict
from d2lblocks.tables import Table, with_code

_WIDTH = 80  # of text; nbgrader's Validate cuts off what is longer than about 86
_SIGNS = {"pass": "✓", "fail": "✗", "error": "✗", "timeout": "⧖", "unanswered": "○"}


def _plain(points: float) -> str:
    return f"{points:g}"


def _lines(verdict: Verdict) -> Iterator[str]:
    """A verdict for a terminal."""
    points = f"{_plain(verdict.points)}/{_plain(verdict.check.points)}"
    yield f"{_SIGNS[verdict.status]} {points:>5}  {verdict.check.title}"
    if verdict.message:
        yield textwrap.fill(verdict.message, _WIDTH, initial_indent=" " * 9, subsequent_indent=" " * 9)


@dataclass(frozen=True)
class Report:
    """The verdicts on one answer, or one line that says why there are none.

    Attributes:
        name: of the exercise.
        verdicts: one for each check.
        known: the mistake, if it is a known one.
        printed: what the answer printed while it was checked.
        problem: why nothing could be checked; then there are no verdicts.
        remark: a line for the foot, such as the seed of the secret cases.
        as_number: whether the plain-text form in a notebook is the number of points; nbgrader reads that as partial
            credit. The HTML form stays the table.
    """

    name: str
    verdicts: Sequence[Verdict] = ()
    known: Known | None = None
    printed: str = ""
    problem: str = ""
    remark: str = ""
    as_number: bool = False

    @property
    def points(self) -> float:
        """Points earned."""
        return sum(verdict.points for verdict in self.verdicts)

    @property
    def most_points(self) -> float:
        """Points that there are."""
        return sum(verdict.check.points for verdict in self.verdicts)

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.problem and all(verdict.status == "pass" for verdict in self.verdicts)

    @property
    def headline(self) -> str:
        """The result in one line."""
        if self.problem:
            return f"{self.name}: {self.problem}"
        if all(verdict.status == "unanswered" for verdict in self.verdicts):
            return f"{self.name}: not answered yet, `raise NotImplementedError` is still in it"
        return f"{self.name}: {_plain(self.points)} of {_plain(self.most_points)} points"

    def _table(self) -> Table:
        headings = ["check", "result", "points"]
        rows = [
            [v.check.title, f"{_SIGNS[v.status]} {v.status}", f"{_plain(v.points)} / {_plain(v.check.points)}"]
            for v in self.verdicts
        ]
        if any(v.message for v in self.verdicts):
            headings.append("what to look at")
            rows = [[*row, v.message] for row, v in zip(rows, self.verdicts, strict=True)]
        return Table(headings, rows)

    def __repr__(self) -> str:
        parts = [self.headline]
        if self.known:
            parts.append(f"{textwrap.fill(self.known.message, _WIDTH)}\nRead in the book: {self.known.see}")
        if self.verdicts:
            parts.append("\n".join(line for verdict in self.verdicts for line in _lines(verdict)))
        if self.printed:
            parts.append(f"Your code printed:\n{self.printed}")
        if self.remark:
            parts.append(self.remark)
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        colour = "#2e9e5b" if self.passed else "#d9822b"
        parts = [f"<strong>{with_code(self.headline)}</strong>"]
        if self.known:
            message = with_code(self.known.message)
            parts.append(f'<p style="margin:.5em 0">{message}<br>Read in the book: {escape(self.known.see)}</p>')
        if self.verdicts:
            parts.append(self._table()._repr_html_())
        if self.printed:
            parts.append(f"<details><summary>Your code printed</summary><pre>{escape(self.printed)}</pre></details>")
        if self.remark:
            parts.append(f"<small>{escape(self.remark)}</small>")
        return f'<div style="border-left:4px solid {colour};padding:.2em .8em">{"".join(parts)}</div>'

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        text = repr(float(self.points)) if self.as_number else repr(self)
        return {"text/plain": text, "text/html": self._repr_html_()}
