"""What the exported file says of marks that there are, and of those that there are not."""

import csv
import os
import shutil
import stat
import sys

import pytest
from nbgrader.apps import ExportApp

from grader.__main__ import main
from grader.course import Course
from grader.publishing.export import COLUMNS, escape_formulas
from tests.small import FULL, NAME, cells, hand_in, in_words, make_course, write

MOST = FULL + 4


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Ada has left the answer in words blank; bob's needs manual grading; cleo has submitted nothing."""
    made = make_course(tmp_path_factory.mktemp("export"))
    made.release(NAME)
    hand_in(made, "ada")
    hand_in(made, "bob", why="Because.")
    assert grade(made) == [("ada", None), ("bob", None)]
    with made.gradebook() as book:
        book.add_student("cleo", first_name="=1+1", last_name='Cl"eo, the;@third', email="+c@example.org")
    return made


@pytest.fixture
def course(graded, tmp_path):
    shutil.copytree(graded.root.parent, tmp_path / "term")
    return Course(tmp_path / "term" / "grader")


def grade(course):
    due = [each for each in course.submissions(NAME) if each.is_pending]
    outcomes = course.grade(due, course.job(5, isolated=False), 1)
    return sorted((one.submission.student, one.problem) for one in outcomes)


def exported(course):
    path = course.root / "marks.csv"
    course.export(path)
    with path.open(encoding="utf-8", newline="") as file:
        return {row["student_id"]: row for row in csv.DictReader(file)}


def said(row):
    return row["raw_score"], row["score"], row["state"]


def status(course, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["grader", "--course", str(course.root), "status"])
    assert main() == 0
    return capsys.readouterr().out


def damage(course, student):
    path = course.submitted / student / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{", encoding="utf-8")


def test_without_a_mark_there_is_no_number(course, monkeypatch, capsys):
    hand_in(course, "dora")
    damage(course, "emil")
    assert grade(course)[1][0] == "emil"
    hand_in(course, "fritz")
    rows = exported(course)
    assert {student: said(row) for student, row in rows.items()} == {
        "ada": ("3.0", "3.0", "graded"),
        "bob": ("3.0", "", "needs manual grading"),
        "cleo": ("", "", "not submitted"),
        "dora": ("3.0", "3.0", "graded"),
        "emil": ("", "", "could not be graded"),
        "fritz": ("", "", "not graded"),
    }
    assert all(float(row["max_score"]) == MOST for row in rows.values())
    shown = status(course, monkeypatch, capsys)
    assert "emil could not be graded: " in shown
    assert "fritz" in shown


def test_the_state_shows_a_newer_submission(course, monkeypatch, capsys):
    damage(course, "ada")
    assert said(exported(course)["ada"]) == ("3.0", "3.0", "graded; to be graded again")
    ((student, problem),) = grade(course)
    assert (student, bool(problem)) == ("ada", True)
    assert said(exported(course)["ada"]) == ("3.0", "3.0", "graded; the newer submission could not be graded")
    shown = status(course, monkeypatch, capsys)
    assert "ada could not be graded: " in shown
    assert "the marks are those of an earlier submission" in shown
    hand_in(course, "ada", scale="pass")
    assert grade(course) == [("ada", None)]
    assert said(exported(course)["ada"]) == ("0.0", "0.0", "graded")  # a zero that somebody has got
    assert "could not be graded" not in status(course, monkeypatch, capsys)


def test_a_manual_mark_counts_and_may_need_review(course):
    with course.gradebook() as book:
        grade_of_bob = book.find_grade("why", NAME, NAME, "bob")
        grade_of_bob.manual_score, grade_of_bob.needs_manual_grade = 2, False
        book.db.commit()
    assert said(exported(course)["bob"]) == ("5.0", "5.0", "graded")
    hand_in(course, "bob", why="Because of this.")
    assert grade(course) == [("bob", None)]
    assert said(exported(course)["bob"]) == ("5.0", "5.0", "graded; a person should review it")


def test_a_cell_that_is_new_is_not_a_zero(course, monkeypatch, capsys):
    write(course, [*cells(), in_words("why_not", points=2)])
    course.release(NAME)
    assert said(exported(course)["ada"]) == ("3.0", "", "needs manual grading; to be graded again")
    (row,) = [line for line in status(course, monkeypatch, capsys).splitlines() if line.startswith("ada")]
    assert row.split()[:4] == ["ada", "3", "0", "?"]


def test_names_are_escaped(course):
    row = exported(course)["cleo"]
    assert row["first_name"] == "'=1+1"
    assert row["last_name"] == "Cl\"eo, the;'@third"
    assert row["email"] == "'+c@example.org"
    hand_in(course, "=cmd")
    assert said(exported(course)["'=cmd"]) == ("", "", "not graded")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
@pytest.mark.parametrize("before", ["", "a;", "a,", 'a"', "a|", "a\n", "a\t"])
def test_formulas_are_escaped(start, before):
    assert f"{before}'{start}1" in escape_formulas(f"{before}{start}1")


@pytest.mark.parametrize("text", ["ada", "O'Neil", "Smith-Jones", "a@b.org", "2+2", "Müller", ""])
def test_other_names_do_not_change(text):
    assert escape_formulas(text) == text


def test_nbgraders_own_command_writes_the_same(course, monkeypatch, tmp_path):
    ours = exported(course)
    monkeypatch.chdir(course.root)
    monkeypatch.setattr(sys, "argv", ["nbgrader", "export"])  # it reads the settings of the folder that it runs in
    ExportApp.clear_instance()
    app = ExportApp.instance()
    try:
        app.initialize(["--to", str(tmp_path / "theirs.csv"), "--log-level=ERROR"])
        app.start()
    finally:
        ExportApp.clear_instance()
    with (tmp_path / "theirs.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert {row["student_id"]: row for row in reader} == ours
        assert tuple(reader.fieldnames) == COLUMNS


def test_only_the_owner_can_read_the_file_and_a_pipe_stays_a_pipe(course, tmp_path):
    exported(course)
    assert stat.S_IMODE((course.root / "marks.csv").stat().st_mode) == 0o600
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    course.export(pipe)
    assert b"student_id" in os.read(reading, 10_000)
    os.close(reading)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
