"""Judge: one verdict for each check of an exercise, and the known mistake, if the answer makes one.

In: what an answer gave in each case, one observation at a time. Out: verdicts, as data; `report` puts them into
words. An observation is compared with the reference's by the rule of `compare`, and with the digests of known
mistakes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from d2lblocks.checking.compare import Difference, DifferenceKind, compare
from d2lblocks.checking.digest import Recogniser
from d2lblocks.checking.exercise import Check, Exercise, Known
from d2lblocks.checking.hints import hint_for
from d2lblocks.checking.observation import FailureKind, Observation, raised_text


class Status(StrEnum):
    """How a check ended."""

    PASSED = "pass"
    FAILED = "fail"
    ERROR = "error"  # the answer raised an exception
    TIMEOUT = "timeout"  # it did not finish, or there was no time left for it
    CRASH = "crash"  # it ended the process in which it ran
    MEMORY = "memory"  # it used too much memory
    UNANSWERED = "unanswered"  # it is still the stub


@dataclass(frozen=True)
class Verdict:
    """What one check found.

    Attributes:
        check: which one.
        status: how it ended.
        points: earned.
        difference: the first one, in the first case that has one; None if there is none, or no case was tried.
        hint: a sentence that helps with the difference, if there is one.
        case: the label of the case.
        is_repeated: whether a check before this one failed with the same words.
    """

    check: Check
    status: Status
    points: float
    difference: Difference | None = None
    hint: str | None = None
    case: str | None = None
    is_repeated: bool = False

    @property
    def passed(self) -> bool:
        """Whether the check passed."""
        return self.status is Status.PASSED

    @property
    def message(self) -> str:
        """What was observed and what was expected, without the case; empty if passed or unanswered."""
        if self.status is Status.UNANSWERED:
            return ""
        if self.difference is None:
            return "" if self.passed else "Not tried: the answer took too long before."
        return f"{self.difference} {self.hint or ''}".strip()


class Judging:
    """Judges an answer while it is observed: each observation is compared when it comes, and is not kept.

    Observations come from a stranger. Kept, those of one answer could take more memory than there is.

    Args:
        exercise: with the reference's observations, and with its public cases first in each check: known mistakes
            are recognised by those.
    """

    def __init__(self, exercise: Exercise) -> None:
        self._exercise = exercise
        self._checks = {check.id: check for check in exercise.checks}
        self._count: Counter[str] = Counter()
        self._failed: dict[str, Verdict] = {}
        # The mistakes that agree with all observations so far: first exactly, then apart from accidental values.
        self._possible = [(exactly, list(exercise.known)) for exactly in (True, False)]

    def add(self, check: str, observed: Observation) -> None:
        """Compare an observation.

        Args:
            check: its id.
            observed: what the answer gave in the next case of this check.
        """
        number = self._count[check]
        self._count[check] += 1
        cases, expected = self._checks[check].cases, self._exercise.expected[check]
        if number >= min(len(cases), len(expected)):
            return
        if check not in self._failed:
            difference = next(compare(observed, expected[number]), None)
            if difference:
                self._failed[check] = _failed(self._checks[check], cases[number].label, observed, difference)
        recogniser = Recogniser(observed, expected[number])
        for exactly, possible in self._possible:
            possible[:] = [
                known
                for known in possible
                if number >= len(known.digests.get(check, ()))
                or recogniser.matches(known.digests[check][number], exactly=exactly)
            ]

    def verdicts(self) -> list[Verdict]:
        """One verdict for each check of the exercise. A check whose cases were not all reached is not passed."""
        verdicts = [self._verdict(check) for check in self._exercise.checks]
        # One exception prevents many checks; to read it once is enough, whichever the case.
        messages = [verdict.message for verdict in verdicts]
        return [
            replace(verdict, is_repeated=bool(message) and message in messages[:number])
            for number, (verdict, message) in enumerate(zip(verdicts, messages, strict=True))
        ]

    def _verdict(self, check: Check) -> Verdict:
        if check.id in self._failed:
            return self._failed[check.id]
        if self._count[check.id] < len(self._exercise.expected[check.id]):
            return Verdict(check, Status.TIMEOUT, 0)
        return Verdict(check, Status.PASSED, check.points)

    def known(self) -> Known | None:
        """The known mistake that gives, in every check that the answer fails, just what the answer gives."""
        failed = {verdict.check.id for verdict in self.verdicts() if not verdict.passed}
        for _, possible in self._possible:
            for known in possible:
                # The observations of both end at the first case that took too long.
                reached = all(self._count[check] >= len(digests) for check, digests in known.digests.items())
                if failed == known.digests.keys() and reached:
                    return known
        return None


def judge(exercise: Exercise, observed: Mapping[str, Sequence[Observation]]) -> list[Verdict]:
    """One verdict for each check of an exercise.

    Args:
        exercise: with the reference's observations.
        observed: for each check (by id), the answer's observation in each case. What is missing was not reached.
    """
    return judging(exercise, observed).verdicts()


def judging(exercise: Exercise, observed: Mapping[str, Sequence[Observation]]) -> Judging:
    """A `Judging` to which all of these observations were added."""
    result = Judging(exercise)
    for check, observations in observed.items():
        for observation in observations:
            result.add(check, observation)
    return result


_STATUS_OF_A_FAILURE: dict[str, Status] = {
    FailureKind.TIMEOUT: Status.TIMEOUT,
    FailureKind.CRASH: Status.CRASH,
    FailureKind.MEMORY: Status.MEMORY,
}


def _failed(check: Check, case: str, observed: Observation, first: Difference) -> Verdict:
    status = Status.FAILED
    if first.kind is DifferenceKind.RAISED:
        raised = observed.get("raised")
        kind = raised_text(raised, "type")
        # The stub raises without a message; PyTorch, where `forward` is missing, with one.
        if kind == "NotImplementedError" and not raised_text(raised, "message"):
            return Verdict(check, Status.UNANSWERED, 0)
        status = _STATUS_OF_A_FAILURE.get(kind, Status.ERROR)
    return Verdict(check, status, 0, first, hint_for(check.hints, first, observed), case)
