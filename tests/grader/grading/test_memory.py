"""How much memory grading takes for a submission, whatever the submission sends."""

import multiprocessing
import resource

import nbformat
import pytest

from grader.authoring.exercise import load
from grader.authoring.fill_in import fill_in
from grader.grading.job import GradingJob, Submission
from grader.grading.submission_grader import SubmissionGrader
from grader.sandbox import worker_client
from tests import ROOT
from tests.attacks import ATTACKS, POINTS
from tests.isolation import isolation_problem

NAME = "custom_layers"
SOLUTIONS, RELEASE = ROOT / "solutions" / NAME, ROOT / "exercises" / NAME
WHY_NOT = isolation_problem()
MAX_GROWTH = 400 * 2**20  # bytes; the forged observations together would take 3 GB and more


@pytest.fixture(scope="module")
def right():
    return {name: task.worked for name, task in load(SOLUTIONS).exercises.items()}


@pytest.fixture(scope="module")
def grader():
    made = SubmissionGrader(GradingJob(SOLUTIONS.parent, RELEASE.parent, seed=11, isolated=not WHY_NOT))
    made.zygote.start()
    made.preload(NAME)
    made.prepare(NAME)
    made.zygote.wait_until_ready()
    yield made
    made.zygote.stop()


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def grade_elsewhere(grader, folder):
    """Grade in a forked process; gives the outcome, and by how much the memory of that process grew."""
    ours, theirs = multiprocessing.Pipe()

    def grade():
        before = peak()
        outcome = grader.grade(Submission("mallory", NAME, folder))
        theirs.send((outcome, peak() - before))

    process = multiprocessing.get_context("fork").Process(target=grade)
    process.start()
    theirs.close()
    outcome, growth = ours.recv()
    process.join()
    return outcome, growth


@pytest.mark.parametrize("name", ["fat_observations", "fat_outputs"])
def test_what_a_submission_sends_does_not_pile_up_in_memory(grader, right, tmp_path, name):
    (attack,) = (attack for attack in ATTACKS if attack.id == name)
    attack.hand_in(nbformat.read(RELEASE / f"{NAME}.ipynb", as_version=4), right, tmp_path / NAME)
    outcome, growth = grade_elsewhere(grader, tmp_path / NAME)
    assert growth < MAX_GROWTH, f"{growth / 2**20:.0f} MB"
    assert outcome.entry, outcome.problem
    assert attack.shows in outcome.entry.notebook


def test_a_cell_that_shows_too_much_keeps_what_it_has_defined(grader, right, tmp_path):
    """An honest answer of 38 MB: the worker sends that it is too large, and goes on."""
    pictures = "from IPython.display import Image, display\ndisplay(*[Image(bytes(1_450_000), format='png')] * 20)\n"
    notebook = fill_in(
        nbformat.read(RELEASE / f"{NAME}.ipynb", as_version=4), {**right, "my_linear": pictures + right["my_linear"]}
    )
    (tmp_path / NAME).mkdir()
    nbformat.write(notebook, tmp_path / NAME / f"{NAME}.ipynb")
    outcome = grader.grade(Submission("ada", NAME, tmp_path / NAME))
    assert {name.removeprefix("test_"): score for name, score in outcome.entry.scores.items()} == POINTS
    assert "the outputs of this cell are too large" in outcome.entry.notebook


def test_a_submission_that_sends_too_much_in_all_is_ended(grader, right, tmp_path, monkeypatch):
    (attack,) = (attack for attack in ATTACKS if attack.id == "fat_outputs")
    attack.hand_in(nbformat.read(RELEASE / f"{NAME}.ipynb", as_version=4), right, tmp_path / NAME)
    monkeypatch.setattr(worker_client, "MAX_SUBMISSION_BYTES", 20 * 2**20)  # two of its cells
    outcome = grader.grade(Submission("mallory", NAME, tmp_path / NAME))
    assert outcome.entry.scores["test_centered_layer"] == POINTS["centered_layer"]
    assert outcome.entry.scores["test_running_center"] == 0
    assert "had shown more than 20 MB" in outcome.entry.notebook
