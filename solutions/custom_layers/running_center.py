"""`RunningCenter`: subtract each feature's mean, and remember it."""

from __future__ import annotations

from random import Random
from textwrap import indent

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "custom_layers.html#custom-layers"


class RunningCenter(nn.Module):
    """Subtract the batch's mean in training, a running mean in evaluation; ``(..., num_features)`` to the same."""

    running_mean: Tensor

    def __init__(self, num_features: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(num_features))

    def forward(self, X: Tensor) -> Tensor:
        if not self.training:
            return X - self.running_mean
        mean = X.reshape(-1, X.shape[-1]).mean(0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
        return X - mean


def center(
    label: str, arguments: str, shape: tuple[int, ...], seed: int, dtype: str = "float32", group: str = "main"
) -> Case:
    """The layer with a given `running_mean`, on numbers whose means are far from it."""
    inputs = (3 + normal(*shape, seed=seed, dtype=dtype),)
    state = {"running_mean": normal(shape[-1], seed=seed + 1, dtype=dtype)}
    return Case(label, f"answer({arguments})", inputs, state, dtype, seed, group)


def fresh(label: str, arguments: str, shape: tuple[int, ...], seed: int) -> Case:
    """The layer as it is made."""
    return Case(label, f"answer({arguments})", (3 + normal(*shape, seed=seed),), seed=seed)


def twice(label: str, arguments: str, shape: tuple[int, ...], seed: int) -> Case:
    """A call in training and then one in evaluation, both on the same numbers; the second result counts."""
    build = f"[layer := answer({arguments}), lambda X: [layer(X), layer.eval()(X)][1]][1]"
    return Case(label, build, (normal(*shape, seed=seed),), seed=seed, group="twice")


def training(label: str, inside: str, shape: tuple[int, int], seed: int) -> Case:
    """The layer in a network that stays in training mode, so that what it does in evaluation plays no part."""
    stays = "type('Training', (nn.Sequential,), {'train': lambda self, mode=True: self})"
    return Case(label, f"{stays}({inside})", (3 + normal(*shape, seed=seed),), seed=seed, group="training")


def secret(draw: Random) -> list[Case]:
    """Other sizes and momenta, all leading dimensions different from the number of features."""
    n, batch, extra, more = draw.sample(range(2, 8), 4)
    momentum = draw.choice((0.02, 0.2, 0.25, 0.7, 0.9))
    seed = draw.randrange(10**6)
    return [
        center("a batch", f"{n}, momentum={momentum}", (batch, n), seed),
        center("a batch, float64", f"{n}", (extra, n), seed + 10, "float64"),
        fresh("a batch, fresh layer", f"{n}", (batch, n), seed + 20),
        center("one feature", f"1, {momentum}", (batch, 1), seed + 30),
        center("momentum 0: nothing is learned", f"{n}, 0.0", (batch, n), seed + 40),
        center("momentum 1: the last mean only", f"{n}, 1.0", (batch, n), seed + 50),
        center("three leading dimensions", f"{n}, {momentum}", (batch, extra, more, n), seed + 60, group="leading"),
        center("one sample", f"{n}, {momentum}", (n,), seed + 70, group="leading"),
        twice("training, then evaluation", f"{n}, {momentum}", (batch, n), seed + 80),
        training("in training", f"answer({n})", (batch, n), seed + 90),
        training("behind a layer that learns", f"nn.Linear({extra}, {n}), answer({n})", (batch, extra), seed + 100),
    ]


BUFFER = 'self.register_buffer("running_mean", torch.zeros(num_features))'
MEAN = "mean = X.reshape(-1, X.shape[-1]).mean(0)\n"
UPDATE = "self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean.detach()\n"
REVERSED = "self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean.detach()\n"
OUTPUT = "return X - mean\n"
OTHER = "return X - self.running_mean\n"


def answer(mean=MEAN, update=UPDATE, output=OUTPUT, other=OTHER, buffer=BUFFER, momentum="momentum", body="") -> str:
    """An answer that does `mean`, `update` and `output` in training, and `other` in evaluation."""
    body = body or f"if self.training:\n{indent(mean + update + output, ' ' * 4)}{other}"
    return (
        "class RunningCenter(nn.Module):\n    def __init__(self, num_features, momentum=0.1):\n"
        f"        super().__init__()\n        self.momentum = {momentum}\n        {buffer}\n\n"
        f"    def forward(self, X):\n{indent(body, ' ' * 8)}"
    )


MISTAKES = (
    Mistake(
        id="plain_attribute",
        title="`running_mean` as a plain attribute",
        source=answer(buffer="self.running_mean = torch.zeros(num_features)"),
        fails={"parameters", "round_trip", "double", "modes", "leading"},
        message="`running_mean` is a plain tensor: a network that is saved and loaded has forgotten it, and no cast "
        "or move reaches it. State that is not learned is a buffer.",
        why="To a module a plain tensor is just another attribute, like a string. Training and evaluation work; what "
        "goes wrong comes after loading, as bad predictions.",
        remedy="Register it with `register_buffer`; afterwards it is read and assigned as before.",
        see=f"{CHAPTER}-buffers",
    ),
    Mistake(
        id="frozen_parameter",
        title="A parameter with `requires_grad=False`",
        source=answer(
            update="self.running_mean.data.lerp_(mean.detach(), self.momentum)\n",
            buffer="self.running_mean = nn.Parameter(torch.zeros(num_features), requires_grad=False)",
        ),
        fails={"parameters", "modes", "leading"},
        message="`running_mean` is counted as a parameter, and optimizers list it; it is a statistic that no "
        "optimizer should touch. State that is not learned is a buffer.",
        why="`requires_grad=False` means frozen *for now*: the first `net.requires_grad_(True)` thaws it.",
        remedy="`register_buffer` saves, casts and moves it just as well.",
        see=f"{CHAPTER}-buffers",
    ),
    Mistake(
        id="not_persistent",
        title="`persistent=False`",
        source=answer(buffer=BUFFER.replace("))", "), persistent=False)")),
        fails={"round_trip", "double"},
        message="`running_mean` is cast and moved but not saved: with `persistent=False` it is left out of the state "
        "dict. A loaded network would begin again at zero.",
        why="`persistent=False` is meant for what the constructor's arguments bring back, such as a mask. A running "
        "mean comes back only by training again.",
        remedy="Leave the argument out.",
        see=f"{CHAPTER}-buffers",
    ),
    Mistake(
        id="always_float32",
        title="Statistics kept in float32",
        source=answer(
            update=UPDATE.replace("* self.running_mean", "* self.running_mean.float()").replace(
                "detach()", "detach().float()"
            )
        ),
        fails={"double", "modes"},
        message="After `.double()` the layer turns `running_mean` back into float32 at the first call. A dtype that "
        "is written into `forward` overrules the one that the user has chosen.",
        why="The buffer was cast as it should be, and then `forward` replaced it by a tensor of another dtype.",
        remedy="Name no dtype in `forward`: what is computed from the input has the input's.",
        see=f"{CHAPTER}-buffers",
    ),
    Mistake(
        id="one_dimension",
        title="`mean(0)`: one leading dimension only",
        source=answer(mean="mean = X.mean(0)\n"),
        fails={"leading"},
        message="With several leading dimensions this averages over the first one only, and for a single sample over "
        "the features. The mean of a feature runs over *all* leading dimensions, however many there are.",
        why="`mean(0)` is right for `(batch, num_features)`, the shape that one tests with.",
        remedy="Bring every input to two dimensions first, whatever stands in front of the last one.",
        see=f"{CHAPTER}-checking",
    ),
    Mistake(
        id="empty_dimensions",
        title="`mean(dim=())` for a single sample",
        source=answer(mean="mean = X.mean(dim=tuple(range(X.dim() - 1)))\n"),
        fails={"leading"},
        message="Batches are right, but for a single sample one number is subtracted from all features. There the "
        "tuple of leading dimensions is empty, and `mean(dim=())` averages over *everything*.",
        why="PyTorch reads an empty tuple of dimensions like no argument at all: reduce them all.",
        remedy="Make a batch of one from a single sample (`reshape` with a −1); then the usual mean is right.",
        see=f"{CHAPTER}-checking",
    ),
    Mistake(
        id="momentum_reversed",
        title="The momentum the wrong way round",
        source=answer(update=REVERSED),
        fails={"modes", "leading"},
        message="`running_mean` moves by the wrong amount: the momentum weighs the old value instead of the new one. "
        "In PyTorch `momentum=0.1` means that a tenth of the *new* mean comes in.",
        why="Optimizers and other libraries weigh the old value with the momentum. With 0.5 nobody would notice.",
        remedy="Compare with the example: from 0 and a mean of 2, momentum 0.1 makes 0.2.",
        see=f"{CHAPTER}-running",
    ),
    Mistake(
        id="fixed_momentum",
        title="A momentum of 0.1, whatever was asked for",
        source=answer(momentum="0.1"),
        fails={"modes", "leading"},
        message="With another momentum than 0.1 the running mean goes wrong: the argument of `__init__` is not used. "
        "Keep it.",
        why="The default was copied from the signature into the body, and every test with the default passes.",
        remedy="Test a layer with arguments that are not the defaults.",
        see=f"{CHAPTER}-running",
    ),
    Mistake(
        id="updates_in_evaluation",
        title="The running mean moves in evaluation, too",
        source=answer(body=f"{MEAN}{UPDATE}if self.training:\n    {OUTPUT}{OTHER}"),
        fails={"modes", "leading"},
        message="In evaluation mode `running_mean` still moves, so a prediction depends on what was predicted "
        "before. It is updated in training only.",
        why="The update stands outside of the `if self.training`: test data leak into the statistics.",
        remedy="Put the update into the branch for training.",
        see=f"{CHAPTER}-running",
    ),
    Mistake(
        id="batch_mean_in_evaluation",
        title="The batch's mean in evaluation, too",
        source=answer(other=MEAN + OUTPUT),
        fails={"modes", "record", "leading"},
        message="In evaluation mode the mean of the batch is still subtracted, so a prediction depends on its "
        "neighbours. There it has to be `running_mean`, which is kept for that purpose.",
        why="In evaluation a batch may be a single sample, whose distance from its own mean is zero.",
        remedy="Choose by `self.training` which of the two means is subtracted.",
        see=f"{CHAPTER}-running",
    ),
    Mistake(
        id="running_mean_in_training",
        title="The running mean is subtracted in training, too",
        source=answer(output=""),
        fails={"values", "modes", "gradients", "leading", "side_effects"},
        message="In training the running mean is subtracted instead of the batch's own, so the output's mean is not "
        "zero. The running one is for evaluation.",
        why="Early in training the running mean is still mostly zero, so that next to nothing is subtracted.",
        remedy="Choose by `self.training` which of the two means is subtracted.",
        see=f"{CHAPTER}-running",
    ),
    Mistake(
        id="local_variable",
        title="The update goes into a local variable",
        source=answer(update=UPDATE.replace("self.running_mean =", "running_mean =")),
        fails={"modes", "leading"},
        message="`running_mean` never moves: what `forward` assigns is a local variable of that name, forgotten at "
        "its end. Without `self.` nothing is kept.",
        why="`running_mean = ...` in a function makes a new local name. Training itself does not use the running "
        "mean.",
        remedy="Assign to `self.running_mean`, or write into it in place.",
        see=f"{CHAPTER}-running",
    ),
    Mistake(
        id="graph_kept",
        title="The update with its gradient attached",
        source=answer(update=UPDATE.replace(".detach()", "")),
        fails={"record", "side_effects"},
        message="`running_mean` carries the graph of every batch so far: gradients flow out of an evaluation into "
        "old batches, and the layer cannot be copied. A statistic is a record; nothing flows through it.",
        why="The mean of a batch has a history, and so has what is computed from it: each update hangs a new graph "
        "onto the old one, and memory grows.",
        remedy="Update under `torch.no_grad()`, or detach the mean in the update (in the output the gradient "
        "belongs).",
        see=f"{CHAPTER}-running",
    ),
    Mistake(
        id="detached_mean",
        title="No gradient through the batch's mean",
        source=answer(mean=f"with torch.no_grad():\n    {MEAN}"),
        fails={"gradients"},
        message="The values are right, but the gradient misses the part that flows through the mean, computed under "
        "`no_grad`. Only the *update* carries no gradient; in the output the mean is part of the formula.",
        why="`no_grad` encloses a line too many. To autograd, moving the whole batch then moves the output.",
        remedy="Compute the mean outside of the block, and update the running mean inside.",
        see=f"{CHAPTER}-cuts",
    ),
    Mistake(
        id="keeps_mean",
        title="The batch's mean kept as an attribute",
        source=answer(f"self.{MEAN}", UPDATE.replace(" mean.", " self.mean."), "return X - self.mean\n"),
        fails={"side_effects"},
        message="An attribute keeps the mean of the last batch, and with it the graph of everything before. So a "
        "network with this layer can no longer be copied with `copy.deepcopy`; use a local variable.",
        why="The mean comes from a layer that learns, so it has a history, and `deepcopy` refuses to copy that.",
        remedy="`mean = ...` without `self.` is forgotten when `forward` returns, as it should be.",
        see=f"{CHAPTER}-hooks",
    ),
    Mistake(
        id="reversed_and_attached",
        title="Two at once: momentum reversed, gradient attached",
        source=answer(update=REVERSED.replace(".detach()", "")),
        fails={"modes", "record", "leading", "side_effects"},
        message="Two things at once: the momentum weighs the old value instead of the new one, and the update "
        "carries the graph of every batch along. Set the formula right, then cut the gradient off in the update.",
        why="The one shows in the numbers, the other in what can be copied and differentiated.",
        remedy="`momentum` belongs to the new mean; and update under `torch.no_grad()`.",
        see=f"{CHAPTER}-running",
    ),
)

ALTERNATIVES = {
    "assigned": answer(),
    "in_place": answer(
        update="with torch.no_grad():\n    self.running_mean.mul_(1 - self.momentum).add_(mean * self.momentum)\n"
    ),
    "buffer_class": answer(buffer="self.running_mean = nn.Buffer(torch.zeros(num_features))"),
    "dimension_by_dimension": answer(
        mean="mean = X\nwhile mean.dim() > 1:\n    mean = mean.mean(0)\n",
        update="self.running_mean.copy_(torch.lerp(self.running_mean, mean.data, self.momentum))\n",
    ),
    "matrix_product": answer(
        mean="rows = X.reshape(-1, X.shape[-1])\nmean = rows.new_full((len(rows),), 1 / len(rows)) @ rows\n",
        update="both = torch.stack([self.running_mean, mean.detach()])\n"
        "self.running_mean = both.new_tensor([1 - self.momentum, self.momentum]) @ both\n",
    ),
    "flatten": """\
class RunningCenter(nn.Module):
    def __init__(self, num_features, momentum=0.1):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.empty(num_features).zero_())

    @torch.no_grad()
    def update(self, mean):
        self.running_mean += self.momentum * (mean - self.running_mean)

    def forward(self, X):
        mean = self.running_mean
        if self.training:
            rows = X.view(1, -1) if X.dim() == 1 else X.flatten(0, -2)
            mean = torch.einsum("bn->n", rows) / len(rows)
            self.update(mean)
        return X - mean
""",
    "hook": """\
def remember(layer, args):
    (X,) = args
    if layer.training:
        mean = X.detach().reshape(-1, X.shape[-1]).mean(0)
        layer.running_mean = torch.lerp(layer.running_mean, mean, layer.momentum)


class RunningCenter(nn.Module):
    def __init__(self, num_features, momentum=0.1):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_forward_pre_hook(remember)

    def forward(self, X):
        if self.training:
            rows = X.unsqueeze(0) if X.dim() == 1 else X
            return X - rows.mean(dim=tuple(range(rows.dim() - 1)))
        return X - self.running_mean
""",
}

REGISTERED = "State that is kept and not learned is registered with `register_buffer`."
BUFFERS = {
    "*buffer.*: missing": REGISTERED,
    "parameter.*: unexpected": "Nothing in this layer is trained.",
    "buffer.running_mean: *": "One number for each feature.",
}
MODES = {
    "*buffer.*: missing": REGISTERED,
    "training.*.buffer.running_mean: values": "Which of the two terms does the momentum weigh?",
    "evaluation.*.buffer.running_mean: values": "In evaluation it stays as it is.",
    "training.*.output: *": "In training each feature's mean over the batch is subtracted.",
    "evaluation.*.output: values": "In evaluation the running mean is subtracted.",
}
LEADING = MODES | {"training.*.output: *": "Over all leading dimensions; without any, the mean is the sample itself."}
TRACES = {
    "change.input: *": "Does an operator ending in `_`, or `-=`, write into the caller's tensor?",
    "raised: *deepcopy*": "Does a buffer or another attribute keep a tensor that has a history?",
}
SAVED = {"state_dict.keys: *": "`state_dict` holds parameters and persistent buffers; a plain tensor is neither."}
CAST = {"state_dict.dtypes: *": "Is a tensor made with a fixed dtype, or not registered?"}
MEANS = {"output: *": "One mean for each feature, over the batch; the output has the shape of the input."}
THROUGH = {"gradient.input.*: *": "If the values are right: is the batch's mean detached, or under `no_grad`?"}
RECORD = {"gradient.input.*: *": "The update is a record: `no_grad`, or `.detach()`."}
NO_NAMES = {"by": "none"}

TASK = ExerciseSource(
    name="running_center",
    defines="RunningCenter",
    reference=RunningCenter,
    checks=(
        Check("parameters", "`running_mean` is a buffer, and there is no parameter", 1, "parameters", BUFFERS),
        Check("round_trip", "The running mean is saved and loaded", 1, "round_trip", SAVED),
        Check("double", "`.double()` reaches everything", 1, "double", CAST),
        Check("values", "Training: each feature's mean over the batch is subtracted", 1, "values", MEANS),
        Check("modes", "The running mean is updated in training and used in evaluation", 2, "modes", MODES),
        Check("gradients", "Gradients flow through the batch's mean", 1, "gradients", THROUGH, options=NO_NAMES),
        Check("record", "No gradient flows through the running mean", 1, "gradients", RECORD, ("twice",), NO_NAMES),
        Check("leading", "Any number of leading dimensions, none included", 1, "modes", LEADING, ("leading",)),
        Check(
            "side_effects",
            "A call leaves its input as it was, and the layer can be copied",
            1,
            "side_effects",
            TRACES,
            ("training",),
        ),
    ),
    public=(
        center("a batch of 5", "3, momentum=0.3", (5, 3), 900),
        center("a batch of 3, float64", "2", (3, 2), 910, "float64"),
        fresh("a fresh layer", "4", (3, 4), 920),
        center("two leading dimensions", "2, 0.2", (4, 3, 2), 930, group="leading"),
        center("one sample", "3, 0.25", (3,), 940, group="leading"),
        twice("training, then evaluation", "2, 0.4", (3, 2), 950),
        training("in training", "answer(3)", (4, 3), 960),
        training("behind a layer that learns", "nn.Linear(3, 4), answer(4)", (5, 3), 970),
    ),
    secret=secret,
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
