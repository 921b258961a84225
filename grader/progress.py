"""The progress of a grading run.

In: the outcome of each submission. Out: on a terminal one line that is redrawn, in a log one line for each
submission.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

from grader.display.messages import count, duration, printable
from grader.grading.outcome import Outcome


class Progress:
    """Shows the outcome of each submission, the rate, and the time that is left.

    Args:
        total: number of submissions to grade, of all assignments.
        to: where it is shown; standard output if None.
    """

    def __init__(self, total: int, to: TextIO | None = None) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self._to = to or sys.stdout
        self._redraws, self._start = self._to.isatty(), time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Show the outcome of a submission."""
        self.done += 1
        lines = []
        if outcome.problem:
            self.failed += 1
            lines.append(outcome.problem)
        lines += outcome.notes
        failure = "NOT GRADED, an error of the grader; will be graded again" if outcome.ours else "FAILED"
        verdict = f"  {failure}" if outcome.problem else ""
        name = f"{printable(outcome.submission.student):<24} {outcome.submission.assignment:<18}"
        if self._redraws and not lines:
            self._write(f"\r\x1b[K  {self._count()}  {self._rate()}  {name}"[:120])
            return
        start = "\r\x1b[K" if self._redraws else ""
        self._write(f"{start}  {self._count()}  {name} {self._rate()}{verdict}\n")
        for line in lines:
            self._write(f"        {printable(line)}\n")

    def end(self) -> None:
        """Show a summary."""
        seconds = time.monotonic() - self._start
        start = "\r\x1b[K" if self._redraws else ""
        graded = f"graded {self.done - self.failed} of {count(self.total, 'submission')}"
        failed = f"; {self.failed} could not be graded" if self.failed else ""
        self._write(f"{start}{graded} in {duration(seconds)}, {self._rate(left=False)}{failed}\n")

    def _count(self) -> str:
        width = len(str(self.total))
        return f"{self.done:>{width}} / {self.total}"

    def _rate(self, left: bool = True) -> str:
        seconds = max(time.monotonic() - self._start, 1e-3)
        rate = self.done / seconds
        shown = f"{rate:.1f} per second" if rate >= 1 else f"{60 * rate:.1f} per minute"
        return f"{shown}, {duration((self.total - self.done) / rate)} left" if left and rate else shown

    def _write(self, text: str) -> None:
        self._to.write(text)
        self._to.flush()
