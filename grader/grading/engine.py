"""The grading engine: run a submission in the sandbox, observe its answers, judge them here.

The worker in the sandbox gets cells to run and cases to look at, one at a time, and gives back outputs and observations.
Everything that decides is on this side. When a worker is lost (an answer crashed it, or would not stop), a new
one runs the cells again, without the one that was fatal, and goes on behind it.
"""

from __future__ import annotations

import html
import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from d2lblocks.checking.case import Case
from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.limits import WALL_CLOCK_FACTOR
from d2lblocks.checking.observation import BadObservation, FailureKind, Observation, decode_observation, failure
from d2lblocks.checking.pipeline import problem_with, try_and_judge
from d2lblocks.checking.report import AssignmentReport, Report
from d2lblocks.checking.settings import in_words
from grader.display import characters
from grader.display.bounds import bound
from grader.display.pictures import Pictures
from grader.sandbox.host import SandboxError, WorkerSpec, Zygote
from grader.sandbox.inside.protocol import (
    TOO_LARGE,
    MessageTooLarge,
    Patience,
    ProtocolError,
    receive_patiently,
    send_patiently,
)
from grader.submission.repair import Repaired, harmless

CELL_TIMEOUT = 30.0
EXERCISE_TIMEOUT = 30.0  # more than a student's `check` has: there are more cases, and neighbours at work
SUBMISSION_TIMEOUT = 180.0
GRACE_PERIOD = 2.0  # between the moment when an answer is told to stop and the one when it is ended
MAX_WORKERS = 12  # for one submission
MAX_NOTEBOOK_OUTPUT = 20 * 2**20  # characters of all that a notebook displays
# Of what a student's code displays. HTML and SVG can hold programs, which would run in the browser of who marks it.
SHOWN = ("text/plain", "text/latex", "image/png", "image/jpeg")
# The worker has limits of its own, a little lower; but the worker may have been taken over.
MAX_OUTPUTS = 202
MAX_TEXT_LENGTH = 110_000  # characters of a text
MAX_CELL_OUTPUT = 8_000_000  # characters of all outputs of a cell
MAX_NAME_LENGTH = 200
MAX_PRINTED = 10_000
# Bytes of messages from a worker. One that is larger is read, and thrown away without being looked into.
MAX_OUTPUT_BYTES = 16 * 2**20
MAX_DESCRIPTION_BYTES = 2**16
MAX_OBSERVATION_BYTES = 2**18  # and so many times what the reference's largest one has:
MAX_REFERENCE_FACTOR = 4
MAX_SUBMISSION_BYTES = 256 * 2**20  # that one submission sends


@dataclass(frozen=True)
class WorkerFailure:
    """What became of a worker: how it failed, and what it did: ``"was stopped after 30 s"``."""

    kind: FailureKind
    message: str

    @property
    def observation(self) -> Observation:
        """As an observation."""
        return failure(self.kind, self.message)


