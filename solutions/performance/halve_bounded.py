"""`HalveBounded`: the halving loop, rewritten so that a compiler sees one graph."""

from __future__ import annotations

import textwrap
from random import Random
import math

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

BREAK = "performance.html#performance-graph-break"
TRACED = "performance.html#performance-loop-traced"
COMPILE = "performance.html#performance-compile"
WHILE = "control_flow.html#control-flow-while"


class HalveBounded(nn.Module):
    """Halve the whole input while its L1 norm is above 1, but not more often than a bound says."""

    def __init__(self, max_halvings: int = 32) -> None:
        super().__init__()
        self.max_halvings = max_halvings

    def forward(self, X: Tensor) -> Tensor:
        """Any shape to the same shape."""
        for _ in range(self.max_halvings):  # Python counts, so the loop can be unrolled; a tensor chooses
            X = torch.where(X.abs().sum() > 1, X / 2, X)
        return X


# --- what it is tried on ------------------------------------------------------------------------------------------


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


# --- what other answers are made from -----------------------------------------------------------------------------

RIGHT = """\
class HalveBounded(nn.Module):
    def __init__(self, max_halvings=32):
        super().__init__()
        self.max_halvings = max_halvings

    def forward(self, X):
        for _ in range(self.max_halvings):
            X = torch.where(X.abs().sum() > 1, X / 2, X)
        return X
"""


def but(passage: str, other: str) -> str:
    """The right answer with something else in the place of a passage."""
    if passage not in RIGHT:
        raise ValueError(f"the right answer has no {passage!r}")
    return RIGHT.replace(passage, other)


def forward(body: str) -> str:
    """The right answer with another body of `forward`."""
    before, begin, _ = RIGHT.partition("X):\n")
    return before + begin + textwrap.indent(textwrap.dedent(body), " " * 8)


