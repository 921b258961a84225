"""Where the answers of a submission are found, and what is graded."""

import copy

import nbformat
import pytest

from grader.errors import SubmissionError
from grader.submission.read import grade_id_of
from grader.submission.repair import is_answered, repair
from tests.grader.submission.notebooks import (
    ANSWERS,
    code_of,
    number_of,
    put,
    read_release,
    repaired,
    take_out,
    usual,
)


def test_a_normal_submission_does_not_change(release, notebook):
    result = repaired(release, notebook)
    assert code_of(result) == usual()
    assert result.notes == ()


def test_an_answer_whose_cell_was_deleted_and_typed_again_is_found(release, notebook):
    take_out(notebook, "my_linear")
    put(notebook, ANSWERS["my_linear"], behind="about_my_linear")
    result = repaired(release, notebook)
    assert code_of(result) == usual()
    assert result.notes == (
        "The cell 'my_linear' was missing; your cell that defines MyLinear was graded in its place.",
    )


def test_a_definition_beside_the_untouched_stub_counts(release, notebook):
    """The cell was copied, the copy has lost its metadata, and the answer was written into the copy."""
    for behind in ("about_my_linear", "my_linear"):
        changed = copy.deepcopy(notebook)
        changed.cells[number_of(changed, "my_linear")].source = release.cells[number_of(release, "my_linear")].source
        put(changed, ANSWERS["my_linear"], behind)
        result = repaired(release, changed)
        assert code_of(result) == usual()
        assert "The cell 'my_linear' has no answer; your cell that defines MyLinear" in result.notes[0]


def test_a_definition_far_above_stays_there_and_the_stub_does_not_undo_it(release, notebook):
    take_out(notebook, "running_center")
    put(notebook, ANSWERS["running_center"], behind="setup")
    result = repaired(release, notebook)
    placed = "# RunningCenter is defined in another cell."
    assert code_of(result) == [ANSWERS["running_center"], *usual(running_center=placed)]
    assert "another cell of yours defines RunningCenter" in result.notes[0]


def test_a_definition_below_its_check_is_graded_with_what_stands_before_it(release, notebook):
    take_out(notebook, "my_linear")
    put(notebook, ANSWERS["my_linear"], behind="progress")
    put(notebook, "helper = 1", behind="progress")
    result = repaired(release, notebook)
    expected = usual()
    expected.insert(2, "helper = 1")
    assert code_of(result) == expected


def test_an_answer_without_released_cells_around_it(release, notebook):
    for gone in ("test_centered_layer", "about_my_linear", "my_linear", "test_my_linear", "about_tensor_reduction"):
        take_out(notebook, gone)
    for put_back in ("centered_layer", "progress"):
        changed = copy.deepcopy(notebook)
        put(changed, ANSWERS["my_linear"], behind=put_back)
        put(changed, "helper = 1", behind=put_back)
        code = code_of(repaired(release, changed))
        assert code.index("helper = 1") < code.index(ANSWERS["my_linear"]) < code.index("test_my_linear")
        assert "NotImplementedError" not in "".join(code)


def test_all_answers_at_the_end_without_any_metadata(release, notebook):
    for name in ANSWERS:
        take_out(notebook, name)
    notebook.cells += [nbformat.v4.new_code_cell(source) for source in reversed(ANSWERS.values())]
    result = repaired(release, notebook)
    code = code_of(result)
    for name, source in ANSWERS.items():
        assert code.index(source) < code.index(f"test_{name}")
    assert "NotImplementedError" not in "".join(code)


def test_of_several_definitions_before_the_check_the_last_counts(release, notebook):
    take_out(notebook, "my_linear")
    put(notebook, ANSWERS["my_linear"], behind="about_my_linear")
    put(notebook, "class MyLinear:\n    first = True", behind="about_my_linear")
    result = repaired(release, notebook)
    expected = usual()
    expected.insert(2, "class MyLinear:\n    first = True")
    assert code_of(result) == expected


def test_one_cell_that_answers_two_exercises(release, notebook):
    for gone in ("my_linear", "tensor_reduction"):
        changed = copy.deepcopy(notebook)
        both = f"{ANSWERS['my_linear']}\n\n{ANSWERS['tensor_reduction']}"
        take_out(changed, gone)
        stays = {"my_linear": "tensor_reduction", "tensor_reduction": "my_linear"}[gone]
        changed.cells[number_of(changed, stays)].source = both
        result = repaired(release, changed)
        placed = "# TensorReduction is defined in another cell."
        assert code_of(result) == usual(my_linear=both, tensor_reduction=placed)
        assert len(result.notes) == 1


def test_an_answer_in_two_cells_is_run_as_it_was_written(release, notebook):
    take_out(notebook, "my_linear")
    put(notebook, "MyLinear.forward = lambda self, X: X", behind="about_my_linear")
    put(notebook, ANSWERS["my_linear"], behind="about_my_linear")
    code = code_of(repaired(release, notebook))
    first, second = code.index(ANSWERS["my_linear"]), code.index("MyLinear.forward = lambda self, X: X")
    assert first < second < code.index("test_my_linear")
    assert "NotImplementedError" not in "".join(code)


