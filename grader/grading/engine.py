"""The grading engine: run a submission in the sandbox, observe its answers, judge them here.

In: a repaired notebook and the exercises of its assignment. Out: the notebook with its outputs and reports. The
worker in the sandbox gets cells to run and cases to observe, one at a time, and sends back outputs and observations.
All decisions are made on this side, because the worker may have been taken over.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from grader.grading.outputs import MAX_NAME_LENGTH, cell_outputs, error_stream
from grader.sandbox import worker_client
from grader.sandbox.inside.protocol import TOO_LARGE
from grader.sandbox.worker_client import Answer, WorkerClient, WorkerFailure, size_in_words
from grader.sandbox.zygote import WorkerSpec, Zygote
from grader.submission.repair import Repaired

MAX_NOTEBOOK_OUTPUT = 20 * 2**20  # characters of all that a notebook displays
MAX_PRINTED = 10_000  # characters
# Bytes of a worker's answers.
MAX_DESCRIPTION_BYTES = 2**16
MAX_OBSERVATION_BYTES = 2**18  # plus this many times the reference's largest observation:
MAX_REFERENCE_FACTOR = 4


def grade(
    repaired: Repaired, exercises: Mapping[str, Exercise], zygote: Zygote, spec: WorkerSpec, remark: str
) -> NotebookNode:
    """Run a submission and judge it.

    Args:
        repaired: the submission.
        exercises: of its assignment, with secret cases.
        zygote: starts its workers.
        spec: of these.
        remark: the last line of each report.

    Returns:
        The notebook with the outputs of its cells; that of an autograde cell is its report.

    Raises:
        SandboxError: the sandbox was lost; then nothing is known about the submission.
    """
    worker = WorkerClient(zygote, spec)
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
            if name is not None:
                report = examine(exercises[name], worker, remark)
                reports[name] = replace(report, as_number=True, graded=True)
                cell.outputs = [_result(reports[name], count)]
            elif _shows_progress(cell):
                cell.outputs = [_result(AssignmentReport(tuple(reports.values())), count)]
            else:
                answer = worker.run(cell.source)
                cell.outputs = cell_outputs(answer, count, pictures)
                notes += _changed_settings(answer, cell, count, exercises)
                shown += len(json.dumps(cell.outputs))
                if shown > MAX_NOTEBOOK_OUTPUT:
                    cell.outputs = [error_stream("(not kept: all outputs of the notebook together are too large)")]
    finally:
        worker.end()
    for cell in notebook.cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("locked"):
            cell.source = characters.code(cell.source)
    if notes:
        notebook.cells.insert(0, _cell_of(notes))
    bound(notebook)
    return notebook


def _changed_settings(
    answer: Answer | WorkerFailure, cell: NotebookNode, count: int, exercises: Mapping[str, Exercise]
) -> Iterator[str]:
    """A note if the cell changed a setting of the whole process; the worker may send anything."""
    changed = None if isinstance(answer, WorkerFailure) else answer.get("changes")
    if isinstance(changed, dict):
        name = str(cell.metadata.get("nbgrader", {}).get("grade_id"))
        note = in_words(f"The cell of {name}" if name in exercises else f"The cell [{count}]", changed)
        if note:
            yield note


def _cell_of(notes: Sequence[str]) -> NotebookNode:
    """A cell that tells the student what was unusual. Notes quote names that a student has chosen."""
    lines = "".join(f"\n- {_literally(note)}" for note in notes)
    return nbformat.v4.new_markdown_cell(f"**The grader's notes on this notebook**\n{lines}\n", id="grader-notes")


_MARKDOWN = re.compile(r"[\\`*_\[\]$~|]")


def _literally(text: str) -> str:
    """A text on one line that Markdown shows as it is: no tags, no links."""
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(" ".join(characters.text(text).split())))


def _exercise_of(cell: NotebookNode, exercises: Mapping[str, Exercise]) -> str | None:
    """The exercise that an autograde cell checks; None if the cell is no such cell."""
    own = cell.metadata.get("nbgrader", {})
    name = str(own.get("grade_id", "")).removeprefix("test_")
    return name if own.get("grade") and not own.get("solution") and name in exercises else None


def _shows_progress(cell: NotebookNode) -> bool:
    return cell.metadata.get("nbgrader", {}).get("locked", False) and cell.source.strip() == "check()"


def examine(exercise: Exercise, worker: WorkerClient, remark: str) -> Report:
    """Observe an answer on all cases in the worker, and judge it here."""
    description = worker.ask(
        {"do": "look", "name": exercise.defines}, worker_client.CELL_TIMEOUT, MAX_DESCRIPTION_BYTES
    )
    if isinstance(description, WorkerFailure):
        return Report(
            exercise.name, problem=f"not checked: it {description.message}", remark=remark, worth=exercise.points
        )
    try:
        described = decode_observation(description.get("answer"))
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
            WALL_CLOCK_FACTOR * seconds,  # the worker itself counts the time of the processor
            max_bytes,
        )
        if isinstance(answer, WorkerFailure):
            return answer.observation, ""
        return read_observation(answer)

    max_bytes = MAX_OBSERVATION_BYTES + MAX_REFERENCE_FACTOR * exercise.largest
    # The answer runs in another process; the time that counts is the time we wait for it.
    return try_and_judge(exercise, look, worker_client.EXERCISE_TIMEOUT, 1, lambda: worker.waited, remark)


def read_observation(answer: Answer) -> tuple[Observation, str]:
    """A worker's answer about a case: the observation, and what was printed. It may be anything."""
    if TOO_LARGE in answer:
        message = f"{size_in_words(answer)}, far more than an answer can need"
        return failure(FailureKind.BAD_OBSERVATION, message), ""
    printed = answer.get("printed")
    try:
        seen = decode_observation(answer.get("seen"))
    except BadObservation as error:
        return failure(FailureKind.BAD_OBSERVATION, str(error)), ""
    return seen, printed[:MAX_PRINTED] if isinstance(printed, str) else ""


def _plain(described: Observation) -> Observation:
    """The description of an answer, with nothing else in it."""
    kind = described.get("type")
    flags: Observation = {name: described.get(name) is True for name in ("is_module", "is_callable")}
    return {**flags, "type": kind[:MAX_NAME_LENGTH] if isinstance(kind, str) else "thing"}


def _result(shown: Report | AssignmentReport, count: int) -> NotebookNode:
    data = shown._repr_mimebundle_() if isinstance(shown, Report) else {"text/html": shown._repr_html_()}
    return NotebookNode(
        {"output_type": "execute_result", "data": NotebookNode(data), "metadata": {}, "execution_count": count}
    )
