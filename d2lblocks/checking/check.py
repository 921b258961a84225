"""`check`: the student's verb."""

from __future__ import annotations

import difflib
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from d2lblocks.checking.exercises import Exercise, read_public
from d2lblocks.checking.judge import judge, recognise
from d2lblocks.checking.observations import Observation
from d2lblocks.checking.probes import observe
from d2lblocks.checking.report import Report

SECONDS_FOR_A_CASE = 2.0
SECONDS_FOR_ALL = 6.0
MOST_PRINTED = 2_000


def check(name: str, answer: Any) -> Report:
    """Check an answer on the public cases of an exercise and say what to look at.

    Args:
        name: of the exercise: ``"my_linear"``.
        answer: the class or function itself, not an object made from it: ``MyLinear``.

    Returns:
        A report that a notebook shows as a table. It never raises because of a wrong answer.
    """
    report = _check(name, answer)
    if os.environ.get("NBGRADER_EXECUTION") == "validate":
        # nbgrader's Validate looks at the cell's outputs: something on stderr means "not passed yet", and is shown.
        if not report.passed:
            print(report, file=sys.stderr)
        return replace(report, as_number=True)
    return report


def _check(name: object, answer: Any) -> Report:
    if not isinstance(name, str):
        return Report(
            "check", problem='the name comes first, in quotes, then the class: check("my_linear", MyLinear)'
        )
    path = Path("public.json")
    try:
        exercises = read_public(path)
    except FileNotFoundError:
        return Report(name, problem=f"{path} is not in {Path.cwd()}; open the notebook in its own folder")
    except ValueError as error:
        return Report(name, problem=f"{error}; take a fresh copy of the assignment's folder")
    if name not in exercises:
        near = difflib.get_close_matches(name, exercises, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(exercises)}"
        return Report(name, problem=f"no exercise of this name; {meant}")
    others = {exercise.defines for exercise in exercises.values() if exercise.name != name}
    given = getattr(answer, "__name__", None)
    if given in others:
        return Report(name, problem=f"this is {given}; here {exercises[name].defines} is asked for")
    return examine(exercises[name], answer)


def examine(exercise: Exercise, answer: Any, remark: str = "") -> Report:
    """Observe an answer on all cases of an exercise, and judge."""
    if isinstance(answer, nn.Module):
        problem = f"give the class itself, check({exercise.name!r}, {exercise.defines}), not an object made from it"
        return Report(exercise.name, problem=problem, remark=remark)
    if not callable(answer):
        problem = f"this is a {type(answer).__name__}; give {exercise.defines}, the name that your cell defines"
        return Report(exercise.name, problem=problem, remark=remark)
    observed, printed = observe_all(exercise, answer)
    verdicts = judge(exercise, observed)
    known = recognise(exercise, observed, verdicts)
    if len(printed) > MOST_PRINTED:
        printed = printed[:MOST_PRINTED] + f"\n… and {len(printed) - MOST_PRINTED} characters more"
    return Report(exercise.name, verdicts, known, printed, remark=remark)


def observe_all(
    exercise: Exercise, answer: Any, seconds: float = SECONDS_FOR_ALL
) -> tuple[dict[str, list[Observation]], str]:
    """What an answer gives in each case of each check, as far as the time goes, and what it printed."""
    observed: dict[str, list[Observation]] = {}
    printed: list[str] = []
    deadline = time.monotonic() + seconds
    for item in exercise.checks:
        observed[item.id] = []
        for case in item.cases:
            left = deadline - time.monotonic()
            if left <= 0:
                return observed, "".join(printed)
            observation, text = observe(answer, item.probe, case, min(SECONDS_FOR_A_CASE, left))
            observed[item.id].append(observation)
            # The same case is called by several probes; hearing the same thing once is enough.
            if text not in printed:
                printed.append(text)
    return observed, "".join(printed)
