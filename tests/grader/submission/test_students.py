"""Folders as they come: odd names of students, and what editors and systems leave everywhere."""

import os
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from grader import nbgrader_plugins
from grader.authoring.exercise import assignments, load
from grader.files import folders
from grader.grading import fingerprint
from grader.submission import students
from tests import ROOT
from tests.attacks import NAME
from tests.attacks.whole_class import make_course
from tests.grader.test_term import EXERCISE, grade, hand_in, run
from tests.isolation import isolation_problem

DECOMPOSED = "Zoe\N{COMBINING DIAERESIS}"
ODD = ("x [abc]", "x*", "-x", "Zoë", DECOMPOSED, "ada", "Ada", " ada ", "n" * 200, "anna~", "O'Neil, Ada")
REFUSED = ("bell\x07", "two\nlines", "turned\N{RIGHT-TO-LEFT OVERRIDE}")
LEFT = (
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "._my_linear.py",
    "my_linear.py~",
    "#my_linear.py#",
    ".my_linear.py.swp",
)
LEFT_FOLDERS = (".ipynb_checkpoints", "__pycache__", "__MACOSX", ".git", ".idea")


def leave_behind(folder):
    """What JupyterLab, editors, file managers and archives leave in a folder."""
    for name in LEFT:
        (folder / name).write_bytes(b"\0\xff")
    for name in LEFT_FOLDERS:
        (folder / name).mkdir(exist_ok=True)
        for notebook in folder.glob("[!.]*.ipynb"):
            shutil.copy(notebook, folder / name / f"{notebook.stem}-checkpoint.ipynb")
            shutil.copy(notebook, folder / name)
        (folder / name / "reference.py").write_text("raise SystemExit", "utf-8")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    made = make_course(tmp_path_factory.mktemp("odd"))
    folder = made.solutions / NAME
    answer = {EXERCISE: load(folder).exercises[EXERCISE].worked}
    for student in (*ODD, *REFUSED):
        hand_in(made, student, answer)
    os.mkdir(os.fsencode(made.submitted) + b"/no\xfftext")
    submission = made.submitted / "ada" / NAME
    for place in (made.solutions, folder, made.exercises, made.exercises / NAME, made.submitted, submission):
        leave_behind(place)
    leave_behind(made.submitted / "x [abc]" / NAME)
    leave_behind(submission.parent)
    return made


def marks(course):
    return {mark.student: mark.score for mark in course.marks() if mark.exercise == EXERCISE}


@pytest.fixture(scope="module")
def said(course, tmp_path_factory):
    """What the command says while it grades the class."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("said") / "said.txt"
        with path.open("w", encoding="utf-8") as file:
            patch.setattr("sys.stdout", file)
            assert grade(course) == 0
    return path.read_text("utf-8")


def test_every_student_is_graded_in_spite_of_files_of_editors(course, said):
    assert marks(course) == dict.fromkeys(ODD, 4)
    assert f"{len(ODD)} submissions, {len(ODD)} to grade" in said


def test_folders_with_names_that_cannot_be_shown_are_reported(said):
    for name in ("bell\ufffd", "two\ufffdlines", "turned\ufffd"):
        assert f"skipped: {name}: its name has a character that cannot be shown; rename it\n" in said
    assert "text: its name is not valid text; rename it\n" in said
    assert len(re.findall("skipped: ", said)) == len(REFUSED) + 1


def test_similar_names_are_reported(course, said, capsys):
    assert run(course, "status", NAME) == 0
    for told in (said, capsys.readouterr().out):
        assert "these 3 folders look like one student, but count as 3: ' ada ', Ada, ada\n" in told
        assert "these 2 folders look like one student, but count as 2: 'Zoe\\u0308', 'Zo\\xeb'\n" in told
        assert told.count("look like one student") == 2


def test_files_of_editors_are_neither_released_nor_copied(course, said):
    course.release(NAME)
    shown = {path.name for path in folders.walk(course.exercises / NAME)}
    assert shown == {f"{NAME}.ipynb", "public.json"}
    for student in ODD:
        copied = {path.name for path in (course.autograded / student / NAME).iterdir()}
        assert copied == {f"{NAME}.ipynb", "public.json", ".graded"}
    assert course.assignments() == [each.name for each in assignments(course.solutions)] == [NAME]


def test_files_of_editors_make_no_submission_pending(course, said):
    assert not [each for each in course.submissions(NAME) if each.is_pending]
    job = course.job(seed=1)
    before = fingerprint.versions(job, NAME)
    (course.solutions / NAME / ".ipynb_checkpoints" / "another.ipynb").touch()
    (course.submitted / "ada" / NAME / ".ipynb_checkpoints" / "another.ipynb").touch()
    assert fingerprint.versions(job, NAME) == before
    assert not [each for each in course.submissions(NAME) if each.is_pending]


def test_the_button_of_the_formgrader_grades_who_is_named(course, said):
    if isolation_problem():
        pytest.skip("this machine cannot isolate")
    for student in ("x [abc]", "x*"):
        before = {path: path.stat().st_mtime_ns for path in course.autograded.glob(f"*/{NAME}/*.ipynb")}
        result = course.api.autograde(NAME, student)
        assert result["success"], result
        after = {path: path.stat().st_mtime_ns for path in before}
        assert {path.parent.parent.name for path in before if before[path] != after[path]} == {student}
        assert not (course.autograded / student / NAME / "Thumbs.db").exists()
    nbgrader_plugins.stop()


def test_names_of_students_and_assignments_are_told_apart(course, said, capsys):
    def told(*arguments):
        status = grade(course, *arguments)
        out, error = capsys.readouterr()
        return status, out, error

    status, out, _ = told("--students", "ada", "x*", NAME)
    assert (status, "2 submissions, 0 to grade" in out) == (0, True)
    status, out, _ = told("--students", "ada", "--students", "-x"[1:], "x*")
    assert status == 1  # nobody is called x
    status, _, error = told("--students", NAME)
    assert (status, error) == (1, f"grader: --students needs the name of a student; {NAME} is an assignment\n")
    status, _, error = told("--students", "ADA")
    assert "similar names: ' ada ', Ada, ada" in error
    assert error.count("\n") == status == 1


def test_similar_names():
    same = ["Zoë", DECOMPOSED, "ZOË", " zoë", "z oë"]
    assert students.similar_names(same) == [sorted(same)]
    assert students.similar_names(["ada", "adam", "zoe", "Zoë"]) == []


def test_files_of_editors_are_skipped_and_links_not_followed(tmp_path):
    """No walk over a folder of students or authors is left that knows nothing of what is left behind."""
    leave_behind(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").touch()
    leave_behind(tmp_path / "sub")
    assert [path.relative_to(tmp_path) for path in folders.walk(tmp_path)] == [Path("sub/a.py")]
    assert folders.entries(tmp_path) == [tmp_path / "sub"]
    shutil.copytree(tmp_path, tmp_path.parent / "copy", ignore=folders.ignored)
    assert [path.name for path in (tmp_path.parent / "copy").rglob("*")] == ["sub", "a.py"]


def test_an_assignment_that_is_open_in_jupyterlab_is_still_the_released_one(course, said):
    released = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    committed = nbformat.read(ROOT / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    assert released.cells == committed.cells
