"""`fixed_point`: a block that is applied until nothing changes any more."""

from __future__ import annotations

from random import Random

import torch

from grader.authoring.exercise import Case, Check, ExerciseSource, normal

LINEAR = "answer(block := nn.Linear({0}, {0}){1})"
TANH = "answer(block := nn.Sequential(nn.Linear({0}, {0}), nn.Tanh()){1})"
TWICE = "(lambda net: lambda X: [net(X.clone()), net(X.clone())])(" + LINEAR + ")"
HOOKED = """(lambda net: lambda X: {{"answer to whether the hooks of the block run": (net(X), bool(ran))[1]}})(
    answer([ran := [], block := nn.Linear({0}, {0}), block.register_forward_hook(lambda *_: ran.append(1))][1]{1}))"""
# Where the loop makes no turn, a variable of the loop is unknown, whatever it is called.
UNTURNED = """\
def trial(X):
    try:
        return net(X)
    except UnboundLocalError:
        raise UnboundLocalError("a variable is read that only the loop assigns, and it makes no turn") from None
"""
NO_TURN = f"net = {LINEAR}\n\n{UNTURNED}\ntrial"


def contraction(
    label: str,
    shape: tuple[int, ...],
    seed: int,
    dtype: str = "float32",
    *,
    build: str = LINEAR,
    tol: float = 1e-4,
    most: int = 100,
    scale: float = 1,
    group: str = "main",
) -> Case:
    """A block that shrinks every distance; no change of any step is close to `tol`, where rounding would decide."""
    size, prefix = shape[-1], "block.0" if build == TANH else "block"
    while True:
        weight = normal(size, size, seed=seed, dtype="float64")
        weight = 0.7 * weight / weight.norm()
        bias, X = (scale * normal(*s, seed=seed + i + 1, dtype="float64") for i, s in enumerate(((size,), shape)))
        changes, point = [], X
        while len(changes) < most and (not changes or changes[-1] >= tol):
            last, point = point, point @ weight.T + bias
            point = point.tanh() if build == TANH else point
            changes.append((point - last).abs().max().item())
        if all(abs(change / tol - 1) > 0.1 for change in changes):
            break
        seed += 1000
    options = (f", tol={tol}" if tol != 1e-4 else "") + (f", max_steps={most}" if most != 100 else "")
    cast = getattr(torch, dtype)
    state = {f"{prefix}.weight": weight.to(cast), f"{prefix}.bias": bias.to(cast)}
    return Case(label, build.format(size, options), (X.to(cast),), state, dtype, seed, group)


def exact(
    label: str, factor: float, bias: list[float], rows: list[list[float]], options: str = "", build: str = LINEAR
) -> Case:
    """A block that multiplies and adds numbers which are exact in binary."""
    size = len(bias)
    state = {"block.weight": factor * torch.eye(size), "block.bias": torch.tensor(bias)}
    return Case(label, build.format(size, options), (torch.tensor(rows),), state, group="edge")


def secret(draw: Random) -> list[Case]:
    """Other shapes, blocks and tolerances, and the edges with other numbers."""
    batch, size, extra = draw.sample(range(2, 7), 3)
    seed = draw.randrange(10**6)
    start, most = 2.0 ** draw.randint(-1, 3), draw.randint(2, 5)
    bias = [float(draw.randint(-4, 4)) for _ in range(size)]
    return [
        contraction("another batch", (batch, size), seed),
        contraction("one vector, a coarse tolerance", (size,), seed + 10, tol=draw.choice([0.02, 0.05])),
        contraction("a block with tanh, float64", (extra, 1, size), seed + 20, "float64", build=TANH, tol=1e-6),
        contraction("large numbers, float64", (batch, size), seed + 30, "float64", scale=1e4),
        contraction(f"{most} steps at most", (batch, size), seed + 40, tol=1e-9, most=most, group="few"),
        exact("called twice", 0.5, [1.0], [[2 + start]], f", tol={start / 12}", TWICE),
        contraction("hooks", (batch, size), seed + 60, build=HOOKED, group="hooked"),
        exact("it starts at the fixed point", 0.0, bias, [bias] * batch),
        exact("a change of exactly tol", 0.5, [0.0], [[-start]], f", tol={start / 4}"),
        exact("no steps", 0.5, bias, [bias], ", max_steps=0", NO_TURN),
        exact("it grows", 2.0, [0.0, 0.0], [[1.0, -start]], f", max_steps={most}"),
    ]


EXERCISE = ExerciseSource(
    defines="FixedPoint",
    checks=(
        Check(
            id="values",
            title="The right result after the right number of steps",
            points=2,
            probe="values",
            hints={
                "output: type": "It returns two things: `return X, steps`.",
                "output.0: *": "Which tensor is returned, and when does the loop end?",
                "output.1: type": "The number of steps is an `int`.",
                "output.1: values": "The last step counts. *No entry* changes by `tol` or more.",
            },
            on=("main", "few"),
        ),
        Check(
            id="edges",
            title="Also at the edges",
            points=2,
            probe="values",
            hints={"output*: *": "Go through this case by hand: what is compared with what, and when?"},
            on=("edge",),
        ),
        Check("side_effects", "A call leaves no traces", 1, "side_effects"),
        Check(
            id="gradients",
            title="Gradients flow through all the steps",
            points=1,
            probe="gradients",
            hints={"gradient.*: none": "Something cuts it off: a `.detach()`, `.data` or `no_grad`?"},
            on=("main", "few"),
        ),
        Check(
            id="round_trip",
            title="The block is a part of it and is saved",
            points=1,
            probe="round_trip",
            hints={"change.saved: *": "Is the block assigned to an attribute of the module?"},
        ),
        Check(
            id="hooks",
            title="The block is called",
            points=1,
            probe="values",
            hints={"output.answer*: *": "Call the module, not its `forward`; then its hooks run."},
            on=("hooked",),
        ),
    ),
    public=(
        contraction("a batch of 5", (5, 3), 10),
        contraction("one vector, tol=0.01, float64", (4,), 20, "float64", tol=0.01),
        contraction("large numbers, float64", (2, 3, 2), 30, "float64", scale=1000),
        contraction("three steps at most", (4, 3), 40, most=3, group="few"),
        exact("it starts at the fixed point", 0.0, [1.0, -2.0], [[1.0, -2.0], [1.0, -2.0]]),
        exact("a change of exactly tol", 0.5, [0.0], [[1.0]], ", tol=0.5"),
        exact("max_steps=0", 0.5, [0.0, 1.0], [[4.0, 2.0]], ", max_steps=0", NO_TURN),
        exact("called twice", 0.5, [1.0], [[10.0]], ", tol=0.4", TWICE),
        contraction("hooks", (4, 3), 60, build=HOOKED, group="hooked"),
    ),
    secret=secret,
)
