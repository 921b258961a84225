"""Which notebook of a submission is graded."""

import os

import pytest

from grader.errors import SubmissionError
from grader.grading import fingerprint
from grader.grading.job import GradingJob, Submission
from grader.submission.find import MAX_ATTEMPTS, find_notebook
from tests import ROOT
from tests.grader.submission.notebooks import NAME

OLD, NEW = 1_700_000_000, 1_700_100_000


@pytest.fixture
def hand_in(tmp_path):
    """Writes files into a submission's folder, with the times that are given."""

    def write(**times):
        folder = tmp_path / "ada" / NAME
        folder.mkdir(parents=True)
        for name, time in times.items():
            path = folder / f"{name.replace('__', ' ')}.ipynb"
            path.write_text(name)
            os.utime(path, (time, time))
        return folder

    return write


def chosen(folder, has_answers=lambda path: True):
    path, notes = find_notebook(folder, NAME, has_answers)
    return path.stem, " ".join(notes)


@pytest.mark.parametrize(
    "newer",
    [
        "custom_layers__(1)",
        "custom_layers-1",
        "custom_layers(2)",
        "custom_layers-Copy1",
        "custom_layers_v2",
        "turingalan_LATE_50002_900002_custom_layers-1",
        "Custom__Layers__(3)",
    ],
)
@pytest.mark.parametrize("times", [(OLD, NEW), (OLD, OLD), (NEW, OLD)])
def test_the_attempt_with_the_highest_number_counts(hand_in, newer, times):
    folder = hand_in(**{"custom_layers": times[0], newer: times[1]})
    name, said = chosen(folder)
    assert name == newer.replace("__", " ")
    assert f"{name}.ipynb was graded: its name has the highest number" in said
    assert ("its file is the newest" in said) == (times == (OLD, NEW))
    assert ("custom_layers.ipynb was written later" in said) == (times == (NEW, OLD))
    assert "Also submitted, but not graded: custom_layers.ipynb" in said


@pytest.mark.parametrize("other", ["Copy__of__custom_layers", "custom_layers_final", "custom_layers__-__Copy"])
def test_without_numbers_the_newest_file_counts(hand_in, other):
    folder = hand_in(**{"custom_layers": OLD, other: NEW})
    name, said = chosen(folder)
    assert name == other.replace("__", " ")
    assert "its file is the newest" in said
    os.utime(folder / "custom_layers.ipynb", (NEW + 1000, NEW + 1000))
    assert chosen(folder)[0] == "custom_layers"


def test_if_the_newest_attempt_is_unknown_a_note_says_so(hand_in):
    name, said = chosen(hand_in(custom_layers=NEW, Copy__of__custom_layers=NEW + 1))
    assert name == "custom_layers"
    assert "names and times do not show which one is newer" in said


def test_an_attempt_without_answers_does_not_count(hand_in):
    """Downloaded a second time, and not touched since."""
    folder = hand_in(**{"custom_layers": NEW, "custom_layers__(1)": NEW})
    name, said = chosen(folder, lambda path: "(1)" not in path.name)
    assert name == "custom_layers"
    assert "the others have no answers" in said
    assert chosen(folder, lambda path: False)[0] == "custom_layers (1)"


def test_a_notebook_with_another_name_is_no_attempt(hand_in):
    name, said = chosen(hand_in(custom_layers=OLD, draft=NEW, layers=NEW, my_custom_layersX=NEW))
    assert name == "custom_layers"
    assert "attempts" not in said
    assert "Also submitted, but not graded: draft.ipynb, layers.ipynb" in said


def test_a_notebook_in_a_folder_of_its_own_is_named(hand_in):
    folder = hand_in()
    (folder / "upload").mkdir()
    (folder / "upload" / f"{NAME}.ipynb").touch()
    with pytest.raises(SubmissionError, match=f"there is upload/{NAME}.ipynb"):
        chosen(folder)


def test_too_many_attempts_are_refused(hand_in):
    folder = hand_in(**{f"custom_layers-{number}": OLD for number in range(MAX_ATTEMPTS + 1)})
    with pytest.raises(SubmissionError, match="there are 21 attempts, the maximum is 20"):
        chosen(folder)


def test_deeply_nested_folders_are_no_submission(hand_in):
    folder = hand_in()
    before = os.getcwd()
    try:
        os.chdir(folder)
        for _ in range(1500):
            os.mkdir("a")
            os.chdir("a")
        with pytest.raises(SubmissionError, match="there is nothing"):
            chosen(folder)
        for _ in range(1500):
            os.chdir("..")
            os.rmdir("a")
    finally:
        os.chdir(before)


def test_only_attempts_that_may_count_are_part_of_the_fingerprint(hand_in, release):
    job = GradingJob(ROOT / "solutions", ROOT / "exercises", seed=1)
    folder = hand_in(**{"custom_layers": OLD, "custom_layers__(1)": NEW})
    submission = Submission("ada", NAME, folder)
    prints = [fingerprint.fingerprint(job, submission)]
    (folder / "custom_layers (1).ipynb").write_text("changed")
    prints.append(fingerprint.fingerprint(job, submission))
    os.utime(folder / "custom_layers.ipynb", (NEW + 1000, NEW + 1000))
    prints.append(fingerprint.fingerprint(job, submission))
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / f"{NAME}-checkpoint.ipynb").touch()
    assert len({*prints, fingerprint.fingerprint(job, submission)}) == 3
