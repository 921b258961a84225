"""A sample class, drawn from the catalogues, with the marks that it must get.

Every answer of every catalogue is given by at least one student: the worked solution, the alternatives, the
mistakes, and what goes wrong in every course (an untouched stub, a syntax error, a loop without end, a right answer
that chatters on stderr). The marks follow from what the catalogue says, not from running the grader.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from grader.authoring import Assignment, Task
from grader.submissions import fill_in, solution_cells

PREFIX = "sample-"


@dataclass(frozen=True)
class Answer:
    """One answer to one exercise, and what it is worth.

    Attributes:
        id: what it is: ``"right"``, ``"weight_data"``.
        source: of the solution cell; None leaves the stub.
        points: that it must get.
    """

    id: str
    source: str | None
    points: float


@dataclass(frozen=True)
class Student:
    """A made-up student: a name that tells what to expect, and an answer to each exercise."""

    name: str
    answers: dict[str, Answer]


def answers(task: Task, worked: str) -> list[Answer]:
    """Every answer that is known for an exercise; the right one comes first.

    Args:
        task: the exercise.
        worked: the source of the worked solution.
    """
    everything = sum(check.points for check in task.checks)
    noisy = f"import sys\nimport warnings\n\nprint('hello', file=sys.stderr)\n{worked}\n\n" + _CHATTER.format(
        name=task.defines
    )
    return [
        Answer("right", worked, everything),
        *(Answer(name, source, everything) for name, source in task.alternatives.items()),
        Answer("noisy", noisy, everything),
        *(
            Answer(m.id, m.source, everything - sum(c.points for c in task.checks if c.id in m.fails))
            for m in task.mistakes
        ),
        Answer("stub", None, 0),
        Answer("syntax_error", f"class {task.defines}(nn.Module:\n    pass\n", 0),
        Answer("endless_loop", f"def {task.defines}(*args):\n    while True:\n        pass\n", 0),
    ]


# Wraps whatever is defined so that each use of it warns.
_CHATTER = """_silent = {name}.forward


def _chattering(self, *inputs):
    warnings.warn("this is only a warning", stacklevel=1)
    print("on stderr", file=sys.stderr)
    return _silent(self, *inputs)


{name}.forward = _chattering
"""


def students(assignment: Assignment, solution: nbformat.NotebookNode) -> Iterator[Student]:
    """The class: student k gives the k-th answer to each exercise, beginning again when a catalogue is used up.

    Args:
        assignment: with its exercises.
        solution: the notebook of `solutions/`, for the worked answers.
    """
    cells = solution_cells(solution)
    known = {name: answers(task, cells[name].source) for name, task in assignment.tasks.items()}
    for k in range(max(map(len, known.values()))):
        given = {name: options[k % len(options)] for name, options in known.items()}
        ids = list(dict.fromkeys(answer.id for answer in given.values()))
        yield Student(f"{PREFIX}{k:02d}-" + "-".join(ids), given)


def hand_in(student: Student, release: nbformat.NotebookNode, path: Path) -> None:
    """Write a student's notebook into nbgrader's folder of submissions, unless it is there already."""
    notebook = fill_in(release, {n: a.source for n, a in student.answers.items() if a.source is not None})
    text = nbformat.writes(notebook)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def remove(*directories: Path) -> int:
    """Delete what the sample class left in these folders; returns how many students were found."""
    found = {folder for directory in directories for folder in directory.glob(f"{PREFIX}*")}
    for folder in found:
        shutil.rmtree(folder)
    return len({folder.name for folder in found})
