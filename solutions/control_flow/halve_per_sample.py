"""`halve_per_sample`: a loop whose number of turns each vector decides for itself."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "control_flow.html"


class HalvePerSample(nn.Module):
    """Halves each vector along the last dimension until its L1 norm is at most 1."""

    def forward(self, X: Tensor) -> Tensor:
        """``(..., n) -> (..., n)``."""
        while (large := X.abs().sum(-1, keepdim=True) > 1).any():
            X = torch.where(large, X / 2, X)
        return X


# --- cases --------------------------------------------------------------------------------------------------------


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


# --- the answers that are known -----------------------------------------------------------------------------------


def forward(*lines: str, before: str = "") -> str:
    """A class with this `forward`."""
    body = "".join(f"        {line}\n" if line else "\n" for line in lines)
    return f"{before}class HalvePerSample(nn.Module):\n    def forward(self, X):\n{body}"


NORM = "norm = X.abs().sum(-1, keepdim=True)"

MISTAKES = (
    Mistake(
        id="coupled",
        title="One norm for the whole batch",
        source=forward("while X.abs().sum() > 1:", "    X = X / 2", "return X"),
        fails={"batch", "values", "gradients", "growth"},
        message="The loop asks for the norm of the whole tensor, so a vector is halved more often if it has "
        "neighbours. Each vector has a norm of its own, the sum along the last dimension.",
        why="`X.abs().sum()` is one number and gives one answer for all. No shape is wrong, and for a single vector "
        "even the result is right.",
        remedy="A norm for each vector, of shape `(..., 1)`, and `torch.where`.",
        see=f"{CHAPTER}#control-flow-batch",
    ),
    Mistake(
        id="any",
        title="All are halved as long as any is too large",
        source=forward("while (X.abs().sum(-1) > 1).any():", "    X = X / 2", "return X"),
        fails={"batch", "values", "gradients"},
        message="There is a norm for each vector, but one decision for all: small vectors are halved as often as the "
        "largest. Halve only where the norm is above 1.",
        why="`.any()` is right for the question whether to go on, and wrong for the question whom to halve.",
        remedy="`torch.where(condition, a, b)` decides for each vector if the condition has the shape `(..., 1)`.",
        see=f"{CHAPTER}#control-flow-if",
    ),
    Mistake(
        id="first_dimension",
        title="The norm along the wrong dimension",
        source=forward(
            "while (large := X.abs().sum(0, keepdim=True) > 1).any():",
            "    X = torch.where(large, X / 2, X)",
            "return X",
        ),
        fails={"batch", "values", "gradients", "growth"},
        message="The norm is taken over dimension 0, that is, over the samples of the batch. The entries of a vector "
        "lie along the last dimension, -1.",
        why="For a single vector dimension 0 is also the last one, so that the first try looks right.",
        remedy="Count from the end: `-1` is the last dimension, whatever comes before it.",
        see=f"{CHAPTER}#control-flow-batch",
    ),
    Mistake(
        id="two_dimensions",
        title="Written for two dimensions",
        source=forward(
            "while (large := X.abs().sum(1, keepdim=True) > 1).any():",
            "    X = torch.where(large, X / 2, X)",
            "return X",
        ),
        fails={"values", "gradients"},
        message="Dimension 1 is the last one only if there are two: a single vector has none, and with more leading "
        "dimensions another one is summed. Use -1.",
        why="A layer does not know how many leading dimensions it will be given.",
        remedy="`sum(-1, keepdim=True)`.",
        see="basics.html#basics-linear-shapes",
    ),
    Mistake(
        id="normalised",
        title="Divided by the norm",
        source=forward(NORM, "return X / norm.clamp(min=1)"),
        fails={"values", "gradients"},
        message="Every vector above 1 comes out with the norm 1: it is divided by its norm. The layer *halves*, so "
        "that what is left is between ½ and 1.",
        why="Dividing by the norm is another layer, with another gradient: there the norm is a part of the formula.",
        remedy="The only divisors are powers of two.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="once",
        title="`if` instead of `while`",
        source=forward("large = X.abs().sum(-1, keepdim=True) > 1", "return torch.where(large, X / 2, X)"),
        fails={"values", "gradients"},
        message="Large vectors are halved once and may still be large. Go on until the norm of each is at most 1.",
        why="`torch.where` is an `if` for each entry; the repetition has to come from somewhere else.",
        remedy="A loop around it, or a formula for the number of halvings.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="ten_turns",
        title="A loop with a fixed number of turns",
        source=forward(
            "for _ in range(10):",
            "    large = X.abs().sum(-1, keepdim=True) > 1",
            "    X = torch.where(large, X / 2, X)",
            "return X",
        ),
        fails={"values", "gradients"},
        message="Ten turns are enough up to a norm of 1024, and a very large vector stays above 1. The norms decide "
        "how many turns there are.",
        why="Twice the norm costs one turn more: a norm of 10²⁰ needs 67.",
        remedy="Loop while any vector is too large.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="no_abs",
        title="The sum instead of the L1 norm",
        source=forward(
            "while (large := X.sum(-1, keepdim=True) > 1).any():", "    X = torch.where(large, X / 2, X)", "return X"
        ),
        fails={"values", "gradients"},
        message="Vectors whose entries cancel are left too large: the loop asks for their sum. The L1 norm is the "
        "sum of the *absolute* values.",
        why="The sum of (5, -5) is 0, its L1 norm is 10.",
        remedy="Take absolute values before you add.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="l2_norm",
        title="The L2 norm instead of the L1 norm",
        source=forward(
            "while (large := X.norm(dim=-1, keepdim=True) > 1).any():",
            "    X = torch.where(large, X / 2, X)",
            "return X",
        ),
        fails={"values", "gradients"},
        message="Some vectors are halved too seldom: this is the L2 norm, the root of the sum of squares, which is "
        "never larger than the L1 norm. The L1 norm is the sum of the absolute values.",
        why="`norm` takes `p=2` if it is not told otherwise. For a vector with a single entry both are the same.",
        remedy="`X.abs().sum(-1, keepdim=True)`, or `p=1`.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="at_least",
        title="A norm of exactly 1 is halved",
        source=forward(NORM, "turns = (norm.detach().log2().floor() + 1).clamp(min=0)", "return X / 2**turns"),
        fails={"values", "gradients"},
        message="A vector whose norm is exactly a power of two is halved once too often. A norm of exactly 1 is "
        "allowed: *at most 1*.",
        why="`floor(x) + 1` and `ceil(x)` agree everywhere but at the whole numbers.",
        remedy="Try norms of 1, 2 and 4 by hand.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="in_place",
        title="The caller's tensor is halved",
        source=forward(
            "while (large := X.abs().sum(-1) > 1).any():",
            "    X[large] /= 2",
            "return X",
        ),
        fails={"side_effects", "gradients"},
        message="`X[large] /= 2` writes into the tensor that the caller handed over, so in the next epoch the data "
        "are others. Make a new tensor.",
        why="An index on the left of an assignment writes in place; on a leaf that requires a gradient it may not.",
        remedy="`torch.where` makes a new tensor; or write into a `X.clone()`.",
        see=f"{CHAPTER}#control-flow-in-place",
    ),
    Mistake(
        id="ldexp",
        title="`torch.ldexp` with whole numbers",
        source=forward(
            NORM, "turns = norm.detach().clamp(min=1).log2().ceil()", "return torch.ldexp(X, -turns.int())"
        ),
        fails={"gradients"},
        message="The values are right, and where a vector is halved its gradient is 0: for an integer exponent "
        "`torch.ldexp` works out its derivative in whole numbers, where ½ is 0. Let the exponent be a float.",
        why="The derivative is 2 to the power of the exponent, computed in the exponent's dtype.",
        remedy="Multiply by `torch.exp2(-turns)`, with `turns` a float tensor.",
        see=f"{CHAPTER}#control-flow-gradients",
    ),
    Mistake(
        id="log_of_zero",
        title="The logarithm of a zero norm",
        source=forward(NORM, "turns = norm.log2().ceil().clamp(min=0)", "return X / 2**turns"),
        fails={"gradients"},
        message="A zero vector has a right value and a gradient of nan: the derivative of the logarithm at 0 is "
        "infinite, and 0 · ∞ is nan. The number of halvings is to be a constant for autograd.",
        why="The backward pass goes through `clamp`, `ceil` and `log2` too. It brings 0 there, and meets 1 / 0.",
        remedy="Make the norm harmless *before* the logarithm (`clamp(min=1)`), or take it from `X.detach()`.",
        see=f"{CHAPTER}#control-flow-if",
    ),
    Mistake(
        id="no_gradient",
        title="Everything under `no_grad`",
        source=forward(
            "with torch.no_grad():",
            "    while (large := X.abs().sum(-1, keepdim=True) > 1).any():",
            "        X = torch.where(large, X / 2, X)",
            "return X",
        ),
        fails={"gradients"},
        message="The values are right and no gradient comes back: nothing under `no_grad` is recorded. Only the "
        "decision may be off the record; the halving itself belongs to the formula.",
        why="That the number of turns has no derivative does not mean that the result has none: it is 2⁻ᵏ.",
        remedy="Leave the division outside of `no_grad` and `.detach()`.",
        see=f"{CHAPTER}#control-flow-gradients",
    ),
    Mistake(
        id="row_by_row",
        title="A Python loop over the vectors",
        source=forward(
            "rows = [halved(x) for x in X.reshape(-1, X.shape[-1])]",
            "return torch.stack(rows).reshape(X.shape)",
            before="def halved(x):\n    while x.abs().sum() > 1:\n        x = x / 2\n    return x\n\n\n",
        ),
        fails={"growth"},
        message="The result is right, but each vector has a loop of its own, so that the number of operators grows "
        "with their number. Work on all vectors at once.",
        why="Each operator costs the same few microseconds for one vector as for a thousand.",
        remedy="One loop for all, in which a condition of shape `(..., 1)` says who is halved.",
        see="performance.html#performance-vectorise",
    ),
)

ALTERNATIVES = {
    "closed_form": forward(NORM, "turns = norm.detach().clamp(min=1).log2().ceil()", "return X * torch.exp2(-turns)"),
    "clamped_log": forward(NORM, "return X / 2 ** norm.clamp(min=1).log2().ceil()"),
    "mask_on_a_clone": forward(
        "X = X.clone()",
        "while True:",
        "    large = torch.linalg.vector_norm(X, ord=1, dim=-1) > 1",
        "    if not large.any():",
        "        return X",
        "    X[large] = X[large] / 2",
    ),
    "recursion": forward(
        "small = torch.abs(X).sum(dim=-1, keepdim=True) <= 1",
        "return X if small.all() else torch.where(small, X, self.forward(0.5 * X))",
    ),
    "factor": forward(
        NORM,
        "factor = torch.ones_like(norm)",
        "while bool((factor * norm > 1).any()):",
        "    factor = factor.masked_fill(factor * norm > 1, 0) + (factor * norm > 1) * factor / 2",
        "return factor.detach() * X",
    ),
    "frexp": forward(
        "with torch.no_grad():",
        "    mantissa, exponent = torch.frexp(X.abs().sum(-1, keepdim=True))",
        "    turns = (exponent - (mantissa == 0.5).int()).clamp(min=0)",
        "return X / torch.pow(2.0, turns.to(X.dtype))",
    ),
    "vmap": """\
class HalvePerSample(nn.Module):
    @staticmethod
    def vector(x):
        return x / 2.0 ** torch.ceil(torch.log2(x.abs().sum().clamp(min=1)))

    def forward(self, X):
        if X.dim() == 1:
            return self.vector(X)
        return torch.vmap(self.vector)(X.flatten(end_dim=-2)).view(X.shape)
""",
    "own_function": """\
class Halve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X):
        scale = torch.ones_like(X[..., :1])
        while (large := (scale * X).abs().sum(-1, keepdim=True) > 1).any():
            scale[large] *= 0.5
        ctx.save_for_backward(scale)
        return scale * X

    @staticmethod
    def backward(ctx, g):
        return ctx.saved_tensors[0] * g


class HalvePerSample(nn.Module):
    def forward(self, X):
        return Halve.apply(X)
""",
}

TASK = ExerciseSource(
    name="halve_per_sample",
    defines="HalvePerSample",
    reference=HalvePerSample,
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
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
