"""`fixed_point`: a block that is applied until nothing changes any more."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "control_flow.html"


class FixedPoint(nn.Module):
    """Applies `block` again and again, until no entry changes by `tol` or more."""

    def __init__(self, block: nn.Module, tol: float = 1e-4, max_steps: int = 100) -> None:
        super().__init__()
        self.block = block
        self.tol = tol
        self.max_steps = max_steps

    def forward(self, X: Tensor) -> tuple[Tensor, int]:
        """Any shape that `block` keeps, to the same shape; and the number of steps."""
        steps = 0
        while steps < self.max_steps:
            last, X = X, self.block(X)
            steps += 1
            if ((X - last).abs() < self.tol).all():
                break
        return X, steps


# --- cases --------------------------------------------------------------------------------------------------------

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


# --- the answers that are known -----------------------------------------------------------------------------------


def stop(condition: str) -> str:
    """The end of the loop."""
    return f"            if {condition}:\n                break\n"


STEP = """\
            last, X = X, self.block(X)
            steps += 1
"""
STOP = stop("((X - last).abs() < self.tol).all()")
WHILE = "        steps = 0\n        while steps < self.max_steps:\n"
BODY = f"{WHILE}{STEP}{STOP}        return X, steps\n"
RIGHT = f"""\
class FixedPoint(nn.Module):
    def __init__(self, block, tol=1e-4, max_steps=100):
        super().__init__()
        self.block = block
        self.tol, self.max_steps = tol, max_steps

    def forward(self, X):
{BODY}"""


def but(*changes: tuple[str, str]) -> str:
    """The right answer, with parts of it replaced."""
    source = RIGHT
    for old, new in changes:
        if old not in source:
            raise ValueError(f"nothing to replace: {old}")
        source = source.replace(old, new)
    return source


RANGE = """\
        for step in range(self.max_steps):
            last, X = X, self.block(X)
            if ((X - last).abs() < self.tol).all():
                return X, step
        return X, self.max_steps
"""


def turns(steps: str, before: str = "") -> str:
    """A loop over a range, left with `break`, and a number of steps made of its variable."""
    return f"""\
{before}        for step in range(self.max_steps):
            last, X = X, self.block(X)
{STOP}        return X, {steps}
"""


PREVIOUS = """\
            Y = self.block(X)
            steps += 1
            if ((Y - X).abs() < self.tol).all():
                break
            X = Y
"""
IN_PLACE = """\
            Y = self.block(X)
            steps += 1
            done = ((Y - X).abs() < self.tol).all()
            X.copy_(Y)
            if done:
                break
"""
ENDLESS = "        steps = 0\n        while True:\n"
UNRECORDED = """\
        with torch.no_grad():
            steps = 0
            while steps < self.max_steps:
                last, X = X, self.block(X)
                steps += 1
                if ((X - last).abs() < self.tol).all():
                    break
        return X, steps
