"""`MLP`: linear layers of any widths, with ReLU between."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal

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


EXERCISE = ExerciseSource(
    defines="MLP",
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
)
