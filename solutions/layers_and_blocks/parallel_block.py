"""`ParallelBlock`: two modules side by side, on the same input."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def case(
    label: str,
    widths: tuple[int, int, int],
    leading: tuple[int, ...],
    seed: int,
    dtype: str = "float32",
    group: str = "main",
    build: str = "answer(left := nn.Linear({0}, {1}), right := nn.Linear({0}, {2}))",
) -> Case:
    """Two linear layers with given numbers."""
    inner, left, right = widths
    state = {}
    for k, (part, width) in enumerate({"left": left, "right": right}.items()):
        if f"{part} :=" in build:
            state[f"{part}.weight"] = normal(width, inner, seed=seed + 2 * k + 1, dtype=dtype)
            state[f"{part}.bias"] = normal(width, seed=seed + 2 * k + 2, dtype=dtype)
    inputs = (normal(*leading, inner, seed=seed, dtype=dtype),)
    return Case(label, build.format(*widths), inputs, state, dtype, seed, group)


SAME = "answer(left := nn.Linear({0}, {1}), left)"
NESTED = "answer(answer(left := nn.Linear({0}, {1}), nn.Tanh()), right := nn.Linear({0}, {2}))"


def secret(draw: Random) -> list[Case]:
    """Other widths and ranks, one inside the other, no leading dimension."""
    batch, inner, left, right = draw.sample(range(2, 9), 4)
    seed = draw.randrange(10**6)
    return [
        case("other widths", (inner, left, right), (batch,), seed),
        case("equal widths, float64", (inner, left, left), (batch,), seed + 10, "float64"),
        case("one in another", (inner, left, right), (batch,), seed + 20, build=NESTED),
        case("one vector, float64", (left, right, inner), (), seed + 30, "float64", "ranks"),
        case("three leading dimensions", (right, left, inner), (batch, 1, 2), seed + 40, group="ranks"),
        case("one module in both places", (inner, left, left), (batch,), seed + 50, group="same", build=SAME),
    ]


EXERCISE = ExerciseSource(
    defines="ParallelBlock",
    checks=(
        Check(
            "values",
            "Both outputs of the same input, side by side",
            2,
            "values",
            hints={
                "output: *": "`left` first, joined along the last dimension, whatever the number of dimensions.",
            },
            on=("main", "ranks"),
        ),
        Check(
            "same",
            "One module may stand in both places",
            1,
            "values",
            hints={"output: *": "Its output comes twice, side by side."},
            on=("same",),
        ),
        Check(
            "registered",
            "It knows the parameters of both modules",
            1,
            "parameters",
            hints={
                "registered.*: values": "A module is registered when it is assigned to an attribute, by "
                "itself or in an `nn.ModuleList`."
            },
        ),
        Check(
            "gradients",
            "Gradients reach the input and both modules",
            1,
            "gradients",
            hints={"gradient.*: none": "Is there a `.detach()`, `.data` or `torch.no_grad()` on the way?"},
        ),
        Check(
            "hooks",
            "Both modules are called, so that their hooks run",
            0.5,
            "hooks",
            hints={"calls.*: *": "Call the modules themselves, `self.left(X)`, and each one once."},
        ),
        Check("traces", "A call leaves its input as it was, and the block can be copied", 0.5, "side_effects"),
    ),
    public=(
        case("a batch of 5", (4, 3, 2), (5,), 100),
        case("a batch of 3, float64", (2, 4, 5), (3,), 200, "float64"),
        case("one vector", (3, 2, 4), (), 300, group="ranks"),
        case("two leading dimensions", (4, 2, 3), (2, 5), 400, group="ranks"),
        case("one module in both places", (4, 3, 3), (5,), 500, group="same", build=SAME),
    ),
    secret=secret,
)
