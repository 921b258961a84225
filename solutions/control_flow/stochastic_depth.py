"""`stochastic_depth`: a block that is skipped by chance in training, and weighted in evaluation."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "control_flow.html"


class StochasticDepth(nn.Module):
    """A residual block that is skipped with probability `drop_prob` in training."""

    def __init__(self, block: nn.Module, drop_prob: float) -> None:
        super().__init__()
        if not 0 <= drop_prob <= 1:
            raise ValueError(f"drop_prob is {drop_prob}, which is no probability")
        self.block = block
        self.drop_prob = drop_prob

    def forward(self, X: Tensor) -> Tensor:
        """Any shape that `block` keeps, to the same shape."""
        if not self.training:
            return X + (1 - self.drop_prob) * self.block(X)
        if torch.rand(()) < self.drop_prob:
            return X
        return X + self.block(X)


# --- cases --------------------------------------------------------------------------------------------------------

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


# --- the answers that are known -----------------------------------------------------------------------------------

CHECK = """\
        if not 0 <= drop_prob <= 1:
            raise ValueError("drop_prob is a probability")
"""
EVALUATION = """\
        if not self.training:
            return X + (1 - self.drop_prob) * self.block(X)
"""
TRAINING = """\
        if torch.rand(()) < self.drop_prob:
            return X
        return X + self.block(X)
"""
IN_PLACE = """\
        if not self.training:
            X += (1 - self.drop_prob) * self.block(X)
        elif torch.rand(()) >= self.drop_prob:
            X += self.block(X)
        return X
"""
FACTOR = """\
        keep = torch.bernoulli(torch.tensor(1.0 - self.drop_prob)) if self.training else 1 - self.drop_prob
        return X + keep * self.block(X)
"""
DROPOUT_OF_ONE = """\
        keep = F.dropout(torch.ones((), dtype=X.dtype), self.drop_prob, self.training)
        return torch.add(X, keep * (1 - self.drop_prob) * self.block(X))
"""
SAMPLES = """\
        keep = torch.rand(X.shape[0], *[1] * (X.dim() - 1)) >= self.drop_prob
        return X + keep * self.block(X)
