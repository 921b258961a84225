"""`repeat_block`: the same architecture several times, each with weights of its own."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from torch import nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "layers_and_blocks.html#layers-and-blocks-"


def repeat_block(make_block: Callable[[], nn.Module], n: int) -> nn.Sequential:
    """A chain of `n` blocks, each from its own call of `make_block`."""
    if n < 0:
        raise ValueError(f"cannot repeat a block {n} times")
    return nn.Sequential(*(make_block() for _ in range(n)))


# --- what it is tried on ------------------------------------------------------------------------------------------


def chain(label: str, make: str, n: int, shape: tuple[int, ...], seed: int, dtype: str = "float32") -> Case:
    """Blocks without parameters: here it does not matter whether they are shared."""
    return Case(label, f"answer({make}, {n})", (normal(*shape, seed=seed, dtype=dtype),), dtype=dtype, seed=seed)


def separate(label: str, make: str, n: int) -> Case:
    """Blocks with parameters, which are counted."""
    return Case(label, f"answer(lambda: {make}, {n})", group="separate")


CALLS = "number of calls of `make_block`"
MADE = "list of whether each block comes from it"


def own(label: str, make: str, n: int) -> Case:
    """A function that tells how often `make_block` was called, and for each block whether it comes from there."""
    chained = f"made := [], net := answer(lambda: made.append({make}) or made[-1], {n})"
    told = f"'{CALLS}': len(made), '{MADE}': [any(block is one for one in made) for block in net]"
    return Case(label, f"({chained}, lambda: {{{told}}})[2]", group="own")


def edge(label: str, n: int, shape: tuple[int, ...], seed: int, group: str) -> Case:
    """No blocks, or fewer."""
    raises = "ValueError" if n < 0 else ""
    return Case(label, f"answer(nn.Tanh, {n})", (normal(*shape, seed=seed),), seed=seed, group=group, raises=raises)


PAIR = "nn.Sequential(nn.Tanh(), nn.Softplus())"


def secret(draw: Random) -> list[Case]:
    """Other numbers of blocks, other blocks."""
    width, other, n = draw.sample(range(2, 8), 3)
    seed = draw.randrange(10**6)
    return [
        chain(f"{n} blocks", "nn.Softsign", n, (other, width), seed),
        chain("a block of two, float64", f"lambda: {PAIR}", n + 1, (width,), seed + 1, "float64"),
        chain("one block", "nn.Softplus", 1, (1, other, width), seed + 2),
        separate(f"{n} blocks with parameters", f"nn.Linear({width}, {width}, bias=False)", n),
        separate("blocks with buffers", f"nn.BatchNorm1d({width})", n + 1),
        own(f"{n} blocks, one by one", f"nn.BatchNorm1d({width})", n),
        edge("no blocks", 0, (width, other, 1), seed + 3, "zero"),
        edge("a negative number", -n, (width,), seed + 4, "negative"),
    ]


# --- known mistakes -----------------------------------------------------------------------------------------------

GUARD = """\
    if n < 0:
        raise ValueError("n must not be negative")
