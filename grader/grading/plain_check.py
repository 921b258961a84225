"""The `check` of a notebook that plain nbgrader grades, without the sandbox.

A hidden line of each autograde cell imports it in place of the student's `check`. So the cell's last line,
``check("my_linear", MyLinear)``, also tries the secret cases and gives nbgrader a number of points.

The answer, the reference and the judge share one process, as in every plain nbgrader course: use it only for code
that you trust.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from d2lblocks.checking.pipeline import examine
from d2lblocks.checking.public import read_public
from d2lblocks.checking.report import AssignmentReport, Report
from grader.authoring.exercise import load
from grader.files.course_directory import directory_of
from grader.grading.job import new_seed

SEED_VARIABLE = "GRADER_SEED"


_graded: dict[str, Report] = {}


def check(name: str = "", answer: Any = None) -> Report | AssignmentReport:
    """Grade an answer on the public cases and on secret ones.

    The secret cases are drawn from the seed in the environment variable `GRADER_SEED`, or from a new one; the report
    names it, so that a grading can be repeated. Without a name: what was graded so far.
    """
    if not name:
        return AssignmentReport(tuple(_graded.values()))
    seed = int(os.environ.get(SEED_VARIABLE) or new_seed())
    assignment = Path.cwd().name
    solutions, releases = _folders()
    released = read_public(releases / assignment / "public.json").exercises[name]
    task = load(solutions / assignment).exercises[name]
    report = examine(task.for_grading(seed, released), answer, remark=f"Graded with secret cases of seed {seed}.")
    _graded[name] = replace(report, as_number=True, graded=True)
    return _graded[name]


def _folders() -> tuple[Path, Path]:
    """The folders of solutions and of releases of the nbgrader course in which this notebook runs.

    Raises:
        FileNotFoundError: the notebook is not in an nbgrader course.
    """
    for folder in Path.cwd().parents:
        if (folder / "nbgrader_config.py").exists():
            directory = directory_of(folder)[1]
            here = Path(directory.root)
            return (here / directory.source_directory).resolve(), (here / directory.release_directory).resolve()
    raise FileNotFoundError(f"no nbgrader_config.py above {Path.cwd()}")
