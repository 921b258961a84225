"""`BatchedEnsemble`: many networks of one architecture in one call."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

VMAP = "performance.html#performance-vmap"
VECTORISE = "performance.html#performance-vectorise"


class BatchedEnsemble(nn.Module):
    """K networks of one architecture, run together."""

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        stacked, _ = torch.func.stack_module_state(list(nets))
        self.names = list(stacked)
        self.weights = nn.ParameterList(stacked.values())
        # For its architecture alone: in a tuple it is no sub-module, so that its own weights are none of ours.
        self._net = (nets[0],)

    def forward(self, X: Tensor) -> Tensor:
        """``(B, in) -> (K, B, out)``."""

        def one(weights: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(self._net[0], weights, (X,))

        return torch.vmap(one)(dict(zip(self.names, self.weights, strict=True)))


# --- what it is tried on ------------------------------------------------------------------------------------------


def nets(K: int, net: str) -> str:
    """An expression that makes K networks, each with numbers of its own."""
    return f"[{net} for _ in range({K})]"


def mlp(*sizes: int, activation: str = "ReLU", bias: bool = True) -> str:
    """An expression that makes a network."""
    layers = [f"nn.Linear({a}, {b}, bias={bias})" for a, b in itertools.pairwise(sizes)]
    return f"nn.Sequential({f', nn.{activation}(), '.join(layers)})"


NESTED = (
    "nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 6, bias=False)), "
    "nn.GELU(), nn.Linear(6, 2))"
)


def underscored(width: int, hidden: int, out: int) -> str:
    """An expression that makes a network with an underscore in the name of a layer."""
    layers = {"fc_1": f"nn.Linear({width}, {hidden})", "act": "nn.SiLU()", "fc_out": f"nn.Linear({hidden}, {out})"}
    added = ", ".join(f'net.add_module("{name}", {layer})' for name, layer in layers.items())
    return f"(lambda net: ({added}, net)[-1])(nn.Sequential())"


def ensemble(label: str, K: int, net: str, batch: int, width: int, seed: int, group: str = "main") -> Case:
    """An ensemble of K new networks, on a batch."""
    return Case(label, f"answer({nets(K, net)})", (normal(batch, width, seed=seed),), seed=seed, group=group)


def program(source: str, K: int, net: str) -> str:
    """The build of a trial that one expression cannot hold: the function `trial` that `source` defines."""
    return f"make = lambda: {nets(K, net)}\n\n{source}\ntrial"


TRAINED = """\
def trial(X):
    ensemble = answer(make())
    return {"number of trained numbers": sum(p.numel() for p in ensemble.parameters() if p.requires_grad)}
"""

OWN = """\
def trial(X):
    def change(one, other):
        return (one - other).detach().abs().max()

    def disturb(module):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 1

    nets = make()
    ensemble = answer(nets)
    before = ensemble(X)
    for net in nets:
        disturb(net)
    followed = change(ensemble(X), before)

    nets = make()
    before = torch.stack([net(X) for net in nets])
    disturb(answer(nets))
    return {
        "change of the ensemble when the networks change": followed,
        "change of the networks when the ensemble changes": change(torch.stack([net(X) for net in nets]), before),
    }
