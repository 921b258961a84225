"""The whole path: a class hands in, plain nbgrader grades it, and everybody gets the marks of the catalogue."""

import csv

import nbformat
import pytest
from nbgrader.validator import Validator

from grader import sample
from grader.__main__ import main
from grader.authoring import load
from grader.course import Course, CourseError
from grader.submissions import fill_in, solution_cells

NAME = "custom_layers"


def read(folder):
    return nbformat.read(folder / NAME / f"{NAME}.ipynb", as_version=4)


def _place(course, student):
    path = course.submitted / student / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def class_of(course):
    """The sample class, and some who do what the generated answers do not."""
    solution = read(course.solutions)
    students = list(sample.students(load(course.solutions / NAME), solution))
    right = {name: cell.source for name, cell in solution_cells(solution).items()}
    endless = {**right, "centered_layer": "while True:\n    pass"}
    odd = {
        "top-level-loop": (endless, {"centered_layer": 0, "my_linear": 8}),
        "nothing-but-stubs": ({}, {"centered_layer": 0, "my_linear": 0}),
    }
    for student in students:
        sample.hand_in(student, read(course.exercises), course.submitted / student.name / NAME / f"{NAME}.ipynb")
    for name, (answers, _) in odd.items():
        nbformat.write(fill_in(read(course.exercises), answers), _place(course, name))
    forged = fill_in(read(course.exercises), {})
    for cell in forged.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = "4.0"
    nbformat.write(forged, _place(course, "edited-tests"))
    no_tests = fill_in(read(course.exercises), right)
    no_tests.cells = [c for c in no_tests.cells if not c.metadata.get("nbgrader", {}).get("grade")]
    nbformat.write(no_tests, _place(course, "deleted-tests"))
    expected = {s.name: {name: a.points for name, a in s.answers.items()} for s in students}
    expected |= {name: marks for name, (_, marks) in odd.items()}
    expected["deleted-tests"] = {"centered_layer": 4, "my_linear": 8}
    expected["edited-tests"] = {"centered_layer": 0, "my_linear": 0}
    return expected


@pytest.fixture(scope="module")
def graded(course, class_of):
    assert main_for(course, "autograde", "--seed", "5") == 0
    return class_of


def main_for(course, command, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grader", "--course", str(course.root), command, *arguments])
        return main()


def test_the_sample_class_has_every_answer_of_the_catalogue(course, class_of):
    given = " ".join(class_of)
    for task in load(course.solutions / NAME).tasks.values():
        for name in ("right", "noisy", "stub", "syntax_error", "endless_loop", *task.alternatives):
            assert name in given
        assert all(mistake.id in given for mistake in task.mistakes)


# nbgrader puts a deleted cell back without the id that nbformat would like it to have.
@pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning")
def test_everybody_gets_the_marks_that_they_should(course, graded):
    marks = {}
    for mark in course.marks():
        marks.setdefault(mark.student, {})[mark.exercise] = mark.score
        assert not mark.by_hand
    assert marks == graded


def test_the_seed_of_the_secret_cases_is_on_the_graded_notebook(course, graded):
    (output,) = next(
        cell for cell in read(course.autograded / "sample-00-right").cells if cell.source.endswith("MyLinear)")
    ).outputs
    assert output.data["text/plain"] == "8.0"
    assert "Graded with secret cases of seed 5." in output.data["text/html"]
    assert "8 of 8 points" in output.data["text/html"]


def test_feedback_shows_the_table_and_no_secret_number(course, graded):
    assert main_for(course, "feedback") == 0
    pages = {p.parent.parent.name: p.read_text("utf-8") for p in course.feedback_directory.glob(f"*/{NAME}/*.html")}
    assert pages.keys() == graded.keys()
    (wrong,) = (page for name, page in pages.items() if "weight_data" in name)
    assert "6 of 8 points" in wrong
    assert "never receive a gradient" in wrong


def test_export_has_a_row_for_each_student(course, graded, tmp_path):
    assert main_for(course, "export", "--to", str(tmp_path / "marks.csv")) == 0
    rows = {row["student_id"]: row for row in csv.DictReader((tmp_path / "marks.csv").open())}
    assert {name: float(row["score"]) for name, row in rows.items()} == {
        name: sum(marks.values()) for name, marks in graded.items()
    }


def test_the_class_report_names_everybody(course, graded, capsys):
    assert main_for(course, "status") == 0
    report = capsys.readouterr().out
    assert all(name in report for name in graded)
    assert "12 / 12" in report


def test_what_is_graded_is_not_graded_again_unless_it_is_handed_in_again(course, graded):
    assert not [s for s in course.submissions(NAME) if s.due]
    path = course.submitted / "nothing-but-stubs" / NAME / f"{NAME}.ipynb"
    path.touch()
    assert [s.student for s in course.submissions(NAME) if s.due] == ["nothing-but-stubs"]


def test_the_sample_class_can_be_taken_out_and_others_stay(course, graded):
    assert main_for(course, "sample", "--remove") == 0
    left = {mark.student for mark in course.marks()}
    assert left == {name for name in graded if not name.startswith(sample.PREFIX)}
    assert {path.name for path in course.submitted.iterdir()} == left


def validate(notebook, folder):
    path = folder / f"{NAME}.ipynb"
    nbformat.write(notebook, path)
    return Validator().validate(str(path))


def test_validate_says_what_is_unanswered_and_passes_a_right_answer(course, tmp_path):
    (tmp_path / "public.json").write_bytes((course.exercises / NAME / "public.json").read_bytes())
    release = read(course.exercises)
    failed = validate(release, tmp_path)["failed"]
    assert [
        f"{name}: not answered yet" in f["raw_error"]
        for name, f in zip(("centered_layer", "my_linear"), failed, strict=True)
    ] == [True, True]
    right = {name: cell.source for name, cell in solution_cells(read(course.solutions)).items()}
    assert validate(fill_in(release, right), tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["release", "no_such"], "no assignment 'no_such'"),
        (["autograde", "--students", "nobody"], "nobody has no submission in"),
    ],
)
def test_a_mistake_at_the_keyboard_is_one_line_and_exit_status_1(course, arguments, line, capsys):
    assert main_for(course, *arguments) == 1
    assert line in capsys.readouterr().err


def test_a_folder_that_is_no_course_is_said_to_be_none(tmp_path):
    with pytest.raises(CourseError, match="is not a course"):
        Course(tmp_path)


def test_a_damaged_submission_is_said_and_the_others_are_graded(course, capsys):
    right = {name: cell.source for name, cell in solution_cells(read(course.solutions)).items()}
    for student, text in (("a-damaged", "{"), ("b-right", nbformat.writes(fill_in(read(course.exercises), right)))):
        _place(course, student).write_text(text, encoding="utf-8")
    assert main_for(course, "autograde", "--students", "a-damaged", "b-right") == 1
    printed = capsys.readouterr()
    assert "a-damaged  FAILED" in printed.out
    assert "Traceback" not in printed.out + printed.err
    assert sum(mark.score for mark in course.marks() if mark.student == "b-right") == 12
