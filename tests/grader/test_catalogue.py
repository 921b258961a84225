"""The grader's own accuracy: each known wrong answer loses what it should and is named, each right one keeps all."""

from functools import cache

import nbformat
import pytest

from d2lblocks.checking.check import examine
from grader.authoring import assignments, define
from grader.submissions import solution_cells
from tests import ROOT

SEEDS = (0, 1, 2026)

TASKS = {f"{a.name}.{task.name}": (a, task) for a in assignments(ROOT / "solutions") for task in a.tasks.values()}
MISTAKES = [(name, mistake.id) for name, (_, task) in TASKS.items() for mistake in task.mistakes]
ALTERNATIVES = [(name, other) for name, (_, task) in TASKS.items() for other in task.alternatives]


@cache
def exercise(name, seed):
    return TASKS[name][1].exercise(seed)


def test_there_is_something_to_test():
    assert len(TASKS) >= 2
    assert len(MISTAKES) >= 8
    assert len(ALTERNATIVES) >= 4


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_fails_its_checks_and_only_those_and_is_told_its_own_message(name, mistake, seed):
    _, task = TASKS[name]
    (entry,) = (m for m in task.mistakes if m.id == mistake)
    report = examine(exercise(name, seed), define(entry.source, task.defines))
    assert {v.check.id for v in report.verdicts if v.status != "pass"} == entry.fails
    assert report.known is not None
    assert report.known.id == mistake


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "other"), ALTERNATIVES)
def test_an_alternative_right_answer_gets_everything_and_no_message(name, other, seed):
    _, task = TASKS[name]
    report = examine(exercise(name, seed), define(task.alternatives[other], task.defines))
    assert report.passed, report
    assert report.known is None


@pytest.mark.parametrize("name", TASKS)
def test_the_worked_solution_gets_everything(name):
    assignment, task = TASKS[name]
    path = ROOT / "solutions" / assignment.name / f"{assignment.name}.ipynb"
    worked = solution_cells(nbformat.read(path, as_version=4))[task.name].source
    report = examine(exercise(name, 7), define(worked, task.defines))
    assert report.passed, report


@pytest.mark.parametrize("name", TASKS)
def test_every_check_is_failed_by_some_mistake(name):
    _, task = TASKS[name]
    stubs = {check.id for check in task.checks}
    caught = {check for mistake in task.mistakes for check in mistake.fails}
    assert stubs - caught == set()


@pytest.mark.parametrize("name", TASKS)
def test_secret_cases_depend_on_the_seed_alone(name):
    _, task = TASKS[name]

    def inputs(seed):
        return [tensor.tolist() for case in exercise(name, seed).checks[0].cases for tensor in case.inputs]

    public = len(task.public)
    assert inputs(0) == inputs(0)
    assert inputs(0)[:public] == inputs(1)[:public]
    assert inputs(0)[public:] != inputs(1)[public:]


@pytest.mark.parametrize("name", TASKS)
def test_the_points_in_the_notebook_are_those_of_the_checks(name):
    assignment, task = TASKS[name]
    notebook = nbformat.read(ROOT / "solutions" / assignment.name / f"{assignment.name}.ipynb", as_version=4)
    points = {
        cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    assert points[f"test_{task.name}"] == sum(check.points for check in task.checks)


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_the_section_to_read_exists(name, mistake):
    (entry,) = (m for m in TASKS[name][1].mistakes if m.id == mistake)
    page, _, label = entry.see.partition(".html#")
    chapter = nbformat.read(ROOT / "book" / f"{page}.ipynb", as_version=4)
    assert any(f"({label})=" in cell.source.splitlines() for cell in chapter.cells if cell.cell_type == "markdown")
