"""Catalogues in Markdown and the files beside them: what is read, and what is said about errors in them."""

import subprocess
import sys

import pytest

from grader.authoring.catalogue import read_catalogue
from grader.authoring.exercise import assignments, load
from grader.errors import CatalogueError
from tests import ROOT, guide

SOURCES = [source for each in assignments(ROOT / "solutions") for source in each.exercises.values()]


@pytest.fixture
def folder(tmp_path):
    """The assignment that the guide for maintainers makes."""
    return guide.write_example(tmp_path / "solutions")


@pytest.fixture
def catalogue(folder):
    return folder / "scale.md"


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_catalogue_is_read(catalogue):
    found = read_catalogue(catalogue)
    assert [(m.id, m.title, m.fails) for m in found.mistakes] == [
        ("adds", "Added instead of multiplied", {"values"}),
        ("plain_tensor", "A tensor that is no parameter", {"parameters"}),
    ]
    adds = found.mistakes[0]
    assert adds.source.startswith("class Scale(nn.Module):\n    def __init__")
    assert adds.source.endswith("return self.factor + X\n")
    assert adds.message.startswith("The layer adds the factor to its input. ")
    assert adds.why.startswith("Both give a tensor")
    assert adds.remedy.startswith("Try the layer")
    assert adds.see == "custom_layers.html#custom-layers-linear"
    assert list(found.right_answers) == ["torch_mul"]


def test_lines_of_a_paragraph_are_joined(catalogue):
    edit(catalogue, "The statement asks", "The\nstatement asks")
    assert "The statement asks for the product" in read_catalogue(catalogue).mistakes[0].message


def test_there_may_be_text_before_the_mistakes_and_no_mistakes(catalogue):
    text = catalogue.read_text(encoding="utf-8")
    start, end = text.index("### Added"), text.index("## Right answers")
    catalogue.write_text(text[:start] + text[end:], encoding="utf-8")
    edit(catalogue, "## Mistakes", "Ideas for later:\n\n- one\n- two\n\n## Mistakes")
    assert read_catalogue(catalogue).mistakes == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# `Scale`: known answers\n", "", "line 2: here must be the title of the page"),
        ("## Mistakes\n", "", "the heading `## Mistakes` is missing here; add it"),
        ("## Right answers\n", "", "(torch_mul): here must be the list with id, fails, read"),
        ("## Right answers", "## Others", "this heading must be `## Right answers`"),
        ("- id: `adds`\n", "", "line 8 (Added instead of multiplied): the list lacks id; add a line like: - id: `…`"),
        ("- id: `adds`", "- id: adds", "a line of this list is one of id, fails, read, each once"),
        ("- id: `adds`", "- name: `adds`", "a line of this list is one of id, fails, read, each once"),
        ("- id: `adds`", "- id: `adds`, `more`", "`id` has one value, not 2"),
        ("- id: `plain_tensor`", "- id: `adds`", "two mistakes have the id `adds`"),
        ("```python", "```", "line 11 (Added instead of multiplied): the code stands in a block that begins with"),
        ("**Why.** Both", "Both", "this must be a paragraph that begins with **Why.**"),
        ("**Why.** Both give", "Also this.\n\n**Why.** Both give", "begins with **Why.**"),
        ("### torch_mul\n", "", "after the code of a right answer comes the next heading; remove 'class Scale"),
    ],
)
def test_an_error_names_file_line_entry_and_what_to_do(catalogue, old, new, said):
    edit(catalogue, old, new)
    with pytest.raises(CatalogueError) as error:
        read_catalogue(catalogue)
    text = str(error.value)
    assert text.startswith(f"{catalogue}, line ")
    assert said in text
    assert "\n" not in text


def test_two_right_answers_with_one_name(catalogue):
    text = catalogue.read_text(encoding="utf-8")
    catalogue.write_text(f"{text}\n{text[text.index('### torch_mul') :]}", encoding="utf-8")
    with pytest.raises(CatalogueError, match="two right answers have this heading"):
        read_catalogue(catalogue)


def test_a_catalogue_that_is_missing_stops_no_grading(folder, catalogue):
    catalogue.unlink()
    exercise = load(folder).exercises["scale"]
    released = exercise.without_known()
    assert exercise.for_grading(3, released).points == 3
    with pytest.raises(CatalogueError, match="python -m grader new"):
        exercise.exercise()


def test_a_check_that_does_not_exist(folder, catalogue):
    edit(catalogue, "- fails: `values`", "- fails: `value`")
    with pytest.raises(ValueError, match=r"`adds` fails `value`, which is no check.*there are: parameters, values"):
        _ = load(folder).exercises["scale"].mistakes


def test_an_exercise_without_cells_or_without_a_definition(folder):
    (folder / "other.py").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.py is for an exercise, but the notebook has no cell other"):
        load(folder)
    (folder / "other.py").unlink()
    edit(folder / "scale.py", "EXERCISE =", "TASK =")
    with pytest.raises(ValueError, match=r"scale\.py defines no EXERCISE"):
        load(folder)


def test_all_known_answers_are_formatted_and_are_good_style_but_for_their_mistakes(tmp_path):
    """What is wrong on purpose, such as a variable that is not used, is no concern of a linter."""
    for source in SOURCES:
        answers = {m.id: m.source for m in source.mistakes} | source.right_answers
        answers.pop("worked")
        for name, code in answers.items():
            (tmp_path / f"{source.name}.{name}.py".replace(" ", "_")).write_text(code, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    select = "--select=E,W,F,I,UP"
    ignore = "--ignore=E721,E731,E741,F821,F841"
    for command in (["format", "--check"], ["check", select, ignore]):
        options = ["--isolated", "--no-cache", "--target-version=py311"]
        done = subprocess.run(
            [*ruff, *command, "--line-length=118", *options, str(tmp_path)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout
