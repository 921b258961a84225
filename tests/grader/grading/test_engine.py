"""The engine and the messages of its workers, part by part. What submissions do to them is in test_attacks.py."""

import ast
import contextlib
import errno
import html
import json
import platform
import re
import resource
import socket
import struct

import nbformat
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbconvert import HTMLExporter

from grader.authoring.exercise import load
from grader.authoring.fill_in import fill_in, solution_cells
from grader.grading import fingerprint
from grader.grading.job import GradingJob, Submission
from grader.grading.submission_grader import SubmissionGrader
from grader.sandbox.inside import protocol, seccomp
from grader.sandbox.zygote import WorkerSpec
from grader.submission.find import find_notebook
from grader.submission.repair import repair
from grader.submission.sanitize import sanitize_text
from tests import ROOT
from tests.attacks import POINTS
from tests.isolation import isolation_problem

NAME = "custom_layers"
SOLUTIONS, RELEASE = ROOT / "solutions" / NAME, ROOT / "exercises" / NAME
WHY_NOT = isolation_problem()
isolated = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")


@pytest.fixture(scope="module")
def release():
    return nbformat.read(RELEASE / f"{NAME}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def right():
    return {name: task.worked for name, task in load(SOLUTIONS).exercises.items()}


@pytest.fixture(scope="module")
def grader():
    made = SubmissionGrader(GradingJob(SOLUTIONS.parent, RELEASE.parent, seed=11, isolated=not WHY_NOT))
    made.zygote.start()
    yield made
    made.zygote.stop()


def grade(grader, student, folder):
    return grader.grade(Submission(student, NAME, folder))


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


def test_a_sandbox_that_is_lost_is_the_graders_fault_and_is_tried_again(grader, release, right, hand_in):
    folder = hand_in(fill_in(release, right))
    grader.zygote._process.kill()
    grader.zygote._process.wait()
    assert marks(grade(grader, "ada", folder)) == POINTS


def test_pictures_are_kept_and_programs_for_the_markers_browser_are_not(grader, release, right, hand_in):
    source = """%matplotlib inline
import matplotlib.pyplot as plt
from IPython.display import HTML, Javascript, display
display(HTML("<script>alert(1)</script>"), Javascript("alert(1)"))
_ = plt.plot([1, 2])
"""
    notebook = fill_in(release, right)
    notebook.cells.insert(3, nbformat.v4.new_code_cell(source))
    graded = notebook_of(grade(grader, "ada", hand_in(notebook)))
    (cell,) = (cell for cell in graded.cells if cell.source == source)
    kinds = [set(output.data) for output in cell.outputs if "data" in output]
    assert {"image/png", "text/plain"} in kinds
    assert all(kind <= {"text/plain", "image/png"} for kind in kinds)
    assert all("alert(1)" not in str(output) for output in cell.outputs)


def test_the_same_submission_and_seed_give_the_same_marks_and_outputs(grader, release, right, hand_in):
    notebook = fill_in(release, right)
    notebook.cells.insert(3, nbformat.v4.new_code_cell("torch.rand(3)"))
    folder = hand_in(notebook)
    one, other = grade(grader, "ada", folder), grade(grader, "ada", folder)
    assert one.entry == other.entry


# --- messages -----------------------------------------------------------------------------------------------------


def exchange(data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        return protocol.receive(ours)


def test_a_message_arrives_as_it_was_sent():
    message = {"do": "run", "source": "π = 3\n", "seconds": 1.5, "more": [None, True, {"a": []}]}
    assert exchange(protocol.pack(message)) == message


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
    with pytest.raises(protocol.ProtocolError):
        exchange(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64))
def test_whatever_arrives_is_a_message_or_refused(data):
    with contextlib.suppress(protocol.ProtocolError):
        assert isinstance(exchange(struct.pack("!I", len(data)) + data), dict)


def test_a_message_that_is_too_long_is_not_sent(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_BYTES", 10)
    with pytest.raises(protocol.ProtocolError):
        protocol.pack({"text": "x" * 20})


def test_repair_gives_the_release_back_when_nothing_was_done(release):
    repaired = repair(release, release)
    assert [cell.source for cell in repaired.notebook.cells] == [cell.source for cell in release.cells]
    assert repaired.notes == ()
    assert json.loads(nbformat.writes(repaired.notebook))["nbformat"] == 4
    assert solution_cells(repaired.notebook).keys() == solution_cells(release).keys()


@isolated
def test_system_calls_are_refused_and_others_are_not(grader):
    numbers = seccomp.refused()
    if not numbers:
        pytest.skip(f"no numbers of system calls are known for {platform.machine()}")
    channel = grader.zygote.start_worker(WorkerSpec())
    source = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"[libc.syscall(n, 0, 0, 0, 0) for n in {sorted(numbers.values())}], ctypes.get_errno(), os.getpid()"
    )
    assert _said(grader.zygote, channel, source) == ([-1] * len(numbers), errno.EPERM, 1)
    source = """
import errno, fcntl, os, pty, signal, socket, subprocess, sys, threading, torch

def refused(what):
    try:
        what()
    except OSError as error:
        return errno.errorcode[error.errno]

(
    refused(lambda: fcntl.fcntl(os.open(torch.__file__, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_WRLCK)),
    refused(lambda: socket.socket(40, socket.SOCK_STREAM)),  # of a virtual machine and its host
    libc.syscall(435, 0, 0),
    errno.errorcode[ctypes.get_errno()],
    subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode != 0,
    # What answers may well do:
    refused(lambda: socket.socket()),
    subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True).stdout,
    refused(lambda: signal.pthread_kill(threading.main_thread().ident, 0)),
    [os.close(end) for end in pty.openpty()],
)
"""
    expected = ("EPERM", "EAFNOSUPPORT", -1, "ENOSYS", True, None, b"1\n", None, [None, None])
    assert _said(grader.zygote, channel, source) == expected
    grader.zygote.end_worker(channel)


def _said(zygote, channel, source):
    protocol.send(channel, {"do": "run", "source": source, "seconds": 300})
    (output,) = protocol.receive(channel)["outputs"]
    assert output["output_type"] == "execute_result", output
    return ast.literal_eval(output["data"]["text/plain"])


@isolated
def test_submissions_of_forked_zygotes_do_not_reach_each_other(grader):
    """They run at the same time and in the same sandbox."""
    first, second = grader.zygote.fork(), grader.zygote.fork()
    one, other = first.start_worker(WorkerSpec()), second.start_worker(WorkerSpec())
    try:
        _said(first, one, "import os\nterminal = os.openpty()\nos.ttyname(terminal[1])")
        source = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
before = os.listdir("/dev/pts")
os.kill(0, signal.SIGTERM)
os.setpriority(os.PRIO_PGRP, 0, 19)
os.setpriority(os.PRIO_USER, 0, 19)
before
"""
        assert _said(second, other, source) == ["ptmx"]
        assert _said(first, one, "os.getpriority(os.PRIO_PROCESS, 0), os.getpid()") == (0, 1)
        ours = psutil.Process().children(recursive=True)
        assert {each.nice() for each in ours if each.name() in ("zygote", "bwrap")} == {0}
    finally:
        for zygote, channel in ((first, one), (second, other)):
            zygote.end_worker(channel)
            zygote.stop()


@isolated
def test_who_kills_a_submission_from_outside_is_not_the_student(grader):
    """Its end of the channel is closed before it is gone, which takes a while with all that it has started."""
    ours = psutil.Process()
    source = "import subprocess\nfor _ in range(30):\n    subprocess.Popen(['sleep', '60'])"
    for _ in range(10):
        channel = grader.zygote.start_worker(WorkerSpec())
        protocol.send(channel, {"do": "run", "source": source, "seconds": 300})
        assert protocol.receive(channel)["raised"] is None
        (submission,) = (each for each in ours.children(recursive=True) if each.name() == "submission")
        submission.kill()
        with pytest.raises(protocol.ProtocolError):
            protocol.receive(channel)
        assert grader.zygote.end_worker(channel, closed=True) is protocol.Ending.KILLED


def shown(*cells):
    """As nbgrader's feedback and its formgrader show cells."""
    return HTMLExporter(template_name="basic").from_notebook_node(nbformat.v4.new_notebook(cells=[*cells]))[0]


def is_alive(page):
    return re.search(r"<(script|img)|(href|src)=.?\s*(\w*script|data)\s*:", page, re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    [
        "1 < 2 & 3, `a<b`, $x<y$ <script>alert(1)</script> <img src=x onerror=alert(1)>",
        "[here](javascript:alert(1)) [or](JavaScript :alert(1)) [or](&#106;avascript:alert(1))",
        '<a href="data:text/html,x">',
        r"[an escaped colon](javascript\:alert(1)) [another](vbscript\:x) [data](data\:text/html;base64,PHg+)",
        "[by reference][r]\n\n[r]: javascript\\:alert(1)",
        "[in brackets](<javascript\\:alert(1)>) [a tab](<javas\tcript:alert(1)>) <javascript:alert(1)>",
        "![seen](http://example.org/seen.png) ![out](/logout) ![by reference][r]\n\n[r]: /logout",
        "![not in the notebook](attachment:drawing.png)",
    ],
)
def test_what_a_browser_would_run_or_call_is_broken_and_looks_the_same(text):
    safe = sanitize_text(text)
    assert safe.replace("\N{ZERO WIDTH SPACE}", "") == text
    assert not is_alive(shown(nbformat.v4.new_markdown_cell(safe)))


def test_what_is_no_program_can_still_be_read():
    page = shown(nbformat.v4.new_markdown_cell(sanitize_text("1 < 2 & 3 [there](https://pytorch.org)")))
    assert "1 &lt; 2 &amp; 3" in page
    assert 'href="https://pytorch.org"' in page


def test_a_tab_does_not_hide_a_program_in_tex():
    assert "javas\tcript:" not in sanitize_text("$\\href{javas\tcript:alert(1)}{w}$")


def test_a_pasted_picture_stays_and_another_kind_of_attachment_does_not(grader, release, right, hand_in):
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    pasted = nbformat.v4.new_markdown_cell("![mine](attachment:mine.png) ![other](attachment:other.svg)")
    pasted.attachments = {"mine.png": {"image/png": pixel}, "other.svg": {"image/svg+xml": "<svg onload='x'/>"}}
    notebook = fill_in(release, right)
    notebook.cells.append(pasted)
    graded = notebook_of(grade(grader, "ada", hand_in(notebook)))
    nbformat.validate(graded)
    assert graded.cells[-1].attachments == {"mine.png": {"image/png": pixel}}
    assert shown(graded.cells[-1]).count("<img") == 1


def test_a_files_name_is_a_name_and_nothing_else(grader, release, right, hand_in):
    name = "[a <b>report](javascript:alert(1)) `$x$` _y_ \n\n# z.ipynb"
    graded = notebook_of(grade(grader, "eve", hand_in(fill_in(release, right), "eve", name)))
    page = shown(graded.cells[0])
    assert "a &lt;b&gt;report" in page
    assert not re.search(r"<(a|b|code|em|h1)\b", page)
    assert " ".join(name.split()) in html.unescape(re.sub("<[^>]*>", "", page))


def test_a_notebook_nested_beyond_what_can_be_read_is_refused_in_a_line(grader, release, right, hand_in):
    for deep in (300, 600, 900, 100_000):
        nested = '{"x":' + '{"a":' * deep + "1" + "}" * deep + ","
        outcome = grade(grader, "ada", hand_in(nested + nbformat.writes(fill_in(release, right))[1:]))
        assert not outcome.ours
        assert outcome.entry or "nested" in outcome.problem or "recursion" in outcome.problem


def test_only_some_of_many_files_are_named_and_only_one_is_read(release, right, hand_in, monkeypatch):
    folder = hand_in(fill_in(release, right))
    for number in range(40):
        with (folder / f"{number:02}.ipynb").open("wb") as file:
            file.truncate(50 * 2**20)
    _, (note,) = find_notebook(folder, NAME)
    assert note.endswith("04.ipynb and 35 more.")
    job = GradingJob(SOLUTIONS.parent, RELEASE.parent, seed=1)
    read, content = [], fingerprint.content
    monkeypatch.setattr(fingerprint, "content", lambda path: read.append(path) or content(path))
    fingerprint.fingerprint(job, Submission("ada", NAME, folder))
    assert [path for path in read if path.parent == folder] == [folder / f"{NAME}.ipynb"]


@isolated
def test_who_lowers_its_own_limit_does_not_look_like_somebody_outside(grader, release, right, hand_in):
    source = """
import resource
for number in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):
    try:
        resource.setrlimit(number, (1, 1))
        print("set", number)
    except (OSError, ValueError):
        print("refused", number)
"""
    notebook = fill_in(release, right)
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    graded = notebook_of(grade(grader, "ada", hand_in(notebook)))
    assert graded.cells[-1].outputs[0].text == f"refused {resource.RLIMIT_CPU}\nset {resource.RLIMIT_NOFILE}\n"


def test_a_message_of_millions_of_values_is_refused_before_it_takes_memory():
    with pytest.raises(ValueError, match="more than"):
        protocol.parse("[" + "[]," * 10**6 + '"\\ud800"]')


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r'"\ud800"', "?"),
        (r'"\ud83d\ude00"', "\N{GRINNING FACE}"),
        (r'"\\ud800"', r"\ud800"),
        (r'"\\\ud800"', "\\?"),
        (r'"\udc00\ud83d\ude00\ud83d"', "?\N{GRINNING FACE}?"),
    ],
)
def test_a_lone_surrogate_becomes_a_question_mark(text, read):
    assert protocol.parse(text) == read
