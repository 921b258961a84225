"""What the commands do. `grader/__main__.py` says how they are called."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import sys
from argparse import Namespace as Arguments
from collections.abc import Callable, Sequence
from datetime import date

import nbformat
import torch
from nbgrader.api import InvalidEntry, MissingEntry
from sqlalchemy.exc import SQLAlchemyError

from d2lblocks.tables import Table
from grader import accuracy, doctor, faults, jail, pages, sample
from grader.alone import NotAlone, alone
from grader.authoring import load
from grader.class_run import GraderError
from grader.course import Course, CourseError, HandedIn, Mark
from grader.progress import Progress, visible
from grader.repair import some


def release(course: Course, arguments: Arguments) -> None:
    """Make exercises/ from solutions/."""
    for assignment in course.choose(arguments.assignments):
        course.release(assignment)
        print(f"released {course.exercises / assignment}")


def hand_in_sample(course: Course, arguments: Arguments) -> None:
    """Hand in the sample class, or remove it."""
    if arguments.remove:
        count = sample.remove(course.submitted, course.autograded, course.feedback_directory)
        with course.gradebook() as gradebook:
            for student in gradebook.students:
                if student.id.startswith(sample.PREFIX):
                    gradebook.remove_student(student.id)
        print(f"removed {_count(count, 'student')} of the sample class")
        return
    made_up = _sample_class(course, arguments)
    for student in made_up:
        for assignment, answers in student.answers.items():
            notebook = f"{assignment}.ipynb"
            try:
                released = nbformat.read(course.exercises / assignment / notebook, as_version=4)
            except FileNotFoundError:
                raise CourseError(f"{assignment} is not released yet; first: python -m grader release") from None
            sample.hand_in(answers, released, course.submitted / student.name / assignment / notebook)
    count = sum(len(student.answers) for student in made_up)
    print(f"{_count(len(made_up), 'student')} handed in {_count(count, 'notebook')}, in {course.submitted}")


def _sample_class(course: Course, arguments: Arguments) -> list[sample.Student]:
    """What the sample class hands in for the chosen assignments; the same, whichever others are chosen."""
    folders = [course.solutions / name for name in course.assignments()]
    everybody = sample.students(
        [(load(folder), nbformat.read(folder / f"{folder.name}.ipynb", as_version=4)) for folder in folders]
    )
    chosen = course.choose(arguments.assignments)
    own = [{name: given for name, given in student.answers.items() if name in chosen} for student in everybody]
    return [sample.Student(student.name, answers) for student, answers in zip(everybody, own, strict=True) if answers]


def autograde(course: Course, arguments: Arguments, zygote: jail.Zygote) -> None:
    """Grade what was handed in and not yet graded, with a zygote that may have been started before."""
    chosen = {name: course.submissions(name, arguments.students) for name in course.choose(arguments.assignments)}
    for student in arguments.students:
        if not any(s.student == student for everything in chosen.values() for s in everything):
            raise CourseError(f"{student} has handed in none of {', '.join(chosen)}, in {course.submitted / student}")
    isolated = not arguments.no_isolation
    problem = jail.why_not() if isolated else ""
    if problem:
        raise CourseError(f"{problem}. For code that you trust there is --no-isolation")
    due: list[HandedIn] = []
    for assignment, everything in chosen.items():
        new = [each for each in everything if each.due or arguments.force]
        print(f"{assignment}: {_count(len(everything), 'submission')}, {len(new)} to grade", flush=True)
        due += new
    if not arguments.students:
        for line in course.not_looked_at():
            print(f"  not looked at: {visible(line)}", flush=True)
    if not due:
        return
    course.prove_writable()
    progress = Progress(len(due))
    for outcome in course.grade(due, course.order(arguments.seed, isolated), arguments.jobs, zygote):
        progress.add(outcome)
    progress.end()
    if progress.failed:
        raise CourseError(f"{_count(progress.failed, 'submission')} could not be graded; see above")


def show_doctor(course: Course, arguments: Arguments) -> None:
    """Say what this machine offers for grading, and what will be done with it."""
    found = doctor.examine(course.directory.db_url, course.root)
    print(found.table)
    if found.jail:
        raise CourseError(
            f"students' code cannot be isolated here: {found.jail}. Grading refuses, unless --no-isolation"
        )
    print("students' code will be isolated")
    if found.gradebook:
        raise CourseError(found.gradebook)


def feedback(course: Course, arguments: Arguments) -> None:
    """Write a page for each graded submission."""
    failed = 0
    for assignment in course.choose(arguments.assignments):
        graded = course.pages(assignment)
        due = [page for page in graded if arguments.force or page.old]
        print(f"{assignment}: {len(graded)} graded, {_count(len(due), 'page')} to write", flush=True)
        for number, written in enumerate(course.write_pages(due, arguments.jobs) if due else (), start=1):
            end = "  FAILED" if written.problem else f"  {written.seconds:.1f} s"
            print(f"  {number:>3} / {len(due)}  {visible(written.page.student)}{end}", flush=True)
            if written.problem or written.plain:
                text = written.problem or f"plain text, because with formats and colours {written.plain}"
                print(f"        {visible(text)}", flush=True)
            failed += bool(written.problem)
    if failed:
        raise CourseError(f"{_count(failed, 'page')} could not be written; see above")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def export(course: Course, arguments: Arguments) -> None:
    """Write all marks to a CSV file."""
    to = arguments.to or course.root / "marks.csv"
    course.export(to)
    print(f"marks: {to}")


def status(course: Course, arguments: Arguments) -> None:
    """Show the marks of the class, by assignment, student and exercise."""
    marks = course.marks()
    nothing = True
    for assignment in course.choose(arguments.assignments):
        own = [mark for mark in marks if mark.assignment == assignment]
        due = [each.student for each in course.submissions(assignment) if each.due]
        if own:
            print(f"{assignment}\n{_class_report(own)}")
        if any(mark.by_hand for mark in own):
            print("? waits for a person: in the formgrader, Manual Grading")
        if due:
            names = visible(some(due))
            print(f"not graded, or not as it is now: {names}. Run: python -m grader autograde {assignment}")
        if own or due:
            nothing = False
            print()
    if nothing:
        print("nothing is handed in yet; put submissions into submitted/ and run: python -m grader autograde")
    if any(mark.student.startswith(sample.PREFIX) for mark in marks):
        _compare_with_catalogue(_sample_class(course, arguments), marks)


def _compare_with_catalogue(made_up: Sequence[sample.Student], marks: Sequence[Mark]) -> None:
    """Say whether the sample class has the marks that its answers are worth."""
    known = {
        (student.name, assignment, exercise): answer
        for student in made_up
        for assignment, answers in student.answers.items()
        for exercise, answer in answers.items()
    }
    own = [mark for mark in marks if (mark.student, mark.assignment, mark.exercise) in known]
    # An answer in words is worth what the person says who has read it.
    own = [m for m in own if not m.score or not known[m.student, m.assignment, m.exercise].in_words]
    if not own:  # of other assignments only
        return
    wrong = [mark for mark in own if mark.score != known[mark.student, mark.assignment, mark.exercise].points]
    for mark in wrong:
        right = known[mark.student, mark.assignment, mark.exercise].points
        print(f"{mark.student}, {mark.exercise}: {mark.score:g} points, but the answer is worth {right:g}")
    if wrong:
        raise CourseError(f"{len(wrong)} of {len(own)} marks of the sample class are not those of the catalogue")
    print(f"sample class: all {len(own)} marks are those of the catalogue")


def _class_report(marks: Sequence[Mark]) -> Table:
    most = {mark.exercise: mark.most for mark in marks}
    any_late = any(mark.late for mark in marks)
    rows = []
    for student in dict.fromkeys(mark.student for mark in marks):
        own = {mark.exercise: mark for mark in marks if mark.student == student}
        late = max(mark.late for mark in own.values())
        scores = [f"{own[name].score:g}{'?' * own[name].by_hand}" if name in own else "0" for name in most]
        total = f"{sum(mark.score for mark in own.values()) - late:g} / {sum(most.values()):g}"
        rows.append([student, *scores, *([f"-{late:g}" if late else ""] if any_late else []), total])
    heads = ["student", *(f"{exercise} ({points:g})" for exercise, points in most.items())]
    return Table([*heads, *(["late"] if any_late else []), "all"], rows)


def show_accuracy(course: Course, arguments: Arguments) -> None:
    """Try every answer of the catalogues, and say how often the grader is right."""
    folders = [course.solutions / name for name in course.choose(arguments.assignments)]
    found: list[accuracy.Accuracy] = []
    for one in accuracy.measure_all(folders, arguments.seeds, arguments.jobs):
        found.append(one)
        print(f"  {one.assignment}.{one.exercise}: {one.caught} of {one.wrong} caught", file=sys.stderr, flush=True)
    order = {name: i for i, name in enumerate(name for folder in folders for name in load(folder).tasks)}
    found.sort(key=lambda one: (one.assignment, order[one.exercise]))
    print(accuracy.table(found))
    for one in found:
        for alarm in one.false_alarms[:3]:
            print(f"false alarm: {one.exercise}: {alarm}")
    if arguments.to:
        made = f"Made on {date.today():%d %B %Y}, torch {torch.__version__}, Python {platform.python_version()}."
        arguments.to.write_text(accuracy.as_markdown(found, made), encoding="utf-8")
    bad = [one for one in found if one.false_alarms or not one.wrong == one.caught == one.named]
    if bad:
        raise CourseError(f"not right in: {', '.join(one.exercise for one in bad)}")


def write_mistakes(course: Course, arguments: Arguments) -> None:
    """Write the book's page of common mistakes from the catalogues."""
    chosen = [course.solutions / name for name in course.choose(arguments.assignments)]
    folders = pages.in_the_books_order(chosen, course.solutions.parent / "_toc.yml")
    page = pages.mistakes_page((load(folder), folder) for folder in folders)
    if not pages.same(page, arguments.to):
        arguments.to.write_text(page, encoding="utf-8")
    print(f"common mistakes: {arguments.to}")


