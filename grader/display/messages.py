"""Parts of messages: a few of many names, numbers with their noun, times, and text that is safe on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

MAX_NAMES = 5  # in a sentence


def first_names(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are: ``"ada, bob and 3 more"``; empty without names."""
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """A number and its noun: ``"1 page"``, ``"2 pages"``.

    Args:
        number: how many.
        noun: in the singular.
        nouns: in the plural; the noun with an "s" if None.
    """
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def printable(text: str) -> str:
    """A text that a student may have written, without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def duration(seconds: float) -> str:
    """A time in words: ``"8 s"``, ``"3 min 20 s"``, ``"2 h 05 min"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
