"""`MyLinear`: a linear layer and its ReLU in one, with the weight stored as `(in_units, units)`."""

from __future__ import annotations

from random import Random
from textwrap import indent

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "custom_layers.html#custom-layers"


class MyLinear(nn.Module):
    """``relu(X @ weight + bias)``."""

    def __init__(self, in_units: int, units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, X: Tensor) -> Tensor:
        """``(..., in_units) -> (..., units)``."""
        return F.relu(X @ self.weight + self.bias)


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


WEIGHT = "self.weight = nn.Parameter(torch.randn(in_units, units))"
BIAS = "self.bias = nn.Parameter(torch.zeros(units))"
PLAIN_WEIGHT = "self.weight = torch.randn(in_units, units)"
PLAIN_BIAS = "self.bias = torch.zeros(units, requires_grad=True)"
FORWARD = "return F.relu(X @ self.weight + self.bias)"


def answer(
    forward: str = FORWARD,
    weight: str = WEIGHT,
    bias: str = BIAS,
    *,
    arguments: str = "in_units, units",
    first: str = "super().__init__()\n",
    more: str = "",
) -> str:
    """An answer with these lines in `__init__`, this body of `forward`, and these further methods."""
    init = indent(first + weight + "\n" + bias, " " * 8)
    call = indent(forward, " " * 8)
    return (
        f"class MyLinear(nn.Module):\n    def __init__(self, {arguments}):\n{init}\n\n"
        f"    def forward(self, X):\n{call}\n{indent(more, '    ')}"
    )


