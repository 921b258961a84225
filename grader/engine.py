"""The grading engine: run a submission in the jail, observe its answers, judge them here.

The worker in the jail gets cells to run and cases to look at, one at a time, and gives back outputs and observations.
Everything that decides is on this side. When a worker is lost (an answer crashed it, or would not stop), a new
one runs the cells again, without the one that was fatal, and goes on behind it.
"""

from __future__ import annotations

import html
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode

from d2lblocks.checking.cases import Case
from d2lblocks.checking.check import conclude, observe_all, problem_with
from d2lblocks.checking.exercises import Exercise
from d2lblocks.checking.observations import BadObservation, Observation, decode_observation
from d2lblocks.checking.observe import PATIENCE
from d2lblocks.checking.report import Progress, Report
from d2lblocks.checking.settings import in_words
from grader.jail import Begin, JailError, Zygote
from grader.jailed.wire import WireError, receive, send
from grader.repair import Repaired, harmless

SECONDS_FOR_A_CELL = 30.0
SECONDS_FOR_AN_EXERCISE = 12.0  # more than a student's `check` has, because there are more cases
SECONDS_FOR_A_SUBMISSION = 180.0
SECONDS_OF_GRACE = 2.0  # between the moment when an answer is told to stop and the one when it is ended
MOST_WORKERS = 12  # for one submission
MOST_SHOWN = 20 * 2**20  # characters of all that a notebook displays
# Of what a student's code displays. HTML and SVG can hold programs, which would run in the browser of who marks it.
SHOWN = ("text/plain", "text/latex", "image/png", "image/jpeg")
# The worker has limits of its own, a little lower; but the worker may have been taken over.
MOST_OUTPUTS = 202
MOST_TEXT = 110_000  # characters of a text
MOST_OF_A_CELL = 8_000_000  # characters of all outputs of a cell
MOST_OF_A_NAME = 200
MOST_PRINTED = 10_000


@dataclass(frozen=True)
class Lost:
    """What became of a worker: one of the endings that the judge knows, and a sentence for the student."""

    kind: str
    message: str

    @property
    def observation(self) -> Observation:
        """As an observation."""
        return {"raised": {"type": self.kind, "message": self.message, "line": ""}}


@dataclass
class Worker:
    """A submission in the jail, in as many workers as it takes.

    Args:
        zygote: that forks them.
        begin: what they begin with.
    """

    zygote: Zygote
    begin: Begin
    _channel: socket.socket | None = None
    _done: list[dict[str, Any]] = field(default_factory=list)
    _begun: int = 0
    _deadline: float = 0.0

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + SECONDS_FOR_A_SUBMISSION

    def ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any] | Lost:
        """Have something done.

        Args:
            message: for the worker.
            seconds: how long it may take.

        Returns:
            What the worker answered, unless it was lost over it.

        Raises:
            JailError: the jail itself was lost.
        """
        if time.monotonic() > self._deadline:
            self.end()
            return Lost("OutOfTime", f"not run: the notebook had used up its {SECONDS_FOR_A_SUBMISSION:g} s before")
        if self._channel is None:
            lost = self._begin()
            if lost:
                return lost
        return self._ask(message, seconds)

    def run(self, source: str) -> dict[str, Any] | Lost:
        """Run a cell."""
        message = {"do": "run", "source": source, "seconds": SECONDS_FOR_A_CELL}
        answer = self.ask(message, SECONDS_FOR_A_CELL)
        if not isinstance(answer, Lost):
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

    def _begin(self) -> Lost | None:
        """A new worker in which the cells so far have run again."""
        if self._begun >= MOST_WORKERS:
            return Lost("Crash", "not run: the notebook had crashed too often before")
        self._begun += 1
        self._channel = self.zygote.begin(self.begin)
        for message in list(self._done):
            answer = self._ask(message, SECONDS_FOR_A_CELL)
            if isinstance(answer, Lost):
                self._done.remove(message)  # it was harmless the first time; the next worker does without
                return answer
        return None

    def _ask(self, message: dict[str, Any], seconds: float) -> dict[str, Any] | Lost:
        assert self._channel is not None
        left = self._deadline - time.monotonic()
        self._channel.settimeout(max(0.0, min(seconds, left)) + SECONDS_OF_GRACE)
        try:
            send(self._channel, message)
            return receive(self._channel)
        except TimeoutError:
            self.end()
            return Lost("OutOfTime", f"stopped after {seconds:g} s")
        except WireError:
            why = self.end(lost=True)
        match why:
            case "memory":
                return Lost("OutOfMemory", "used too much memory")
            case "processes":
                return Lost("OutOfMemory", "started too many processes")
            case "time":
                return Lost("OutOfTime", "used too much time of the processor")
            case "killed":  # nothing inside can do that: it is not the student's doing
                raise JailError("the process that ran it was killed; is there memory for it?")
        return Lost("Crash", "took down the process that it ran in: did it exit, or crash the interpreter?")