"""


def trials(K: int, net: str, batch: int, width: int, seed: int) -> tuple[Case, ...]:
    """What is observed besides the output."""
    X = (normal(batch, width, seed=seed),)
    return (
        Case("all its numbers", program(TRAINED, K, net), X, seed=seed, group="trained"),
        Case("its own copy", program(OWN, K, net), X, seed=seed, group="own"),
        Case("from 2 networks to 8", f"(answer({nets(2, net)}), answer({nets(8, net)}))", X, group="growing"),
        Case("in float64", f"answer({nets(K, net)})", X, seed=seed, group="double"),
    )


def secret(draw: Random) -> list[Case]:
    """Other architectures and numbers of networks; all sizes differ, but for a square network in which K = B."""
    K = draw.randint(2, 4)
    batch, width, hidden, out = draw.sample([size for size in range(2, 10) if size != K], 4)
    seed = draw.randrange(10**6)
    activation = draw.choice(["Sigmoid", "Tanh", "SiLU", "Softplus"])
    net = mlp(width, hidden, out, activation=activation)
    return [
        ensemble(f"{K} networks with {activation}", K, net, batch, width, seed),
        ensemble(
            "without biases, three layers", K, mlp(width, hidden, hidden, out, bias=False), batch, width, seed + 1
        ),
        ensemble("one network", 1, net, batch, width, seed + 2),
        ensemble("a batch of one", K, net, 1, width, seed + 3),
        ensemble("as many networks as samples", K, mlp(K, K, K), K, K, seed + 4),
        ensemble("a single layer", K, f"nn.Linear({width}, {out})", batch, width, seed + 5),
        ensemble("nested blocks", K, NESTED, batch, 4, seed + 6),
        ensemble("layers with names", K, underscored(width, hidden, out), batch, width, seed + 9),
        *trials(K, net, batch, width, seed + 7),
        *trials(1, net, batch, width, seed + 8),
    ]


# --- what wrong answers are made from -----------------------------------------------------------------------------

RIGHT = """\
class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        stacked, _ = torch.func.stack_module_state(nets)
        self.names = list(stacked)
        self.weights = nn.ParameterList(stacked.values())
        self.net = [nets[0]]

    def forward(self, X):
        def one(weights):
            return torch.func.functional_call(self.net[0], weights, (X,))

        return torch.vmap(one)(dict(zip(self.names, self.weights)))
"""

LOOP = """\
class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, X):
        return torch.stack([net(X) for net in self.nets])
"""


def but(*changes: str) -> str:
    """The right answer with something changed: a passage, what stands there instead, and so on."""
    source = RIGHT
    for passage, other in zip(changes[::2], changes[1::2], strict=True):
        if passage not in source:
            raise ValueError(f"the right answer has no {passage!r}")
        source = source.replace(passage, other)
    return source


TASK = ExerciseSource(
    name="batched_ensemble",
    defines="BatchedEnsemble",
    reference=BatchedEnsemble,
    checks=(
        Check(
            "values",
            "Each network's output, stacked",
            2,
            "values",
            hints={
                "output: shape": "`(B, in) -> (K, B, out)`: the networks come first.",
                "output: values": "`output[k]` is what the k-th network gives.",
                "raised: *mapped dimension*": "Which arguments does `vmap` map over, and which are the same for all?",
                "raised: *vmap*in_dims*": "Which arguments does `vmap` map over, and which are the same for all?",
            },
        ),
        Check(
            "operators",
            "The number of operators does not grow with the networks",
            2,
            "growth",
            hints={"growth.*: *": "Is there still a loop that calls one network after the other?"},
            on=("growing",),
        ),
        Check(
            "trained",
            "Its parameters are the networks' numbers, no more and no less",
            1,
            "values",
            hints={
                "output.number of trained numbers: *": "K times the numbers of one network, each an entry of an "
                "`nn.Parameter` that the ensemble has registered."
            },
            on=("trained",),
        ),
        Check(
            "training",
            "Training changes what it computes",
            1,
            "optimizer",
            hints={"trained.output: *": "Do the gradients reach the very parameters that an optimizer holds?"},
            options={"by": "none"},
        ),
        Check(
            "own",
            "It shares nothing with the networks it was made from",
            1,
            "values",
            hints={
                "output.change of the ensemble*: *": "Stacking copies; keeping the networks does not.",
                "output.change of the networks*: *": "Stacking copies; keeping the networks does not.",
            },
            on=("own",),
        ),
        Check(
            "round_trip",
            "Its state dict brings the numbers back",
            1,
            "round_trip",
            hints={
                "change.saved: *": "Only registered parameters and buffers are in the state dict.",
                "raised: *load_state_dict*": "A fresh instance must have the same keys.",
            },
            options={"by": "none"},
        ),
        Check(
            "double",
            "`.double()` reaches everything",
            1,
            "double",
            hints={"state_dict.dtypes: *": "A plain tensor, or a dict of them, is not cast."},
            on=("double",),
        ),
        Check("side_effects", "A call leaves no traces, and the ensemble can be copied", 1, "side_effects"),
    ),
    public=(
        ensemble("3 networks, a batch of 5", 3, mlp(4, 6, 2), 5, 4, 100),
        ensemble("nested blocks, LayerNorm, no bias", 4, NESTED, 3, 4, 200),
        ensemble("one network", 1, mlp(2, 3, 2, activation="Tanh"), 4, 2, 300),
        ensemble("layers called fc_1, act and fc_out", 2, underscored(3, 5, 4), 4, 3, 350),
        *trials(3, mlp(4, 6, 2, activation="Tanh"), 5, 4, 400),
        *trials(1, mlp(4, 6, 2, activation="Tanh"), 5, 4, 500)[:2],
    ),
    secret=secret,
    mistakes=(
        Mistake(
            "loop",
            "A loop over the networks",
            "import copy\n\n" + LOOP.replace("(nets)\n\n", "([copy.deepcopy(net) for net in nets])\n\n"),
            {"operators"},
            "Everything is right except the cost: each network dispatches its own operators. Stack the weights, so "
            "that `vmap` runs the architecture once for all.",
            "`torch.stack` joins the results only after K networks have run one by one.",
            "`torch.func.stack_module_state` for the weights, `torch.func.functional_call` for one network with "
            "given weights, `torch.vmap` over the stack.",
            VMAP,
        ),
        Mistake(
            "loop_shared",
            "A loop over the networks themselves",
            LOOP,
            {"operators", "own"},
            "Two things: a loop dispatches each network's operators anew, and `nn.ModuleList(nets)` holds the "
            "given networks, no copy of them. Stacking their weights mends both at once.",
            "A module list holds references. Whoever trains the ensemble trains the originals with it.",
            "`torch.func.stack_module_state(nets)` copies the weights into one tensor for each name.",
            VMAP,
        ),
        Mistake(
            "shared_stacked_late",
            "Stacking the originals at each call",
            """\
