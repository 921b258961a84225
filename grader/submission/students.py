"""Names of students, which are names of folders and come from many systems.

In: names of folders. Out: why a name cannot be used, and which names look like those of one student.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from enum import Enum


class BadName(Enum):
    """Why a folder cannot be a student's; the value completes the sentence "… is skipped"."""

    NOT_TEXT = "its name is not valid text; rename it"
    NOT_PRINTABLE = "its name has a character that cannot be shown; rename it"


def check_name(name: str) -> BadName | None:
    """Why a folder with this name cannot be a student's; None if it can."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return BadName.NOT_TEXT
    return None if name.isprintable() else BadName.NOT_PRINTABLE


def normalize(name: str) -> str:
    """A form that is the same for names that look the same: without case, spaces and different forms of Unicode."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(character for character in folded if not character.isspace())


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that look like those of one student."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(normalize(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def show_differences(group: Iterable[str]) -> str:
    """Similar names in one line; a name that is not plain ASCII is quoted and escaped, to show the difference."""
    return ", ".join(name if _is_plain(name) else ascii(name) for name in group)


def _is_plain(name: str) -> bool:
    return name == name.strip() and name.isascii() and "  " not in name
