"""The course from the command line: `python -m grader COMMAND`.

What a command does is in `grader/commands.py`, which brings PyTorch and nbgrader; this module is light, so that help
comes at once and the sandbox starts while the rest is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

from grader.sandbox import host

HERE = Path(__file__).resolve().parent
GUIDES = HERE.parent / "book" / "guides"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m grader",
        description="The course, on top of nbgrader. The usual way: release, autograde, status, feedback, export.",
        epilog="`python -m grader COMMAND --help` says more about a command, with examples.",
    )
    result.add_argument("--course", type=Path, default=HERE, metavar="DIR", help="folder with nbgrader_config.py")
    commands = result.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def command(
        name: str, text: str, examples: Mapping[str, str], *, of_assignments: bool = True, alone: bool = False
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
        added.set_defaults(alone=alone)
        return added

    adding = command(
        "new",
        """Add a stub of an exercise to an assignment, new or not.

        It writes cells into the notebook, a file with the checks, and a file with known answers. The stub works as it
        is: release it, try it, and then make your exercise of it. Nothing is overwritten.
        """,
        {"warm_up scale": "the exercise `scale` in solutions/warm_up/"},
        of_assignments=False,
    )
    adding.add_argument("assignment", metavar="ASSIGNMENT", help="the name of its folder in solutions/")
    adding.add_argument("exercise", metavar="EXERCISE", help="its name, in small letters: my_linear")
    releasing = command(
        "release",
        """Make exercises/ from solutions/.

        Solutions are taken out, and the public cases are put beside each notebook. Nothing secret is in there: it can
        be handed out as it is. Marks and comments that were given before stay, for every cell that still exists.
        """,
        {"": "every assignment", "custom_layers": "this one", "--renamed bias=bias_2": "a cell has another name now"},
        alone=True,
    )
    releasing.add_argument(
        "--renamed", type=_renamed, action="append", default=[], metavar="OLD=NEW", help="its marks go with it"
    )
    releasing.add_argument(
        "--remove-marks", action="store_true", help="marks that a person gave may go, if their cell is gone"
    )
    command(
        "sample",
        """Make a sample class, in a course of its own.

        Forty made-up students give every answer of the catalogues between them. Their course is a folder that holds
        nothing else; it is graded with the same commands, and thrown away by deleting it.
        """,
        {
            "": "in _build/sample/",
            "--to /tmp/sample": "somewhere else",
            "&& python -m grader --course _build/sample autograde": "and grade it",
        },
        alone=True,
    ).add_argument("--to", type=Path, metavar="DIR", help="default: _build/sample")
    grading = command(
        "autograde",
        """Grade what was handed in and not yet graded.

        Students' code is run in a sandbox; marks go into the gradebook as they are made. What was graded is graded again
        only if the submission, the release, the reference or the grader has changed. It can be stopped at any time:
        the same command goes on from there. Exit status 1 if any submission could not be graded.
        """,
        {
            "": "whatever is due",
            "custom_layers --jobs 8": "one assignment, eight at a time",
            "--students ada alan --force": "two students, once more",
            "--seed 793910 --force": "with the secret cases of that seed",
        },
        alone=True,
    )
    grading.add_argument(
        "--students", nargs="+", action="extend", default=[], metavar="STUDENT", help="default: all; names of folders"
    )
    grading.add_argument("--seed", type=int, help="of the secret cases, to repeat a grading; its report names it")
    grading.add_argument("--force", action="store_true", help="grade again what is graded")
    _add_jobs(grading)
    grading.add_argument(
        "--no-isolation", action="store_true", help="run students' code without the sandbox; every report will say so"
    )
    pages = command(
        "feedback",
        """Write a page for each graded submission.

        It shows the student's notebook with the tables of checks, and marks and comments that were given in the
        formgrader. Pages that show what they should are left alone. A notebook that takes too long to show is shown
        as plain text.
        """,
        {"": "pages that are missing or old", "--force": "every page once more"},
        alone=True,
    )
    pages.add_argument("--force", action="store_true", help="write every page again")
    _add_jobs(pages)
    command(
        "export",
        """Write all marks to a CSV file.

        One row for each student and assignment, in nbgrader's columns, and one more that says how the mark stands:
        not handed in, not graded, waits for a person. Where there is no mark there is no number.
        """,
        {"": "to grader/marks.csv", "--to term.csv": "to a file of yours"},
        of_assignments=False,
    ).add_argument("--to", type=Path, metavar="FILE", help="default: marks.csv in the course")
    command(
        "status",
        """Show the marks of the class, by assignment, student and exercise.

        In the sample class's course, its marks are compared with those that its answers are worth; exit status 1 if
        any differs.
        """,
        {"": "the whole class", "custom_layers": "in one assignment"},
    )
    command(
        "doctor",
        """Say what this machine offers for grading, and what will be done with it.

        Everything is found out by trying it. Exit status 1 if grading would refuse.
        """,
        {"": "before the first grading, and when it refuses"},
        of_assignments=False,
    )
    trial = command(
        "accuracy",
        """Try every answer of the catalogues, and say how often the grader is right.

        Exit status 1 if a wrong answer passes or is not named, or a right one fails.
        """,
        {"": "all assignments", "custom_layers --seeds 100": "one, more thoroughly"},
    )
    trial.add_argument("--seeds", type=int, default=10, metavar="N", help="of secret cases for right answers")
    _add_jobs(trial)
    trial.add_argument("--to", type=Path, metavar="FILE", help="write the table there, too, as Markdown")
    command(
        "mistakes",
        """Write the book's page of common mistakes from the catalogues and the release.

        For each mistake: its code, what the checks observe, why it happens, what to do. `make book` does it, too.
        """,
        {"": "after a catalogue has changed"},
        of_assignments=False,
    ).add_argument(
        "--to", type=Path, default=GUIDES / "mistakes.md", metavar="FILE", help="default: book/guides/mistakes.md"
    )
    return result


def _add_jobs(to: argparse.ArgumentParser) -> None:
    jobs = host.default_jobs()
    to.add_argument("--jobs", type=_jobs, default=jobs, metavar="N", help="default: one for each core")


def _renamed(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not old or not new:
        raise argparse.ArgumentTypeError("the old name, =, the new name")
    return old, new


def _jobs(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return number


def main() -> int:
    """Run one command; an error is one line and exit status 1."""
    arguments = parser().parse_args()
    try:
        with host.Zygote(not getattr(arguments, "no_isolation", False)) as zygote:
            if arguments.command == "autograde" and (arguments.no_isolation or not host.why_not()):
                with contextlib.suppress(host.SandboxError):  # it is started again, and then the reason is said
                    zygote.start()
            # jsonschema would import it, for addresses of a kind that no notebook has: it takes a second to start.
            sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
            from grader import commands  # while the zygote starts

            return commands.run(arguments, zygote)
    except KeyboardInterrupt:
        print("\ngrader: stopped; what is graded is kept, the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
