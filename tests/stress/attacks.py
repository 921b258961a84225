"""What nbgrader's own command and this course's do with every submission of `tests/attacks`, as a table.

    python -m tests.stress.attacks [--to FILE] [--jobs N] [--only ID ...]

Each goes through `nbgrader autograde` in a sandbox of its own (see `sandbox.py`), followed by an innocent student.
And each goes through `python -m grader autograde`, all in one class. The table follows from the marks, the graded
notebooks, and what had changed or was still running afterwards. It says which did not get as far as their attempt. It
takes a quarter of an hour or more; with `--only`, some are tried and their rows printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grader.course import Course
from grader.sandbox.processes import default_jobs
from tests.attacks import ATTACKED, ATTACKS, CLUMSY, POINTS, READ, Attack, shown_in
from tests.attacks.whole_class import grade_everybody, make_course, mallory, neighbour, notebook_of
from tests.isolation import isolation_problem
from tests.stress import sandbox
from tests.stress.origin import origin
from tests.stress.plain import make_plain

TABLE = Path(__file__).resolve().parents[2] / "book" / "guides" / "_attacks.md"
BEFORE_THE_TABLE = "<!-- table -->"  # the guide shows what stands above at once, and the table when it is asked for
OTHERS = sum(POINTS.values()) - POINTS[ATTACKED]
# Far above what an honest class of two takes.
MANY_MEGABYTES, MANY_GIGABYTES = 10, 2.5
NO_HARM, RIGHT, REFUSED = "gains nothing, harms nobody", "graded rightly", "not graded; the reason is said"
NO_ATTEMPT = "does not get as far as its attempt"


def outcome(attack: Attack, seen: Mapping[str, Any]) -> str:
    """What a grading came to, in words; one of `NO_HARM`, `RIGHT` and `REFUSED` if all is well.

    Args:
        attack: what was handed in.
        seen: what was observed, as `tests.stress.sandbox.observe` writes it.
    """
    if not seen:
        return "the sandbox itself was lost"
    own, after = (seen["marks"].get(name, {}) for name in (sandbox.MALLORY, sandbox.INNOCENT))
    found = []
    if seen["status"] is None:
        found.append(f"**the grading never ends** (stopped after {sandbox.SECONDS:g} s)")
    if not any(after.values()):
        found.append("**the student after it gets no marks**")
    elif after != POINTS:
        found.append("**the marks of the student after it change**")
    found += _own_marks(attack, own, seen["graded"])
    if seen["read"]:
        found.append("**gets what it is after**")
    if seen["left"]:
        found.append(f"**{'a process survives' if seen['left'] == 1 else 'processes survive'}**")
    if seen["changed"]:
        found.append("**changes files that are not its own**")
    if seen["megabytes"] > MANY_MEGABYTES:
        found.append(f"a graded notebook of {seen['megabytes']:.0f} MB")
    if seen["gigabytes"] > MANY_GIGABYTES:
        found.append(f"takes {seen['gigabytes']:.1f} GB of memory")
    if found:
        return "; ".join(found)
    if not seen["attempted"]:
        return NO_ATTEMPT
    return REFUSED if not attack.graded else RIGHT if attack.clumsy or attack.most == POINTS[ATTACKED] else NO_HARM


def _own_marks(attack: Attack, own: Mapping[str, float], graded: bool) -> list[str]:
    """What is wrong with the marks of the submission itself."""
    total = sum(own.values())
    if not attack.graded:
        return [f"**gets {total:g} of {sum(POINTS.values())} points**"] if total else []
    if not graded:
        return ["every point is lost"]
    if total > sum(POINTS.values()):
        return [f"**gets {total:g} of {sum(POINTS.values())} points**"]
    found = []
    if own[ATTACKED] > attack.most:
        found.append(f"**gets {own[ATTACKED]:g} of {POINTS[ATTACKED]} points**")
    if own[ATTACKED] < attack.least:
        found.append(f"gets {own[ATTACKED]:g} of the {attack.least:g} points that it has earned")
    # What an attack does to the exercises behind it in its own notebook is its own affair.
    lost = sum(points - own[name] for name, points in POINTS.items() if name not in (ATTACKED, *attack.costs))
    if lost:
        found.append(f"loses {lost:g} of its {OTHERS} other points")
    return found


def with_the_engine(course: Course, attacks: Sequence[Attack]) -> dict[str, dict[str, Any]]:
    """What this course's command does with all of them, by id, in the form of `tests.stress.sandbox.observe`."""
    graded = grade_everybody(course, attacks)
    seen = {}
    for attack in attacks:
        notebook = notebook_of(course, attack)
        marks = {
            sandbox.MALLORY: graded.marks.get(mallory(attack), {}),
            sandbox.INNOCENT: graded.marks.get(neighbour(attack), {}),
        }
        seen[attack.id] = {
            "status": 0,
            "marks": marks,
            "graded": notebook is not None,
            "attempted": attack.got_to_its_attempt(graded.said.get(mallory(attack), ""), notebook),
            "megabytes": len(json.dumps(notebook)) / 2**20,
            "read": notebook is not None and READ in shown_in(notebook),
            "left": len(graded.left),
            "changed": sorted(graded.changed),
            "gigabytes": 0.0,
        }
    return seen


