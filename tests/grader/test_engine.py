"""The engine: right marks for everybody, whatever the submission before, beside or behind does."""

import contextlib
import json
import os
import socket
import struct
import time
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader import class_run, jail, repair
from grader.accuracy import right_answers
from grader.authoring import load
from grader.jailed import wire
from grader.submissions import fill_in, solution_cells
from tests import ROOT
from tests.grader.attacks import HOSTILE, TAKES_THE_REST

NAME = "custom_layers"
SOLUTIONS, RELEASE = ROOT / "solutions" / NAME, ROOT / "exercises" / NAME
WHY_NOT = jail.why_not() or jail.try_walls()
isolated = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")


@pytest.fixture(scope="module")
def release():
    return nbformat.read(RELEASE / f"{NAME}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def right():
    return {name: right_answers(task, SOLUTIONS)["worked"] for name, task in load(SOLUTIONS).tasks.items()}


@pytest.fixture(scope="module")
def judge():
    made = class_run.Judge(class_run.Order(SOLUTIONS.parent, RELEASE.parent, seed=11, isolated=not WHY_NOT))
    made.zygote.start()
    yield made
    made.zygote.stop()


def grade(judge, student, folder):
    return judge.grade(class_run.Submission(student, NAME, folder))


def notebook_of(outcome):
    return nbformat.reads(outcome.entry.notebook, as_version=4)


def marks(outcome):
    return {name.removeprefix("test_"): score for name, score in outcome.entry.scores.items()}


@pytest.fixture
def hand_in(tmp_path):
    def write(notebook, student="ada", name=f"{NAME}.ipynb"):
        folder = tmp_path / student / NAME
        folder.mkdir(parents=True, exist_ok=True)
        text = notebook if isinstance(notebook, str) else nbformat.writes(notebook)
        (folder / name).write_text(text, encoding="utf-8")
        return folder

    return write


FULL = {"centered_layer": 4, "my_linear": 8, "tensor_reduction": 8, "half_fourier": 6, "running_center": 10}


@isolated
@pytest.mark.parametrize("attack", HOSTILE)
def test_an_attack_gains_nothing_and_harms_nobody(attack, judge, release, right, hand_in):
    answers = {**right, "my_linear": HOSTILE[attack]}
    innocent = hand_in(fill_in(release, right), "innocent")
    start = time.monotonic()
    outcome = grade(judge, "mallory", hand_in(fill_in(release, answers), "mallory"))
    assert time.monotonic() - start < class_run.engine.SECONDS_FOR_A_SUBMISSION
    after = grade(judge, "innocent", innocent)
    assert not after.problem
    assert marks(after) == FULL
    assert not outcome.problem, outcome.problem
    found = marks(outcome)
    assert found["centered_layer"] == 4
    assert found["my_linear"] <= 3  # what an honest wrong answer with the right parameters gets
    if "nothing is here to be read" in HOSTILE[attack]:
        (cell,) = (c for c in notebook_of(outcome).cells if c.source == HOSTILE[attack])
        assert cell.outputs[-1].evalue == "nothing is here to be read", cell.outputs
    if attack not in TAKES_THE_REST:
        assert found["tensor_reduction"] == 8
    assert len(outcome.entry.notebook) < 5_000_000
    assert nbformat.validate(notebook_of(outcome)) is None


@isolated
def test_nothing_is_left_running(judge, release, right, hand_in):
    answers = {**right, "my_linear": HOSTILE["daemon"]}
    before = _descendants()
    grade(judge, "mallory", hand_in(fill_in(release, answers)))
    for _ in range(50):  # what was killed is gone a moment later
        if _descendants() == before:
            return
        time.sleep(0.1)
    raise AssertionError(_descendants() - before)


def _descendants():
    """The processes that this one has started, and theirs."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text(encoding="utf-8")
                parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("deleted_test", "have been put back"),
        ("edited_test", "not yours to change"),
        ("duplicated", "more than once"),
        ("reordered", "had been moved"),
        ("renamed", "was graded as"),
        ("windows", ""),
        ("scratch", ""),
        ("noisy", ""),
        ("magics", ""),
    ],
)
def test_a_clumsy_submission_keeps_its_points(change, note, judge, release, right, hand_in):
    notebook = fill_in(release, right)
    name = f"{NAME}.ipynb"
    own = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    match change:
        case "deleted_test":
            notebook.cells = [cell for cell in notebook.cells if cell is not own["test_my_linear"]]
        case "edited_test":
            own["test_my_linear"].source = "assert True"
        case "duplicated":
            notebook.cells.append(nbformat.from_dict(dict(own["my_linear"])))
            notebook.cells.append(nbformat.from_dict(dict(own["test_my_linear"])))
        case "reordered":
            notebook.cells.reverse()
        case "renamed":
            name = "My solution (final).ipynb"
        case "windows":
            for cell in notebook.cells:
                cell.source = cell.source.replace("\n", "\r\n")
        case "scratch":
            own["my_linear"].source = own["my_linear"].source.replace("F.relu(", "helper(")
            place = notebook.cells.index(own["my_linear"])
            notebook.cells.insert(place, nbformat.v4.new_code_cell("def helper(X):\n    return F.relu(X)"))
        case "noisy":
            noise = "import sys, warnings\nwarnings.warn('careful')\nprint('on stderr', file=sys.stderr)\n"
            own["my_linear"].source = noise + own["my_linear"].source
        case "magics":
            more = "%matplotlib inline\n%timeit -n1 -r1 1\n!echo hello\n_ = display(1)\n"
            notebook.cells.insert(3, nbformat.v4.new_code_cell(more))
            notebook.cells.insert(3, nbformat.v4.new_code_cell("%%bash\necho hello"))
            notebook.cells.insert(3, nbformat.v4.new_code_cell("input('how many? ')"))
    outcome = grade(judge, "ada", hand_in(notebook, name=name))
    assert not outcome.problem
    assert marks(outcome) == FULL
    assert note in " ".join(outcome.notes)


@pytest.mark.parametrize(
    ("source", "lost"),
    [
        ("class MyLinear(nn.Module:\n    pass", {"my_linear"}),
        ("undefined_name", {"my_linear"}),
        ("import no_such_module", {"my_linear"}),
        ("raise NotImplementedError", {"my_linear"}),
    ],
)
def test_a_broken_cell_costs_its_own_exercise(source, lost, judge, release, right, hand_in):
    outcome = grade(judge, "ada", hand_in(fill_in(release, {**right, "my_linear": source})))
    assert marks(outcome) == {name: 0 if name in lost else points for name, points in FULL.items()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("{", "is not a notebook that can be read"),
        ("[1, 2]", "JSON, but not a notebook"),
        ('{"nbformat": 4}', "has no cells"),
        ('{"nbformat": 4, "cells": []}', "none of the assignment's answer cells"),
        ("\ud7ff" * 10, "is not a notebook that can be read"),
        ("[" * 100_000, "is not a notebook that can be read"),
    ],
)
def test_what_is_no_notebook_is_said_in_one_line(text, words, judge, hand_in):
    outcome = grade(judge, "ada", hand_in(text))
    assert outcome.entry is None
    assert not outcome.ours
    assert words in outcome.problem
    assert "\n" not in outcome.problem


def test_a_link_and_a_missing_notebook_are_said(judge, tmp_path):
    assert "no notebook at all" in grade(judge, "ada", tmp_path).problem
    (tmp_path / f"{NAME}.ipynb").symlink_to("/etc/passwd")
    assert "is a link" in grade(judge, "ada", tmp_path).problem


def test_a_jail_that_is_lost_is_the_graders_fault_and_is_tried_again(judge, release, right, hand_in):
    folder = hand_in(fill_in(release, right))
    judge.zygote._process.kill()
    judge.zygote._process.wait()
    assert marks(grade(judge, "ada", folder)) == FULL


def test_pictures_are_kept_and_programs_for_the_markers_browser_are_not(judge, release, right, hand_in):
    source = """%matplotlib inline
import matplotlib.pyplot as plt
from IPython.display import HTML, Javascript, display
display(HTML("<script>alert(1)</script>"), Javascript("alert(1)"))
_ = plt.plot([1, 2])
"""
    notebook = fill_in(release, right)
    notebook.cells.insert(3, nbformat.v4.new_code_cell(source))
    graded = notebook_of(grade(judge, "ada", hand_in(notebook)))
    (cell,) = (cell for cell in graded.cells if cell.source == source)
    kinds = [set(output.data) for output in cell.outputs if "data" in output]
    assert {"image/png", "text/plain"} in kinds
    assert all(kind <= {"text/plain", "image/png"} for kind in kinds)
    assert all("alert(1)" not in str(output) for output in cell.outputs)


def test_the_same_submission_and_seed_give_the_same_marks_and_outputs(judge, release, right, hand_in):
    notebook = fill_in(release, right)
    notebook.cells.insert(3, nbformat.v4.new_code_cell("torch.rand(3)"))
    folder = hand_in(notebook)
    one, other = grade(judge, "ada", folder), grade(judge, "ada", folder)
    assert one.entry == other.entry


# --- the wire -----------------------------------------------------------------------------------------------------


def exchange(data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(2)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return wire.receive(ours)


def test_a_message_arrives_as_it_was_sent():
    message = {"do": "run", "source": "π = 3\n", "seconds": 1.5, "more": [None, True, {"a": []}]}
    assert exchange(wire.pack(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        struct.pack("!I", 5) + b"abc",
        struct.pack("!I", 2**31) + b"x",
        struct.pack("!I", 2) + b"[]",
        struct.pack("!I", 1) + b"{",
        struct.pack("!I", 100_000) + b"[" * 100_000,
        struct.pack("!I", 2) + b"\xff\xfe",
    ],
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(wire.WireError):
        exchange(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64))
def test_whatever_arrives_is_a_message_or_refused(data):
    with contextlib.suppress(wire.WireError):
        assert isinstance(exchange(struct.pack("!I", len(data)) + data), dict)


def test_a_message_that_is_too_long_is_not_sent(monkeypatch):
    monkeypatch.setattr(wire, "MOST_BYTES", 10)
    with pytest.raises(wire.WireError):
        wire.pack({"text": "x" * 20})


def test_repair_gives_the_release_back_when_nothing_was_done(release):
    repaired = repair.repair(release, release)
    assert [cell.source for cell in repaired.notebook.cells] == [cell.source for cell in release.cells]
    assert repaired.notes == ()
    assert json.loads(nbformat.writes(repaired.notebook))["nbformat"] == 4
    assert solution_cells(repaired.notebook).keys() == solution_cells(release).keys()