"""

MISTAKES = (
    Mistake(
        id="last_not_counted",
        title="The last step is not counted",
        source=but((BODY, RANGE)),
        fails={"values", "edges"},
        message="The number of steps is one too small when the loop ends early. The step that changed nothing any "
        "more was made, too, and counts.",
        why="`range` begins at 0: in the first turn `step` is 0, and one step has been made.",
        remedy="Count what has been done: add 1 directly after the block was called, or begin the range at 1.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="range_variable",
        title="The variable of the `range` as the number of steps",
        source=but((BODY, turns("step"))),
        fails={"values", "edges"},
        message="The number of steps is always one too small, and with `max_steps=0` there is none: `step` is the "
        "number of the last turn, counted from 0. Count the steps that have been made.",
        why="In the last of n turns the variable is n - 1. A loop without a turn never assigns its variable.",
        remedy="`steps = 0` before the loop, and `steps += 1` after each call of the block.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="range_variable_from_0",
        title="The variable of the `range`, with a 0 before the loop",
        source=but((BODY, turns("step", "        step = 0\n"))),
        fails={"values", "edges"},
        message="The number of steps is one too small wherever a step was made: `step` is the number of the last "
        "turn, counted from 0. Count the steps that have been made.",
        why="The assignment before the loop is right for `max_steps=0`; then `range` begins at 0 once more.",
        remedy="Let the range begin at 1, `range(1, self.max_steps + 1)`, or count with `steps += 1`.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="no_turn_no_variable",
        title="`step + 1`, and no turn",
        source=but((BODY, turns("step + 1"))),
        fails={"edges"},
        message="With `max_steps=0` the loop makes no turn, so that its variable is never assigned and the `return` "
        "fails. Give the number of steps a value before the loop.",
        why="The variable of a `for` comes into being with its first turn.",
        remedy="`steps = 0` before the loop, and `steps += 1` after each call of the block.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
    Mistake(
        id="no_turn_counted",
        title="`step + 1`, with a 0 before the loop",
        source=but((BODY, turns("step + 1", "        step = 0\n"))),
        fails={"edges"},
        message="With `max_steps=0` no step is made, and one is reported: the 1 is added whether or not the loop "
        "made a turn. Add it where the step is made.",
        why="`step = 0` before the loop and `step = 0` in its first turn are the same number and mean different "
        "things.",
        remedy="`steps += 1` inside the loop, directly after the block was called.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
    Mistake(
        id="previous_returned",
        title="The last result is thrown away",
        source=but((STEP + STOP, PREVIOUS)),
        fails={"values", "edges", "gradients"},
        message="What comes back is the tensor *before* the last step: the loop ends before the new one has taken "
        "its place. The last step counts, and so does its result.",
        why="The two differ by less than `tol`, so with a small `tol` one hardly sees it.",
        remedy="Assign first, then compare with the old one.",
        see=f"{CHAPTER}#control-flow-gradients",
    ),
    Mistake(
        id="signed",
        title="The change without its absolute value",
        source=but((STOP, stop("(X - last).max() < self.tol"))),
        fails={"values", "edges", "gradients"},
        message="A decrease is taken for *no change*: negative differences are below every `tol`. Compare absolute "
        "values.",
        why="`max` of signed differences is the largest increase.",
        remedy="Take `.abs()` before you look for the largest.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="norm",
        title="The norm of the change",
        source=but((STOP, stop("(X - last).norm() < self.tol"))),
        fails={"values", "gradients"},
        message="Too many steps are made: the norm adds up the changes of all entries, and grows with their number. "
        "The condition is about each entry: none may change by `tol` or more.",
        why="With the norm the number of steps depends on the size of the batch, even if all samples are alike.",
        remedy="The *largest* absolute change decides.",
        see=f"{CHAPTER}#control-flow-batch",
    ),
    Mistake(
        id="allclose",
        title="`torch.allclose` with its own tolerance",
        source=but((STOP, stop("torch.allclose(X, last, atol=self.tol)"))),
        fails={"values", "edges", "gradients"},
        message="With large numbers too few steps are made: `torch.allclose` also has a relative tolerance, which "
        "stands at its default. `tol` is an absolute one.",
        why="`allclose` asks for |a - b| ≤ atol + rtol · |b|, with rtol = 10⁻⁵, and includes equality.",
        remedy="Compare the absolute change with `tol` yourself.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="at_most",
        title="`<=` instead of `<`",
        source=but(("< self.tol", "<= self.tol")),
        fails={"edges"},
        message="A change of exactly `tol` ends the loop. It should go on as long as an entry changes by `tol` *or "
        "more*.",
        why="The opposite of *tol or more* is *less than tol*.",
        remedy="Say the condition aloud, and then its negation.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="off_by_one",
        title="One step too many",
        source=but(("steps < self.max_steps", "steps <= self.max_steps")),
        fails={"values", "edges", "gradients"},
        message="`max_steps + 1` steps are made. With `max_steps=0` there should be none.",
        why="Counting from 0, `<` gives `n` turns and `<=` one more.",
        remedy="Try `max_steps` of 0 and 1 by hand.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
    Mistake(
        id="at_least_one",
        title="With `max_steps=0` a step is made",
        source=but((WHILE, ENDLESS), (STOP, stop("((X - last).abs() < self.tol).all() or steps >= self.max_steps"))),
        fails={"edges"},
        message="The bound is looked at after the step, so that with `max_steps=0` one is made. Look before you "
        "step.",
        why="`while True` with a `break` at the end runs at least once.",
        remedy="Put the bound into the condition of the loop, or use `for _ in range(...)`.",
        see=f"{CHAPTER}#control-flow-endless",
    ),
    Mistake(
        id="tensor_steps",
        title="A tensor as the number of steps",
        source=but(("steps = 0", "steps = torch.tensor(0)")),
        fails={"values", "edges"},
        message="`steps` is a tensor. The statement asks for a Python `int`, which one can print, compare and store "
        "without thinking of devices.",
        why="How often Python went round a loop is known to Python; a tensor is for numbers that are computed with.",
        remedy="Count with a plain `0` and `+= 1`.",
        see=f"{CHAPTER}#control-flow-while",
    ),
    Mistake(
        id="counter_kept",
        title="A counter that is never set back",
        source=but(
            ("tol, max_steps\n", "tol, max_steps\n        self.steps = 0\n"),
            ("        steps = 0\n", ""),
            ("steps <", "self.steps <"),
            ("steps +=", "self.steps +="),
            ("X, steps", "X, self.steps"),
        ),
        fails={"edges"},
        message="The first call is right and the second goes on counting where the first has ended: the counter is "
        "set to 0 when the module is made, and never again. Begin each call at 0.",
        why="Attributes of a module live as long as the module; `forward` is called many times.",
        remedy="Make the counter a local variable of `forward`.",
        see=f"{CHAPTER}#control-flow-fixed-hidden-mlp",
    ),
    Mistake(
        id="in_place",
        title="The caller's tensor is overwritten",
        source=but((STEP + STOP, IN_PLACE)),
        fails={"side_effects", "gradients"},
        message="`X.copy_(...)` writes each step into the tensor that the caller handed over. Let the *name* `X` "
        "point to the new tensor instead: `X = ...`.",
        why="It also destroys what the block has kept for its backward pass.",
        remedy="No function that ends in `_` on what you were given.",
        see=f"{CHAPTER}#control-flow-in-place",
    ),
    Mistake(
        id="no_grad",
        title="The search under `no_grad`",
        source=but((BODY, UNRECORDED)),
        fails={"gradients"},
        message="The values are right and no gradient comes back, neither to the input nor to the block: nothing "
        "under `no_grad` is recorded. Let the steps be recorded.",
        why="It saves memory, and is right only if one supplies the gradient at the fixed point in another way.",
        remedy="Leave `no_grad` out.",
        see=f"{CHAPTER}#control-flow-gradients",
    ),
    Mistake(
        id="detached",
        title="A `detach` in each step",
        source=but(("self.block(X)", "self.block(X.detach())")),
        fails={"gradients"},
        message="Only the last step has a gradient: `.detach()` cuts off the ones before it, and the input with "
        "them. Gradients should flow through all the steps.",
        why="The result depends on the block through every step, and the chain rule wants all of them.",
        remedy="Hand `X` on as it is.",
        see=f"{CHAPTER}#control-flow-gradients",
    ),
    Mistake(
        id="hidden_block",
        title="The block in a tuple",
        source=but(
            (
                "self.block = block\n        self.tol, self.max_steps = tol, max_steps",
                "self.parts = block, tol, max_steps",
            ),
            ("        steps = 0\n", "        steps, (block, tol, max_steps) = 0, self.parts\n"),
            ("self.block(", "block("),
            ("self.max_steps:", "max_steps:"),
            ("self.tol)", "tol)"),
        ),
        fails={"round_trip"},
        message="The block is not saved with the module: in a tuple it is invisible to `state_dict()`, "
        "`parameters()` and `.to()`. Assign it to an attribute.",
        why="`nn.Module` notices modules that are assigned to attributes, and does not look into tuples and lists.",
        remedy="`self.block = block`.",
        see="layers_and_blocks.html#layers-and-blocks-python-list",
    ),
    Mistake(
        id="calls_forward",
        title="`self.block.forward(X)`",
        source=but(("self.block(X)", "self.block.forward(X)")),
        fails={"hooks"},
        message="The block's hooks do not run: `forward` is called past them. Call the module itself.",
        why="`module(X)` runs the hooks and then `forward`.",
        remedy="`self.block(X)`.",
        see="layers_and_blocks.html#layers-and-blocks-call",
    ),
)

ALTERNATIVES = {
    "for_else": but(
        (
            BODY,
            """\
        steps = 0
        for steps in range(1, self.max_steps + 1):
            Y = self.block(X)
            change = torch.max(torch.abs(Y - X)).item()
            X = Y
            if change < self.tol:
                break
        return X, steps
