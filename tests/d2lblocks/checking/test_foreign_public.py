"""A `public.json` from a stranger: it runs no program, imports nothing, and puts no link or tag into a page."""

import copy
import json
import os
from random import Random

import pytest
from torch import nn

from d2lblocks import check
from d2lblocks.checking.case import Case, build
from d2lblocks.checking.expressions import refuse_unsafe
from d2lblocks.checking.public import MAX_FILE_BYTES, Public, read_public, write_public
from grader.authoring.exercise import assignments
from tests import ROOT

RELEASED = ROOT / "exercises" / "custom_layers" / "public.json"


class Centered(nn.Module):
    def forward(self, X):
        return X - X.mean()


# What a stranger would like to run; each would leave the file `ran`, or lead to what does.
PROGRAMS = [
    "open('ran', 'w')",
    "__import__('os').system('touch ran')",
    "eval('1')",
    "exec('1', {})",
    "torch.load('ran')",
    "torch.save([], 'ran')",
    "torch.hub.load('a/b', 'c')",
    "torch.from_file('ran', True, 9)",
    "torch.os.system('touch ran')",
    "torch.utils.cpp_extension.load('ran', ['ran.cpp'])",
    "torch.ops.load_library('ran.so')",
    "torch.compile(answer)",
    "nn.Linear(1, 1).compile()",
    "nn.modules.module.torch.os",
    "F.warnings.sys",
    "F.importlib.import_module('os')",
    "torch.ones(1).numpy().tofile('ran')",
    "getattr(torch.ones(1), 'numpy')().tofile('ran')",
    "torch.ones(1).untyped_storage().from_file('ran', True, 9)",
    "torch",
    "(lambda t: t.os.system('touch ran'))(torch)",
    "(lambda t=torch: t.os)()",
    "nn.Linear.forward.__globals__",
    "answer.__init__.__globals__['__builtins__']",
    "getattr(answer, '__init__')",
    "getattr(answer, '__in' + 'it__')",
    "getattr(*[answer, '__init__'], 'a')",
    "getattr(answer, *['__init__'])",
    "list(map(getattr, [answer], ['__init__']))",
    "sorted([answer], key=lambda getattr: 1)",
    "[(lambda eval: 0), eval('1')]",
    "[open := 1, open('ran')]",
    "(answer := 1)",
    "(torch := answer)",
    "__builtins__",
    "__name__",
    "(x for x in [1]).gi_frame.f_builtins",
    "().__class__.__base__.__subclasses__()",
    "type(answer).__mro__[-1].__subclasses__()",
    "print('ran', file=open('ran', 'w'))",
    "globals()",
    "vars(answer)",
    "setattr(answer, 'forward', 1)",
    "import os\nos.system('touch ran')",
    "from os import system\nsystem('touch ran')",
    "nn.Linear.forward = answer\nanswer()",
    "[nn.Linear for nn.Linear in [answer]]",
    "class A(nn.Module): pass\nA()",
    "try:\n    answer()\nexcept:\n    pass\nanswer()",
    "try:\n    answer()\nexcept AttributeError as e:\n    e.obj\nanswer()",
    "match answer:\n    case object(gi_frame=f): pass\nanswer()",
    "async def f(): await answer()\nf()",
    "10 ** 10 ** 10",
    "9 << 9 ** 9",
    "breakpoint()",
    "input()",
    "math.sqrt.__self__",
    "math.__loader__",
    "f'{answer.__init__.__globals__}'",
    "answer(",
    "x = 1",
    "",
    "answer(" + "(" * 5_000,
    "answer(" + "0," * 20_000 + ")",
    "-" * 9_000 + "1",
    "answer()\0",
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program[:40])
def test_a_program_is_refused(program):
    with pytest.raises(ValueError, match=r"allowed|may|module|no Python|no expression|characters") as caught:
        refuse_unsafe(program)
    assert "\n" not in str(caught.value)


def test_every_released_build_is_allowed():
    for assignment in assignments(ROOT / "solutions"):
        for task in assignment.exercises.values():
            for case in task.public:
                refuse_unsafe(case.build)
            assert task.secret(Random(1))  # those never leave the instructor's machine


