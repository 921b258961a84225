"""`TensorReduction`: a weighted sum over all pairs of features."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def reduction(
    label: str,
    sizes: tuple[int, int],
    leading: tuple[int, ...],
    seed: int,
    dtype: str = "float32",
    group: str = "main",
) -> Case:
    """The layer with given numbers in `weight`, on a random input."""
    n, k = sizes
    weight = normal(n, n, k, seed=seed + 1, dtype=dtype) / n
    inputs = (normal(*leading, n, seed=seed, dtype=dtype),)
    return Case(label, f"answer({n}, {k})", inputs, {"weight": weight}, dtype, seed, group)


def large(label: str, sizes: tuple[int, int], samples: int, seed: int) -> Case:
    """A batch so large that what is done once for each pair of its samples outweighs everything else."""
    n, k = sizes
    return Case(label, f"answer({n}, {k})", (normal(samples, n, seed=seed),), seed=seed, group="large")


def secret(draw: Random) -> list[Case]:
    """Other sizes, all different from one another, and the plausible ones: as many samples as features."""
    batch, n, k, extra = draw.sample(range(2, 7), 4)
    seed = draw.randrange(10**6)
    return [
        reduction("a batch", (n, k), (batch,), seed),
        reduction("as many samples as features", (n, k), (n,), seed + 10),
        reduction("three leading dimensions, float64", (n, k), (batch, extra, 2), seed + 20, "float64", "leading"),
        reduction("one output, float64", (n, 1), (batch,), seed + 30, "float64"),
        reduction("one feature", (1, k), (batch,), seed + 40),
        reduction("one sample", (n, k), (), seed + 50, "float64", "leading"),
        large("a large batch", (draw.randint(2, 3), draw.randint(1, 3)), draw.randint(32, 40), seed + 60),
    ]


PARAMETERS = {
    "parameter.*: missing": "A module notices a tensor when an `nn.Parameter` is assigned to an attribute of `self`.",
    "parameter.weight: *": "`weight` has shape (in_features, in_features, out_features).",
}
NEIGHBOURS = {"batch.difference: values": "A sample must not meet its neighbours: which index is the sample's?"}
VALUES = {
    "output: shape": "`(..., in_features) -> (..., out_features)`, with any number of leading dimensions.",
    "output: values": "Two features in each term, and both indices run over all features.",
}
GRADIENTS = {
    "gradient.*: none": "Something in `forward` cuts it off: is there a `.data` or `.detach()`?",
    "gradient.input.*: values": "If the values are right: the input occurs twice in the formula.",
}
TRACES = {"raised: *deepcopy*": "Does an attribute of `self` keep a tensor from the last call?"}
PAIRS = {"growth.power: values": "Is anything computed for each pair of *samples*?"}
ANY = ("main", "leading")
WORK = {"of": "work"}

EXERCISE = ExerciseSource(
    defines="TensorReduction",
    checks=(
        Check("parameters", "`weight` is its parameter", 1, "parameters", PARAMETERS),
        Check("batch", "Each sample of a batch is on its own", 1, "batch", NEIGHBOURS),
        Check("values", "It computes the sum over all pairs of features", 2, "values", VALUES, ANY),
        Check(
            "gradients",
            "Gradients reach the weight, and the input through both factors",
            2,
            "gradients",
            GRADIENTS,
        ),
        Check(
            "side_effects",
            "A call leaves its input as it was, and the layer can be copied",
            1,
            "side_effects",
            TRACES,
        ),
        Check("work", "The work grows with the batch, and not with its square", 1, "growth", PAIRS, ("large",), WORK),
    ),
    public=(
        reduction("a batch of 5", (3, 2), (5,), 400),
        reduction("two leading dimensions, float64", (2, 3), (4, 5), 500, "float64", "leading"),
        reduction("one sample", (3, 4), (), 600, group="leading"),
        large("a batch of 32, then one of 128", (3, 2), 32, 700),
    ),
    secret=secret,
)
