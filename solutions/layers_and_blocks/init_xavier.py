"""`init_xavier`: for `net.apply`, Xavier-uniform weights and zero biases for linear layers, and nothing else."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def made(label: str, build: str, group: str = "main", inputs: tuple[Tensor, ...] = (), seed: int = 0) -> Case:
    """What `build` makes and initialises: many weights, because they are looked at as a whole.

    Not more than 32,768, though, where PyTorch begins to use several threads.
    """
    return Case(label, build, inputs, seed=seed, group=group)


def bias(label: str, sizes: tuple[int, int], dtype: str, seed: int) -> Case:
    """A layer whose output is its bias, because its input is zero; cast before it is initialised."""
    build = f"nn.Linear({sizes[0]}, {sizes[1]}).to(torch.{dtype}).apply(answer)"
    return Case(label, build, (torch.zeros(2, sizes[0], dtype=getattr(torch, dtype)),), seed=seed, group="bias")


SCALED = "type('Scaled', (nn.Linear,), {{}})({}, {}).apply(answer)"
ITSELF = "(lambda net: [answer(net), net][1])(nn.Sequential(nn.Linear({}, {}), nn.Tanh()))"
GAINS = "nn.Sequential(nn.Conv1d(3, 4, 2), nn.PReLU(), nn.LayerNorm(5)).apply(answer)"
TABLE = "nn.Embedding.from_pretrained(torch.arange(12.0).reshape(4, 3) - {}, freeze=False).apply(answer)"


def secret(draw: Random) -> list[Case]:
    """Other sizes and depths, layers that are made in other ways, other modules that have a `weight`."""
    wide, narrow = draw.randint(180, 240), draw.randint(80, 130)
    seed = draw.randrange(10**6)
    lazy = f"(net := nn.LazyLinear({narrow}), net(torch.zeros(1, {wide})), net.apply(answer))[2]"
    inputs = normal(5, 3, seed=seed), normal(5, 4, seed=seed + 1)
    return [
        made("a wide layer", f"nn.Linear({narrow}, {wide}).apply(answer)", seed=seed),
        made("a lazy layer after its dry run", lazy, seed=seed + 1),
        made("without a bias", f"nn.Linear({wide}, {narrow}, bias=False).apply(answer)", "no_bias", seed=seed + 2),
        made("a subclass", SCALED.format(narrow, wide), "subclass", seed=seed + 3),
        made("a subclass in `torch.nn`", "nn.MultiheadAttention(176, 4).apply(answer).out_proj", "subclass"),
        bias("one output, float64", (draw.randint(2, 9), 1), "float64", seed + 4),
        made("a container, not by `apply`", ITSELF.format(3, 4), "others", inputs[:1], seed + 7),
        made("nn.Bilinear", "nn.Bilinear(3, 4, 2).apply(answer)", "others", inputs, seed + 5),
        made("nn.Embedding", TABLE.format(seed % 7), "others", (torch.tensor([[0, 3], [1, 1]]),), seed + 6),
    ]


DTYPE = "Do weight and bias still have the layer's dtype? `torch.zeros(shape)` is float32."

EXERCISE = ExerciseSource(
    defines="init_xavier",
    checks=(
        Check(
            "weight",
            "Weights are Xavier-uniform",
            2,
            "initial_values",
            hints={
                "*spread.*: *": "They are uniform between −a and a, with a = √(6 / (in + out)).",
                "same_numbers.*: *": "Is there a seed in it?",
            },
            options={"of": ["weight"], "another_seed": True},
        ),
        Check(
            "bias",
            "Biases are zero",
            1,
            "values",
            hints={
                "output: values": "The input is zero here, so the output is the bias.",
                "*: dtype": DTYPE,
                "raised: *dtype*": DTYPE,
            },
            on=("bias",),
        ),
        Check(
            "no_bias",
            "Layers without a bias are initialised, too",
            1,
            "initial_values",
            hints={"raised: *'NoneType'*": "Such a layer's `bias` is None."},
            on=("no_bias",),
        ),
        Check(
            "subclass",
            "Subclasses of `nn.Linear` are linear layers, too",
            1,
            "initial_values",
            hints={"*spread.*: *": "How do you ask whether a module is an `nn.Linear`?"},
            on=("subclass",),
            options={"of": ["weight"]},
        ),
        Check(
            "others",
            "Other modules are left as they are",
            0.5,
            "values",
            hints={"*": "What is handed over here is no `nn.Linear`, so nothing is to be done."},
            on=("others",),
        ),
        Check(
            "trained",
            "The parameters are still there, and still trained",
            0.5,
            "parameters",
            hints={"requires_grad.*: *": "Does something freeze them?"},
        ),
    ),
    public=(
        made("a layer, 210 to 150", "nn.Linear(210, 150).apply(answer)", seed=1),
        made(
            "a layer inside two blocks",
            "nn.Sequential(nn.Tanh(), nn.Sequential(nn.Linear(120, 250))).apply(answer)[1][0]",
            seed=2,
        ),
        bias("a layer, 6 to 4", (6, 4), "float32", 3),
        bias("a layer, 5 to 3, float64", (5, 3), "float64", 4),
        made("a layer without a bias", "nn.Linear(200, 130, bias=False).apply(answer)", "no_bias", seed=5),
        made("a subclass", SCALED.format(140, 230), "subclass", seed=6),
        made("a convolution, PReLU and a norm", GAINS, "others", (normal(2, 3, 6, seed=7),), 7),
        made("a container, not by `apply`", ITSELF.format(3, 2), "others", (normal(4, 3, seed=8),), 8),
    ),
    secret=secret,
)
