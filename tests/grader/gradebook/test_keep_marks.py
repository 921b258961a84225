"""A release changes cells; marks and comments that were given for the others stay."""

import os
import shutil
import signal
import sqlite3
import stat
import sys

import nbformat
import pytest
from nbgrader.api import Gradebook

from grader.__main__ import main
from grader.course import Course
from grader.errors import CourseError
from grader.gradebook import backup
from tests.small import FULL, NAME, TEST, cell, cells, hand_in, in_words, make_course, write


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Two students, graded; to one a person has given marks, extra points, comments; the other one was late."""
    made = make_course(tmp_path_factory.mktemp("keep"))
    made.release(NAME)
    for student in ("ada", "bob"):
        hand_in(made, student)
    due = made.submissions(NAME)
    assert not [o.problem for o in made.grade(due, made.job(5, isolated=False), 1) if o.problem]
    with made.gradebook() as book:
        why = book.find_grade("why", NAME, NAME, "ada")
        why.manual_score, why.needs_manual_grade = 3, False
        book.find_grade("test_scale", NAME, NAME, "ada").extra_credit = 0.5
        book.find_comment("why", NAME, NAME, "ada").manual_comment = "well said"
        book.find_comment("scale", NAME, NAME, "ada").manual_comment = "a nice class"
        book.find_submission_notebook(NAME, NAME, "bob").late_submission_penalty = 1
        book.db.commit()
    return made


@pytest.fixture
def course(graded, tmp_path):
    shutil.copytree(graded.root.parent, tmp_path / "term")
    return Course(tmp_path / "term" / "grader")


def entries(course, address=None):
    """What the gradebook says of everybody: marks, extra points, comments, penalties."""
    found = {}
    with Gradebook(address or course.directory.db_url, course.directory.course_id) as book:
        for submission in book.find_assignment(NAME).submissions:
            who = submission.student.id
            for notebook in submission.notebooks:
                found[who, notebook.name, "late"] = notebook.late_submission_penalty
                for g in notebook.grades:
                    found[who, "mark", g.cell.name] = (g.auto_score, g.manual_score, g.extra_credit, g.max_score)
                for c in notebook.comments:
                    found[who, "comment", c.cell.name] = (c.auto_comment, c.manual_comment)
    return found


def released(course):
    notebook = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    return [one.metadata.nbgrader.grade_id for one in notebook.cells]


def copies(course):
    return sorted((course.root / "backups").glob("*")) if (course.root / "backups").exists() else []


def test_there_is_something_to_keep(graded):
    before = entries(graded)
    assert before["ada", "mark", "why"] == (0, 3, None, 4)
    assert before["ada", "mark", "test_scale"] == (FULL, None, 0.5, FULL)
    assert before["ada", "comment", "why"] == ("No response.", "well said")
    assert before["bob", NAME, "late"] == 1
    assert len(before) == 10


def test_a_new_cell_keeps_every_mark_and_the_class_is_graded_with_it(course, capsys):
    before = entries(course)
    write(course, [*cells(), in_words("why_not", points=2)])
    said = course.release(NAME)
    assert released(course) == ["setup", "scale", "test_scale", "why", "why_not"]
    new = {
        (who, kind, "why_not"): value
        for who in ("ada", "bob")
        for kind, value in (("mark", (None, None, None, 2)), ("comment", (None, None)))
    }
    assert entries(course) == before | new
    assert "why_not is new" in " ".join(said)
    assert copies(course) == []  # nothing was taken out
    outcomes = list(course.grade(course.submissions(NAME), course.job(5, isolated=False), 1))
    assert [outcome.problem for outcome in outcomes] == [None, None]
    after = entries(course)
    kept = {key: value for key, value in before.items() if key[2] != "late"}
    assert kept.items() <= after.items()
    assert after["bob", "mark", "why_not"] == (0, None, None, 2)  # left blank: nothing to mark


def test_a_cell_that_is_gone_takes_only_its_own_marks_and_a_copy_is_made(course):
    before = entries(course)
    write(course, [*cells(), cell(TEST, "test_again", grade=True, points=1)])
    course.release(NAME)
    between = entries(course)
    write(course, cells())
    (said,) = course.release(NAME)
    assert entries(course) == before
    (copy,) = copies(course)
    assert str(copy) in said
    assert entries(course, f"sqlite:///{copy}") == between
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_a_gradebook_on_a_server_is_copied_too(course):
    """Row by row, into a gradebook of SQLite; SQLite stands in for the server."""
    made = course.root / "copy.db"
    backup._copy_rows(course.directory.db_url, made)
    assert entries(course, f"sqlite:///{made}") == entries(course)
    with sqlite3.connect(made) as copy, sqlite3.connect(course.root / "gradebook.db") as source:
        for table in ("alembic_version", "course", "student", "submitted_assignment"):
            rows = f"SELECT * FROM {table}"
            assert sorted(map(str, copy.execute(rows))) == sorted(map(str, source.execute(rows)))


def test_a_mark_that_a_person_gave_is_not_lost_by_accident(course):
    before, old = entries(course), released(course)
    write(course, [one for one in cells() if one.metadata.nbgrader.grade_id != "why"])
    with pytest.raises(CourseError) as error:
        course.release(NAME)
    line = str(error.value)
    assert "\n" not in line
    assert "3 for why of ada" in line
    assert "a comment on why of ada" in line
    assert "bob" not in line
    assert "--remove-marks" in line
    assert entries(course) == before
    assert released(course) == old
    (said,) = course.release(NAME, remove_marks=True)
    assert entries(course) == {key: value for key, value in before.items() if key[2] != "why"}
    (copy,) = copies(course)
    assert str(copy) in said
    assert entries(course, f"sqlite:///{copy}") == before


def test_a_cell_with_another_name_keeps_its_marks(course):
    before = entries(course)
    write(course, [*cells()[:-1], in_words("why_so")])
    said = course.release(NAME, renamed={"why": "why_so"})
    assert entries(course) == {
        (who, kind, "why_so" if name == "why" else name): value for (who, kind, name), value in before.items()
    }
    assert "why is now why_so" in " ".join(said)
    assert copies(course) == []


def test_other_points_keep_the_mark_and_ask_a_person_to_look_again(course):
    before = entries(course)
    write(course, [*cells()[:-1], in_words(points=8)])
    said = course.release(NAME)
    after = entries(course)
    assert {key for key in before if before[key] != after[key]} == {("ada", "mark", "why"), ("bob", "mark", "why")}
    assert after["ada", "mark", "why"] == (0, 3, None, 8)
    assert "why now has 8 points, before 4" in " ".join(said)
    with course.gradebook() as book:
        assert book.find_grade("why", NAME, NAME, "ada").needs_manual_grade


def test_an_answer_that_becomes_a_task_keeps_its_marks(course):
    """Another kind of cell, in nbgrader's words."""
    before = entries(course)
    task = in_words()
    task.metadata.nbgrader |= {"grade": False, "solution": False, "task": True, "locked": True}
    task.source += "\n=== BEGIN MARK SCHEME ===\nall of it\n=== END MARK SCHEME ==="
    write(course, [*cells()[:-1], task])
    course.release(NAME)
    assert entries(course) == before


