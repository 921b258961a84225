"""How right the grader is.

In: the catalogues. Out: for each exercise, how many known wrong answers are caught and named, how many right ones
lose points, and how much of the tolerance right ones use.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from d2lblocks.checking.calling import along_a_direction, call, fresh_inputs, tensors_in
from d2lblocks.checking.case import Case, build
from d2lblocks.checking.compare import TOLERANCE
from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.observation import Observation, Value
from d2lblocks.checking.pipeline import conclude, examine, observe_all
from d2lblocks.checking.runner import observe
from d2lblocks.tables import Table
from grader.authoring.catalogue import Mistake
from grader.authoring.exercise import ExerciseSource, define, load

SEEDS_FOR_WRONG_ANSWERS = 3
REPETITIONS = 9  # a time is the median of so many


@dataclass(frozen=True)
class Accuracy:
    """What the grader said about the known answers to one exercise.

    Attributes:
        assignment: its name.
        exercise: its name.
        checks: how many there are.
        wrong: wrong answers in the catalogue.
        caught: those that failed the checks that they must fail and no others, under every seed tried.
        named: those that were told their own message, under every seed tried.
        right: right answers, the worked solution among them.
        seeds: how many seeds right answers were tried under, one right answer drawn for each.
        false_alarms: right answers that lost a point or were told of a mistake, in words.
        used: the largest part of the tolerance that a right answer used, 1 being all of it.
        seconds: how long a student's `check` of the worked solution takes, in seconds; the median.
        own: how long the answer takes to go forward and backward once in each public case, in seconds; the median.
    """

    assignment: str
    exercise: str
    checks: int
    wrong: int
    caught: int
    named: int
    right: int
    seeds: int
    false_alarms: tuple[str, ...]
    used: float
    seconds: float
    own: float


def measure(folder: Path, name: str, seeds: int) -> Accuracy:
    """Give every known answer to one exercise to the grader.

    Args:
        folder: of the assignment, in `solutions/`.
        name: of the exercise.
        seeds: under how many seeds of secret cases right answers are tried.
    """
    torch.set_num_threads(1)
    source = load(folder).exercises[name]
    exercises = [source.exercise(seed) for seed in range(min(seeds, SEEDS_FOR_WRONG_ANSWERS))]
    found = [try_mistake(source, mistake, exercises) for mistake in source.mistakes]
    right = source.right_answers
    alarms: list[str] = []
    used = 0.0
    for seed in range(seeds):
        exercise = exercises[seed] if seed < len(exercises) else source.exercise(seed)
        chosen = Random(seed).choice(list(right)) if seed >= len(right) else list(right)[seed]
        answer = define(right[chosen], source.defines)
        observed, printed = observe_all(exercise, partial(observe, answer))
        report = conclude(exercise, observed, printed)
        if not report.passed or report.known:
            alarms.append(f"{chosen}, seed {seed}: {report.state}")
        used = max(used, _tolerance_used(exercise, observed))
    worked = define(right["worked"], source.defines)
    public = source.exercise()
    return Accuracy(
        assignment=folder.name,
        exercise=name,
        checks=len(source.checks),
        wrong=len(found),
        caught=sum(caught for caught, _ in found),
        named=sum(named for _, named in found),
        right=len(right),
        seeds=seeds,
        false_alarms=tuple(alarms),
        used=used,
        seconds=_median(lambda: examine(public, worked)),
        own=_median(lambda: _go_forward_and_backward(worked, public.cases)),
    )


def _median(run: Callable[[], object]) -> float:
    run()  # the first one imports and allocates
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _go_forward_and_backward(answer: Any, cases: Sequence[Case]) -> None:
    for case in cases:
        # A case may end with an exception, or be for probes that call what it builds in another way.
        with contextlib.suppress(Exception):
            module = build(answer, case).module
            outputs = list(tensors_in(call(module, case, fresh_inputs(case, requires_grad=True))))
            total = along_a_direction(outputs, case.seed)
            if total is not None:
                total.backward()


def try_mistake(source: ExerciseSource, mistake: Mistake, exercises: Sequence[Exercise]) -> tuple[bool, bool]:
    """Whether a wrong answer fails what it must and nothing else, and whether it is told its own message.

    Both in every one of the exercises, which differ in the seed of their secret cases.
    """
    # Defined again each time: an answer may keep something from one call to the next.
    reports = [examine(exercise, define(mistake.source, source.defines)) for exercise in exercises]
    caught = all({v.check.id for v in r.verdicts if not v.passed} == set(mistake.fails) for r in reports)
    return caught, all(r.known is not None and r.known.id == mistake.id for r in reports)


def _tolerance_used(exercise: Exercise, observed: dict[str, list[Observation]]) -> float:
    return max(
        part
        for check, expected in exercise.expected.items()
        for seen, wanted in zip(observed.get(check, ()), expected, strict=False)
        for part in _parts(seen, wanted)
    )


def _parts(observed: Value, expected: Value) -> Iterator[float]:
    """The part of the tolerance that each tensor of an observation uses."""
    yield 0.0
    if isinstance(observed, dict) and isinstance(expected, dict):
        for key in observed.keys() & expected.keys():
            yield from _parts(observed[key], expected[key])
    elif isinstance(observed, list) and isinstance(expected, list):
        for one, other in zip(observed, expected, strict=False):
            yield from _parts(one, other)
    elif isinstance(observed, Tensor) and isinstance(expected, Tensor) and observed.shape == expected.shape:
        relative, absolute = TOLERANCE.get(expected.dtype, (0.0, 0.0))
        if observed.numel() and absolute:
            wide = torch.complex128 if expected.is_complex() else torch.float64
            one, other = observed.to(wide), expected.to(wide)
            gap = (one - other).abs() / (absolute + relative * other.abs())
            yield float(gap.nan_to_num(0, 0, 0).max())  # equal nan and inf use nothing


def measure_all(folders: Sequence[Path], seeds: int, jobs: int) -> Iterator[Accuracy]:
    """Call `measure` for every exercise of some assignments, in parallel; yields each result when it is there."""
    wanted = [(folder, name) for folder in folders for name in load(folder).exercises]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(measure, folder, name, seeds) for folder, name in wanted]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def table(found: Sequence[Accuracy]) -> Table:
    """One row for each exercise, and one for all."""
    rows: list[Sequence[str | int]] = [
        [
            *(f"`{a.exercise}`", a.checks, a.wrong, a.caught, a.named, a.right),
            *(a.seeds, len(a.false_alarms), in_percent(a.used)),
            *(f"{a.seconds * 1000:.0f} ms", f"{a.seconds / a.own:.1f}"),
        ]
        for a in found
    ]
    sums = [sum(getattr(a, key) for a in found) for key in ("checks", "wrong", "caught", "named", "right", "seeds")]
    alarms = sum(len(a.false_alarms) for a in found)
    slowest = f"{max(a.seconds for a in found) * 1000:.0f} ms"
    ratio = f"{statistics.median(a.seconds / a.own for a in found):.1f}"
    rows.append(["all", *sums, alarms, in_percent(max(a.used for a in found)), slowest, ratio])
    headings = ["exercise", "checks", "wrong", "caught", "named", "right", "seeds", "false alarms"]
    return Table([*headings, "tolerance used", "check takes", "× own"], rows)


def in_percent(share: float) -> str:
    """A share with two digits; 0 only if it is none at all."""
    if share == 0:
        return "0 %"
    digits = max(0, 1 - math.floor(math.log10(share * 100)))
    return f"{share * 100:.{digits}f} %"


def as_markdown(found: Sequence[Accuracy], made: str) -> str:
    """The table for the guide for maintainers, with a line that says when and with what it was made."""
    content = table(found)
    lines = [
        f"| {' | '.join(content.headings)} |",
        f"|{'|'.join('---' if i == 0 else '--:' for i in range(len(content.headings)))}|",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in content.rows),
    ]
    return "\n".join([*lines, "", made, ""])
