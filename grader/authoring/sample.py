"""A sample class, made from the catalogues, with the marks that it must get.

In: the assignments. Out: submissions of made-up students, in a course of its own, and the points that each answer is
worth. At least one student gives each known answer: the worked solution, other right answers, the mistakes, and what
goes wrong in every course (an unchanged stub, a syntax error, an infinite loop, a right answer that writes much to
stderr). The points follow from what the catalogue says, not from running the grader.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from grader.authoring.exercise import Assignment, ExerciseSource
from grader.authoring.fill_in import fill_in, solution_cells
from grader.files.atomic import make_private, new_folder, write_file

WORTH = "worth.json"  # in the course of a sample class: what its answers are worth
_NAMES = """
    ada alan barbara bela carl chandra donald dorothy edsger emmy evelyn frances george grace hedy hypatia ida
    irene john karen katherine kurt leslie lotfi margaret marie maryam niklaus noether olga paul radia ramanujan
    rosa shafi sofia tim ursula vera yuri
""".split()  # noqa: SIM905 - as a list it would fill a page


@dataclass(frozen=True)
class Answer:
    """One answer to one exercise, and what it is worth.

    Attributes:
        id: what it is: ``"right"``, ``"weight_data"``.
        source: of the solution cell; None leaves the stub.
        points: that it must get.
        in_words: whether a person marks it.
    """

    id: str
    source: str | None
    points: float
    in_words: bool = False


@dataclass(frozen=True)
class Student:
    """A made-up student, and the answers to each exercise of each assignment that he or she submits."""

    name: str
    answers: dict[str, dict[str, Answer]] = field(default_factory=dict)


def answers(exercise: ExerciseSource) -> list[Answer]:
    """Every answer that is known for an exercise; the worked one comes first."""
    everything = sum(check.points for check in exercise.checks)
    worked, name = exercise.worked, exercise.defines
    noisy = f"import sys\nimport warnings\n\nprint('hello', file=sys.stderr)\n{worked}\n\n"
    others = {other: source for other, source in exercise.right_answers.items() if other != "worked"}
    return [
        Answer("right", worked, everything),
        *(Answer(other, source, everything) for other, source in others.items()),
        Answer("noisy", noisy + _CHATTER.format(name=name), everything),
        *(
            Answer(m.id, m.source, everything - sum(c.points for c in exercise.checks if c.id in m.fails))
            for m in exercise.mistakes
        ),
        Answer("stub", None, 0),
        Answer("syntax_error", f"class {name}(nn.Module:\n    pass\n", 0),
        Answer("endless_loop", f"def {name}(*args):\n    while True:\n        pass\n", 0),
    ]


# Answers in words: they are worth nothing until a person has marked them.
_WRITTEN = [
    Answer("written", "The list is not registered, I think.", 0, in_words=True),
    Answer("blank", None, 0, in_words=True),
]

# Makes a function, or the constructor of a layer, warn and print at each call.
_CHATTER = """def _chattering(silent):
    def chattering(*args, **kwargs):
        warnings.warn("this is only a warning", stacklevel=1)
        print("on stderr", file=sys.stderr)
        return silent(*args, **kwargs)

    return chattering


if isinstance({name}, type):
    {name}.__init__ = _chattering({name}.__init__)
else:
    {name} = _chattering({name})
"""


def students(assignments: Sequence[tuple[Assignment, nbformat.NotebookNode]]) -> list[Student]:
    """The class.

    An assignment is submitted by as many students as its longest catalogue has answers. The k-th of them gives the
    k-th answer to each exercise; a shorter catalogue begins again.

    Args:
        assignments: each with the notebook of `solutions/`, for the worked answers.

    Raises:
        ValueError: a catalogue has more answers than the class has students.
    """
    everybody = [Student(name) for name in _NAMES]
    for number, (assignment, solution) in enumerate(assignments):
        cells = solution_cells(solution)
        known = {name: answers(exercise) for name, exercise in assignment.exercises.items()}
        known |= {name: _WRITTEN for name in cells if name not in assignment.exercises}
        size = max(map(len, known.values()))
        if size > len(everybody):
            raise ValueError(f"{assignment.name} has {size} answers to an exercise, for {len(everybody)} students")
        # Different students for each assignment, so that few hand in everything; in the last one all who are left.
        members = [everybody[(k * len(everybody) // size + number) % len(everybody)] for k in range(size)]
        if number == len(assignments) - 1:
            members += [student for student in everybody if not student.answers and student not in members]
        for k, student in enumerate(members):
            student.answers[assignment.name] = {name: given[k % len(given)] for name, given in known.items()}
    return everybody


def hand_in(answers: dict[str, Answer], release: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook with these answers into nbgrader's folder of submissions, unless it is there already."""
    notebook = fill_in(release, {n: a.source for n, a in answers.items() if a.source is not None})
    text = nbformat.writes(notebook)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def hand_in_everybody(made_up: Sequence[Student], releases: Path, to: Path) -> None:
    """Submit for the whole class, and for nobody else: what was there before is replaced.

    Args:
        made_up: the class.
        releases: nbgrader's release directory.
        to: where submissions are put.
    """
    with new_folder(to) as made:
        for student in made_up:
            for assignment, given in student.answers.items():
                notebook = f"{assignment}.ipynb"
                released = nbformat.read(releases / assignment / notebook, as_version=4)
                hand_in(given, released, made / student.name / assignment / notebook)


def make_course(root: Path, settings: Path, solutions: Path, course_id: str) -> None:
    """Make an nbgrader course with the settings and the solutions of another one, and with all else of its own.

    Args:
        root: its folder.
        settings: the folder of the other course.
        solutions: its solutions.
        course_id: the name of the new course in the gradebook.

    Raises:
        OSError: it cannot be written.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    make_private(root)
    paths = {"settings": os.path.relpath(settings, root), "solutions": os.path.relpath(solutions, root)}
    text = _CONFIG.format(**paths, course=course_id)
    write_file(root / "nbgrader_config.py", text.encode())


_CONFIG = '''\
"""The sample class's course. It is made by a program; what you change here is lost."""

from pathlib import Path

c = get_config()
here = Path(__file__).resolve().parent
load_subconfig("nbgrader_config.py", path=str(here / {settings!r}))
c.CourseDirectory.root = str(here)
c.CourseDirectory.course_id = {course!r}
c.CourseDirectory.source_directory = {solutions!r}
c.CourseDirectory.release_directory = "release"
c.CourseDirectory.db_url = f"sqlite:///{{here / 'gradebook.db'}}"
'''


def keep_worth(root: Path, made_up: Sequence[Student]) -> None:
    """Store what each answer is worth, except answers in words, which a person marks."""
    known = {
        student.name: {
            assignment: {exercise: answer.points for exercise, answer in given.items() if not answer.in_words}
            for assignment, given in student.answers.items()
        }
        for student in made_up
    }
    write_file(root / WORTH, json.dumps(known, indent=1).encode())


def is_sample(root: Path) -> bool:
    """Whether a course is that of a sample class."""
    return (root / WORTH).is_file()


def worth(root: Path) -> dict[tuple[str, str, str], float]:
    """What the answers of a sample class are worth, by student, assignment and exercise."""
    known = json.loads((root / WORTH).read_bytes())
    return {
        (student, assignment, exercise): points
        for student, assignments in known.items()
        for assignment, exercises in assignments.items()
        for exercise, points in exercises.items()
    }
