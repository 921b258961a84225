"""Time stamps that come, go, change and cannot be read: what is deducted, and what nbgrader still shows."""

import json
from datetime import datetime

import nbformat
import pytest

from grader import jail, timestamps
from grader.accuracy import right_answers
from grader.authoring import load
from grader.course import Course
from tests import ROOT
from tests.grader.attacks import NAME, POINTS
from tests.grader.attacks.whole_class import make_course
from tests.grader.test_term import grade, hand_in

FULL = sum(POINTS.values())
LATE, EARLY = "2025-05-03 12:00:00 UTC", "2025-04-03 12:00:00 UTC"


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with a due date, in which who is late gets nothing; ada was late, bob in time."""
    made = make_course(tmp_path_factory.mktemp("late"))
    config = made.root / "nbgrader_config.py"
    config.write_text(config.read_text("utf-8") + '\nc.LateSubmissionPlugin.penalty_method = "zero"\n', "utf-8")
    made = Course(made.root)
    folder = ROOT / "solutions" / NAME
    right = {n: right_answers(task, folder)["worked"] for n, task in load(folder).tasks.items()}
    for student, date in (("ada", LATE), ("bob", EARLY)):
        (hand_in(made, student, right) / timestamps.FILE).write_text(date, "utf-8")
    due_on(made, datetime(2025, 5, 1))
    assert grade(made) == 0
    return made


@pytest.fixture(autouse=True)
def at_the_beginning(course):
    yield
    for student, date in (("ada", LATE), ("bob", EARLY)):
        path = course.submitted / student / NAME / timestamps.FILE
        if path.is_symlink():
            path.unlink()
        path.write_text(date, "utf-8")
    due_on(course, datetime(2025, 5, 1))


def due_on(course, date):
    with course.gradebook() as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate=date)


def deducted(course, student):
    with course.gradebook() as gradebook:
        return gradebook.find_submission_notebook(NAME, NAME, student).late_submission_penalty or 0


def listed(course):
    """What the formgrader lists: of each student the time stamp, and whether what was handed in is graded."""
    found = course.api.get_submissions(NAME)
    assert all(each["submitted"] for each in found)
    return {each["student"]: (each["timestamp"], each["autograded"]) for each in found}


def test_who_is_late_loses_points(course):
    assert (deducted(course, "ada"), deducted(course, "bob")) == (FULL, 0)
    assert listed(course) == {"ada": ("2025-05-03T12:00:00", True), "bob": ("2025-04-03T12:00:00", True)}


UNREADABLE = {
    "nothing": b"",
    "no date": b"yesterday",
    "no text": b"\xff\xfe\x00\xd8",
    "far too late": b"99999-12-31 00:00:00 UTC",
    "very long": b"2025-05-03 " * 100_000,
    "a link": None,
}


@pytest.mark.parametrize("by", ["ours", "nbgrader's"])
@pytest.mark.parametrize("said", ["(no file)", *UNREADABLE])
def test_a_time_stamp_that_is_gone_or_unreadable_takes_the_deduction_with_it(course, said, by, capsys):
    if by == "nbgrader's" and (jail.why_not() or jail.try_walls() or said not in ("(no file)", "no date")):
        pytest.skip("one of each is enough; nbgrader's needs a jail")
    assert grade(course) == 0  # as it was at the beginning
    assert deducted(course, "ada") == FULL
    path = course.submitted / "ada" / NAME / timestamps.FILE
    copied = course.autograded / "ada" / NAME / timestamps.FILE
    assert copied.is_file()
    path.unlink()
    if said == "a link":
        path.symlink_to("/dev/zero")
    elif said != "(no file)":
        path.write_bytes(UNREADABLE[said])
    # The whole class is still listed: ada's is to be graded again.
    assert listed(course) == {"ada": (None, False), "bob": ("2025-04-03T12:00:00", True)}
    capsys.readouterr()
    if by == "ours":
        assert grade(course) == 0
        told = capsys.readouterr().out
    else:
        result = course.api.autograde(NAME, "ada")
        assert result["success"], result
        told = result["log"]
    assert ("it counts as handed in on time" in told) == (said != "(no file)")
    assert deducted(course, "ada") == 0
    assert not copied.exists()
    assert listed(course) == {"ada": (None, True), "bob": ("2025-04-03T12:00:00", True)}
    path.unlink(missing_ok=True)
    path.write_text(f"\ufeff{LATE}\n", "utf-8")
    assert grade(course) == 0
    assert deducted(course, "ada") == FULL


def test_a_due_date_that_changes_changes_what_is_deducted(course, capsys):
    assert grade(course) == 0
    for date, both in ((datetime(2025, 6, 1), (0, 0)), (datetime(2025, 4, 1), (FULL, FULL)), (None, (0, 0))):
        due_on(course, date)
        capsys.readouterr()
        assert grade(course) == 0
        said = capsys.readouterr().out
        assert "0 to grade" in said
        assert "the due date has changed; other points are deducted now: ada" in said
        assert (deducted(course, "ada"), deducted(course, "bob")) == both
    capsys.readouterr()
    assert grade(course) == 0
    assert "due date" not in capsys.readouterr().out


def test_an_unreadable_time_stamp_of_somebody_who_was_never_graded_is_listed(course):
    folder = course.submitted / "zoe" / NAME
    folder.mkdir(parents=True)
    (folder / f"{NAME}.ipynb").write_text(json.dumps(nbformat.v4.new_notebook()), "utf-8")
    (folder / timestamps.FILE).write_text("?", "utf-8")
    assert listed(course)["zoe"] == (None, False)
