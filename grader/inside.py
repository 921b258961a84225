"""The `check` of a notebook that is being graded by plain nbgrader.

A hidden line of each autograde cell imports it in place of the student's, so that the cell's last line,
``check("my_linear", MyLinear)``, also tries the secret cases and gives nbgrader a number of points.

Here the answer, the reference and the judge share one process, as they do in every plain nbgrader course: use it for
code that you trust.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from d2lblocks.checking.check import examine
from d2lblocks.checking.exercises import Exercise
from d2lblocks.checking.report import Report
from grader.authoring import assignments

SEED_VARIABLE = "GRADER_SEED"
MOST_SEEDS = 10**6


def check(name: str, answer: Any) -> Report:
    """Grade an answer on the public cases and on secret ones.

    The secret cases are drawn from the seed in the environment variable `GRADER_SEED`, or from a new one; the report
    names it, so that a grading can be repeated.
    """
    seed = int(os.environ.get(SEED_VARIABLE) or secrets.randbelow(MOST_SEEDS))
    report = examine(_exercises(seed)[name], answer, remark=f"Graded with secret cases of seed {seed}.")
    return replace(report, as_number=True)


@cache
def _exercises(seed: int) -> dict[str, Exercise]:
    return {
        task.name: task.exercise(seed)
        for assignment in assignments(_solutions())
        for task in assignment.tasks.values()
    }


def _solutions() -> Path:
    """`solutions/`, beside the nbgrader course in which this notebook runs.

    Raises:
        FileNotFoundError: the notebook does not lie in an nbgrader course.
    """
    for folder in Path.cwd().parents:
        if (folder / "nbgrader_config.py").exists():
            return folder.parent / "solutions"
    raise FileNotFoundError(f"no nbgrader_config.py above {Path.cwd()}")