class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, X):
        net = self.nets[0]
        weights = {
            name: torch.stack([other.get_parameter(name) for other in self.nets])
            for name, _ in net.named_parameters()
        }
        return torch.vmap(lambda w: torch.func.functional_call(net, w, (X,)))(weights)
""",
            {"own"},
            "The ensemble follows the given networks: change one, and its output changes. It should hold a copy of "
            "its own; stack once, in `__init__`.",
            "`nn.ModuleList(nets)` registers the caller's networks. What is stacked at each call is whatever they "
            "are then.",
            "Stack in `__init__` into new parameters, or register deep copies.",
            VMAP,
        ),
        Mistake(
            "not_registered",
            "Stacked weights in a plain dict",
            but(
                """\
        self.names = list(stacked)
        self.weights = nn.ParameterList(stacked.values())
""",
                """\
        self.stacked = stacked
""",
                "dict(zip(self.names, self.weights))",
                "self.stacked",
            ),
            {"trained", "training", "round_trip", "double"},
            "The ensemble has no parameters: `stack_module_state` gives a plain dict, into which a module does not "
            "look. Nothing is trained, saved or cast until its tensors are registered, in an `nn.ParameterList` "
            "for instance.",
            "A module notices an `nn.Parameter`, a `Module`, and the containers made for them. A dict of tensors "
            "is just an attribute.",
            "`nn.ParameterList(params.values())` beside a list of the names. (An `nn.ParameterDict` takes no names "
            "with dots in them.)",
            VMAP,
        ),
        Mistake(
            "buffers",
            "Stacked weights as buffers",
            but(
                """\
        self.weights = nn.ParameterList(stacked.values())
""",
                """\
        for k, weight in enumerate(stacked.values()):
            self.register_buffer(f"weight{k}", weight.detach())
""",
                "self.weights))",
                "self.buffers()))",
            ),
            {"trained", "training"},
            "The weights are saved and cast, but as buffers they are not trained: `parameters()` is empty. An "
            "ensemble that can be trained needs `nn.Parameter`.",
            "Optimizers are given `module.parameters()`, and buffers are not among them.",
            "`self.register_parameter(name, nn.Parameter(weight.detach()))`, or an `nn.ParameterList`.",
            "custom_layers.html#custom-layers-buffers",
        ),
        Mistake(
            "skeleton_registered",
            "The skeleton among the parameters",
            but(
                "self.net = [nets[0]]",
                "self.net = copy.deepcopy(nets[0])",
                "self.net[0]",
                "self.net",
                "class",
                """\
