"""The engine inside nbgrader: its own command, and the button in its formgrader."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import nbformat
import psutil
import pytest

from grader import nbgrader_plugins
from grader.authoring.exercise import load
from grader.authoring.fill_in import fill_in
from grader.course import Course
from grader.sandbox import bubblewrap
from tests import ROOT
from tests.isolation import isolation_problem
from tests.jupyter import TOKEN, jupyterlab
from tests.plainly import autograde_plainly

NAME = "custom_layers"
WHY_NOT = isolation_problem()
FULL = {"centered_layer": 4, "my_linear": 8, "tensor_reduction": 8, "half_fourier": 6, "running_center": 10}
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")


@pytest.fixture(scope="module")
def hand_in(course):
    release = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    folder = course.solutions / NAME
    right = {name: task.worked for name, task in load(folder).exercises.items()}

    def write(student, **answers):
        path = course.submitted / student / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        notebook = fill_in(release, {**right, **answers})
        nbformat.write(notebook, path)
        return path, notebook

    return write


@pytest.fixture(autouse=True)
def no_sandbox_is_kept():
    yield
    nbgrader_plugins.stop()


def marks(course, student):
    return {mark.exercise: mark.score for mark in course.marks() if mark.student == student}


SPY = """\
import os
import sys

class MyLinear(nn.Module):
    pass

