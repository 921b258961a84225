"""The assignment that the guide for maintainers has one make, `warm_up`, made as the guide says, step by step."""

import re
import shlex
from pathlib import Path

from grader.__main__ import parser
from grader.authoring.new import new_exercise
from tests import ROOT

GUIDE = (ROOT / "book" / "guides" / "maintainers.md").read_text(encoding="utf-8")
(SECTION,) = re.findall(r"^## Add an exercise in ten minutes\n(.*?)^#{2,3} (?!A tensor)", GUIDE, flags=re.S | re.M)
COMMANDS = "".join(re.findall(r"^```sh\n(.*?)^```", SECTION, flags=re.S | re.M)).splitlines()
# Where, and what: lines that are replaced; and a passage, with the line before which it is put.
REPLACEMENTS = re.findall(r"In `([^`]+)`:\n\n```diff\n(.*?)^```", SECTION, flags=re.S | re.M)
ADDITIONS = re.findall(
    r"In `([^`]+)`, in front of\n`([^`]+)`, add:\n\n````md\n(.*?)^````", SECTION, flags=re.S | re.M
)
NAME = "warm_up"


def arguments(command: str) -> list[str]:
    """What follows `python -m grader` in one of the guide's commands."""
    start, _, rest = command.partition(" -m grader ")
    assert start == ".venv/bin/python", command
    return shlex.split(rest)


def write_example(solutions: Path) -> Path:
    """Make `warm_up` in a folder `solutions`, unless it is there; returns the assignment's folder."""
    made = solutions / NAME
    if made.exists():
        return made
    wanted = parser().parse_args(arguments(COMMANDS[0]))
    assert (wanted.command, wanted.assignment) == ("new", NAME)
    new_exercise(solutions, wanted.assignment, wanted.exercise)
    edit(solutions)
    return made


def edit(solutions: Path) -> None:
    """Make the guide's changes to the stub."""
    assert len(REPLACEMENTS) == len(ADDITIONS) == 1
    for place, difference in REPLACEMENTS:
        lines = difference.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        _replace(solutions / Path(place).relative_to("solutions"), old, new)
    for place, before, text in ADDITIONS:
        _replace(solutions / Path(place).relative_to("solutions"), f"{before}\n", f"{text}{before}\n")


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has no single {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")
