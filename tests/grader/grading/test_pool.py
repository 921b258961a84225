"""The grading processes: one that does not answer, or has no memory left, is replaced."""

import time

import psutil

from grader.grading import pool
from grader.grading.job import GradingJob, Submission
from grader.grading.outcome import Outcome
from grader.grading.submission_grader import SubmissionGrader
from grader.sandbox import processes
from tests import ROOT

NAME = "custom_layers"
TIMEOUT = 5  # seconds; the others answer in a thousandth of this


def test_a_process_that_does_not_answer_or_has_no_memory_is_replaced(tmp_path, monkeypatch):
    """Grading is replaced, so that one process hangs; the processes, the limits and the memory are real."""

    def grade(grader, submission):
        assert grader.job.seed == 7
        with (tmp_path / submission.student).open("a") as file:
            file.write("x")
        tries = (tmp_path / submission.student).stat().st_size
        if submission.student == "stuck" or (submission.student == "once" and tries == 1):
            time.sleep(10**6)
        if submission.student == "fat":
            bytearray(2 * pool.MAX_PROCESS_MEMORY)
        return Outcome(submission, notes=("graded",))

    monkeypatch.setattr(SubmissionGrader, "grade", grade)
    monkeypatch.setattr(pool, "ATTEMPTS", 2)
    job = GradingJob(ROOT / "solutions", ROOT / "exercises", seed=7, isolated=False)
    students = ("ada", "fat", "stuck", "alan", "once", "emmy")
    submissions = [Submission(student, NAME, tmp_path / student) for student in students]
    outcomes = {
        each.submission.student: each for each in pool.grade_submissions(job, submissions, 2, timeout=TIMEOUT)
    }
    assert {student for student, outcome in outcomes.items() if outcome.notes} == {"ada", "alan", "once", "emmy"}
    assert outcomes["stuck"].ours
    assert outcomes["stuck"].problem.startswith(f"the process that graded it did not answer for {TIMEOUT} s, 2 times")
    assert not outcomes["fat"].ours
    assert outcomes["fat"].problem == "grading it takes more memory than there is for one submission, 2 times"
    for student, tries in {"fat": 2, "stuck": 2, "once": 2}.items():
        assert (tmp_path / student).stat().st_size == tries


def test_what_is_stopped_is_continued_and_what_is_not_is_left_alone():
    with psutil.Popen(["sleep", "600"]) as sleeper, psutil.Popen(["sleep", "600"]) as other:
        sleeper.suspend()
        while sleeper.status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        assert list(processes.stopped(psutil.Process().pid)) == [sleeper.pid]
        assert list(processes.stopped(other.pid)) == []
        processes.continue_stopped(sleeper.pid)
        while sleeper.status() == psutil.STATUS_STOPPED:
            time.sleep(0.01)
        sleeper.kill()
        other.kill()
