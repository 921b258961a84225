"""Names of students, which are names of folders, and come from many systems."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def problem_with(name: str) -> str:
    """Why a folder cannot be that of a student, in a few words; empty if it can."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "whose name is not text; rename it"
    if not name.isprintable():
        return "whose name has a character that cannot be shown; rename it"
    return ""


def key(name: str) -> str:
    """What names have in common that a person takes for the same: case, spaces and forms of Unicode do not count."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(character for character in folded if not character.isspace())


def look_alike(names: Iterable[str]) -> list[list[str]]:
    """The names that look like those of one student, in groups."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def told_apart(group: Iterable[str]) -> str:
    """Names that look alike, so that one sees where they differ."""
    return ", ".join(name if _is_plain(name) else ascii(name) for name in group)


def _is_plain(name: str) -> bool:
    return name == name.strip() and name.isascii() and "  " not in name
