"""`HalveBounded`: the halving loop, rewritten so that a compiler sees one graph."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Tensor

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def of_norm(norm: float, *shape: int, seed: int, dtype: str = "float32") -> Tensor:
    """Random numbers with a given L1 norm; keep it away from powers of two, where rounding decides."""
    X = normal(*shape, seed=seed, dtype="float64")
    return (X * (norm / X.abs().sum())).to(getattr(torch, dtype))


def halved(
    label: str, X: Tensor, build: str = "answer()", group: str = "main", dtype: str = "float32", seed: int = 0
) -> Case:
    """The layer on one input."""
    return Case(label, build, (X,), dtype=dtype, seed=seed, group=group)


def secret(draw: Random) -> list[Case]:
    """Norms between two powers of two, at each of them the edge, and bounds that are reached."""

    def norm(low: int, high: int) -> float:
        """2**k times something between 1.1 and 1.9."""
        return draw.uniform(1.1, 1.9) * 2.0 ** draw.randint(low, high)

    def numbers(norm: float, *shape: int, dtype: str = "float32") -> Tensor:
        return of_norm(norm, *shape, seed=draw.randrange(10**6), dtype=dtype)

    n, m, bound = draw.randint(3, 6), draw.randint(2, 4), draw.randint(2, 5)
    power = 2.0 ** draw.randint(1, 6)
    return [
        halved("a norm below 1", numbers(norm(-6, -2), n)),
        halved("a vector", numbers(norm(0, 5), n)),
        halved("a matrix, a large norm", numbers(norm(10, 20), m, n)),
        halved("three dimensions, float64", numbers(norm(2, 9), 2, m, n, dtype="float64"), dtype="float64"),
        halved("one number", numbers(norm(0, 3))),
        halved("zeros, float64", torch.zeros(n, m, dtype=torch.float64), dtype="float64"),
        halved(f"a norm of {power:g}", torch.tensor([power / 2, -power / 4, power / 4]), group="edge"),
        halved("a norm of 1", torch.tensor([0.25, -0.5, 0.25]), group="edge"),
        halved(f"{bound} halvings are not enough", numbers(norm(6, 9), n), f"answer({bound})", "bound"),
        halved(f"at most {bound} halvings, one needed", numbers(norm(0, 0), n, m), f"answer({bound})", "bound"),
        halved("forty halvings needed, 50 allowed", numbers(norm(39, 39), n), "answer(max_halvings=50)", "bound"),
        halved("no halvings allowed", numbers(norm(3, 5), n), "answer(0)", "bound"),
        halved("an infinite norm", torch.tensor([math.inf, 3.0, -1.0]), f"answer({bound})", "bound"),
        several("a batch of norms", [numbers(norm(k, k), m, n) for k in (3, -2, 1)]),
    ]


def several(label: str, inputs: list[Tensor]) -> Case:
    """Inputs of one shape, one call for each."""
    # Four turns are traced in less time than 32.
    return Case(label, "answer(4)", tuple(inputs), group="graphs")


EXERCISE = ExerciseSource(
    defines="HalveBounded",
    checks=(
        Check(
            "values",
            "Halved until the L1 norm is at most 1",
            1,
            "values",
            hints={
                "output: values": "The whole tensor, by its one L1 norm, as often as needed and no more.",
                "output: nan": "Which logarithm, or which quotient, is undefined here?",
            },
            on=("main", "edge"),
        ),
        Check(
            "bound",
            "At most `max_halvings` times",
            1,
            "values",
            hints={"output: values": "Who stops at `max_halvings`, and only there?"},
            on=("bound",),
        ),
        Check(
            "side_effects",
            "The input is left as it was",
            1,
            "side_effects",
            hints={"change.input: *": "Is there a `/=`, `*=` or `mul_` on the caller's tensor?"},
        ),
        Check(
            "gradients",
            "The gradient is that of the loop",
            2,
            "gradients",
            hints={
                "gradient.input.0: none": "Something cuts it off.",
                "gradient.input.0: nan": "An infinite slope times zero is nan. Is there a logarithm of zero?",
                "gradient.input.0: values": "The loop multiplies the input by a constant, 1/2 for each halving.",
            },
        ),
        Check(
            "graphs",
            "One graph for all inputs of a shape, without a break",
            3,
            "graphs",
            hints={
                "graph_break: *": "Does Python decide something that depends on the input's numbers: with `if`, "
                "`while`, `.item()`, `int(...)`?",
                "graphs: *": "A Python number that changes from call to call is part of what a graph is valid for.",
                "output*: values": "Does the layer give the same without the compiler? Then the mistake is in the "
                "halving.",
            },
            on=("graphs",),
        ),
    ),
    public=(
        halved("a norm of 6", of_norm(6, 5, seed=1)),
        halved("a norm of 0.7: nothing to do", of_norm(0.7, 2, 3, seed=2)),
        halved("a norm of 1500, float64", of_norm(1500, 2, 3, 2, seed=3, dtype="float64"), dtype="float64"),
        halved("zeros", torch.zeros(4)),
        halved("a norm of exactly 1", torch.tensor([0.5, -0.25, 0.25]), group="edge"),
        halved("a norm of exactly 8", torch.tensor([4.0, -2.0, 2.0]), group="edge"),
        halved("three halvings are not enough", of_norm(100, 4, seed=4), "answer(3)", "bound"),
        halved("36 of 40 halvings", of_norm(1.4 * 2.0**35, 2, 3, seed=5), "answer(max_halvings=40)", "bound"),
        halved("an infinite entry", torch.tensor([math.inf, 3.0, -1.0]), "answer(2)", "bound"),
        several("three inputs, norms 5, 0.3 and 12", [of_norm(n, 2, 3, seed=6) for n in (5, 0.3, 12)]),
    ),
    secret=secret,
    imports=("torch._dynamo",),
)
