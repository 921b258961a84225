"""The command line: `python -m grader COMMAND`.

In: arguments. Out: an exit status. What a command does is in `grader/commands.py`, which imports PyTorch and
nbgrader. This module imports little, so that help appears at once and the sandbox starts while the rest is
imported.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

from grader.sandbox import prestart
from grader.sandbox.processes import default_jobs

HERE = Path(__file__).resolve().parent
GUIDES = HERE.parent / "book" / "guides"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m grader",
        description="A course, on top of nbgrader. The usual steps: release, autograde, status, feedback, export.",
        epilog="`python -m grader COMMAND --help` explains a command and shows examples.",
    )
    result.add_argument(
        "--course",
        type=Path,
        default=HERE,
        metavar="DIR",
        help="the folder with nbgrader_config.py (default: grader/)",
    )
    commands = result.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(
        name: str, text: str, examples: Mapping[str, str], *, of_assignments: bool = True, locks_course: bool = False
    ) -> argparse.ArgumentParser:
        text = inspect.cleandoc(text)
        shown = "\n".join(f"  python -m grader {name + ' ' + more:<38} {what}" for more, what in examples.items())
        added = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            epilog=f"examples:\n{shown}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if of_assignments:
            added.add_argument("assignments", nargs="*", metavar="ASSIGNMENT", help="default: all")
        added.set_defaults(locks_course=locks_course)
        return added

    adding = command(
        "new",
        """Add a stub of an exercise to an assignment, new or not.

        The command writes cells into the notebook, a file with the checks, and a file with known answers. The stub
        works as it is: release it, try it, and then change it into your exercise. The command overwrites nothing.
        """,
        {"warm_up scale": "the exercise `scale` in solutions/warm_up/"},
        of_assignments=False,
    )
    adding.add_argument("assignment", metavar="ASSIGNMENT", help="the name of its folder in solutions/")
    adding.add_argument("exercise", metavar="EXERCISE", help="its name, in small letters: my_linear")
    releasing = command(
        "release",
        """Make exercises/ from solutions/.

        Solutions are removed from the notebooks, and a file with the public cases is added to each. The result holds
        no secrets; give it to students as it is. All marks and comments of cells that still exist are kept.
        """,
        {
            "": "all assignments",
            "custom_layers": "one assignment",
            "--renamed bias=bias_2": "after a cell was renamed",
        },
        locks_course=True,
    )
    releasing.add_argument(
        "--renamed",
        type=_renamed,
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="a cell was renamed from OLD to NEW; it keeps its marks",
    )
    releasing.add_argument(
        "--remove-marks", action="store_true", help="delete marks that a person gave, if their cell no longer exists"
    )
    command(
        "sample",
        """Make a sample class, in a course of its own.

        Forty invented students submit all the answers in the catalogues. Their course is a separate folder. Grade it
        with the same commands; to remove it, delete the folder.
        """,
        {
            "": "in _build/sample/",
            "--to /tmp/sample": "in another folder",
            "&& python -m grader --course _build/sample autograde": "and grade it",
        },
        locks_course=True,
    ).add_argument("--to", type=Path, metavar="DIR", help="default: _build/sample")
    grading = command(
        "autograde",
        """Grade new and changed submissions.

        Students' code runs in a sandbox. The marks of each submission are entered into the gradebook as soon as it is
        graded. A graded submission is graded again only if it, the release, the reference or the grader has changed.
        You can stop the command at any time; the same command continues. The exit status is 1 if a submission could
        not be graded.
        """,
        {
            "": "all pending submissions",
            "custom_layers --jobs 8": "one assignment, eight submissions at a time",
            "--students ada alan --force": "two students, again",
            "--seed 793910 --force": "with the secret cases of this seed",
        },
        locks_course=True,
    )
    grading.add_argument(
        "--students",
        nargs="+",
        action="extend",
        default=[],
        metavar="STUDENT",
        help="names of students' folders; default: all",
    )
    grading.add_argument(
        "--seed", type=int, help="of the secret cases, to repeat a grading; each graded notebook shows its seed"
    )
    grading.add_argument("--force", action="store_true", help="grade all submissions again")
    _add_jobs(grading)
    grading.add_argument(
        "--no-isolation",
        action="store_true",
        help="run students' code without the sandbox; each graded notebook says so",
    )
    pages = command(
        "feedback",
        """Write a page for each graded submission.

        A page shows the student's notebook with the tables of checks, and the marks and comments that were given in
        the formgrader. Only pages that are missing or outdated are written. A notebook that takes too long to show is
        shown as plain text.
        """,
        {"": "pages that are missing or outdated", "--force": "all pages"},
        locks_course=True,
    )
    pages.add_argument("--force", action="store_true", help="write all pages again")
    _add_jobs(pages)
    command(
        "export",
        """Write all marks to a CSV file.

        There is one row for each student and assignment, with nbgrader's columns and one more, `state`: for example,
        not submitted, not graded, needs manual grading. Where there is no mark there is no number.
        """,
        {"": "to grader/marks.csv", "--to term.csv": "to another file"},
        of_assignments=False,
    ).add_argument("--to", type=Path, metavar="FILE", help="default: marks.csv in the course")
    command(
        "status",
        """Show the marks of the class, by assignment, student and exercise.

        In the course of the sample class, the marks are compared with those in the catalogues; the exit status is 1
        if any mark differs.
        """,
        {"": "the whole class", "custom_layers": "in one assignment"},
    )
    command(
        "doctor",
        """Show what this machine offers for grading, and how the grader uses it.

        The command tries everything that it reports. The exit status is 1 if grading would fail.
        """,
        {"": "before the first grading, and when grading fails"},
        of_assignments=False,
    )
    trial = command(
        "accuracy",
        """Check every answer in the catalogues, and show how often the grader is right.

        The exit status is 1 if a wrong answer passes or is not recognised, or if a right answer fails.
        """,
        {"": "all assignments", "custom_layers --seeds 100": "one, more thoroughly"},
    )
    trial.add_argument(
        "--seeds", type=int, default=10, metavar="N", help="number of seeds of secret cases, for right answers"
    )
    _add_jobs(trial)
    trial.add_argument("--to", type=Path, metavar="FILE", help="write the table to a file, too, as Markdown")
    command(
        "mistakes",
        """Write the book's pages of common mistakes from the catalogues and the release: one for each assignment.

        For each mistake: its code, what the checks observe, why it happens, what to do. `make book` does it, too.
        """,
        {"": "after a catalogue has changed"},
        of_assignments=False,
    ).add_argument(
        "--to", type=Path, default=GUIDES / "mistakes", metavar="DIR", help="default: book/guides/mistakes/"
    )
    return result


def _add_jobs(to: argparse.ArgumentParser) -> None:
    jobs = default_jobs()
    to.add_argument("--jobs", type=_jobs, default=jobs, metavar="N", help="default: one for each core")


def _renamed(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not old or not new:
        raise argparse.ArgumentTypeError("write OLD=NEW")
    return old, new


def _jobs(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("the number must be 1 or more")
    return number


def main() -> int:
    """Run one command; an error is one line and exit status 1."""
    arguments = parser().parse_args()
    try:
        if arguments.command == "autograde":
            prestart.prestart(isolated=not arguments.no_isolation)
        # jsonschema would import it, for addresses that no notebook has; the import takes a second.
        sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
        from grader import commands  # while the zygote starts

        return commands.run(arguments)
    except KeyboardInterrupt:
        print("\ngrader: stopped; all marks so far are kept, the same command continues", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
