"""The pages that students get back: what makes them old, and what a hostile notebook cannot do to them."""

import json
import re
import shutil
import time

import nbformat
import pytest
from nbgrader.preprocessors import NbGraderPreprocessor

from grader.authoring.exercise import load
from grader.course import Course
from grader.display import bounds
from grader.publishing import page_writer
from tests import ROOT
from tests.attacks import NAME, POINTS
from tests.attacks.whole_class import make_course
from tests.grader.test_term import hand_in, run
from tests.isolation import isolation_problem

ISOLATION = ("--no-isolation",) if isolation_problem() else ()
NAMES = ("ada", "x [abc]", "x*", "x")
BY_HAND = "test_my_linear"


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Four students, graded: `x*` is right, the others have handed in the stubs."""
    made = make_course(tmp_path_factory.mktemp("feedback"))
    folder = ROOT / "solutions" / NAME
    right = {name: task.worked for name, task in load(folder).exercises.items()}
    for name in NAMES:
        hand_in(made, name, right if name == "x*" else {})
    assert run(made, "autograde", NAME, *ISOLATION) == 0
    assert run(made, "feedback", NAME) == 0
    return made


@pytest.fixture
def course(graded, tmp_path):
    """A copy of it, with its pages, to do things to."""
    shutil.copytree(graded.root.parent, tmp_path / "course")
    return Course(tmp_path / "course" / "grader")


def page_of(course, student):
    return course.feedback_directory / student / NAME / f"{NAME}.html"


def written(course, capsys, *arguments, status=0):
    """Whose pages the command says it has written, and all that it says."""
    capsys.readouterr()
    assert run(course, "feedback", NAME, *arguments) == status
    said = capsys.readouterr().out
    return [line[11:].rpartition("  ")[0] for line in said.splitlines() if re.match(r" +\d+ / ", line)], said


def test_every_student_has_a_page_whatever_the_name_is(course, capsys):
    for name in NAMES:
        page = page_of(course, name).read_text("utf-8")
        full = float(sum(POINTS.values()))
        assert f"(Score: {full if name == 'x*' else 0.0} / {full})" in page
        assert "Grade cell: <code>test_my_linear</code>" in page
        left = {path.name for path in page_of(course, name).parent.iterdir()}
        assert left == {f"{NAME}.html", "public.json"}
    assert written(course, capsys)[0] == []
    page_of(course, "x*").unlink()
    page_of(course, "x [abc]").unlink()
    assert sorted(written(course, capsys)[0]) == ["x [abc]", "x*"]


def change_mark(gradebook, student):
    gradebook.find_grade(BY_HAND, NAME, NAME, student).manual_score = 3.5


def change_extra_credit(gradebook, student):
    gradebook.find_grade(BY_HAND, NAME, NAME, student).extra_credit = 3.5


def change_comment(gradebook, student):
    gradebook.find_comment("my_linear", NAME, NAME, student).manual_comment = "Score: 3.5, well tried"


def change_penalty(gradebook, student):
    gradebook.find_submission_notebook(NAME, NAME, student).late_submission_penalty = 3.5


@pytest.mark.parametrize("change", [change_mark, change_extra_credit, change_comment, change_penalty])
def test_what_a_person_gives_in_the_formgrader_reaches_the_page_and_no_other(course, capsys, change):
    with course.gradebook() as gradebook:
        change(gradebook, "ada")
        gradebook.db.commit()
    assert written(course, capsys)[0] == ["ada"]
    assert re.search(r"Score: -?3\.5", page_of(course, "ada").read_text("utf-8"))
    assert written(course, capsys)[0] == []


def test_when_the_points_of_an_assignment_change_every_page_is_old(course, capsys):
    with course.gradebook() as gradebook:
        gradebook.find_graded_cell(BY_HAND, NAME, NAME).max_score = 80
        gradebook.db.commit()
    assert sorted(written(course, capsys)[0]) == sorted(NAMES)
    assert "0.0 / 80.0" in page_of(course, "ada").read_text("utf-8")


def test_a_graded_notebook_that_has_changed_makes_its_page_old_and_a_date_does_not(course, capsys):
    for path in course.autograded.glob(f"*/{NAME}/{NAME}.ipynb"):
        path.touch()
    path = course.autograded / "ada" / NAME / f"{NAME}.ipynb"
    path.write_text(path.read_text("utf-8").replace("import torch", "import  torch", 1), "utf-8")
    assert written(course, capsys)[0] == ["ada"]


def test_a_page_that_another_program_wrote_or_that_is_cut_off_is_old(course, capsys):
    page = page_of(course, "ada")
    page.write_text(page.read_text("utf-8")[:-40], "utf-8")
    result = course.api.generate_feedback(NAME, "x", force=True)  # nbgrader's own button
    assert result["success"], result
    assert sorted(written(course, capsys)[0]) == ["ada", "x"]


def test_a_student_whom_the_gradebook_does_not_know_is_named_and_the_others_get_their_pages(course, capsys):
    shutil.copytree(course.autograded / "ada", course.autograded / "bob")
    page_of(course, "x").unlink()
    names, said = written(course, capsys, status=1)
    assert sorted(names) == ["bob", "x"]
    assert "the gradebook does not have this submission" in said
    assert page_of(course, "x").exists()


def test_what_a_killed_run_left_is_removed(course, capsys):
    left = page_of(course, "ada").with_name(f".{NAME}.html-left")
    left.touch()
    assert sorted(written(course, capsys, "--force", "--jobs", "2")[0]) == sorted(NAMES)
    assert not left.exists()
    assert page_of(course, "ada").stat().st_mode & 0o077 == 0, "a page is private"


# ---------------------------------------------------------------------------------------------------------------
# What a notebook may cost


def add_to_graded(course, student, *cells):
    """Put cells into a graded notebook, as if a grader without limits had written it."""
    path = course.autograded / student / NAME / f"{NAME}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop(bounds.BOUNDED)
    notebook.cells += cells
    nbformat.write(notebook, path)


FOREST = "\\begin{a}" * 21_000


def test_a_notebook_that_takes_too_long_is_shown_as_plain_text_and_the_others_get_their_pages(
    course, capsys, monkeypatch
):
    monkeypatch.setattr(bounds, "bound", lambda notebook: None)  # as if it did not know this form
    monkeypatch.setattr(page_writer, "PAGE_CPU_TIMEOUT", 4)
    add_to_graded(course, "x*", nbformat.v4.new_markdown_cell(FOREST + "<script>alert(1)</script>"))
    page_of(course, "x").unlink()
    names, said = written(course, capsys)
    assert sorted(names) == ["x", "x*"]
    assert "plain text, because with formats and colours it takes too long" in said
    page = page_of(course, "x*").read_text("utf-8")
    assert "plain text" in page
    assert FOREST in page
    assert "&lt;script&gt;alert(1)" in page
    assert "(Score: 36 / 36)" in page
    assert "8 of 8 points" in page, "the tables of the checks are kept"
    assert "nbgrader-label" in page_of(course, "x").read_text("utf-8")
    assert written(course, capsys)[0] == []


class TakeMemory(NbGraderPreprocessor):
    """Stands for whatever needs too much memory, and for whatever fails, for one student each."""

    def preprocess(self, nb, resources):
        """Take it."""
        match resources["nbgrader"]["student"]:
            case "ada":
                resources["kept"] = bytearray(4 * 2**30)
            case "x":
                raise LookupError("<b>something</b>\nis wrong")
        return nb, resources


def test_what_needs_too_much_memory_or_fails_costs_only_its_own_formats(course, capsys):
    course.config.GenerateFeedback.preprocessors += [TakeMemory]
    pages = [page for page in course.pages(NAME) if page.is_outdated]
    assert {page.student for page in pages} == set(NAMES), "other settings make another page"
    plain = {each.page.student: each.plain_because for each in course.write_pages(pages, 2) if not each.error}
    assert plain == {
        "ada": "it needs too much memory",
        "x": "LookupError: <b>something</b> is wrong",
        "x*": None,
        "x [abc]": None,
    }
    assert "&lt;b&gt;something" in page_of(course, "x").read_text("utf-8")


HARD = {
    "formulas that do not end": FOREST,
    "formulas between lines": "\n\n".join(["\\\\[ x"] * 20_000),
    "an expression": "a+" * 100_000,
    "lines of spaces": "  \n" * 3_000,
    "brackets": "[" * 100_000,
    "emphasis": "*_" * 100_000,
    "quotes": "> " * 100_000,
    "lists": "\n".join(" " * (2 * depth) + "- a" for depth in range(400)),
    "tables": "|a" * 100_000 + "\n" + "|-" * 100_000,
    "back ticks": "".join("`" * length + " " for length in range(400)),
    "another language": "%%perl\n" + "s{ " * 60_000,
    "another language in a text": "```perl\n" + "s{ " * 60_000 + "\n```",
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
@pytest.mark.parametrize("kind", ["code", "markdown"])
def test_whatever_a_cell_holds_what_is_shown_of_it_is_quick(exporter, kind, text):
    new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    notebook = nbformat.v4.new_notebook(cells=[new(text)])
    bounds.bound(notebook)
    start = time.process_time()
    page, _ = exporter.from_notebook_node(notebook)
    # The bounded ones need a tenth of a second; without the bound, most need minutes.
    assert time.process_time() - start < 10
    assert len(page) < 2_000_000


@pytest.fixture(scope="module")
def exporter():
    """What the formgrader shows notebooks with."""
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name="classic")


def test_a_picture_that_a_text_shows_many_times_is_not_shown(exporter):
    cell = nbformat.v4.new_markdown_cell("![x](attachment:x.png)\n" * 180)
    cell.attachments = {"x.png": {"image/png": "A" * 1_000_000}}
    once = nbformat.v4.new_markdown_cell("![y](attachment:y.png)")
    once.attachments = {"y.png": {"image/png": "A" * 1_000}}
    notebook = nbformat.v4.new_notebook(cells=[cell, once])
    bounds.bound(notebook)
    page, _ = exporter.from_notebook_node(notebook)
    assert len(page) < 2_000_000
    assert page.count("data:image/png;base64,AAAA") == 1


def test_what_is_usual_is_shown_as_it_is():
    cells = [
        nbformat.v4.new_markdown_cell("## A heading\n\nSome *words*, $x^2$, a [link](https://pytorch.org).\n" * 20),
        nbformat.v4.new_markdown_cell("这是一个没有空格的句子" * 100),
        nbformat.v4.new_code_cell((ROOT / "d2lblocks" / "tables.py").read_text("utf-8")[:4000]),
        nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("stream", text="1\n" * 1000)]),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    before = json.dumps(notebook.cells)
    bounds.bound(notebook)
    assert json.dumps(notebook.cells) == before


def test_very_much_is_cut_and_what_is_cut_is_counted():
    long = [nbformat.v4.new_code_cell("x = 1\n" * 30_000, outputs=[]) for _ in range(40)]
    long[0].outputs = [nbformat.v4.new_output("stream", text="y" * 100_000) for _ in range(30)]
    notebook = nbformat.v4.new_notebook(cells=long)
    bounds.bound(notebook)
    assert "and 130,000 more characters; they are in the submission" in long[0].source
    assert sum(len(cell.source) for cell in long) < 1_010_000
    assert sum(len(output.text) for output in long[0].outputs) < 1_010_000
    after = json.dumps(notebook)
    bounds.bound(notebook)
    assert json.dumps(notebook) == after, "once is enough"


def test_what_a_released_cell_holds_is_never_changed():
    cell = nbformat.v4.new_markdown_cell(FOREST, metadata={"nbgrader": {"locked": True, "grade_id": "text"}})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    bounds.bound(notebook)
    assert cell.source == FOREST