@dataclass
class Worker:
    """A submission in the sandbox, in as many workers as it takes.

    Args:
        zygote: that forks them.
        begin: what they begin with.
    """

    zygote: Zygote
    begin: WorkerSpec
    _channel: socket.socket | None = None
    _done: list[dict[str, Any]] = field(default_factory=list)
    _begun: int = 0
    _received: int = 0
    waited: float = 0.0  # seconds, in all, for answers

    def ask(self, message: dict[str, Any], seconds: float, most: int) -> dict[str, Any] | WorkerFailure:
        """Have something done.

        Args:
            message: for the worker.
            seconds: how long it may take.
            most: bytes of the answer.

        Returns:
            What the worker answered, unless it was lost over it. An answer that was larger is ``{TOO_LARGE: bytes}``.

        Raises:
            SandboxError: the sandbox itself was lost.
        """
        if self.waited >= SUBMISSION_TIMEOUT:
            self.end()
            return WorkerFailure(
                FailureKind.TIMEOUT, f"was not run: the notebook had used up its {SUBMISSION_TIMEOUT:g} s before"
            )
        if self._received > MAX_SUBMISSION_BYTES:
            self.end()
            return WorkerFailure(
                FailureKind.MEMORY,
                f"was not run: the notebook had shown more than {_megabytes(MAX_SUBMISSION_BYTES)}",
            )
        if self._channel is None:
            lost = self._begin()
            if lost:
                return lost
        return self._ask(message, seconds, most)

    def run(self, source: str) -> dict[str, Any] | WorkerFailure:
        """Run a cell."""
        message = {"do": "run", "source": source, "seconds": CELL_TIMEOUT}
        answer = self.ask(message, CELL_TIMEOUT, MAX_OUTPUT_BYTES)
        if not isinstance(answer, WorkerFailure):
            self._done.append(message)
        return answer

    def end(self, lost: bool = False) -> str:
        """End it, with all that it started; returns why it had been ended, if it had been.

        Args:
            lost: whether it seems to have ended.
        """
        if self._channel is None:
            return ""
        channel, self._channel = self._channel, None
        return self.zygote.end(channel, lost)

    def _begin(self) -> WorkerFailure | None:
        """A new worker in which the cells so far have run again."""
        if self._begun >= MAX_WORKERS:
            return WorkerFailure(FailureKind.CRASH, "was not run: the notebook had crashed too often before")
        self._begun += 1
        self._channel = self.zygote.begin(self.begin)
        for message in list(self._done):
            answer = self._ask(message, CELL_TIMEOUT, MAX_OUTPUT_BYTES)
            if isinstance(answer, WorkerFailure):
                self._done.remove(message)  # it was harmless the first time; the next worker does without
                return answer
        return None

    def _ask(self, message: dict[str, Any], seconds: float, most: int) -> dict[str, Any] | WorkerFailure:
        assert self._channel is not None
        patience = Patience(min(seconds, SUBMISSION_TIMEOUT - self.waited) + GRACE_PERIOD)
        try:
            send_patiently(self._channel, message, patience)
            answer, size = receive_patiently(self._channel, patience, most)
            self._received += size
            return answer
        except TimeoutError:
            self.end()
            return WorkerFailure(FailureKind.TIMEOUT, f"was stopped after {seconds:g} s")
        except MessageTooLarge as error:
            self._received += error.size
            return {TOO_LARGE: error.size}
        except ProtocolError:
            why = self.end(lost=True)
        finally:
            self.waited += patience.waited
        match why:
            case "memory":
                return WorkerFailure(FailureKind.MEMORY, "used too much memory")
            case "processes":
                return WorkerFailure(FailureKind.MEMORY, "started too many processes")
            case "time":
                return WorkerFailure(FailureKind.TIMEOUT, "used too much time of the processor")
            case "killed":  # nothing inside can do that: it is not the student's doing
                raise SandboxError("the process that ran it was killed; is there memory for it?")
        return WorkerFailure(
            FailureKind.CRASH, "took down the process that it ran in: did it exit, or crash the interpreter?"
        )


def grade(
    repaired: Repaired, exercises: Mapping[str, Exercise], zygote: Zygote, begin: WorkerSpec, remark: str
) -> NotebookNode:
    """Run a submission and judge it.

    Args:
        repaired: the submission.
        exercises: of its assignment, with secret cases.
        zygote: that forks its workers.
        begin: what they begin with.
        remark: for the foot of each report.

    Returns:
        The notebook with the outputs of its cells; that of an autograde cell is its report.

    Raises:
        SandboxError: the sandbox was lost; nothing is known about the submission then.
    """
    worker = Worker(zygote, begin)
    notebook = NotebookNode(repaired.notebook)
    notebook.cells = [NotebookNode(cell) for cell in notebook.cells]
    reports: dict[str, Report] = {}
    notes = [*repaired.notes]
    pictures = Pictures()
    count = shown = 0
    try:
        for cell in notebook.cells:
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            count += 1
            cell.execution_count = count
            name = _exercise_of(cell, exercises)
            if name:
                report = _examine(exercises[name], worker, remark)
                reports[name] = replace(report, as_number=True, graded=True)
                cell.outputs = [_result(reports[name], count)]
            elif _shows_progress(cell):
                cell.outputs = [_result(AssignmentReport(tuple(reports.values())), count)]
            else:
                answer = worker.run(cell.source)
                cell.outputs = _outputs(answer, count, pictures)
                notes += _changed_settings(answer, cell, count, exercises)
                shown += len(json.dumps(cell.outputs))
                if shown > MAX_NOTEBOOK_OUTPUT:
                    text = "(not kept: all outputs of the notebook together are too large)"
                    cell.outputs = [NotebookNode(output_type="stream", name="stderr", text=text)]
    finally:
        worker.end()
    for cell in notebook.cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("locked"):
            cell.source = characters.code(cell.source)
    if notes:
        notebook.cells.insert(0, _as_cell(notes))
    bound(notebook)
    return notebook