import copy

class""",
            ),
            {"trained"},
            "There are more trained numbers than the networks have: the skeleton is a sub-module, so its own "
            "weights, which nothing uses, count as parameters. Keep it where the module does not look, such as in "
            "a tuple.",
            "Assigning a module to an attribute registers it. On the device `meta` it would occupy no memory, and "
            "would still stand in `parameters()` and in the state dict.",
            "`self.skeleton = (net,)`, called as `self.skeleton[0]`.",
            VMAP,
        ),
        Mistake(
            "original_registered",
            "The first network as a sub-module",
            but("self.net = [nets[0]]", "self.net = nets[0]", "self.net[0]", "self.net"),
            {"trained", "own"},
            "The first of the given networks has become a sub-module: its numbers count among the ensemble's "
            "parameters, and whoever changes those changes the network. Keep it where the module does not look, such "
            "as in a tuple.",
            "A module that is assigned to an attribute is registered, and it is the very network that was given, no "
            "copy of it.",
            "`self.skeleton = (nets[0],)`, called as `self.skeleton[0]`.",
            VMAP,
        ),
        Mistake(
            "lossy_names",
            "Dots made underscores, and all underscores dots",
            but(
                """\
        self.names = list(stacked)
        self.weights = nn.ParameterList(stacked.values())
""",
                """\
        self.weights = nn.ParameterDict({name.replace(".", "_"): w for name, w in stacked.items()})
""",
                "dict(zip(self.names, self.weights))",
                '{name.replace("_", "."): w for name, w in self.weights.items()}',
            ),
            {"values", "training", "round_trip", "side_effects"},
            "A network whose layer is called `fc_1` fails: made a dot again, its underscore gives a name that the "
            "network does not have. Keep the names beside the weights, as they were.",
            "`replace` forgets which underscores were dots. A name may contain underscores from the start; what it "
            "cannot contain is a dot.",
            "`self.names = list(stacked)` and an `nn.ParameterList` in the same order.",
            VMAP,
        ),
        Mistake(
            "stacked_at_each_call",
            "`stack_module_state` in `forward`",
            """\
import copy

class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.nets = nn.ModuleList([copy.deepcopy(net) for net in nets])

    def forward(self, X):
        weights, _ = torch.func.stack_module_state(self.nets)
        return torch.vmap(lambda w: torch.func.functional_call(self.nets[0], w, (X,)))(weights)
""",
            {"training"},
            "Training changes nothing: `stack_module_state` makes *new* leaf tensors at each call, and those get "
            "the gradients. The optimizer holds the networks' own parameters, whose gradients stay None.",
            "A leaf is where a graph begins, so gradients end there. The stack is detached from what it was "
            "stacked from.",
            "Stack once, in `__init__`, and register the result. (`torch.stack` in `forward` would keep the graph.)",
            VMAP,
        ),
        Mistake(
            "input_mapped",
            "The input mapped as well",
            but(
                "one(weights)",
                "one(weights, X)",
                "torch.vmap(one)(dict(zip(self.names, self.weights)))",
                "torch.vmap(one)(dict(zip(self.names, self.weights)), X)",
            ),
            {"values", "operators", "training", "own", "round_trip", "double", "side_effects"},
            "`vmap` maps over the first dimension of *every* argument unless told otherwise: network k gets sample "
            "k, and where their numbers differ it fails. `in_dims=(0, None)` hands the whole batch to each network.",
            "The default is `in_dims=0`, for all arguments. With as many networks as samples nothing fails, and "
            "the result has the wrong meaning.",
            "`torch.vmap(one, in_dims=(0, None))(weights, X)`, or let `one` take `X` from outside.",
            VMAP,
        ),
        Mistake(
            "networks_second",
            "The networks in the second dimension",
            but("vmap(one)", "vmap(one, out_dims=1)"),
            {"values", "training"},
            "The result has shape (B, K, out); (K, B, out) is asked for. `out_dims` says where `vmap` puts the "
            "dimension that it mapped over: 0, which is the default.",
            "`out_dims=1` puts the networks behind the batch.",
            "Leave `out_dims` out.",
            VMAP,
        ),
        Mistake(
            "averaged",
            "The mean of the networks",
            but(
                "torch.vmap(one)(dict(zip(self.names, self.weights)))",
                "torch.vmap(one)(dict(zip(self.names, self.weights))).mean(0)",
            ),
            {"values", "training"},
            "This returns the mean over the networks, of shape (B, out). The contract asks for each network's "
            "output: (K, B, out).",
            "An ensemble's *prediction* is often the mean. How far its members disagree is what one keeps them "
            "apart for.",
            "Leave the mean to the caller: `ensemble(X).mean(0)`.",
            VMAP,
        ),
        Mistake(
            "linear_layers_only",
            "Written for one architecture",
            """\
