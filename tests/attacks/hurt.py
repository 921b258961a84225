"""Submissions that harm whoever reads their outputs: the grader, its terminal, the instructor's browser."""

from __future__ import annotations

import base64
import struct
import zlib

import nbformat
from nbformat.notebooknode import NotebookNode

from tests.attacks.base import (
    BEHIND,
    CRASHED,
    MARK,
    STOPPED,
    Attack,
    called,
    my_linear,
    with_cells,
    with_pictures,
    with_text,
)


def pixel_bomb(size: int = 16_000) -> bytes:
    """A PNG of 256 million pixels in 42 KB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed, row = zlib.compressobj(9), bytes(1 + size // 8)
    data = b"".join(packed.compress(row) for _ in range(size)) + packed.flush()
    header = struct.pack(">IIBBBBB", size, size, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bombs(notebook: NotebookNode) -> None:
    """Pictures that fill the memory of a browser: twenty in a cell's output, twenty in a text cell."""
    bomb = base64.b64encode(pixel_bomb()).decode()
    show = (
        f"from IPython.display import display\nfor _ in range(20):\n    display({{'image/png': '{bomb}'}}, raw=True)"
    )
    text = nbformat.v4.new_markdown_cell(" ".join(f"![](attachment:{number}.png)" for number in range(20)))
    text.attachments = {f"{number}.png": {"image/png": bomb} for number in range(20)}
    notebook.cells += [text, nbformat.v4.new_code_cell(show)]