_COMMANDS: dict[str, Callable[[Course, Arguments], None]] = {
    "release": release,
    "sample": hand_in_sample,
    "feedback": feedback,
    "export": export,
    "status": status,
    "doctor": show_doctor,
    "accuracy": show_accuracy,
    "mistakes": write_mistakes,
}


def run(arguments: Arguments, zygote: jail.Zygote) -> int:
    """Run one command; an error is one line and exit status 1.

    Args:
        arguments: what `grader.__main__.parser` read.
        zygote: for students' code, perhaps started before.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a student calls a file need not be text
            stream.reconfigure(errors="backslashreplace")
    gradebook = ""
    try:
        course = Course(arguments.course)
        gradebook = course.directory.db_url
        with alone(course.root) if arguments.alone else contextlib.nullcontext():
            if arguments.command == "autograde":
                autograde(course, arguments, zygote)
            else:
                _COMMANDS[arguments.command](course, arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # who read this, `head` or a pager, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SQLAlchemyError, InvalidEntry) as error:
        return _failed(faults.of_the_database(error, gradebook))
    except MissingEntry as error:
        return _failed(f"{error}, in the gradebook; enter it with: python -m grader release")
    except OSError as error:
        return _failed(faults.of_the_disk(error, arguments.course))
    except (CourseError, GraderError, NotAlone, ValueError) as error:
        return _failed(str(error))
    return 0


def _failed(line: str) -> int:
    print(f"grader: {line}", file=sys.stderr)
    return 1
