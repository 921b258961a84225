"""What readers can download from the website: the package `d2lblocks`, and notebooks that run without a clone.

In:  the built site, and `html: {baseurl: …}` of `_config.yml`, the address that it will have.
Out: the wheel in the site's folder `files/`; a cell at the start of each notebook that installs it if it is missing.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "files"
_CELL = """\
# In a copy of the course this cell does nothing. Elsewhere it installs the course's package, if it is missing.
import importlib.util

if importlib.util.find_spec("d2lblocks") is None:
    {install}"""


def build_wheel(to: Path) -> Path:
    """Build the wheel of `d2lblocks` with the public cases of the course.

    Args:
        to: the folder for it; it is made if it is missing.

    Returns:
        The wheel.
    """
    # Imported here: it replaces Python's distutils, which no other part of the tools needs.
    from setuptools import build_meta

    to.mkdir(parents=True, exist_ok=True)
    with _copy_of_the_sources(), warnings.catch_warnings():
        # Each assignment's folder looks like a package to setuptools.
        warnings.filterwarnings("ignore", category=UserWarning)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return to / build_meta.build_wheel(str(to))


@contextlib.contextmanager
def _copy_of_the_sources() -> Iterator[None]:
    """Work in a copy of what the wheel is made of: setuptools leaves folders behind where it builds."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("d2lblocks", "exercises"):
            shutil.copytree(ROOT / name, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__", ".*"))
        for name in ("pyproject.toml", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def add_install_cell(notebook: Path, wheel: str, address: str) -> None:
    """Let a notebook begin with a cell that installs the package.

    Args:
        notebook: the file; it is changed.
        wheel: the name of the wheel's file.
        address: of the website; empty if it is not known. Then the wheel is looked for beside the notebook.
    """
    place = f"{address.rstrip('/')}/{FOLDER}/" if address else "./"
    install = f"%pip install --quiet {place}{wheel}"
    made = nbformat.read(notebook, as_version=4)
    cell = nbformat.v4.new_code_cell(_CELL.format(install=install), id="install-d2lblocks")
    made.cells.insert(0, cell)
    nbformat.write(made, notebook)


def write_downloads(site: Path) -> None:
    """Put the wheel into the built site, and the cell into its notebooks."""
    wheel = build_wheel(site / FOLDER)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    address = str((config.get("html") or {}).get("baseurl") or "")
    for notebook in sorted((site / "_sources").rglob("*.ipynb")):
        add_install_cell(notebook, wheel.name, address)
