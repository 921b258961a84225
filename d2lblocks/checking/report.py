"""Reports: verdicts in words, as a table that a student can act on.

In: the verdicts on an answer, or why there are none. Out: HTML for notebooks and feedback, text for terminals.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from d2lblocks.checking.exercise import Known
from d2lblocks.checking.judge import Status, Verdict
from d2lblocks.tables import Table, with_code

BOOK = "../../book"  # from the notebook of an assignment, in a clone
MISTAKES_PAGES = "guides/mistakes"  # a page for each assignment
_WIDTH = 80  # of text; nbgrader's Validate cuts off what is longer than about 86
_SIGNS = {
    Status.PASSED: "✓",
    Status.FAILED: "✗",
    Status.ERROR: "✗",
    Status.TIMEOUT: "⧖",
    Status.CRASH: "✗",
    Status.MEMORY: "✗",
    Status.UNANSWERED: "○",
}


def anchor(exercise: str, mistake: str) -> str:
    """The anchor of a mistake on its page of common mistakes in the book."""
    return f"mistake-{exercise}-{mistake}".replace("_", "-")


def _plain(points: float) -> str:
    return f"{points:g}"


def explain(verdict: Verdict) -> str:
    """What was observed, what was expected, and in which case, in one text; empty if there is nothing to say."""
    if verdict.is_repeated:
        return "As above."
    return f"{verdict.message} (case: {verdict.case})" if verdict.case is not None else verdict.message


def _lines(verdict: Verdict) -> Iterator[str]:
    """A verdict for a terminal."""
    points = f"{_plain(verdict.points)}/{_plain(verdict.check.points)}"
    yield f"{_SIGNS[verdict.status]} {points:>5}  {verdict.check.title}"
    if verdict.message:
        yield textwrap.fill(explain(verdict), _WIDTH, initial_indent=" " * 9, subsequent_indent=" " * 9)


@dataclass(frozen=True)
class Report:
    """The verdicts on one answer, or one line that says why there are none.

    Attributes:
        name: of the exercise.
        verdicts: one for each check.
        known: the mistake, if it is a known one.
        printed: what the answer printed while it was checked.
        problem: why nothing could be checked; then there are no verdicts. None if there are.
        worth: the points of the exercise, where there are no verdicts to add up.
        remark: a line for the foot, such as the seed of the secret cases.
        as_number: whether the plain-text form in a notebook is the number of points; nbgrader reads that as partial
            credit. The HTML form stays the table.
        book: the address of the website's chapters; empty if it has none.
        see: the section of the book to read if something fails and no mistake is recognised.
        graded: whether this will be read in a page of feedback, where a link to a file beside leads nowhere.
        assignment: of the exercise; the book has a page of its mistakes.
    """

    name: str
    verdicts: Sequence[Verdict] = ()
    known: Known | None = None
    printed: str = ""
    problem: str | None = None
    worth: float = 0.0
    remark: str = ""
    as_number: bool = False
    book: str = ""
    see: str = ""
    graded: bool = False
    assignment: str = ""

    @property
    def points(self) -> float:
        """Points earned."""
        return sum(verdict.points for verdict in self.verdicts)

    @property
    def most_points(self) -> float:
        """Points that there are."""
        return sum(verdict.check.points for verdict in self.verdicts) or self.worth

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return not self.problem and all(verdict.passed for verdict in self.verdicts)

    @property
    def unanswered(self) -> bool:
        """Whether the answer seems to be still the stub: it raises what the stub raises, and earns nothing."""
        return self.points == 0 and any(verdict.status is Status.UNANSWERED for verdict in self.verdicts)

    @property
    def state(self) -> str:
        """The result in a few words."""
        if self.problem:
            return self.problem
        if self.unanswered:
            return "○ not answered yet"
        missed = sum(not verdict.passed for verdict in self.verdicts)
        return f"✗ {missed} of {len(self.verdicts)} checks fail" if missed else "✓ complete"

    @property
    def headline(self) -> str:
        """The result in one line."""
        if self.problem:
            return f"{self.name}: {self.problem}"
        if self.unanswered:
            return f"{self.name}: not answered yet, `raise NotImplementedError` is still in it"
        return f"{self.name}: {_plain(self.points)} of {_plain(self.most_points)} points"

    @property
    def _wants_reading(self) -> bool:
        return bool(self.see and self.verdicts) and not (self.passed or self.unanswered)

    def page_of_the_mistake(self, known: Known) -> str:
        """Where the book's pages of common mistakes have this one."""
        return f"{MISTAKES_PAGES}/{self.assignment}.html#{anchor(self.name, known.id)}"

    def _link(self, place: str, words: str = "") -> str:
        """A link to a place such as ``"custom_layers.html#custom-layers-hooks"``."""
        page, _, label = place.partition(".html#")
        chapter = page.rpartition("/")[2].replace("_", " ")
        section = label.replace("-", " ").removeprefix(f"{chapter} ")
        words = with_code(words or f"{chapter.capitalize()}: {section}")
        if self.book:
            return f'<a href="{escape(self.book + place)}">{words}</a>'
        if self.graded or not Path(BOOK).is_dir():
            return words
        ending = ".md" if "/" in page else ".ipynb"  # the guides are Markdown
        return f'<a href="{escape(f"{BOOK}/{page}{ending}#{label}")}">{words}</a>'

    def _table(self) -> Table:
        headings = ["check", "result", "points"]
        rows = [
            [v.check.title, f"{_SIGNS[v.status]} {v.status}", f"{_plain(v.points)} / {_plain(v.check.points)}"]
            for v in self.verdicts
        ]
        if any(v.message for v in self.verdicts):
            headings.append("what to look at")
            rows = [[*row, explain(v)] for row, v in zip(rows, self.verdicts, strict=True)]
        return Table(headings, rows)

    def __repr__(self) -> str:
        parts = [self.headline]
        if self.known:
            parts.append(
                f"{textwrap.fill(self.known.message, _WIDTH)}\nRead in the book: {self.book}{self.known.see}"
            )
        elif self._wants_reading:
            parts.append(f"Read in the book: {self.book}{self.see}")
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
            entry = self._link(self.page_of_the_mistake(self.known), f"Common mistakes: {self.known.title}")
            places = f"{self._link(self.known.see)} · {entry}"
            parts.append(f'<p style="margin:.5em 0">{message}<br>Read in the book: {places}</p>')
        elif self._wants_reading:
            parts.append(f'<p style="margin:.5em 0">Read in the book: {self._link(self.see)}</p>')
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


