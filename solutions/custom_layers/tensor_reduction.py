"""`TensorReduction`: a weighted sum over all pairs of features."""

from __future__ import annotations

from random import Random
from textwrap import indent

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "custom_layers.html#custom-layers"


class TensorReduction(nn.Module):
    """``y_k = sum_ij weight_ijk x_i x_j``."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features, in_features, out_features) / in_features)

    def forward(self, X: Tensor) -> Tensor:
        """``(..., in_features) -> (..., out_features)``."""
        return torch.einsum("...i,ijk,...j->...k", X, self.weight, X)


def reduction(
    label: str,
    sizes: tuple[int, int],
    leading: tuple[int, ...],
    seed: int,
    dtype: str = "float32",
    group: str = "main",
) -> Case:
    """The layer with given numbers in `weight`, on a random input."""
    n, k = sizes
    weight = normal(n, n, k, seed=seed + 1, dtype=dtype) / n
    inputs = (normal(*leading, n, seed=seed, dtype=dtype),)
    return Case(label, f"answer({n}, {k})", inputs, {"weight": weight}, dtype, seed, group)


def large(label: str, sizes: tuple[int, int], samples: int, seed: int) -> Case:
    """A batch so large that what is done once for each pair of its samples outweighs everything else."""
    n, k = sizes
    return Case(label, f"answer({n}, {k})", (normal(samples, n, seed=seed),), seed=seed, group="large")


def secret(draw: Random) -> list[Case]:
    """Other sizes, all different from one another, and the plausible ones: as many samples as features."""
    batch, n, k, extra = draw.sample(range(2, 7), 4)
    seed = draw.randrange(10**6)
    return [
        reduction("a batch", (n, k), (batch,), seed),
        reduction("as many samples as features", (n, k), (n,), seed + 10),
        reduction("three leading dimensions, float64", (n, k), (batch, extra, 2), seed + 20, "float64", "leading"),
        reduction("one output, float64", (n, 1), (batch,), seed + 30, "float64"),
        reduction("one feature", (1, k), (batch,), seed + 40),
        reduction("one sample", (n, k), (), seed + 50, "float64", "leading"),
        large("a large batch", (draw.randint(2, 3), draw.randint(1, 3)), draw.randint(32, 40), seed + 60),
    ]


INIT = "self.weight = nn.Parameter(torch.randn(in_features, in_features, out_features))"
FORWARD = 'return torch.einsum("...i,ijk,...j->...k", X, self.weight, X)'


def answer(forward: str = FORWARD, init: str = INIT) -> str:
    """An answer with these bodies of `forward` and, below `super().__init__()`, of `__init__`."""
    return (
        "class TensorReduction(nn.Module):\n"
        "    def __init__(self, in_features, out_features):\n"
        "        super().__init__()\n"
        f"{indent(init, ' ' * 8)}\n\n"
        "    def forward(self, X):\n"
        f"{indent(forward, ' ' * 8)}\n"
    )


MISTAKES = (
    Mistake(
        id="vector_only",
        title="Right for one vector only",
        source=answer("return X @ (X @ self.weight)"),
        fails={"batch", "values", "gradients", "side_effects", "work"},
        message="For a single vector this is right; a batch raises an error, because `@` then pairs samples with "
        "features. Every sample has to meet itself and no other: give the leading dimensions a place of their own.",
        why="`@` sums over the last dimension of its left and the last but one of its right operand. With a batch, "
        "what stands there is the samples. If there happen to be as many samples as features, no error comes and the "
        "result is nonsense of a plausible shape.",
        remedy="`einsum` with `...` for the leading dimensions; or `unsqueeze`: each sample a matrix of one row.",
        see=f"{CHAPTER}-bilinear",
    ),
    Mistake(
        id="gram",
        title="All pairs of samples, and then the diagonal",
        source=answer(
            "samples = X.reshape(-1, X.shape[-1])\n"
            'pairs = torch.einsum("ai,ijk,bj->kab", samples, self.weight, samples)\n'
            "return pairs.diagonal(dim1=1, dim2=2).T.reshape(*X.shape[:-1], -1)"
        ),
        fails={"work"},
        message="The values are right, but they are picked from a table of all *pairs* of samples, so that the work "
        "grows with the square of the batch. Pair each sample with itself from the beginning.",
        why="Of the B × B results for a batch of B samples only the B on the diagonal are used. For 1,000 samples "
        "999 of 1,000 products are thrown away.",
        remedy="In `einsum` give both factors the same letter (or `...`) for the sample, not `a` and `b`.",
        see=f"{CHAPTER}-bilinear",
    ),
    Mistake(
        id="summed_over_batch",
        title="Summed over the samples as well",
        source=answer('return torch.einsum("...i,ijk,...j->k", X, self.weight, X)'),
        fails={"batch", "values", "gradients"},
        message="A batch gives a single vector: the samples are added up, too. The input's leading dimensions have "
        "to come back in the output.",
        why="`einsum` sums over every index that is missing on the right of the arrow, and `...` is missing there.",
        remedy="Write on the right of the arrow whatever the result shall have: the leading dimensions and k.",
        see=f"{CHAPTER}-bilinear",
    ),
    Mistake(
        id="batch_only",
        title="One leading dimension, no more and no less",
        source=answer('return torch.einsum("bi,ijk,bj->bk", X, self.weight, X)'),
        fails={"values"},
        message="It works for `(batch, in_features)` and raises an error for a single vector or for two leading "
        "dimensions. `...` in place of `b` stands for any number of them.",
        why="A letter in `einsum` is exactly one dimension. The contract's `(..., in_features)` means any number of "
        "leading dimensions, none included.",
        remedy="Replace the letter of the batch by `...` in all three places.",
        see=f"{CHAPTER}-bilinear",
    ),
    Mistake(
        id="one_factor",
        title="Each feature once, not in pairs",
        source=answer('return torch.einsum("...i,ijk->...k", X, self.weight)'),
        fails={"values", "gradients"},
        message="If the input is doubled the output doubles, where it should become four times as large: the second "
        "factor of the formula is missing. Every term is a weight times *two* features.",
        why="`einsum` sums over `j` as well, for it is missing on the right of the arrow: the shape is right all the "
        "same.",
        remedy="Hand `X` to `einsum` twice, once with the index i and once with j.",
        see=f"{CHAPTER}-bilinear",
    ),
    Mistake(
        id="squares_only",
        title="Only the squares",
        source=answer('return torch.einsum("...i,iik->...k", X.square(), self.weight)'),
        fails={"values", "gradients"},
        message="Only the terms with i = j are there, the squares of the features. In the sum i and j run over all "
        "features, independently of each other.",
        why="A letter that occurs twice in one operand (`ii`) picks its diagonal. For a weight with n² entries an "
        "output only n of them are used, and the others never get a gradient.",
        remedy="Two letters for two indices: one factor carries i, the other j.",
        see=f"{CHAPTER}-bilinear",
    ),
    Mistake(
        id="each_pair_once",
        title="Each pair counted once",
        source=answer(
            "upper = torch.ones_like(self.weight[..., 0]).triu().unsqueeze(-1)\n"
            'return torch.einsum("...i,ijk,...j->...k", X, self.weight * upper, X)'
        ),
        fails={"values", "gradients"},
        message="The terms with i > j are missing. The pair (1, 2) occurs in the sum twice, each time with another "
        "weight.",
        why="xᵢxⱼ and xⱼxᵢ are the same number, so one of them looks superfluous. But their weights Wᵢⱼ and Wⱼᵢ are "
        "different parameters, and the formula adds both.",
        remedy="Let both indices run over all features.",
        see=f"{CHAPTER}-bilinear",
    ),
    Mistake(
        id="output_first",
        title="`weight` stored as `nn.Bilinear` stores it",
        source=answer(
            'return torch.einsum("...i,kij,...j->...k", X, self.weight, X)',
            init="self.weight = nn.Parameter(torch.randn(out_features, in_features, in_features))",
        ),
        fails={"parameters", "batch", "values", "gradients"},
        message="`weight` has the shape that `nn.Bilinear` uses, (out, in, in). Here the output comes last.",
        why="By itself the layer works, but it cannot load anybody else's numbers, and they cannot load its.",
        remedy="Turn the shape round in `__init__`, and the letters in `forward` with it.",
        see=f"{CHAPTER}-bilinear",
    ),
    Mistake(
        id="plain_tensor",
        title="A plain tensor as weight",
        source=answer(init="self.weight = torch.randn(in_features, in_features, out_features, requires_grad=True)"),
        fails={"parameters"},
        message="`weight` is a plain tensor: the module does not know it, so no optimizer trains it and `state_dict` "
        "does not save it. It has to be wrapped.",
        why="`requires_grad=True` makes autograd compute a gradient. But a module looks for the type `nn.Parameter`.",
        remedy="`nn.Parameter(tensor)`, assigned to an attribute of `self`.",
        see=f"{CHAPTER}-linear",
    ),
    Mistake(
        id="scaled_parameter",
        title="`nn.Parameter(...) / in_features`",
        source=answer(init=f"{INIT} / in_features"),
        fails={"parameters", "gradients", "side_effects"},
        message="`weight` is no parameter: a parameter divided by a number is an ordinary tensor, the *result* of an "
        "operation. Compute first and wrap last.",
        why="The quotient got the name `weight`; the parameter was lost, and the optimizer has nothing to train.",
        remedy="Divide inside the parentheses of `nn.Parameter(...)`.",
        see=f"{CHAPTER}-parameter-last",
    ),
    Mistake(
        id="weight_data",
        title="`weight.data` in `forward`",
        source=answer('return torch.einsum("...i,ijk,...j->...k", X, self.weight.data, X)'),
        fails={"gradients"},
        message="The values are right, but `weight` receives no gradient: `.data` hands autograd a tensor without "
        "history. Use the parameter itself.",
        why="`.data` is the same memory without its history. The input gets its gradient, so nothing complains.",
        remedy="`self.weight`, without `.data`.",
        see=f"{CHAPTER}-weight-data",
    ),
    Mistake(
        id="detached_factor",
        title="`X.detach()` as the second factor",
        source=answer('return torch.einsum("...i,ijk,...j->...k", X, self.weight, X.detach())'),
        fails={"gradients"},
        message="The values are right, but a part of the input's gradient is missing: `.detach()` makes a constant "
        "of one of the two factors. The input occurs twice in the formula, and gradients flow through both.",
        why="By the product rule the derivative of xᵢxⱼ has two terms. With one factor detached autograd sees a "
        "linear layer and gives one of them.",
        remedy="Hand over `X` itself, twice. Autograd adds what comes back on both ways.",
        see=f"{CHAPTER}-cuts",
    ),
    Mistake(
        id="keeps_output",
        title="The output kept as an attribute",
        source=answer(f"self.Y = {FORWARD.removeprefix('return ')}\nreturn self.Y"),
        fails={"side_effects"},
        message="An attribute that `forward` sets keeps the result of the last call, and its graph with it, so that "
        "the layer can no longer be copied with `copy.deepcopy`. Use a local variable.",
        why="The output has a history that leads back to the weight, and `deepcopy` refuses to copy such a tensor.",
        remedy="`Y = ...` without `self.`; to look at outputs from outside, use a forward hook.",
        see=f"{CHAPTER}-hooks",
    ),
    Mistake(
        id="data_and_sum",
        title="Two at once: summed over the samples, and `weight.data`",
        source=answer('return torch.einsum("...i,ijk,...j->k", X, self.weight.data, X)'),
        fails={"batch", "values", "gradients"},
        message="Two things at once: the samples of a batch are added up, and `.data` keeps the gradient from "
        "`weight`. Bring the leading dimensions back first, then look at the gradients.",
        why="`einsum` sums over what is missing on the right of the arrow; `.data` is a tensor without history.",
        remedy="Leading dimensions on the right of the arrow, and the parameter itself.",
        see=f"{CHAPTER}-bilinear",
    ),
)

ALTERNATIVES = {
    "swapped": answer('return torch.einsum("...j,ijk,...i->...k", X, self.weight, X)'),
    "outer_product": answer(
        "pairs = X.unsqueeze(-1) * X.unsqueeze(-2)\nreturn pairs.flatten(-2) @ self.weight.flatten(0, 1)"
    ),
    "matmul": answer(
        "rows = torch.tensordot(X, self.weight, dims=1)  # (..., j, k)\nreturn (X.unsqueeze(-2) @ rows).squeeze(-2)"
    ),
    "bilinear": answer("return nn.functional.bilinear(X, X, self.weight.permute(2, 0, 1))"),
    "vmap": answer(
        "def one(x):\n"
        "    return x @ (x @ self.weight)\n\n"
        "samples = X.reshape(-1, X.shape[-1])\n"
        "return torch.func.vmap(one)(samples).reshape(*X.shape[:-1], -1)"
    ),
    "symmetric": answer(
        "W = (self.weight + self.weight.transpose(0, 1)) / 2\n"
        "return torch.stack([((X @ W[..., k]) * X).sum(-1) for k in range(W.shape[-1])], dim=-1)"
    ),
    "pair_by_pair": """\
