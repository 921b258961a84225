"""`init_xavier`: for `net.apply`, Xavier-uniform weights and zero biases for linear layers, and nothing else."""

from __future__ import annotations

from random import Random
from textwrap import indent

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "layers_and_blocks.html#layers-and-blocks-"


def init_xavier(module: nn.Module) -> None:
    """Give a linear layer Xavier-uniform weights and a bias of zero; leave any other module as it is."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# --- what it is tried on ------------------------------------------------------------------------------------------


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


# --- known mistakes -----------------------------------------------------------------------------------------------

BIAS = "if module.bias is not None:\n    nn.init.zeros_(module.bias)"
WEIGHT = "nn.init.xavier_uniform_(module.weight)\n"
ZEROS = "module.bias = nn.Parameter(torch.zeros(module.bias.shape))"
TEST = "isinstance(module, nn.Linear)"


def written(body: str = WEIGHT + BIAS, test: str = TEST) -> str:
    """The source of an answer: what it does where."""
    return f"def init_xavier(module):\n    if {test}:\n{indent(body, ' ' * 8)}\n"


EVERYWHERE = {"weight", "bias", "no_bias", "subclass", "trained"}

MISTAKES = (
    Mistake(
        "exact_type",
        "`type(module) == nn.Linear`",
        written(test="type(module) == nn.Linear"),
        {"subclass"},
        "A subclass of `nn.Linear` is passed over without a word, because its type is another one. Ask "
        "`isinstance(module, nn.Linear)`.",
        "`type(...) ==` asks for exactly this class, `isinstance` also for what is derived from it.",
        "Ask `isinstance(module, nn.Linear)`.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "bias_taken_for_granted",
        "A bias taken for granted",
        written(WEIGHT + "nn.init.zeros_(module.bias)"),
        {"no_bias"},
        "A layer made with `bias=False` has None as `bias`, which nothing can set to zero. Ask before you do it.",
        "`nn.Linear` keeps the name `bias` in any case, so that code can ask for it; it is None where there is none.",
        "Ask `if module.bias is not None`.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "skips_without_bias",
        "Layers without a bias left out",
        written(test=f"{TEST} and module.bias is not None"),
        {"no_bias"},
        "A layer without a bias is passed over as a whole, its weight included. Only the line about the bias "
        "depends on there being one.",
        "The question about the bias stands one level too high.",
        "Initialise the weight in any case, and ask about the bias inside.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "truth_of_a_tensor",
        "`if module.bias:`",
        written(WEIGHT + BIAS.replace(" is not None", "")),
        {"weight", "bias", "subclass", "trained"},
        "`if module.bias:` asks for the truth of a whole tensor, which has none if it has several entries. Ask "
        "whether it is there: `is not None`.",
        "A tensor of one entry is true unless it is zero, and one of several entries is an error.",
        "Ask `if module.bias is not None`.",
        "custom_layers.html#custom-layers-optional-parameter",
    ),
    Mistake(
        "takes_parameters",
        "Written for parameters, not for modules",
        """\
def init_xavier(p):
    if p.dim() > 1:
        nn.init.xavier_uniform_(p)
    else:
        nn.init.zeros_(p)
