"""`custom_layers`: what is right, what it is tried on, and what is known to go wrong."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from grader.authoring import Case, Check, Mistake, Task, normal

CHAPTER = "custom_layers.html"

# --- centered_layer -----------------------------------------------------------------------------------------------


class CenteredLayer(nn.Module):
    """Input minus the mean of all its entries."""

    def forward(self, X: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return X - X.mean()


def centered(label: str, shape: tuple[int, ...], seed: int, dtype: str = "float32") -> Case:
    """The layer on numbers whose mean is far from zero."""
    return Case(label, "answer()", (3 + normal(*shape, seed=seed, dtype=dtype),), dtype=dtype, seed=seed)


def secret_centered(draw: Random) -> list[Case]:
    """Other shapes and numbers, and the edges: one entry, equal entries."""
    sizes = [draw.randint(2, 7) for _ in range(4)]
    seed = draw.randrange(10**6)
    return [
        centered("one vector", (sizes[0],), seed),
        centered("a batch, float64", (sizes[0], sizes[1] + 7), seed + 1, "float64"),
        centered("four dimensions", (sizes[2], 1, sizes[0], sizes[3]), seed + 2),
        centered("a single entry", (1,), seed + 3),
        centered("a single number, no dimension", (), seed + 4),
        centered("five dimensions", (2, 1, sizes[1], 2, 3), seed + 5),
        Case("equal entries", "answer()", (torch.full((2, 3), draw.uniform(-5, 5)),), seed=seed),
    ]


centered_layer = Task(
    name="centered_layer",
    defines="CenteredLayer",
    reference=CenteredLayer,
    checks=(
        Check(
            "values",
            "The mean of all entries is subtracted",
            2,
            "values",
            hints={
                "output: shape": "The output has the shape of the input.",
            },
        ),
        Check(
            "gradients",
            "Gradients flow through the mean, too",
            1,
            "gradients",
            hints={
                "gradient of input*: values": "If the values are right: the mean depends on every entry, so is it "
                "cut off by `.detach()`, `.item()` or `.data`?"
            },
        ),
        Check(
            "side_effects",
            "The input is left as it was",
            1,
            "side_effects",
            hints={
                "change of the input: *": "Does an operator ending in `_`, or `-=`, write into the caller's tensor?"
            },
        ),
    ),
    public=(
        centered("one vector", (5,), 1),
        centered("a batch of 4", (4, 3), 2),
        centered("three dimensions, float64", (2, 3, 5), 3, "float64"),
    ),
    secret=secret_centered,
    mistakes=(
        Mistake(
            "batch_mean",
            """\
class CenteredLayer(nn.Module):
    def forward(self, X):
        return X - X.mean(0)
""",
            frozenset({"values", "gradients"}),
            "This subtracts a mean for each column: `mean(0)` runs over the first dimension only. The layer asks for "
            "one number, the mean of all entries: `X.mean()`.",
            f"{CHAPTER}#custom-layers-without-parameters",
        ),
        Mistake(
            "last_mean",
            """\
class CenteredLayer(nn.Module):
    def forward(self, X):
        return X - X.mean(dim=-1, keepdim=True)
""",
            frozenset({"values", "gradients"}),
            "This subtracts a mean for each row: `mean(-1)` runs over the last dimension only. The layer asks for "
            "one number, the mean of all entries: `X.mean()`.",
            f"{CHAPTER}#custom-layers-without-parameters",
        ),
        Mistake(
            "in_place",
            """\
class CenteredLayer(nn.Module):
    def forward(self, X):
        X -= X.mean()
        return X
""",
            frozenset({"gradients", "side_effects"}),
            "`X -= ...` writes into the tensor that the caller handed over. `X - X.mean()` makes a new one and "
            "leaves the input alone.",
            f"{CHAPTER}#custom-layers-callers-input",
        ),
        Mistake(
            "detached_mean",
            """\
class CenteredLayer(nn.Module):
    def forward(self, X):
        return X - X.mean().item()
