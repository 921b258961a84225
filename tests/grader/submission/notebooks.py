"""A release, and submissions that are made from it by changing cells."""

import nbformat

from grader.submission.read import grade_id_of
from grader.submission.repair import repair
from tests import ROOT

NAME = "custom_layers"
DEFINES = {
    "centered_layer": "CenteredLayer",
    "my_linear": "MyLinear",
    "tensor_reduction": "TensorReduction",
    "half_fourier": "HalfFourier",
    "running_center": "RunningCenter",
}
ANSWERS = {name: f"class {defined}(nn.Module):\n    answer = 1" for name, defined in DEFINES.items()}


def read_release(name):
    return nbformat.read(ROOT / "exercises" / name / f"{name}.ipynb", as_version=4)


def number_of(notebook, name):
    return [grade_id_of(cell) for cell in notebook.cells].index(name)


def take_out(notebook, name):
    return notebook.cells.pop(number_of(notebook, name))


def put(notebook, source, behind, new_cell=nbformat.v4.new_code_cell):
    notebook.cells.insert(number_of(notebook, behind) + 1, new_cell(source))


def code_of(repaired):
    """The code in the order in which it is run, without the setup; of checks, the name of what is checked."""
    code = []
    for cell in repaired.notebook.cells:
        name = grade_id_of(cell)
        if cell.cell_type == "code" and name not in ("setup", "progress"):
            code.append(name if name and name.startswith("test_") else cell.source)
    return code


def usual(**changed):
    """The code of a submission in which each answer stands in its own cell."""
    answers = ANSWERS | changed
    return [part for name in ANSWERS for part in ((answers[name],) if answers[name] else ()) + (f"test_{name}",)]


def repaired(release, notebook):
    return repair(release, notebook, defines=DEFINES)
