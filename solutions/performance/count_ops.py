"""`count_ops`: which operators a call dispatches, and how often."""

from __future__ import annotations

from random import Random

from torch import Tensor

from d2lblocks.checking.case import build
from d2lblocks.inspection import ops
from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def program(source: str) -> str:
    """The build of a trial that one expression cannot hold: the function `trial` that `source` defines."""
    return f"{source}\ntrial"


# Told name by name, so that a difference reads well; what is no dict is handed on as it is.
TOLD = """(lambda count: lambda *inputs: [
    counts := count(*inputs),
    counts if not isinstance(counts, dict) else {{
        **{{f"count of `{{name}}`": counts.get(name, 0) for name in {names}}},
        "list of further names": [
            name if isinstance(name, str) else f"{{name}}, of type {{type(name).__name__}}"
            for name in counts if name not in {names}
        ],
    }},
][1])({call})"""


def counted(label: str, call: str, *inputs: Tensor, seed: int = 0) -> Case:
    """A call of `answer`, an expression; the operators that are to be in its dict are found by trying."""
    names = sorted(build(ops, Case(label, call)).module(*(t.clone() for t in inputs)))
    return Case(label, TOLD.format(call=call, names=names), inputs, seed=seed)


KIND = program("""\
def trial(X):
    counts = answer(torch.sin, X)
    return {
        "answer to whether it is a dict": isinstance(counts, dict),
        "set of types of its keys": sorted({type(name).__name__ for name in counts}),
        "set of types of its values": sorted({type(times).__name__ for times in counts.values()}),
    }
""")

UNDISTURBED = program("""\
def trial(X):
    results = []

    def fn(X, factor):
        X.add_(1)
        results.append((X * factor).sum(dtype=torch.float64))

    answer(fn, X, 3)
    return {"number of calls of fn": len(results), "result that fn saw": results[-1], "input after one call": X}
""")

RECORDED = program("""\
def trial(X):
    X.requires_grad_()
    recorded = []
    fn = lambda X: recorded.append((X * 2).requires_grad)

    answer(fn, X)
    seen = {"answer to whether gradients are recorded as usual": recorded[-1]}
    with torch.no_grad():
        answer(fn, X)
    return {**seen, "answer to whether gradients are recorded under no_grad": recorded[-1]}
""")

HOLDS = """\
def trial(X):
    modes_on = torch.utils._python_dispatch._get_current_dispatch_mode_stack
    on_before = len(modes_on())

    def fn(X):
        X = X.sin()
        {last}

    came_out, left_on = "none", 0
    try:
        answer(fn, X)
    except ValueError:
        came_out = "ValueError"
    finally:
        while len(modes_on()) > on_before:
            torch.utils._python_dispatch._pop_mode()
            left_on += 1
    return {{"exception that comes out": came_out, "number of counters left on": left_on}}
"""

# Told by what a name contains, so that an answer which spells names its own way fails for that elsewhere only.
NESTED = program("""\
def trial(X):
    inside = {}

    def fn(X):
        inside.update(answer(torch.erf, X))
        X.cosh()

    outside = answer(fn, X)
    times = lambda counts, part: sum(times for name, times in counts.items() if part in str(name))
    return {
        f"number of `{part}` that the {which} count found": times(counts, part)
        for which, counts in (("inner", inside), ("outer", outside))
        for part in ("erf", "cosh")
    }
""")

TWICE = program("""\
def trial(X):
    first = answer(torch.sin, X)
    kept = dict(first)
    second = answer(lambda X: [X.sin(), X.cos()], X)
    return {
        "number of `sin` that the second count found beyond the first's": sum(
            times - kept.get(name, 0) for name, times in second.items() if "sin" in str(name)
        ),
        "answer to whether the first dict is as it was": first == kept,
    }
""")

OWN = program("""\
def trial(X):
    counted_by = []

    def fn(X):
        mode = torch.utils._python_dispatch._get_current_dispatch_mode()
        counted_by.extend(kind.__module__.partition(".")[0] for kind in type(mode).__mro__)
        return X.sin()

    answer(fn, X)
    return {"answer to whether d2lblocks does the counting": "d2lblocks" in counted_by}
""")


