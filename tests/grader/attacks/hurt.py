"""Submissions that want to hurt who reads what they give back: the grader, its terminal, the marker's browser."""

from __future__ import annotations

from tests.grader.attacks.base import (
    BEHIND,
    Attack,
    called,
    my_linear,
    with_cells,
    with_pictures,
    with_text,
)

HURT = (
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
    wrong = [None, [], {}, 0, 1e999, "x", {"dict": []}, {"dict": {"raised": None}}]
    wrong += [{"dict": {"raised": {"dict": {}}}}]
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
        "begin_forest",
        "opens 21,000 formulas in a text cell and closes none of them",
        notebook=with_text("\\begin{a}" * 21_000),
        most=8,
    ),
    Attack(
        "plus_forest",
        "hands in an expression of 190,000 characters",
        notebook=with_cells("a = 1\nif a == 2:\n    " + "a+" * 95_000 + "a\nprint('it', 'ran')", behind="setup"),
        most=8,
    ),
    Attack(
        "picture_forest",
        "shows one picture of 4 MB a thousand times in a text cell",
        notebook=with_pictures("A" * 4_000_000, 1000),
        most=8,
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
)