def _changed_settings(
    answer: dict[str, Any] | WorkerFailure, cell: NotebookNode, count: int, exercises: Mapping[str, Exercise]
) -> Iterator[str]:
    """A note if the cell changed a setting of the whole process; what the worker says about it may be made up."""
    changed = None if isinstance(answer, WorkerFailure) else answer.get("changes")
    if isinstance(changed, dict):
        name = str(cell.metadata.get("nbgrader", {}).get("grade_id"))
        note = in_words(f"The cell of {name}" if name in exercises else f"The cell [{count}]", changed)
        if note:
            yield note


def _as_cell(notes: Sequence[str]) -> NotebookNode:
    """What had to be done to the submission, for the student to read. Notes quote names that a student has chosen."""
    lines = "".join(f"\n- {_literally(note)}" for note in notes)
    return nbformat.v4.new_markdown_cell(f"**The grader's notes on this notebook**\n{lines}\n", id="grader-notes")


_MARKDOWN = re.compile(r"[\\`*_\[\]$~|]")


def _literally(text: str) -> str:
    """A text in which Markdown finds nothing to do: on one line, no tags, no links."""
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(" ".join(characters.text(text).split())))


def _exercise_of(cell: NotebookNode, exercises: Mapping[str, Exercise]) -> str:
    own = cell.metadata.get("nbgrader", {})
    name = str(own.get("grade_id", "")).removeprefix("test_")
    return name if own.get("grade") and not own.get("solution") and name in exercises else ""


def _shows_progress(cell: NotebookNode) -> bool:
    return cell.metadata.get("nbgrader", {}).get("locked", False) and cell.source.strip() == "check()"


def _examine(exercise: Exercise, worker: Worker, remark: str) -> Report:
    question = {"do": "look", "name": exercise.defines}
    looked = worker.ask(question, CELL_TIMEOUT, MAX_DESCRIPTION_BYTES)
    if isinstance(looked, WorkerFailure):
        return Report(
            exercise.name, problem=f"not checked: it {looked.message}", remark=remark, worth=exercise.points
        )
    try:
        described = decode_observation(looked.get("answer"))
    except BadObservation:
        described = {}
    if not described:
        problem: str | None = f"{exercise.defines} is not defined; did its cell run without an error?"
    else:
        problem = problem_with(exercise, _plain(described))
    if problem:
        return Report(exercise.name, problem=problem, remark=remark, worth=exercise.points)

    def look(probe: str, case: Case, seconds: float, options: Mapping[str, Any]) -> tuple[Observation, str]:
        answer = worker.ask(
            {
                "do": "observe",
                "name": exercise.defines,
                "probe": probe,
                "options": dict(options),
                "case": case.text,
                "seconds": seconds,
            },
            WALL_CLOCK_FACTOR * seconds,  # inside, what counts is the time of the processor
            most,
        )
        if isinstance(answer, WorkerFailure):
            return answer.observation, ""
        return what_was_seen(answer)

    most = MAX_OBSERVATION_BYTES + MAX_REFERENCE_FACTOR * exercise.largest
    # The answer works in another process; what counts is how long it is waited for.
    return try_and_judge(exercise, look, EXERCISE_TIMEOUT, 1, lambda: worker.waited, remark)


def what_was_seen(answer: Mapping[str, Any]) -> tuple[Observation, str]:
    """What a worker says about a case: the observation, and what was printed. It may say anything."""
    if TOO_LARGE in answer:
        message = f"{_size(answer)}, far more than an answer can need"
        return failure(FailureKind.BAD_OBSERVATION, message), ""
    printed = answer.get("printed")
    try:
        seen = decode_observation(answer.get("seen"))
    except BadObservation as error:
        return failure(FailureKind.BAD_OBSERVATION, str(error)), ""
    return seen, printed[:MAX_PRINTED] if isinstance(printed, str) else ""


