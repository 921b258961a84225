"""What the commands do. `grader/__main__.py` reads the command line.

In: a course, and the arguments of a command. Out: lines for the person at the keyboard, and an exit status.
"""

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
from grader import errors, lock
from grader.authoring import accuracy, mistakes_page, sample
from grader.authoring.exercise import load
from grader.authoring.new import new_exercise
from grader.course import MARKS, Course
from grader.display.messages import count, first_names, printable
from grader.errors import CourseError, GraderError, SandboxError
from grader.files.atomic import PUBLIC_FILE, umask, write_file
from grader.gradebook.queries import Mark
from grader.gradebook.status import SubmissionStatus
from grader.progress import Progress
from grader.sandbox import doctor
from grader.sandbox.bubblewrap import require_bubblewrap
from grader.sandbox.processes import default_jobs
from grader.submission.students import normalize, show_differences


def add_exercise(course: Course, arguments: Arguments) -> None:
    """Add a stub of an exercise to an assignment, new or not."""
    name = arguments.assignment
    for path in new_exercise(course.solutions, name, arguments.exercise):
        print(f"wrote {path}")
    print(f"the stub works as it is; try it: python -m grader release {name} && python -m grader accuracy {name}")


def release(course: Course, arguments: Arguments) -> None:
    """Make exercises/ from solutions/."""
    for assignment in course.choose(arguments.assignments):
        renamed = dict(arguments.renamed)
        for line in course.release(assignment, remove_marks=arguments.remove_marks, renamed=renamed):
            print(line)
        print(f"released {course.exercises / assignment}")


def make_sample(course: Course, arguments: Arguments) -> None:
    """Make a course for the sample class, and submit its notebooks."""
    root = (arguments.to or course.root.parent / "_build" / "sample").resolve()
    if root == course.root or (root.exists() and not sample.is_sample(root) and any(root.iterdir())):
        raise CourseError(f"{root} is not empty and has no sample class; choose another folder: --to")
    students = _sample_class(course, arguments)
    sample.make_course(root, course.root, course.solutions, f"{course.directory.course_id}-sample")
    own = Course(root)
    with lock.hold(root):
        sample.keep_worth(root, students)
        for assignment in course.choose(arguments.assignments):
            public = course.exercises / assignment / "public.json"
            if not public.is_file():
                raise CourseError(f"{assignment} is not released yet; first: python -m grader release")
            own.release(assignment, remove_marks=True, public=public)
        sample.hand_in_everybody(students, own.exercises, own.submitted)
    notebooks = count(sum(len(student.answers) for student in students), "notebook")
    print(f"{count(len(students), 'student')} submitted {notebooks}, in {own.submitted}")


def _sample_class(course: Course, arguments: Arguments) -> list[sample.Student]:
    """What the sample class submits for the chosen assignments; it does not depend on which others are chosen."""
    folders = [course.solutions / name for name in course.assignments()]
    everybody = sample.students(
        [(load(folder), nbformat.read(folder / f"{folder.name}.ipynb", as_version=4)) for folder in folders]
    )
    chosen = course.choose(arguments.assignments)
    own = [{name: given for name, given in student.answers.items() if name in chosen} for student in everybody]
    return [sample.Student(student.name, answers) for student, answers in zip(everybody, own, strict=True) if answers]


def autograde(course: Course, arguments: Arguments) -> None:
    """Grade pending submissions."""
    # `--students ada custom_layers` reads as if both were students.
    students = [name for name in arguments.students if not _is_assignment(course, name)]
    assignments = [name for name in arguments.students if name not in students]
    if assignments and not students:
        raise CourseError(f"--students needs the name of a student; {first_names(assignments)} is an assignment")
    names = course.choose([*arguments.assignments, *assignments])
    submissions = {name: course.submissions(name, students) for name in names}
    for student in students:
        if not any(each.student == student for own in submissions.values() for each in own):
            raise CourseError(_no_submission(course, student, names))
    _warn_of_similar_students(course)
    isolated = not arguments.no_isolation
    if isolated:
        try:
            require_bubblewrap()
        except SandboxError as error:
            raise CourseError(f"{error}. For code that you trust there is --no-isolation") from error
    pending: list[SubmissionStatus] = []
    for assignment, own in submissions.items():
        chosen = [each for each in own if each.is_pending or arguments.force]
        print(f"{assignment}: {count(len(own), 'submission')}, {len(chosen)} to grade", flush=True)
        pending += chosen
        changed = course.update_late_penalties(assignment)
        if changed:
            print(f"  late penalties have changed for {printable(first_names(changed))}", flush=True)
    if not students:
        for line in course.skipped():
            print(f"  skipped: {printable(line)}", flush=True)
    if not pending:
        return
    course.check_writable()
    progress = Progress(len(pending))
    for outcome in course.grade(pending, course.job(arguments.seed, isolated), arguments.jobs):
        progress.add(outcome)
    progress.end()
    if progress.failed:
        raise CourseError(f"{count(progress.failed, 'submission')} could not be graded; see above")