"""
BOTH = EVALUATION + TRAINING
RIGHT = f"""\
class StochasticDepth(nn.Module):
    def __init__(self, block, drop_prob):
        super().__init__()
{CHECK}        self.block = block
        self.drop_prob = drop_prob

    def forward(self, X):
{BOTH}"""


def but(*changes: tuple[str, str]) -> str:
    """The right answer, with parts of it replaced."""
    source = RIGHT
    for old, new in changes:
        if old not in source:
            raise ValueError(f"nothing to replace: {old}")
        source = source.replace(old, new)
    return source


MISTAKES = (
    Mistake(
        id="always_random",
        title="Evaluation draws, too",
        source=but((EVALUATION, "")),
        fails={"evaluation", "gradients"},
        message="In evaluation mode the layer still skips its block by chance. There it is to give the weighted sum, "
        "the same at each call.",
        why="`eval()` sets the flag `training`, and that is all: a layer that does not ask for it goes on as before.",
        remedy="`if self.training:` has two branches, one for each mode.",
        see=f"{CHAPTER}#control-flow-modes",
    ),
    Mistake(
        id="not_weighted",
        title="No weight in evaluation",
        source=but(("(1 - self.drop_prob) * ", "")),
        fails={"evaluation", "gradients"},
        message="In evaluation mode the block counts in full. In training it is there only with the probability "
        "`1 - drop_prob`, and that is its weight in evaluation.",
        why="What follows was trained on the block's output *on average*; without the weight it gets more than that.",
        remedy="Multiply the block's output, not the input, with the probability that it was kept.",
        see=f"{CHAPTER}#control-flow-modes",
    ),
    Mistake(
        id="wrong_weight",
        title="`drop_prob` as the weight",
        source=but(("(1 - self.drop_prob) * ", "self.drop_prob * ")),
        fails={"evaluation", "gradients"},
        message="In evaluation mode the block is weighted with `drop_prob`, the probability that it is left *out*. "
        "Its weight is the probability that it is kept.",
        why="At `drop_prob=0.5`, the first number that one tries, both are the same.",
        remedy="Check the ends: with `drop_prob=0` the block is always there.",
        see=f"{CHAPTER}#control-flow-modes",
    ),
    Mistake(
        id="whole_sum_weighted",
        title="The input is weighted as well",
        source=but(("X + (1 - self.drop_prob) * self.block(X)", "(1 - self.drop_prob) * (X + self.block(X))")),
        fails={"evaluation", "gradients"},
        message="In evaluation mode `X` is weighted, too. The input itself is always passed on; only the block's "
        "contribution is there by chance.",
        why="The average of `X` and `X + block(X)`, with their probabilities, is `X + (1 - drop_prob) * block(X)`.",
        remedy="Mind the parentheses: `X` stands outside of the product.",
        see=f"{CHAPTER}#control-flow-modes",
    ),
    Mistake(
        id="scaled_in_training",
        title="Weighted in training instead of evaluation",
        source=but(
            ("(1 - self.drop_prob) * ", ""),
            ("        return X + self.block(X)\n", "        return X + self.block(X) / (1 - self.drop_prob)\n"),
        ),
        fails={"evaluation", "gradients", "draw"},
        message="The block is magnified in training and counts in full in evaluation. That is how dropout does it; "
        "here training adds the block as it is, and evaluation weights it.",
        why="Both ways agree on average, and a state that was trained in one way is wrong in the other.",
        remedy="Compare both branches with the statement; the weight stands in the one for evaluation.",
        see=f"{CHAPTER}#control-flow-modes",
    ),
    Mistake(
        id="swapped",
        title="The probability the wrong way round",
        source=but(("torch.rand(()) < ", "torch.rand(()) > ")),
        fails={"training", "draw", "gradients", "hooks"},
        message="With `drop_prob=0` the block is always skipped: the comparison is the wrong way round. `drop_prob` "
        "is the probability of returning `X` alone.",
        why="A uniform number of [0, 1) is *below* p with probability p.",
        remedy="Try 0 and 1: then the outcome is certain.",
        see=f"{CHAPTER}#control-flow-modes",
    ),
    Mistake(
        id="drawn_once",
        title="Drawn in `__init__`",
        source=but(
            (
                "self.drop_prob = drop_prob",
                "self.drop_prob = drop_prob\n        self.drop = torch.rand(()) < drop_prob",
            ),
            ("torch.rand(()) < self.drop_prob:", "self.drop:"),
        ),
        fails={"draw"},
        message="All calls in training have the same outcome: the choice was made once, when the layer was made. "
        "Draw in `forward`, at each call.",
        why="`__init__` runs once for each object, `forward` once for each call.",
        remedy="Move the draw to where its result is used.",
        see=f"{CHAPTER}#control-flow-exercises",
    ),
    Mistake(
        id="counted",
        title="Calls are counted",
        source=but(
            ("self.drop_prob = drop_prob", "self.drop_prob = drop_prob\n        self.calls = 0"),
            ("        if torch.rand(())", "        self.calls += 1\n        if self.calls % 8 / 8"),
        ),
        fails={"draw"},
        message="The share is right, but there is a pattern in it, the same for every layer: calls are counted and "
        "nothing is drawn. Draw a random number at each call.",
        why="With a pattern, the layers of a deep model skip in step, and the same samples meet the same depth.",
        remedy="`torch.rand(()) < self.drop_prob`",
        see=f"{CHAPTER}#control-flow-exercises",
    ),
    Mistake(
        id="for_each_sample",
        title="A draw for each sample",
        source=but((TRAINING, SAMPLES)),
        fails={"draw"},
        message="In one and the same call some samples skip the block and others do not. Here one draw decides for "
        "the whole call.",
        why="Both are in use and are good regularisers; but with a mask the block is always computed, and no work is "
        "saved.",
        remedy="Draw a single number, without dimensions.",
        see=f"{CHAPTER}#control-flow-if",
    ),
    Mistake(
        id="dropout",
        title="Dropout on the block's output",
        source=but((BOTH, "        return X + F.dropout(self.block(X), self.drop_prob, self.training)\n")),
        fails={"evaluation", "draw", "gradients"},
        message="Single entries of the block's output are dropped, and the others are magnified. Here the block is "
        "added as a whole or not at all.",
        why="Dropout draws for each entry, divides by the probability of keeping in training, and is the identity in "
        "evaluation.",
        remedy="One draw for each call, and the weight in evaluation.",
        see=f"{CHAPTER}#control-flow-modes",
    ),
    Mistake(
        id="in_place",
        title="`X += self.block(X)`",
        source=but((BOTH, IN_PLACE)),
        fails={"side_effects", "gradients"},
        message="`X += ...` writes the result into the caller's tensor, which the block's backward pass needs as it "
        "was. `X + ...` makes a new one.",
        why="A Linear keeps its *input* for the gradient of its weight, and that is what is overwritten.",
        remedy="No `+=` on what you were given.",
        see=f"{CHAPTER}#control-flow-in-place",
    ),
    Mistake(
        id="no_grad",
        title="Evaluation under `no_grad`",
        source=but(("            return X + (1", "            with torch.no_grad():\n                return X + (1")),
        fails={"gradients"},
        message="In evaluation mode no gradient comes back. Evaluation is about what layers *do*; whether gradients "
        "are recorded is for the caller to say.",
        why="The two are independent: one may want the gradient of an evaluated model, for a saliency map, say.",
        remedy="Leave `no_grad` to the one who calls the model.",
        see=f"{CHAPTER}#control-flow-modes",
    ),
    Mistake(
        id="hidden_block",
        title="The block in a Python list",
        source=but(("self.block = block", "self.blocks = [block]"), ("self.block(X)", "self.blocks[0](X)")),
        fails={"round_trip"},
        message="The layer has no parameters: a module in a Python list is invisible to `parameters()`, "
        "`state_dict()` and `eval()`. Assign the block to an attribute.",
        why="`nn.Module` notices modules that are assigned to attributes, and does not look into lists.",
        remedy="`self.block = block`; for several, `nn.ModuleList`.",
        see="layers_and_blocks.html#layers-and-blocks-python-list",
    ),
    Mistake(
        id="calls_forward",
        title="`self.block.forward(X)`",
        source=but(("self.block(X)", "self.block.forward(X)")),
        fails={"hooks"},
        message="The block's hooks do not run: `forward` is called past them. Call the module itself.",
        why="`module(X)` runs the hooks and then `forward`.",
        remedy="`self.block(X)`.",
        see="layers_and_blocks.html#layers-and-blocks-call",
    ),
    Mistake(
        id="clamped",
        title="An impossible probability is mended in silence",
        source=but((CHECK, ""), ("self.drop_prob = drop_prob", "self.drop_prob = min(max(drop_prob, 0.0), 1.0)")),
        fails={"errors"},
        message="A `drop_prob` outside [0, 1] is moved to the nearest end, and nobody learns of it. Raise a "
        "`ValueError`.",
        why="Whoever writes 30 for 30 % should hear of it at once, not after a training run.",
        remedy="`raise ValueError(...)`, with the number in the message.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
    Mistake(
        id="unchecked",
        title="`drop_prob` is not checked",
        source=but((CHECK, "")),
        fails={"errors"},
        message="A `drop_prob` outside [0, 1] is taken without a word, and gives negative weights or worse. Raise a "
        "`ValueError`.",
        why="A wrong number is cheapest where it comes in.",
        remedy="Check it in `__init__`; 0 and 1 themselves are allowed.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
    Mistake(
        id="assertion",
        title="`assert` instead of a `ValueError`",
        source=but((CHECK, "        assert 0 <= drop_prob <= 1\n")),
        fails={"errors"},
        message="A `drop_prob` outside [0, 1] raises an `AssertionError`. The statement asks for a `ValueError`.",
        why="`assert` is for what cannot happen, and `python -O` leaves it out; an argument may well be wrong.",
        remedy="`if ...: raise ValueError(...)`.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
)

ALTERNATIVES = {
    "one_factor": but((BOTH, FACTOR)),
    "dropout_of_one": but((BOTH, DROPOUT_OF_ONE)),
    "python_random": "import random\n\n\n" + but(("torch.rand(())", "random.random()")),
    "two_methods": """\