class TensorReduction(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.n = in_features
        self.register_parameter("weight", nn.Parameter(torch.empty(in_features, in_features, out_features)))
        nn.init.normal_(self.weight, std=1 / in_features)

    def forward(self, X):
        Y = 0
        for i in range(self.n):
            for j in range(self.n):
                Y = Y + (X[..., i] * X[..., j]).unsqueeze(-1) * self.weight[i, j]
        return Y
""",
    "sample_by_sample": answer(
        "if X.dim() > 1:\n"
        "    return torch.stack([self(x) for x in X])\n"
        'return torch.einsum("i,ijk,j->k", X, self.weight, X)'
    ),
}

PARAMETERS = {
    "parameter.*: missing": "A module notices a tensor when an `nn.Parameter` is assigned to an attribute of `self`.",
    "parameter.weight: *": "`weight` has shape (in_features, in_features, out_features).",
}
NEIGHBOURS = {"batch.difference: values": "A sample must not meet its neighbours: which index is the sample's?"}
VALUES = {
    "output: shape": "`(..., in_features) -> (..., out_features)`, with any number of leading dimensions.",
    "output: values": "Two features in each term, and both indices run over all features.",
}
GRADIENTS = {
    "gradient.*: none": "Something in `forward` cuts it off: is there a `.data` or `.detach()`?",
    "gradient.input.*: values": "If the values are right: the input occurs twice in the formula.",
}
TRACES = {"raised: *deepcopy*": "Does an attribute of `self` keep a tensor from the last call?"}
PAIRS = {"growth.power: values": "Is anything computed for each pair of *samples*?"}
ANY = ("main", "leading")
WORK = {"of": "work"}

TASK = ExerciseSource(
    name="tensor_reduction",
    defines="TensorReduction",
    reference=TensorReduction,
    checks=(
        Check("parameters", "`weight` is its parameter", 1, "parameters", PARAMETERS),
        Check("batch", "Each sample of a batch is on its own", 1, "batch", NEIGHBOURS),
        Check("values", "It computes the sum over all pairs of features", 2, "values", VALUES, ANY),
        Check(
            "gradients",
            "Gradients reach the weight, and the input through both factors",
            2,
            "gradients",
            GRADIENTS,
        ),
        Check(
            "side_effects",
            "A call leaves its input as it was, and the layer can be copied",
            1,
            "side_effects",
            TRACES,
        ),
        Check("work", "The work grows with the batch, and not with its square", 1, "growth", PAIRS, ("large",), WORK),
    ),
    public=(
        reduction("a batch of 5", (3, 2), (5,), 400),
        reduction("two leading dimensions, float64", (2, 3), (4, 5), 500, "float64", "leading"),
        reduction("one sample", (3, 4), (), 600, group="leading"),
        large("a batch of 32, then one of 128", (3, 2), 32, 700),
    ),
    secret=secret,
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
