"""`HalfFourier`: the first half of the discrete Fourier transform."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def signal(label: str, shape: tuple[int, ...], seed: int, dtype: str = "float32", group: str = "main") -> Case:
    """The layer on random signals, whose mean is not zero."""
    inputs = (0.3 + 0.5 * normal(*shape, seed=seed, dtype=dtype),)
    return Case(label, "answer()", inputs, dtype=dtype, seed=seed, group=group)


def inside(label: str, sizes: tuple[int, int, int], seed: int) -> Case:
    """The layer behind one that learns: its input has a history."""
    batch, inputs, outputs = sizes
    build = f"nn.Sequential(first := nn.Linear({inputs}, {outputs}), answer())"
    return Case(label, build, (normal(batch, inputs, seed=seed),), seed=seed, group="inside")


def secret(draw: Random) -> list[Case]:
    """Other lengths, even and odd, the leading dimensions different from them and from their half."""
    even, odd = draw.choice((4, 6, 8)), draw.choice((5, 7, 9))
    batch, extra = draw.sample((2, 11, 12), 2)
    seed = draw.randrange(10**6)
    return [
        signal("a batch, even length", (batch, even), seed),
        signal("a batch, odd length", (batch, odd), seed + 1),
        signal("one signal, odd length", (odd,), seed + 2),
        signal("two numbers", (batch, 2), seed + 3),
        signal("three leading dimensions", (extra, 1, 3, even), seed + 4),
        signal("float64, even length", (batch, even), seed + 5, "float64", "double"),
        signal("float64, odd length", (extra, 2, odd), seed + 6, "float64", "double"),
        signal("batches of one number", (batch, extra, 1), seed + 7, group="short"),
        inside("behind a layer that learns", (batch, 4, odd), seed + 8),
    ]


VALUES = {
    "output: dtype": "The coefficients are complex: neither their real part nor their magnitude.",
    "output: shape": "`(..., n) -> (..., n // 2)`: which dimension is sliced, and how is n // 2 rounded?",
    "output: values": "Unnormalised, beginning with coefficient 0, along the last dimension.",
}
PRECISION = {
    "output: dtype": "The dtype follows the input's: complex64 from float32, complex128 from float64.",
    "output: values": "If float32 is right: was something on the way computed in single precision?",
}
SHORT = {"output: shape": "1 // 2 is 0: the output has shape `(..., 0)`."}
CUT = {"gradient.input.*: none": "Something in `forward` cuts it off: is there a `.data` or `.detach()`?"}
TRACES = {
    "change.input: *": "Does an operator ending in `_`, or `*=`, write into the caller's tensor?",
    "raised: *deepcopy*": "Does an attribute of `self` keep a tensor from the last call?",
}
CALLS = ("main", "inside")

EXERCISE = ExerciseSource(
    defines="HalfFourier",
    checks=(
        Check("values", "The first n // 2 coefficients", 2, "values", VALUES),
        Check("precision", "complex128 from float64, to all its digits", 1, "values", PRECISION, ("double",)),
        Check("short", "A signal of one number has no coefficients", 1, "values", SHORT, ("short",)),
        Check("gradients", "Gradients flow back into the signal", 1, "gradients", CUT),
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
        signal("a batch of 3, even length", (3, 8), 800),
        signal("a batch of 2, odd length", (2, 5), 801),
        signal("one signal", (6,), 802),
        signal("two leading dimensions, float64", (2, 4, 7), 803, "float64", "double"),
        signal("signals of one number", (3, 1), 804, group="short"),
        inside("behind a layer that learns", (3, 2, 6), 805),
    ),
    secret=secret,
)
