"""What the commands do. `grader/__main__.py` says how they are called."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import shlex
import sys
from argparse import Namespace as Arguments
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date

import nbformat
import torch
from nbgrader.api import InvalidEntry, MissingEntry
from sqlalchemy.exc import SQLAlchemyError

from d2lblocks.tables import Table
from grader import errors
from grader.authoring import accuracy, mistakes_page, sample
from grader.authoring.exercise import load
from grader.authoring.new import NewExerciseError, new_exercise
from grader.course import MARKS, Course, CourseError, Mark, PendingSubmission
from grader.files.atomic import PUBLIC_FILE, umask, write_file
from grader.grading.pool import GraderError
from grader.lock import LockedError, alone
from grader.progress import Progress, visible
from grader.sandbox import doctor, host
from grader.submission.repair import some
from grader.submission.students import key, told_apart


def add_exercise(course: Course, arguments: Arguments) -> None:
    """Add a stub of an exercise to an assignment, new or not."""
    name = arguments.assignment
    for path in new_exercise(course.solutions, name, arguments.exercise):
        print(f"wrote {path}")
    print(f"it works as it is; try it: python -m grader release {name} && python -m grader accuracy {name}")


def release(course: Course, arguments: Arguments) -> None:
    """Make exercises/ from solutions/."""
    for assignment in course.choose(arguments.assignments):
        renamed = dict(arguments.renamed)
        for line in course.release(assignment, remove_marks=arguments.remove_marks, renamed=renamed):
            print(line)
        print(f"released {course.exercises / assignment}")


def make_sample(course: Course, arguments: Arguments) -> None:
    """Make a course of its own for the sample class, and hand in for it."""
    root = (arguments.to or course.root.parent / "_build" / "sample").resolve()
    if root == course.root or (root.exists() and not sample.is_sample(root) and any(root.iterdir())):
        raise CourseError(f"{root} is not empty, and holds no sample class; choose another folder: --to")
    made_up = _sample_class(course, arguments)
    sample.make_course(root, course)
    own = Course(root)
    with alone(root):
        sample.keep_worth(root, made_up)
        for assignment in course.choose(arguments.assignments):
            public = course.exercises / assignment / "public.json"
            if not public.is_file():
                raise CourseError(f"{assignment} is not released yet; first: python -m grader release")
            own.release(assignment, remove_marks=True, public=public)
        sample.hand_in_everybody(made_up, own.exercises, own.submitted)
    count = sum(len(student.answers) for student in made_up)
    print(f"{_count(len(made_up), 'student')} handed in {_count(count, 'notebook')}, in {own.submitted}")


def _sample_class(course: Course, arguments: Arguments) -> list[sample.Student]:
    """What the sample class hands in for the chosen assignments; the same, whichever others are chosen."""
    folders = [course.solutions / name for name in course.assignments()]
    everybody = sample.students(
        [(load(folder), nbformat.read(folder / f"{folder.name}.ipynb", as_version=4)) for folder in folders]
    )
    chosen = course.choose(arguments.assignments)
    own = [{name: given for name, given in student.answers.items() if name in chosen} for student in everybody]
    return [sample.Student(student.name, answers) for student, answers in zip(everybody, own, strict=True) if answers]


def autograde(course: Course, arguments: Arguments, zygote: host.Zygote) -> None:
    """Grade what was handed in and not yet graded, with a zygote that may have been started before."""
    # `--students ada custom_layers` reads as if both were students.
    students = [name for name in arguments.students if not _is_assignment(course, name)]
    named = [name for name in arguments.students if name not in students]
    if named and not students:
        raise CourseError(f"--students needs the name of a student; {some(named)} is an assignment")
    chosen = {name: course.submissions(name, students) for name in course.choose([*arguments.assignments, *named])}
    for student in students:
        if not any(s.student == student for everything in chosen.values() for s in everything):
            there = {path.name for path in course.submitted.glob("*") if key(path.name) == key(student)} - {student}
            hint = f"; there is {told_apart(sorted(there))}" if there else ""
            place = course.submitted / student
            raise CourseError(f"{student} has handed in none of {', '.join(chosen)}, in {visible(str(place))}{hint}")
    _warn_of_look_alikes(course)
    isolated = not arguments.no_isolation
    problem = host.why_not() if isolated else ""
    if problem:
        raise CourseError(f"{problem}. For code that you trust there is --no-isolation")
    due: list[PendingSubmission] = []
    for assignment, everything in chosen.items():
        new = [each for each in everything if each.due or arguments.force]
        print(f"{assignment}: {_count(len(everything), 'submission')}, {len(new)} to grade", flush=True)
        due += new
        changed = course.settle_lateness(assignment)
        if changed:
            print(f"  the due date has changed; other points are deducted now: {visible(some(changed))}", flush=True)
    if not students:
        for line in course.not_looked_at():
            print(f"  not looked at: {visible(line)}", flush=True)
    if not due:
        return
    course.prove_writable()
    progress = Progress(len(due))
    for outcome in course.grade(due, course.job(arguments.seed, isolated), arguments.jobs, zygote):
        progress.add(outcome)
    progress.end()
    if progress.failed:
        raise CourseError(f"{_count(progress.failed, 'submission')} could not be graded; see above")


def _is_assignment(course: Course, name: str) -> bool:
    return name in course.assignments() and not (course.submitted / name).exists()


def _warn_of_look_alikes(course: Course) -> None:
    for group in course.look_alike():
        print(f"these folders look like one student, and count as {len(group)}: {told_apart(group)}", flush=True)


def show_doctor(course: Course, arguments: Arguments) -> None:
    """Say what this machine offers for grading, and what will be done with it."""
    job = course.job()
    found = doctor.examine(course.directory.db_url, course.root, (job.solutions, job.releases, *job.private))
    print(found.table)
    if theirs := course.open_to_others():
        close = shlex.join(["chmod", "-R", "go=", *map(str, theirs)])
        print(f"others on this machine can read students' work or marks; to close it: {close}")
    if found.sandbox:
        raise CourseError(
            f"students' code cannot be isolated here: {found.sandbox}. Grading refuses, unless --no-isolation"
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
    to = arguments.to or course.root / MARKS
    course.export(to)
    print(f"marks: {to}")


def status(course: Course, arguments: Arguments) -> None:
    """Show the marks of the class, by assignment, student and exercise."""
    _warn_of_look_alikes(course)
    marks = course.marks()
    nothing = True
    for assignment in course.choose(arguments.assignments):
        own = [mark for mark in marks if mark.assignment == assignment]
        handed_in = course.submissions(assignment)
        due = [each.student for each in handed_in if each.due]
        if own:
            print(f"{assignment}\n{_class_report(own)}")
        if any(mark.by_hand for mark in own):
            print("? waits for a person: in the formgrader, Manual Grading")
        for each in handed_in:
            if problem := course.failure(each):
                kept = any(mark.student == each.student for mark in own)
                which = "; the marks are those of what was handed in before" if kept else ""
                print(visible(f"{each.student} could not be graded: {problem}{which}"))
        if due:
            names = visible(some(due))
            print(f"not graded, or not as it is now: {names}. Run: python -m grader autograde {assignment}")
        if own or due:
            nothing = False
            print()
    if nothing:
        print("nothing is handed in yet; put submissions into submitted/ and run: python -m grader autograde")
    if sample.is_sample(course.root):
        chosen = course.choose(arguments.assignments)
        _compare_with_catalogue(sample.worth(course.root), [mark for mark in marks if mark.assignment in chosen])


def _compare_with_catalogue(known: Mapping[tuple[str, str, str], float], marks: Sequence[Mark]) -> None:
    """Say whether the sample class has the marks that its answers are worth."""
    own = [mark for mark in marks if (mark.student, mark.assignment, mark.exercise) in known]
    if not own:
        return
    wrong = [mark for mark in own if mark.score != known[mark.student, mark.assignment, mark.exercise]]
    for mark in wrong:
        right = known[mark.student, mark.assignment, mark.exercise]
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
        scores = [_score(own.get(name)) for name in most]
        total = f"{sum(mark.score for mark in own.values()) - late:g} / {sum(most.values()):g}"
        rows.append([student, *scores, *([f"-{late:g}" if late else ""] if any_late else []), total])
    heads = ["student", *(f"{exercise} ({points:g})" for exercise, points in most.items())]
    return Table([*heads, *(["late"] if any_late else []), "all"], rows)


def _score(mark: Mark | None) -> str:
    if mark is None or not mark.given:
        return "?" if mark and mark.by_hand else "\N{EN DASH}"
    return f"{mark.score:g}{'?' * mark.by_hand}"


def show_accuracy(course: Course, arguments: Arguments) -> None:
    """Try every answer of the catalogues, and say how often the grader is right."""
    folders = [course.solutions / name for name in course.choose(arguments.assignments)]
    found: list[accuracy.Accuracy] = []
    for one in accuracy.measure_all(folders, arguments.seeds, arguments.jobs):
        found.append(one)
        print(f"  {one.assignment}.{one.exercise}: {one.caught} of {one.wrong} caught", file=sys.stderr, flush=True)
    position = {name: i for i, name in enumerate(name for folder in folders for name in load(folder).exercises)}
    found.sort(key=lambda one: (one.assignment, position[one.exercise]))
    print(accuracy.table(found))
    for one in found:
        for alarm in one.false_alarms[:3]:
            print(f"false alarm: {one.exercise}: {alarm}")
    if arguments.to:
        made = f"Made on {date.today():%d %B %Y}, torch {torch.__version__}, Python {platform.python_version()}."
        write_file(arguments.to, accuracy.as_markdown(found, made).encode(), PUBLIC_FILE & ~umask())
    bad = [one for one in found if one.false_alarms or not one.wrong == one.caught == one.named]
    if bad:
        raise CourseError(f"not right in: {', '.join(one.exercise for one in bad)}")


def write_mistakes(course: Course, arguments: Arguments) -> None:
    """Write the book's page of common mistakes from the catalogues."""
    toc = course.solutions.parent / "_toc.yml"
    mistakes_page.write_mistakes_page(course.solutions, course.exercises, toc, arguments.to)
    print(f"common mistakes: {arguments.to}")


