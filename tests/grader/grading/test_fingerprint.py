"""A submission is graded again if a mark may change, and only then."""

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from grader.grading import fingerprint
from grader.grading.job import GradingJob, Submission
from tests import ROOT

NAME = "layers_and_blocks"
IGNORED = shutil.ignore_patterns("__pycache__", "submitted", "autograded", "feedback", "*.db", ".*")


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A course and the grader's own sources, to change something in them."""
    base = tmp_path_factory.mktemp("copied")
    for folder in ("grader", "d2lblocks", f"solutions/{NAME}", f"exercises/{NAME}"):
        shutil.copytree(ROOT / folder, base / folder, ignore=IGNORED)
    handed_in = base / "submitted" / "ada" / NAME
    handed_in.mkdir(parents=True)
    shutil.copy(base / "exercises" / NAME / f"{NAME}.ipynb", handed_in)
    return base


@pytest.fixture
def now(copied, monkeypatch):
    """What gives the fingerprint as it is now."""
    monkeypatch.setattr(fingerprint, "ROOT", copied)
    job = GradingJob(copied / "solutions", copied / "exercises", seed=1)

    def give(**more):
        submission = Submission("ada", NAME, copied / "submitted" / "ada" / NAME)
        return fingerprint.fingerprint(replace(job, **more), submission)

    return give


@pytest.fixture
def edit(copied):
    """What replaces some text in a file, until the end of the test."""
    before = {}

    def change(path, old, new):
        path = copied / path
        before.setdefault(path, path.read_text("utf-8"))
        assert old in before[path], f"{path} has changed: mend the test"
        path.write_text(before[path].replace(old, new, 1), "utf-8")

    yield change
    for path, text in before.items():
        path.write_text(text, "utf-8")


SOLUTION = f"solutions/{NAME}/mlp.py"
CATALOGUE = f"solutions/{NAME}/mlp.md"


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("grader/sandbox/doctor.py", "return", "return None or"),
        ("grader/authoring/mistakes_page.py", "import", "import os\nimport"),
        ("grader/sandbox/worker_client.py", "MAX_WORKERS = 12", "# A comment.\nMAX_WORKERS  =  12"),
        ("grader/grading/engine.py", "Run a submission and judge it.", "Another docstring."),
        (SOLUTION, "from __future__", "# A comment.\nfrom __future__"),
        (CATALOGUE, "The layers in a Python list", "A list"),
        (CATALOGUE, "- fails: `", "- fails: `no_such_check`, `"),
        (CATALOGUE, "# `MLP`", "No longer a catalogue"),
        (SOLUTION, '"Linear layers with ReLU between"', '"Another title"'),
        (SOLUTION, "hints={", 'hints={"*": "Another hint",'),
        (f"solutions/{NAME}/{NAME}.ipynb", "### BEGIN SOLUTION", "### BEGIN SOLUTION of the exercise"),
        (f"solutions/{NAME}/{NAME}.ipynb", "# Layers and blocks: exercises", "# Another statement"),
        (f"exercises/{NAME}/public.json", '"label":"', '"label":"once more: '),
        (f"exercises/{NAME}/{NAME}.ipynb", "# Layers and blocks: exercises", "# Another statement"),
    ],
)
def test_a_text_changes_no_mark(now, edit, path, old, new):
    before = now()
    edit(path, old, new)
    assert now() == before


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("grader/sandbox/worker_client.py", "MAX_WORKERS = 12", "MAX_WORKERS = 13"),
        ("grader/submission/read.py", "MAX_CELLS = 500", "MAX_CELLS = 5"),
        ("grader/grading/outcome.py", "utils.determine_grade(cell)", "(0.0, 1.0)"),
        ("grader/sandbox/inside/shell.py", "MAX_OUTPUTS = 200", "MAX_OUTPUTS = 20"),
        ("d2lblocks/checking/compare.py", "(1e-4, 1e-5)", "(1e-3, 1e-5)"),
        ("d2lblocks/checking/probes.py", "def ", "def more() -> None: ...\ndef "),
        ("d2lblocks/inspection.py", "def ", "def more() -> None: ...\ndef "),
        (SOLUTION, "range(", "range(1 + "),
        (
            SOLUTION,
            '"Linear layers with ReLU between",\n            2',
            '"Linear layers with ReLU between",\n            1',
        ),
        (f"exercises/{NAME}/{NAME}.ipynb", '"points": 8', '"points": 9'),
        (f"exercises/{NAME}/{NAME}.ipynb", "import torch", "import torch as torch"),
        (f"exercises/{NAME}/{NAME}.ipynb", "YOUR ANSWER HERE", "Your answer, please"),
        (f"submitted/ada/{NAME}/{NAME}.ipynb", "import math", "import math as math"),
    ],
)
def test_what_gives_marks_is_covered(now, edit, path, old, new):
    before = now()
    edit(path, old, new)
    assert now() != before