""",
            frozenset({"gradients"}),
            "The values are right, but `.item()` (like `.detach()`) turns the mean into a constant for autograd. The "
            "gradient then misses the part that flows through the mean.",
            f"{CHAPTER}#custom-layers-cuts",
        ),
    ),
    alternatives={
        "sum": """\
class CenteredLayer(nn.Module):
    def forward(self, X):
        return torch.sub(X, X.sum() / X.numel())
""",
        "flat": """\
class CenteredLayer(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, inputs):
        flat = inputs.reshape(-1)
        return (flat - flat.mean(dim=0, keepdim=True)).view_as(inputs)
""",
    },
)

# --- my_linear ----------------------------------------------------------------------------------------------------


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
    in_units, units = sizes
    return Case(
        label,
        f"answer({in_units}, {units})",
        (normal(*leading, in_units, seed=seed, dtype=dtype),),
        {
            "weight": normal(in_units, units, seed=seed + 1, dtype=dtype),
            "bias": normal(units, seed=seed + 2, dtype=dtype),
        },
        dtype,
        seed,
    )


def secret_linear(draw: Random) -> list[Case]:
    """Other sizes, all different from one another, and square ones, where a transposed weight would not show."""
    batch, inner, outer, extra = draw.sample(range(2, 9), 4)
    seed = draw.randrange(10**6)
    return [
        linear("a batch", (inner, outer), (batch,), seed),
        linear("one sample", (inner, outer), (), seed + 10),
        linear("square, float64", (inner, inner), (batch,), seed + 20, "float64"),
        linear("three leading dimensions", (inner, outer), (batch, extra, 2), seed + 30),
        linear("one unit", (inner, 1), (batch,), seed + 40),
    ]


my_linear = Task(
    name="my_linear",
    defines="MyLinear",
    reference=MyLinear,
    checks=(
        Check(
            "parameters",
            "`weight` and `bias` are its parameters",
            1,
            "parameters",
            hints={
                "parameter*: missing": "A module notices a tensor when an `nn.Parameter` is assigned to an "
                "attribute of `self`.",
                "parameter `weight`: *": "`weight` has shape (in_units, units).",
                "buffer*: unexpected": "A buffer is not trained.",
            },
        ),
        Check(
            "values",
            "It computes relu(X @ weight + bias)",
            2,
            "values",
            hints={
                "output: shape": "`(..., in_units) -> (..., units)`, with any number of leading dimensions.",
                "output: values": "Are the ReLU, the bias and the order of the product as in the formula?",
            },
        ),
        Check(
            "gradients",
            "Gradients reach the input and both parameters",
            2,
            "gradients",
            hints={
                "gradient of `*`: none": "Something in `forward` cuts it off: is there a `.data` or `.detach()`?",
                "gradient of input*: none": "Something in `forward` cuts it off: is there a `.data` or `.detach()`?",
            },
        ),
        Check(
            "round_trip",
            "Its numbers are saved and loaded",
            1,
            "round_trip",
            hints={"list of keys*": "`state_dict` holds parameters and buffers; a plain tensor is neither."},
        ),
        Check(
            "double",
            "`.double()` reaches everything",
            1,
            "double",
            hints={"set of dtypes*": "`.double()` casts parameters and buffers; a plain tensor is neither."},
        ),
        Check("side_effects", "A call leaves no traces, and the layer can be copied", 1, "side_effects"),
    ),
    public=(
        linear("a batch of 5", (4, 3), (5,), 100),
        linear("one sample", (3, 2), (), 200),
        linear("two leading dimensions, float64", (3, 4), (2, 5), 300, "float64"),
    ),
    secret=secret_linear,
    mistakes=(
        Mistake(
            "weight_data",
            """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, X):
        return F.relu(torch.matmul(X, self.weight.data) + self.bias.data)