"""


def written(body: str, before: str = "", guard: str = GUARD) -> str:
    """The source of an answer."""
    return f"{before}def repeat_block(make_block, n):\n{guard}{body}\n"


COPY = "import copy\n\n\n"
ALL = "    return nn.Sequential(*(make_block() for _ in range(n)))"

MISTAKES = (
    Mistake(
        "starred_list",
        "`[make_block()] * n`",
        written("    return nn.Sequential(*[make_block()] * n)"),
        {"separate", "own"},
        "`make_block` is called once, and the one block stands in all places, so they share their weights. Call it "
        "once for each block.",
        "`[block] * 3` repeats the reference, not the object: three names for one block.",
        "A comprehension calls anew in each round: `[make_block() for _ in range(n)]`.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "deep_copies",
        "Deep copies of one block",
        written(
            "    block = make_block()\n    return nn.Sequential(*(copy.deepcopy(block) for _ in range(n)))", COPY
        ),
        {"own"},
        "The blocks are copies of one block, so all of them begin with the same numbers. Call `make_block` once for "
        "each: then each draws its own.",
        "`copy.deepcopy` copies the numbers as well. The copies share nothing, but begin as one.",
        "`make_block()` in each round, in place of the copy.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "shallow_copies",
        "Shallow copies of one block",
        written("    block = make_block()\n    return nn.Sequential(*(copy.copy(block) for _ in range(n)))", COPY),
        {"separate", "own"},
        "`copy.copy` makes a new module around the same parameters, so the blocks share their weights. Call "
        "`make_block` once for each block.",
        "A shallow copy has the same register of parameters as its original.",
        "`make_block()` in each round, in place of the copy.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "not_called",
        "`make_block` not called",
        written("    return nn.Sequential(*[make_block for _ in range(n)])"),
        {"chain", "separate", "own"},
        "The function itself is put into the chain, not what it makes. Call it: `make_block()`.",
        "`make_block` is a recipe. Without the parentheses, `nn.Sequential` is handed the recipe and refuses it.",
        "Write `make_block()`, with the parentheses.",
        f"{CHAPTER}containers",
    ),
    Mistake(
        "list_as_argument",
        "A list given to `nn.Sequential`",
        written("    return nn.Sequential([make_block() for _ in range(n)])"),
        {"chain", "separate", "own", "zero"},
        "`nn.Sequential` takes modules one by one, and this hands it a single list. A star unpacks the list: "
        "Return `nn.Sequential(*blocks)`.",
        "`nn.ModuleList` takes a list, `nn.Sequential` does not.",
        "Return `nn.Sequential(*blocks)`.",
        f"{CHAPTER}containers",
    ),
    Mistake(
        "module_list",
        "An `nn.ModuleList` as result",
        written(ALL.replace("Sequential(*", "ModuleList(")),
        {"chain", "zero"},
        "An `nn.ModuleList` holds modules but cannot be called: it has no `forward`. What is asked for is a chain, "
        "`nn.Sequential`.",
        "`nn.ModuleList` leaves it to you how its modules are used.",
        "Return `nn.Sequential(*blocks)`.",
        f"{CHAPTER}containers",
    ),
    Mistake(
        "nested",
        "A chain in a chain in a chain",
        written(
            "    net = nn.Sequential()\n    for _ in range(n):\n"
            "        net = nn.Sequential(net, make_block())\n    return net"
        ),
        {"own"},
        "Each round wraps what is there into a new chain, so the result has two members however large `n` is, and "
        "the keys grow a level with each block. Put the blocks side by side into one `nn.Sequential`.",
        "`nn.Sequential(net, block)` keeps `net` as one module; it does not take it apart.",
        "Collect the blocks first, or use `net.append(make_block())`.",
        f"{CHAPTER}containers",
    ),
    Mistake(
        "one_too_few",
        "`range(1, n)`",
        written(ALL.replace("range(n)", "range(1, n)")),
        {"chain", "separate", "own"},
        "There is one block too few: `range(1, n)` has `n - 1` members. `range(n)` has `n`.",
        "`range` ends before its second argument.",
        "Use `range(n)`.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "spare_block",
        "One block made too many",
        written(
            "    blocks = [make_block() for _ in range(n + 1)]\n    return nn.Sequential(*blocks[:n])",
        ),
        {"own"},
        "The chain is right, but `make_block` is called once more than there are blocks, and what it made is thrown "
        "away. Call it n times.",
        "A block may be large, and making it uses up random numbers, so that all that is made later changes.",
        "Use `range(n)`, and every block that was made.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "refuses_zero",
        "`n = 0` refused",
        written(ALL, guard=GUARD.replace("n < 0", "n <= 0").replace("not be negative", "be positive")),
        {"zero"},
        "`n = 0` raises an error, but a chain of no blocks is a fine one: it returns its input. Refuse negative "
        "numbers only.",
        "An empty `nn.Sequential` is the identity; nothing special is needed for it.",
        "Write `if n < 0: raise ValueError(...)`.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "negative_accepted",
        "A negative `n` taken for zero",
        written(ALL, guard=""),
        {"negative"},
        "`range(-1)` is empty, so a negative `n` silently gives an empty chain. Raise a ValueError that says what "
        "is wrong.",
        "A negative number of blocks is a slip of the caller, and an error at once is kinder than a model without "
        "blocks.",
        "`if n < 0: raise ValueError(...)`, before anything else.",
        f"{CHAPTER}block-of-blocks",
    ),
    Mistake(
        "assertion",
        "`assert` to check an argument",
        written(ALL, guard='    assert n >= 0, "n must not be negative"\n'),
        {"negative"},
        "An `assert` raises an AssertionError, and with `python -O` nothing at all. Raise a ValueError yourself.",
        "`assert` is for what can only be false if the program itself is wrong. A caller's argument is not that.",
        "Write `if n < 0: raise ValueError(...)`.",
        f"{CHAPTER}block-of-blocks",
    ),
)

# --- other right answers ------------------------------------------------------------------------------------------

ALTERNATIVES = {
    "append": written(
        "    net = nn.Sequential()\n    for _ in range(n):\n        net.append(make_block())\n    return net"
    ),
    "names": written(
        '    blocks = {f"block{i}": make_block() for i in range(n)}\n    return nn.Sequential(OrderedDict(blocks))',
        "from collections import OrderedDict\n\n\n",
    ),
    "recursive": written(
        "    if n == 0:\n        return nn.Sequential()\n"
        "    return nn.Sequential(*repeat_block(make_block, n - 1), make_block())"
    ),
    "iterator": written(
        "    return nn.Sequential(*islice(iter(make_block, None), n))", "from itertools import islice\n\n\n"
    ),
    "a_class_of_its_own": """\
