"""`stochastic_depth`: a block that is skipped by chance in training, and weighted in evaluation."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal

# Right answers may draw in any way, so no case of a single call may depend on the draw: in training, `drop_prob` is 0
# or 1. And the numbers between are sums of powers of two, which every dtype has exactly.
LINEAR = "answer(block := nn.Linear({0}, {0}), {1})"
MLP = "answer(block := nn.Sequential(nn.Linear({0}, 5), nn.Tanh(), nn.Linear(5, {0})), {1})"

# What 500 calls in training give, told coarsely: 0.14 is seven standard deviations of the share.
OUTCOMES = """(lambda net: lambda X: (
    calls := torch.stack([net(X.clone()) for _ in range(500)]),
    skipped := (calls == X).flatten(1).all(1),
    added := torch.isclose(calls, X + block(X)).flatten(1).all(1),
    same := skipped.double().mean().item(),
    other := answer(block, {1}),
    repeated := torch.stack([other(X.clone()) for _ in range(50)]),
    {{
        "answer to whether each call gave `X` or `X + block(X)`": bool((skipped | added).all()),
        "share of the calls that gave `X`":
            "about {1:.0%}" if abs(same - {1}) < 0.14
            else "too small" if 0 < same < {1} else "too large" if {1} < same < 1 else f"{{same:.0%}}",
        "answer to whether another layer does the same, call by call": 0 < same < 1 and calls[:50].equal(repeated),
    }},
)[-1])(answer(block := nn.Linear({0}, {0}), {1}))"""


def block(
    label: str,
    probability: float,
    shape: tuple[int, ...],
    seed: int,
    group: str,
    build: str = LINEAR,
    dtype: str = "float32",
) -> Case:
    """A residual block with given numbers, on a random input."""
    features, mode = shape[-1], "" if group in ("training", "active", "draw") else ".eval()"
    paths = {"block": (features, features)} if build != MLP else {"block.0": (5, features), "block.2": (features, 5)}
    state = {}
    for number, (path, (rows, columns)) in enumerate(paths.items()):
        state[f"{path}.weight"] = normal(rows, columns, seed=seed + 10 * number + 1, dtype=dtype)
        state[f"{path}.bias"] = normal(rows, seed=seed + 10 * number + 2, dtype=dtype)
    X = normal(*shape, seed=seed, dtype=dtype)
    raises = "" if 0 <= probability <= 1 else "ValueError"
    return Case(label, build.format(features, probability) + mode, (X,), state, dtype, seed, group, raises)


def secret(draw: Random) -> list[Case]:
    """Other shapes, blocks and probabilities."""
    batch, features, extra = draw.sample(range(2, 8), 3)
    seed = draw.randrange(10**6)
    first, second = draw.sample([0.125, 0.25, 0.375, 0.625, 0.75], 2)
    outside = draw.choice([-2.0, -0.001, 1.001, 3.0])
    return [
        block("evaluation, another batch", first, (batch, features), seed, "evaluation"),
        block("evaluation, one vector, float64", second, (features,), seed + 20, "evaluation", MLP, "float64"),
        block("evaluation, drop_prob=1", 1.0, (batch, features), seed + 40, "skipped"),
        block("training, drop_prob=0", 0.0, (extra, 1, features), seed + 60, "active", MLP),
        block("training, drop_prob=1, float64", 1.0, (batch, features), seed + 80, "training", MLP, "float64"),
        block("training, other calls", draw.choice([0.25, 0.375]), (batch, features), seed + 100, "draw", OUTCOMES),
        block("training, calls with one vector", 0.75, (features,), seed + 120, "draw", OUTCOMES),
        block(f"drop_prob={outside}", outside, (batch, features), seed + 140, "outside"),
    ]


EXERCISE = ExerciseSource(
    defines="StochasticDepth",
    checks=(
        Check(
            id="evaluation",
            title="In evaluation the block is weighted",
            points=1,
            probe="values",
            hints={"output: values": "It is `X + (1 - drop_prob) * block(X)`, at every call."},
            on=("evaluation", "skipped"),
        ),
        Check(
            id="training",
            title="In training, 0 never skips and 1 always does",
            points=1,
            probe="values",
            hints={"output: values": "With `drop_prob=0` it is `X + block(X)`, with `drop_prob=1` it is `X`."},
            on=("training", "active"),
        ),
        Check(
            id="draw",
            title="In training, each call draws once",
            points=1,
            probe="values",
            hints={
                "*another layer*: *": "Is there a random number in it?",
                "*whether*: values": "A call gives one or the other, for all samples and entries.",
                "*share*: values": "`drop_prob` is the probability of `X` alone, drawn anew at each call.",
            },
            on=("draw",),
        ),
        Check("side_effects", "A call leaves no traces", 1, "side_effects", on=("evaluation",)),
        Check(
            id="gradients",
            title="Gradients reach the input and the block, in both modes",
            points=1,
            probe="gradients",
            hints={"gradient.*: none": "Something cuts it off: a `.detach()`, `.item()` or `no_grad`?"},
            on=("evaluation", "active"),
        ),
        Check(
            id="round_trip",
            title="The block is a part of it and is saved",
            points=1,
            probe="round_trip",
            hints={"change.saved: *": "Is the block assigned to an attribute of the layer?"},
            on=("evaluation",),
        ),
        Check(
            id="hooks",
            title="The block is called",
            points=1,
            probe="hooks",
            hints={"calls.*: *": "Was it skipped, or was its `forward` called instead of the module?"},
            on=("active",),
        ),
        Check(
            id="errors",
            title="A `drop_prob` outside [0, 1] raises a `ValueError`",
            points=1,
            probe="values",
            hints={"*: not raised": "`drop_prob` is a probability."},
            on=("outside",),
        ),
    ),
    public=(
        block("evaluation, drop_prob=0.25", 0.25, (4, 3), 11, "evaluation"),
        block("evaluation, two leading dimensions, float64", 0.625, (2, 3, 4), 30, "evaluation", MLP, "float64"),
        block("training, drop_prob=0", 0.0, (4, 3), 50, "active"),
        block("training, drop_prob=1", 1.0, (5, 2), 70, "training"),
        block("training, 500 calls with drop_prob=0.25", 0.25, (5, 3), 90, "draw", OUTCOMES),
        block("drop_prob=-0.5", -0.5, (4, 3), 110, "outside"),
        block("drop_prob=1.5", 1.5, (4, 3), 130, "outside"),
    ),
    secret=secret,
)
