"""What this course demands of its own exercises, beyond the rules for every exercise in `test_catalogue.py`.

An assignment that is added need not be listed here; one that is listed must keep to this.
"""

import nbformat
import pytest

from grader.authoring import mistakes_page
from grader.authoring.accuracy import measure, table
from grader.authoring.exercise import assignments, load
from tests import ROOT

SOLUTIONS = ROOT / "solutions"
# In the order of the book.
COURSE = {
    "layers_and_blocks": ("my_sequential", "mlp", "parallel_block", "repeat_block", "init_xavier"),
    "custom_layers": ("centered_layer", "my_linear", "tensor_reduction", "half_fourier", "running_center"),
    "control_flow": ("fixed_hidden_mlp", "halve_per_sample", "stochastic_depth", "fixed_point"),
    "performance": ("count_ops", "pairwise_distance", "batched_ensemble", "halve_bounded"),
}
EXERCISES = [(assignment, name) for assignment, names in COURSE.items() for name in names]


@pytest.mark.parametrize("assignment", COURSE)
def test_its_exercises_are_there_in_this_order(assignment):
    assert tuple(load(SOLUTIONS / assignment).exercises) == COURSE[assignment]


def test_its_assignments_come_in_the_order_of_their_chapters():
    folders = mistakes_page.in_the_books_order(
        (SOLUTIONS / a.name for a in assignments(SOLUTIONS)), ROOT / "_toc.yml"
    )
    assert [folder.name for folder in folders if folder.name in COURSE] == list(COURSE)


@pytest.mark.parametrize(("assignment", "name"), EXERCISES)
def test_a_catalogue_has_at_least_six_wrong_and_four_right_answers(assignment, name):
    task = load(SOLUTIONS / assignment).exercises[name]
    assert len(task.mistakes) >= 6
    assert len(task.right_answers) >= 4


@pytest.mark.parametrize(("assignment", "name"), EXERCISES)
def test_the_notebook_says_how_many_points_there_are(assignment, name):
    task = load(SOLUTIONS / assignment).exercises[name]
    notebook = nbformat.read(SOLUTIONS / assignment / f"{assignment}.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert f"{sum(check.points for check in task.checks):g} points" in text


def test_the_accuracy_table_says_what_was_found():
    found = measure(SOLUTIONS / "custom_layers", "centered_layer", seeds=4)
    assert found.wrong == found.caught == found.named >= 6
    assert not found.false_alarms
    assert 0 <= found.used < 0.5
    assert "centered_layer" in repr(table([found]))
