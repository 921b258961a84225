"""What is made of a submission before it is graded: which notebook, in which format, and where its answers are."""

import codecs
import copy
import json
import os

import nbformat
import pytest

from grader.authoring.fill_in import fill_in
from grader.errors import SubmissionError
from grader.grading import fingerprint
from grader.grading.job import GradingJob, Submission
from grader.submission.find import MAX_ATTEMPTS, find_notebook
from grader.submission.read import grade_id_of, read_notebook, source_of
from grader.submission.repair import is_answered, repair
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


@pytest.fixture(scope="module")
def release():
    return read_release(NAME)


@pytest.fixture
def notebook(release):
    """A submission in which everything is answered, for a test to change."""
    return fill_in(release, ANSWERS)


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


# --- answers ------------------------------------------------------------------------------------------------------


def test_what_is_in_order_stays_as_it_is(release, notebook):
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


def test_a_definition_far_above_stays_where_it_is_and_no_stub_is_put_behind_it(release, notebook):
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


def test_nothing_of_ours_is_left_around_an_answer(release, notebook):
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
def test_what_defines_nothing(release, notebook, source):
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


# --- attempts -----------------------------------------------------------------------------------------------------

OLD, NEW = 1_700_000_000, 1_700_100_000


@pytest.fixture
def hand_in(tmp_path):
    """Writes files into a submission's folder, with the times that are given."""

    def write(**times):
        folder = tmp_path / "ada" / NAME
        folder.mkdir(parents=True)
        for name, time in times.items():
            path = folder / f"{name.replace('__', ' ')}.ipynb"
            path.write_text(name)
            os.utime(path, (time, time))
        return folder

    return write


def chosen(folder, has_answers=lambda path: True):
    path, notes = find_notebook(folder, NAME, has_answers)
    return path.stem, " ".join(notes)


@pytest.mark.parametrize(
    "newer",
    [
        "custom_layers__(1)",
        "custom_layers-1",
        "custom_layers(2)",
        "custom_layers-Copy1",
        "custom_layers_v2",
        "turingalan_LATE_50002_900002_custom_layers-1",
        "Custom__Layers__(3)",
    ],
)
@pytest.mark.parametrize("times", [(OLD, NEW), (OLD, OLD), (NEW, OLD)])
def test_the_attempt_with_the_highest_number_counts(hand_in, newer, times):
    folder = hand_in(**{"custom_layers": times[0], newer: times[1]})
    name, said = chosen(folder)
    assert name == newer.replace("__", " ")
    assert f"{name}.ipynb was graded: its name has the highest number" in said
    assert ("its file is the newest" in said) == (times == (OLD, NEW))
    assert ("custom_layers.ipynb was written later" in said) == (times == (NEW, OLD))
    assert "Also submitted, but not graded: custom_layers.ipynb" in said


@pytest.mark.parametrize("other", ["Copy__of__custom_layers", "custom_layers_final", "custom_layers__-__Copy"])
def test_without_numbers_the_newest_file_counts(hand_in, other):
    folder = hand_in(**{"custom_layers": OLD, other: NEW})
    name, said = chosen(folder)
    assert name == other.replace("__", " ")
    assert "its file is the newest" in said
    os.utime(folder / "custom_layers.ipynb", (NEW + 1000, NEW + 1000))
    assert chosen(folder)[0] == "custom_layers"


def test_where_it_cannot_be_known_that_is_said(hand_in):
    name, said = chosen(hand_in(custom_layers=NEW, Copy__of__custom_layers=NEW + 1))
    assert name == "custom_layers"
    assert "names and times do not show which one is newer" in said


def test_an_attempt_in_which_nothing_is_answered_does_not_count(hand_in):
    """Downloaded a second time, and not touched since."""
    folder = hand_in(**{"custom_layers": NEW, "custom_layers__(1)": NEW})
    name, said = chosen(folder, lambda path: "(1)" not in path.name)
    assert name == "custom_layers"
    assert "the others have no answers" in said
    assert chosen(folder, lambda path: False)[0] == "custom_layers (1)"


def test_what_is_answered(release, notebook):
    assert is_answered(release, notebook)
    assert not is_answered(release, release)


def test_a_notebook_with_another_name_is_no_attempt(hand_in):
    name, said = chosen(hand_in(custom_layers=OLD, draft=NEW, layers=NEW, my_custom_layersX=NEW))
    assert name == "custom_layers"
    assert "attempts" not in said
    assert "Also submitted, but not graded: draft.ipynb, layers.ipynb" in said


def test_a_notebook_in_a_folder_of_its_own_is_named(hand_in):
    folder = hand_in()
    (folder / "upload").mkdir()
    (folder / "upload" / f"{NAME}.ipynb").touch()
    with pytest.raises(SubmissionError, match=f"there is upload/{NAME}.ipynb"):
        chosen(folder)


