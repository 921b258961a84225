"""A submission is graded again if a mark may change, and only then."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from grader.grading import fingerprint
from grader.grading.pool import GradingJob, Submission
from grader.sandbox import host
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
    monkeypatch.setattr(host, "ROOT", copied)
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


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("grader/sandbox/doctor.py", "return", "return None or"),
        ("grader/authoring/mistakes_page.py", "import", "import os\nimport"),
        ("grader/grading/engine.py", "MAX_WORKERS = 12", "# A comment.\nMAX_WORKERS  =  12"),
        ("grader/grading/engine.py", "Run a submission and judge it.", "Another docstring."),
        (SOLUTION, "from __future__", "# A comment.\nfrom __future__"),
        (SOLUTION, "The layers are in a Python list", "The layers are in a list of Python"),
        (SOLUTION, '"The layers in a Python list"', '"A list"'),
        (SOLUTION, '"Linear layers with ReLU between"', '"Another title"'),
        (SOLUTION, "    mistakes=MISTAKES,", "    mistakes=(),"),
        (SOLUTION, "MISTAKES = ", "MISTAKES = () and "),
        (f"exercises/{NAME}/public.json", '"message":"', '"message": "Look again. '),
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
        ("grader/grading/engine.py", "MAX_WORKERS = 12", "MAX_WORKERS = 13"),
        ("grader/submission/repair.py", "MAX_CELLS = 500", "MAX_CELLS = 5"),
        ("grader/gradebook/marks.py", "utils.determine_grade(cell)", "(0.0, 1.0)"),
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
    """Another reference, other cases, other points, one check less."""
    before = now()
    text = (copied / SOLUTION).read_text("utf-8")
    start = text.index("class MLP")
    forward = text[start:].split("def forward", 1)[1].split("return ", 1)[1].split("\n", 1)[0]
    edit(SOLUTION, forward, f"1 * {forward}")
    assert now() != before
    edit(SOLUTION, forward, forward)
    assert now() == before
    public = text.index("public=(")
    edit(SOLUTION, text[public : public + 8], "public=()[:1] + (")
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


def test_every_author_file_is_read_without_its_catalogue():
    """The catalogue is most of each file; what is left must not hold a mistake's message."""
    for path in sorted((ROOT / "solutions").glob("*/*.py")):
        kept = fingerprint._code(fingerprint._file(Path(path)), fingerprint._NAMES).decode()
        assert "Mistake" not in kept.replace("'Mistake'", ""), path