TASK = ExerciseSource(
    name="halve_bounded",
    defines="HalveBounded",
    reference=HalveBounded,
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
    mistakes=(
        Mistake(
            "loop",
            "A `while` that depends on a tensor",
            forward("""\
halvings = 0
while X.abs().sum() > 1 and halvings < self.max_halvings:
    X = X / 2
    halvings += 1
return X
"""),
            {"graphs"},
            "It computes the right thing, but Python has to know the norm before it knows whether to go on, so the "
            "graph breaks. Count to a number that Python knows, and let `torch.where` decide in each turn.",
            "Dynamo traces with shapes and types, not with numbers. A jump that depends on a tensor cannot be "
            "traced.",
            "`for _ in range(self.max_halvings)` is unrolled. `torch.where(norm > 1, X / 2, X)` keeps the decision "
            "in the graph.",
            BREAK,
        ),
        Mistake(
            "leaves_early",
            "An `if` inside a bounded loop",
            forward("""\
for _ in range(self.max_halvings):
    if (X.abs().sum() <= 1).item():
        break
    X = X / 2
return X
"""),
            {"graphs"},
            "The bound is fixed, but the `if` still asks for a tensor's number (`.item()`), and there the graph "
            "breaks. A turn that has nothing to do must run all the same and change nothing.",
            "`.item()` makes a Python number of a tensor. Whatever Python does with it is outside the graph.",
            "`torch.where(norm > 1, X / 2, X)` in each turn.",
            BREAK,
        ),
        Mistake(
            "formula_in_python",
            "The formula, computed by Python",
            forward("""\
norm = float(X.abs().sum())
if norm <= 1:
    return X
turns = math.ceil(math.log2(norm)) if norm < math.inf else self.max_halvings
return X / 2 ** min(turns, self.max_halvings)
"""),
            {"graphs"},
            "The loop is gone, but `float(...)` takes the norm out of the graph, and Python goes on with it. The "
            "same formula works on tensors: `torch.log2`, `ceil`, `clamp`, `torch.exp2`.",
            "`float(tensor)` is `.item()`: the graph ends, on a GPU the queue is emptied, and Python waits.",
            "Keep the number a tensor from beginning to end.",
            BREAK,
        ),
        Mistake(
            "counts_calls",
            "A Python counter in `forward`",
            forward("""\
self.calls = getattr(self, "calls", 0) + 1
for _ in range(self.max_halvings):
    X = torch.where(X.abs().sum() > 1, X / 2, X)
return X * (self.calls > 0)
"""),
            {"graphs"},
            "There is a new graph at each call: `self.calls` is a Python number that the graph was made for, and "
            "it has changed. Leave it out, or keep it in a buffer, where it is data.",
            "Guards hold a graph to every Python value that the code has used. Beyond a few graphs PyTorch gives "
            "up and runs the code uncompiled.",
            '`self.register_buffer("calls", torch.tensor(0))` and `self.calls.add_(1)`.',
            COMPILE,
        ),
        Mistake(
            "not_compiled",
            "Hidden from the compiler",
            forward("""\
halvings = 0
while X.abs().sum() > 1 and halvings < self.max_halvings:
    X, halvings = X / 2, halvings + 1
return X
""").replace("    def forward", "    @torch.compiler.disable\n    def forward"),
            {"graphs"},
            "`torch.compiler.disable` makes the compiler look away: no graph is made, so nothing is gained. What "
            "is asked for is code that it can follow.",
            "The decorator is for code that cannot be traced. It ends the graph of whoever calls it.",
            "Take it away, and let a bounded loop with `torch.where` decide.",
            BREAK,
        ),
        Mistake(
            "integer_ldexp",
            "`ldexp` with a negative integer",
            forward("""\
norm = X.detach().abs().sum().clamp(min=1)
turns = norm.log2().ceil().clamp(max=self.max_halvings).int()
return torch.ldexp(X, -turns)
"""),
            {"gradients"},
            "The values are right and the gradient is zero: in PyTorch 2.13 the backward pass of `torch.ldexp` "
            "computes 2 to the power of your negative *integer* in integers, which gives 0. Multiply by "
            "`torch.exp2(-turns)`, or give `ldexp` a floating-point exponent.",
            "The forward pass computes `X * 2.0**k`. The backward pass multiplies by a `2**k` of integer dtype, in "
            "which a half has no place.",
            "`X * torch.exp2(-turns)`. It is a good habit to compare a gradient with that of the plain loop.",
            TRACED,
        ),
        Mistake(
            "log_of_zero",
            "The logarithm of a norm that may be zero",
            forward("""\
turns = X.abs().sum().log2().ceil().clamp(0, self.max_halvings)
return X * torch.exp2(-turns)
"""),
            {"gradients"},
            "For a zero input the gradient is nan: it flows back through `log2`, whose slope at zero is infinite, "
            "though `ceil` has already made it zero. Cut this way off (`.detach()`), or keep the norm at 1 or "
            "above.",
            "`ceil` and `clamp` pass on the gradient 0; the logarithm multiplies it by 1/0. The number of halvings "
            "is a constant to the loop, so no gradient belongs there.",
            "`X.detach().abs().sum().clamp(min=1).log2()`.",
            TRACED,
        ),
        Mistake(
            "no_gradient",
            "Halving without a history",
            forward("""\
with torch.no_grad():
    for _ in range(self.max_halvings):
        X = torch.where(X.abs().sum() > 1, X / 2, X)
return X
"""),
            {"gradients"},
            "The gradient is None: under `torch.no_grad()` the halvings are not recorded. Only the *decision* "
            "needs no gradient; the halving does.",
            "Whatever is computed under `no_grad` is a constant afterwards.",
            "Leave `no_grad` out: a comparison such as `norm > 1` has no gradient anyway.",
            "custom_layers.html#custom-layers-cuts",
        ),
        Mistake(
            "scaled",
            "Scaled to the norm 1",
            forward("""\
norm = X.abs().sum()
return X / norm.clamp(min=1, max=2.0**self.max_halvings)
"""),
            {"values", "bound", "gradients", "graphs"},
            "This divides by the norm, so that it is 1 afterwards. Halving divides by a power of two and leaves a "
            "norm between one half and 1.",
            "It is another function, with another gradient: here the norm depends on the input, while the number "
            "of halvings is constant almost everywhere.",
            "Divide by `torch.exp2(turns)` with a whole number of turns, or halve in a bounded loop.",
            WHILE,
        ),
        Mistake(
            "row_by_row",
            "Each row on its own",
            but(".sum()", ".sum(dim=-1, keepdim=True)"),
            {"values", "bound", "gradients", "graphs"},
            "Here each row is halved by its own norm. The contract asks for one decision on the whole tensor: "
            "`sum()` over all entries.",
            "`dim=-1` sums along the last dimension only. For one vector both are the same.",
            "`X.abs().sum()`, without `dim`.",
            "control_flow.html#control-flow-batch",
        ),
        Mistake(
            "exponent_at_powers",
            "One halving too many at powers of two",
            forward("""\
norm = X.abs().sum()
turns = torch.where(norm.isinf(), self.max_halvings, torch.frexp(norm).exponent)
return X * torch.exp2(-turns.clamp(0, self.max_halvings))
"""),
            {"values"},
            "A norm of exactly 1, or of any power of two, is halved once too often: above 1 means `>`, not `>=`. "
            "The exponent of `frexp` belongs to a mantissa *below* 1, so a power of two has one more than its "
            "logarithm.",
            "`frexp` writes 8 as ½ · 2⁴, though three halvings do. For every other norm the exponent is right.",
            "Take one off where the mantissa is exactly a half, or use `norm.log2().ceil()`.",
            TRACED,
        ),
        Mistake(
            "thirty_two",
            "A bound of 32 whatever is asked for",
            but("self.max_halvings)", "32)"),
            {"bound"},
            "The layer always allows 32 halvings, whatever `max_halvings` says. Keep the argument as an attribute "
            "and count to it.",
            "32 is the default of the argument, not a part of the task.",
            "`self.max_halvings = max_halvings`, `range(self.max_halvings)`.",
            TRACED,
        ),
        Mistake(
            "no_bound",
            "A formula without a bound",
            forward("""\
norm = X.detach().abs().sum().clamp(min=1)
return X * torch.exp2(-norm.log2().ceil())
"""),
            {"bound"},
            "The number of halvings is right as long as `max_halvings` is not reached; beyond it, and for an "
            "infinite norm, it is not bounded. `clamp(max=self.max_halvings)` is missing.",
            "A loop with a counter stops by itself; a formula has to be told. An infinite norm gives infinitely "
            "many halvings, and infinity times zero is nan.",
            "Clamp the number of turns before `exp2`.",
            TRACED,
        ),
        Mistake(
            "norm_once",
            "The norm computed once",
            forward("""\
too_large = X.abs().sum() > 1
for _ in range(self.max_halvings):
    X = torch.where(too_large, X / 2, X)
return X
"""),
            {"values", "bound", "gradients", "graphs"},
            "The decision is made once, before the loop, so a tensor that is too large is halved `max_halvings` "
            "times. Compute the norm anew in each turn.",
            "`too_large` is a tensor that holds what was true then. It does not follow `X`.",
            "`torch.where(X.abs().sum() > 1, X / 2, X)` inside the loop.",
            WHILE,
        ),
        Mistake(
            "in_place",
            "Halving the caller's tensor",
            forward("""\
for _ in range(self.max_halvings):
    X *= torch.where(X.abs().sum() > 1, 0.5, 1.0)
return X
"""),
            {"gradients", "side_effects"},
            "`*=` writes into the tensor that the caller handed over. `X = X * ...` makes a new one.",
            "The values are right, once: afterwards the caller's data are halved too, and a leaf that wants a "
            "gradient refuses to be written to.",
            "Assign: `X = X * ...`, without `=` after the star.",
            "control_flow.html#control-flow-in-place",
        ),
    ),
    alternatives={
        "frexp": forward("""\
norm = X.abs().sum()
mantissa, exponent = torch.frexp(norm)
turns = (exponent - (mantissa == 0.5).int()).clamp(min=0, max=self.max_halvings)
turns = torch.where(torch.isinf(norm), self.max_halvings, turns)
return X * torch.exp2(-turns)
"""),
        "a logarithm": forward("""\
norm = X.detach().abs().sum().clamp(min=1)
turns = torch.clamp(torch.ceil(torch.log2(norm)), max=self.max_halvings)
return X / 2**turns
"""),
        "a factor, multiplied at the end": """\
class HalveBounded(nn.Module):
    def __init__(self, max_halvings=32):
        super().__init__()
        self.register_buffer("one_half", torch.tensor(0.5), persistent=False)
        self.max_halvings = max_halvings

    def forward(self, X):
        norm, factor = torch.linalg.vector_norm(X.detach(), ord=1), torch.ones_like(self.one_half)
        for _ in range(self.max_halvings):
            factor = factor * torch.where(norm * factor > 1, self.one_half, 1)
        return X * factor
""",
        "ldexp with a float": """\
class HalveBounded(nn.Module):
    def __init__(self, max_halvings=32):
        super().__init__()
        self.max_halvings = float(max_halvings)

    def forward(self, X):
        turns = X.detach().norm(p=1).clamp_min(1).log2().ceil().clamp_max(self.max_halvings)
        return torch.ldexp(X, -turns)
""",
        "counting the powers below the norm": forward("""\
powers = 2.0 ** torch.arange(self.max_halvings, dtype=X.dtype)
turns = (X.abs().sum() > powers).sum()
return X * 0.5**turns
"""),
        "divided by one or two": forward("""\
for _ in range(self.max_halvings):
    X = X / (1 + (X.abs().sum() > 1).to(X.dtype))
return X
"""),
    },
)
