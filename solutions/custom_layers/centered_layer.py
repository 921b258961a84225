"""`CenteredLayer`: the input minus the mean of all its entries."""

from __future__ import annotations

from random import Random
from textwrap import indent

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "custom_layers.html#custom-layers"


class CenteredLayer(nn.Module):
    """The input minus the mean of all its entries; any shape to the same shape."""

    def forward(self, X: Tensor) -> Tensor:
        return X - X.mean()


def centered(label: str, shape: tuple[int, ...], seed: int, dtype: str = "float32") -> Case:
    """The layer on numbers whose mean is far from zero."""
    return Case(label, "answer()", (3 + normal(*shape, seed=seed, dtype=dtype),), dtype=dtype, seed=seed)


def inside(label: str, sizes: tuple[int, int, int], seed: int) -> Case:
    """The layer behind one that learns: its input has a history."""
    batch, inputs, outputs = sizes
    build = f"nn.Sequential(first := nn.Linear({inputs}, {outputs}), answer())"
    return Case(label, build, (normal(batch, inputs, seed=seed),), seed=seed, group="inside")


def secret(draw: Random) -> list[Case]:
    """Other shapes and numbers, and the edges: one entry, equal entries."""
    sizes = draw.sample(range(2, 9), 4)
    seed = draw.randrange(10**6)
    return [
        centered("one vector", (sizes[0],), seed),
        centered("a batch, float64", (sizes[0], sizes[1] + 7), seed + 1, "float64"),
        centered("four dimensions", (sizes[2], 1, sizes[0], sizes[3]), seed + 2),
        centered("a single entry", (1,), seed + 3),
        centered("a single number, no dimension", (), seed + 4),
        centered("five dimensions", (2, 1, sizes[1], 2, 3), seed + 5),
        Case("equal entries", "answer()", (torch.full((2, 3), draw.uniform(-5, 5)),), seed=seed),
        inside("behind a layer that learns", (sizes[0], sizes[1], sizes[2]), seed + 6),
    ]


def forward(body: str) -> str:
    """An answer with this body of `forward`."""
    return f"class CenteredLayer(nn.Module):\n    def forward(self, X):\n{indent(body, ' ' * 8)}\n"


MISTAKES = (
    Mistake(
        id="batch_mean",
        title="`mean(0)`: a mean for each column",
        source=forward("return X - X.mean(0)"),
        fails={"values", "gradients"},
        message="This subtracts a mean for each column: `mean(0)` runs over the first dimension only. The layer asks "
        "for one number, the mean of everything that it was given.",
        why="A number as first argument of `mean` names the dimension to average over; the others stay, and "
        "broadcasting hides that several numbers are subtracted. For a single vector the two means agree.",
        remedy="Without an argument, `mean` averages over all entries. Try a layer on a batch as well as on a "
        "vector.",
        see=f"{CHAPTER}-without-parameters",
    ),
    Mistake(
        id="last_mean",
        title="`mean(-1)`: a mean for each row",
        source=forward("return X - X.mean(dim=-1, keepdim=True)"),
        fails={"values", "gradients"},
        message="This subtracts a mean for each row: `mean(-1)` runs over the last dimension only. The layer asks "
        "for one number, the mean of everything that it was given.",
        why="It is what a layer norm does, each sample on its own, and `keepdim=True` makes it broadcast silently.",
        remedy="Without a dimension, `mean` averages over all entries. Try a layer on a batch as well as on a "
        "vector.",
        see=f"{CHAPTER}-without-parameters",
    ),
    Mistake(
        id="reversed",
        title="The difference the wrong way round",
        source=forward("return X.mean() - X"),
        fails={"values", "gradients"},
        message="Every entry of the output has the wrong sign: it is the mean minus the input. An entry above the "
        "mean should come out positive.",
        why="The mean of the output is zero either way, so a look at the mean does not tell the two apart.",
        remedy="Try three numbers that you can do in your head: from 1, 2, 6 the layer makes −2, −1, 3.",
        see=f"{CHAPTER}-without-parameters",
    ),
    Mistake(
        id="standardised",
        title="Divided by the standard deviation as well",
        source=forward("centred = X - X.mean()\nreturn centred / (X.std(correction=0) + 1e-5)"),
        fails={"values", "gradients"},
        message="The output has mean 0 and standard deviation 1: it has been standardised. This layer only centres; "
        "distances from the mean keep their size.",
        why="Centring and scaling mostly come together (batch norm, layer norm, “z-scores”).",
        remedy="Read the contract's formula once more: there is a subtraction, and no division.",
        see=f"{CHAPTER}-without-parameters",
    ),
    Mistake(
        id="detached_mean",
        title="A mean that autograd does not see",
        source=forward("return X - X.mean().item()"),
        fails={"gradients"},
        message="The values are right, but `.item()` (like `.detach()`) turns the mean into a constant for autograd. "
        "The gradient then misses the part that flows through the mean.",
        why="`.item()` gives a Python number, and a Python number has no history. So autograd differentiates *input "
        "minus a constant*, whose derivative is 1 everywhere, although moving one entry moves the mean, too.",
        remedy="Keep tensors inside `forward`: a tensor with a single entry broadcasts just as a number does. The "
        "gradient of the output's sum must be zero everywhere.",
        see=f"{CHAPTER}-cuts",
    ),
    Mistake(
        id="detached_input",
        title="`X.detach()` before anything else",
        source=forward("X = X.detach().clone()\nreturn X - X.mean()"),
        fails={"gradients"},
        message="The values are right, but the input receives no gradient: `.detach()` cuts off everything that "
        "comes before this layer. A copy is not needed either, for a subtraction writes into a new tensor.",
        why="Copying the input so that it is not changed is a good intention, but `.detach().clone()` copies the "
        "numbers and drops their history. All layers before this one would stop learning, without an error.",
        remedy="`X - ...` makes a new tensor anyway. Where you do need a copy, `X.clone()` keeps the history.",
        see=f"{CHAPTER}-cuts",
    ),
    Mistake(
        id="detached_batch_mean",
        title="Two at once: a mean for each column, and detached",
        source=forward("return X - X.mean(dim=0).detach()"),
        fails={"values", "gradients"},
        message="Two things at once: a mean is subtracted for each column instead of one for all entries, and "
        "`.detach()` hides it from autograd. Mend the values first, then look at the gradients.",
        why="`dim=0` averages over the samples only, and `.detach()` makes a constant of the result.",
        remedy="Take the mean over everything, and leave it in the graph.",
        see=f"{CHAPTER}-cuts",
    ),
    Mistake(
        id="in_place",
        title="`X -= ...`: the caller's data are overwritten",
        source=forward("X -= X.mean()\nreturn X"),
        fails={"gradients", "side_effects"},
        message="`X -= ...` writes into the tensor that the caller handed over. A subtraction that is not in place "
        "makes a new tensor and leaves the input alone.",
        why="`X` is another name for the caller's tensor, not a copy. After the first epoch the data set itself is "
        "centred, and on a leaf that requires a gradient autograd refuses.",
        remedy="Use `-` instead of `-=`, and no operator whose name ends in `_` on something that you were given.",
        see=f"{CHAPTER}-callers-input",
    ),
    Mistake(
        id="keeps_mean",
        title="The mean kept as an attribute",
        source=forward("self.mean = X.mean()\nreturn X - self.mean"),
        fails={"side_effects"},
        message="An attribute keeps the mean of the last call, and with it the graph of everything before. So a "
        "network with this layer can no longer be copied with `copy.deepcopy`; use a local variable.",
        why="The mean was computed from the output of a layer that learns, so it has a history. `deepcopy` refuses "
        "to copy such a tensor, and the graph stays in memory until the next call.",
        remedy="`mean = ...` without `self.` is forgotten when `forward` returns, as it should be.",
        see=f"{CHAPTER}-hooks",
    ),
    Mistake(
        id="no_return",
        title="No `return`",
        source=forward("Y = X - X.mean()"),
        fails={"values", "gradients", "side_effects"},
        message="The call gives `None`: `forward` computes something and then forgets it. End it with a `return`.",
        why="A Python function without a `return` returns `None`, and `nn.Module` hands on what `forward` gives. In "
        "a network only the next layer would complain.",
        remedy="Let the last line of `forward` be `return ...`.",
        see=f"{CHAPTER}-without-parameters",
    ),
)

