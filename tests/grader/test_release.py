"""exercises/ is what solutions/ gives, and gives nothing away."""

import base64
import json
import re

import nbformat
import pytest

from d2lblocks.checking.exercises import read_public
from grader.authoring import assignments
from grader.release import keep_if_same, same
from tests import ROOT

ASSIGNMENTS = {assignment.name: assignment for assignment in assignments(ROOT / "solutions")}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_committed_release_is_what_the_solutions_give(name, course):
    committed, made = ROOT / "exercises" / name, course.exercises / name
    assert {path.name for path in committed.iterdir() if path.suffix != ".pyc"} == {f"{name}.ipynb", "public.json"}
    assert {path.name for path in made.iterdir()} == {f"{name}.ipynb", "public.json"}
    notebook = f"{name}.ipynb"
    assert (committed / notebook).read_text(encoding="utf-8") == (made / notebook).read_text(encoding="utf-8")
    assert same(read_public(committed / "public.json"), read_public(made / "public.json"))


def test_nothing_else_is_released():
    assert {path.name for path in (ROOT / "exercises").iterdir()} == set(ASSIGNMENTS)


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_no_solution_reference_or_secret_case_is_in_it(name):
    folder, assignment = ROOT / "exercises" / name, ASSIGNMENTS[name]
    released = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert not re.search(r"(BEGIN|END) (SOLUTION|HIDDEN)|grader\.inside|\bsecret_|reference\.py", released)
    notebook = nbformat.read(ROOT / "solutions" / name / f"{name}.ipynb", as_version=4)
    worked = "\n".join(re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", _code(notebook), flags=re.S))
    student = _code(nbformat.read(folder / f"{name}.ipynb", as_version=4))
    lines = [line.strip() for line in worked.splitlines() if line.strip()]
    assert lines
    assert not [line for line in lines if line in student]
    for task in assignment.tasks.values():
        for source in (*(m.source for m in task.mistakes), *task.alternatives.values()):
            assert source not in released
    public = read_public(folder / "public.json")
    for task_name, task in assignment.tasks.items():
        assert {case.label for check in public[task_name].checks for case in check.cases} == {
            case.label for case in task.public
        }


def _code(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_students_notebook_has_stubs_and_no_outputs(name):
    notebook = nbformat.read(ROOT / "exercises" / name / f"{name}.ipynb", as_version=4)
    assert all(cell.outputs == [] for cell in notebook.cells if cell.cell_type == "code")
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution"):
            assert "raise NotImplementedError" in cell.source


def test_a_difference_in_the_last_bits_does_not_make_a_new_release(tmp_path):
    name = next(iter(ASSIGNMENTS))
    original = (ROOT / "exercises" / name / "public.json").read_text(encoding="utf-8")
    path = tmp_path / "public.json"

    def rewrite(change):
        path.write_text(original, encoding="utf-8")
        form = json.loads(original)
        exercise = form["exercises"][next(iter(form["exercises"]))]
        change(exercise)
        with keep_if_same(path):
            path.write_text(json.dumps(form), encoding="utf-8")
        return path.read_text(encoding="utf-8") == original

    def last_bit(exercise):
        tensor = exercise["checks"][0]["expected"][0]["dict"]["output"]["tensor"]
        data = bytearray(base64.b64decode(tensor["data"]))
        data[0] ^= 1
        tensor["data"] = base64.b64encode(data).decode()

    def first_bits(exercise):
        tensor = exercise["checks"][0]["expected"][0]["dict"]["output"]["tensor"]
        data = bytearray(base64.b64decode(tensor["data"]))
        data[3] ^= 0x40
        tensor["data"] = base64.b64encode(data).decode()

    def points(exercise):
        exercise["checks"][0]["points"] += 1

    def message(exercise):
        exercise["known"][0]["message"] += "!"

    assert rewrite(last_bit)
    assert not rewrite(first_bits)
    assert not rewrite(points)
    assert not rewrite(message)
