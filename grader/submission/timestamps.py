"""When a notebook was submitted, as `timestamp.txt` says, which nbgrader's collectors write beside a notebook.

In: the folder of a submission. Out: a date in UTC, if there is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nbgrader.utils import parse_utc

FILE = "timestamp.txt"
MAX_BYTES = 100
NO_DATE = f"{FILE} has no valid date; the submission counts as on time."


@dataclass(frozen=True)
class Timestamp:
    """When a notebook was submitted, as far as that is known.

    Attributes:
        date: in UTC, without a time zone; None if it is not known.
        text: what the file says; None if there is no file or it has no date.
        problem: what is wrong with the file, in one sentence; None if nothing is.
    """

    date: datetime | None = None
    text: str | None = None
    problem: str | None = None


def content(folder: Path) -> bytes | None:
    """The first bytes of a submission's `timestamp.txt`; None if there is none, empty if it cannot be read."""
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
    """When the submission in a folder was submitted."""
    found = content(folder)
    if found is None:
        return Timestamp()
    try:
        text = found.decode("utf-8-sig").strip()
        # nbgrader reads "+0200" after a space as 200 seconds.
        date = parse_utc(re.sub(r" (?=[+-]\d\d:?\d\d$)", "", text))
    except (ValueError, OverflowError, TypeError):
        return Timestamp(problem=NO_DATE)
    return Timestamp(date, text)
