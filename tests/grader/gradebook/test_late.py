"""Time stamps that come, go, change and cannot be read: what is deducted, and what nbgrader still shows."""

from datetime import datetime

import pytest

from grader import nbgrader_plugins
from grader.authoring.exercise import load
from grader.course import Course
from grader.submission import timestamps
from tests import ROOT
from tests.attacks import NAME
from tests.attacks.whole_class import make_course
from tests.grader.test_term import EXERCISE, grade, hand_in
from tests.isolation import isolation_problem

LATE, EARLY = "2025-05-03 12:00:00 UTC", "2025-04-03 12:00:00 UTC"
# What becomes of the time stamp of a student who was late.
AFTERWARDS = {
    "gone": None,
    "empty": b"",
    "no-date": b"yesterday",
    "no-text": b"\xff\xfe\x00\xd8",
    "too-late": b"99999-12-31 00:00:00 UTC",
    "long": b"2025-05-03 " * 100_000,
    "link": None,
    "early": EARLY.encode(),
    "marked": f"\ufeff{LATE}\n".encode(),
}
POINTS = 4


def stamp(course, student):
    return course.submitted / student / NAME / timestamps.FILE


def due_on(course, date):
    with course.gradebook() as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate=date)


def deducted(course):
    with course.gradebook() as gradebook:
        found = gradebook.assignment_submissions(NAME)
        return {each.student.id: each.notebooks[0].late_submission_penalty or 0 for each in found}


def listed(course):
    """What the formgrader lists: of each student the time stamp, and whether what was handed in is graded."""
    return {each["student"]: (each["timestamp"], each["autograded"]) for each in course.api.get_submissions(NAME)}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with a due date, in which who is late gets nothing: everybody was; then time stamps change."""
    made = make_course(tmp_path_factory.mktemp("late"))
    config = made.root / "nbgrader_config.py"
    config.write_text(config.read_text("utf-8") + '\nc.LateSubmissionPlugin.penalty_method = "zero"\n', "utf-8")
    made = Course(made.root)
    folder = ROOT / "solutions" / NAME
    answer = {EXERCISE: load(folder).exercises[EXERCISE].worked}
    for student in AFTERWARDS:
        hand_in(made, student, answer)
        stamp(made, student).write_text(LATE, "utf-8")
    due_on(made, datetime(2025, 5, 1))
    assert grade(made) == 0
    assert deducted(made) == dict.fromkeys(AFTERWARDS, POINTS)
    for student, said in AFTERWARDS.items():
        stamp(made, student).unlink()
        if said is not None:
            stamp(made, student).write_bytes(said)
    stamp(made, "link").symlink_to("/dev/zero")
    return made


@pytest.fixture(scope="module")
def before(course):
    """What the formgrader lists before the class is graded again."""
    return listed(course)


@pytest.fixture(scope="module")
def graded(course, before):
    """By nbgrader's own command two of them, by ours the others."""
    if not isolation_problem():
        for student in ("gone", "no-date"):
            result = course.api.autograde(NAME, student)
            assert result["success"], result["log"]
            assert ("timestamp.txt has no valid date" in result["log"]) == (student == "no-date")
        nbgrader_plugins.stop()
    assert grade(course) == 0
    return course


def test_a_time_stamp_that_cannot_be_read_does_not_hide_the_class(before):
    dates = dict.fromkeys(AFTERWARDS) | {"early": "2025-04-03T12:00:00", "marked": "2025-05-03T12:00:00"}
    assert before == {student: (date, student == "marked") for student, date in dates.items()}


def test_who_is_no_longer_late_loses_nothing(graded):
    assert deducted(graded) == dict.fromkeys(AFTERWARDS, 0) | {"marked": POINTS}
    assert all(autograded for _, autograded in listed(graded).values())


def test_only_a_date_is_copied(graded):
    copied = {
        path.parent.parent.name: path.read_text("utf-8") for path in graded.autograded.glob("*/*/timestamp.txt")
    }
    assert copied == {"early": EARLY, "marked": LATE}


def test_a_due_date_that_changes_changes_what_is_deducted(graded):
    both = {"early", "marked"}
    for date, late in ((datetime(2025, 6, 1), set()), (datetime(2025, 4, 1), both), (None, set())):
        due_on(graded, date)
        changed = graded.update_late_penalties(NAME)
        assert set(changed) >= {"marked"}
        assert {student for student, points in deducted(graded).items() if points} == late
        assert graded.update_late_penalties(NAME) == []


def test_a_time_stamp_is_read_as_nbgrader_writes_it(tmp_path):
    assert timestamps.read(tmp_path) == timestamps.Timestamp()
    for text in ("2025-05-03 12:00:00.000000 UTC", "2025-05-03 14:00:00 +0200", "2025-05-03T12:00:00Z"):
        (tmp_path / timestamps.FILE).write_text(text, "utf-8")
        assert timestamps.read(tmp_path) == timestamps.Timestamp(datetime(2025, 5, 3, 12), text)