class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        linears = [[m for m in net.modules() if isinstance(m, nn.Linear)] for net in nets]
        depth = len(linears[0])
        self.W = nn.ParameterList(torch.stack([l[i].weight.detach() for l in linears]) for i in range(depth))
        self.b = nn.ParameterList(torch.stack([l[i].bias.detach() for l in linears]) for i in range(depth))

    def forward(self, X):
        for i, (W, b) in enumerate(zip(self.W, self.b)):
            X = torch.einsum("...bi,koi->kbo" if i == 0 else "kbi,koi->kbo", X, W) + b[:, None]
            X = X.relu() if i < len(self.W) - 1 else X
        return X
""",
            {"values", "training", "round_trip", "side_effects"},
            "This is written for `nn.Linear` with a bias and ReLU between, and fails for every other network. Let "
            "the network run itself: `functional_call` works for any architecture.",
            "A product for each layer is what `vmap` makes of it in the end. Written by hand it has to be written "
            "again for each architecture.",
            "`torch.func.functional_call(net, weights, (X,))` under `torch.vmap`.",
            VMAP,
        ),
        Mistake(
            "original_on_meta",
            "The first network sent to `meta`",
            but("[nets[0]]", '[nets[0].to("meta")]'),
            {"own"},
            "The ensemble works, but the first of the given networks has lost its numbers: `.to` changes a module "
            "in place, and tensors on `meta` have none. Make a copy for the skeleton first, or leave its numbers "
            "alone.",
            "`tensor.to(...)` returns a new tensor; `module.to(...)` moves the module that it is called on.",
            '`copy.deepcopy(nets[0]).to("meta")`. Or keep the network as it is: `functional_call` uses none of its '
            "numbers.",
            VMAP,
        ),
        Mistake(
            "plain_list",
            "The networks in a Python list",
            LOOP.replace("nn.ModuleList(nets)", "list(nets)"),
            {"operators", "trained", "training", "own", "round_trip", "double"},
            "Only the outputs are right: a list hides the networks from the ensemble, so that it has no "
            "parameters, and the loop runs them one by one. Stack their weights once, and register the stack.",
            "A module looks for parameters in its sub-modules and nowhere else. A list keeps the very networks "
            "that were given, too.",
            "`torch.func.stack_module_state(nets)`, into an `nn.ParameterList`.",
            "layers_and_blocks.html#layers-and-blocks-python-list",
        ),
        Mistake(
            "own_parameters_method",
            "Overriding `parameters`",
            but(
                """\
        self.names = list(stacked)
        self.weights = nn.ParameterList(stacked.values())
""",
                """\
        self.stacked = stacked
""",
                "    def forward",
                """\
    def parameters(self, recurse=True):
        return iter(self.stacked.values())

    def forward""",
                "dict(zip(self.names, self.weights))",
                "self.stacked",
            ),
            {"round_trip", "double"},
            "An optimizer finds the weights, because you have written `parameters` yourself; `state_dict` and "
            "`.double()` do not ask it. Register the tensors, and all of them work without being overridden.",
            "What a module knows stands in its `_parameters`, `_buffers` and `_modules`. Every method reads those.",
            "`nn.ParameterList(stacked.values())` beside a list of the names.",
            VMAP,
        ),
        Mistake(
            "float_input",
            "A cast in `forward`",
            but("(X,)", "(X.float(),)"),
            {"double"},
            "After `.double()` the weights are float64, and `X.float()` still makes the input float32. A layer "
            "computes in the dtype that it is given.",
            "`float()` names one dtype for ever. Whoever casts the model casts the input as well.",
            "Leave the cast out.",
            "custom_layers.html#custom-layers-linear",
        ),
        Mistake(
            "keeps_output",
            "The last output kept as an attribute",
            but(
                "return torch.vmap",
                "self.outputs = torch.vmap",
                """\