MISTAKES = (
    Mistake(
        id="weight_data",
        title="`weight.data` in `forward`",
        source=answer("return F.relu(torch.matmul(X, self.weight.data) + self.bias.data)"),
        fails={"gradients"},
        message="The values are right, but `.data` hands autograd a tensor without history, so `weight` and `bias` "
        "never receive a gradient and are never trained. Use the parameters themselves.",
        why="`.data` is the same memory without its history. In the middle of a network nothing complains; the loss "
        "even falls, because the other layers learn.",
        remedy="Write `self.weight`, not `self.weight.data`. After one `backward`, `[n for n, p in "
        "net.named_parameters() if p.grad is None]` must be empty.",
        see=f"{CHAPTER}-weight-data",
    ),
    Mistake(
        id="one_data",
        title="`.data` on one of the two parameters",
        source=answer("return F.relu(X @ self.weight + self.bias.data)"),
        fails={"gradients"},
        message="The values are right and `weight` learns, but `bias` receives no gradient: `.data` cuts it off. One "
        "parameter that stands still is easily overlooked, for the loss falls all the same.",
        why="`backward` reaches `weight` and is content; an optimizer skips a parameter whose gradient is `None`.",
        remedy="Use the parameter itself, and after one `backward` look at the `grad` of **every** parameter.",
        see=f"{CHAPTER}-weight-data",
    ),
    Mistake(
        id="plain_tensor",
        title="A plain tensor with `requires_grad=True`",
        source=answer(
            "return F.relu(X @ self.weight.to(X.dtype) + self.bias.to(X.dtype))",
            weight=PLAIN_WEIGHT.replace("units)", "units, requires_grad=True)"),
            bias=PLAIN_BIAS,
        ),
        fails={"parameters", "round_trip", "double"},
        message="`weight` and `bias` are plain tensors: the module does not know them, so no optimizer trains them "
        "and `state_dict` does not save them. Wrap each in `nn.Parameter`.",
        why="`requires_grad=True` is for autograd. A *module* looks for the type `nn.Parameter`, and only what it "
        "finds is trained, saved, cast and moved.",
        remedy="Write `nn.Parameter(tensor)`. A registered tensor needs no `.to(X.dtype)`: that was a sign.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="requires_grad",
        title="A plain tensor with `requires_grad=True`, never cast",
        source=answer(weight=PLAIN_WEIGHT.replace("units)", "units, requires_grad=True)"), bias=PLAIN_BIAS),
        fails={"parameters", "round_trip", "double"},
        message="`weight` is a plain tensor: autograd knows it, but the module does not, so it is not trained, not "
        "saved and not cast to float64. Wrap it in `nn.Parameter`, and `bias` as well.",
        why="`requires_grad=True` is for autograd. A *module* looks for the type `nn.Parameter`.",
        remedy="Write `nn.Parameter(tensor)`, which requires a gradient of itself.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="random_tensor",
        title="`self.weight = torch.randn(...)`",
        source=answer(weight=PLAIN_WEIGHT, bias="self.bias = torch.zeros(units)"),
        fails={"parameters", "gradients", "round_trip", "double"},
        message="`weight` and `bias` are plain tensors, so they receive no gradient and are neither trained nor "
        "saved nor cast. Wrap each in `nn.Parameter`.",
        why="A tensor is only numbers. That it is to be learned is what the type `nn.Parameter` says.",
        remedy="`nn.Parameter(torch.randn(...))`, assigned to an attribute of `self`.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="inner_linear",
        title="`self.linear = nn.Linear(in_units, units)`",
        source=answer("return F.relu(self.linear(X))", "self.linear = nn.Linear(in_units, units)", ""),
        fails={"parameters", "values", "gradients", "round_trip"},
        message="The parameters belong to the `nn.Linear` inside: they are called `linear.weight` and `linear.bias`, "
        "and the weight is the other way round. Make two parameters of your own.",
        why="A key in the state dict is the path to a tensor, and the inner module's name is part of it.",
        remedy="Two lines with `nn.Parameter`, and the formula in `forward`.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="bias_as_row",
        title="A `bias` of shape `(1, units)`",
        source=answer(bias=BIAS.replace("units", "1, units")),
        fails={"parameters", "values", "gradients"},
        message="`bias` has one dimension too many, so the old files do not fit and a single sample comes out as a "
        "batch of one. Its shape is `(units,)`: broadcasting adds it to every row.",
        why="Broadcasting sets dimensions of size 1 in front by itself, where there are any to fill.",
        remedy="`torch.zeros(units)`.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="scaled_parameter",
        title="`nn.Parameter(...) * 0.01`",
        source=answer(weight=f"{WEIGHT} * 0.01"),
        fails={"parameters", "gradients", "round_trip", "double", "side_effects"},
        message="`weight` is no parameter: a parameter times a number is an ordinary tensor, the *result* of an "
        "operation. Compute first and wrap last.",
        why="The product got the name `weight`; the parameter was lost. So it is with `.to(...)` or `.reshape(...)`.",
        remedy="Multiply inside the parentheses: `nn.Parameter(0.01 * ...)`.",
        see=f"{CHAPTER}-parameter-last",
    ),
    Mistake(
        id="other_names",
        title="`self.w` and `self.b`",
        source=answer(
            "return F.relu(X @ self.w + self.b)",
            weight=WEIGHT.replace("weight", "w"),
            bias=BIAS.replace("bias", "b"),
        ),
        fails={"parameters", "values", "gradients", "round_trip"},
        message="The parameters are called `w` and `b`; the contract says `weight` and `bias`. Names are part of a "
        "layer: they are the keys in every file that it was ever saved to.",
        why="An attribute's name is its name in `named_parameters()` and in the state dict.",
        remedy="Rename the attributes, in `__init__` and in `forward`.",
        see=f"{CHAPTER}-in-a-model",
    ),
    Mistake(
        id="no_super",
        title="No `super().__init__()`",
        source=answer(first=""),
        fails={"parameters", "values", "gradients", "round_trip", "double", "side_effects"},
        message="The layer cannot be made: an `AttributeError` comes out of `__init__`. The usual reason is that "
        "`super().__init__()` is missing there, or comes after the first parameter.",
        why="`nn.Module.__init__` makes the dictionaries in which parameters are registered.",
        remedy="Begin `__init__` with `super().__init__()`, parentheses included.",
        see="layers_and_blocks.html#layers-and-blocks-construction",
    ),
    Mistake(
        id="swapped_arguments",
        title="`__init__(self, units, in_units)`",
        source=answer(arguments="units, in_units"),
        fails={"parameters", "values", "gradients", "round_trip", "double", "side_effects"},
        message="`MyLinear(4, 3)` takes 4 features to 3 units, and this layer does the opposite: both its parameters "
        "have the other size. Look at the order of the arguments of `__init__`.",
        why="Arguments are handed over by position. With equal sizes nobody would notice.",
        remedy="Inputs come first, as in `nn.Linear(in_features, out_features)`. Test with sizes that differ.",
        see=f"{CHAPTER}-checking",
    ),
    Mistake(
        id="transposed",
        title="`weight` stored as `nn.Linear` stores it",
        source=answer(
            "return F.relu(F.linear(X, self.weight, self.bias))",
            weight=WEIGHT.replace("in_units, units", "units, in_units"),
        ),
        fails={"parameters", "values", "gradients"},
        message="`weight` has the shape that `nn.Linear` uses, (units, in_units). Here it is (in_units, units), so "
        "that the product needs no transpose.",
        why="`F.linear` transposes what it is given, so the layer works; but it cannot load anybody else's numbers.",
        remedy="Turn the shape round in `__init__`, and multiply as the formula says.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="no_relu",
        title="No ReLU",
        source=answer("return X @ self.weight + self.bias"),
        fails={"values", "gradients"},
        message="The result may be negative: the ReLU of the formula is missing. It comes last.",
        why="`nn.Linear` has none, so it is easily forgotten. Two such layers in a row are one linear map.",
        remedy="Apply `F.relu` to the sum of product and bias.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="relu_before_bias",
        title="ReLU before the bias is added",
        source=answer("return F.relu(X @ self.weight) + self.bias"),
        fails={"values", "gradients"},
        message="The bias is added after the ReLU, so the smallest possible output is the bias and not 0. In the "
        "formula the ReLU encloses the whole sum.",
        why="A parenthesis closes too soon. Shapes agree and gradients arrive; only the numbers tell.",
        remedy="Name the sum first, `Y = ...`, and then apply the ReLU to `Y`.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="batch_only",
        title="`torch.addmm`: batches only",
        source=answer("return torch.addmm(self.bias, X, self.weight).relu()"),
        fails={"values"},
        message="It works for a batch, but `addmm`, like `mm`, insists on two dimensions: a single sample, or more "
        "leading dimensions, raise an error. `@` (that is, `torch.matmul`) takes any number of them.",
        why="`torch.mm` is the product of two matrices; `(..., in_units)` may be a vector or have more dimensions.",
        remedy="Use `@`, `torch.matmul`, or an `einsum` with `...`.",
        see=f"{CHAPTER}-checking",
    ),
    Mistake(
        id="mm",
        title="`torch.mm`: batches only",
        source=answer("return F.relu(torch.mm(X, self.weight) + self.bias)"),
        fails={"values"},
        message="It works for a batch, but `torch.mm` is the product of two matrices: a single sample, or more "
        "leading dimensions, raise an error. `@` (that is, `torch.matmul`) takes any number of them.",
        why="`(..., in_units)` may be a vector, or have more dimensions than a matrix.",
        remedy="Use `@`, `torch.matmul`, or an `einsum` with `...`.",
        see=f"{CHAPTER}-checking",
    ),
    Mistake(
        id="new_parameter",
        title="A new parameter at each call",
        source=answer("self.weight = nn.Parameter(self.weight.data)\n" + FORWARD),
        fails={"gradients"},
        message="`forward` puts a new parameter in the place of `weight` at each call, so the one that the optimizer "
        "holds never receives a gradient. Make parameters in `__init__`, once.",
        why="The optimizer holds the parameter of before; the gradient arrives at its successor, which nobody steps.",
        remedy="Assign parameters in `__init__` only; change their numbers under `torch.no_grad()`.",
        see=f"{CHAPTER}-weight-data",
    ),
    Mistake(
        id="frozen_bias",
        title="`bias` as a buffer",
        source=answer(bias='self.register_buffer("bias", torch.zeros(units))'),
        fails={"parameters", "gradients"},
        message="`bias` is a buffer: it is saved, but it receives no gradient and is never trained. Both `weight` "
        "and `bias` are parameters here.",
        why="A buffer is state that is *not* learned, such as a running mean. It starts at zero and stays there.",
        remedy="What learns is an `nn.Parameter`; what is only kept is a buffer.",
        see=f"{CHAPTER}-buffers",
    ),
    Mistake(
        id="own_state_dict",
        title="A `state_dict` of one's own, without the bias",
        source=answer(more='\ndef state_dict(self):\n    return {"weight": self.weight}\n'),
        fails={"round_trip"},
        message="The state dict that this layer writes lacks `bias`. There is no need for a method of one's own: "
        "`nn.Module` saves everything that is registered, under the right names.",
        why="`nn.Module.state_dict` collects what is registered, and takes arguments that a network hands on.",
        remedy="Delete the method.",
        see=f"{CHAPTER}-in-a-model",
    ),
    Mistake(
        id="own_double",
        title="A `double` of one's own, without `return self`",
        source=answer(
            more="\ndef double(self):\n"
            "    self.weight.data = self.weight.data.double()\n"
            "    self.bias.data = self.bias.data.double()\n"
        ),
        fails={"double"},
        message="`layer.double()` gives `None`: a method of this name in the class has taken the place of "
        "`nn.Module`'s. It is not needed, for everything that is registered is cast without your help.",
        why="`.double()` and `.to()` walk through parameters and buffers and return the module, for chained calls.",
        remedy="Delete the method.",
        see=f"{CHAPTER}-buffers",
    ),
    Mistake(
        id="relu_in_training_only",
        title="ReLU in training only",
        source=answer("Y = X @ self.weight + self.bias\nreturn F.relu(Y) if self.training else Y"),
        fails={"side_effects"},
        message="In evaluation mode the layer gives something else than in training. Nothing in its formula depends "
        "on the mode.",
        why="`self.training` is for layers such as dropout, whose definition has two cases.",
        remedy="Apply the ReLU in both modes.",
        see="basics.html#basics-modes",
    ),
    Mistake(
        id="keeps_output",
        title="The output kept as an attribute",
        source=answer("self.output = F.relu(X @ self.weight + self.bias)\nreturn self.output"),
        fails={"side_effects"},
        message="An attribute that `forward` sets keeps the result of the last call, and its graph with it, so that "
        "the layer can no longer be copied with `copy.deepcopy`. Use a local variable.",
        why="The output has a history that leads to the parameters, and `deepcopy` refuses to copy such a tensor.",
        remedy="`Y = ...` without `self.`; to look at outputs from outside, use a forward hook.",
        see=f"{CHAPTER}-hooks",
    ),
    Mistake(
        id="data_and_no_relu",
        title="Two at once: `weight.data`, and no ReLU",
        source=answer("return torch.matmul(X, self.weight.data) + self.bias"),
        fails={"values", "gradients"},
        message="Two things at once: the ReLU is missing, and `.data` keeps the gradient from `weight`. Mend the "
        "values first, then look at the gradients.",
        why="Wrong values draw all attention, and `.data` changes none.",
        remedy="Apply the ReLU to the whole sum, and use `self.weight` itself.",
        see=f"{CHAPTER}-weight-data",
    ),
)

