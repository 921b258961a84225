"""`fixed_hidden_mlp`: a constant layer, a layer that is used twice, and a loop that the data decides."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "control_flow.html"


class FixedHiddenMLP(nn.Module):
    """Linear, a fixed random layer, the same Linear; halved while the L1 norm is above 1; summed."""

    rand_weight: Tensor

    def __init__(self, num_features: int = 20) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, num_features)
        self.register_buffer("rand_weight", torch.rand(num_features, num_features))

    def before_the_loop(self, X: Tensor) -> Tensor:
        """What is to be halved."""
        return self.linear(F.relu(self.linear(X) @ self.rand_weight + 1))

    def forward(self, X: Tensor) -> Tensor:
        """``(..., num_features) -> ()``."""
        X = self.before_the_loop(X)
        if not X.isfinite().all():
            raise ValueError("an entry is inf or nan")
        while X.abs().sum() > 1:
            X = X / 2
        return X.sum()


# --- cases --------------------------------------------------------------------------------------------------------

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


def turns(state: dict[str, Tensor], X: Tensor) -> float:
    """The logarithm of the norm to base 2; if it is far from a whole number, rounding cannot change the turns."""
    model = FixedHiddenMLP(len(state["linear.bias"])).to(X.dtype)
    model.load_state_dict(state)
    with torch.no_grad():
        return math.log2(model.before_the_loop(X).abs().sum())


def model(
    label: str, features: int, leading: tuple[int, ...], seed: int, dtype: str = "float32", scale: float = 1
) -> Case:
    """The model on random numbers that must be halved twice or more."""
    while True:
        state, X = numbers(features, seed, dtype), scale * normal(*leading, features, seed=seed + 3, dtype=dtype)
        if turns(state, X) > 1 and 0.15 < turns(state, X) % 1 < 0.85:
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


# --- the answers that are known -----------------------------------------------------------------------------------

DRAW = "torch.rand(num_features, num_features)"
BUFFER = f'self.register_buffer("rand_weight", {DRAW})'
FIRST = "        X = self.linear(X)\n        X = F"
SECOND = "        X = self.linear(X)\n        if not"
GUARD = '        if not X.isfinite().all():\n            raise ValueError("inf or nan")\n'
LOOP = "        while X.abs().sum() > 1:\n            X = X / 2\n"
RIGHT = f"""\
class FixedHiddenMLP(nn.Module):
    def __init__(self, num_features=20):
        super().__init__()
        self.linear = nn.Linear(num_features, num_features)
        {BUFFER}

    def forward(self, X):
        X = self.linear(X)
        X = F.relu(X @ self.rand_weight + 1)
        X = self.linear(X)
{GUARD}{LOOP}        return X.sum()
"""


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
        id="plain_tensor",
        title="`rand_weight` is a plain tensor",
        source=but((BUFFER, f"self.rand_weight = {DRAW}")),
        fails={"parameters", "round_trip", "double"},
        message="`rand_weight` is a plain tensor, of which the module takes no notice: it is not in the state dict, "
        "and `.double()` passes it by. A tensor that belongs to the model and is not trained is a buffer.",
        why="`nn.Module` keeps track of parameters, buffers and modules; any other attribute is Python's affair.",
        remedy="`self.register_buffer(name, tensor)`, or `self.name = nn.Buffer(tensor)`.",
        see=f"{CHAPTER}#control-flow-constants",
    ),
    Mistake(
        id="trained",
        title="`rand_weight` is a parameter, and is trained",
        source=but((BUFFER, f"self.rand_weight = nn.Parameter({DRAW})")),
        fails={"parameters", "gradients"},
        message="`rand_weight` is a parameter: it receives a gradient, and the first step of an optimizer changes "
        "what should stay constant. Make it a buffer.",
        why="`nn.Parameter` means: *train this*. Every optimizer that is given `model.parameters()` does.",
        remedy="`register_buffer` saves and casts a tensor as well, and no optimizer sees it.",
        see=f"{CHAPTER}#control-flow-constants",
    ),
    Mistake(
        id="frozen_parameter",
        title="A frozen parameter as a constant",
        source=but((BUFFER, f"R = {DRAW}\n        self.rand_weight = nn.Parameter(R, requires_grad=False)")),
        fails={"parameters"},
        message="`rand_weight` is a frozen parameter, and still a parameter: it is counted as one, and "
        "`model.requires_grad_(True)` thaws it. A constant is a buffer.",
        why="`requires_grad=False` lasts until somebody unfreezes the network, a common step of fine-tuning.",
        remedy="`register_buffer` says once and for all that a tensor is not trained.",
        see=f"{CHAPTER}#control-flow-constants",
    ),
    Mistake(
        id="not_persistent",
        title="A buffer that is not saved",
        source=but((BUFFER, f"{BUFFER[:-1]}, persistent=False)")),
        fails={"round_trip"},
        message="`rand_weight` is a buffer that the state dict leaves out, so a model that is loaded computes with "
        "another matrix. `persistent=False` is for what can be computed anew.",
        why="Every buffer is cast and moved; whether it is saved is a choice. These numbers cannot be had again.",
        remedy="Leave `persistent` as it is, `True`.",
        see=f"{CHAPTER}#control-flow-constants",
    ),
    Mistake(
        id="randn",
        title="`torch.randn` instead of `torch.rand`",
        source=but(("torch.rand(", "torch.randn(")),
        fails={"initial"},
        message="`rand_weight` has negative entries and entries above 1: `torch.randn` draws from the normal "
        "distribution. The function that draws from [0, 1) has a name one letter shorter.",
        why="The `n` in `randn` stands for *normal*.",
        remedy="`torch.rand` is uniform in [0, 1); both take the sizes as arguments.",
        see=f"{CHAPTER}#control-flow-constants",
    ),
    Mistake(
        id="float32_ones",
        title="The `+ 1` as a tensor of a fixed dtype",
        source=but(("X @ self.rand_weight + 1", "F.linear(X, self.rand_weight.T, torch.ones(X.shape[-1]))")),
        fails={"double", "values"},
        message="After `.double()` the forward pass fails: `torch.ones(...)` makes float32 numbers whatever the "
        "dtype of the model. A Python number fits every dtype.",
        why="`torch.ones` cannot know what its result will meet, and a fused operator such as `F.linear` wants one "
        "dtype.",
        remedy="Add the number `1`, or let a tensor tell the dtype: `X.new_ones(...)`, `torch.ones_like(...)`.",
        see=f"{CHAPTER}#control-flow-constants",
    ),
    Mistake(
        id="two_dimensions",
        title="`torch.mm` takes matrices only",
        source=but(("X @ self.rand_weight", "torch.mm(X, self.rand_weight)")),
        fails={"values"},
        message="With one sample, or with two leading dimensions, `torch.mm` fails: it multiplies matrices and "
        "nothing else. `@` takes any number of leading dimensions.",
        why="`torch.mm` and `torch.addmm` want exactly two dimensions each. `@` is `torch.matmul`, which broadcasts.",
        remedy="`X @ R`.",
        see="basics.html#basics-linear-shapes",
    ),
    Mistake(
        id="two_linears",
        title="A second Linear instead of the same one",
        source=but(
            (BUFFER, f"self.linear2 = nn.Linear(num_features, num_features)\n        {BUFFER}"),
            (SECOND, SECOND.replace("self.linear(", "self.linear2(")),
        ),
        fails={"parameters", "round_trip", "values", "gradients", "hooks"},
        message="There are two Linear layers with a weight each. The model has one, which is used at both places: "
        "call `self.linear` again.",
        why="Using a layer twice is how weights are shared: one weight, whose gradient is the sum over both uses.",
        remedy="Make one `nn.Linear` in `__init__` and call it twice in `forward`.",
        see=f"{CHAPTER}#control-flow-fixed-hidden-mlp",
    ),
    Mistake(
        id="other_name",
        title="Another name than the statement's",
        source=but(("self.linear", "self.fc")),
        fails={"parameters", "round_trip", "values", "gradients", "hooks", "errors"},
        message="The model has no `linear`: its Linear is called otherwise. Attribute names are the keys of the "
        "state dict, so they are part of the contract.",
        why="What was saved under one name cannot be loaded under another.",
        remedy="Call the layer `linear` and the constant `rand_weight`.",
        see="layers_and_blocks.html#layers-and-blocks-state-dict",
    ),
    Mistake(
        id="functional_linear",
        title="The layer's weight is used and the layer is not called",
        source=but((SECOND, SECOND.replace("self.linear(X)", "F.linear(X, self.linear.weight, self.linear.bias)"))),
        fails={"hooks"},
        message="The numbers are right, but the hooks of `linear` run once instead of twice: its second use takes "
        "the weight out of the layer and computes past it. Call the layer itself.",
        why="Only `module(X)` runs hooks, and much is built on them: profilers, pruning, the book's `trace`.",
        remedy="`self.linear(X)`, at both places.",
        see="layers_and_blocks.html#layers-and-blocks-call",
    ),
    Mistake(
        id="no_abs",
        title="The sum instead of the L1 norm",
        source=but(("X.abs().sum() > 1", "X.sum() > 1")),
        fails={"values", "gradients"},
        message="The loop ends too early where entries of both signs cancel: it asks for the sum. It should ask for "
        "the sum of the *absolute* values.",
        why="A sum can be small, or negative, with huge entries in it; a norm cannot.",
        remedy="Take absolute values before you add.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="each_row",
        title="The largest norm of a row decides",
        source=but(("X.abs().sum() > 1", "X.abs().sum(-1).max() > 1")),
        fails={"values", "gradients"},
        message="The loop looks at the norm of each vector. In this model the *whole tensor* is one thing, halved "
        "while the sum over all of its entries is above 1.",
        why="`sum(-1)` adds along the last dimension only; `sum()` adds everything.",
        remedy="One norm, over all entries. (Each vector on its own is the next exercise.)",
        see=f"{CHAPTER}#control-flow-batch",
    ),
    Mistake(
        id="at_least",
        title="`>= 1` instead of `> 1`",
        source=but(("> 1", ">= 1")),
        fails={"values", "gradients"},
        message="A tensor whose norm is exactly 1 is halved once too often. It is halved *while the norm is above "
        "1*.",
        why="A norm of exactly 1 hardly ever comes up with random numbers, so the slip stays hidden until it does.",
        remedy="`>` and `>=` differ at one point; try that point.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="data_in_place",
        title="`X.data /= 2`",
        source=but(("X = X / 2", "X.data /= 2")),
        fails={"gradients"},
        message="The values are right, and the gradients are too large by a power of two: through `.data` the "
        "halving goes past autograd. Divide the tensor itself.",
        why="`.data` shares the numbers and keeps no record, so the backward pass does not know of the factor ½.",
        remedy="`X = X / 2`. (Here even `X /= 2` would do: `nn.Linear` does not keep its output for backward.)",
        see=f"{CHAPTER}#control-flow-in-place",
    ),
    Mistake(
        id="keeps_hidden",
        title="An activation kept as an attribute",
        source=but(
            ("X = F.relu(X @ self.rand_weight + 1)", "self.hidden = F.relu(X @ self.rand_weight + 1)"),
            (SECOND, SECOND.replace("linear(X)", "linear(self.hidden)")),
        ),
        fails={"side_effects"},
        message="After a forward pass `copy.deepcopy(model)` fails: the attribute that `forward` sets holds the last "
        "result with its whole graph. Use a local variable.",
        why="Only leaves can be copied deeply, not results. The attribute also keeps the graph's memory alive.",
        remedy="Look at activations with a forward hook, or keep `.detach()` of them.",
        see="custom_layers.html#custom-layers-hooks",
    ),
    Mistake(
        id="no_guard",
        title="No check for inf and nan",
        source=but((GUARD, "")),
        fails={"errors"},
        message="An infinite entry stays infinite however often it is halved, so the loop never ends; nan ends it at "
        "once and is returned. Check the entries before the loop and raise a `ValueError`.",
        why="∞ / 2 = ∞, and every comparison with nan is false.",
        remedy="`torch.isfinite` is false for inf, -inf and nan.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
    Mistake(
        id="guards_input",
        title="Only the input is checked",
        source=but((GUARD, ""), (FIRST, GUARD + FIRST)),
        fails={"errors"},
        message="The input is checked, but finite numbers can overflow on their way through the layers, and then the "
        "loop never ends. Check the tensor that the loop is about to halve.",
        why="Two float32 numbers above 10²⁰ have the product inf. What must be finite is what the loop halves.",
        remedy="Put the check directly before the loop, where its reason lies.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
    Mistake(
        id="only_inf",
        title="inf is checked, nan is forgotten",
        source=but(("if not X.isfinite().all()", "if X.isinf().any()")),
        fails={"errors"},
        message="A nan gets through: the loop ends at once, since `nan > 1` is false, and the model returns nan. "
        "Both inf and nan are to raise a `ValueError`.",
        why="nan is neither finite nor infinite: `isfinite` and `isinf` are both false for it.",
        remedy="Ask for what you want, that all entries are finite.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
)

ALTERNATIVES = {
    "in_place": but(("X = X / 2", "X /= 2")),
    "closed_form": but(
        (
            LOOP,
            "        turns = X.detach().abs().sum().clamp(min=1).log2().ceil()\n        X = X * torch.exp2(-turns)\n",
        )
    ),
    "python_number": but(
        (GUARD, "        norm = X.abs().sum().item()\n        self.check(norm)\n"),
        (LOOP, "        while norm > 1:\n            X, norm = X * 0.5, norm * 0.5\n"),
    )
    + """
    def check(self, norm):
        class NotFinite(ValueError, ArithmeticError):
            pass

        if not math.isfinite(norm):
            raise NotFinite(norm)
