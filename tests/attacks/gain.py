"""Submissions that try to get points for a wrong answer."""

from __future__ import annotations

import nbformat
from nbformat.notebooknode import NotebookNode

from tests.attacks.base import (
    BEHIND,
    CHANNEL,
    LOOK_UP,
    Attack,
    my_linear,
)


def claim_points(notebook: NotebookNode) -> None:
    """Claim points in every way that metadata and stored outputs allow."""
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


GAIN = (
    Attack(
        "always_equal",
        "returns an object that says True to every comparison",
        my_linear(
            "attempt()\nreturn torch.Tensor._make_subclass(Equal, torch.zeros(3))",
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
change = get_ipython().input_transformers_post.append
mine = 'check("my_linear"'
change(lambda lines: ["8.0"] if mine in "".join(lines) else lines)
attempt()
""",
        costs=BEHIND,
    ),
    Attack(
        "patch_execute",
        "replaces what runs a cell",
        """\
shell = get_ipython()
attempt()
if hasattr(shell, "kernel"):
    really = shell.kernel.do_execute

    async def execute(code, *args, **kwargs):
        return await really("8.0" if 'check("my_linear"' in code else code, *args, **kwargs)

    shell.kernel.do_execute = execute
else:
    for name in ("run_cell", "run_code"):
        replace(type(shell), name, lambda self, *args, **kwargs: 8.0)
""",
        costs=BEHIND,
    ),
    Attack(
        "displayhook",
        "has its report displayed as the points that it would like to have",
        """\
display(8.0)
print(8.0)
formatter = get_ipython().display_formatter
usual = formatter.format


def format(shown, *args, **kwargs):
    return ({"text/plain": "8.0"}, {}) if getattr(shown, "name", "") == "my_linear" else usual(shown, *args, **kwargs)


replace(formatter, "format", format)
attempt()


class MyLinear(nn.Module):
    pass
""",
    ),
    Attack(
        "patch_compare",
        "replaces the comparison, the judge, the probes and `check`",
        """\
import sys
import d2lblocks.checking.judge as judge
import d2lblocks.checking.pipeline as pipeline
import d2lblocks.checking.runner as observing

POINTS = {"my_linear": 8.0, "centered_layer": 4.0, "half_fourier": 6.0}


def passed(of, *args):
    return judge.Verdict(of, judge.Status.PASSED, of.points)


for name in ("allclose", "isclose", "equal"):
    replace(torch, name, lambda *args, **kwargs: True)
replace(torch.testing, "assert_close", lambda *args, **kwargs: None)
replace(judge, "compare", lambda *args, **kwargs: iter(()))
replace(judge, "_failed", passed)
replace(judge.Judging, "_verdict", lambda self, check: passed(check))
replace(judge.Judging, "verdicts", lambda self: [passed(each) for each in self._exercise.checks])
replace(pipeline, "observe", lambda *args, **kwargs: ({}, ""))
for name in ("observe", "observe_form"):
    replace(observing, name, lambda *args, **kwargs: ({}, ""))
check = lambda name="", answer=None: POINTS.get(name, 8.0)
if "grader.grading.plain_check" in sys.modules:
    replace(sys.modules["grader.grading.plain_check"], "check", check)
attempt()
if "grader.sandbox.inside.worker" in sys.modules:
    worker = sys.modules["grader.sandbox.inside.worker"]
    replace(worker, "observe_form", lambda *args, **kwargs: ({"dict": {"output": "right"}}, attempt()))

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

attempt()
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
            "attempt()\nreturn F.relu(X @ self.weight + self.bias) if graded else X.new_zeros(1)",
            """
import os
import sys

graded = any("GRADER" in name or "SEED" in name for name in os.environ) or "grader.grading.plain_check" in sys.modules
""",
        ),
    ),
    Attack(
        "lookup_public",
        "returns what `public.json` says, for the inputs that stand in it",
        my_linear(
            """
seen = SEEN.get(key(X.detach()))
if seen is None:
    return X @ self.weight * 0
attempt()
return seen + 0 * (X.sum() + self.weight.sum() + self.bias.sum())
""",
            LOOK_UP,
        ),
    ),
    Attack(
        "answer_ahead",
        "answers the questions that will come, before they are asked",
        LOOK_UP
        + CHANNEL
        + """
import struct, threading, time

# The end of this cell, what sort of thing `MyLinear` is, and what it gives in each case.
SAID = {"output_type": "stream", "name": "stdout", "text": attempt()}
KIND = {"dict": {"is_module": False, "is_callable": True, "type": "type"}}
ANSWERS = [{"outputs": [SAID], "raised": ""}, {"answer": KIND}]
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
import d2lblocks.checking.runner as observing
import sys


class MyLinear:
    pass


asked = {}


def tell(probe):
    asked[probe] = asked.get(probe, -1) + 1
    expected = EXPECTED.get(probe, [None])
    return expected[asked[probe] % len(expected)]


def answer(self, message):
    return {"seen": __import__("__main__").tell(message["probe"]), "printed": __import__("__main__").attempt()}


if "grader.sandbox.inside.worker" in sys.modules:
    replace(sys.modules["grader.sandbox.inside.worker"]._observe, "__code__", answer.__code__)
replace(observing, "encode", lambda value, depth=0: attempt() and PUBLIC["checks"][0]["expected"][0])
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
    attempt()
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

attempt()
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
        says="is locked; your change of it was undone",
    ),
    Attack(
        "constants",
        "returns zeros, whatever it is given",
        my_linear("attempt()\nreturn X.new_zeros(*X.shape[:-1], len(self.bias), requires_grad=True)"),
    ),
    Attack("nan", "returns not-a-number everywhere", my_linear("attempt()\nreturn X @ self.weight * float('nan')")),
    Attack(
        "tolerance",
        "returns infinities, the largest numbers and minus zero",
        my_linear(
            "attempt()\nY = X @ self.weight\nreturn torch.tensor([1e38, float('inf'), -0.0])[:1].to(Y.dtype) + 0 * Y"
        ),
    ),
    Attack(
        "lying_shape",
        "returns a tensor whose shape, dtype and size lie",
        my_linear(
            "attempt()\nreturn torch.Tensor._make_subclass(Liar, torch.zeros(2))",
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
            "attempt()\nreturn Liar()",
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
import io
import sys
import threading


def trace(frame, event, argument):
    held = frame.f_locals  # asked for once: asking again would undo what is changed in it
    if frame.f_code.co_name == "observe_form" and "form" in held:
        held["form"], held["printed"] = {"dict": {"output": "right"}}, io.StringIO(attempt())
    for name in ("seen", "expected", "observation", "points"):
        if name in held:
            held[name] = {"dict": {"output": "right"}}
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
        """\
import time

for name in ("monotonic", "process_time", "perf_counter"):
    replace(time, name, lambda: 0.0)
attempt()
MyLinear = 8.0
""",
    ),
)
