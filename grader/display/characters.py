"""Characters that cannot be seen, and code that a reader would not see.

In: a text or code. Out: the same with such characters as numbers and with long gaps shortened, and remarks about
them. Only what is displayed changes. The code that runs is exactly what the student has written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_BLANKS = 80  # in a row, in code
MAX_COLUMNS = 300  # of a line of code; a longer line is shown in several lines
MAX_EMPTY_LINES = 20  # in a row, in code
MAX_NUMBERS = 1000  # of unseen characters that are shown as numbers, in one text
MAX_IN_A_ROW = 10

# Control characters, soft hyphens, characters without width, bidirectional controls, fillers, selectors, tags.
_UNSEEN = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SPACES = r"\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_JOINERS = r"\u200c\u200d\ufe0e\ufe0f"  # many scripts and emoji need one or two of them after another character
_NEEDED = rf"(?<=[^\x00-\x7f{_JOINERS}])[{_JOINERS}]{{1,2}}"
_IN_TEXT = re.compile(rf"({_NEEDED})|[{_UNSEEN}]+")
_IN_CODE = re.compile(rf"({_NEEDED})|[{_UNSEEN}{_SPACES}]+")
_BLANKS = re.compile(rf"[ \t]{{{MAX_BLANKS + 1},}}")
_EMPTY_LINES = re.compile(rf"(?:^|(?<=\n))(?:[ \t]*\n){{{MAX_EMPTY_LINES + 1},}}")
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")


def text(source: str, keep: str = "") -> str:
    """A text in which characters that cannot be seen, or that reorder others, are shown as numbers: ``⟨U+202E⟩``.

    Args:
        source: the text.
        keep: characters that do not change.
    """
    return _replaced(_IN_TEXT, source, keep)


def code(source: str) -> str:
    """Code for a reader, who sees all of it; it cannot be run."""
    shown = _replaced(_IN_CODE, source)
    shown = _EMPTY_LINES.sub(lambda found: f"⟨{found[0].count(chr(10)):,} empty lines⟩\n", shown)
    shown = _BLANKS.sub(lambda found: f"⟨{len(found[0]):,} blanks⟩", shown)
    return "\n".join(part for line in shown.split("\n") for part in _in_parts(line))


def remarks(source: str) -> Iterator[str]:
    """What a reader of code should know about the way in which it is shown: parts of sentences."""
    if any(not found[1] for found in _IN_CODE.finditer(source)):
        yield "characters that cannot be seen or that change the order of others are shown as numbers, as ⟨U+202E⟩"
    for found in _EMPTY_LINES.finditer(source):
        yield f"there is code below {found[0].count(chr(10)):,} empty lines"
        break
    for number, line in enumerate(source.split("\n"), start=1):
        blanks = _BLANKS.search(line)
        if blanks and blanks.end() < len(line):
            yield f"line {number} goes on at column {blanks.end() + 1:,}, behind {len(blanks[0]):,} blanks"
            break
        if len(line) > MAX_COLUMNS:
            yield f"line {number} has {len(line):,} characters, and is shown in several lines"
            break
    for number, line in enumerate(source.split("\n"), start=1):
        if _RIGHT_TO_LEFT.search(line):
            yield f"line {number} has letters that are written from right to left; it may be shown in another order"
            break


def _replaced(pattern: re.Pattern[str], source: str, keep: str = "") -> str:
    left = MAX_NUMBERS

    def shown(found: re.Match[str]) -> str:
        nonlocal left
        if found[1]:
            return found[0]
        parts = re.split(f"([{keep}])", found[0]) if keep else [found[0]]
        for k in range(0, len(parts), 2):  # the parts between are kept
            few = parts[k][: min(MAX_IN_A_ROW, left)]
            left -= len(few)
            numbers = "".join(f"⟨U+{ord(character):04X}⟩" for character in few)
            more = f"⟨{len(parts[k]) - len(few):,} more⟩" if few else "\N{REPLACEMENT CHARACTER}"
            parts[k] = numbers + more * (len(few) < len(parts[k]))
        return "".join(parts)

    return pattern.sub(shown, source)


def _in_parts(line: str) -> Iterator[str]:
    yield line[:MAX_COLUMNS]
    for start in range(MAX_COLUMNS, len(line), MAX_COLUMNS):
        yield f"⟨the line goes on⟩ {line[start : start + MAX_COLUMNS]}"
