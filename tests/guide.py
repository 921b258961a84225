"""The assignment that the guide for maintainers has one make, `warm_up`, written as the guide says."""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from tests import ROOT

GUIDE = (ROOT / "book" / "guides" / "maintainers.md").read_text(encoding="utf-8")
NAME = "warm_up"
(REFERENCE,) = re.findall(r":name: warm-up-reference\n\n(.*?)\n```", GUIDE, flags=re.S)
STUB, TEST = re.findall(r"```python\n(.*?)\n```", GUIDE, flags=re.S)[:2]


def write_example(solutions: Path) -> Path:
    """Make `warm_up` in a folder `solutions`, unless it is there; returns the assignment's folder."""
    made = solutions / NAME
    if made.exists():
        return made
    made.mkdir(parents=True)
    (made / "reference.py").write_text(f"{REFERENCE}\n", encoding="utf-8")

    def cell(source, name, **own):
        about = {"grade": False, "solution": False, "locked": True, "task": False, "schema_version": 3} | own
        return new_code_cell(source, metadata={"nbgrader": {"grade_id": name} | about})

    setup = "import torch\nfrom torch import nn\n\nfrom d2lblocks import check"
    cells = [
        cell(setup, "setup"),
        cell(STUB, "scale", solution=True, locked=False),
        cell(TEST, "test_scale", grade=True, points=3),
    ]
    nbformat.write(new_notebook(cells=cells), made / f"{NAME}.ipynb")
    return made