""",
        EVERYWHERE | {"others"},
        "`net.apply` hands over modules, one after the other, and a module has no `dim()`. Ask what kind of module "
        "it is, and reach its parameters as `module.weight` and `module.bias`.",
        "`apply` walks down the tree of modules. Parameters are not its members; modules are.",
        "`def init_xavier(module):`, and `isinstance` inside.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "normal",
        "Xavier-normal",
        written("nn.init.xavier_normal_(module.weight)\n" + BIAS),
        {"weight", "no_bias", "subclass"},
        "The weights have the right spread, but from a normal distribution: some lie far outside Xavier's bound. "
        "The uniform one is asked for.",
        "Both have the variance $2 / (n_\\text{in} + n_\\text{out})$; only the uniform one has a bound.",
        "Draw with `nn.init.xavier_uniform_`.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "kaiming",
        "Kaiming in place of Xavier",
        written("nn.init.kaiming_uniform_(module.weight)\n" + BIAS),
        {"weight", "no_bias", "subclass"},
        "The weights reach up to √(6 / in), which is Kaiming's bound. Xavier's takes both sides into account: √(6 / "
        "(in + out)).",
        "Kaiming makes up for what a ReLU removes; Xavier assumes an activation that is near the identity at zero.",
        "Draw with `nn.init.xavier_uniform_`.",
        f"{CHAPTER}spread",
    ),
    Mistake(
        "seeded",
        "A seed inside",
        written("torch.manual_seed(0)\n" + WEIGHT + BIAS),
        {"weight"},
        "All layers of a size get the very same numbers, because the seed is set again for each of them. Set a seed "
        "once, at the top of a program, and never where numbers are drawn.",
        "`torch.manual_seed` sets the one generator that everybody draws from, so what is drawn elsewhere repeats "
        "itself, too.",
        "Leave the line out.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "works_on_a_copy",
        "A copy is initialised",
        written("weight = module.weight.clone()\nnn.init.xavier_uniform_(weight)\n" + BIAS),
        {"weight", "no_bias", "subclass"},
        "The numbers are drawn into a copy, which is then thrown away, and the layer keeps those it had. Give the "
        "parameter itself to the function in `nn.init`.",
        "`.clone()` makes a new tensor. Those functions write into the tensor that they are given.",
        "Write `nn.init.xavier_uniform_(module.weight)`.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "bias_forgotten",
        "The bias forgotten",
        written(WEIGHT),
        {"bias"},
        "The bias still has the random numbers with which `nn.Linear` was made. Set it to zero, where there is one.",
        "`xavier_uniform_` looks after the one tensor that it is given.",
        "`nn.init.zeros_(module.bias)`, if the layer has a bias.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "all_that_has_a_weight",
        "Everything that has a `weight`",
        written(
            WEIGHT + 'if getattr(module, "bias", None) is not None:\n    nn.init.zeros_(module.bias)',
            'hasattr(module, "weight")',
        ),
        {"others"},
        "Many modules have a `weight`: convolutions, embeddings, norms. Only linear layers are to be touched: "
        "Ask `isinstance(module, nn.Linear)`.",
        "In a norm the weight is a vector of ones, for which Xavier is not even defined.",
        "Ask `isinstance(module, nn.Linear)`.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "all_matrices",
        "All parameters, by their number of dimensions",
        """\
def init_xavier(module):
    for p in module.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
        else:
            nn.init.zeros_(p)