def test_each_part_of_an_exercise_is_covered(copied, now, edit):
    """Another reference, which is the worked solution; other cases."""
    before = now()
    notebook = f"solutions/{NAME}/{NAME}.ipynb"
    layer = "self.layers = nn.ModuleList(nn.Linear(n, m"
    edit(notebook, layer, f"{layer}, True")
    assert now() != before
    edit(notebook, layer, layer)
    assert now() == before
    edit(SOLUTION, "public=(", "public=()[:1] + (")
    assert now() != before


@pytest.mark.parametrize("package", fingerprint.PACKAGES)
def test_the_versions_of_what_code_runs_with_are_covered(now, monkeypatch, package):
    before, version = now(), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1" if name == package else version(name))
    assert now() != before


def test_the_version_of_python_is_covered(now, monkeypatch):
    before = now()
    monkeypatch.setattr(sys, "version_info", (sys.version_info[0], sys.version_info[1] + 1, 0))
    assert now() != before


def test_when_it_was_handed_in_is_covered(copied, now):
    before = now()
    (copied / "submitted" / "ada" / NAME / "timestamp.txt").write_text("2026-03-02 10:00:00 UTC", "utf-8")
    assert now() != before


def test_another_seed_and_what_editors_leave_change_nothing(copied, now):
    before = now()
    (copied / "solutions" / NAME / ".ipynb_checkpoints").mkdir()
    (copied / "solutions" / NAME / "mlp.py~").write_text("", "utf-8")
    assert now(seed=2) == before
    (copied / "solutions" / NAME / "data.csv").write_text("1", "utf-8")  # which the cases may be drawn from
    assert now() != before


def test_it_covers_the_modules_that_are_in_fact_imported():
    """Found by reading the sources; compared with what a Python has loaded that gives marks or runs answers."""
    given = "[name for name, module in sys.modules.items() if module]"
    source = f"import sys, json, {', '.join(fingerprint.ROOTS)}\nprint(json.dumps([{given}, len(sys.modules)]))"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True)
    modules, count = json.loads(done.stdout)
    assert len(modules) == count  # nobody was told that a module does not exist
    loaded = {name for name in modules if name.partition(".")[0] in ("grader", "d2lblocks")}
    assert set(fingerprint.sources()) == loaded
    assert "grader.sandbox.doctor" not in loaded


@pytest.mark.parametrize("path", sorted((ROOT / "solutions").glob("*/*.py")), ids=lambda path: path.stem)
def test_a_constant_that_only_hints_use_is_not_covered(path, tmp_path):
    """Many hints are constants at the top of an author's file."""
    changed = tmp_path / path.name
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    code = ast.unparse(fingerprint._Texts().visit(ast.parse(text)))
    hints = [
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and len(re.findall(rf"\b{node.targets[0].id}\b", code)) == 1
        and node.targets[0].id != "EXERCISE"
    ]
    for name in hints:
        text = text.replace(f"\n{name} = ", f"\n{name} = 1 and ")
    changed.write_text(text, "utf-8")
    assert fingerprint._code(fingerprint._file(changed)) == fingerprint._code(fingerprint._file(path))