class StochasticDepth(nn.Module):
    def __init__(self, block: nn.Module, drop_prob: float):
        if drop_prob < 0 or drop_prob > 1:
            raise ValueError
        super().__init__()
        self.add_module("inner", block)
        self.register_buffer("p", torch.tensor(float(drop_prob)))

    def forward(self, X):
        return (self.train_forward if self.training else self.eval_forward)(X)

    def eval_forward(self, X):
        return torch.lerp(X, X + self.inner(X), 1 - self.p)

    def train_forward(self, X):
        kept = torch.empty(1).bernoulli_(1 - self.p).item() == 1
        return X + self.inner(X) if kept else X.clone()
""",
    "sequential_and_property": """\
class StochasticDepth(nn.Sequential):
    def __init__(self, block, drop_prob):
        super().__init__(block)
        self.drop_prob = drop_prob

    @property
    def drop_prob(self):
        return self._p

    @drop_prob.setter
    def drop_prob(self, p):
        if not (p >= 0 and p <= 1):
            raise ValueError(f"{p} is not in [0, 1]")
        self._p = p

    def forward(self, X):
        branch = super().forward
        if self.training:
            return X if torch.rand(1).item() < self._p else branch(X).add(X)
        return branch(X).mul(1 - self._p).add(X)
""",
}

TASK = ExerciseSource(
    name="stochastic_depth",
    defines="StochasticDepth",
    reference=StochasticDepth,
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
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