def others(seed: int) -> tuple[Case, ...]:
    """The trials that observe something else than the counts."""
    X = (normal(3, 4, seed=seed),)
    return (
        Case("its type", KIND, X, seed=seed),
        Case("`fn` works in place and with keyword arguments", UNDISTURBED, X, seed=seed, group="undisturbed"),
        Case("`fn` wants gradients, or not", RECORDED, X, seed=seed, group="undisturbed"),
        Case("`fn` returns", program(HOLDS.format(last="return X")), X, seed=seed, group="ends"),
        Case("`fn` raises", program(HOLDS.format(last='raise ValueError("no")')), X, seed=seed, group="ends"),
        Case("two counts, one after the other", TWICE, X, seed=seed, group="apart"),
        Case("a count inside a count", NESTED, X, seed=seed, group="apart"),
        Case("who counts", OWN, X, seed=seed, group="own"),
    )


def secret(draw: Random) -> list[Case]:
    """Other functions, chains of any length, deeper networks."""
    seed = draw.randrange(10**6)
    names = draw.sample(["sin", "cos", "exp", "tanh", "sigmoid", "neg", "abs", "square"], 3) * draw.randint(2, 4)
    draw.shuffle(names)
    turns, width = draw.randint(3, 9), draw.randint(2, 6)
    net = f"nn.Sequential(nn.Linear(4, {width}), nn.Tanh(), nn.Linear({width}, 3), nn.Softmax(-1))"
    X = normal(3, 4, seed=seed)
    return [
        counted("many functions", f"lambda X: answer(lambda X: [getattr(X, n)() for n in {names}], X)", X, seed=seed),
        counted("a loop", f"lambda X: answer(lambda X, n: [X * 2 for _ in range(n)], X, {turns})", X, seed=seed),
        counted("a network", f"lambda X, net={net}: answer(net, X)", X, seed=seed),
        counted(
            "a backward pass",
            f"lambda X, net={net}: answer(lambda X: torch.autograd.grad(net(X).square().mean(), net[0].weight), X)",
            X,
            seed=seed,
        ),
        counted("new tensors", f"lambda: answer(lambda: torch.arange({turns}).float().cumsum(0))", seed=seed),
        counted("nothing at all", "lambda: answer(lambda: None)", seed=seed),
        *others(seed + 1),
    ]


EXERCISE = ExerciseSource(
    defines="count_ops",
    checks=(
        Check(
            "counts",
            "Every dispatched operator is counted under its name",
            2,
            "values",
            hints={
                "output.count of *: *": "Each operator that reaches the dispatcher adds one, under `str(func)`.",
                "output.list of further*: *": "What counts is what the dispatcher gets, not what Python calls.",
                "output.set of types of its keys: *": "`str(func)` is the name.",
                "output: type": "A dict from name to number is asked for.",
            },
        ),
        Check(
            "undisturbed",
            "`fn` runs once, and computes what it always does",
            1,
            "values",
            hints={
                "output.number of calls*: *": "Whoever counts must not call `fn` once more.",
                "output.result*: *": "An operator may have keyword arguments; are they handed on?",
            },
            on=("undisturbed",),
        ),
        Check(
            "ends",
            "Counting ends when `fn` ends, also with an exception",
            1,
            "values",
            hints={
                "output.exception*: *": "What `fn` raises is its caller's affair: let it through.",
                "output.number of counters*: *": "A `with` block switches off on every way out.",
            },
            on=("ends",),
        ),
        Check("apart", "Two counts do not mix", 1, "values", on=("apart",)),
        Check(
            "own",
            "It counts by itself",
            1,
            "values",
            hints={"output.answer to whether d2lblocks*: *": "The exercise is to write what `d2lblocks.ops` does."},
            on=("own",),
        ),
    ),
    public=(
        counted("one product", "lambda A, B: answer(torch.mm, A, B)", normal(3, 4, seed=1), normal(4, 5, seed=2)),
        counted(
            "several operators, one of them twice",
            "lambda A: answer(lambda A: torch.tanh(A @ A.T + 1).tanh().sum(), A)",
            normal(3, 4, seed=3),
        ),
        counted("a layer", "lambda X, layer=nn.Linear(4, 2): answer(layer, X)", normal(5, 4, seed=4)),
        counted("in place", "lambda X: answer(lambda X: X.add_(1).mul_(2), X)", normal(5, seed=5)),
        counted(
            "forward and backward",
            "lambda X, layer=nn.Linear(4, 2): answer(lambda X: torch.autograd.grad(layer(X).relu().sum(), "
            "layer.weight), X)",
            normal(5, 4, seed=6),
        ),
        counted("no operator", "lambda: answer(lambda: 1 + 1)"),
        *others(7),
    ),
    secret=secret,
    imports=("torch._dynamo",),
)