""",
        )
    ),
    "condition": but(
        (
            BODY,
            """\
        steps, change = 0, math.inf
        while change >= self.tol and steps < self.max_steps:
            Y = self.block(X)
            change, X, steps = torch.dist(X.detach(), Y.detach(), p=math.inf), Y, steps + 1
        return (X, steps)
""",
        )
    ),
    "recursion": but(
        (
            BODY,
            """\
        return self.more(X, 0)

    def more(self, X, steps):
        if steps == self.max_steps:
            return X, steps
        Y = self.block(X)
        going_on = torch.any(torch.ge((Y - X).abs(), self.tol))
        return self.more(Y, steps + 1) if going_on else (Y, steps + 1)
""",
        )
    ),
    "history": but(
        (
            BODY,
            """\
        history = [X]
        while len(history) <= self.max_steps:
            history.append(self.block(history[-1]))
            with torch.no_grad():
                if torch.linalg.vector_norm(history[-1] - history[-2], ord=math.inf) < self.tol:
                    break
        return history[-1], len(history) - 1
""",
        )
    ),
    "generator": """\
class FixedPoint(nn.Sequential):
    def __init__(self, block, tol=0.0001, max_steps=100):
        super().__init__()
        self.append(block)
        self.limits = {"tol": tol, "max_steps": max_steps}

    def points(self, X):
        while True:
            yield X
            X = super().forward(X)

    def forward(self, X):
        for steps, Y in enumerate(self.points(X)):
            settled = steps > 0 and (Y - X).abs().amax() < self.limits["tol"]
            X = Y
            if settled or steps == self.limits["max_steps"]:
                return X, steps
""",
}

TASK = ExerciseSource(
    name="fixed_point",
    defines="FixedPoint",
    reference=FixedPoint,
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
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
