"""A grading that is killed at any moment: the next run finishes it, and the gradebook is as it would have been."""

import subprocess
import sys

import nbformat
import pytest

from grader.__main__ import main
from grader.authoring import sample
from grader.authoring.exercise import load
from grader.sandbox import bubblewrap
from tests import ROOT
from tests.isolation import isolation_problem
from tests.stress.kills import VICTIMS

NAME = "layers_and_blocks"
STUDENTS = 4
KILLS = len(VICTIMS) + 3
ISOLATION = ["--no-isolation"] if isolation_problem() else []


@pytest.fixture(scope="module")
def known(course):
    """The marks that the students must get."""
    folder = course.solutions / NAME
    solution = nbformat.read(folder / f"{NAME}.ipynb", as_version=4)
    release = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    everybody = sample.students([(load(folder), solution)])
    marks = {}
    for student in everybody[:STUDENTS]:
        answers = student.answers[NAME]
        sample.hand_in(answers, release, course.submitted / student.name / NAME / f"{NAME}.ipynb")
        marks |= {(student.name, exercise): answer.points for exercise, answer in answers.items()}
    return marks


def test_any_process_can_be_killed_at_any_moment(tmp_path):
    """A few of the kills that `make kills` does by the dozen; its text says what is looked at after each."""
    log = tmp_path / "kills.log"
    more = ("--times", str(KILLS), "--students", str(STUDENTS), "--log", str(log))
    done = subprocess.run(
        [sys.executable, "-m", "tests.stress.kills", *more], cwd=ROOT, capture_output=True, text=True
    )
    lines = log.read_text(encoding="utf-8").splitlines()
    assert done.returncode == 0, [line for line in lines if "are the same" not in line]
    for victim in ("grader", "judge", "zygote", *(() if ISOLATION else ("bubblewrap", "worker"))):
        assert any(f"{victim} killed" in line for line in lines)


def main_for(course, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["grader", "--course", str(course.root), *arguments])
        return main()


def test_without_a_sandbox_it_refuses_and_says_what_to_do(course, known, monkeypatch, capsys):
    monkeypatch.setattr(bubblewrap, "find_bubblewrap", lambda: None)
    assert main_for(course, "autograde", "--force") == 1
    said = capsys.readouterr().err
    assert "bubblewrap is missing; install it" in said
    assert "--no-isolation" in said


def test_doctor_says_what_there_is(course, capsys):
    assert main_for(course, "doctor") == (1 if ISOLATION else 0)
    printed = capsys.readouterr()
    assert "bubblewrap" in printed.out
    assert "gradebook.db" in printed.out
    assert ("will be isolated" in printed.out) != bool(ISOLATION)


def test_without_isolation_every_report_says_so(course, known):
    assert main_for(course, "autograde", "--force", "--no-isolation", "--students", "ada") == 0
    graded = (course.autograded / "ada" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    assert graded.count("without isolation") == len(load(course.solutions / NAME).exercises)
