"""`fixed_hidden_mlp`: a constant layer, a layer that is used twice, and a loop that the data decides."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from grader.authoring.exercise import Case, Check, ExerciseSource, normal

# Whatever no state is given for is drawn anew, each tensor from the same seed: what an answer gives does not depend
# on the order in which it makes its layers.
DRAWN_ANEW = """(lambda model: (model, [
    (torch.default_generator.manual_seed(torch.initial_seed()), tensor.data.copy_(torch.rand(tensor.shape)))
    for tensor in [*model.state_dict(keep_vars=True).values(), getattr(model, "rand_weight", None)]
    if isinstance(tensor, torch.Tensor) and not nn.parameter.is_lazy(tensor)
])[0])({})"""


def numbers(features: int, seed: int, dtype: str = "float32") -> dict[str, Tensor]:
    """A state: numbers of both signs in `linear`, of [0, 1) in `rand_weight`."""
    return {
        "linear.weight": normal(features, features, seed=seed, dtype=dtype),
        "linear.bias": normal(features, seed=seed + 1, dtype=dtype),
        "rand_weight": normal(features, features, seed=seed + 2, dtype=dtype).abs() % 1,
    }


def halvings(state: dict[str, Tensor], X: Tensor) -> float:
    """The logarithm of the norm before the loop, to base 2. Rounding cannot change the number of halvings if this is
    far from a whole number."""

    def linear(X: Tensor) -> Tensor:
        return F.linear(X, state["linear.weight"], state["linear.bias"])

    return math.log2(linear(F.relu(linear(X) @ state["rand_weight"] + 1)).abs().sum())


def model(
    label: str, features: int, leading: tuple[int, ...], seed: int, dtype: str = "float32", scale: float = 1
) -> Case:
    """The model on random numbers that must be halved twice or more."""
    while True:
        state, X = numbers(features, seed, dtype), scale * normal(*leading, features, seed=seed + 3, dtype=dtype)
        if halvings(state, X) > 1 and 0.15 < halvings(state, X) % 1 < 0.85:
            break
        seed += 1000
    build = "answer()" if features == 20 else f"answer({features})"
    # Most checks are tried in float32 and on batches only: what fails elsewhere shall lose the points for that.
    group = "main" if dtype == "float32" and len(leading) == 1 else "other"
    return Case(label, DRAWN_ANEW.format(build), (X,), state, dtype, seed, group)


def constant(label: str, bias: list[float], samples: int) -> Case:
    """A zero weight: every sample becomes the bias, so that the norm is known exactly."""
    size = len(bias)
    state = {**numbers(size, 5), "linear.weight": torch.zeros(size, size), "linear.bias": torch.tensor(bias)}
    return Case(label, DRAWN_ANEW.format(f"answer({size})"), (normal(samples, size, seed=6),), state)


def not_finite(label: str, features: int, entry: float, others: float, seed: int) -> Case:
    """An input that leads to inf in every entry, or to nan: all numbers in the layers are positive."""
    state = {name: tensor.abs() + 0.6 for name, tensor in numbers(features, seed).items()}
    X = torch.full((2, features), float(others))
    X[1, 0] = entry
    return Case(label, f"answer({features})", (X,), state, seed=seed, group="not finite", raises="ValueError")


def fresh(features: int, seed: int) -> Case:
    """A model as it was made; large enough that the mean square of its numbers is certain to 0.25 %."""
    return Case("a fresh model", f"answer({features})", seed=seed, group="fresh")


def secret(draw: Random) -> list[Case]:
    """Other sizes and ranks, other norms that are powers of two, other ways to inf and nan."""
    batch, features, extra = draw.sample(range(2, 8), 3)
    seed = draw.randrange(10**6)
    power = 2.0 ** draw.randint(-2, 6)
    return [
        model("another batch", features, (batch,), seed),
        model("one sample, the default size", 20, (), seed + 10, "float64"),
        model("three leading dimensions", features, (batch, 1, extra), seed + 20),
        model("large numbers", extra + 1, (batch,), seed + 30, scale=1e6),
        constant("a norm that is a power of two", [power / 2, -power / 4, power / 4], 1),
        constant("a norm below 1", [draw.uniform(-0.1, 0.1) for _ in range(features)], 1),
        fresh(draw.randint(380, 420), seed + 40),
        not_finite("an inf beside a -inf", features, -math.inf, math.inf, seed + 50),
        not_finite("large numbers that overflow", features, 3e38, 3e38, seed + 60),
        not_finite("a nan beside an inf", features, math.nan, math.inf, seed + 70),
    ]


CUT_OFF = "Something cuts it off: a `.data`, `.detach()`, `.item()` or `no_grad`?"

STAYS_FLOAT32 = "Some tensor stays float32. Is it a plain attribute, or is it made in `forward`?"

EXERCISE = ExerciseSource(
    defines="FixedHiddenMLP",
    checks=(
        Check(
            id="parameters",
            title="`linear` is trained, `rand_weight` is a buffer",
            points=1,
            probe="parameters",
            hints={
                "parameter.*: unexpected": "The only parameters are those of `linear`.",
                "parameter.linear*: missing": "The Linear is an attribute of the model, called `linear`.",
                "buffer.*: missing": "A tensor that belongs to the model and is never trained is a buffer.",
            },
        ),
        Check(
            id="round_trip",
            title="Its numbers are saved and loaded, the constant ones too",
            points=1,
            probe="round_trip",
            hints={"state_dict.keys: *": "A state dict holds parameters and persistent buffers, and nothing else."},
        ),
        Check(
            id="double",
            title="`.double()` reaches everything",
            points=1,
            probe="double",
            hints={"*dtype*: *": STAYS_FLOAT32, "raised: *type*": STAYS_FLOAT32},
        ),
        Check(
            id="initial",
            title="`rand_weight` is uniform in [0, 1)",
            points=1,
            probe="initial_values",
            hints={"*spread.*: *": "Which function draws uniformly from [0, 1)?"},
            on=("fresh",),
            options={"of": ["rand_weight"]},
        ),
        Check(
            id="values",
            title="It computes the formula",
            points=2,
            probe="values",
            hints={
                "output: shape": "The model returns one number, the sum of all entries.",
                "output: values": "If it is off by a power of two, look at the loop; else at the formula.",
            },
            on=("main", "other"),
        ),
        Check(
            id="gradients",
            title="Gradients flow through all of it, and into `linear` twice",
            points=1,
            probe="gradients",
            hints={"gradient.*: none": CUT_OFF, "gradient.*: missing": CUT_OFF},
        ),
        Check(
            id="hooks",
            title="`linear` is called twice",
            points=1,
            probe="hooks",
            hints={"calls.*: *": "Call the module, `self.linear(X)`; then its hooks run."},
            options={"of": "Linear"},
        ),
        Check("side_effects", "A call leaves no traces, and the model can be copied", 1, "side_effects"),
        Check(
            id="errors",
            title="inf and nan raise a `ValueError`",
            points=1,
            probe="values",
            hints={
                "*: not raised": "Are all entries finite before the loop begins?",
                "raised: OutOfTime": "Half of inf is inf.",
            },
            on=("not finite",),
        ),
    ),
    public=(
        model("a batch of 4", 3, (4,), 11),
        model("one sample, float64", 5, (), 22, "float64"),
        model("two leading dimensions, the default size", 20, (2, 3), 33),
        constant("a norm of exactly 1", [0.5, -0.25, 0.25], 1),
        constant("a norm of exactly 4", [1.0, -0.5, 0.5], 2),
        fresh(400, 44),
        not_finite("a nan", 3, math.nan, 1, 55),
        not_finite("an inf", 3, math.inf, 1, 66),
        not_finite("finite numbers that overflow inside", 3, 3e38, 1, 77),
    ),
    secret=secret,
)
