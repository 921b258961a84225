"""The whole path: a class hands in, the engine grades it, and everybody gets the marks of the catalogue."""

import csv
import re

import nbformat
import pytest
from nbgrader.validator import Validator

from d2lblocks.tables import with_code
from grader.__main__ import main
from grader.authoring import sample
from grader.authoring.exercise import load
from grader.authoring.fill_in import fill_in, solution_cells
from grader.course import Course
from grader.errors import CourseError
from tests import guide
from tests.grader.conftest import rely_on
from tests.isolation import isolation_problem
from tests.plainly import autograde_plainly

NAME = "custom_layers"
# Where there is no sandbox the class is graded nevertheless; `grading/test_engine.py` says what is missing.
ISOLATION = ["--no-isolation"] if isolation_problem() else []


@pytest.fixture(scope="module")
def course(course):
    """The course, with the example of the guide for maintainers as one more assignment."""
    guide.write_example(course.solutions)
    course.release(guide.NAME)
    rely_on(course)
    return course


def read(folder, assignment=NAME):
    return nbformat.read(folder / assignment / f"{assignment}.ipynb", as_version=4)


def _place(course, student, assignment=NAME):
    path = course.submitted / student / assignment / f"{assignment}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def is_test(cell):
    own = cell.metadata.get("nbgrader", {})
    return bool(own.get("grade") and not own.get("solution"))


def right_answers(course, assignment=NAME):
    return {name: cell.source for name, cell in solution_cells(read(course.solutions, assignment)).items()}


def points(course, assignment=NAME):
    return {
        name: sum(check.points for check in task.checks)
        for name, task in load(course.solutions / assignment).exercises.items()
    }


@pytest.fixture(scope="module")
def sample_class(course):
    return sample.students(
        [(load(course.solutions / name), read(course.solutions, name)) for name in course.assignments()]
    )


@pytest.fixture(scope="module")
def class_of(course, sample_class):
    """The sample class, and some who do what the generated answers do not: marks by student, assignment, exercise."""
    expected = {}
    sample.keep_worth(course.root, sample_class)
    for student in sample_class:
        for assignment, answers in student.answers.items():
            sample.hand_in(answers, read(course.exercises, assignment), _place(course, student.name, assignment))
            for exercise, answer in answers.items():
                expected[student.name, assignment, exercise] = answer.points
    release, right, most = read(course.exercises), right_answers(course), points(course)
    forged = fill_in(release, {})
    for cell in forged.cells:
        if is_test(cell):
            cell.source = "4.0"
    no_tests = fill_in(release, right)
    no_tests.cells = [cell for cell in no_tests.cells if not is_test(cell)]
    endless = fill_in(release, {**right, "centered_layer": "while True:\n    pass"})
    odd = {
        "top-level-loop": (endless, {"centered_layer": 0}),
        "nothing-but-stubs": (release, dict.fromkeys(most, 0)),
        "edited-tests": (forged, dict.fromkeys(most, 0)),
        "deleted-tests": (no_tests, {}),
    }
    for student, (notebook, lost) in odd.items():
        nbformat.write(notebook, _place(course, student))
        expected |= {(student, NAME, exercise): lost.get(exercise, full) for exercise, full in most.items()}
    return expected


@pytest.fixture(scope="module")
def graded(course, class_of):
    assert main_for(course, "autograde", "--seed", "5", *ISOLATION) == 0
    return class_of


