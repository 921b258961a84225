"""How far a grading is: a line that is redrawn on a terminal, a line for each submission in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from grader.grading.outcome import Outcome


class Progress:
    """Says what became of each submission, at which rate, and how long the rest will take.

    Args:
        total: submissions to grade, of all assignments.
        to: where it is said; standard output if None.
    """

    def __init__(self, total: int, to: TextIO | None = None) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self._to = to or sys.stdout
        self._redraws, self._start = self._to.isatty(), time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Say what became of a submission."""
        self.done += 1
        lines = []
        if outcome.problem:
            self.failed += 1
            lines.append(outcome.problem)
        lines += outcome.notes
        whose = "the grader's fault, to be graded again" if outcome.ours else "FAILED"
        verdict = f"  {whose}" if outcome.problem else ""
        name = f"{visible(outcome.submission.student):<24} {outcome.submission.assignment:<18}"
        if self._redraws and not lines:
            self._write(f"\r\x1b[K  {self._count()}  {self._rate()}  {name}"[:120])
            return
        start = "\r\x1b[K" if self._redraws else ""
        self._write(f"{start}  {self._count()}  {name} {self._rate()}{verdict}\n")
        for line in lines:
            self._write(f"        {visible(line)}\n")

    def end(self) -> None:
        """Say how it went as a whole."""
        seconds = time.monotonic() - self._start
        start = "\r\x1b[K" if self._redraws else ""
        what = f"graded {self.done - self.failed} of {self.total} in {in_words(seconds)}, {self._rate(left=False)}"
        self._write(f"{start}{what}{f'; {self.failed} could not be graded' if self.failed else ''}\n")

    def _count(self) -> str:
        width = len(str(self.total))
        return f"{self.done:>{width}} / {self.total}"

    def _rate(self, left: bool = True) -> str:
        seconds = max(time.monotonic() - self._start, 1e-3)
        rate = self.done / seconds
        said = f"{rate:.1f} a second" if rate >= 1 else f"{60 * rate:.1f} a minute"
        return f"{said}, {in_words((self.total - self.done) / rate)} left" if left and rate else said

    def _write(self, text: str) -> None:
        self._to.write(text)
        self._to.flush()


def visible(text: str) -> str:
    """What a student may have written, without what a terminal takes for a command."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def in_words(seconds: float) -> str:
    """A time that one can read at a glance: ``"8 s"``, ``"3 min 20 s"``, ``"2 h 05 min"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
