"""What happens in a term, and goes wrong: late work, lost gradebooks, changed points, files in odd places."""

import csv
import re
import shutil
from datetime import datetime

import nbformat
import pytest

from grader.__main__ import main
from grader.authoring.exercise import load
from grader.authoring.fill_in import fill_in
from grader.course import Course
from grader.errors import CourseError
from tests import ROOT
from tests.attacks import NAME, POINTS
from tests.isolation import isolation_problem

ISOLATION = ("--no-isolation",) if isolation_problem() else ()
FULL = sum(POINTS.values())
EXERCISE = "centered_layer"


def run(course, command, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grader", "--course", str(course.root), command, *arguments])
        return main()


def grade(course, *arguments):
    return run(course, "autograde", NAME, *ISOLATION, *arguments)


def hand_in(course, student, answers):
    release = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    folder = course.submitted / student / NAME
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(fill_in(release, answers), folder / f"{NAME}.ipynb")
    return folder


@pytest.fixture(scope="module")
def graded(released_course, tmp_path_factory):
    """A course with two students, graded: ada is right, bob has done nothing."""
    made = Course(shutil.copytree(released_course, tmp_path_factory.mktemp("term") / "course") / "grader")
    folder = ROOT / "solutions" / NAME
    hand_in(made, "ada", {n: task.worked for n, task in load(folder).exercises.items()})
    hand_in(made, "bob", {})
    assert grade(made) == 0
    return made


@pytest.fixture
def course(graded, tmp_path):
    """A copy of it, to do things to."""
    shutil.copytree(graded.root.parent, tmp_path / "term")
    return Course(tmp_path / "term" / "grader")


def totals(course):
    found = dict.fromkeys((mark.student for mark in course.marks()), 0.0)
    for mark in course.marks():
        found[mark.student] += mark.score
    return found


def exported(course, capsys):
    assert run(course, "export") == 0
    path = course.root / "marks.csv"
    assert str(path) in capsys.readouterr().out
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["assignment"] == NAME]
    return {row["student_id"]: float(row["score"]) for row in rows}


def test_marks_are_exported_into_the_course_that_is_named(course, capsys):
    assert exported(course, capsys) == {"ada": FULL, "bob": 0}


@pytest.mark.parametrize("lost", ["all of it", "one student's marks"])
def test_marks_that_the_gradebook_has_lost_are_given_again(course, lost, capsys):
    if lost == "all of it":
        (course.root / "gradebook.db").unlink()
        course.release(NAME)
    else:
        with course.gradebook() as gradebook:
            gradebook.remove_student("ada")
    assert run(course, "status", NAME) == 0
    said = capsys.readouterr().out
    assert re.search(r"new or changed since it was graded: ada.* Run: python -m grader autograde", said)
    assert "there are no submissions" not in said
    assert grade(course) == 0
    assert totals(course) == {"ada": FULL, "bob": 0}
    capsys.readouterr()
    assert grade(course) == 0
    assert "2 submissions, 0 to grade" in capsys.readouterr().out


def test_what_is_not_anybodys_submission_is_named(course, capsys):
    (course.submitted / "ada" / "custom_layer").mkdir()
    (course.submitted / "zoe").mkdir()
    (course.submitted / "zoe" / f"{NAME}.ipynb").touch()
    (course.submitted / "class.zip").touch()
    shutil.copytree(course.submitted / "ada" / NAME, course.submitted / ".hidden" / NAME)
    assert grade(course) == 0
    said = capsys.readouterr().out
    for name in ("class.zip", "ada/custom_layer", f"zoe/{NAME}.ipynb"):
        assert f"skipped: {name}: it is not" in said
    assert "hidden" not in said
    assert "2 submissions, 0 to grade" in said


def change_points(course, by):
    """Of the first check of an exercise; the notebook's cell keeps its own."""
    path = course.solutions / NAME / f"{EXERCISE}.py"
    text = path.read_text(encoding="utf-8")
    changed = re.sub(r'(?<=Check\("values", )("[^"]*"), (\d)', lambda m: f"{m[1]}, {int(m[2]) + by}", text)
    assert changed != text
    path.write_text(changed, encoding="utf-8")


@pytest.mark.parametrize("more", [1, -1])
def test_checks_that_do_not_add_up_to_their_cell_are_neither_released_nor_graded(course, capsys, more):
    change_points(course, more)
    with pytest.raises(CourseError) as error:
        course.release(NAME)
    assert re.search(rf"failed: the checks of {EXERCISE} are worth {4 + more} points, .* 4; change", str(error.value))
    assert grade(course) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the checks of {EXERCISE} are worth {4 + more} points" in line
    assert line.endswith(f"first: python -m grader release {NAME}")
    assert totals(course) == {"ada": FULL, "bob": 0}


def test_a_mistake_in_a_reference_is_told_with_its_line(course):
    with (course.solutions / NAME / f"{EXERCISE}.py").open("a", encoding="utf-8") as file:
        file.write("x = (\n")
    with pytest.raises(CourseError, match=rf"SyntaxError: .*\({EXERCISE}.py, line \d+\)"):
        course.release(NAME)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_date_that_comes_later_makes_late_and_all_reports_agree(course, capsys, mark):
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text("utf-8") + '\nc.LateSubmissionPlugin.penalty_method = "zero"\n', "utf-8")
    with course.gradebook() as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate=datetime(2025, 5, 1))
    (course.submitted / "ada" / NAME / "timestamp.txt").write_text(f"{mark}2025-05-03 12:00:00 UTC\n", "utf-8")
    assert grade(course) == 0
    said = capsys.readouterr().out
    assert "2 submissions, 1 to grade" in said
    assert "timestamp.txt has no valid date" not in said
    assert exported(course, capsys)["ada"] == 0
    assert run(course, "status", NAME) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("ada"))
    assert row.split()[-4:] == [f"-{FULL}", "0", "/", f"{FULL}"]
    copied = course.autograded / "ada" / NAME / "timestamp.txt"
    assert copied.read_text("utf-8") == "2025-05-03 12:00:00 UTC"


def test_what_waits_for_a_person_is_marked_in_the_table(course, capsys):
    with course.gradebook() as gradebook:
        grade_of_bob = gradebook.find_grade(f"test_{EXERCISE}", NAME, NAME, "bob")
        grade_of_bob.manual_score = 1.5
        gradebook.db.commit()
    assert grade(course, "--force") == 0
    capsys.readouterr()
    assert run(course, "status", NAME) == 0
    said = capsys.readouterr().out
    assert re.search(r"^bob +1\.5\?", said, re.MULTILINE)
    assert "? needs manual grading" in said


def test_control_c_stops_the_feedback_and_leaves_nothing_behind(course, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("grader.publishing.page_writer.wait", interrupted)
    assert run(course, "feedback", NAME) == 130
    assert "2 pages to write" in capsys.readouterr().out
    assert not [path for path in course.feedback_directory.rglob("*") if path.is_file()]


def test_what_was_handed_in_instead_of_a_notebook_is_named(course, capsys):
    folder = course.submitted / "zoe" / NAME
    folder.mkdir(parents=True)
    for name in (f"{NAME}.ipynb.txt", "all.zip", "timestamp.txt"):
        (folder / name).touch()
    assert grade(course) == 1
    assert f"there is no {NAME}.ipynb; there is all.zip, {NAME}.ipynb.txt\n" in capsys.readouterr().out
