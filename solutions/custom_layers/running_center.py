"""`RunningCenter`: subtract each feature's mean, and remember it."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


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

EXERCISE = ExerciseSource(
    defines="RunningCenter",
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
)
