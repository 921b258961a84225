"""Find the notebook of a submission that is graded.

In: the folder `submitted/<student>/<assignment>/`. Out: the path of one notebook, and notes for the student about
what is unusual. A folder may hold several attempts, as learning-management systems and browsers number them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from grader.display.messages import first_names
from grader.errors import SubmissionError
from grader.files import folders

MAX_ATTEMPTS = 20  # in the folder of a submission
SAME_TIME = 60.0  # seconds: files whose times differ by less were unpacked or copied together

# After the name of an assignment: "(1)", "-1", "-Copy1", "_v2".
_NUMBER = re.compile(r"_?\(?(?:copy|kopie|attempt|try|v)?_?(\d{1,3})\)?")


@dataclass(frozen=True)
class _Attempt:
    """One of several notebooks for the same assignment.

    Attributes:
        path: the file.
        number: in its name; 0 if there is none.
        exact: whether the file has exactly the assignment's name.
        time: when the file was last written, in seconds since the epoch.
    """

    path: Path
    number: int
    exact: bool
    time: float


def find_notebook(
    folder: Path, assignment: str, is_answered: Callable[[Path], bool] = lambda path: True
) -> tuple[Path, tuple[str, ...]]:
    """Find the notebook that is graded.

    If there are several attempts, the newest one is graded. The numbers in their names say which one that is, or the
    times of the files. An attempt without any answer is graded only if there is no other: a student who downloads an
    assignment twice has such a file.

    Args:
        folder: of the submission.
        assignment: its name, which is also the name of its notebook.
        is_answered: whether a notebook has any answer; called only if there are several attempts.

    Returns:
        The path of the notebook, and notes about what is unusual.

    Raises:
        SubmissionError: no notebook can be found.
    """
    expected = folder / f"{assignment}.ipynb"
    for path in (folder, folder.parent):  # a link could lead to another student's work
        if path.is_symlink():
            raise SubmissionError(f"{path.name} is a link, not a submission")
    if not folder.is_dir():
        raise SubmissionError(f"{folder} no longer exists; no mark was entered")
    if expected.is_symlink():
        raise SubmissionError(f"{expected.name} is a link, not a notebook")
    try:
        found, candidates = notebooks(folder), _attempts(folder, assignment)
        files = found or sorted(folders.walk(folder))
    except OSError as error:
        raise SubmissionError(f"{folder.name} cannot be read: {error.strerror}") from error
    if len(candidates) > MAX_ATTEMPTS:
        raise SubmissionError(
            f"there are {len(candidates)} attempts, the maximum is {MAX_ATTEMPTS}; remove those that do not count"
        )
    if not candidates:
        names = [str(path.relative_to(folder)) for path in files]
        names = [name for name in names if name != "timestamp.txt"]
        raise SubmissionError(f"there is no {expected.name}; there is {first_names(names) or 'nothing'}")
    chosen, reason = _newest(candidates, is_answered)
    notes = []
    if chosen != expected:
        notes.append(f"The notebook is called {chosen.name}; it was graded as {expected.name}.")
    if reason:
        notes.append(f"There are {len(candidates)} attempts; {chosen.name} was graded: {reason}.")
    others = [path.name for path in found if path != chosen]
    if others:
        notes.append(f"Also submitted, but not graded: {first_names(others)}.")
    return chosen, tuple(notes)


def notebooks(folder: Path) -> list[Path]:
    """The files in the folder of a submission that may be notebooks, sorted by name.

    Raises:
        OSError: the folder cannot be read.
    """
    return folders.files(folder, ".ipynb")


def attempts(folder: Path, assignment: str) -> list[Path]:
    """The notebooks in a folder of which one is graded; none if none can be graded or if there are too many.

    Raises:
        OSError: the folder cannot be read.
    """
    found = _attempts(folder, assignment)
    return [each.path for each in found] if len(found) <= MAX_ATTEMPTS else []


def _attempts(folder: Path, assignment: str) -> list[_Attempt]:
    found = notebooks(folder)
    named = [each for path in found if (each := _attempt(path, assignment))]
    if not named and len(found) == 1:  # the only notebook counts, whatever its name is
        return [_Attempt(found[0], 0, False, 0.0)]
    return named


def _attempt(path: Path, assignment: str) -> _Attempt | None:
    """What the name of a file says, if it contains the assignment's name."""
    stem, wanted = (re.sub(r"[\s_-]+", "_", name.casefold()) for name in (path.stem, assignment))
    before, name, after = stem.rpartition(wanted)
    number = _NUMBER.fullmatch(after)
    if not name or before[-1:].isalnum() or (after[:1].isalnum() and not number):
        return None
    return _Attempt(path, int(number[1]) if number else 0, path.stem == assignment, path.stat().st_mtime)


def _newest(attempts: Sequence[_Attempt], is_answered: Callable[[Path], bool]) -> tuple[Path, str | None]:
    """The newest attempt, and the reason for this choice; no reason if there is only one attempt."""
    if len(attempts) == 1:
        return attempts[0].path, None
    reasons = []
    answered = [each for each in attempts if is_answered(each.path)] or list(attempts)
    if len(answered) < len(attempts):
        reasons.append(
            "the others have no answers" if len(answered) == 1 else "attempts without answers do not count"
        )
    highest = max(each.number for each in answered)
    numbered = [each for each in answered if each.number == highest]
    last_time = max(each.time for each in answered)
    latest = [each for each in answered if last_time - each.time <= SAME_TIME]
    newest = max(each.time for each in numbered)
    chosen = max(numbered, key=lambda each: (each.time >= newest - SAME_TIME, each.exact, each.path.name))
    if len(numbered) < len(answered):
        reasons.append("its name has the highest number")
        if chosen in latest and len(latest) < len(answered):
            reasons.append("its file is the newest")
        elif chosen not in latest:
            other = latest[-1].path.name
            reasons.append(f"but the file {other} was written later; if that one counts, remove the others")
    elif len(latest) < len(answered):
        reasons.append("its file is the newest")
    if len(answered) > 1 and not reasons:
        why = "it has the name of the assignment" if chosen.exact else "its name is the last in alphabetical order"
        reasons.append(f"{why}; names and times do not show which one is newer. Remove those that do not count")
    return chosen.path, ", ".join(reasons)
