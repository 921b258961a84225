"""`count_ops`: which operators a call dispatches, and how often."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d2lblocks.checking.case import build
from d2lblocks.inspection import ops
from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

DISPATCH = "performance.html#performance-one-call"
MEASURING = "performance.html#performance-measuring"


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] = self.counts.get(str(func), 0) + 1
        return func(*args, **(kwargs or {}))


def count_ops(fn: Callable[..., object], *args: object) -> dict[str, int]:
    """Operator name to the number of its dispatches while ``fn(*args)`` runs."""
    with _Counter() as counter:
        fn(*args)
    return counter.counts


# --- what it is tried on ------------------------------------------------------------------------------------------


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


# --- what wrong answers are made from -----------------------------------------------------------------------------

RIGHT = """\
class Counter(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] = self.counts.get(str(func), 0) + 1
        return func(*args, **(kwargs or {}))

def count_ops(fn, *args):
    with Counter() as counter:
        fn(*args)
    return counter.counts
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
    name="count_ops",
    defines="count_ops",
    reference=count_ops,
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
    mistakes=(
        Mistake(
            "function_mode",
            "Counting Python's calls",
            but(
                "utils._python_dispatch.TorchDispatchMode",
                "overrides.TorchFunctionMode",
                "__torch_dispatch__",
                "__torch_function__",
                "str(func)",
                'f"aten.{func.__name__}.default"',
            ),
            {"counts"},
            "`TorchFunctionMode` sees the functions that Python calls, such as `linear`, and their names say "
            "nothing of the overload. What reaches the dispatcher, `aten.t.default` and `aten.addmm.default`, is "
            "seen by a `TorchDispatchMode`.",
            "A call from Python passes `__torch_function__` first, once, under the name of the Python function. "
            "Below it `F.linear` becomes `t` and `addmm`, and the operators of a backward pass never pass it at "
            "all.",
            "Derive from `torch.utils._python_dispatch.TorchDispatchMode` and define `__torch_dispatch__`.",
            DISPATCH,
        ),
        Mistake(
            "short_names",
            "Names without their overload",
            but("str(func)", "str(func.overloadpacket)"),
            {"counts"},
            'The names end too soon: `"aten.mm"` is a family of operators. The overload belongs to the name, '
            '`"aten.mm.default"`, which is what `str(func)` gives.',
            "An operator has overloads: `aten.add.Tensor` adds two tensors, `aten.add.Scalar` a tensor and a "
            "number. `func.overloadpacket` is all of them together.",
            "Take `str(func)`.",
            DISPATCH,
        ),
        Mistake(
            "no_library",
            "Names without their library",
            but("str(func)", "func.__name__"),
            {"counts"},
            'The names begin too late: `"mm.default"` does not say which library the operator is from. `str(func)` '
            'does, `"aten.mm.default"`.',
            "`func.__name__` is the operator and its overload. Other libraries, yours included, may have operators "
            "of the same names.",
            "Take `str(func)`.",
            DISPATCH,
        ),
        Mistake(
            "operators_as_keys",
            "Operators instead of names as keys",
            but("str(func)", "func"),
            {"counts"},
            "The keys are the operators themselves (`OpOverload`), which print like their names but are not equal to "
            'them: `counts["aten.mm.default"]` fails. Use `str(func)` as the key.',
            "`func` is an object whose `str` is its name. A dict compares keys with `==`, and no object of that "
            "class equals a string.",
            "`counts[str(func)]`.",
            DISPATCH,
        ),
        Mistake(
            "once_each",
            "Each name counted once",
            but("self.counts.get(str(func), 0) + 1", "1"),
            {"counts"},
            "Every operator stands at 1, however often it ran. Each dispatch adds one to what is there: "
            "`counts.get(name, 0) + 1`.",
            "A set, or `counts[name] = 1`, remembers that something ran and forgets how often.",
            "Read the old number with `counts.get(name, 0)`, or let `collections.Counter` do it.",
            DISPATCH,
        ),
        Mistake(
            "never_entered",
            "A counter that is never switched on",
            but(
                """\
    with Counter() as counter:
        fn(*args)
    return counter.counts
""",
                """\
    counter = Counter()
    fn(*args)
    return counter.counts
""",
            ),
            {"counts", "apart"},
            "The dict is always empty: a mode that has been made does nothing until it is entered. Call `fn` "
            "inside `with counter:`.",
            "A mode stands on a stack that the dispatcher looks at. `__enter__`, which `with` calls, puts it there.",
            "`with Counter() as counter: fn(*args)`.",
            DISPATCH,
        ),
        Mistake(
            "result_dropped",
            "An operator whose result is dropped",
            but("return func(", "func("),
            {"counts", "undisturbed"},
            "While you count, each operator gives None instead of its result, so that the next one fails. "
            "`__torch_dispatch__` has to return what `func` returns.",
            "`__torch_dispatch__` is called *in place of* the operator. Whatever it returns is the operator's "
            "result.",
            "End it with `return func(*args, **(kwargs or {}))`.",
            DISPATCH,
        ),
        Mistake(
            "keywords_dropped",
            "Keyword arguments dropped on the way",
            but(", **(kwargs or {})", ""),
            {"undisturbed"},
            "While you count, `fn` computes something else: `sum(dtype=torch.float64)` came back as float32. "
            "`__torch_dispatch__` gets the keyword arguments as a dict of their own and has to hand them on.",
            "Arguments such as `dtype`, `device` or `memory_format` arrive in `kwargs`. Left out, each falls back "
            "to its default, without an error.",
            "`func(*args, **(kwargs or {}))`.",
            DISPATCH,
        ),
        Mistake(
            "warmed_up",
            "A warm-up that changes what is measured",
            but(
                "    with",
                """\
    fn(*args)  # warm up
    with""",
            ),
            {"undisturbed", "apart"},
            "`fn` was called twice, so what it changes in place was changed twice. A time needs a warm-up; a count "
            "is the same at the first call, and the contract promises one.",
            "A first call is slower, but it dispatches what it dispatches. And `fn` may do something that must not "
            "be done twice, such as a step of training.",
            "Call `fn` once, inside the `with` block.",
            MEASURING,
        ),
        Mistake(
            "no_finally",
            "A counter that an exception leaves on",
            but(
                """\
    with Counter() as counter:
        fn(*args)
    return counter.counts
""",
                """\
    counter = Counter()
    counter.__enter__()
    fn(*args)
    counter.__exit__(None, None, None)
    return counter.counts
""",
            ),
            {"ends"},
            "When `fn` raises, the line that switches the counter off is never reached, and every later operator "
            "of the session goes through it. A `with` block switches off on every way out.",
            "An exception leaves the function at once. What has to happen all the same belongs into `finally`, or "
            "into the `__exit__` of a `with` block.",
            "`with Counter() as counter: fn(*args)`.",
            DISPATCH,
        ),
        Mistake(
            "swallowed",
            "`return` in `finally`",
            but(
                """\
    with Counter() as counter:
        fn(*args)
    return counter.counts
""",
                """\
    counter = Counter()
    try:
        with counter:
            fn(*args)
    finally:
        return counter.counts
""",
            ),
            {"ends"},
            "`fn` raised a ValueError and nobody heard of it: a `return` inside `finally` (or an `except` that "
            "does nothing) throws the exception away. Return after the `with` block; then an exception gets out by "
            "itself.",
            "A `finally` that returns replaces whatever was on its way, an exception included.",
            "Leave `try` and `finally` out: the `with` block cleans up.",
            DISPATCH,
        ),
        Mistake(
            "one_dict_for_all",
            "One dict for all counts",
            but(
                """\
    def __init__(self):
        super().__init__()
        self.counts = {}
""",
                """\
    counts = {}
""",
            ),
            {"counts", "apart"},
            "The second count goes on where the first one ended: the dict is an attribute of the class, and all "
            "counters share it. Make a new dict for each counter, in `__init__` or in `count_ops`.",
            "What stands in a class body is made once, when the class is. Every object of the class sees that same "
            "dict.",
            "`self.counts = {}` in `__init__`, after `super().__init__()`.",
            DISPATCH,
        ),
        Mistake(
            "cleared",
            "One dict, emptied at the start",
            """\
counts = {}

class Counter(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        counts[str(func)] = counts.get(str(func), 0) + 1
        return func(*args, **(kwargs or {}))

def count_ops(fn, *args):
    counts.clear()
    with Counter():
        fn(*args)
    return counts
""",
            {"apart"},
            "A dict that was returned earlier changes with the next count: it is one dict, emptied and filled "
            "anew. Make a new one in each call.",
            "`return counts` returns the dict itself and no copy. Whoever kept it sees it emptied, and a count "
            "inside another empties the outer one's.",
            "`counts = {}` inside `count_ops`.",
            DISPATCH,
        ),
        Mistake(
            "not_unpacked",
            "`fn(args)` instead of `fn(*args)`",
            but("fn(*args)", "fn(args)"),
            {"counts", "undisturbed", "ends", "apart", "own"},
            "`fn` gets one argument, a tuple of all. `args` is that tuple; `fn(*args)` hands its members over one "
            "by one.",
            "In a signature `*args` collects the arguments into a tuple. In a call the star spreads a tuple out "
            "again.",
            "`fn(*args)`.",
            MEASURING,
        ),
        Mistake(
            "no_grad",
            "Counting under `no_grad`",
            but("with Counter()", "with torch.no_grad(), Counter()"),
            {"counts", "undisturbed"},
            "Under `torch.no_grad()` a function that runs its own backward pass fails, and what autograd "
            "dispatches to keep results is missed. Whether gradients are recorded is the caller's decision.",
            "`no_grad` switches recording off for everything inside, so `backward()` finds no graph.",
            "Leave `torch.no_grad()` to those who call `count_ops`.",
            DISPATCH,
        ),
        Mistake(
            "enable_grad",
            "Counting under `enable_grad`",
            but("with Counter()", "with torch.enable_grad(), Counter()"),
            {"undisturbed"},
            "Called under `torch.no_grad()`, `fn` records gradients all the same: `torch.enable_grad()` overrules "
            "your caller. Leave that switch as you find it.",
            "The innermost of `no_grad` and `enable_grad` decides. Who counts a step of inference would count, and "
            "keep in memory, what training needs.",
            "`with Counter() as counter:`, and nothing beside it.",
            DISPATCH,
        ),
        Mistake(
            "borrowed",
            "Letting `d2lblocks.ops` count",
            """\
from d2lblocks import ops

def count_ops(fn, *args):
    return dict(ops(fn, *args))
""",
            {"own"},
            "The counts are right, and they are those of `d2lblocks.ops`. Write the counter yourself: it is a "
            "class with one method and a `with` block.",
            "`fn` ran under a counter whose class comes from `d2lblocks`. A library's function would do for work; "
            "here the point is to see that nothing in it is magic.",
            "Derive your own class from `TorchDispatchMode`.",
            DISPATCH,
        ),
    ),
    alternatives={
        "closure": """\
def count_ops(fn, *args):
    counts = {}

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            counts.setdefault(str(func), 0)
            counts[str(func)] += 1
            return func(*args, **(kwargs or {}))

    with Counting():
        fn(*args)
    return counts
""",
        "a list of names, then a Counter": """\
from collections import Counter
from torch.utils._python_dispatch import TorchDispatchMode

class Log(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs={}):
        result = func(*args, **kwargs)
        self.names.append(str(func))
        return result

def count_ops(fn, *args):
    log = Log()
    with log:
        fn(*args)
    return Counter(log.names)
""",
        "try and finally": """\
from collections import defaultdict

class Mode(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self, counts):
        self.counts = counts
        super().__init__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[f"{func.namespace}.{func.overloadpacket.__name__}.{func._overloadname}"] += 1
        return func(*args, **kwargs) if kwargs else func(*args)

def count_ops(fn, *args):
    mode = Mode(defaultdict(int))
    mode.__enter__()
    try:
        fn(*args)
    finally:
        mode.__exit__(None, None, None)
    return mode.counts
""",
        "a class made by hand": """\
def count_ops(fn, *args):
    counts = {}

    def dispatch(self, func, types, args=(), kwargs=None):
        counts[str(func)] = 1 + counts.get(str(func), 0)
        return func(*args, **(kwargs or {}))

    base = torch.utils._python_dispatch.TorchDispatchMode
    with type("Mode", (base,), {"__torch_dispatch__": dispatch})():
        _ = fn(*args)
    return dict(sorted(counts.items()))
""",
        "a context manager around the mode": """\
import contextlib

@contextlib.contextmanager
def counting():
    counts = {}

    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = str(func)
            if name not in counts:
                counts[name] = 0
            counts[name] += 1
            return func(*args, **(kwargs or {}))

    with Mode():
        yield counts

def count_ops(fn, *args):
    with counting() as counts:
        fn(*args)
        return counts
""",
    },
)
