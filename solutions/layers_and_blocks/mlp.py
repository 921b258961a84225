"""`MLP`: linear layers of any widths, with ReLU between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from textwrap import indent

from torch import Tensor, nn
from torch.nn import functional as F

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "layers_and_blocks.html#layers-and-blocks-"


class MLP(nn.Module):
    """Linear layers with ReLU between, none after the last."""

    def __init__(self, in_features: int, hidden_features: Sequence[int], out_features: int) -> None:
        super().__init__()
        widths = (in_features, *hidden_features, out_features)
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(widths))

    def forward(self, X: Tensor) -> Tensor:
        """``(..., in_features) -> (..., out_features)``."""
        *hidden, last = self.layers
        for layer in hidden:
            X = F.relu(layer(X))
        return last(X)


# --- what it is tried on ------------------------------------------------------------------------------------------


# Numbers that depend on the size of a parameter, so that a layer gets its own in whatever order they are registered;
# or, where layers have equal widths, on its place as well.
FILL = "p.data.copy_(torch.arange({}, {} + p.numel()).double().square().cos().view_as(p))"
BY_SIZE, BY_PLACE = FILL.format("p.numel()", "p.numel()"), FILL.format("k", "k")
FILLED = "(lambda net: [net, [{} for k, p in enumerate(net.parameters())]][0])(answer({}, {}, {}))"


def case(
    label: str,
    widths: tuple[int, ...],
    leading: tuple[int, ...],
    seed: int,
    dtype: str = "float32",
    group: str = "main",
    fill: str = BY_SIZE,
) -> Case:
    """An MLP with given numbers in its parameters; `BY_SIZE` wants widths that differ."""
    inner, *hidden, outer = widths
    build = FILLED.format(fill, inner, hidden, outer)
    return Case(label, build, (normal(*leading, inner, seed=seed, dtype=dtype),), {}, dtype, seed, group)


def equal(label: str, widths: tuple[int, ...], leading: tuple[int, ...], seed: int) -> Case:
    """Hidden layers of equal width, which are told by their order alone."""
    return case(label, widths, leading, seed, group="equal", fill=BY_PLACE)


def callers(label: str, inner: int, hidden: list[int], outer: int) -> Case:
    """A function that gives the caller's list, after a model was made from it."""
    return Case(
        label, f"(lambda widths: [answer({inner}, widths, {outer}), lambda: widths][1])({hidden})", group="caller"
    )


def secret(draw: Random) -> list[Case]:
    """Other widths, depths and ranks; equal widths, where one layer in place of several would fit."""
    batch, inner, first, second, outer = draw.sample(range(2, 10), 5)
    seed = draw.randrange(10**6)
    return [
        case("other widths", (inner, first, second, outer), (batch,), seed),
        case("one output", (second, inner, 1), (batch,), seed + 10),
        equal("four hidden layers of equal width", (inner, *[first] * 4, outer), (batch,), seed + 20),
        case("one vector, float64", (inner, second, outer), (), seed + 40, "float64", "ranks"),
        case("three leading dimensions, one output", (second, inner, 1), (batch, 1, 2), seed + 60, group="ranks"),
        case("no hidden layer, float64", (first, outer), (batch,), seed + 80, "float64", "no_hidden"),
        callers("the list of widths, afterwards", inner, [second, first], outer),
    ]


# --- known mistakes -----------------------------------------------------------------------------------------------

LAYERS = """\
widths = [in_features, *hidden_features, out_features]
self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in zip(widths, widths[1:]))"""
RUN = """\
for layer in self.layers[:-1]:
    X = F.relu(layer(X))
return self.layers[-1](X)"""


def written(init: str = LAYERS, forward: str = RUN, parent: str = "nn.Module") -> str:
    """The source of an answer, from the bodies of its two methods."""
    return f"""\
class MLP({parent}):
    def __init__(self, in_features, hidden_features, out_features):
        super().__init__()
{indent(init, " " * 8)}

    def forward(self, X):
{indent(forward, " " * 8)}
"""