""",
        {"others"},
        "This initialises the parameters of every module, and a norm whose weights are zero lets nothing through. "
        "Leave alone what is not an `nn.Linear`.",
        "A vector is not always a bias: the weight of a norm or of a PReLU is one, too.",
        "Ask for the kind of module, not for the shape of its parameters.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "whole_tree",
        "A walk through `module.modules()`",
        "def init_xavier(net):\n    for module in net.modules():\n" + indent(written().partition("\n")[2], "    "),
        {"others"},
        "A container is no `nn.Linear`, and still this reaches the layers inside it. `apply` makes the walk; the "
        "function looks at the one module that it is given.",
        "With `net.apply` each layer is initialised once for itself and once more for every container around it.",
        "No loop: `if isinstance(module, nn.Linear): ...`.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "float32_zeros",
        "Zeros of another dtype",
        written(WEIGHT + BIAS.replace("nn.init.zeros_(module.bias)", ZEROS)),
        {"bias"},
        "In a float64 layer the bias is suddenly float32: `torch.zeros(shape)` knows nothing of the layer's dtype, "
        "and the next call fails. Write zeros into the bias that is there.",
        "`torch.zeros` makes float32 unless it is told otherwise; and a new parameter is unknown to an optimizer.",
        "`nn.init.zeros_(module.bias)` keeps tensor, dtype and device.",
        f"{CHAPTER}initialisation",
    ),
    Mistake(
        "without_no_grad",
        "In place, with autograd watching",
        written(
            "a = math.sqrt(6 / (module.in_features + module.out_features))\nmodule.weight.uniform_(-a, a)\n" + BIAS
        ),
        EVERYWHERE,
        "PyTorch refuses to change a parameter in place while autograd records. The functions of `nn.init` switch "
        "it off for you; by hand it takes `with torch.no_grad():`.",
        "A parameter is a leaf that requires a gradient. Changed on record, it would be a leaf no longer.",
        "`nn.init.xavier_uniform_(module.weight)`, or your line under `torch.no_grad()`.",
        "basics.html#basics-parameter-change",
    ),
    Mistake(
        "assigns_a_tensor",
        "A tensor assigned in place of the parameter",
        written("module.weight = nn.init.xavier_uniform_(torch.empty_like(module.weight))\n" + BIAS),
        EVERYWHERE,
        "The module refuses a plain tensor under the name of a parameter. Write into the parameter that is there.",
        "`module.weight` is registered as a parameter; only another parameter, or None, may take its place.",
        "Write `nn.init.xavier_uniform_(module.weight)`.",
        "basics.html#basics-parameter-change",
    ),
    Mistake(
        "left_frozen",
        "Frozen and not thawed",
        written("module.requires_grad_(False)\n" + WEIGHT + BIAS),
        {"trained"},
        "The numbers are right, but the parameters no longer require a gradient, so they are never trained. The "
        "functions of `nn.init` need no such preparation.",
        "`requires_grad_(False)` stays in force until somebody takes it back.",
        "Leave the line out.",
        f"{CHAPTER}frozen",
    ),
)

# --- other right answers ------------------------------------------------------------------------------------------

BOUND = "a = math.sqrt(6 / (module.in_features + module.out_features))\n"

ALTERNATIVES = {
    "by_hand": written(
        BOUND + "with torch.no_grad():\n    module.weight.uniform_(-a, a)\n"
        "    if module.bias is not None:\n        module.bias.zero_()"
    ),
    "data": written(
        "w = module.weight.data\nw.copy_((2 * torch.rand_like(w) - 1) * (6 / sum(w.shape)) ** 0.5)\n"
        "for p in module.parameters():\n    if p.dim() == 1:\n        p.data.fill_(0)"
    ),
    "match": """\
def init_xavier(module):
    match module:
        case nn.Linear(weight=weight, bias=None):
            nn.init.xavier_uniform_(weight)
        case nn.Linear(weight=weight, bias=bias):
            nn.init.xavier_uniform_(weight)
            nn.init.constant_(bias, 0)
""",
    "singledispatch": """\
from functools import singledispatch


@singledispatch
def init_xavier(module):
    pass


@init_xavier.register(nn.Linear)
def _(linear):
    nn.init.xavier_uniform_(linear.weight)
    if isinstance(linear.bias, nn.Parameter):
        nn.init.zeros_(linear.bias)
""",
    "early_return": """\
@torch.no_grad()
def init_xavier(module):
    if not issubclass(type(module), nn.Linear):
        return module
    bound = math.sqrt(6 / sum(module.weight.shape))
    nn.init.uniform_(module.weight, -bound, bound)
    if module.bias is not None:
        module.bias *= 0
    return module
""",
    "an_object": """\
class Initialiser:
    def __call__(self, module):
        if isinstance(module, nn.Linear):
            for name, p in module.named_parameters(recurse=False):
                nn.init.zeros_(p) if name == "bias" else nn.init.xavier_uniform_(p, gain=1.0)


init_xavier = Initialiser()
""",
}

DTYPE = "Do weight and bias still have the layer's dtype? `torch.zeros(shape)` is float32."

TASK = ExerciseSource(
    name="init_xavier",
    defines="init_xavier",
    reference=init_xavier,
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
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