weights)))
""",
                """\
weights)))
        return self.outputs
""",
            ),
            {"side_effects"},
            "The attribute `outputs` keeps the result of the last call, and its graph with it, so the ensemble "
            "cannot be copied with `copy.deepcopy`. Use a local variable.",
            "Only leaves of a graph can be deep-copied. The attribute also keeps every activation alive until the "
            "next call.",
            "Return the result and keep nothing.",
            "custom_layers.html#custom-layers-hooks",
        ),
    ),
    alternatives={
        "a network with stacked weights": """\
import copy

class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.net = copy.deepcopy(nets[0])
        stacked, _ = torch.func.stack_module_state(nets)
        for name, weight in stacked.items():
            parent, _, leaf = name.rpartition(".")
            setattr(self.net.get_submodule(parent), leaf, nn.Parameter(weight.detach()))

    def forward(self, X):
        call = lambda weights, X: torch.func.functional_call(self.net, weights, (X,))
        return torch.vmap(call, in_dims=(0, None))(dict(self.net.named_parameters()), X)
""",
        "copies, stacked at each call": """\
import copy

class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.members = nn.ModuleList([copy.deepcopy(net) for net in nets])

    def forward(self, X):
        names = [name for name, _ in self.members[0].named_parameters()]
        weights = {name: torch.stack([net.get_parameter(name) for net in self.members]) for name in names}
        return torch.func.vmap(lambda w: torch.func.functional_call(self.members[0], w, X))(weights)
""",
        "one matrix for everything": """\
class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        rows = [nn.utils.parameters_to_vector(net.parameters()).detach() for net in nets]
        self.matrix = nn.Parameter(torch.stack(rows))
        self.shapes = {name: p.shape for name, p in nets[0].named_parameters()}
        self.hidden = [nets[0]]

    def one(self, row, X):
        pieces = row.split([shape.numel() for shape in self.shapes.values()])
        weights = {n: piece.view(shape) for (n, shape), piece in zip(self.shapes.items(), pieces)}
        return torch.func.functional_call(self.hidden[0], weights, (X,))

    def forward(self, X):
        return torch.vmap(self.one, in_dims=(0, None))(self.matrix, X)
""",
        "a parameter dict": """\
import copy

class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        params, _ = torch.func.stack_module_state(nets)
        self.params = nn.ParameterDict({name.replace(".", "/"): p for name, p in params.items()})
        self.__dict__["skeleton"] = copy.deepcopy(nets[0]).to("meta")

    def forward(self, X):
        params = {name.replace("/", "."): p for name, p in self.params.items()}
        return torch.vmap(torch.func.functional_call, in_dims=(None, 0, None))(self.skeleton, params, X)
""",
        "registered one by one": """\
class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        net = nets[0]
        self.names = [name for name, _ in net.named_parameters()]
        for i, name in enumerate(self.names):
            values = torch.cat([dict(n.named_parameters())[name].data[None] for n in nets])
            self.register_parameter(f"p{i}", nn.Parameter(values))
        self.run = lambda w, X: torch.func.functional_call(net, w, X)

    def forward(self, X):
        stacked = {name: getattr(self, f"p{i}") for i, name in enumerate(self.names)}
        return torch.vmap(self.run, (0, None))(stacked, X)
""",
        "a frozen skeleton": """\
import copy

class BatchedEnsemble(nn.Module):
    def __init__(self, nets):
        super().__init__()
        self.skeleton = copy.deepcopy(nets[0]).requires_grad_(False)
        stacked = torch.func.stack_module_state(nets)[0]
        self.keys, self.stacked = [*stacked], nn.ParameterList([*stacked.values()])

    def forward(self, X):
        def member(*weights):
            return torch.func.functional_call(self.skeleton, dict(zip(self.keys, weights)), (X,))

        return torch.vmap(member)(*self.stacked)
""",
    },
)