ALTERNATIVES = {
    "sum": forward("return torch.sub(X, X.sum() / X.numel())"),
    "flat": """\
class CenteredLayer(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, inputs):
        flat = inputs.reshape(-1)
        return (flat - flat.mean(dim=0, keepdim=True)).view_as(inputs)
""",
    "in_double": forward("wide = X.double()\nreturn (wide - wide.mean()).to(X.dtype)"),
    "copy_then_in_place": forward("Y = X.clone()\nY -= X.mean()\nreturn Y"),
    "loop": """\
class CenteredLayer(nn.Identity):
    def forward(self, X):
        mean = torch.zeros((), dtype=X.dtype, device=X.device)
        for k, x in enumerate(X.flatten(), start=1):
            mean = mean + (x - mean) / k
        return super().forward(X) - mean
""",
    "hook": """\
def centre(module, args, output):
    return output - output.mean()


class CenteredLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_forward_hook(centre)

    def forward(self, X):
        return X
""",
    "function": """\
class Centre(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X):
        return X - X.mean()

    @staticmethod
    def backward(ctx, grad):
        return grad - grad.mean()


class CenteredLayer(nn.Module):
    def forward(self, X):
        return Centre.apply(X)
""",
}

GRADIENTS = {
    "gradient.input.*: none": "Something in `forward` cuts the input off: is there a `.detach()`?",
    "gradient.input.*: values": "If the values are right: the mean depends on every entry, so is it cut off by "
    "`.detach()`, `.item()` or `.data`?",
}
TRACES = {
    "change.input: *": "Does an operator ending in `_`, or `-=`, write into the caller's tensor?",
    "change.evaluation: *": "The layer does the same in both modes.",
    "raised: *deepcopy*": "Does an attribute of `self` keep a tensor from the last call?",
}
SHAPE = {"output: shape": "The output has the shape of the input."}
CALLS = ("main", "inside")

TASK = ExerciseSource(
    name="centered_layer",
    defines="CenteredLayer",
    reference=CenteredLayer,
    checks=(
        Check("values", "The mean of all entries is subtracted", 2, "values", SHAPE),
        Check("gradients", "Gradients flow through the mean, too", 1, "gradients", GRADIENTS),
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
        centered("one vector", (5,), 1),
        centered("a batch of 4", (4, 3), 2),
        centered("three dimensions, float64", (2, 3, 5), 3, "float64"),
        inside("behind a layer that learns", (4, 2, 3), 4),
    ),
    secret=secret,
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