def test_two_answers_in_each_others_cells(release, notebook):
    one, other = (notebook.cells[number_of(notebook, name)] for name in ("my_linear", "tensor_reduction"))
    one.source, other.source = other.source, one.source
    code = code_of(repaired(release, notebook))
    for name in ANSWERS:
        assert code.index(ANSWERS[name]) < code.index(f"test_{name}")


@pytest.mark.parametrize("first", ["stub", "answer"])
def test_a_copy_of_the_stub_undoes_nothing(release, notebook, first):
    """With all metadata, as JupyterLab copies a cell, or without."""
    for loses_metadata in (False, True):
        changed = copy.deepcopy(notebook)
        number = number_of(changed, "my_linear")
        stub = copy.deepcopy(release.cells[number_of(release, "my_linear")])
        if loses_metadata:
            stub = nbformat.v4.new_code_cell(stub.source)
        changed.cells.insert(number if first == "stub" else number + 1, stub)
        result = repaired(release, changed)
        assert code_of(result) == usual()
        assert result.notes


@pytest.mark.parametrize("ids_too", [False, True])
def test_metadata_that_is_lost_everywhere(release, notebook, ids_too):
    for cell in notebook.cells:
        cell.metadata.clear()
        if ids_too:
            cell.pop("id", None)
    result = repaired(release, notebook)
    assert code_of(result) == usual()


@pytest.mark.parametrize(
    "source",
    [
        "%%time\nclass MyLinear(nn.Module):\n    pass",
        "MyLinear = Other",
        "MyLinear: type = Other",
        "from mine import MyLinear",
        "!ls\nclass MyLinear(nn.Module:\n    pass",
        "def MyLinear(a, b):\n    return nn.Linear(a, b)",
    ],
)
def test_ways_to_define_a_name(release, notebook, source):
    take_out(notebook, "my_linear")
    put(notebook, source, behind="about_my_linear")
    assert code_of(repaired(release, notebook)) == usual(my_linear=source)


@pytest.mark.parametrize(
    "source",
    [
        "MyLinear == Other",
        "net = MyLinear(2, 3)",
        "class MyLinearToo(nn.Module):\n    pass",
        "%%writefile mine.py\nclass MyLinear(nn.Module):\n    pass",
        "# class MyLinear",
        "MyLinear.forward = None",
    ],
)
def test_code_that_does_not_define_a_name(release, notebook, source):
    take_out(notebook, "my_linear")
    put(notebook, source, behind="about_my_linear")
    stub = release.cells[number_of(release, "my_linear")].source
    assert code_of(repaired(release, notebook))[2:5] == [source, stub, "test_my_linear"]


def test_an_answer_in_words_that_was_typed_again_is_found():
    release = read_release("layers_and_blocks")
    for missing in (True, False):
        notebook = copy.deepcopy(release)
        if missing:
            take_out(notebook, "list_of_modules")
            take_out(notebook, "about_list_of_modules")
        behind = "test_init_xavier" if missing else "about_list_of_modules"
        put(notebook, "They are not registered.", behind, nbformat.v4.new_markdown_cell)
        result = repair(release, notebook, defines={"mlp": "MLP"})
        (cell,) = (cell for cell in result.notebook.cells if grade_id_of(cell) == "list_of_modules")
        assert cell.source == "They are not registered."
        assert sum("YOUR ANSWER" in cell.source for cell in result.notebook.cells) == 0
        assert "the text that you wrote there was graded" in " ".join(result.notes)


def test_text_that_lost_its_metadata_is_found_by_the_id_of_its_cell():
    release = read_release("layers_and_blocks")
    notebook = copy.deepcopy(release)
    cell = take_out(notebook, "list_of_modules")
    cell.metadata.clear()
    cell.source = "They are not registered."
    notebook.cells.insert(1, cell)
    result = repair(release, notebook)
    (cell,) = (cell for cell in result.notebook.cells if grade_id_of(cell) == "list_of_modules")
    assert cell.source == "They are not registered."


def test_a_notebook_of_another_assignment_is_refused_with_and_without_metadata(release):
    other = read_release("layers_and_blocks")
    for _ in range(2):
        with pytest.raises(SubmissionError, match="another assignment"):
            repaired(release, other)
        for cell in other.cells:
            cell.metadata.clear()


def test_a_search_for_definitions_does_not_take_long(release, notebook):
    """Lines that nearly match: 4 million characters in all, a few seconds even on a busy machine."""
    for line in (
        "MyLinear:" + " x" * 90_000,
        "from " + "MyLinea " * 20_000,
        "MyLinear \t" * 15_000,
        "class " * 30_000,
    ):
        notebook.cells += [nbformat.v4.new_code_cell(line) for _ in range(5)]
    assert code_of(repaired(release, notebook))[: len(usual())] == usual()


def test_is_answered(release, notebook):
    assert is_answered(release, notebook)
    assert not is_answered(release, release)