""",
    "buffer_einsum": """\
class FixedHiddenMLP(nn.Module):
    def __init__(self, num_features=20):
        super().__init__()
        self.rand_weight = nn.Buffer(torch.empty(num_features, num_features).uniform_())
        self.add_module("linear", nn.Linear(num_features, num_features))
        self.activation = nn.ReLU()

    def forward(self, X):
        Y = torch.einsum("...i,ij->...j", self.linear(X), self.rand_weight).add(1.0)
        Y = self.linear(self.activation(Y))
        if torch.isnan(Y).any() or torch.isinf(Y).any():
            raise ValueError(f"cannot halve {Y}")
        return self.halved(Y).sum()

    def halved(self, Y):
        return self.halved(Y / 2) if torch.linalg.vector_norm(Y, 1) > 1 else Y
""",
    "scaled_at_the_end": """\
class Halved(nn.Linear):
    pass


class FixedHiddenMLP(nn.Module):
    def __init__(self, num_features=20):
        super().__init__()
        self.register_buffer(tensor=torch.rand(num_features, num_features), name="rand_weight")
        self.linear = Halved(num_features, num_features)

    def forward(self, X):
        ones = torch.ones_like(self.rand_weight[0])
        X = self.linear(F.linear(self.linear(X), self.rand_weight.T, ones).clamp(min=0))
        if not torch.all(torch.isfinite(X)):
            raise ValueError
        scale, norm = 1, X.abs().sum()
        while scale * norm > 1:
            scale /= 2
        return scale * X.sum()
""",
}

STAYS_FLOAT32 = "Some tensor stays float32. Is it a plain attribute, or is it made in `forward`?"
CUT_OFF = "Something cuts it off: a `.data`, `.detach()`, `.item()` or `no_grad`?"

TASK = ExerciseSource(
    name="fixed_hidden_mlp",
    defines="FixedHiddenMLP",
    reference=FixedHiddenMLP,
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
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