HURT = (
    Attack(
        "pickle_bomb",
        "returns an object that runs code when it is unpickled or copied",
        my_linear(
            "attempt()\nreturn Bomb()",
            """
class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit",)

    __reduce_ex__ = __deepcopy__ = lambda self, *args: (exec, ("raise SystemExit",))
""",
        ),
    ),
    Attack(
        "huge_observation", "returns a tensor of 40 GB", my_linear("attempt()\nreturn torch.empty(1).expand(10**10)")
    ),
    Attack("huge_string", "returns a string of 200 MB", my_linear("attempt()\nreturn 'x' * (2 * 10**8)")),
    Attack("huge_number", "returns a number of 100,000 digits", my_linear("attempt()\nreturn 10**100_000")),
    Attack("sparse", "returns a sparse tensor", my_linear("attempt()\nreturn (X @ self.weight).to_sparse()")),
    Attack("meta", "returns a tensor without numbers", my_linear("attempt()\nreturn (X @ self.weight).to('meta')")),
    Attack(
        "complex",
        "returns complex numbers for real ones",
        my_linear("attempt()\nreturn (X @ self.weight).to(torch.complex64)"),
    ),
    Attack(
        "wrong_dtype",
        "returns the right shape in another dtype",
        my_linear("attempt()\nreturn (X @ self.weight).half()"),
    ),
    Attack(
        "deep",
        "returns a list in a list in a list, 100,000 deep",
        my_linear("attempt()\nvalue = []\nfor _ in range(100_000):\n    value = [value]\nreturn value"),
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
            attempt()
            raise KeyboardInterrupt
        return super().__getattribute__(name)
""",
        shows=CRASHED,
    ),
    Attack(
        "traceback_bomb",
        "raises an exception whose message never ends",
        """\
class Loud(Exception):
    def __str__(self):
        while True:
            pass


attempt()
raise Loud
""",
        shows=STOPPED,
        waits=True,
    ),
    Attack(
        "long_name",
        "raises an exception, and is a class, whose names are a million characters long",
        my_linear(
            "attempt()\nraise Long('y' * 10**6)",
            "Long = type('L' * 10**6, (Exception,), {})\n",
        )
        + "\nattempt()\nMyLinear.__name__ = MyLinear.__qualname__ = 'M' * 10**6\nraise Long('y' * 10**6)\n",
    ),
    Attack(
        "surrogates",
        "has half a character in its source, its output and its errors",
        my_linear(
            "attempt()\nraise ValueError('half: \\ud800' + chr(0xDFFF))",
            "print('\\ud800', chr(0xDFFF))  # \ud800 \udfff",
        ),
    ),
    Attack(
        "escapes",
        "sends commands to the marker's terminal and programs to the browser",
        my_linear(
            "attempt()\nprint('\\x1b[2J\\x1b]0;owned\\x07<script>alert(1)</script>')\n"
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
import itertools
import d2lblocks.checking.runner as observing

data = itertools.cycle(["AAAAAA==", ""])
shapes = itertools.cycle([{}, "", [2**22] * 7 + [0], [[]], None, [-1], [1.0]])


def forge(value):
    attempt()
    tensor = {"dtype": "float32", "shape": next(shapes), "data": next(data)}
    return {"dict": {"kind": "nn.Module", "output": {"tensor": tensor}}}


replace(observing, "encode", forge)
""",
        ),
        costs=BEHIND,
        shows="It gave a tensor of impossible shape",
    ),
    Attack(
        "big_words",
        "forges observations whose names and types are megabytes long",
        my_linear(
            "return X",
            """
import d2lblocks.checking.runner as observing


def forge(value):
    attempt()
    raised = {"type": {"dict": {"t" * 10**6: [1]}}, "bases": [[], {"dict": {}}], "message": 1, "line": None}
    return {"dict": {"k" * 10**7: 1, "raised": {"dict": raised}}}


replace(observing, "encode", forge)
""",
        ),
        costs=BEHIND,
        shows="far more than an answer can need",
    ),
    Attack(
        "forged_description",
        "forges the description of its answer, with a type whose name is megabytes long",
        my_linear(
            "return X",
            """
import sys
import d2lblocks.checking.pipeline as pipeline

described = {"type": attempt() + "t" * 10**7, "is_callable": "x" * 10**6, "is_module": 0}
for module in (pipeline, sys.modules.get("grader.sandbox.inside.worker", pipeline)):
    replace(module, "describe", lambda answer: described)
""",
        ),
        costs=BEHIND,
        shows=f"this is a {MARK}",
    ),
    Attack(
        "fat_observations",
        "forges observations of 15 MB, which take 60 MB each where they are read",
        my_linear(
            "return X",
            """
import sys

attempt()
observing = sys.modules.get("grader.sandbox.inside.worker") and sys.modules["d2lblocks.checking.runner"]
if observing:
    fat = {"dict": {"output": [["x" * 1900 + "\\N{GRINNING FACE}"] * 1875] * 4}}
    encode, forged = observing.encode, iter([fat] * 20)
    observing.encode = lambda value, *depth: next(forged, None) or encode(value, *depth)
""",
        ),
        costs=BEHIND,
        shows="far more than an answer can need",
    ),
    Attack(
        "fat_outputs",
        "forges outputs of 15 MB in each cell, which take 60 MB where they are read",
        my_linear(
            "return X @ self.weight",
            """
import sys

attempt()
shell = sys.modules.get("grader.sandbox.inside.shell")
if shell:
    fat = {"output_type": "stream", "name": "stdout", "text": "x" * 99_000 + "\\N{GRINNING FACE}"}
    shell.Outputs.finished = lambda self: [fat] * 150
""",
        ),
        shows="more characters; they were not kept",
    ),
    Attack(
        "odd_answers",
        "forges answers of every wrong type",
        my_linear(
            "return X",
            """
import itertools
import sys
import d2lblocks.checking.runner as observing

wrong = [None, [], {}, 0, 1e999, "x", {"dict": []}, {"dict": {"raised": None}}]
wrong += [{"dict": {"raised": {"dict": {}}}}]
wrong += [{"dict": {"output": {"float": "nan"}}}, {"dict": {"output": [[[[[[[[[[1]]]]]]]]]]}}]
wrong += [{"dict": {"raised": {"dict": {"type": {"tensor": {"dtype": "bool", "shape": [1], "data": "AQ=="}}}}}}]
wrong += [{"dict": {"output": {"tensor": {"dtype": "bool", "shape": [1], "data": "/w=="}}}}]
turn = itertools.cycle(wrong)
replace(observing, "encode", lambda value: attempt() and next(turn))
shown = [{"output_type": kind, "name": "stdout", "text": [1], "data": {"text/plain": {}, "image/png": ["x"]}}
         for kind in ("stream", "error", "execute_result", "display_data", "x", None)]
if "grader.sandbox.inside.shell" in sys.modules:
    outputs = sys.modules["grader.sandbox.inside.shell"].Outputs
    replace(outputs, "finished", lambda self: [*shown, 1, None, [], "x"])
""",
        ),
        costs=BEHIND,
    ),
    Attack(
        "text_cell",
        "writes programs and endless brackets into a text cell",
        notebook=with_text("<script>alert(1)</script>\n\n" + "[" * 20_000 + "*a " * 5_000 + "> " * 3_000),
        most=8,
        shows="*a *a *a",
    ),
    Attack(
        "pixel_bomb",
        "shows and pastes pictures of 16,000 × 16,000 pixels",
        notebook=bombs,
        most=8,
        shows="a picture is not shown: it has 16,000 × 16,000 pixels",
    ),
    Attack(
        "reordered_text",
        "hides what its code does behind characters that reorder the line",
        my_linear("return X @ self.weight  # \u202e\u2066relu\u2069\u2066"),
        says="In the cell 'my_linear', characters that cannot be seen",
    ),
    Attack(
        "far_right",
        "writes code 3,000 columns to the right",
        my_linear("return X @ self.weight" + " " * 3000 + "; import os"),
        says="goes on at column 3,031, behind 3,000 blanks",
    ),
    Attack(
        "begin_forest",
        "opens 21,000 formulas in a text cell and closes none of them",
        notebook=with_text("\\begin{a}" * 21_000),
        most=8,
        shows="they are in the submission",
    ),
    Attack(
        "plus_forest",
        "hands in an expression of 190,000 characters",
        notebook=with_cells("a = 1\nif a == 2:\n    " + "a+" * 95_000 + "a\nprint('it', 'ran')", behind="setup"),
        most=8,
        shows="maximum recursion depth exceeded during compilation",
    ),
    Attack(
        "picture_forest",
        "shows one picture of 4 MB a thousand times in a text cell",
        notebook=with_pictures("A" * 4_000_000, 1000),
        most=8,
        shows="attachment:",
    ),
    Attack(
        "terminal_name",
        "has a notebook whose name is a command to the terminal",
        folder=called("x\x1b[2J\n8 of 8 \u202e.ipynb"),
        most=8,
        says="was graded as",
    ),
    Attack(
        "big_output",
        "prints 50 MB on one line and a million lines",
        "attempt()\nprint('x' * 50_000_000)\nfor number in range(1_000_000):\n    print(number)\n",
    ),
    Attack(
        "big_figure",
        "shows a picture of 100 MB, and 5,000 small ones",
        """\
from IPython.display import Image, display

attempt()
display(Image(data=bytes(100_000_000), format="png"))
for _ in range(5000):
    display(Image(data=bytes(1000), format="png"))
""",
    ),
)