def test_statements_may_stand_before_the_expression():
    case = Case("a", "layer = answer(left := nn.Linear(2, 3))\n\n\ndef trial(X):\n    return layer(X)\n\n\ntrial")
    refuse_unsafe(case.build)
    built = build(nn.Sequential, case)
    assert built.module.__name__ == "trial"
    assert [*built.parts] == ["left"]  # what an assignment binds is no part


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Writes the released file with one thing changed, and gives what `check` says with it."""
    monkeypatch.chdir(tmp_path)
    form = json.loads(RELEASED.read_text(encoding="utf-8"))
    own = {"centered_layer": form["exercises"]["centered_layer"]}

    def write(change):
        changed = copy.deepcopy({"exercises": own, "by_hand": {"essay": 4}})
        change(changed)
        (tmp_path / "public.json").write_text(json.dumps(changed), encoding="utf-8")
        report = check("centered_layer", Centered)
        assert not (tmp_path / "ran").exists()
        return report

    return write


def changed(*path, to):
    """A change of the exercise's form."""

    def change(form):
        form = form["exercises"]["centered_layer"]
        for key in path[:-1]:
            form = form[key]
        form[path[-1]] = to

    return change


def test_the_released_file_is_accepted(foreign):
    assert foreign(lambda form: None).passed
    assert foreign(changed("book", to="https://example.org:8000/~ada/course/book/")).passed


def digest(to):
    """Another digest of a known mistake in one case."""
    return changed("known", 0, "digests", to={"values": [to]})


