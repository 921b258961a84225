"""The sample class has a course of its own; nobody else's work is touched."""

import os
import stat

import pytest

from grader.__main__ import main
from grader.authoring import sample
from grader.course import Course
from grader.grading.plain_check import _folders
from tests.isolation import isolation_problem
from tests.small import NAME, hand_in, make_course

ISOLATION = ["--no-isolation"] if isolation_problem() else []


def run(root, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grader", "--course", str(root), *arguments])
        return main()


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with one real student, whose name begins like those of a class that was made up once."""
    made = make_course(tmp_path_factory.mktemp("sample"))
    assert run(made.root, "release") == 0
    hand_in(made, "sample-real")
    return made


@pytest.fixture(scope="module")
def own(course):
    """The sample class's course, in the usual place, by the usual commands."""
    assert run(course.root, "sample") == 0
    made = Course(course.root.parent / "_build" / "sample")
    assert run(made.root, "autograde", *ISOLATION) == 0
    return made


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".grading.lock"}


def test_it_is_graded_with_the_marks_of_the_catalogue_in_its_own_course(course, own, capsys):
    assert run(own.root, "status") == 0
    known = sample.worth(own.root)
    assert f"sample class: all {len(known)} marks are those of the catalogue" in capsys.readouterr().out
    assert len({student for student, _, _ in known}) == 40
    assert run(own.root, "export") == 0
    assert (own.root / "marks.csv").is_file()
    assert own.solutions == course.solutions
    assert own.exercises == own.root / "release"


def test_a_mark_that_is_not_the_known_one_is_said(own, capsys):
    (student, assignment, exercise), _ = next(iter(sample.worth(own.root).items()))
    with own.gradebook() as book:
        book.find_grade(f"test_{exercise}", assignment, assignment, student).manual_score = 0.25
        book.db.commit()
    assert run(own.root, "status") == 1
    assert f"{student}, {exercise}: 0.25 points" in capsys.readouterr().out


def test_the_real_course_has_real_students_only(course, own, capsys):
    before = everything(course.root), everything(course.exercises)
    assert run(course.root, "sample") == 0
    assert (everything(course.root), everything(course.exercises)) == before
    assert [path.name for path in course.submitted.iterdir()] == ["sample-real"]
    capsys.readouterr()
    assert run(course.root, "status") == 0
    said = capsys.readouterr().out
    assert "sample-real" in said
    assert "sample class" not in said


def test_to_make_it_again_grades_nobody_again(course, own, capsys):
    assert run(course.root, "sample") == 0
    capsys.readouterr()
    assert run(own.root, "autograde", *ISOLATION) == 0
    assert ", 0 to grade" in capsys.readouterr().out


def test_it_takes_no_folder_that_holds_something_else(course, tmp_path, capsys):
    (tmp_path / "thesis.tex").touch()
    for folder in (tmp_path, course.root):
        assert run(course.root, "sample", "--to", str(folder)) == 1
        assert "choose another folder: --to" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_before_the_release_it_says_what_to_do(tmp_path, capsys):
    made = make_course(tmp_path)
    assert run(made.root, "sample") == 1
    assert f"{NAME} is not released yet; first: python -m grader release" in capsys.readouterr().err


def test_a_notebook_finds_the_folders_that_its_course_names(own, monkeypatch):
    folder = own.autograded / "ada" / NAME
    monkeypatch.chdir(folder)
    assert _folders() == (own.solutions, own.exercises)


# --- who may read it ----------------------------------------------------------------------------------------------


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_what_a_course_makes_is_for_its_owner_only_but_for_the_release(tmp_path, umask, capsys):
    before = os.umask(umask)
    try:
        made = make_course(tmp_path)
        assert run(made.root, "release") == 0
        hand_in(made, "ada")
        assert run(made.root, "export") == 0
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    private = ["submitted", "autograded", "feedback", "gradebook.db", "marks.csv", ".grading.lock"]
    assert {path.name for path in made.root.iterdir()} == {*private, "nbgrader_config.py"}
    assert {name: mode(made.root / name) & 0o077 for name in private} == dict.fromkeys(private, 0)
    assert made.readable_by_others() == []
    assert mode(made.exercises) == mode(made.exercises / NAME) == 0o777 & ~umask
    assert {mode(path) for path in (made.exercises / NAME).iterdir()} == {0o666 & ~umask}


def test_doctor_names_what_others_can_read(tmp_path, capsys):
    made = make_course(tmp_path)
    assert made.readable_by_others() == []
    made.submitted.mkdir(mode=0o755)
    made.submitted.chmod(0o755)
    run(made.root, "doctor")
    assert f"to prevent that: chmod -R go= {made.submitted}\n" in capsys.readouterr().out
    made.submitted.chmod(0o700)
    assert made.readable_by_others() == []