def grade(
    repaired: Repaired, exercises: Mapping[str, Exercise], zygote: Zygote, begin: Begin, remark: str
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
        JailError: the jail was lost; nothing is known about the submission then.
    """
    worker = Worker(zygote, begin)
    notebook = NotebookNode(repaired.notebook)
    notebook.cells = [NotebookNode(cell) for cell in notebook.cells]
    reports: dict[str, Report] = {}
    notes = [*repaired.notes]
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
                cell.outputs = [_result(Progress(tuple(reports.values())), count)]
            else:
                answer = worker.run(cell.source)
                cell.outputs = _outputs(answer, count)
                notes += _changed_settings(answer, cell, count, exercises)
                shown += len(json.dumps(cell.outputs))
                if shown > MOST_SHOWN:
                    text = "(not kept: all outputs of the notebook together are too large)"
                    cell.outputs = [NotebookNode(output_type="stream", name="stderr", text=text)]
    finally:
        worker.end()
    if notes:
        notebook.cells.insert(0, _as_cell(notes))
    return notebook


def _changed_settings(
    answer: dict[str, Any] | Lost, cell: NotebookNode, count: int, exercises: Mapping[str, Exercise]
) -> Iterator[str]:
    """A note if the cell changed a setting of the whole process; what the worker says about it may be made up."""
    changed = None if isinstance(answer, Lost) else answer.get("changes")
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
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(" ".join(text.split())))


def _exercise_of(cell: NotebookNode, exercises: Mapping[str, Exercise]) -> str:
    own = cell.metadata.get("nbgrader", {})
    name = str(own.get("grade_id", "")).removeprefix("test_")
    return name if own.get("grade") and not own.get("solution") and name in exercises else ""


def _shows_progress(cell: NotebookNode) -> bool:
    return cell.metadata.get("nbgrader", {}).get("locked", False) and cell.source.strip() == "check()"


def _examine(exercise: Exercise, worker: Worker, remark: str) -> Report:
    looked = worker.ask({"do": "look", "name": exercise.defines}, SECONDS_FOR_A_CELL)
    if isinstance(looked, Lost):
        return Report(exercise.name, problem=f"not checked: {looked.message}", remark=remark, worth=exercise.points)
    try:
        described = decode_observation(looked.get("answer"))
    except BadObservation:
        described = {}
    if not described:
        problem = f"{exercise.defines} is not defined; did its cell run without an error?"
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
            PATIENCE * seconds,  # inside, what counts is the time of the processor
        )
        if isinstance(answer, Lost):
            return answer.observation, ""
        return what_was_seen(answer)

    # The answer works in another process; what passes here is the time that it takes.
    return conclude(exercise, *observe_all(exercise, look, SECONDS_FOR_AN_EXERCISE, patience=1), remark=remark)


def what_was_seen(answer: Mapping[str, Any]) -> tuple[Observation, str]:
    """What a worker says about a case: the observation, and what was printed. It may say anything."""
    printed = answer.get("printed")
    try:
        seen = decode_observation(answer.get("seen"))
    except BadObservation as error:
        return {"raised": {"type": "BadObservation", "message": f"{error}", "line": ""}}, ""
    return seen, printed[:MOST_PRINTED] if isinstance(printed, str) else ""


def _plain(described: Observation) -> Observation:
    """What sort of thing an answer is, with nothing in it but what a description has."""
    kind = described.get("type")
    flags: Observation = {name: described.get(name) is True for name in ("is a module", "can be called")}
    return {**flags, "type": kind[:MOST_OF_A_NAME] if isinstance(kind, str) else "thing"}


def _result(shown: Report | Progress, count: int) -> NotebookNode:
    data = shown._repr_mimebundle_() if isinstance(shown, Report) else {"text/html": shown._repr_html_()}
    return NotebookNode(
        {"output_type": "execute_result", "data": NotebookNode(data), "metadata": {}, "execution_count": count}
    )


def _outputs(answer: dict[str, Any] | Lost, count: int) -> list[NotebookNode]:
    """A cell's outputs, as nbformat wants them; what a stranger sent otherwise is left out."""
    if isinstance(answer, Lost):
        text = f"This cell {answer.message}."
        return [NotebookNode(output_type="error", ename=answer.kind, evalue=text, traceback=[text])]
    kept: list[NotebookNode] = []
    room = MOST_OF_A_CELL
    outputs = answer.get("outputs")
    for output in outputs[:MOST_OUTPUTS] if isinstance(outputs, list) else ():
        made = _output(output, count)
        if made is not None:
            room -= len(str(made))
            if room < 0:
                text = "… and more, which is not kept\n"
                return [*kept, NotebookNode(output_type="stream", name="stderr", text=text)]
            kept.append(made)
    return kept


def _output(output: Any, count: int) -> NotebookNode | None:
    match output:
        case {"output_type": "stream", "name": "stdout" | "stderr" as name, "text": str(text)}:
            return NotebookNode(output_type="stream", name=name, text=text[:MOST_TEXT])
        case {"output_type": "error", "ename": str(kind), "evalue": str(value), "traceback": [*lines]}:
            lines = [line[:MOST_TEXT] for line in lines[:100] if isinstance(line, str)]
            kind, value = kind[:MOST_OF_A_NAME], value[:MOST_TEXT]
            return NotebookNode(output_type="error", ename=kind, evalue=value, traceback=lines)
        case {"output_type": "execute_result" | "display_data" as sort, "data": dict(data)}:
            data = {
                mime: data[mime][: MOST_TEXT if mime.startswith("text/") else MOST_OF_A_CELL]
                for mime in SHOWN
                if isinstance(data.get(mime), str)
            }
            if not data:
                return None
            if "text/latex" in data:
                data["text/latex"] = harmless(data["text/latex"])
            made = NotebookNode(output_type=sort, data=NotebookNode(data), metadata=NotebookNode())
            if sort == "execute_result":
                made.execution_count = count
            return made
    return None
