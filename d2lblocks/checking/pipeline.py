"""The pipeline: observe an answer case by case, judge each observation, and report.

In: an `Exercise`, and an answer or a function that runs probes on it wherever it lives. Out: a `Report`. `check` uses
it in the notebook, and the grader with the answer in its sandbox.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from d2lblocks.checking.case import Case
from d2lblocks.checking.exercise import Check, Exercise
from d2lblocks.checking.judge import Judging, judging
from d2lblocks.checking.limits import WALL_CLOCK_FACTOR, passing_time, working_time
from d2lblocks.checking.observation import Observation, was_ended
from d2lblocks.checking.probes import TIMES_AS_LONG
from d2lblocks.checking.report import Report
from d2lblocks.checking.runner import describe, observe, prepare
from d2lblocks.checking.settings import changes, in_words, usual_settings

# About ten times what the slowest answers of the catalogues need, so that a slow machine gives no other verdict.
CASE_TIMEOUT = 2.0
CASE_TIMEOUT_AFTER_STOP = 0.1  # for a case, once the answer had to be stopped in another
CHECK_TIMEOUT = 10.0
MAX_PRINTED = 2_000
MAX_TEXTS = 100  # that are kept of what an answer printed, until they are shown

# Runs a probe on the answer: its name, the case, the seconds it may take and its options give the observation, and
# what the answer printed.
Observe: TypeAlias = Callable[[str, Case, float, Mapping[str, Any]], tuple[Observation, str]]


def problem_with(exercise: Exercise, described: Observation) -> str | None:
    """What makes an answer impossible to check, in one line; None if nothing does.

    Args:
        exercise: which.
        described: the answer, as `runner.describe` gives it.
    """
    if described.get("is_module"):
        return f"give the class itself, check({exercise.name!r}, {exercise.defines}), not an object made from it"
    if not described.get("is_callable"):
        return f"this is a {described.get('type')}; give {exercise.defines}, the name that your cell defines"
    return None


def examine(exercise: Exercise, answer: Any, remark: str = "") -> Report:
    """Observe an answer on all cases of an exercise, in this process, and judge it.

    Args:
        exercise: with its cases.
        answer: the student's class or function.
        remark: for the foot of the report.
    """
    for name in exercise.imports:
        importlib.import_module(name)
    for item in exercise.checks:
        prepare(item.probe)
    remark = " ".join(filter(None, (remark, in_words("A cell of this notebook", changes()))))
    with usual_settings():
        problem = problem_with(exercise, describe(answer))
        if problem:
            return Report(exercise.name, problem=problem, worth=exercise.points, remark=remark)
        return try_and_judge(exercise, partial(observe, answer), remark=remark)


def conclude(
    exercise: Exercise, observed: Mapping[str, Sequence[Observation]], printed: str, remark: str = ""
) -> Report:
    """Judge what was observed before, as `observe_all` gives it, and report."""
    return _report(exercise, judging(exercise, observed), printed, remark)


def _report(exercise: Exercise, judged: Judging, printed: str, remark: str) -> Report:
    if len(printed) > MAX_PRINTED:
        printed = printed[:MAX_PRINTED] + f"\n… and {len(printed) - MAX_PRINTED} characters more"
    known = judged.known()
    return Report(
        exercise.name,
        judged.verdicts(),
        known,
        printed,
        remark=remark,
        book=exercise.book,
        see=exercise.see,
        assignment=exercise.assignment,
    )


def try_and_judge(
    exercise: Exercise,
    observe: Observe,
    seconds: float = CHECK_TIMEOUT,
    wall_clock_factor: float = WALL_CLOCK_FACTOR,
    clock: Callable[[], float] = passing_time,
    remark: str = "",
) -> Report:
    """Observe an answer as `observe_all` does, judge each observation when it comes, and keep none.

    Args:
        exercise: with its cases.
        observe: runs a probe on the answer.
        seconds: how long it may work in all, in this process.
        wall_clock_factor: how many times longer it may take than work.
        clock: tells how many seconds have passed for the answer.
        remark: for the foot of the report.
    """
    judged = Judging(exercise)
    printed = _observe_each(
        exercise, observe, lambda check, observed: judged.add(check.id, observed), seconds, wall_clock_factor, clock
    )
    return _report(exercise, judged, printed, remark)


def observe_all(
    exercise: Exercise,
    observe: Observe,
    seconds: float = CHECK_TIMEOUT,
    wall_clock_factor: float = WALL_CLOCK_FACTOR,
) -> tuple[dict[str, list[Observation]], str]:
    """What an answer gives in each case of each check, until its time is up, and what it printed.

    A check ends at the first case in which the answer had to be stopped.

    Args:
        exercise: with its cases.
        observe: runs a probe on the answer: `runner.observe` does it in this process.
        seconds: how long it may work in all, in this process.
        wall_clock_factor: how many times longer it may take than work.

    Returns:
        For each check (by id), its observations in the order of its cases; and the printed text.
    """
    all_observed: dict[str, list[Observation]] = {}

    def keep(check: Check, observed: Observation) -> None:
        all_observed.setdefault(check.id, []).append(observed)

    return all_observed, _observe_each(exercise, observe, keep, seconds, wall_clock_factor, passing_time)


def _observe_each(
    exercise: Exercise,
    observe: Observe,
    take: Callable[[Check, Observation], None],
    seconds: float,
    wall_clock_factor: float,
    clock: Callable[[], float],
) -> str:
    """Pass on each observation when it comes; returns what was printed.

    Args:
        exercise: as for `try_and_judge`.
        observe: as for `try_and_judge`.
        take: gets each observation, and the check that it is for.
        seconds: as for `try_and_judge`.
        wall_clock_factor: as for `try_and_judge`.
        clock: as for `try_and_judge`.
    """
    printed: list[str] = []
    limit = CASE_TIMEOUT
    worked, waited = working_time(), clock()
    for item in exercise.checks:
        for case in item.cases:
            left = seconds - max(working_time() - worked, (clock() - waited) / wall_clock_factor)
            if left <= 0:
                return "".join(printed)
            timeout = min(limit * TIMES_AS_LONG.get(item.probe, 1), left)
            observed, text = observe(item.probe, case, timeout, item.options)
            take(item, observed)
            # Several probes call the same case; its text is shown once.
            if text not in printed and len(printed) < MAX_TEXTS:
                printed.append(text)
            if was_ended(observed):
                limit = CASE_TIMEOUT_AFTER_STOP
                break
    return "".join(printed)
