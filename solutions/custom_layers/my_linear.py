"""`MyLinear`: a linear layer and its ReLU in one, with the weight stored as `(in_units, units)`."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def linear(label: str, sizes: tuple[int, int], leading: tuple[int, ...], seed: int, dtype: str = "float32") -> Case:
    """The layer with given numbers in `weight` and `bias`, on a random input."""
    n, k = sizes
    group = "main" if len(leading) == 1 else "leading"
    inputs = (normal(*leading, n, seed=seed, dtype=dtype),)
    weight, bias = normal(n, k, seed=seed + 1, dtype=dtype), normal(k, seed=seed + 2, dtype=dtype)
    return Case(label, f"answer({n}, {k})", inputs, {"weight": weight, "bias": bias}, dtype, seed, group)


def secret(draw: Random) -> list[Case]:
    """Other sizes, all different from one another, and square ones, where a transposed weight would not show."""
    batch, inner, outer, extra = draw.sample(range(2, 9), 4)
    seed = draw.randrange(10**6)
    return [
        linear("a batch", (inner, outer), (batch,), seed),
        linear("one sample", (inner, outer), (), seed + 10),
        linear("square, float64", (inner, inner), (batch,), seed + 20, "float64"),
        linear("three leading dimensions", (inner, outer), (batch, extra, 2), seed + 30),
        linear("one unit", (inner, 1), (batch,), seed + 40),
        linear("one feature", (1, outer), (batch,), seed + 50),
    ]


CUT = "Something in `forward` cuts it off: is there a `.data` or `.detach()`?"
PLAIN = "Parameters and buffers are saved and cast; a plain tensor is neither."
PARAMETERS = {
    "parameter.*: missing": "A module notices a tensor when an `nn.Parameter` is assigned to an attribute of `self`.",
    "parameter.weight: *": "`weight` has shape (in_units, units).",
    "buffer.*: unexpected": "A buffer is not trained.",
}
VALUES = {
    "output: shape": "`(..., in_units) -> (..., units)`, with any number of leading dimensions.",
    "output: values": "Are the ReLU, the bias and the order of the product as in the formula?",
}
TRACES = {
    "change.evaluation: *": "The layer does the same in both modes.",
    "raised: *deepcopy*": "Does an attribute of `self` keep a tensor from the last call?",
}

EXERCISE = ExerciseSource(
    defines="MyLinear",
    checks=(
        Check("parameters", "`weight` and `bias` are its parameters", 1, "parameters", PARAMETERS),
        Check("values", "It computes relu(X @ weight + bias)", 2, "values", VALUES, ("main", "leading")),
        Check(
            "gradients", "Gradients reach the input and both parameters", 2, "gradients", {"gradient.*: none": CUT}
        ),
        Check("round_trip", "Its numbers are saved and loaded", 1, "round_trip", {"state_dict.keys: *": PLAIN}),
        Check("double", "`.double()` reaches everything", 1, "double", {"state_dict.dtypes: *": PLAIN}),
        Check(
            "side_effects",
            "A call leaves its input as it was, and the layer can be copied",
            1,
            "side_effects",
            TRACES,
        ),
    ),
    public=(
        linear("a batch of 5", (4, 3), (5,), 100),
        linear("one sample", (3, 2), (), 200),
        linear("two leading dimensions, float64", (3, 4), (2, 5), 300, "float64"),
    ),
    secret=secret,
)