MISTAKES = (
    Mistake(
        "python_list",
        "The layers in a Python list",
        written(LAYERS.replace("nn.ModuleList(", "list(")),
        {"parameters", "values", "no_hidden", "gradients", "hooks"},
        "The layers are in a Python list, which the module does not look into, so no parameter is registered. Keep "
        "them in an `nn.ModuleList` or an `nn.Sequential`.",
        "What is not registered is not trained, saved or moved. The forward pass, however, works, so nothing tells "
        "you unless you count the parameters.",
        "`self.layers = nn.ModuleList(...)`: it can be indexed, sliced and looped over like a list.",
        f"{CHAPTER}python-list",
    ),
    Mistake(
        "relu_after_last",
        "ReLU after the last layer, too",
        written(forward="for layer in self.layers:\n    X = F.relu(layer(X))\nreturn X"),
        {"values", "no_hidden", "gradients"},
        "The result is never negative, because the last layer is followed by a ReLU as well. The ReLUs stand "
        "between layers: one fewer than there are layers.",
        "A loop over all layers treats the last like the others. A model that should say −3 then says 0, and learns "
        "nothing from its mistake, because the gradient of the ReLU is zero there.",
        "Run the loop over `self.layers[:-1]`, and call the last layer by itself.",
        f"{CHAPTER}mlp",
    ),
    Mistake(
        "no_relu",
        "No ReLU at all",
        written(forward="for layer in self.layers:\n    X = layer(X)\nreturn X"),
        {"values", "gradients"},
        "There is no activation between the layers, so the whole model is one affine map, however deep it is. Put a "
        "ReLU after every layer but the last.",
        "Linear layers in a row collapse: $(XA)B = X(AB)$.",
        "`X = F.relu(layer(X))` for the hidden layers.",
        "basics.html#basics-collapse",
    ),
    Mistake(
        "relu_before",
        "ReLU before each layer",
        written(forward="for layer in self.layers:\n    X = layer(F.relu(X))\nreturn X"),
        {"values", "no_hidden", "gradients"},
        "A ReLU stands before the first layer, so the negative half of the input is lost. ReLUs stand between "
        "layers: after the first, and not before it.",
        "With as many ReLUs as layers, one of them is at an end of the chain: here it is the input that is cut.",
        "Apply the ReLU to what a hidden layer returns.",
        f"{CHAPTER}mlp",
    ),
    Mistake(
        "softmax_last",
        "A softmax at the end",
        written(forward=RUN.replace("return self.layers[-1](X)", "return self.layers[-1](X).softmax(dim=-1)")),
        {"values", "no_hidden", "gradients"},
        "The outputs of each sample add up to 1: there is a softmax at the end, which this model does not have. "
        "Return what the last layer returns.",
        "`nn.CrossEntropyLoss` contains the softmax. Applied twice it makes training slow, and nothing tells you.",
        "`return self.layers[-1](X)`, without an activation.",
        "basics.html#basics-stable",
    ),
    Mistake(
        "reused_hidden_layer",
        "One hidden layer, used again and again",
        written(
            "self.first = nn.Linear(in_features, hidden_features[0])\n"
            "self.hidden = nn.Linear(hidden_features[0], hidden_features[0])\n"
            "self.last = nn.Linear(hidden_features[-1], out_features)\n"
            "self.depth = len(hidden_features) - 1",
            "X = F.relu(self.first(X))\n"
            "for _ in range(self.depth):\n    X = F.relu(self.hidden(X))\nreturn self.last(X)",
        ),
        {"parameters", "values", "no_hidden", "gradients", "hooks", "traces"},
        "One layer stands for all hidden layers, so they share their weights and all have the width of the first. "
        "Make one `nn.Linear` for each two neighbouring widths.",
        "A layer used in two places has one set of parameters, and they must fit in both.",
        "Write down all widths in one list, and make a layer for each pair of neighbours.",
        f"{CHAPTER}tied",
    ),
    Mistake(
        "one_attribute",
        "`self.layer = ...` in a loop",
        written(
            LAYERS.splitlines()[0] + "\nfor n, m in zip(widths, widths[1:]):\n    self.layer = nn.Linear(n, m)",
            "return self.layer(X)",
        ),
        {"parameters", "values", "gradients", "hooks", "traces"},
        "Each round of the loop assigns to the same attribute, so only the last layer is left. Collect the layers "
        "in an `nn.ModuleList`.",
        "An attribute holds one value. The module that was there before is taken out of the register.",
        "`self.layers = nn.ModuleList()`, and `self.layers.append(...)` in the loop.",
        f"{CHAPTER}containers",
    ),
    Mistake(
        "named_by_width",
        "Layers named by their width",
        written(
            "self.hidden = nn.ModuleDict()\nfor width in hidden_features:\n"
            "    self.hidden[str(width)] = nn.Linear(in_features, width)\n    in_features = width\n"
            "self.widths = list(hidden_features)\nself.last = nn.Linear(in_features, out_features)",
            "for width in self.widths:\n    X = F.relu(self.hidden[str(width)](X))\nreturn self.last(X)",
        ),
        {"parameters", "gradients", "hooks"},
        "Two layers of equal width get one name here, and the later one replaces the earlier one without a word. "
        "Name the layers by their place, or do without names.",
        "A name can be given once. As long as all widths differ, nobody notices.",
        "Keep the layers in an `nn.ModuleList`, which numbers them.",
        f"{CHAPTER}containers",
    ),
    Mistake(
        "last_registered_first",
        "The output layer registered first",
        written(
            "self.out = nn.Linear([in_features, *hidden_features][-1], out_features)\n"
            "widths = [in_features, *hidden_features]\n"
            "self.hidden = nn.ModuleList(nn.Linear(n, m) for n, m in zip(widths, widths[1:]))",
            "for layer in self.hidden:\n    X = F.relu(layer(X))\nreturn self.out(X)",
        ),
        {"parameters", "gradients"},
        "The output layer's parameters come first in `parameters()`, because that layer was assigned first. Assign "
        "the layers in the order in which they are used.",
        "A register keeps the order in which it was filled. What goes by position, such as an optimizer's saved "
        "state, depends on it.",
        "Make the output layer last.",
        f"{CHAPTER}parameters",
    ),
    Mistake(
        "needs_a_hidden_layer",
        "`hidden_features[0]` of an empty list",
        written(
            "self.layers = nn.ModuleList([nn.Linear(in_features, hidden_features[0])])\n"
            "for n, m in zip(hidden_features, hidden_features[1:]):\n    self.layers.append(nn.Linear(n, m))\n"
            "self.layers.append(nn.Linear(hidden_features[-1], out_features))"
        ),
        {"no_hidden"},
        "Without hidden layers the list is empty, and `hidden_features[0]` does not exist. Put all widths into one "
        "list, input and output included; its neighbours are right in every case.",
        "First and last layer are written as special cases here, and both assume that there is a width between them.",
        "`[in_features, *hidden_features, out_features]` always has at least two members.",
        f"{CHAPTER}mlp",
    ),
    Mistake(
        "changes_the_list",
        "The caller's list is changed",
        written(
            "hidden_features.insert(0, in_features)\nhidden_features.append(out_features)\n"
            + LAYERS.splitlines()[1].replace("widths", "hidden_features")
        ),
        {"caller"},
        "`append` and `insert` change the list that the caller handed over, so a second model made from it is "
        "another one. Make a new list: `[in_features, *hidden_features, out_features]`.",
        "A function gets the caller's own list, not a copy of it.",
        "Build a list of your own, and leave the argument as it is.",
        "custom_layers.html#custom-layers-callers-input",
    ),
    Mistake(
        "flattens",
        "`flatten` before the first layer",
        written(forward="X = X.flatten(1)\n" + RUN),
        {"values"},
        "`flatten(1)` makes one vector of everything behind the first dimension, which is right for pictures. Here "
        "the features are in the last dimension, and every leading one is kept: `nn.Linear` does that by itself.",
        "`nn.Linear` works on the last dimension and does not mind how many come before it, none included.",
        "Leave the `flatten` out.",
        "basics.html#basics-linear-shapes",
    ),
    Mistake(
        "direct_forward",
        "`layer.forward(X)` instead of `layer(X)`",
        written(forward=RUN.replace("(layer(X)", "(layer.forward(X)")),
        {"hooks"},
        "The numbers are right, but `layer.forward(X)` goes round `__call__`, so that no hook of the layer runs. "
        "Call the layer itself: `layer(X)`.",
        "Hooks are run by `__call__`, before and after it calls `forward`.",
        "Write `X = F.relu(layer(X))`.",
        f"{CHAPTER}call",
    ),
    Mistake(
        "detached",
        "`.detach()` between the layers",
        written(forward=RUN.replace("(layer(X)", "(layer(X).detach()")),
        {"gradients"},
        "The values are right, but `.detach()` cuts the history off behind each hidden layer, so that only the last "
        "layer is ever trained. Hand `X` on as it is.",
        "Autograd follows the operators back to the parameters. A detached tensor has no history to follow.",
        "Leave out `.detach()` (and `.data`, and `torch.no_grad()`).",
        "custom_layers.html#custom-layers-cuts",
    ),
    Mistake(
        "keeps_activations",
        "Activations kept as an attribute",
        written(forward="self.activations = []\n" + RUN.replace("(X))\n", "(X))\n    self.activations.append(X)\n")),
        {"traces"},
        "`forward` keeps the hidden activations on `self`, with their graphs, so that the model can no longer be "
        "copied with `copy.deepcopy`. Use local variables; to look inside, attach a hook from outside.",
        "A tensor in the middle of a graph cannot be deep-copied, and as long as it is kept, so is all that it was "
        "computed from.",
        "Leave nothing of one call on `self`.",
        "custom_layers.html#custom-layers-hooks",
    ),
)