REFUSED = {
    "a program": (changed("cases", 0, "build", to="__import__('os').system('touch ran')"), "`__import__` is not"),
    "a module": (changed("imports", to=["antigravity"]), "'antigravity' is not one of torch._dynamo"),
    "a module of the folder": (changed("imports", to=["ran"]), "'ran' is not one of"),
    "a script as the book": (changed("book", to="javascript:alert(1)//"), "book may not be 'javascript:"),
    "http": (changed("book", to="http://example.org/"), "book may not be"),
    "quotes": (changed("book", to='https://example.org/"onclick="alert(1)'), "book may not be"),
    "a script as a place": (changed("known", 0, "see", to="javascript:alert(1).html"), "see may not be"),
    "another host": (changed("known", 0, "see", to="//example.org/x.html"), "see may not be"),
    "a folder above": (changed("known", 0, "see", to="../../x.html"), "see may not be"),
    "a mistake's id": (changed("known", 0, "id", to='"><script>'), "id may not be"),
    "what is defined": (changed("defines", to="A; B"), "defines may not be"),
    "a terminal's command": (changed("checks", 0, "title", to="\x1b[2J"), "a control character"),
    "reordered text": (changed("known", 0, "message", to="a\u202eb"), "a control character"),
    "a long text": (changed("checks", 0, "title", to="x" * 10**6), "a text of 1,000,000 characters"),
    "a number for a text": (changed("checks", 0, "title", to=1), "title is a int"),
    "a text for a number": (changed("checks", 0, "points", to="many"), "points is a str"),
    "no number": (changed("checks", 0, "points", to=float("nan")), "points is nan"),
    "too many points": (changed("checks", 0, "points", to=1e300), "points is 1e+300"),
    "points by hand": (lambda form: form.update(by_hand={"essay": "many"}), "essay is a str"),
    "a probe": (changed("checks", 0, "probe", to="system"), "there is no probe 'system'"),
    "an option": (changed("checks", 0, "options", to={"answer": 1}), "has no option 'answer'"),
    "an option's size": (
        lambda form: form["exercises"]["centered_layer"]["checks"][0].update(
            probe="growth", options={"times": 10**9}
        ),
        "times may not be 1000000000",
    ),
    "a dtype": (changed("cases", 0, "dtype", to="hub"), "dtype may not be 'hub'"),
    "a seed": (changed("cases", 0, "seed", to=10**30), "seed is too large"),
    "too few observations": (changed("checks", 0, "expected", to=[]), "has 0 observations of"),
    "no observation": (changed("checks", 0, "expected", 0, to=[1]), "damaged"),
    "hints": (changed("checks", 0, "hints", to=[]), "hints is a list"),
    "a hint": (changed("checks", 0, "hints", to={"output: colour": "x"}), "names no kind of difference"),
    "digests": (changed("known", 0, "digests", to=[]), "digests is a list"),
    "digests of a check": (changed("known", 0, "digests", to={"values": {}}), "values is a dict"),
    "too many digests": (changed("known", 0, "digests", to={"values": [{}] * 99}), "has more digests than cases"),
    "a digest": (changed("known", 0, "digests", to={"values": [[]]}), "a digest is no dict"),
    "the digest of a value": (digest({"output": "abcdefgh"}), "the digest of a value is no list"),
    "an empty digest": (digest({"output": []}), "the digest of a value is no list"),
    "a long digest": (digest({"output": ["abcdefgh", *[1.0] * 10**4]}), "or of impossible length"),
    "a structure": (digest({"output": ["<script>"]}), "the digest of a value has no structure"),
    "a text in a digest": (digest({"output": ["abcdefgh", "1"]}), "something else than numbers"),
    "nan in a digest": (digest({"output": ["abcdefgh", float("nan")]}), "something else than numbers"),
    "a whole number in a digest": (digest({"output": ["abcdefgh", 10**400]}), "something else than numbers"),
    "cases": (changed("cases", to={}), "cases is a dict"),
    "a case": (changed("cases", 0, to=None), "build is missing"),
    "exercises": (lambda form: form.update(exercises=[1]), "exercises is a list"),
    "nothing": (lambda form: form.clear(), "exercises is missing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_release_holds_is_refused_in_one_line(name, foreign):
    change, words = REFUSED[name]
    report = foreign(change)
    assert words in report.problem
    assert "\n" not in report.problem
    assert len(report.problem) < 600
    assert report.problem.startswith("public.json ")
    assert report.problem.endswith("take a fresh copy of the assignment's folder from your instructor")


def large(path):
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)


FILES = {
    "larger than memory": (large, "more than 16 MiB"),
    "nested": (lambda path: path.write_text("[" * 10**6), "RecursionError"),
    "no text": (lambda path: path.write_bytes(bytes(range(256))), "codec"),
    "no JSON": (lambda path: path.write_text("{"), "Expecting"),
    "a list": (lambda path: path.write_text("[]"), "exercises is missing"),
    "a long number": (lambda path: path.write_text("1" * 10_000), "digits"),
    "a folder": (lambda path: path.mkdir(), "cannot be read"),
    "empty": (lambda path: path.touch(), "Expecting"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_release_is_one_line(name, tmp_path, monkeypatch):
    make, words = FILES[name]
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "public.json")
    for report in (check("centered_layer", Centered), check()):
        assert words in report.problem
        assert "\n" not in report.problem


def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "public.json")
    assert "public.json" in check("centered_layer", Centered).problem


def test_texts_of_a_file_are_text_in_a_page(foreign):
    def change(form):
        form = form["exercises"]["centered_layer"]
        tag = "<img src=x onerror=alert(1)>"
        for case in form["cases"]:
            case["label"] = tag
        for each in form["checks"]:
            each["title"] = tag
            each["hints"] = {"*": tag}
        for known in form["known"]:
            known["title"] = known["message"] = tag

    class BatchMean(nn.Module):
        def forward(self, X):
            return X - X.mean(0)

    foreign(change)
    report = check("centered_layer", BatchMean)
    assert report.known
    assert "<img" not in report._repr_html_() + check()._repr_html_()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"book": "http://example.org/book/"}, "book may not be 'http://example.org/book/'"),
        ({"imports": ("json",)}, "'json' is not one of torch._dynamo"),
        ({"cases": (Case("a file", "open('x')"),)}, "build of 'a file': `open` is not allowed, in line 1 of it"),
    ],
    ids=["book", "imports", "build"],
)
def test_a_release_is_not_written_that_would_be_refused(change, words):
    exercise = read_public(RELEASED).exercises["centered_layer"]
    for name, value in change.items():
        object.__setattr__(exercise, name, value)
    with pytest.raises(ValueError, match="centered_layer cannot be released") as caught:
        write_public(Public({"centered_layer": exercise}, {}))
    assert words in str(caught.value)
