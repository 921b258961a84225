"""Settings of the whole process that one cell of a submission changes: they cost nothing, and the cell is named."""

import re

import nbformat
import pytest

from grader.authoring.exercise import load
from grader.authoring.fill_in import fill_in
from grader.grading.job import GradingJob, Submission
from grader.grading.submission_grader import SubmissionGrader
from tests import ROOT
from tests.attacks import POINTS
from tests.attacks.base import own_cell
from tests.isolation import isolation_problem

NAME = "custom_layers"
SOLUTIONS, RELEASE = ROOT / "solutions" / NAME, ROOT / "exercises" / NAME
WHY_NOT = isolation_problem()

# What a cell does, and what is said about it.
CELLS = {
    "torch.set_grad_enabled(False)": "the recording of gradients (off,",
    "torch.set_default_device('meta')": "the default device (meta,",
    "mode = torch.inference_mode()\nmode.__enter__()": "inference mode (on,",
    "nn.Module.__call__ = lambda self, *args: None": "what PyTorch defines (nn.Module.__call__,",
    "import warnings\nwarnings.simplefilter('error')": "warnings (exceptions,",
    """class Refusing(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        raise RuntimeError("no function may run")
refusing = Refusing()
refusing.__enter__()""": "the function modes that are on (Refusing,",
    "torch.set_num_threads(4)\ntorch.set_printoptions(precision=1)": "",
}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A right answer to everything, with such cells before the first answer and such a line in another one."""
    right = {name: task.worked for name, task in load(SOLUTIONS).exercises.items()}
    right["my_linear"] = f"torch.set_default_dtype(torch.float64)\n{right['my_linear']}"
    release = nbformat.read(RELEASE / f"{NAME}.ipynb", as_version=4)
    notebook = fill_in(release, right)
    at = notebook.cells.index(own_cell(notebook, "setup"))
    notebook.cells[at + 1 : at + 1] = map(nbformat.v4.new_code_cell, CELLS)
    folder = tmp_path_factory.mktemp("submitted") / "ada" / NAME
    folder.mkdir(parents=True)
    (folder / f"{NAME}.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
    job = GradingJob(SOLUTIONS.parent, RELEASE.parent, seed=11, isolated=not WHY_NOT)
    grader = SubmissionGrader(job)
    grader.zygote.start()
    yield grader.grade(Submission("ada", NAME, folder))
    grader.zygote.stop()


def test_they_cost_no_points(graded):
    assert {name.removeprefix("test_"): score for name, score in graded.entry.scores.items()} == POINTS


def test_the_cell_that_changed_them_is_named(graded):
    notebook = nbformat.reads(graded.entry.notebook, as_version=4)
    (notes,) = (cell.source for cell in notebook.cells if cell.get("id") == "grader-notes")
    plain = notes.replace("\\", "")
    for source, words in CELLS.items():
        (cell,) = (cell for cell in notebook.cells if cell.source == source)
        found = re.findall(rf"The cell \[{cell.execution_count}\] changes (.*?), for all code", plain)
        assert [words in one for one in found] == [True] * bool(words), source
    assert "The cell of my_linear changes the default dtype (torch.float64, by `torch.set_default_dtype`)" in plain
