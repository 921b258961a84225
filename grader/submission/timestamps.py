"""When something was handed in: `timestamp.txt`, which nbgrader's collectors write beside a notebook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nbgrader.utils import parse_utc

FILE = "timestamp.txt"
MAX_BYTES = 100


@dataclass(frozen=True)
class Timestamp:
    """When something was handed in, as far as that is known.

    Attributes:
        date: in UTC, without a time zone; None if it is not known.
        text: what the file says, if that is a date.
        problem: what is wrong with the file, in one sentence; empty if nothing is.
    """

    date: datetime | None = None
    text: str = ""
    problem: str = ""


def content(folder: Path) -> bytes | None:
    """The first bytes of a submission's `timestamp.txt`; None if there is none, empty if it is no file."""
    path = folder / FILE
    try:
        if path.is_symlink() or path.exists():
            if path.is_symlink() or not path.is_file():
                return b""
            with path.open("rb") as file:
                return file.read(MAX_BYTES)
    except OSError:
        return b""
    return None


def read(folder: Path) -> Timestamp:
    """When the submission in a folder was handed in."""
    said = content(folder)
    if said is None:
        return Timestamp()
    try:
        text = said.decode("utf-8-sig").strip()
        # nbgrader takes "+0200" behind a space for 200 seconds.
        date = parse_utc(re.sub(r" (?=[+-]\d\d:?\d\d$)", "", text))
    except (ValueError, OverflowError, TypeError):
        return Timestamp(problem=f"{FILE} does not say when it was handed in; it counts as handed in on time.")
    return Timestamp(date, text)
