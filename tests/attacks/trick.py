"""Submissions that try to confuse the program that collects them."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat

from tests.attacks.base import (
    NAME,
    Attack,
    beside,
    instead,
)


def link_notebook(folder: Path) -> None:
    """The notebook is a link to a file of the instructor's."""
    (folder / f"{NAME}.ipynb").unlink()
    (folder / f"{NAME}.ipynb").symlink_to("../../../nbgrader_config.py")


def link_folder(folder: Path) -> None:
    """The whole submission is a link to that of the first student in the class."""
    (folder / f"{NAME}.ipynb").unlink()
    folder.rmdir()
    first = min(path for path in folder.parent.parent.iterdir() if path != folder.parent)
    folder.symlink_to(f"../{first.name}/{NAME}")


def path_tricks(folder: Path) -> None:
    """Names that lead elsewhere, links that lead elsewhere, and modules that hide the real ones."""
    (folder / "x%2f..%2f..%2fx.ipynb").write_text("{}", encoding="utf-8")
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
    """A notebook of 100 GB that uses no disk space, one that nobody may read, and a pipe that nobody writes to."""
    with (folder / "huge.ipynb").open("wb") as file:
        file.truncate(100 * 2**30)
    (folder / "closed.ipynb").write_text("{}", encoding="utf-8")
    (folder / "closed.ipynb").chmod(0)
    os.mkfifo(folder / "pipe.ipynb")


TRICK = (
    Attack(
        "path_tricks",
        "hands in links, names that lead upwards, and its own `torch.py`",
        folder=path_tricks,
        most=8,
        says="Also submitted, but not graded",
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
        "odd_files",
        "hands in a notebook of 100 GB, one that nobody may read, and a pipe",
        folder=odd_files,
        most=8,
        says="Also submitted, but not graded",
    ),
    Attack(
        "timestamp",
        "hands in a `timestamp.txt` that is no date",
        folder=beside(timestamp__txt="99999999999999999999-13-45 \x00"),
        most=8,
        says="timestamp.txt has no valid date",
    ),
    Attack(
        "linked_timestamp",
        "hands in a `timestamp.txt` that never ends",
        folder=lambda folder: (folder / "timestamp.txt").symlink_to("/dev/zero"),
        most=8,
        says="timestamp.txt has no valid date",
    ),
    Attack(
        "many_objects",
        "hands in 12 million empty objects",
        folder=instead(
            '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [' + "{}," * 12_000_000 + "{}]}"
        ),
        graded=False,
        says="it has more than 2,000,000 values",
    ),
    Attack(
        "many_cells",
        "hands in 450 cells that each wait as long as they may",
        notebook=lambda notebook: notebook.cells.extend(
            nbformat.v4.new_code_cell("import time\ntime.sleep(600)") for _ in range(450)
        ),
        most=8,
        shows="not run: the notebook had used up its",
        waits=True,
    ),
)
