"""What a release needs in addition to nbgrader: where the book is, and whether anything has changed."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import yaml

from d2lblocks.checking.compare import agree
from d2lblocks.checking.digest import same_digests
from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.observation import Observation, Value
from d2lblocks.checking.public import Public, read_public


def address_of_the_book(folder: Path) -> str:
    """Where students read the book; empty if that is not known.

    Args:
        folder: below the one whose `_config.yml` says it, as ``html: {baseurl: …}``.
    """
    for above in folder.resolve().parents:
        if (above / "_config.yml").is_file():
            config = yaml.safe_load((above / "_config.yml").read_text(encoding="utf-8"))
            address = str((config.get("html") or {}).get("baseurl") or "")
            return f"{address.rstrip('/')}/book/" if address else ""
    return ""


def keep_if_same(new: Path, old: Path) -> None:
    """Write the old `public.json` over the new one if they differ by rounding only.

    What the reference gives differs in the last bits from one processor to another. Such a difference is no
    reason for a new release.
    """
    with contextlib.suppress(FileNotFoundError, ValueError):
        if same(read_public(old), read_public(new)):
            shutil.copyfile(old, new)


def same(one: Public, other: Public) -> bool:
    """Whether two releases say the same, by the judge's rule."""
    return agree(_tree(one), _tree(other)) and all(
        _same_known(exercise, other.exercises[name]) for name, exercise in one.exercises.items()
    )


def _same_known(one: Exercise, other: Exercise) -> bool:
    """Whether the digests of the known mistakes are the same; `_tree` has the rest of them."""
    return all(
        same_digests(digest, its_digest)
        for known, its in zip(one.known, other.known, strict=True)
        for check, digests in known.digests.items()
        for digest, its_digest in zip(digests, its.digests[check], strict=True)
    )


def _tree(public: Public) -> Observation:
    tree: Observation = {"by hand": dict(public.by_hand)}
    for name, exercise in public.exercises.items():
        checks: list[Value] = [
            [c.id, c.title, float(c.points), c.probe, dict(c.hints), list(c.on), dict(c.options)]
            for c in exercise.checks
        ]
        cases: list[Value] = [
            [
                case.label,
                case.build,
                list(case.inputs),
                dict(case.state),
                case.dtype,
                case.seed,
                case.group,
                case.raises,
            ]
            for case in exercise.cases
        ]
        tree[name] = {
            "defines": exercise.defines,
            "assignment": exercise.assignment,
            "book": exercise.book,
            "imports": list(exercise.imports),
            "checks": checks,
            "cases": cases,
            "expected": {check: list(seen) for check, seen in exercise.expected.items()},
            "known": {
                known.id: [
                    *(known.title, known.message, known.see),
                    {check: len(digests) for check, digests in known.digests.items()},
                ]
                for known in exercise.known
            },
        }
    return tree