def test_a_notebook_more_and_another_name_and_one_less(course):
    before = entries(course)
    folder = course.solutions / NAME
    public = course.exercises / NAME / "public.json"
    nbformat.write(nbformat.v4.new_notebook(cells=[in_words("more", points=1)]), folder / "extra.ipynb")
    course.release(NAME, public=public)
    with_extra = entries(course)
    assert before.items() <= with_extra.items()
    assert with_extra["ada", "mark", "more"] == (None, None, None, 1)
    (folder / "extra.ipynb").rename(folder / "more.ipynb")
    course.release(NAME, public=public)
    assert {key for key in entries(course) if key not in with_extra} == {
        (who, "more", "late") for who in ("ada", "bob")
    }
    (folder / "more.ipynb").unlink()
    course.release(NAME, public=public)
    assert entries(course) == before


def test_the_button_of_the_formgrader_does_the_same(course):
    """It calls this; so does nbgrader's own command, with the same settings."""
    before = entries(course)
    write(course, [*cells(), in_words("why_not", points=2)])
    done = course.api.generate_assignment(NAME, force=True)
    assert done["success"], done
    assert "why_not is new" in done["log"]
    assert before.items() < entries(course).items()
    assert released(course)[-1] == "why_not"


def test_what_goes_wrong_while_it_is_entered_changes_nothing(course):
    before, old = entries(course), released(course)
    write(course, [*cells(), in_words("why_not", points=2)])
    with sqlite3.connect(course.root / "gradebook.db") as book:
        book.execute("CREATE TRIGGER no BEFORE INSERT ON comment BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    with pytest.raises(CourseError):
        course.release(NAME)
    assert entries(course) == before
    assert released(course) == old
    assert [path.name for path in course.exercises.iterdir()] == [NAME]


def test_the_command_renames(course, monkeypatch, capsys):
    write(course, [*cells()[:-1], in_words("why_so")])
    command = ["grader", "--course", str(course.root), "release"]
    monkeypatch.setattr("sys.argv", command)
    assert main() == 1
    said = capsys.readouterr().err
    assert said.startswith(f"grader: releasing {NAME} failed: {NAME} no longer has cells with marks or comments")
    assert said.count("\n") == 1
    monkeypatch.setattr("sys.argv", [*command, "--renamed", "why=why_so"])
    assert main() == 0
    assert "why is now why_so" in capsys.readouterr().out


def test_a_release_that_is_killed_leaves_the_old_one_or_the_new_one_whole(course):
    """At some of its moments; `test_replace.py` looks at each moment of the step in which folders change places."""
    before, old = entries(course), content(course)
    public = course.root.parent / "public.json"
    shutil.copy(course.exercises / NAME / "public.json", public)
    write(course, [*cells(), in_words("why_not", points=2)])
    seen = []
    for step in range(0, 1000, 9):
        child = os.fork()
        if child == 0:
            count_down = iter(range(step, -1, -1))

            def on(event, arguments, left=count_down):
                there = any(f"{course.exercises}/" in str(each) for each in arguments[:2])
                if there and event != "os.kill" and next(left) == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(on)
            try:
                course.release(NAME, public=public)
            finally:
                os._exit(0)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
        seen.append(content(course))
        assert before.items() <= entries(course).items()
        if not killed:
            break
    course.release(NAME, public=public)
    new = content(course)
    assert [path.name for path in course.exercises.iterdir()] == [NAME]
    assert all(found in (old, new) for found in seen)
    assert [seen[0], seen[-1]] == [old, new]
    assert len(seen) > 2


def content(course):
    return {path.name: path.read_bytes() for path in (course.exercises / NAME).iterdir()}