# --- other right answers ------------------------------------------------------------------------------------------

ALTERNATIVES = {
    "inner_sequential": written(
        "layers = []\n"
        "for width in hidden_features:\n"
        "    layers += [nn.Linear(in_features, width), nn.ReLU()]\n"
        "    in_features = width\n"
        "self.net = nn.Sequential(*layers, nn.Linear(in_features, out_features))",
        "return self.net(X)",
    ),
    "numbered": written(
        "self.widths = [in_features] + hidden_features + [out_features]\n"
        "for i in range(len(self.widths) - 1):\n"
        '    self.add_module(f"linear{i}", nn.Linear(self.widths[i], self.widths[i + 1]))',
        "for i, module in enumerate(self.children()):\n    X = module(X if i == 0 else X.clamp(min=0))\nreturn X",
    ),
    "recursive": written(
        "width, *rest = [*hidden_features, out_features]\n"
        "self.linear = nn.Linear(in_features, width)\n"
        "self.rest = MLP(width, rest[:-1], rest[-1]) if rest else None",
        "X = self.linear(X)\nreturn X if self.rest is None else self.rest(torch.relu(X))",
    ),
    "lazy_with_a_dry_run": written(
        "self.layers = nn.ModuleList(nn.LazyLinear(m) for m in [*hidden_features, out_features])\n"
        "with torch.no_grad():\n    self(torch.zeros(in_features))",
        "for k, layer in enumerate(self.layers, 1 - len(self.layers)):\n"
        "    X = layer(X).relu() if k else layer(X)\n"
        "return X",
    ),
    "one_relu_module": written(
        "widths = [in_features, *hidden_features, out_features]\n"
        "self.relu = nn.ReLU()\n"
        "self.linears = nn.ModuleDict({str(i): nn.Linear(*widths[i : i + 2]) for i in range(len(widths) - 1)})",
        "for name, linear in self.linears.items():\n"
        '    X = linear(X) if name == "0" else linear(self.relu(X))\n'
        "return X",
    ),
    "its_own_sequential": written(
        LAYERS.splitlines()[0] + "\nfor n, m in zip(widths, widths[1:]):\n"
        "    self.append(nn.Linear(n, m))\n    self.append(nn.ReLU())\ndel self[-1]",
        "return super().forward(X)",
        "nn.Sequential",
    ),
}

