"""`MySequential`: modules one after the other, registered under the keys of `nn.Sequential`."""

from __future__ import annotations

from random import Random

from torch import Tensor

from grader.authoring.exercise import Case, Check, ExerciseSource, normal

Shape = tuple[int, ...]


def linear_state(
    part: str, in_features: int, out_features: int, seed: int, dtype: str = "float32"
) -> dict[str, Tensor]:
    """Numbers for an `nn.Linear` that is a part."""
    return {
        f"{part}.weight": normal(out_features, in_features, seed=seed, dtype=dtype),
        f"{part}.bias": normal(out_features, seed=seed + 1, dtype=dtype),
    }


def chain(label: str, widths: Shape, leading: Shape, seed: int, dtype: str = "float32") -> Case:
    """Two linear layers with a Tanh between and a LeakyReLU after: no other order gives the same."""
    first, middle, last = widths
    return Case(
        label,
        f"answer(a := nn.Linear({first}, {middle}), nn.Tanh(), b := nn.Linear({middle}, {last}), nn.LeakyReLU(0.1))",
        (normal(*leading, first, seed=seed, dtype=dtype),),
        linear_state("a", first, middle, seed + 1, dtype) | linear_state("b", middle, last, seed + 3, dtype),
        dtype,
        seed,
    )


def repeated(label: str, width: int, leading: Shape, seed: int, times: int, group: str = "repeated") -> Case:
    """One module in several places, or in one."""
    places = ", ".join(["a := nn.Linear({0}, {0})", *["nn.Tanh(), a"] * (times - 1)]).format(width)
    state = {name: t / width for name, t in linear_state("a", width, width, seed + 1).items()}
    return Case(label, f"answer({places})", (normal(*leading, width, seed=seed),), state, seed=seed, group=group)


def many(label: str, width: int, seed: int) -> Case:
    """Twelve modules: in the order of their names as strings, 10 and 11 come before 2."""
    build = "answer(*(nn.Tanh() for _ in range(10)), nn.Softplus(), nn.Softsign())"
    return Case(label, build, (normal(3, width, seed=seed),), seed=seed, group="many")


def empty(label: str, shape: Shape, seed: int, dtype: str = "float32") -> Case:
    """No modules at all."""
    return Case(label, "answer()", (normal(*shape, seed=seed, dtype=dtype),), dtype=dtype, seed=seed, group="empty")


def secret(draw: Random) -> list[Case]:
    """Other widths and ranks, a single module, one module three times."""
    batch, first, middle, last = draw.sample(range(2, 9), 4)
    seed = draw.randrange(10**6)
    return [
        chain("other widths", (first, middle, last), (batch,), seed),
        chain("one vector, float64", (middle, last, first), (), seed + 10, "float64"),
        chain("three leading dimensions", (last, first, middle), (batch, 1, 2), seed + 20),
        repeated("a single module", first, (batch, last), seed + 30, 1, "main"),
        repeated("a module given three times", middle, (batch,), seed + 40, 3),
        many("twelve modules", last, seed + 45),
        empty("no modules, float64", (batch, first), seed + 50, "float64"),
    ]


EXERCISE = ExerciseSource(
    defines="MySequential",
    checks=(
        Check(
            "values",
            "Your own `forward` applies the modules in order",
            1,
            "values",
            hints={
                "is.Sequential: values": "Inherit from `nn.Module`: this exercise is to "
                "write what `nn.Sequential` does.",
                "output: *": "Each module gets what the one before it returned; the last one's output is the result.",
            },
            on=("main", "many"),
            options={"kind": "Sequential"},
        ),
        Check(
            "repeated",
            "A module given twice is applied twice",
            1,
            "values",
            hints={"output: values": "Does your loop visit each place, or each object once?"},
            on=("repeated",),
            options={"kind": "Sequential"},
        ),
        Check("empty", "With no modules it returns its input", 1, "values", {}, ("empty",), {"kind": "Sequential"}),
        Check(
            "registered",
            "It knows the parameters of its modules, each once",
            1,
            "parameters",
            hints={
                "registered.*: values": "A module is registered when it is handed to `add_module`, or "
                "assigned to an attribute; a Python list is not looked into.",
                "raised: *concatenate str*": "The names of modules are strings.",
            },
            on=("main", "repeated"),
        ),
        Check(
            "keys",
            "Its state-dict keys are those of `nn.Sequential`, and it can be saved and loaded",
            1,
            "round_trip",
            hints={"state_dict.keys: *": "`nn.Sequential` names its modules by their position, `0`, `1`, …"},
            on=("main", "repeated"),
            options={"by": "name"},
        ),
        Check(
            "gradients",
            "Gradients reach the input and every parameter",
            1,
            "gradients",
            hints={"gradient.*: none": "Something in `forward` cuts it off: is there a `.data` or `.detach()`?"},
        ),
        Check(
            "hooks",
            "The modules are called, so that their hooks run",
            1,
            "hooks",
            hints={"calls.*: *": "Call the module itself, `module(X)`, and each one once."},
        ),
        Check("traces", "A call leaves its input as it was, and the model can be copied", 1, "side_effects"),
    ),
    public=(
        chain("two linear layers, a batch of 5", (4, 6, 3), (5,), 1),
        chain("two leading dimensions, float64", (3, 5, 2), (2, 4), 10, "float64"),
        repeated("a module given twice", 3, (4,), 20, 2),
        many("twelve modules", 4, 25),
        empty("no modules", (2, 3), 30),
    ),
    secret=secret,
)
