"""`repeat_block`: the same architecture several times, each with weights of its own."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


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


EXERCISE = ExerciseSource(
    defines="repeat_block",
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
)
