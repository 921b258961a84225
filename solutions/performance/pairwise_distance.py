"""`PairwiseDistance`: all distances between two sets of points, without a loop and without nan."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def apart(n: int, m: int, d: int, seed: int, dtype: str = "float32") -> tuple[Tensor, Tensor]:
    """Two sets of points of which no two are close, so that |a|² + |b|² - 2ab loses no digits on them."""
    A, B = normal(n, d, seed=seed, dtype=dtype).tanh(), normal(m, d, seed=seed + 1, dtype=dtype).tanh()
    return A, B + 3 * normal(d, seed=seed + 2, dtype=dtype).sign()


def points(label: str, sizes: tuple[int, int, int], seed: int, dtype: str = "float32", group: str = "main") -> Case:
    """The layer on points that lie apart."""
    return Case(label, "answer()", apart(*sizes, seed, dtype), dtype=dtype, seed=seed, group=group)


# Where points coincide the numbers depend on how a right answer avoids nan. That they are finite does not.
COINCIDING = """\
def trial(A, B):
    A.requires_grad_()
    B.requires_grad_()
    D = answer()(A, B)
    if D.requires_grad:
        D.sum().backward()
    gradients = [t.grad for t in (A, B) if t.grad is not None]
    return {
        "answer to whether every distance is finite": bool(D.isfinite().all()),
        "answer to whether every gradient is finite": all(bool(g.isfinite().all()) for g in gradients),
        "answer to whether the distance of a point from itself is below 0.01": bool(D[0, 1] < 0.01),
    }
"""


def growing(n: int, m: int, d: int, seed: int) -> Case:
    """So few points that four times as many are fewer than 26, from which on `torch.cdist` goes another way."""
    return Case(f"from {n} and {m} points", "answer()", apart(n, m, d, seed), seed=seed, group="growing")


def coinciding(label: str, A: Tensor, seed: int) -> Case:
    """Points, and the same points in another order: the first of `A` is the second of `B`."""
    return Case(label, f"{COINCIDING}\ntrial", (A, A.roll(1, 0).clone()), seed=seed, group="coinciding")


def secret(draw: Random) -> list[Case]:
    """Other sizes, more points of the one or of the other set, one point, one dimension, none."""
    n, m, d = draw.sample(range(2, 7), 3)
    seed = draw.randrange(10**6)
    return [
        points("more points in A", (n + 5, m, d), seed),
        points("more points in B", (n, m + 5, d), seed + 10),
        points("many points", (40, 30 + n, d), seed + 20),
        points("one point each", (1, 1, d), seed + 30),
        points("numbers", (n, m, 1), seed + 40),
        points("no points in B", (n, 0, d), seed + 50, group="empty"),
        growing(n, m, d, seed + 55),
        growing(m, n, d + 20, seed + 57),
        points("float64", (n, m, d), seed + 60, "float64", "float64"),
        points("many points, float64", (40, 50, d), seed + 70, "float64", "float64"),
        coinciding("the same points, many", normal(30 + n, d, seed=seed + 80), seed),
        coinciding("the same points, float64", normal(n, d, seed=seed + 90, dtype="float64"), seed),
    ]


EXERCISE = ExerciseSource(
    defines="PairwiseDistance",
    checks=(
        Check(
            "values",
            "All distances are right",
            1,
            "values",
            hints={
                "output: shape": "Row i, column j is the distance of `A[i]` from `B[j]`: `(n, m)`.",
                "output: values": "Euclidean: the root of the sum of squares, over the last dimension.",
            },
            on=("main", "empty"),
        ),
        Check(
            "operators",
            "The number of operators does not grow with the points",
            2,
            "growth",
            hints={
                "growth.*: *": "A Python loop dispatches for every turn; broadcasting, or a matrix "
                "product, does it once."
            },
            on=("growing",),
        ),
        Check(
            "side_effects",
            "The inputs are left as they were",
            1,
            "side_effects",
            hints={"change.input: *": "Which operator ends in `_`, or in `=`?"},
        ),
        Check(
            "gradients",
            "Gradients reach both sets",
            1,
            "gradients",
            hints={"gradient.input.*: none": "What cuts it off: `.detach()`, `.data`, `no_grad`?"},
        ),
        Check(
            "coinciding",
            "Finite distances and gradients where points coincide",
            2,
            "values",
            hints={
                "output.answer to whether every gradient*: *": "The slope of a square root at zero is infinite, and "
                "infinity times zero is nan.",
                "output.answer to whether every distance*: *": "Rounding makes a zero slightly negative; what is its "
                "root?",
            },
            on=("coinciding",),
        ),
        Check(
            "float64",
            "In float64 eight digits are right",
            1,
            "values",
            hints={
                "output: values": "Is there an epsilon that is too large for float64?",
                "output: dtype": "The output has the dtype of the input.",
            },
            on=("float64",),
        ),
    ),
    public=(
        points("four points and three, in the plane", (4, 3, 2), 100),
        points("two points and five, five dimensions", (2, 5, 5), 200),
        points("more than 25 points", (30, 28, 3), 300),
        points("float64", (3, 5, 4), 400, "float64", "float64"),
        growing(4, 3, 2, 450),
        growing(2, 6, 5, 460),
        # Whole numbers, so that |a|² + |b|² - 2ab is exactly zero, on every machine.
        coinciding("the same four points", torch.tensor([[0.0, 0], [1, 2], [3, -1], [-2, 2]]), 500),
        # And so many others that it is negative for some of them, on every machine.
        coinciding("the same forty points", normal(40, 3, seed=600), 600),
    ),
    secret=secret,
)
