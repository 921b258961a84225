"""`CenteredLayer`: the input minus the mean of all its entries."""

from __future__ import annotations

from random import Random

import torch

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def centered(label: str, shape: tuple[int, ...], seed: int, dtype: str = "float32") -> Case:
    """The layer on numbers whose mean is far from zero."""
    return Case(label, "answer()", (3 + normal(*shape, seed=seed, dtype=dtype),), dtype=dtype, seed=seed)


def inside(label: str, sizes: tuple[int, int, int], seed: int) -> Case:
    """The layer behind one that learns: its input has a history."""
    batch, inputs, outputs = sizes
    build = f"nn.Sequential(first := nn.Linear({inputs}, {outputs}), answer())"
    return Case(label, build, (normal(batch, inputs, seed=seed),), seed=seed, group="inside")


def secret(draw: Random) -> list[Case]:
    """Other shapes and numbers, and the edges: one entry, equal entries."""
    sizes = draw.sample(range(2, 9), 4)
    seed = draw.randrange(10**6)
    return [
        centered("one vector", (sizes[0],), seed),
        centered("a batch, float64", (sizes[0], sizes[1] + 7), seed + 1, "float64"),
        centered("four dimensions", (sizes[2], 1, sizes[0], sizes[3]), seed + 2),
        centered("a single entry", (1,), seed + 3),
        centered("a single number, no dimension", (), seed + 4),
        centered("five dimensions", (2, 1, sizes[1], 2, 3), seed + 5),
        Case("equal entries", "answer()", (torch.full((2, 3), draw.uniform(-5, 5)),), seed=seed),
        inside("behind a layer that learns", (sizes[0], sizes[1], sizes[2]), seed + 6),
    ]


GRADIENTS = {
    "gradient.input.*: none": "Something in `forward` cuts the input off: is there a `.detach()`?",
    "gradient.input.*: values": "If the values are right: the mean depends on every entry, so is it cut off by "
    "`.detach()`, `.item()` or `.data`?",
}
TRACES = {
    "change.input: *": "Does an operator ending in `_`, or `-=`, write into the caller's tensor?",
    "change.evaluation: *": "The layer does the same in both modes.",
    "raised: *deepcopy*": "Does an attribute of `self` keep a tensor from the last call?",
}
SHAPE = {"output: shape": "The output has the shape of the input."}
CALLS = ("main", "inside")

EXERCISE = ExerciseSource(
    defines="CenteredLayer",
    checks=(
        Check("values", "The mean of all entries is subtracted", 2, "values", SHAPE),
        Check("gradients", "Gradients flow through the mean, too", 1, "gradients", GRADIENTS),
        Check(
            "side_effects",
            "A call leaves its input as it was, and the layer can be copied",
            1,
            "side_effects",
            TRACES,
            CALLS,
        ),
    ),
    public=(
        centered("one vector", (5,), 1),
        centered("a batch of 4", (4, 3), 2),
        centered("three dimensions, float64", (2, 3, 5), 3, "float64"),
        inside("behind a layer that learns", (4, 2, 3), 4),
    ),
    secret=secret,
)
