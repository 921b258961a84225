"""Find the assignment that a notebook is about.

In: the notebook's folder, and the exercises of the course that came with the package. Out: what `public.json` says.
The file beside the notebook comes first: an instructor may have changed an exercise.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from d2lblocks.checking.public import Public, read_public

_PACKAGE = Path(__file__).parent.parent
# `<assignment>/public.json` of the course: inside of an installed package, beside the package in a clone.
PACKAGED = next((folder for top in (_PACKAGE, _PACKAGE.parent) if (folder := top / "exercises").is_dir()), _PACKAGE)


class NoAssignment(Exception):
    """There is no assignment that can be read; the message is one line for the student."""


def assignment_of(exercise: str = "") -> Public:
    """The assignment that has an exercise, or, without a name, the one that the notebook answers.

    Args:
        exercise: its name; it need not exist.

    Returns:
        The assignment. If the name is in none of those that came with the package: all their exercises together.

    Raises:
        NoAssignment: no `public.json` can be read.
    """
    path = Path("public.json")
    try:
        return read_public(path)
    except FileNotFoundError:
        pass
    except ValueError as error:
        raise NoAssignment(f"{error}; take a fresh copy of the assignment's folder from your instructor") from error
    packaged = _packaged()
    if not packaged:
        raise NoAssignment(f"{path} is not in {Path.cwd()}; open the notebook in its own folder")
    if exercise:
        own = [public for public in packaged if exercise in public.exercises or exercise in public.by_hand]
        return own[0] if own else _together(packaged)
    best = max(packaged, key=_answers)
    if not _answers(best):
        raise NoAssignment("no cell with an answer has been run yet; run one, or give the name of an exercise")
    return best


def _answers(public: Public) -> int:
    """How many exercises of an assignment the notebook has an answer to."""
    defined = vars(sys.modules["__main__"])
    return sum(exercise.defines in defined for exercise in public.exercises.values())


@cache
def _packaged() -> tuple[Public, ...]:
    return tuple(map(read_public, sorted(PACKAGED.glob("*/public.json"))))


def _together(packaged: tuple[Public, ...]) -> Public:
    exercises = {name: exercise for public in packaged for name, exercise in public.exercises.items()}
    return Public(exercises, {name: points for public in packaged for name, points in public.by_hand.items()})