""",
            frozenset({"gradients"}),
            "The values are right, but `.data` hands autograd a tensor without history, so `weight` and `bias` never "
            "receive a gradient and are never trained. Use the parameters themselves: `X @ self.weight + self.bias`.",
            f"{CHAPTER}#custom-layers-weight-data",
        ),
        Mistake(
            "plain_tensor",
            """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = torch.randn(in_units, units, requires_grad=True)
        self.bias = torch.zeros(units, requires_grad=True)

    def forward(self, X):
        return F.relu(X @ self.weight.to(X.dtype) + self.bias.to(X.dtype))
""",
            frozenset({"parameters", "round_trip", "double"}),
            "`weight` and `bias` are plain tensors: the module does not know them, so no optimizer trains them and "
            "`state_dict` does not save them. Wrap them: `nn.Parameter(...)`.",
            f"{CHAPTER}#custom-layers-linear",
        ),
        Mistake(
            "no_relu",
            """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, X):
        return X @ self.weight + self.bias
""",
            frozenset({"values", "gradients"}),
            "The result may be negative: the ReLU of the formula is missing. The layer is `relu(X @ weight + bias)`.",
            f"{CHAPTER}#custom-layers-linear",
        ),
        Mistake(
            "transposed",
            """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(units, in_units))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, X):
        return F.relu(F.linear(X, self.weight, self.bias))
""",
            frozenset({"parameters", "values", "gradients"}),
            "`weight` has the shape that `nn.Linear` uses, (units, in_units). Here it is (in_units, units), so that "
            "`X @ weight` needs no transpose.",
            f"{CHAPTER}#custom-layers-linear",
        ),
        Mistake(
            "new_parameter",
            """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, X):
        self.weight = nn.Parameter(self.weight.data)
        return F.relu(X @ self.weight + self.bias)
""",
            frozenset({"gradients"}),
            "`forward` puts a new parameter in the place of `weight` at each call, so the one that the optimizer "
            "holds never receives a gradient. Make parameters in `__init__`, once.",
            f"{CHAPTER}#custom-layers-weight-data",
        ),
        Mistake(
            "relu_in_training_only",
            """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, X):
        Y = X @ self.weight + self.bias
        return F.relu(Y) if self.training else Y
""",
            frozenset({"side_effects"}),
            "In evaluation mode the layer gives something else than in training. Nothing in its formula depends on "
            "the mode.",
            f"{CHAPTER}#custom-layers-linear",
        ),
        Mistake(
            "keeps_output",
            """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.bias = nn.Parameter(torch.randn(units))

    def forward(self, X):
        self.output = F.relu(X @ self.weight + self.bias)
        return self.output
""",
            frozenset({"side_effects"}),
            "An attribute that `forward` sets keeps the result of the last call, and its graph with it, so that the "
            "layer can no longer be copied with `copy.deepcopy`. Use a local variable.",
            f"{CHAPTER}#custom-layers-hooks",
        ),
        Mistake(
            "frozen_bias",
            """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_units, units))
        self.register_buffer("bias", torch.zeros(units))

    def forward(self, X):
        return F.relu(X @ self.weight + self.bias)
""",
            frozenset({"parameters", "gradients"}),
            "`bias` is a buffer: it is saved, but it receives no gradient and is never trained. Both `weight` and "
            "`bias` are parameters here.",
            f"{CHAPTER}#custom-layers-buffers",
        ),
    ),
    alternatives={
        "functional": """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(units))
        self.weight = nn.Parameter(torch.empty(in_units, units))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, X):
        return F.linear(X, self.weight.T, self.bias).relu()
""",
        "einsum": """\
class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.register_parameter("weight", nn.Parameter(torch.randn(in_units, units) / math.sqrt(in_units)))
        self.register_parameter("bias", nn.Parameter(torch.zeros(units)))

    def forward(self, inputs):
        return torch.clamp(torch.einsum("...i,ij->...j", inputs, self.weight) + self.bias, min=0)
""",
    },
)

TASKS = (centered_layer, my_linear)
