"""exercises/ is what solutions/ gives, and gives nothing away."""

import base64
import json
import re
import shutil

import nbformat
import pytest
import torch
from torch import nn

from d2lblocks.checking.check import examine
from d2lblocks.checking.exercise import read_public
from d2lblocks.checking.observation import encode
from grader.authoring.exercise import assignments, load
from grader.authoring.release import keep_if_same, same
from grader.files import folders
from tests import ROOT, guide
from tests.grader.conftest import rely_on

ASSIGNMENTS = [assignment.name for assignment in assignments(ROOT / "solutions")]
# The rules for a release hold for the guide's example, too.
ALL = [*dict.fromkeys([*ASSIGNMENTS, guide.NAME])]


@pytest.fixture(scope="module")
def course(course):
    """The course, and the guide's example in it."""
    guide.write_example(course.solutions)
    course.release(guide.NAME)
    rely_on(course)
    return course


@pytest.fixture
def release(name, course):
    """The folder of a release: the committed one where there is one."""
    return (ROOT if name in ASSIGNMENTS else course.root.parent) / "exercises" / name


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_the_committed_release_is_what_the_solutions_give(name, course):
    committed, made = ROOT / "exercises" / name, course.exercises / name
    assert {path.name for path in folders.walk(committed)} == {f"{name}.ipynb", "public.json"}
    assert {path.name for path in folders.walk(made)} == {f"{name}.ipynb", "public.json"}
    notebook = f"{name}.ipynb"
    assert (committed / notebook).read_text(encoding="utf-8") == (made / notebook).read_text(encoding="utf-8")
    assert same(read_public(committed / "public.json"), read_public(made / "public.json"))


def test_catalogues_and_checks_are_never_handed_out(course):
    """Also those that lie deeper, or belong to no exercise; a file of data is handed out."""
    folder, release = course.solutions / guide.NAME, course.exercises / guide.NAME
    more = [folder / "notes.md", folder / "scale copy.md", folder / "old" / "scale.md"]
    given = folder / "numbers.csv"
    (folder / "old").mkdir()
    try:
        for path in (*more, given):
            path.write_text("secret", encoding="utf-8")
        course.release(guide.NAME)
        assert {path.name for path in folders.walk(release)} == {"public.json", f"{guide.NAME}.ipynb", "numbers.csv"}
    finally:
        shutil.rmtree(folder / "old")
        for path in (*more[:2], given):
            path.unlink()
        course.release(guide.NAME)
        rely_on(course)


def test_nothing_else_is_released():
    assert {path.name for path in folders.entries(ROOT / "exercises")} == set(ASSIGNMENTS)


@pytest.mark.parametrize("name", ALL)
def test_no_solution_reference_or_secret_case_is_in_it(name, course, release):
    source, assignment = course.solutions / name, load(course.solutions / name)
    given = "".join(path.read_text(encoding="utf-8") for path in folders.files(release))
    assert not re.search(
        r"(BEGIN|END) (SOLUTION|HIDDEN)|grader\.inside|\bsecret_|ExerciseSource|known answers", given
    )
    notebook = nbformat.read(source / f"{name}.ipynb", as_version=4)
    worked = "\n".join(re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", _code(notebook), flags=re.S))
    student = _code(nbformat.read(release / f"{name}.ipynb", as_version=4))
    lines = [line.strip() for line in worked.splitlines() if len(line.strip()) > 12]
    assert lines
    assert not [line for line in lines if line in student]
    for task in assignment.exercises.values():
        for source in (*(m.source for m in task.mistakes), *task.right_answers.values()):
            assert source not in given
            assert json.dumps(source)[1:-1] not in given
        for mistake in task.mistakes:
            assert json.dumps(mistake.why)[1:-1] not in given
    public = read_public(release / "public.json").exercises
    for task_name, task in assignment.exercises.items():
        assert [case.form for case in public[task_name].cases] == [case.form for case in task.public]
        secret = task.without_known(0).cases[len(task.public) :]
        assert secret
        for case in secret:
            assert all(json.dumps(encode(tensor)) not in given for tensor in case.inputs if tensor.numel() > 3)


@pytest.mark.parametrize(
    ("name", "exercise", "check"),
    [
        ("custom_layers", "centered_layer", "values"),
        ("custom_layers", "half_fourier", "values"),
        ("control_flow", "halve_per_sample", "values"),
        ("performance", "pairwise_distance", "values"),
    ],
)
def test_who_looks_up_the_public_answers_gets_nothing_for_it(name, exercise, check):
    """The best that can be derived from the released files: what the reference gave in the public cases."""
    public = read_public(ROOT / "exercises" / name / "public.json").exercises[exercise]
    (one,) = (c for c in public.checks if c.id == check)
    known = [(case.inputs, seen["output"]) for case, seen in zip(one.cases, public.expected[check], strict=True)]

    class LookUp(nn.Module):
        def forward(self, *inputs):
            for tried, output in known:
                if len(tried) == len(inputs) and all(map(torch.equal, tried, inputs)):
                    return output
            return inputs[0]

    def passed(exercise_with_cases):
        report = examine(exercise_with_cases, LookUp)
        return {verdict.check.id for verdict in report.verdicts if verdict.status == "pass"}

    assert check in passed(public)
    assert check not in passed(load(ROOT / "solutions" / name).exercises[exercise].without_known(seed=3))


def _code(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("name", ALL)
def test_the_students_notebook_has_stubs_and_no_outputs(name, release):
    notebook = nbformat.read(release / f"{name}.ipynb", as_version=4)
    assert all(cell.outputs == [] for cell in notebook.cells if cell.cell_type == "code")
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution"):
            assert "raise NotImplementedError" in cell.source


def test_a_difference_in_the_last_bits_does_not_make_a_new_release(tmp_path):
    name = "custom_layers"
    original = (ROOT / "exercises" / name / "public.json").read_text(encoding="utf-8")
    old, path = tmp_path / "old.json", tmp_path / "public.json"
    old.write_text(original, encoding="utf-8")

    def rewrite(change):
        form = json.loads(original)
        exercise = form["exercises"]["centered_layer"]
        change(exercise)
        path.write_text(json.dumps(form), encoding="utf-8")
        keep_if_same(path, old)
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
