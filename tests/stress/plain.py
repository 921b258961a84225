"""nbgrader as it comes: to compare with."""

from __future__ import annotations

from pathlib import Path

# The settings of nbgrader's `Autograde` that put the engine into it.
OURS = ("sanitize_preprocessors", "autograde_preprocessors")
LINES = f"""
for name in {OURS}:
    c.Autograde.pop(name)
"""


def make_plain(course: Path) -> None:
    """Have a course graded with nbgrader's own repair and execution again, without a sandbox.

    Args:
        course: the folder with `nbgrader_config.py`, a copy that is thrown away.
    """
    with (course / "nbgrader_config.py").open("a", encoding="utf-8") as config:
        config.write(LINES)
