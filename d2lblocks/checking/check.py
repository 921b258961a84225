"""`check`: the student's verb.

In: the name of an exercise and an answer, in a notebook. Out: a table to read. The exercises come from the
`public.json` beside the notebook, or from the installed package.
"""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import replace
from typing import Any

from d2lblocks.checking.assignment import NoAssignment, assignment_of
from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.pipeline import examine
from d2lblocks.checking.report import AssignmentReport, Report
from d2lblocks.checking.settings import changes, in_words, usual_settings

_NOT_GIVEN = object()


def check(name: Any = "", answer: Any = _NOT_GIVEN) -> Report | AssignmentReport:
    """Check an answer on the public cases of an exercise and say what to look at.

    Args:
        name: of the exercise: ``"my_linear"``. Without it, every exercise of the assignment is checked.
        answer: the class or function itself, not an object made from it: ``MyLinear``. Without it, what the notebook
            defines under the name that the exercise asks for.

    Returns:
        A report, or without a name the results of the whole assignment, which a notebook shows as a table. It never
        raises because of a wrong answer.
    """
    remark = in_words("A cell of this notebook", changes())
    with usual_settings():  # also for reading and judging
        if isinstance(name, str) and not name:
            return _check_all(remark)
        report = _check(name, answer, remark)
    if os.environ.get("NBGRADER_EXECUTION") == "validate":
        # nbgrader's Validate reads the cell's outputs: text on stderr means "not passed yet", and is shown.
        if not report.passed:
            print(report, file=sys.stderr)
        return replace(report, as_number=True)
    return report


def _in_the_notebook(exercise: Exercise) -> Any:
    return vars(sys.modules["__main__"]).get(exercise.defines, _NOT_GIVEN)


def _check(name: object, answer: Any, remark: str) -> Report:
    if not isinstance(name, str):
        return Report(
            "check", problem='the name comes first, in quotes, then the class: check("my_linear", MyLinear)'
        )
    try:
        public = assignment_of(name)
    except NoAssignment as error:
        return Report(name, problem=str(error))
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


def _check_all(remark: str) -> Report | AssignmentReport:
    try:
        public = assignment_of()
    except NoAssignment as error:
        return Report("check", problem=str(error))
    reports = []
    for exercise in public.exercises.values():
        answer = _in_the_notebook(exercise)
        if answer is _NOT_GIVEN:
            reports.append(Report(exercise.name, problem="○ its cell has not been run", worth=exercise.points))
        else:
            reports.append(examine(exercise, answer, remark))
    return AssignmentReport(reports, public.by_hand)
