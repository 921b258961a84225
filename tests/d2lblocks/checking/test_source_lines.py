"""The line that a message quotes is the student's own, as it stands in a cell or in a file beside the notebook."""

import importlib
import sys

import pytest
import torch
from ipykernel.compiler import XCachingCompiler
from IPython.core.compilerop import CachingCompiler

from d2lblocks.checking.case import Case
from d2lblocks.checking.runner import observe

X = (torch.ones(2, 3),)


def run_cells(*sources, compiler=None):
    """What the cells define, compiled as IPython does it."""
    compiler = compiler or CachingCompiler()
    names = {"__name__": "__main__"}
    for number, source in enumerate(sources):
        name = compiler.cache(source, number)
        exec(compiler(source, name, "exec"), names)
    return names


def quoted(answer, build="answer()", inputs=X):
    seen, _ = observe(answer, "values", Case("a batch of 2", build, inputs), 60)
    return seen["raised"]["line"]


@pytest.mark.parametrize("kind", [CachingCompiler, XCachingCompiler])
def test_a_line_of_a_cell(kind):
    names = run_cells("def answer():\n    return lambda X: X @ X  # no\n", compiler=kind())
    assert quoted(names["answer"]) == "return lambda X: X @ X  # no"


def test_a_line_in_the_middle_of_a_statement():
    source = "def answer():\n    return lambda X: torch.cat(\n        [X,\n         X[:, 7]],\n    )\n"
    assert quoted(run_cells("import torch", source)["answer"]) == "X[:, 7]],"


def test_a_cell_that_was_run_again():
    names = run_cells("def answer():\n    return lambda X: X @ X\n")
    run_cells("# a comment\n\n\ndef answer():\n    return lambda X: X\n")
    assert quoted(names["answer"]) == "return lambda X: X @ X"


# What ends in code that is not the student's: PyTorch's, the standard library's, ours, or made by a program.
@pytest.mark.parametrize(
    "line",
    [
        "return torch.nn.functional.linear(X, torch.ones(2, 2))",
        "return json.loads('{')",
        "return ops(lambda: torch.matmul(X, X))",
        "return torch.fx.symbolic_trace(Indexing())(X)",
        "return eval('X[:, 7]')",
        "return Pair(1, 2, 3)",
        "return torch.func.vmap(torch.linalg.cholesky)(X)",
    ],
)
def test_code_of_others_is_never_quoted(line):
    before = """import collections, json, torch, torch.fx
from d2lblocks import ops
Pair = collections.namedtuple("Pair", "one other")
class Indexing(torch.nn.Module):
    def forward(self, X):
        return X[:, 7]
"""
    names = run_cells(before, f"def answer():\n    def forward(X):\n        {line}\n    return forward\n")
    assert quoted(names["answer"]) == line


def test_the_trial_that_a_case_makes_is_never_quoted():
    names = run_cells("def answer():\n    return lambda X: X\n")
    assert quoted(names["answer"], "(lambda net: lambda X: [net(X), X[:, 7]])(answer())") == ""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module beside the notebook."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(source, name="mine_beside_the_notebook"):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return write


def test_a_line_of_a_file_beside_the_notebook(mine):
    module = mine("def answer():\n    return lambda X: X @ X  # Σ\n")
    assert quoted(module.answer) == "return lambda X: X @ X  # Σ"


def test_a_file_that_was_changed_after_it_was_imported_is_not_quoted(mine):
    old = mine("def answer():\n    return lambda X: X @ X\n")
    mine("import torch\n\n\ndef answer():\n    return lambda X: X.sum()\n")
    assert quoted(old.answer) == ""
    names = run_cells("def answer():\n    return lambda X: old(X)\n")
    names["old"] = old.answer()
    assert quoted(names["answer"]) == "return lambda X: old(X)"


def test_a_file_elsewhere_is_not_quoted(mine, tmp_path, monkeypatch):
    module = mine("def answer():\n    return lambda X: X @ X\n")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    assert quoted(module.answer) == ""


@pytest.mark.parametrize("name", ["<string>", "", "a\0b", "x" * 5000, "/dev/zero", "/"])
def test_code_with_any_name_is_described(name):
    names = {"__name__": "__main__"}
    try:
        code = compile("def answer():\n    return lambda X: X @ X\n", name, "exec")
    except ValueError:  # newer Pythons refuse a null character
        return
    exec(code, names)
    assert quoted(names["answer"]) == ""