def _is_assignment(course: Course, name: str) -> bool:
    return name in course.assignments() and not (course.submitted / name).exists()


def _no_submission(course: Course, student: str, assignments: Sequence[str]) -> str:
    """The message that a student has submitted nothing, with the names of similar folders."""
    names = {path.name for path in course.submitted.glob("*")} - {student}
    similar = sorted(name for name in names if normalize(name) == normalize(student))
    hint = f"; similar names: {show_differences(similar)}" if similar else ""
    folder = printable(str(course.submitted / student))
    return f"{printable(student)} has no submission for {', '.join(assignments)}, in {folder}{hint}"


def _warn_of_similar_students(course: Course) -> None:
    for group in course.similar_students():
        names = show_differences(group)
        print(f"these {len(group)} folders look like one student, but count as {len(group)}: {names}", flush=True)


def show_doctor(course: Course, arguments: Arguments) -> None:
    """Show what this machine offers for grading, and how the grader uses it."""
    job = course.job()
    found = doctor.examine(course.directory.db_url, course.root, (job.solutions, job.releases, *job.private))
    print(found.table)
    if readable := course.readable_by_others():
        command = shlex.join(["chmod", "-R", "go=", *map(str, readable)])
        print(f"other users of this machine can read students' work or marks; to prevent that: {command}")
    if found.sandbox_problem:
        reason = found.sandbox_problem
        raise CourseError(
            f"students' code cannot be isolated here: {reason}. Grading fails, unless you use --no-isolation"
        )
    print("students' code will be isolated")
    if found.gradebook_problem:
        raise CourseError(found.gradebook_problem)


def feedback(course: Course, arguments: Arguments) -> None:
    """Write a page for each graded submission."""
    failed = 0
    for assignment in course.choose(arguments.assignments):
        pages = course.pages(assignment)
        chosen = [page for page in pages if arguments.force or page.is_outdated]
        print(f"{assignment}: {len(pages)} graded, {count(len(chosen), 'page')} to write", flush=True)
        for number, result in enumerate(course.write_pages(chosen, arguments.jobs) if chosen else (), start=1):
            end = "  FAILED" if result.error else f"  {result.seconds:.1f} s"
            print(f"  {number:>3} / {len(chosen)}  {printable(result.page.student)}{end}", flush=True)
            if result.error:
                print(f"        {printable(result.error)}", flush=True)
            elif result.plain_because:
                reason = printable(result.plain_because)
                print(f"        plain text, because with formats and colours {reason}", flush=True)
            failed += bool(result.error)
    if failed:
        raise CourseError(f"{count(failed, 'page')} could not be written; see above")


def export(course: Course, arguments: Arguments) -> None:
    """Write all marks to a CSV file."""
    to = arguments.to or course.root / MARKS
    course.export(to)
    print(f"marks: {to}")


def status(course: Course, arguments: Arguments) -> None:
    """Show the marks of the class, by assignment, student and exercise."""
    _warn_of_similar_students(course)
    marks = course.marks()
    is_empty = True
    for assignment in course.choose(arguments.assignments):
        own = [mark for mark in marks if mark.assignment == assignment]
        submissions = course.submissions(assignment)
        pending = [each.student for each in submissions if each.is_pending]
        if own:
            print(f"{assignment}\n{_class_report(own)}")
        if any(mark.needs_manual_grading for mark in own):
            print("? needs manual grading: in the formgrader, Manual Grading")
        for each in submissions:
            if each.failure:
                has_marks = any(mark.student == each.student for mark in own)
                which = "; the marks are those of an earlier submission" if has_marks else ""
                print(printable(f"{each.student} could not be graded: {each.failure}{which}"))
        if pending:
            names = printable(first_names(pending))
            print(f"new or changed since it was graded: {names}. Run: python -m grader autograde {assignment}")
        if own or pending:
            is_empty = False
            print()
    if is_empty:
        print("there are no submissions yet; put them into submitted/ and run: python -m grader autograde")
    if sample.is_sample(course.root):
        chosen = course.choose(arguments.assignments)
        _compare_with_catalogue(sample.worth(course.root), [mark for mark in marks if mark.assignment in chosen])


def _compare_with_catalogue(known: Mapping[tuple[str, str, str], float], marks: Sequence[Mark]) -> None:
    """Compare the marks of the sample class with those in the catalogues."""
    own = [mark for mark in marks if (mark.student, mark.assignment, mark.exercise) in known]
    if not own:
        return
    wrong = [mark for mark in own if mark.score != known[mark.student, mark.assignment, mark.exercise]]
    for mark in wrong:
        right = known[mark.student, mark.assignment, mark.exercise]
        print(f"{mark.student}, {mark.exercise}: {mark.score:g} points, but the catalogue says {right:g}")
    if wrong:
        raise CourseError(f"{len(wrong)} of {len(own)} marks of the sample class are not those of the catalogue")
    print(f"sample class: all {len(own)} marks are those of the catalogue")


