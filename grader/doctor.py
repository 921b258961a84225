"""What this machine offers for grading, and what the grader will do with it."""

from __future__ import annotations

import importlib.metadata
import platform
import resource
import shutil
from pathlib import Path

from d2lblocks.tables import Table
from grader import jail
from grader.class_run import default_jobs
from grader.jailed import confine


def examine(database: str, root: Path) -> tuple[Table, str]:
    """Look at this machine.

    Args:
        database: the gradebook's address.
        root: the course's folder.

    Returns:
        What was found; and why students' code cannot be isolated, empty if it can.
    """
    problem = jail.why_not()
    walls = "" if problem else jail.try_walls()
    program = jail.bubblewrap()
    free = shutil.disk_usage(root).free / 2**30
    rows = [
        ["system", f"{platform.system()} {platform.release()}", "Linux isolates; elsewhere `--no-isolation` only"],
        ["bubblewrap", str(program or "missing"), problem or "the jail around everything: no network, no files"],
        [
            "walls",
            "yes" if not (problem or walls) else "no",
            walls or problem or "a world of its own for each submission",
        ],
        ["memory", f"{confine.MOST_MEMORY / 2**30:g} GB", "for each process of a submission, at most"],
        [
            "open files",
            str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            f"{confine.MOST_OPEN_FILES} for a submission",
        ],
        ["cores", str(default_jobs()), "so many submissions at a time, unless --jobs says otherwise"],
        ["disk", f"{free:.0f} GB free", "for graded notebooks and the gradebook"],
        *([name, _version(name), ""] for name in ("torch", "nbgrader", "jupyterlab", "ipython")),
        ["gradebook", database, ""],
    ]
    return Table(["what", "found", "used for"], rows), problem or walls


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