def main_for(course, command, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grader", "--course", str(course.root), command, *arguments])
        return main()


def test_the_sample_class_is_forty_students_who_give_every_answer_of_the_catalogues(course, sample_class):
    assert len(sample_class) == 40
    for assignment in course.assignments():
        for task in load(course.solutions / assignment).exercises.values():
            given = {s.answers[assignment][task.name].id for s in sample_class if assignment in s.answers}
            assert given == {
                *("right", "noisy", "stub", "syntax_error", "endless_loop"),
                *(name for name in task.right_answers if name != "worked"),
                *(mistake.id for mistake in task.mistakes),
            }


# nbgrader puts a deleted cell back without the id that nbformat would like it to have.
@pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning")
def test_everybody_gets_the_marks_that_they_should(course, graded):
    marks = {(mark.student, mark.assignment, mark.exercise): mark for mark in course.marks()}
    assert {key: mark.score for key, mark in marks.items()} == graded
    manual = {key for key, mark in marks.items() if mark.needs_manual_grading}
    assert manual
    assert {exercise for _, _, exercise in manual} == {"list_of_modules"}


def test_plain_nbgrader_enters_the_same_marks(course, graded, sample_class):
    """Its own execution, on students of every assignment; row by row what the engine has entered."""
    for assignment in course.assignments():
        handed_in = [student for student in sample_class if assignment in student.answers]
        # The right answers, and a number of different mistakes. The distance is odd: of the answers in words one
        # is written and one is left blank. Plain nbgrader is slow, and a loop without an end takes its whole limit.
        quick = [s for s in handed_in if "endless_loop" not in {a.id for a in s.answers[assignment].values()}]
        chosen = [quick[0].name, quick[len(quick) // 4 * 2 + 1].name]
        for submission in course.submissions(assignment, chosen):
            before = rows(course, submission)
            autograde_plainly(course, submission, seed=5)
            assert rows(course, submission) == before, (submission.student, assignment)
            # What the engine had written, it will write again.
            assert course.submissions(assignment, [submission.student])[0].is_pending
    assert main_for(course, "autograde", "--seed", "5", *ISOLATION) == 0


def rows(course, submission):
    with course.gradebook() as gradebook:
        notebook = gradebook.find_submission_notebook(
            submission.assignment, submission.assignment, submission.student
        )
        grades = {(g.name, g.auto_score, g.manual_score, g.needs_manual_grade, g.max_score) for g in notebook.grades}
        return grades, {(c.name, c.auto_comment, c.manual_comment) for c in notebook.comments}


def test_every_mistake_is_told_its_message_in_the_graded_notebook(course, graded, sample_class):
    told = 0
    for student in sample_class:
        for assignment, answers in student.answers.items():
            tasks = load(course.solutions / assignment).exercises
            graded_cells = read(course.autograded / student.name, assignment).cells
            cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in graded_cells}
            for exercise, answer in answers.items():
                for mistake in tasks[exercise].mistakes if exercise in tasks else ():
                    shown = "".join(o.get("data", {}).get("text/html", "") for o in cells[f"test_{exercise}"].outputs)
                    assert (with_code(mistake.message) in shown) == (mistake.id == answer.id), (student, exercise)
                    told += mistake.id == answer.id
    assert told >= 6 * 18


def test_the_seed_of_the_secret_cases_is_on_the_graded_notebook(course, graded):
    (output,) = next(
        cell for cell in read(course.autograded / "deleted-tests").cells if cell.source.endswith("MyLinear)")
    ).outputs
    assert output.data["text/plain"] == "8.0"
    assert "Graded with secret cases of seed 5." in output.data["text/html"]
    assert "8 of 8 points" in output.data["text/html"]


def test_feedback_shows_the_table_and_no_secret_number(course, graded, sample_class):
    assert main_for(course, "feedback") == 0
    pages = {
        (path.parent.parent.name, path.parent.name): path.read_text("utf-8")
        for path in course.feedback_directory.glob("*/*/*.html")
    }
    assert pages.keys() == {key[:2] for key in graded}
    wrong = who_gave(sample_class, NAME, "my_linear", "weight_data")
    assert "6 of 8 points" in pages[wrong, NAME]
    assert "never receive a gradient" in pages[wrong, NAME]


def who_gave(sample_class, assignment, exercise, answer):
    return next(
        student.name
        for student in sample_class
        if assignment in student.answers and student.answers[assignment][exercise].id == answer
    )


def test_export_has_a_row_for_each_submission(course, graded, tmp_path):
    assert main_for(course, "export", "--to", str(tmp_path / "marks.csv")) == 0
    rows = {(row["student_id"], row["assignment"]): row for row in csv.DictReader((tmp_path / "marks.csv").open())}
    for student, assignment in {key[:2] for key in graded}:
        row = rows.pop((student, assignment))
        total = sum(mark for key, mark in graded.items() if key[:2] == (student, assignment))
        assert float(row["raw_score"]) == total
        assert row["score"] == ("" if row["state"] == "needs manual grading" else row["raw_score"])
    assert {(row["score"], row["state"]) for row in rows.values()} == {("", "not submitted")}


def test_the_class_report_names_everybody_and_compares_the_sample_with_the_catalogue(course, graded, capsys):
    assert main_for(course, "status") == 0
    report = capsys.readouterr().out
    assert all(student in report for student, _, _ in graded)
    assert f"{sum(points(course).values()):g} / {sum(points(course).values()):g}" in report
    assert "sample class: all" in report


def test_the_report_of_one_assignment_compares_it_with_what_all_of_the_class_gave(course, graded, capsys):
    assert main_for(course, "status", NAME) == 0
    own = sum(assignment == NAME for _, assignment, _ in sample.worth(course.root))
    assert f"sample class: all {own} marks are those of the catalogue" in capsys.readouterr().out


def test_a_mark_of_the_sample_class_that_is_not_the_known_one_is_said(course, graded, sample_class, capsys):
    student = next(s.name for s in sample_class if NAME in s.answers)

    def enter(score):
        with course.gradebook() as gradebook:
            grade = gradebook.find_grade("test_my_linear", NAME, NAME, student)
            before, grade.manual_score = grade.manual_score, score
            gradebook.db.commit()
            return before

    before = enter(1.25)
    try:
        assert main_for(course, "status") == 1
        printed = capsys.readouterr()
        assert f"{student}, my_linear: 1.25 points" in printed.out
        assert "are not those of the catalogue" in printed.err
    finally:
        enter(before)


def test_what_is_graded_is_not_graded_again_unless_it_is_handed_in_again(course, graded):
    assert not [s for s in course.submissions(NAME) if s.is_pending]
    path = course.submitted / "nothing-but-stubs" / NAME / f"{NAME}.ipynb"
    path.touch()
    assert not [s for s in course.submissions(NAME) if s.is_pending]
    path.write_text(path.read_text(encoding="utf-8").replace("# your code here", "# my code here"), encoding="utf-8")
    assert [s.student for s in course.submissions(NAME) if s.is_pending] == ["nothing-but-stubs"]


def test_an_answer_in_words_is_marked_by_hand_and_counts(course, graded, sample_class):
    assignment, exercise = "layers_and_blocks", "list_of_modules"
    student = who_gave(sample_class, assignment, exercise, "written")
    with course.gradebook() as gradebook:
        before = gradebook.find_submission(assignment, student).score
        grade = gradebook.find_grade(exercise, assignment, assignment, student)
        grade.manual_score, grade.needs_manual_grade = 3, False
        gradebook.db.commit()
        assert gradebook.find_submission(assignment, student).score == before + 3


def validate(notebook, folder, assignment):
    path = folder / f"{assignment}.ipynb"
    nbformat.write(notebook, path)
    return Validator().validate(str(path))


def test_validate_says_what_is_unanswered_and_passes_a_right_answer(course, tmp_path):
    for assignment in course.assignments():
        folder = tmp_path / assignment
        folder.mkdir()
        (folder / "public.json").write_bytes((course.exercises / assignment / "public.json").read_bytes())
        release, right = read(course.exercises, assignment), right_answers(course, assignment)
        said = [failure["raw_error"] for failure in validate(release, folder, assignment)["failed"]]
        names = points(course, assignment)
        assert all(any(f"{name}: not answered yet" in text for text in said) for name in names), assignment
        assert len(said) == len(right), assignment  # also what is answered in words
        assert validate(fill_in(release, right), folder, assignment) == {}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["release", "no_such"], "no assignment 'no_such'"),
        (["autograde", "--students", "nobody"], "nobody has no submission for"),
    ],
)
def test_a_mistake_at_the_keyboard_is_one_line_and_exit_status_1(course, arguments, line, capsys):
    assert main_for(course, *arguments) == 1
    assert line in capsys.readouterr().err


def test_a_folder_that_is_no_course_is_said_to_be_none(tmp_path):
    with pytest.raises(CourseError, match="is not a course"):
        Course(tmp_path)


def test_a_damaged_submission_is_said_and_the_others_are_graded(course, capsys):
    right = nbformat.writes(fill_in(read(course.exercises), right_answers(course)))
    for student, text in (("a-damaged", "{"), ("b-right", right)):
        _place(course, student).write_text(text, encoding="utf-8")
    assert main_for(course, "autograde", "--students", "a-damaged", "b-right", *ISOLATION) == 1
    printed = capsys.readouterr()
    assert re.search("a-damaged .*FAILED", printed.out)
    assert "is not a notebook that can be read" in printed.out
    assert "Traceback" not in printed.out + printed.err
    assert sum(m.score for m in course.marks() if m.student == "b-right") == sum(points(course).values())