def row(attack: Attack, plain: str, engine: str) -> str:
    """A line of the table: what is handed in, and what it comes to with the one command and with the other."""
    return f"| `{attack.id}` | {attack.does} | {plain} | {engine} |"


def as_markdown(plain: Mapping[str, str], engine: Mapping[str, str]) -> str:
    """The table, with a sentence that counts, and what it was made with.

    Args:
        plain: what each attack comes to with nbgrader's own command, by id.
        engine: what it comes to with this course's.
    """
    plain_well, engine_well = (
        sum(said in (NO_HARM, RIGHT, REFUSED) for said in each.values()) for each in (plain, engine)
    )
    unmade = sum(said == NO_ATTEMPT for said in plain.values())
    hostile = len(ATTACKS) - len(CLUMSY)
    return "\n".join(
        [
            f"Of {len(ATTACKS)} submissions, {hostile} hostile and {len(CLUMSY)} clumsy, nbgrader's own command ends "
            f"well with {plain_well}, `python -m grader autograde` with {engine_well}. {unmade} are made for "
            "`python -m grader autograde` and do not get as far as their attempt with nbgrader's.",
            f"Measured by {origin('`make attacks`')}, with nbgrader {version('nbgrader')}, torch {version('torch')}, "
            f"Python {platform.python_version()}.",
            "",
            BEFORE_THE_TABLE,
            "",
            "| submission | what it does | `nbgrader autograde` | `python -m grader autograde` |",
            "|---|---|---|---|",
            *(row(attack, plain[attack.id], engine[attack.id]) for attack in ATTACKS),
            "",
        ]
    )


def main() -> int:
    """Measure, and write the table."""
    arguments = argparse.ArgumentParser(prog="python -m tests.stress.attacks", description=__doc__.partition("\n")[0])
    arguments.add_argument("--to", type=Path, default=TABLE, metavar="FILE", help="default: book/guides/_attacks.md")
    arguments.add_argument("--jobs", type=int, default=default_jobs(), metavar="N", help="default: one for each core")
    arguments.add_argument(
        "--only", nargs="+", metavar="ID", help="print the rows of these, and write no file; default: all"
    )
    chosen = arguments.parse_args()
    known = {attack.id: attack for attack in ATTACKS}
    if unknown := sorted({*(chosen.only or ())} - known.keys()):
        print(f"attacks: there is no attack {unknown[0]}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    attacks = [known[name] for name in dict.fromkeys(chosen.only or known)]
    problem = isolation_problem()
    if problem:
        print(f"attacks: they run in sandboxes only, and there are none here: {problem}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)  # also for who grades in a sandbox
        template = make_course(Path(base, "template"))
        make_plain(template.root)
        plain: dict[str, str] = {}
        with ThreadPoolExecutor(chosen.jobs) as pool:
            found = pool.map(lambda attack: sandbox.meet(attack, template.root.parent), attacks)
            for attack, seen in zip(attacks, found, strict=True):
                plain[attack.id] = outcome(attack, seen)
                print(f"  {len(plain):>3} / {len(attacks)}  {attack.id}: {plain[attack.id]}", flush=True)
        graded = with_the_engine(make_course(Path(base, "engine")), attacks)
        engine = {attack.id: outcome(attack, graded[attack.id]) for attack in attacks}
    if chosen.only:
        print("\n".join(row(attack, plain[attack.id], engine[attack.id]) for attack in attacks))
        return 0
    chosen.to.write_text(as_markdown(plain, engine), encoding="utf-8")
    print(f"attacks: {chosen.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
