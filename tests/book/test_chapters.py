"""What every chapter keeps to. That its outputs are what it computes is nbval's affair."""

import itertools
import re

import nbformat
import pytest

from tests import ROOT

# What this course must have, in this order; a chapter that is added need not be listed.
COURSE = ("basics", "layers_and_blocks", "custom_layers", "control_flow", "performance")
CHAPTERS = sorted({path.stem for path in (ROOT / "book").glob("*.ipynb")} - {"index"})
IGNORE = "nbval-ignore-output"


def read(name):
    return nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4)


def code_cells(name):
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def text_of(cell):
    """What a cell's outputs say in words, images left out."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" not in data:
            parts += [output.get("text", ""), data.get("text/plain", "")]
    return "".join(parts)


def draws(cell):
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


def compared(cell):
    return IGNORE not in tags(cell) and bool(text_of(cell).strip())


def test_the_chapters_are_those_of_the_table_of_contents():
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    listed = re.findall(r"(?:root|file): book/(\w+)$", contents, flags=re.M)
    assert set(listed) == {"index", *CHAPTERS}
    assert [name for name in listed if name in COURSE] == list(COURSE)


@pytest.mark.parametrize("name", ["index", *CHAPTERS])
def test_every_cell_was_run_from_top_to_bottom_and_none_failed(name):
    cells = [cell for cell in code_cells(name) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert not errors or "raises-exception" in tags(cell), cell.source
        assert not [output for output in cell.outputs if output.get("name") == "stderr"], cell.source


@pytest.mark.parametrize("name", ["index", *CHAPTERS])
def test_no_output_belongs_to_one_machine(name):
    for cell in code_cells(name):
        if IGNORE not in tags(cell):
            text = text_of(cell)
            assert not re.search(r"0x[0-9a-f]{6,}|/(home|root|tmp|usr|work|Users)/|\\Users\\", text), cell.source


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_is_not_compared_is_accompanied_by_something_that_is(name):
    cells = code_cells(name)
    for number, cell in enumerate(cells):
        if IGNORE in tags(cell):
            assert any(compared(near) for near in cells[number + 1 : number + 4]), cell.source


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_figure_has_alternative_text_and_its_data_are_compared(name):
    cells = code_cells(name)
    for number, cell in enumerate(cells):
        if draws(cell):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) > 30, cell.source
            assert any(compared(near) for near in cells[number : number + 3]), cell.source


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_leans_on_a_few_verbs_and_uses_what_it_imports(name):
    source = "\n".join(cell.source for cell in code_cells(name))
    verbs = re.search(r"^from d2lblocks import (.*)$", source, flags=re.M)[1].replace(" ", "").split(",")
    assert len(verbs) <= 5
    assert all(len(re.findall(rf"\b{verb}\(", source)) >= 1 for verb in verbs)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_goals_questions_exercises_and_a_short_summary(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    for heading in ("What you will be able to do", "Test yourself", "Summary"):
        assert re.search(rf"^## {heading}$", text, flags=re.M), heading
    assert re.search(r"^## (Exercises|Try it)", text, flags=re.M)
    assert len(re.findall(r"dropdown", text)) >= 4
    summary = text.split("\n## Summary\n")[1].strip()
    assert 3 <= len(re.findall(r"^(?:[-*]|\d\.) ", summary, flags=re.M)) <= 7


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_section_can_be_linked_to(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    labels = re.findall(r"^\(([\w-]+)\)=$", text, flags=re.M)
    assert len(labels) == len(set(labels)) >= 8
    assert all(label.startswith(name.replace("_", "-")) for label in labels)


def asks_for_a_prediction(cell):
    """Whether the last paragraph of a text asks what the next cell will show."""
    last = cell.source.strip().split("\n\n")[-1]
    return cell.cell_type == "markdown" and bool(re.search(r"\*\*[^*]*\?\s*\*\*|Before you run", last))


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_the_reader_is_to_predict_is_folded_on_the_page(name):
    cells = read(name).cells
    for asked, cell in itertools.pairwise(cells):
        if asks_for_a_prediction(asked) and cell.cell_type == "code" and cell.outputs:
            assert {"hide-output", "hide-cell"} & set(tags(cell)), asked.source