ALTERNATIVES = {
    "like_torch": """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units, device=None, dtype=None):
        super().__init__()
        self.in_units, self.units = in_units, units
        self.bias = nn.Parameter(torch.empty(units, device=device, dtype=dtype))
        self.weight = nn.Parameter(torch.empty(in_units, units, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, X):
        return F.linear(X, self.weight.T, self.bias).relu()

    def extra_repr(self):
        return f"{self.in_units}, {self.units}"
""",
    "einsum": answer(
        'return torch.clamp(torch.einsum("...i,ij->...j", X, self.weight) + self.bias, min=0)',
        weight='self.register_parameter("weight", nn.Parameter(torch.randn(in_units, units) / math.sqrt(in_units)))',
        bias='self.register_parameter("bias", nn.Parameter(torch.zeros(units)))',
    ),
    "subclass": """\
class MyLinear(nn.Linear):
    def __init__(self, in_units, units):
        super().__init__(units, in_units, bias=False)  # its weight is (in_units, units)
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, X):
        return F.relu(torch.tensordot(X, self.weight, dims=1) + self.bias)
""",
    "relu_module": answer(
        "return self.activation(X.matmul(self.weight).add(self.bias))",
        first="super().__init__()\nself.activation = nn.ReLU()\n",
    ),
    "hook": answer(
        "return X @ self.weight + self.bias",
        first="super().__init__()\nself.register_forward_hook(lambda module, args, output: output.clamp(min=0))\n",
    ),
    "one_unit_at_a_time": answer(
        forward="units = [(X * w).sum(-1) + b for w, b in zip(self.weight.T, self.bias)]\n"
        "Y = torch.stack(units, dim=-1)\n"
        "return torch.where(Y > 0, Y, torch.zeros_like(Y))"
    ),
    "bias_as_a_row": answer(
        forward="ones = X.new_ones(*X.shape[:-1], 1)\n"
        "whole = torch.cat([self.weight, self.bias.unsqueeze(0)])\n"
        "return F.relu(torch.cat([X, ones], dim=-1) @ whole)"
    ),
}

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

TASK = ExerciseSource(
    name="my_linear",
    defines="MyLinear",
    reference=MyLinear,
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
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
