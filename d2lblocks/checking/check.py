"""`check`: the student's verb."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from d2lblocks.checking.case import Case
from d2lblocks.checking.exercise import Check, Exercise, Public, read_public
from d2lblocks.checking.judge import Judging, judging
from d2lblocks.checking.limits import WALL_CLOCK_FACTOR, passing_time, working_time
from d2lblocks.checking.observation import Observation
from d2lblocks.checking.probes import TIMES_AS_LONG
from d2lblocks.checking.report import Progress, Report
from d2lblocks.checking.runner import describe, observe, prepare, was_ended
from d2lblocks.checking.settings import changes, in_words, usual_settings

# About ten times what the slowest answers of the catalogues need, so that a slow machine gives no other verdict.
CASE_TIMEOUT = 2.0
CASE_TIMEOUT_AFTER_STOP = 0.1  # for a case, once the answer had to be stopped in another
CHECK_TIMEOUT = 10.0
MAX_PRINTED = 2_000
MAX_TEXTS = 100  # that are kept of what an answer printed, until they are shown


_NOT_GIVEN = object()


def check(name: Any = "", answer: Any = _NOT_GIVEN) -> Report | Progress:
    """Check an answer on the public cases of an exercise and say what to look at.

    Args:
        name: of the exercise: ``"my_linear"``. Without it, every exercise of the assignment is checked.
        answer: the class or function itself, not an object made from it: ``MyLinear``. Without it, what the notebook
            defines under the name that the exercise asks for.

    Returns:
        A report, or without a name the progress over the assignment, which a notebook shows as a table. It never
        raises because of a wrong answer.
    """
    remark = in_words("A cell of this notebook", changes())
    with usual_settings():  # also for reading and judging
        if isinstance(name, str) and not name:
            return _progress(remark)
        report = _check(name, answer, remark)
    if os.environ.get("NBGRADER_EXECUTION") == "validate":
        # nbgrader's Validate looks at the cell's outputs: something on stderr means "not passed yet", and is shown.
        if not report.passed:
            print(report, file=sys.stderr)
        return replace(report, as_number=True)
    return report


def _read() -> Public | str:
    """The assignment in this folder, or one line that says why there is none."""
    path = Path("public.json")
    try:
        return read_public(path)
    except FileNotFoundError:
        return f"{path} is not in {Path.cwd()}; open the notebook in its own folder"
    except ValueError as error:
        return f"{error}; take a fresh copy of the assignment's folder from your instructor"


def _in_the_notebook(exercise: Exercise) -> Any:
    return vars(sys.modules["__main__"]).get(exercise.defines, _NOT_GIVEN)


def _check(name: object, answer: Any, remark: str) -> Report:
    if not isinstance(name, str):
        return Report(
            "check", problem='the name comes first, in quotes, then the class: check("my_linear", MyLinear)'
        )
    public = _read()
    if isinstance(public, str):
        return Report(name, problem=public)
    exercises = public.exercises
    if name in public.by_hand:
        return Report(name, problem="this answer is read and marked by a person; there is nothing to check")
    if name not in exercises:
        near = difflib.get_close_matches(name, exercises, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(exercises)}"
        return Report(name, problem=f"no exercise of this name; {meant}")
    if answer is _NOT_GIVEN:
        answer = _in_the_notebook(exercises[name])
    if answer is _NOT_GIVEN:
        return Report(name, problem=f"{exercises[name].defines} is not defined yet; run its cell first")
    others = {exercise.defines for exercise in exercises.values() if exercise.name != name}
    given = getattr(answer, "__name__", None)
    if given in others:
        return Report(name, problem=f"this is {given}; here {exercises[name].defines} is asked for")
    return examine(exercises[name], answer, remark)


def _progress(remark: str) -> Report | Progress:
    public = _read()
    if isinstance(public, str):
        return Report("check", problem=public)
    reports = []
    for exercise in public.exercises.values():
        answer = _in_the_notebook(exercise)
        if answer is _NOT_GIVEN:
            reports.append(Report(exercise.name, problem="○ its cell has not been run", worth=exercise.points))
        else:
            reports.append(examine(exercise, answer, remark))
    return Progress(reports, public.by_hand)


def problem_with(exercise: Exercise, described: Observation) -> str:
    """What makes an answer impossible to check, in one line; empty if nothing does.

    Args:
        exercise: which.
        described: the answer, as `observe.describe` gives it.
    """
    if described.get("is a module"):
        return f"give the class itself, check({exercise.name!r}, {exercise.defines}), not an object made from it"
    if not described.get("can be called"):
        return f"this is a {described.get('type')}; give {exercise.defines}, the name that your cell defines"
    return ""


def examine(exercise: Exercise, answer: Any, remark: str = "") -> Report:
    """Observe an answer on all cases of an exercise, and judge."""
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
    """Judge what was observed, and report."""
    return _report(exercise, judging(exercise, observed), printed, remark)


def _report(exercise: Exercise, judged: Judging, printed: str, remark: str) -> Report:
    if len(printed) > MAX_PRINTED:
        printed = printed[:MAX_PRINTED] + f"\n… and {len(printed) - MAX_PRINTED} characters more"
    known = judged.known()
    return Report(
        exercise.name, judged.verdicts(), known, printed, remark=remark, book=exercise.book, see=exercise.see
    )


Look = Callable[[str, Case, float, Mapping[str, Any]], tuple[Observation, str]]


def try_and_judge(
    exercise: Exercise,
    look: Look,
    seconds: float = CHECK_TIMEOUT,
    patience: float = WALL_CLOCK_FACTOR,
    clock: Callable[[], float] = passing_time,
    remark: str = "",
) -> Report:
    """Observe an answer as `observe_all` does, judge each observation when it comes, and keep none.

    Args:
        exercise: with its cases.
        look: as for `observe_all`.
        seconds: as for `observe_all`.
        patience: as for `observe_all`.
        clock: tells how much time has passed for the answer.
        remark: for the foot of the report.
    """
    judged = Judging(exercise)
    printed = _observe_each(exercise, look, lambda check, seen: judged.add(check.id, seen), seconds, patience, clock)
    return _report(exercise, judged, printed, remark)


def observe_all(
    exercise: Exercise, look: Look, seconds: float = CHECK_TIMEOUT, patience: float = WALL_CLOCK_FACTOR
) -> tuple[dict[str, list[Observation]], str]:
    """What an answer gives in each case of each check, as far as the time goes, and what it printed.

    A check ends at the first case in which the answer had to be stopped.

    Args:
        exercise: with its cases.
        look: runs a probe on the answer: here, with `observe`, or wherever the answer lives.
        seconds: how long it may work in all, in this process.
        patience: how many times longer it may take than work.
    """
    observed: dict[str, list[Observation]] = {}

    def keep(check: Check, seen: Observation) -> None:
        observed.setdefault(check.id, []).append(seen)

    return observed, _observe_each(exercise, look, keep, seconds, patience, passing_time)


def _observe_each(
    exercise: Exercise,
    look: Look,
    take: Callable[[Check, Observation], None],
    seconds: float,
    patience: float,
    clock: Callable[[], float],
) -> str:
    """Hand over each observation when it comes; returns what was printed.

    Args:
        exercise: as for `observe_all`.
        look: as for `observe_all`.
        take: gets each observation, and the check that it is for.
        seconds: as for `observe_all`.
        patience: as for `observe_all`.
        clock: tells how much time has passed for the answer.
    """
    printed: list[str] = []
    limit = CASE_TIMEOUT
    worked, waited = working_time(), clock()
    for item in exercise.checks:
        for case in item.cases:
            left = seconds - max(working_time() - worked, (clock() - waited) / patience)
            if left <= 0:
                return "".join(printed)
            observation, text = look(
                item.probe, case, min(limit * TIMES_AS_LONG.get(item.probe, 1), left), item.options
            )
            take(item, observation)
            # The same case is called by several probes; hearing the same thing once is enough.
            if text not in printed and len(printed) < MAX_TEXTS:
                printed.append(text)
            if was_ended(observation):
                limit = CASE_TIMEOUT_AFTER_STOP
                break
    return "".join(printed)