print("modules of the grader:", sorted(name for name in sys.modules if name.startswith(("solutions", "nbgrader"))))
print("user", os.getuid(), "files", sorted(os.listdir("..")))
"""


def test_its_command_grades_in_the_sandbox(course, hand_in):
    hand_in("ada")
    hand_in("spy", my_linear=SPY)
    path, notebook = hand_in("deleted")
    notebook.cells = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") != "test_my_linear"]
    nbformat.write(notebook, path)
    program = Path(sys.executable).with_name("nbgrader")
    done = subprocess.run(
        [program, "autograde", NAME],
        cwd=course.root,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert marks(course, "ada") == marks(course, "deleted") == FULL
    assert marks(course, "spy") == FULL | {"my_linear": 0}
    assert "have been put back" in done.stderr
    graded = nbformat.read(course.autograded / "spy" / NAME / f"{NAME}.ipynb", as_version=4)
    (cell,) = (cell for cell in graded.cells if cell.source == SPY)
    assert "modules of the grader: []" in cell.outputs[0].text
    assert "gradebook" not in cell.outputs[0].text
    noted = nbformat.read(course.autograded / "deleted" / NAME / f"{NAME}.ipynb", as_version=4).cells[0].source
    assert "have been put back" in noted
    # Our command sees that there is nothing left to do.
    assert not [each for each in course.submissions(NAME, ["ada", "spy", "deleted"]) if each.is_pending]


def test_who_is_late_pays_as_with_nbgrader(course, hand_in):
    """The plugin of nbgrader that takes everything, through both commands."""
    path, _ = hand_in("late")
    (path.parent / "timestamp.txt").write_text("2026-03-02 10:00:00 UTC", encoding="utf-8")
    with course.gradebook() as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2026-03-01 10:00:00 UTC")
    strict = Course(course.root)
    strict.config.LateSubmissionPlugin.penalty_method = "zero"
    (due,) = strict.submissions(NAME, ["late"])

    def penalty():
        with strict.gradebook() as gradebook:
            return gradebook.find_submission_notebook(NAME, NAME, "late").late_submission_penalty

    (outcome,) = strict.grade([due], strict.job(seed=5), jobs=1)
    assert not outcome.problem
    ours = penalty()
    autograde_plainly(strict, due, seed=5)
    assert ours == penalty() == sum(FULL.values())
    with course.gradebook() as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate=None)


def processes():
    """What this process has started and not ended: the sandbox, as a rule."""
    return {each.pid for each in psutil.Process().children(recursive=True) if each.name() in ("bwrap", "zygote")}


def test_there_is_one_sandbox_whatever_is_graded(course, hand_in):
    """Two assignments in turn, and links that are refused in between."""
    path, _ = hand_in("linker")
    (path.parent / "notes.txt").symlink_to(course.root / "nbgrader_config.py")
    other = next(name for name in course.assignments() if name != NAME)
    folder = course.submitted / "linker" / other
    folder.mkdir()
    shutil.copy(course.exercises / other / f"{other}.ipynb", folder)
    before = processes()
    assert not course.api.autograde(NAME, "linker")["success"]
    assert processes() == before  # for what is refused no sandbox is needed
    hand_in("ada")
    assert course.api.autograde(NAME, "ada")["success"]
    sandboxes = processes() - before
    assert len(sandboxes) == 3  # the two processes of bubblewrap, and the zygote
    for student, assignment, success in (("linker", other, True), ("linker", NAME, False), ("ada", NAME, True)):
        assert course.api.autograde(assignment, student)["success"] == success
        assert processes() - before == sandboxes


def test_a_link_in_a_submission_leads_nowhere(course, hand_in):
    path, _ = hand_in("linker")
    (path.parent / "notes.txt").unlink(missing_ok=True)
    (path.parent / "notes.txt").symlink_to(course.root / "nbgrader_config.py")
    result = course.api.autograde(NAME, "linker")
    assert not result["success"]
    assert "notes.txt is a link" in result["log"]
    assert not (course.autograded / "linker" / NAME).exists()


def test_where_there_is_no_sandbox_it_refuses_and_says_what_to_do(course, hand_in, monkeypatch):
    hand_in("grace")
    monkeypatch.setattr(bubblewrap, "find_bubblewrap", lambda: None)
    result = course.api.autograde(NAME, "grace")
    assert not result["success"]
    assert "apt-get install bubblewrap. For code that you trust: c.GradeInSandbox.isolated" in result["log"]
    assert not (course.autograded / "grace" / NAME).exists()


def test_a_new_release_is_graded_with_the_new_release(course, hand_in):
    """A server lives long; what it keeps from the last grading must not be older than the course."""
    hand_in("radia", my_linear="pass")
    assert course.api.autograde(NAME, "radia")["success"]
    ((_, kept),) = nbgrader_plugins._kept[True].graders.values()
    sandboxes = processes()
    assert course.api.autograde(NAME, "radia")["success"]
    assert nbgrader_plugins._kept[True].graders[NAME][1] is kept  # the second click finds the sandbox ready
    path = course.solutions / NAME / "my_linear.py"
    shutil.copy2(path, path.with_suffix(".before"))
    try:
        with path.open("a") as source:
            source.write("\n# changed\n")
        assert course.api.autograde(NAME, "radia")["success"]
        assert nbgrader_plugins._kept[True].graders[NAME][1] is not kept
        assert processes() == sandboxes
    finally:
        path.with_suffix(".before").rename(path)


@pytest.fixture
def server(course, tmp_path):
    """The Jupyter server of `make instructor`, on the course."""
    settings = ROOT / "tools" / "lab" / "instructor"
    with jupyterlab(course.root.parent, course.root, settings, tmp_path, PYTHONPATH=str(ROOT)) as address:
        yield address


def press(server, assignment, student):
    """What the button *Autograde* of the formgrader sends, and what comes back."""
    url = f"{server}/formgrader/api/submission/{assignment}/{student}/autograde"
    request = urllib.request.Request(url, method="POST", headers={"Authorization": f"token {TOKEN}"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def test_the_button_of_the_formgrader_grades_in_the_sandbox(course, hand_in, server):
    hand_in("emmy")
    hand_in("spy-too", my_linear=SPY)
    for student in ("emmy", "spy-too"):
        answer = press(server, NAME, student)
        assert answer["success"], answer
    assert marks(course, "emmy") == FULL
    assert marks(course, "spy-too") == FULL | {"my_linear": 0}
    graded = nbformat.read(course.autograded / "spy-too" / NAME / f"{NAME}.ipynb", as_version=4)
    (cell,) = (cell for cell in graded.cells if cell.source == SPY)
    assert "modules of the grader: []" in cell.outputs[0].text
