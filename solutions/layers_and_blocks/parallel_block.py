"""`ParallelBlock`: two modules side by side, on the same input."""

from __future__ import annotations

from random import Random
from textwrap import indent

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "layers_and_blocks.html#layers-and-blocks-"


class ParallelBlock(nn.Module):
    """Both modules on the same input, their outputs side by side along the last dimension."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, X: Tensor) -> Tensor:
        """``(..., in) -> (..., left's width + right's width)``."""
        return torch.cat([self.left(X), self.right(X)], dim=-1)


# --- what it is tried on ------------------------------------------------------------------------------------------


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


# --- known mistakes -----------------------------------------------------------------------------------------------

INIT = "self.left = left\nself.right = right"
FORWARD = "return torch.cat([self.left(X), self.right(X)], dim=-1)"


def written(forward: str = FORWARD, init: str = INIT) -> str:
    """The source of an answer, from the bodies of its two methods."""
    return f"""\
class ParallelBlock(nn.Module):
    def __init__(self, left, right):
        super().__init__()
{indent(init, " " * 8)}

    def forward(self, X):
{indent(forward, " " * 8)}
"""


MISTAKES = (
    Mistake(
        "first_dimension",
        "`torch.cat` without `dim`",
        written(FORWARD.replace(", dim=-1", "")),
        {"values", "same", "gradients", "hooks", "traces"},
        "Without `dim`, `torch.cat` joins along dimension 0: that makes more samples, not more features, and fails "
        "where the widths differ. Say which dimension: the last.",
        "The default of `dim` is 0. With equal widths nothing fails, and a batch of 5 becomes a batch of 10.",
        "Join with `torch.cat([...], dim=-1)`.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "dimension_one",
        "`dim=1` instead of the last dimension",
        written(FORWARD.replace("-1", "1")),
        {"values"},
        "Dimension 1 is the last one only where the input has two dimensions; with one there is no such dimension, "
        "with three it is another. Count from the end: `dim=-1`.",
        "Features are in the last dimension, with any number of others before it.",
        "Negative dimensions count from the end: `dim=-1`.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "hstack",
        "`torch.hstack`",
        written("return torch.hstack([self.left(X), self.right(X)])"),
        {"values"},
        "`torch.hstack` joins along dimension 1, and vectors along 0: right for a vector and for a batch, wrong for "
        "more leading dimensions. Say `dim=-1` to `torch.cat`.",
        "The name comes from matrices, where side by side means along the columns.",
        "Join with `torch.cat([...], dim=-1)`.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "sum",
        "The outputs added",
        written("return self.left(X) + self.right(X)"),
        {"values", "same", "gradients", "hooks", "traces"},
        "This adds the two outputs, which loses who said what, and fails where their widths differ. They are put "
        "side by side: as many features as both have together.",
        "Adding is what a residual block does. A parallel block keeps both outputs.",
        "`torch.cat` puts side by side.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "one_after_the_other",
        "One after the other",
        written("return self.right(self.left(X))"),
        {"values", "same", "gradients", "hooks", "traces"},
        "`right` is given the output of `left` here: that is a chain, `nn.Sequential`. Both get the same input `X`.",
        "The two modules expect the same width. In a chain, the second gets the width of the first's output.",
        "Call both on `X`, then join what they return.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "stacked",
        "`torch.stack` instead of `torch.cat`",
        written(FORWARD.replace("cat", "stack")),
        {"values", "same", "gradients", "hooks", "traces"},
        "`torch.stack` makes a new dimension, and needs equal widths. `torch.cat` joins along one that is there.",
        "Stacking two tensors of shape (5, 3) gives (5, 3, 2) or the like; joining them gives (5, 6).",
        "Join with `torch.cat([...], dim=-1)`.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "right_first",
        "The right one first",
        written("return torch.cat([self.right(X), self.left(X)], dim=-1)"),
        {"values", "gradients"},
        "All numbers are there, but the output begins with what `right` gave. `left` comes first.",
        "What comes next reads features by position, so it reads the wrong ones, without an error.",
        "List them as in the contract: left, right.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "a_pair",
        "Both outputs as a tuple",
        written("return self.left(X), self.right(X)"),
        {"values", "same", "gradients"},
        "`forward` returns a tuple of two tensors, which the next layer cannot take. Join them to one tensor.",
        "A comma makes a tuple. Modules may return one, but this one's contract is a single tensor.",
        "`torch.cat` makes one tensor of them.",
        f"{CHAPTER}five-jobs",
    ),
    Mistake(
        "python_list",
        "The two modules in a Python list",
        written("return torch.cat([b(X) for b in self.branches], dim=-1)", "self.branches = [left, right]"),
        {"registered"},
        "The result is right, but the two modules are in a Python list, where nobody finds their parameters. Assign "
        "each to an attribute of its own, or use an `nn.ModuleList`.",
        "Only a module that is itself assigned to an attribute is registered; a list is not looked into.",
        "`self.left = left` and `self.right = right`, or `self.branches = nn.ModuleList([left, right])`.",
        f"{CHAPTER}python-list",
    ),
    Mistake(
        "children",
        "`children()` to run the two",
        written("return torch.cat([b(X) for b in self.children()], dim=-1)"),
        {"same"},
        "With one module in both places, `children()` lists it once, so half of the output is missing. Call "
        "`self.left` and `self.right` by name.",
        "`children()` skips what it has already seen: right for counting and casting, wrong for running.",
        "Name the two, or run over an `nn.ModuleList`, which keeps every place.",
        f"{CHAPTER}children",
    ),
    Mistake(
        "direct_forward",
        "`self.left.forward(X)`",
        written(FORWARD.replace("(X)", ".forward(X)")),
        {"hooks"},
        "The numbers are right, but `.forward(X)` goes round `__call__`, so that no hook runs. Call the module "
        "itself: `self.left(X)`.",
        "Hooks are run by `__call__`, before and after it calls `forward`.",
        "Write `self.left(X)` and `self.right(X)`.",
        f"{CHAPTER}call",
    ),
    Mistake(
        "no_grad",
        "`torch.no_grad()` in `forward`",
        written("with torch.no_grad():\n    left = self.left(X)\nreturn torch.cat([left, self.right(X)], dim=-1)"),
        {"gradients"},
        "The values are right, but under `torch.no_grad()` nothing is put on record, so `left` never receives a "
        "gradient. A `forward` records by default; leave it so.",
        "Whether gradients are wanted is for the caller to decide, who may need them in training.",
        "Leave `torch.no_grad()` to the code that evaluates the model.",
        "custom_layers.html#custom-layers-cuts",
    ),
    Mistake(
        "keeps_outputs",
        "The outputs kept as attributes",
        written(
            "self.outputs = self.left(X), self.right(X)\nreturn torch.cat(self.outputs, dim=-1)",
        ),
        {"traces"},
        "`forward` keeps both outputs on `self`, with their graphs, so that the block can no longer be copied with "
        "`copy.deepcopy`. Use local variables.",
        "A tensor in the middle of a graph cannot be deep-copied.",
        "Leave nothing of one call on `self`.",
        "custom_layers.html#custom-layers-hooks",
    ),
)

# --- other right answers ------------------------------------------------------------------------------------------

ALTERNATIVES = {
    "module_list": written(
        "return torch.concat([branch(X) for branch in self.branches], -1)",
        "self.branches = nn.ModuleList([left, right])",
    ),
    "module_dict": written(
        'a, b = self.sides["left"](X), self.sides["right"](X)\nreturn torch.cat((a, b), dim=X.dim() - 1)',
        'self.sides = nn.ModuleDict({"left": left, "right": right})',
    ),
    "padded_sum": written(
        "a, b = self.left(X), self.right(X)\nreturn F.pad(a, (0, b.shape[-1])) + F.pad(b, (a.shape[-1], 0))"
    ),
    "written_into_place": written(
        "a, b = self.left(X), self.right(X)\n"
        "n = a.size(-1)\n"
        "out = a.new_empty(*a.shape[:-1], n + b.size(-1))\n"
        "out[..., :n], out[..., n:] = a, b\n"
        "return out"
    ),
    "moved_dimension": written(
        "sides = [module(X).movedim(-1, 0) for module in self._modules.values()]\n"
        "return torch.cat(sides).movedim(0, -1)",
        'for name, module in zip("lr", (left, right)):\n    self.add_module(name, module)',
    ),
    "properties": written(
        FORWARD + "\n\nleft = property(lambda self: self.pair[0])\nright = property(lambda self: self.pair[1])",
        "self.pair = nn.Sequential(left, right)",
    )
    .replace("        left = prop", "    left = prop")
    .replace("        right = prop", "    right = prop"),
}

TASK = ExerciseSource(
    name="parallel_block",
    defines="ParallelBlock",
    reference=ParallelBlock,
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
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
