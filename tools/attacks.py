"""What nbgrader's own command and this course's do with every submission of `tests/grader/attacks`, as a table.

    python -m tools.attacks [--to FILE] [--jobs N]

Each goes through `nbgrader autograde` in a sandbox of its own (see `tools/sandbox.py`), followed by an innocent
student; and through `python -m grader autograde`, all in one class. What the table says is derived from the marks,
the graded notebooks, and what had changed or was still running afterwards. It takes a quarter of an hour or more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grader import jail
from grader.course import Course
from tests.grader.attacks import ATTACKED, ATTACKS, CLUMSY, NAME, POINTS, READ, Attack
from tests.grader.attacks.whole_class import grade_everybody, make_course, mallory, neighbour
from tools import sandbox
from tools.plain import make_plain

TABLE = Path(__file__).resolve().parent.parent / "book" / "guides" / "_attacks.md"
BEFORE_THE_TABLE = "<!-- table -->"  # the guide shows what stands above at once, and the table when it is asked for
OTHERS = sum(POINTS.values()) - POINTS[ATTACKED]
# Far above what an honest class of two takes.
MANY_MEGABYTES, MANY_GIGABYTES = 10, 2.5
NO_HARM, RIGHT, REFUSED = "gains nothing, harms nobody", "graded rightly", "not graded; the reason is said"


def outcome(attack: Attack, seen: Mapping[str, Any]) -> str:
    """What a grading came to, in words; one of `NO_HARM`, `RIGHT` and `REFUSED` if all is well.

    Args:
        attack: what was handed in.
        seen: what was observed, as `tools.sandbox.observe` writes it.
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


def with_the_engine(course: Course) -> dict[str, dict[str, Any]]:
    """What this course's command does with all of them, by id, in the form of `tools.sandbox.observe`."""
    graded = grade_everybody(course)
    seen = {}
    for attack in ATTACKS:
        path = course.autograded / mallory(attack) / NAME / f"{NAME}.ipynb"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        cells = json.loads(text)["cells"] if text else []
        marks = {
            sandbox.MALLORY: graded.marks.get(mallory(attack), {}),
            sandbox.INNOCENT: graded.marks.get(neighbour(attack), {}),
        }
        seen[attack.id] = {
            "status": 0,
            "marks": marks,
            "graded": bool(text),
            "megabytes": len(text) / 2**20,
            "read": any(READ in json.dumps(cell.get("outputs")) for cell in cells),
            "left": len(graded.left),
            "changed": sorted(graded.changed),
            "gigabytes": 0.0,
        }
    return seen


def as_markdown(plain: Mapping[str, Mapping[str, Any]], engine: Mapping[str, Mapping[str, Any]]) -> str:
    """The table, with a sentence that counts, and what it was made with."""
    rows, well = [], {"plain": 0, "engine": 0}
    for attack in ATTACKS:
        one, other = outcome(attack, plain[attack.id]), outcome(attack, engine[attack.id])
        well["plain"] += one in (NO_HARM, RIGHT, REFUSED)
        well["engine"] += other in (NO_HARM, RIGHT, REFUSED)
        rows.append(f"| `{attack.id}` | {attack.does} | {one} | {other} |")
    hostile = len(ATTACKS) - len(CLUMSY)
    return "\n".join(
        [
            f"Of {len(ATTACKS)} submissions, {hostile} hostile and {len(CLUMSY)} clumsy, nbgrader's own command ends "
            f"well with {well['plain']}, `python -m grader autograde` with {well['engine']}.",
            f"Measured on {date.today():%d %B %Y} with nbgrader {version('nbgrader')}, torch {version('torch')}, "
            f"Python {platform.python_version()}.",
            "",
            BEFORE_THE_TABLE,
            "",
            "| submission | what it does | `nbgrader autograde` | `python -m grader autograde` |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> int:
    """Measure, and write the table."""
    arguments = argparse.ArgumentParser(prog="python -m tools.attacks", description=__doc__.partition("\n")[0])
    arguments.add_argument("--to", type=Path, default=TABLE, metavar="FILE", help="default: book/guides/_attacks.md")
    arguments.add_argument(
        "--jobs", type=int, default=jail.default_jobs(), metavar="N", help="default: one for each core"
    )
    chosen = arguments.parse_args()
    problem = jail.why_not() or jail.try_walls()
    if problem:
        print(f"attacks: they run in sandboxes only, and there are none here: {problem}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)  # also for who grades in a sandbox
        template = make_course(Path(base, "template"))
        make_plain(template.root)
        plain: dict[str, dict[str, Any]] = {}
        with ThreadPoolExecutor(chosen.jobs) as pool:
            found = pool.map(lambda attack: sandbox.meet(attack, template.root.parent), ATTACKS)
            for attack, seen in zip(ATTACKS, found, strict=True):
                plain[attack.id] = seen
                print(f"  {len(plain):>3} / {len(ATTACKS)}  {attack.id}: {outcome(attack, seen)}", flush=True)
        engine = with_the_engine(make_course(Path(base, "engine")))
    chosen.to.write_text(as_markdown(plain, engine), encoding="utf-8")
    print(f"attacks: {chosen.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