TASK = ExerciseSource(
    name="mlp",
    defines="MLP",
    reference=MLP,
    checks=(
        Check(
            "parameters",
            "Two parameters for each layer, in the order of use",
            1,
            "parameters",
            hints={
                "parameter.*: missing": "Layers are registered when they are assigned to an attribute, by themselves "
                "or in an `nn.ModuleList` or `nn.Sequential`.",
                "parameter.*: values": "There is one `nn.Linear` for each two neighbouring widths, registered in the "
                "order of use.",
            },
            on=("main", "equal"),
            options={"by": "order"},
        ),
        Check(
            "values",
            "Linear layers with ReLU between",
            2,
            "values",
            hints={
                "output: shape": "`(..., in_features) -> (..., out_features)`, with any leading dimensions.",
                "output: values": "Is there a ReLU after every layer but the last, and nothing else?",
            },
            on=("main", "ranks"),
        ),
        Check(
            "no_hidden",
            "Without hidden layers it is one linear layer",
            1,
            "values",
            hints={"output: values": "One layer has nothing to stand between, so there is no ReLU."},
            on=("no_hidden",),
        ),
        Check(
            "gradients",
            "Gradients reach the input and every parameter",
            1,
            "gradients",
            hints={
                "gradient.*: none": "Something in `forward` cuts it off: is there a `.data` or `.detach()`?",
                "gradient.*: shape": "Parameters are told by their place in `parameters()`: in the order of use.",
                "gradient.*: missing": "Which layers do `parameters()` list?",
            },
            on=("main", "equal"),
            options={"by": "order"},
        ),
        Check(
            "hooks",
            "Each `nn.Linear` is called once, so that its hooks run",
            1,
            "hooks",
            hints={"calls.*: *": "Call the layer itself, `layer(X)`, and each one once."},
            on=("main", "equal"),
            options={"of": "Linear"},
        ),
        Check("traces", "A call leaves its input as it was, and the model can be copied", 1, "side_effects"),
        Check(
            "caller",
            "The caller's list of widths is left as it was",
            1,
            "values",
            hints={"output: *": "This is the list that was handed over, after a model was made from it."},
            on=("caller",),
        ),
    ),
    public=(
        case("two hidden layers, a batch of 6", (3, 5, 4, 2), (6,), 100),
        equal("three hidden layers of equal width", (4, 4, 4, 4, 2), (3,), 150),
        case("one hidden layer, two leading dimensions, float64", (4, 6, 3), (2, 5), 200, "float64", "ranks"),
        case("no hidden layer", (4, 3), (5,), 300, group="no_hidden"),
        callers("the list [5, 4], afterwards", 3, [5, 4], 2),
    ),
    secret=secret,
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
