"""`halve_per_sample`: a loop whose number of turns each vector decides for itself."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def of_norms(
    label: str, logs: Sequence[float], shape: tuple[int, ...], seed: int, dtype: str = "float32", group: str = "main"
) -> Case:
    """Random vectors whose L1 norms are two to these powers; between whole numbers rounding changes no turn."""
    X = normal(*shape, seed=seed, dtype="float64")
    norms = 2 ** torch.tensor(logs, dtype=torch.float64).reshape(*shape[:-1], 1)
    X = X / X.abs().sum(-1, keepdim=True) * norms
    return Case(label, "answer()", (X.to(getattr(torch, dtype)),), dtype=dtype, seed=seed, group=group)


def crowd(label: str, logs: Sequence[float], features: int, seed: int) -> Case:
    """A batch for counting operators. The largest norm comes twice: writing to a single row costs some more."""
    norms = [*logs, max(logs)]
    return of_norms(label, norms, (len(norms), features), seed, group="crowd")


def exact(label: str, rows: list[list[float]]) -> Case:
    """Vectors whose norms are known to the last bit."""
    return Case(label, "answer()", (torch.tensor(rows),), seed=3)


def logs_of(draw: Random, count: int, most: int = 12) -> list[float]:
    """Powers of two that are no whole numbers, some below 0."""
    return [draw.randint(-3, most) + draw.uniform(0.2, 0.8) for _ in range(count)]


def secret(draw: Random) -> list[Case]:
    """Other shapes, other norms, and powers of two."""
    batch, features, extra = draw.sample(range(2, 8), 3)
    seed = draw.randrange(10**6)
    half = 2.0 ** draw.randint(0, 1)
    return [
        of_norms("another batch", logs_of(draw, batch), (batch, features + 3), seed),
        of_norms("square, float64", logs_of(draw, features), (features, features), seed + 1, "float64"),
        of_norms("three leading dimensions", logs_of(draw, 2 * extra), (extra, 1, 2, features), seed + 2),
        of_norms("one vector", logs_of(draw, 1), (features,), seed + 3, group="vector"),
        of_norms("vectors of one entry", logs_of(draw, batch), (batch, 1), seed + 4),
        of_norms("huge and tiny vectors", [draw.uniform(60.2, 60.8), -20.5, 3.4], (3, features), seed + 5),
        crowd("a larger batch", logs_of(draw, 2 * batch), features, seed + 6),
        exact("powers of two, and zero", [[half, -half], [0.0, 0.0], [0.25, 0.75], [-4.0, 0.0]]),
    ]


EXERCISE = ExerciseSource(
    defines="HalvePerSample",
    checks=(
        Check(
            id="batch",
            title="Each vector is halved on its own",
            points=2,
            probe="batch",
            hints={"batch.difference: values": "Does a vector's neighbour change how often it is halved?"},
            on=("main", "crowd"),
        ),
        Check(
            id="values",
            title="Each is halved just often enough",
            points=2,
            probe="values",
            hints={
                "output: shape": "The output has the shape of the input.",
                "output: values": "Is it off by a power of two? Then count the halvings by hand.",
            },
            on=("main", "crowd", "vector"),
        ),
        Check(
            id="side_effects",
            title="The input is left as it was",
            points=1,
            probe="side_effects",
            hints={"change.input: *": "An index on the left of `=`, or `/=`, writes into the caller's tensor."},
        ),
        Check(
            id="gradients",
            title="Gradients flow through the halving",
            points=2,
            probe="gradients",
            hints={
                "gradient.*: none": "Something cuts it off: a `.data`, `.detach()`, `.item()` or `no_grad`?",
                "gradient.*: nan": "What is the derivative of each of your operators for a zero vector?",
                "gradient.*: values": "If the values are right: k halvings multiply a gradient by 2⁻ᵏ.",
            },
            on=("main", "crowd", "vector"),
        ),
        Check(
            id="growth",
            title="The number of operators does not grow with the batch",
            points=1,
            probe="growth",
            hints={"growth.*: *": "Is there a Python loop over the vectors, or a norm that adds them up?"},
            on=("crowd",),
        ),
    ),
    public=(
        crowd("a batch of 4", [2.6, -1.4, 5.5], 3, 10),
        of_norms("one vector", [3.4], (5,), 20, group="vector"),
        of_norms("two leading dimensions, float64", [0.5, 4.3, -2.5, 1.6, 2.4, -0.5], (2, 3, 4), 30, "float64"),
        of_norms("a norm of 10²⁰ beside one of 0.001", [66.3, -9.7], (2, 3), 40),
        exact("norms of exactly 1, 2 and 4, and a zero vector", [[0.5, -0.5], [1, 1], [-3, 1], [0, 0]]),
    ),
    secret=secret,
)