_COMMANDS: dict[str, Callable[[Course, Arguments], None]] = {
    "new": add_exercise,
    "release": release,
    "sample": make_sample,
    "feedback": feedback,
    "export": export,
    "status": status,
    "doctor": show_doctor,
    "accuracy": show_accuracy,
    "mistakes": write_mistakes,
}


# What these make is for others to read; what is not, is made private one by one.
_PUBLIC = ("new", "release", "sample", "accuracy", "mistakes")


@contextlib.contextmanager
def _for_nobody_else() -> Iterator[None]:
    """Whatever is made inside, nobody else on this machine may read it."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def run(arguments: Arguments, zygote: host.Zygote) -> int:
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
        mask = contextlib.nullcontext() if arguments.command in _PUBLIC else _for_nobody_else()
        with mask, alone(course.root) if arguments.alone else contextlib.nullcontext():
            if arguments.command == "autograde":
                autograde(course, arguments, zygote)
            else:
                _COMMANDS[arguments.command](course, arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # who read this, `head` or a pager, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SQLAlchemyError, InvalidEntry) as error:
        return _failed(errors.of_the_database(error, gradebook))
    except MissingEntry as error:
        return _failed(f"{error}, in the gradebook; enter it with: python -m grader release")
    except OSError as error:
        return _failed(errors.of_the_disk(error, arguments.course))
    except (CourseError, GraderError, LockedError, NewExerciseError, ValueError) as error:
        return _failed(str(error))
    return 0


def _failed(line: str) -> int:
    print(f"grader: {line}", file=sys.stderr)
    return 1