def _size(answer: Mapping[str, Any]) -> str:
    """How large an answer would have been; a worker can say that, too, and may say anything."""
    size = answer[TOO_LARGE]
    return _megabytes(size) if isinstance(size, int) and 0 <= size < 2**40 else "much"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MB".replace(".0 ", " ")


def _plain(described: Observation) -> Observation:
    """What sort of thing an answer is, with nothing in it but what a description has."""
    kind = described.get("type")
    flags: Observation = {name: described.get(name) is True for name in ("is_module", "is_callable")}
    return {**flags, "type": kind[:MAX_NAME_LENGTH] if isinstance(kind, str) else "thing"}


def _result(shown: Report | AssignmentReport, count: int) -> NotebookNode:
    data = shown._repr_mimebundle_() if isinstance(shown, Report) else {"text/html": shown._repr_html_()}
    return NotebookNode(
        {"output_type": "execute_result", "data": NotebookNode(data), "metadata": {}, "execution_count": count}
    )


def _outputs(answer: dict[str, Any] | WorkerFailure, count: int, pictures: Pictures) -> list[NotebookNode]:
    """A cell's outputs, as nbformat wants them; what a stranger sent otherwise is left out."""
    if isinstance(answer, WorkerFailure):
        text = f"This cell {answer.message}."
        return [NotebookNode(output_type="error", ename=answer.kind.value, evalue=text, traceback=[text])]
    if TOO_LARGE in answer:
        text = f"(not kept: the outputs of this cell are too large, {_size(answer)})\n"
        return [NotebookNode(output_type="stream", name="stderr", text=text)]
    kept: list[NotebookNode] = []
    room = MAX_CELL_OUTPUT
    outputs = answer.get("outputs")
    for output in outputs[:MAX_OUTPUTS] if isinstance(outputs, list) else ():
        made = _output(output, count, pictures)
        if made is not None:
            room -= len(str(made))
            if room < 0:
                text = "… and more, which is not kept\n"
                return [*kept, NotebookNode(output_type="stream", name="stderr", text=text)]
            kept.append(made)
    return kept


_OF_TERMINALS = "\x1b\r\b"  # colours and progress bars


def _output(output: Any, count: int, pictures: Pictures) -> NotebookNode | None:
    match output:
        case {"output_type": "stream", "name": "stdout" | "stderr" as name, "text": str(text)}:
            return NotebookNode(
                output_type="stream", name=name, text=characters.text(text[:MAX_TEXT_LENGTH], _OF_TERMINALS)
            )
        case {"output_type": "error", "ename": str(kind), "evalue": str(value), "traceback": [*lines]}:
            lines = [
                characters.text(line[:MAX_TEXT_LENGTH], _OF_TERMINALS)
                for line in lines[:100]
                if isinstance(line, str)
            ]
            kind, value = (characters.text(part) for part in (kind[:MAX_NAME_LENGTH], value[:MAX_TEXT_LENGTH]))
            return NotebookNode(output_type="error", ename=kind, evalue=value, traceback=lines)
        case {"output_type": "execute_result" | "display_data" as sort, "data": dict(data)}:
            data = {
                mime: data[mime][: MAX_TEXT_LENGTH if mime.startswith("text/") else MAX_CELL_OUTPUT]
                for mime in SHOWN
                if isinstance(data.get(mime), str)
            }
            for mime in ("image/png", "image/jpeg"):
                problem = pictures.problem_with(mime, data[mime]) if mime in data else ""
                if problem:
                    del data[mime]
                    data["text/plain"] = f"{data.get('text/plain', '')}\n(a picture is not shown: {problem})".strip()
            if not data:
                return None
            if "text/plain" in data:
                data["text/plain"] = characters.text(data["text/plain"], _OF_TERMINALS)
            if "text/latex" in data:
                data["text/latex"] = harmless(data["text/latex"])
            made = NotebookNode(output_type=sort, data=NotebookNode(data), metadata=NotebookNode())
            if sort == "execute_result":
                made.execution_count = count
            return made
    return None