def test_more_attempts_than_anybody_needs_are_refused(hand_in):
    folder = hand_in(**{f"custom_layers-{number}": OLD for number in range(MAX_ATTEMPTS + 1)})
    with pytest.raises(SubmissionError, match="there are 21 attempts, the maximum is 20"):
        chosen(folder)


def test_folders_in_folders_in_folders_are_no_submission(hand_in):
    folder = hand_in()
    before = os.getcwd()
    try:
        os.chdir(folder)
        for _ in range(1500):
            os.mkdir("a")
            os.chdir("a")
        with pytest.raises(SubmissionError, match="there is nothing"):
            chosen(folder)
        for _ in range(1500):
            os.chdir("..")
            os.rmdir("a")
    finally:
        os.chdir(before)


def test_what_is_graded_decides_whether_it_is_graded_again(hand_in, release):
    job = GradingJob(ROOT / "solutions", ROOT / "exercises", seed=1)
    folder = hand_in(**{"custom_layers": OLD, "custom_layers__(1)": NEW})
    submission = Submission("ada", NAME, folder)
    prints = [fingerprint.fingerprint(job, submission)]
    (folder / "custom_layers (1).ipynb").write_text("changed")
    prints.append(fingerprint.fingerprint(job, submission))
    os.utime(folder / "custom_layers.ipynb", (NEW + 1000, NEW + 1000))
    prints.append(fingerprint.fingerprint(job, submission))
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / f"{NAME}-checkpoint.ipynb").touch()
    assert len({*prints, fingerprint.fingerprint(job, submission)}) == 3


# --- formats ------------------------------------------------------------------------------------------------------


def old_form(notebook, version):
    """A notebook in an older format, as that Jupyter wrote it: its sources are lists of lines."""
    writer = {2: nbformat.v2, 3: nbformat.v3}[version]
    return json.loads(writer.writes_json(nbformat.convert(copy.deepcopy(notebook), version)))


@pytest.mark.parametrize("version", [2, 3])
def test_older_formats_are_read(release, notebook, tmp_path, version):
    notebook.cells.append(nbformat.v4.new_markdown_cell("# A heading\n\nof my own"))
    form = old_form(notebook, version)
    assert isinstance(form["worksheets"][0]["cells"][1].get("input", []), list)
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(form), encoding="utf-8")
    result = repaired(release, read_notebook(path))
    assert code_of(result) == usual()


def test_format_3_with_headings_outputs_and_two_sheets_is_read(tmp_path):
    heading = {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["A heading\n", "in two lines"]}
    code = {
        "cell_type": "code",
        "collapsed": False,
        "input": ["x = 1\n", "x"],
        "language": "python",
        "metadata": {"nbgrader": {"grade_id": "my_linear", "solution": True}},
        "outputs": [{"output_type": "pyout", "prompt_number": 1, "metadata": {}, "text": ["1"]}],
        "prompt_number": 1,
    }
    form = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0}
    form["worksheets"] = [{"cells": [heading, code], "metadata": {}}, {"cells": [code], "metadata": {}}]
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(form), encoding="utf-8")
    read = read_notebook(path)
    assert [cell.source for cell in read.cells] == ["## A heading in two lines", "x = 1\nx", "x = 1\nx"]
    assert read.cells[1].metadata.nbgrader.grade_id == "my_linear"


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-32"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
    ],
    ids=["UTF-8", "UTF-8 with a mark", "UTF-16", "UTF-32", "UTF-16 BE", "UTF-16 without a mark"],
)
def test_every_unicode_encoding_is_read(notebook, tmp_path, encode):
    notebook.cells.append(nbformat.v4.new_markdown_cell("größe 🧱"))
    path = tmp_path / "some.ipynb"
    path.write_bytes(encode(nbformat.writes(notebook)))
    assert source_of(read_notebook(path).cells[-1]) == "größe 🧱"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"nbformat": 5, "cells": []}, "has the format 5; formats 1 to 4 can be read"),
        ({"nbformat": 0, "cells": []}, "has the format 0"),
        ({"nbformat": True, "cells": []}, "JSON, but not a notebook"),
        ({"nbformat": 3}, "^x.ipynb has no cells|damaged"),
        ({"nbformat": 3, "worksheets": [{"cells": [1]}]}, "has the old format 3 and is damaged"),
        ({"nbformat": 3, "worksheets": [{"cells": [{}] * 501}]}, "it has 501 cells, the maximum is 500"),
        ({"nbformat": 1, "cells": 7}, "has the old format 1 and is damaged"),
    ],
    ids=range(7),
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, form, words):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(form), encoding="utf-8")
    with pytest.raises(SubmissionError, match=words) as error:
        repair(read_release(NAME), read_notebook(path))
    assert "\n" not in str(error.value)
