"""`BatchedEnsemble`: many networks of one architecture in one call."""

from __future__ import annotations

import itertools
from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


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


EXERCISE = ExerciseSource(
    defines="BatchedEnsemble",
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
)