class Repeated(nn.Sequential):
    def __init__(self, make_block, n):
        super().__init__()
        if n < 0:
            raise ValueError(n)
        for i in range(n):
            self.add_module(str(i), make_block())

    def extra_repr(self):
        return f"{len(self)} blocks"


repeat_block = Repeated
""",
    "from_the_end": written(
        "    net = nn.Sequential()\n    while len(net) < n:\n        net.insert(0, make_block())\n"
        "    return net if n else nn.Identity()"
    ),
}

TASK = ExerciseSource(
    name="repeat_block",
    defines="repeat_block",
    reference=repeat_block,
    checks=(
        Check(
            "chain",
            "An `nn.Sequential` of n blocks, one after the other",
            2,
            "values",
            hints={
                "output: values": "Are there n blocks, no more and no fewer?",
                "is.Sequential: values": "What is asked for is an `nn.Sequential`.",
            },
            options={"kind": "Sequential"},
        ),
        Check(
            "separate",
            "The blocks share nothing",
            1,
            "sharing",
            hints={"count.*: *": "Each block has parameters of its own."},
            on=("separate",),
        ),
        Check(
            "own",
            "Each block comes from its own call of `make_block`",
            1,
            "values",
            hints={
                "output.number of calls*: *": "It is called once for each block: n times, no more and no fewer.",
                "output.list of whether*: *": "There is one entry for each member of the chain; False means: not "
                "made by `make_block`.",
            },
            on=("own",),
        ),
        Check(
            "zero",
            "With n = 0 it is the identity",
            1,
            "values",
            hints={"output: *": "The output is the input."},
            on=("zero",),
        ),
        Check("negative", "A negative n raises a ValueError", 1, "values", on=("negative",)),
    ),
    public=(
        chain("three blocks", "nn.Softsign", 3, (4, 5), 1),
        chain("a block of two, twice, float64", f"lambda: {PAIR}", 2, (3,), 2, "float64"),
        separate("three blocks with parameters", "nn.Linear(4, 4)", 3),
        own("three blocks, one by one", "nn.Linear(4, 4)", 3),
        edge("n = 0", 0, (2, 3), 3, "zero"),
        edge("n = -1", -1, (2, 3), 4, "negative"),
    ),
    secret=secret,
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