_BAR = 24  # characters


@dataclass(frozen=True)
class AssignmentReport:
    """The results of an assignment so far: a table and a bar.

    Attributes:
        reports: one for each exercise, in the order of the notebook.
        by_hand: exercises that are marked by hand, with their points.
    """

    reports: Sequence[Report]
    by_hand: Mapping[str, float] = field(default_factory=dict)

    @property
    def points(self) -> float:
        """Points earned in all exercises that a program checks."""
        return sum(report.points for report in self.reports)

    @property
    def most_points(self) -> float:
        """Points that these exercises have."""
        return sum(report.most_points for report in self.reports)

    @property
    def headline(self) -> str:
        """The result in one line."""
        done = sum(report.passed for report in self.reports)
        points = f"{_plain(self.points)} of {_plain(self.most_points)} points"
        return f"{points}; {done} of {len(self.reports)} exercises are complete"

    def _table(self) -> Table:
        rows = [
            [report.name, report.state, f"{_plain(report.points)} / {_plain(report.most_points)}"]
            for report in self.reports
        ]
        rows += [[name, "is marked by hand", f"– / {_plain(points)}"] for name, points in self.by_hand.items()]
        return Table(["exercise", "state", "points"], rows)

    @property
    def _share(self) -> float:
        return self.points / self.most_points if self.most_points else 0.0

    def __repr__(self) -> str:
        full = round(self._share * _BAR)
        return f"{'█' * full}{'░' * (_BAR - full)}  {self.headline}\n\n{self._table()!r}"

    def _repr_html_(self) -> str:
        shape = "border-radius:4px;height:.8em"
        bar = (
            f'<div style="background:rgba(128,128,128,.25);max-width:30em;margin:.4em 0;{shape}">'
            f'<div style="background:#2e9e5b;width:{self._share:.1%};{shape}"></div></div>'
        )
        return f"<div><strong>{escape(self.headline)}</strong>{bar}{self._table()._repr_html_()}</div>"