def _class_report(marks: Sequence[Mark]) -> Table:
    points = {mark.exercise: mark.max_score for mark in marks}
    any_late = any(mark.late_penalty for mark in marks)
    rows = []
    for student in dict.fromkeys(mark.student for mark in marks):
        own = {mark.exercise: mark for mark in marks if mark.student == student}
        late = max(mark.late_penalty for mark in own.values())
        scores = [_score(own.get(name)) for name in points]
        total = f"{sum(mark.score for mark in own.values()) - late:g} / {sum(points.values()):g}"
        rows.append([student, *scores, *([f"-{late:g}" if late else ""] if any_late else []), total])
    heads = ["student", *(f"{exercise} ({most:g})" for exercise, most in points.items())]
    return Table([*heads, *(["late"] if any_late else []), "all"], rows)


def _score(mark: Mark | None) -> str:
    if mark is None or not mark.is_graded:
        return "?" if mark and mark.needs_manual_grading else "\N{EN DASH}"
    return f"{mark.score:g}{'?' * mark.needs_manual_grading}"


def show_accuracy(course: Course, arguments: Arguments) -> None:
    """Check every answer in the catalogues, and show how often the grader is right."""
    folders = [course.solutions / name for name in course.choose(arguments.assignments)]
    found: list[accuracy.Accuracy] = []
    for one in accuracy.measure_all(folders, arguments.seeds, arguments.jobs):
        found.append(one)
        print(f"  {one.assignment}.{one.exercise}: {one.caught} of {one.wrong} caught", file=sys.stderr, flush=True)
    order = {name: i for i, name in enumerate(name for folder in folders for name in load(folder).exercises)}
    found.sort(key=lambda one: (one.assignment, order[one.exercise]))
    print(accuracy.table(found))
    for one in found:
        for alarm in one.false_alarms[:3]:
            print(f"false alarm: {one.exercise}: {alarm}")
    if arguments.to:
        command = f"python -m grader accuracy --seeds {arguments.seeds}"
        versions = f"torch {torch.__version__}, Python {platform.python_version()}"
        made = f"Made by `{command}` on {date.today():%d %B %Y}, {versions}."
        write_file(arguments.to, accuracy.as_markdown(found, made).encode(), PUBLIC_FILE & ~umask())
    bad = [one for one in found if one.false_alarms or not one.wrong == one.caught == one.named]
    if bad:
        raise CourseError(f"the grader is wrong in: {', '.join(one.exercise for one in bad)}")


def write_mistakes(course: Course, arguments: Arguments) -> None:
    """Write the book's pages of common mistakes from the catalogues."""
    toc = course.solutions.parent / "_toc.yml"
    cache = toc.parent / "_build" / "mistakes.json"
    mistakes_page.write_mistakes_pages(course.solutions, course.exercises, toc, arguments.to, cache, default_jobs())
    print(f"common mistakes: {arguments.to}")


_COMMANDS: dict[str, Callable[[Course, Arguments], None]] = {
    "new": add_exercise,
    "release": release,
    "sample": make_sample,
    "autograde": autograde,
    "feedback": feedback,
    "export": export,
    "status": status,
    "doctor": show_doctor,
    "accuracy": show_accuracy,
    "mistakes": write_mistakes,
}


# Other users may read what these commands make, except for what is made private explicitly.
_PUBLIC = ("new", "release", "sample", "accuracy", "mistakes")


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """Other users of this machine cannot read the files that are made inside."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def run(arguments: Arguments) -> int:
    """Run one command; an error is one line and exit status 1.

    Args:
        arguments: what `grader.__main__.parser` read.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of students' files may not be valid text
            stream.reconfigure(errors="backslashreplace")
    gradebook = ""
    try:
        course = Course(arguments.course)
        gradebook = course.directory.db_url
        mask = contextlib.nullcontext() if arguments.command in _PUBLIC else _private()
        with mask, lock.hold(course.root) if arguments.locks_course else contextlib.nullcontext():
            _COMMANDS[arguments.command](course, arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `head` or a pager has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SQLAlchemyError, InvalidEntry) as error:
        return _failed(errors.of_the_database(error, gradebook))
    except MissingEntry as error:
        return _failed(f"{error}, in the gradebook; first: python -m grader release")
    except OSError as error:
        return _failed(errors.of_the_disk(error, arguments.course))
    except (GraderError, ValueError) as error:
        return _failed(str(error))
    return 0


def _failed(line: str) -> int:
    print(f"grader: {line}", file=sys.stderr)
    return 1
