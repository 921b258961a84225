"""Where a stored result comes from."""

from __future__ import annotations

import subprocess
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def origin(command: str) -> str:
    """One line for the head of a stored result: the command that made it, the date, and the commit.

    Args:
        command: as one types it.
    """
    ask = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"
    return f"{command}, {date.today():%d %B %Y}, commit {commit}"
