"""Put a submission into the form that is graded: the release, with the student's answers in it.

What is graded is always the released notebook. From the submission come only the student's answers, and cells that
the student has added, because an answer may need them. An answer is found by its `grade_id`, by its cell's id, or
by the name that it defines. So cells of ours that were deleted, typed again, edited, copied or moved do no harm; each
such thing is noted, for the student to read.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.display import characters
from grader.display.pictures import Pictures
from grader.errors import SubmissionError
from grader.files import folders
from grader.sandbox.inside.protocol import parse

MAX_BYTES = 50 * 2**20
MAX_CELLS = 500
MAX_CHARACTERS = 200_000  # of one cell's source
MAX_ATTEMPTS = 20  # in the folder of a submission
MAX_NAMED = 5  # of files, in a sentence
MAX_PICTURES = 20  # pasted into a text cell
MAX_PICTURE_LENGTH = 8_000_000  # characters
MAX_NAME_LENGTH = 200


@dataclass(frozen=True)
class Repaired:
    """A notebook that is ready to be run, and what had to be done to it."""

    notebook: NotebookNode
    notes: tuple[str, ...]


def find(
    folder: Path, assignment: str, is_answered: Callable[[Path], bool] = lambda path: True
) -> tuple[Path, tuple[str, ...]]:
    """The notebook of a submission, and notes about what is odd.

    If there are several attempts, the newest counts. Which one that is, the numbers in their names say, as
    learning-management systems and browsers add them, or the times of the files. An attempt in which nothing is
    answered counts only if there is no other: whoever downloads an assignment twice has such a one.

    Args:
        folder: of the submission.
        assignment: its name, and the notebook's.
        is_answered: whether anything is answered in a notebook; it is asked only if there are several.

    Raises:
        BadSubmission: there is none that could be meant.
    """
    named = folder / f"{assignment}.ipynb"
    for path in (folder, folder.parent):  # to somebody else's work, perhaps
        if path.is_symlink():
            raise SubmissionError(f"{path.name} is a link, not a submission")
    if not folder.is_dir():
        raise SubmissionError(f"{folder} is not there any more; nothing was entered")
    if named.is_symlink():
        raise SubmissionError(f"{named.name} is a link, not a notebook")
    try:
        found, attempts = notebooks(folder), _attempts(folder, assignment)
        files = found or sorted(folders.walk(folder))
    except OSError as error:
        raise SubmissionError(f"{folder.name} cannot be read: {error.strerror}") from error
    if len(attempts) > MAX_ATTEMPTS:
        raise SubmissionError(
            f"there are {len(attempts)} attempts, {MAX_ATTEMPTS} at most; remove those that do not count"
        )
    if not attempts:
        there = [str(path.relative_to(folder)) for path in files]
        there = [name for name in there if name != "timestamp.txt"]
        raise SubmissionError(f"there is no {named.name}; there is {some(there) or 'nothing'}")
    chosen, reason = _newest(attempts, is_answered)
    notes = []
    if chosen != named:
        notes.append(f"The notebook is called {chosen.name}; it was graded as {named.name}.")
    if reason:
        notes.append(f"There are {len(attempts)} attempts; {chosen.name} was graded: {reason}.")
    extra = [path.name for path in found if path != chosen]
    if extra:
        notes.append(f"Also handed in, and not looked at: {some(extra)}.")
    return chosen, tuple(notes)


def notebooks(folder: Path) -> list[Path]:
    """The files in the folder of a submission that may be a notebook, sorted by name."""
    return folders.files(folder, ".ipynb")


def attempts(folder: Path, assignment: str) -> list[Path]:
    """Those of the notebooks in a folder of which one is graded; none if none can be, or if they are too many.

    Raises:
        OSError: the folder cannot be read.
    """
    found = _attempts(folder, assignment)
    return [each.path for each in found] if len(found) <= MAX_ATTEMPTS else []


@dataclass(frozen=True)
class _Attempt:
    """One of several notebooks for the same assignment.

    Attributes:
        path: the file.
        number: in its name; 0 if there is none.
        plain: whether it has the assignment's name, and nothing else.
        time: when the file was written, in seconds.
    """

    path: Path
    number: int
    plain: bool
    time: float


SAME_TIME = 60.0  # seconds: files that were unpacked or copied together
# Behind the name of an assignment: "(1)", "-1", "-Copy1", "_v2".
_NUMBER = re.compile(r"_?\(?(?:copy|kopie|attempt|try|v)?_?(\d{1,3})\)?")


def _attempts(folder: Path, assignment: str) -> list[_Attempt]:
    found = notebooks(folder)
    named = [each for path in found if (each := _attempt(path, assignment))]
    if not named and len(found) == 1:  # whatever it is called
        return [_Attempt(found[0], 0, False, 0.0)]
    return named


def _attempt(path: Path, assignment: str) -> _Attempt | None:
    """What the name of a file says, if it has that of the assignment in it."""
    stem, wanted = (re.sub(r"[\s_-]+", "_", name.casefold()) for name in (path.stem, assignment))
    before, name, behind = stem.rpartition(wanted)
    number = _NUMBER.fullmatch(behind)
    if not name or before[-1:].isalnum() or (behind[:1].isalnum() and not number):
        return None
    return _Attempt(path, int(number[1]) if number else 0, path.stem == assignment, path.stat().st_mtime)


def _newest(attempts: Sequence[_Attempt], is_answered: Callable[[Path], bool]) -> tuple[Path, str]:
    """The newest attempt, and how that is known; no reason if there is only one."""
    if len(attempts) == 1:
        return attempts[0].path, ""
    reasons = []
    answered = [each for each in attempts if is_answered(each.path)] or list(attempts)
    if len(answered) < len(attempts):
        reasons.append("in the others nothing is answered" if len(answered) == 1 else "empty ones do not count")
    most = max(each.number for each in answered)
    numbered = [each for each in answered if each.number == most]
    latest = max(each.time for each in answered)
    dated = [each for each in answered if latest - each.time <= SAME_TIME]
    newest = max(each.time for each in numbered)
    chosen = max(numbered, key=lambda each: (each.time >= newest - SAME_TIME, each.plain, each.path.name))
    if len(numbered) < len(answered):
        reasons.append("its name has the highest number")
        if chosen in dated and len(dated) < len(answered):
            reasons.append("its file is the newest")
        elif chosen not in dated:
            other = dated[-1].path.name
            reasons.append(f"but the file {other} was written later; if that one counts, remove the others")
    elif len(dated) < len(answered):
        reasons.append("its file is the newest")
    if len(answered) > 1 and not reasons:
        whose = "it has the name of the assignment" if chosen.plain else "it is the last by name"
        reasons.append(f"{whose}; which one is newer, neither names nor times say. Remove those that do not count")
    return chosen.path, ", ".join(reasons)


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def read(path: Path) -> NotebookNode:
    """Read a notebook that a stranger has written.

    Raises:
        BadSubmission: it is no notebook.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SubmissionError(f"{path.name} is too large: {size / 2**20:.0f} MB, {MAX_BYTES / 2**20:.0f} at most")
        data = path.read_bytes()
        form = parse(data.decode(json.detect_encoding(data)).removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        what = "it is empty" if size == 0 else str(error)
        raise SubmissionError(
            f"{path.name} is not a notebook that can be read: {what}; ask for another copy"
        ) from error
    except OSError as error:
        raise SubmissionError(f"{path.name} cannot be read: {error.strerror}") from error
    if not isinstance(form, dict) or type(form.get("nbformat")) is not int:
        raise SubmissionError(f"{path.name} is JSON, but not a notebook")
    try:
        return _of_today(form, path.name)
    except RecursionError as error:
        raise SubmissionError(f"{path.name} is not a notebook that can be read: it is nested too deeply") from error


def _of_today(form: dict[str, Any], name: str) -> NotebookNode:
    """What was read, in the format of today."""
    major = form["nbformat"]
    if not 1 <= major <= nbformat.current_nbformat:
        raise SubmissionError(
            f"{name} has the format {major}; formats 1 to {nbformat.current_nbformat} can be read; ask for another"
        )
    if major < nbformat.current_nbformat:
        sheets = form.get("worksheets") if major > 1 else [form]
        try:
            cells = [cell for sheet in sheets or () for cell in sheet["cells"]]
            _not_too_many(cells)
            for cell in cells:
                if "outputs" in cell:  # they are made anew
                    cell["outputs"] = []
            old = nbformat.versions[major].to_notebook_json({"metadata": {}, **form})
            return nbformat.convert(old, nbformat.current_nbformat)
        except SubmissionError:
            raise
        except Exception as error:  # the converter trips over anything
            why = f"{type(error).__name__}: {some([' '.join(str(error).split())[:200]])}"
            raise SubmissionError(f"{name} has the old format {major} and is damaged ({why})") from error
    if not isinstance(form.get("cells"), list):
        raise SubmissionError(f"{name} has no cells")
    return nbformat.from_dict(form)


def repair(
    release: NotebookNode,
    submission: NotebookNode,
    kept: tuple[str, ...] = (),
    defines: Mapping[str, str] | None = None,
) -> Repaired:
    """The release with the student's answers and added cells.

    Args:
        release: as it was handed out.
        submission: as it was handed in.
        kept: notes that there are already.
        defines: the names that answers define, by `grade_id`; those of answers in words are not in it.

    Raises:
        BadSubmission: none of the release's answer cells is in it.
    """
    made = _Repair(release, _cells(submission), defines or {})
    made.place_answers()
    return Repaired(made.notebook(), tuple(dict.fromkeys([*kept, *made.notes])))


def is_answered(release: NotebookNode, submission: NotebookNode) -> bool:
    """Whether anything has been written into a notebook: an answer, or a cell of the student's own."""
    ours = {_source(cell).strip() for cell in release.cells}
    return any(_source(cell).strip() not in {"", *ours} for cell in _cells(submission))


class _Repair:
    """A release, and what of a submission goes where.

    Args:
        release: as it was handed out.
        cells: of the submission.
        defines: as for `repair`.
    """

    def __init__(self, release: NotebookNode, cells: list[NotebookNode], defines: Mapping[str, str]) -> None:
        self._release, self._cells = release, cells
        self._ours = {_id(cell): cell for cell in release.cells if _id(cell)}
        self._defines = {name: defined for name, defined in defines.items() if name in self._ours}
        self._answerable = [name for name, cell in self._ours.items() if not _locked(cell)]
        self._stubs = {_source(self._ours[name]).strip() for name in self._answerable}
        self._defined = list(self._names_defined())
        self.notes: list[str] = []
        # By number in the submission: where each of our cells stands, and what is an answer to what.
        self._place: dict[str, int] = {}
        self._answers: dict[str, int] = {}
        self._added: dict[str, list[int]] = {"": []}  # the student's own, behind each of our cells
        self._instead: dict[str, str] = {}  # what is put where an answer stands elsewhere
        self._pictures = Pictures()
        self._sort()

    def _names_defined(self) -> Iterator[set[str]]:
        """The names of exercises that each cell defines, seen without running or compiling it."""
        names = "|".join(map(re.escape, self._defines.values()))
        pattern = re.compile(_DEFINITION.replace("NAME", names or r"(?!)"), re.MULTILINE)
        for cell in self._cells:
            source = _source(cell)
            runs = cell.cell_type == "code" and not _ELSEWHERE.match(source) and source.strip() not in self._stubs
            yield {found[found.lastindex or 0] for found in pattern.finditer(source)} if runs else set()

    def _sort(self) -> None:
        """Find our cells among those of the submission; the others are the student's own."""
        by_grade_id = {_id(cell) for cell in self._cells} & self._ours.keys()
        locked = [name for name, cell in self._ours.items() if _locked(cell) and name not in by_grade_id]
        by_source = {_source(self._ours[name]): name for name in locked}
        by_id = {f"{cell.get('id')}": name for name, cell in self._ours.items() if name not in by_grade_id}
        last = ""
        for number, cell in enumerate(self._cells):
            name = _id(cell)
            if not name:
                name = by_id.get(f"{cell.get('id')}") or by_source.get(_source(cell), "")
                if name in self._place or (name and self._ours[name].cell_type != cell.cell_type):
                    name = ""
            if name not in self._ours:
                self._add(number, last)
            elif name in self._place:
                self._add_copy(number, name, last)
            else:
                self._place[name] = number
                self._added[name] = []
                last = name
                if not _locked(self._ours[name]):
                    self._answers[name] = number
                elif _source(cell) != _source(self._ours[name]):
                    self.notes.append(f"The cell {name!r} is not yours to change; it was put back as it was.")
        if not by_grade_id & {*self._answerable} and not any(self._defined) and self._answerable:
            raise SubmissionError(
                "none of the assignment's answer cells is in it; is it the notebook of another assignment, or was it "
                "saved by a program that drops nbgrader's metadata?"
            )

    def _add(self, number: int, behind: str) -> None:
        source = _source(self._cells[number]).strip()
        if source in self._stubs and self._cells[number].cell_type == "code":
            self.notes.append("A copy of an answer's cell, as it was handed out, was left out.")
        else:
            self._added[behind].append(number)

    def _add_copy(self, number: int, name: str, last: str) -> None:
        """A cell of ours that has been there before: the first one counts, unless only the other is answered."""
        said = f"The cell {name!r} is there more than once"
        if _locked(self._ours[name]):
            self.notes.append(f"{said}; the copy was left out.")
            return
        first = self._answers[name]
        if self._is_stub(first) and not self._is_stub(number):
            self._answers[name] = number
            self.notes.append(f"{said}; the one that is answered was graded.")
        elif self._is_stub(number) or _source(self._cells[first]) == _source(self._cells[number]):
            self.notes.append(f"{said}; the copy was left out.")
        else:
            self.notes.append(f"{said}; the copy was run where it stands.")
            self._added[last].append(number)

    def _is_stub(self, number: int) -> bool:
        return _source(self._cells[number]).strip() in {"", *self._stubs}

    def place_answers(self) -> None:
        """Find answers that do not stand in their own cell, and let them stand where they belong."""
        order = [*self._ours]
        for name in self._answerable:
            number = self._answers.get(name)
            if number is not None and not self._is_stub(number) and not self._defines.get(name):
                continue
            behind = [self._place[other] for other in order[order.index(name) + 1 :] if other in self._place]
            if name in self._defines:
                self._place_definition(name, min(behind, default=len(self._cells)))
            elif self._ours[name].cell_type != "code":
                self._place_text(name)

    def _place_definition(self, name: str, end: int) -> None:
        """Let the definition that an answer's cell lacks stand before the cell's check.

        Args:
            name: of the answer.
            end: the number of the first cell in the submission that comes after the answer and is ours.
        """
        own, defined = self._answers.get(name), self._defines[name]
        if name in self._instead or (own is not None and defined in self._defined[own]):
            return
        added = [number for numbers in self._added.values() for number in numbers if defined in self._defined[number]]
        others = {n: other for other, n in self._answers.items() if other != name and defined in self._defined[n]}
        if not added and not others:
            return
        empty = own is None or self._is_stub(own)
        above = [number for number in (*added, *others) if number < end]
        number = max(above or [*added, *others])
        what = (
            f"does not define {defined}" if not empty else "has no answer" if name in self._place else "was missing"
        )
        said = f"The cell {name!r} {what}"
        comment = "# {} is defined in another cell."
        if number in others and self._comes_before(others[number], name):
            if empty:
                self._instead[name] = comment.format(defined)
            self.notes.append(f"{said}; the cell {others[number]!r} defines {defined}, and was graded for both.")
            return
        if number in others:  # it would come too late
            other = others[number]
            moved = [self._answers.pop(other)]
            if self._defines.get(other) in self._defined[number]:
                self._instead[other] = comment.format(self._defines[other])
        else:
            (group,) = (group for group, numbers in self._added.items() if number in numbers)
            if number < end and not (empty and number in self._neighbours(name)):
                if empty:
                    self._instead[name] = comment.format(defined)
                self.notes.append(f"{said}; another cell of yours defines {defined}, and was graded.")
                return
            # With what stands before it in the same place: it may need that.
            count = self._added[group].index(number) + 1
            moved = self._added[group][:count] if number >= end else [number]
            self._added[group] = [each for each in self._added[group] if each not in moved]
        self.notes.append(f"{said}; your cell that defines {defined} was graded in its place.")
        if empty:
            self._answers[name] = moved.pop()
            self._added[self._before(name)] += moved
        else:
            self._added[name] = moved + self._added.get(name, [])

    def _place_text(self, name: str) -> None:
        """Let text of the student's own that stands where an answer in words is missing be the answer."""
        for group in (self._before(name), name):
            added = self._added.get(group, [])
            texts = [n for n in added if self._cells[n].cell_type != "code" and _source(self._cells[n]).strip()]
            if texts:
                number = texts[-1] if group != name else texts[0]
                self._added[group].remove(number)
                what = "has no answer" if name in self._place else "was missing"
                self._answers[name] = number
                self.notes.append(
                    f"The cell {name!r} {what}; the text that you wrote there was taken for the answer."
                )
                return

    def _comes_before(self, one: str, other: str) -> bool:
        order = [*self._ours]
        return order.index(one) < order.index(other)

    def _before(self, name: str) -> str:
        """Behind which of our cells the student's own cells stand that run just before an answer."""
        order = [*self._ours]
        return next((other for other in reversed(order[: order.index(name)]) if other in self._place), "")

    def _neighbours(self, name: str) -> list[int]:
        """The student's own cells that run just before an answer and just behind it."""
        return [*self._added.get(self._before(name), [])[-1:], *self._added.get(name, [])[:1]]

    def notebook(self) -> NotebookNode:
        """The release, with the answers in it and the student's own cells between."""
        missing = [name for name in self._ours if name not in self._place and name not in self._answers]
        missing = [name for name in missing if name not in self._instead]
        if missing:
            self.notes.append(f"Cells were missing and have been put back: {', '.join(missing)}.")
        if [*self._place] != [name for name in self._ours if name in self._place]:
            self.notes.append("Cells had been moved; they were run in the order of the assignment.")
        self._note_what_is_out_of_sight()
        result = copy.deepcopy(NotebookNode({k: value for k, value in self._release.items() if k != "cells"}))
        result.cells = self._own("")
        for cell in copy.deepcopy(self._release.cells):
            name = _id(cell)
            answer = self._cells[self._answers[name]] if name in self._answers else None
            if name in self._instead and cell.cell_type == "code":
                cell.source = self._instead[name]
            elif answer is not None and _source(answer) != _source(cell):
                cell.update(
                    {"source": _source(answer)} if cell.cell_type == "code" else _text(answer, self._pictures)
                )
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
            result.cells.append(cell)
            result.cells += self._own(name)
        return result

    def _own(self, behind: str) -> list[NotebookNode]:
        return [_plain_cell(self._cells[number], number, self._pictures) for number in self._added.get(behind, [])]

    def _note_what_is_out_of_sight(self) -> None:
        """Say where a person who reads the notebook would not see what is run."""
        numbers = {number: f"the cell {name!r}" for name, number in self._answers.items()}
        numbers |= {number: f"your cell {number + 1}" for added in self._added.values() for number in added}
        found = [
            f"In {where}, {remark}."
            for number, where in sorted(numbers.items())
            if self._cells[number].cell_type == "code"
            for remark in characters.remarks(_source(self._cells[number]))
        ]
        self.notes += found[:MAX_NAMED]
        if len(found) > MAX_NAMED:
            self.notes.append(f"The like of that is in {len(found) - MAX_NAMED} more places.")


# At the beginning of a line: what Python defines at the top of a cell. It is not compiled: that can crash the grader.
_DEFINITION = (
    r"^(?:class|(?:async[ \t]+)?def)[ \t]+(NAME)\b"
    r"|^(NAME)[ \t]*(?::[^=\n]*)?=(?!=)"
    r"|^(?:from|import)\b[^\n]*\b(NAME)\b"
)
# A cell whose code is not run in the notebook.
_ELSEWHERE = re.compile(r"\s*%%(?!time\b|capture\b|prun\b)")


def _cells(notebook: NotebookNode) -> list[NotebookNode]:
    cells = [c for c in notebook.cells if isinstance(c, dict) and c.get("cell_type") in ("code", "markdown", "raw")]
    _not_too_many(cells)
    return cells


def _not_too_many(cells: Sequence[object]) -> None:
    if len(cells) > MAX_CELLS:
        raise SubmissionError(f"it has {len(cells)} cells, {MAX_CELLS} at most")


def _own(cell: NotebookNode) -> dict[str, Any]:
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return own if isinstance(own, dict) else {}


def _id(cell: NotebookNode) -> str:
    name = _own(cell).get("grade_id")
    return name if isinstance(name, str) else ""


def _locked(cell: NotebookNode) -> bool:
    return not _own(cell).get("solution")


def _source(cell: NotebookNode) -> str:
    """The source with Unix line ends, capped."""
    source = cell.get("source", "")
    text = "".join(str(line) for line in source) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")[:MAX_CHARACTERS]


def _loosely(word: str) -> str:
    """The letters of a word, and between them what Markdown or a browser leaves out of an address."""
    return r"[\s\\\x00-\x1f]*".join([*word, ""])


# Where a tag, an entity, a picture or the address of a program begins, in Markdown or TeX.
_ALIVE = re.compile(
    "|".join(
        [r"(?<=<)(?=[a-z/!?])", r"(?<=&)(?=[#a-z])", r"(?<=!)(?=\[)"]
        + [rf"{_loosely(scheme)}(?=:)" for scheme in ("script", "data")]
    ),
    re.IGNORECASE,
)
_PICTURE = re.compile(r"!(\[[^\[\]<&\n]*\]\(attachment:([\w.-]+)\))", re.ASCII)


def harmless(text: str, pictures: Collection[str] = ()) -> str:
    """Text in which no browser finds a program: it looks the same, with an invisible space where one would begin.

    nbgrader shows text cells as they are, in the browser of whoever marks them, who may do there what nbgrader may.
    A picture becomes a link, because its address is called as soon as it is shown.

    Args:
        text: Markdown or TeX.
        pictures: names of those that lie in the notebook itself; they stay.
    """
    parts, start = [], 0
    for found in _PICTURE.finditer(text):
        if found[2] in pictures:
            parts += [_broken(text[start : found.start()]), found[0]]
            start = found.end()
    return "".join([*parts, _broken(text[start:])])


def _broken(text: str) -> str:
    return _ALIVE.sub("\\g<0>\N{ZERO WIDTH SPACE}", text)


def _pictures(cell: NotebookNode, pictures: Pictures) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The pictures that were pasted into a text cell, by name; and what is said of those that are not shown."""
    given = cell.get("attachments")
    kept: dict[str, dict[str, str]] = {}
    said = []
    for name, data in list(given.items())[:MAX_PICTURES] if isinstance(given, dict) else ():
        for mime in ("image/png", "image/jpeg"):
            content = data.get(mime) if isinstance(data, dict) else None
            if isinstance(content, list):
                content = "".join(str(line) for line in content)
            if isinstance(content, str) and len(content) <= MAX_PICTURE_LENGTH:
                problem = pictures.problem_with(mime, content)
                if problem:
                    said.append(f"(The picture {name[:MAX_NAME_LENGTH]} is not shown: {problem}.)")
                else:
                    kept[name] = {mime: content}
    return kept, said


def _text(cell: NotebookNode, pictures: Pictures) -> dict[str, Any]:
    """The source of a text cell, harmless and legible, and its pictures."""
    kept, said = _pictures(cell, pictures)
    source = "\n\n".join([characters.text(_source(cell)), *map(characters.text, said)])
    text = {"source": harmless(source, kept)}
    return {**text, "attachments": kept} if kept else text


def _plain_cell(cell: NotebookNode, number: int, pictures: Pictures) -> NotebookNode:
    """A cell that the student has added, without what a notebook may carry besides its source."""
    name = f"added-{number}"
    match cell.cell_type:
        case "code":
            return nbformat.v4.new_code_cell(_source(cell), id=name)
        case "raw":
            return nbformat.v4.new_raw_cell(harmless(characters.text(_source(cell))), id=name)
    return nbformat.v4.new_markdown_cell(**_text(cell, pictures), id=name)
