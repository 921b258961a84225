"""`MySequential`: modules one after the other, registered under the keys of `nn.Sequential`."""

from __future__ import annotations

from random import Random
from textwrap import indent

from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "layers_and_blocks.html#layers-and-blocks-"
Shape = tuple[int, ...]


class MySequential(nn.Module):
    """Applies the given modules one after the other."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        for index, module in enumerate(modules):
            self.add_module(str(index), module)

    def forward(self, X: Tensor) -> Tensor:
        """What the last module gives."""
        for module in self._modules.values():
            X = module(X)
        return X


# --- what it is tried on ------------------------------------------------------------------------------------------


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


# --- known mistakes -----------------------------------------------------------------------------------------------

REGISTER = """\
for i, module in enumerate(modules):
    self.add_module(str(i), module)"""
APPLY = """\
for module in self._modules.values():
    X = module(X)
return X"""
LOOP = "_, module in sorted(self._modules.items())"
OVER_BLOCKS = APPLY.replace("self._modules.values()", "self.blocks")


def written(init: str = REGISTER, forward: str = APPLY, parent: str = "nn.Module") -> str:
    """The source of an answer, from the bodies of its two methods."""
    return f"""\
class MySequential({parent}):
    def __init__(self, *modules):
        super().__init__()
{indent(init, " " * 8)}

    def forward(self, X):
{indent(forward, " " * 8)}
"""


MISTAKES = (
    Mistake(
        "python_list",
        "The modules in a Python list",
        written("self.blocks = list(modules)", OVER_BLOCKS),
        {"registered", "keys"},
        "The forward pass is right, but nobody knows the modules: no parameter is registered and the state dict is "
        "empty. Hand each module to `add_module`; a Python list (or tuple, or dict) is not looked into.",
        "`nn.Module` files a value in its register only if it is *itself* a module or a parameter. A list is "
        "neither, so `parameters()`, `state_dict()`, `to()` and `eval()` never get to what is in it.",
        "Register each module under its number: `self.add_module(str(index), module)`. (`nn.ModuleList` registers, "
        "too, but as an attribute it puts its own name before each key.)",
        f"{CHAPTER}python-list",
    ),
    Mistake(
        "module_list",
        "An `nn.ModuleList` as attribute: other keys",
        written("self.blocks = nn.ModuleList(modules)", OVER_BLOCKS),
        {"keys"},
        "All is registered, but one level too deep: the keys begin with `blocks.`, so weights that an "
        "`nn.Sequential` has saved do not fit. Register the modules in the container itself, with `add_module`.",
        "A key is the path to a tensor. The list is a module of its own on that path, and its name is part of it.",
        "`self.add_module(str(index), module)` registers the module directly, under its number.",
        f"{CHAPTER}my-sequential",
    ),
    Mistake(
        "named_keys",
        "Names other than the numbers",
        written(REGISTER.replace("str(i)", 'f"layer{i}"')),
        {"keys"},
        "The keys are `layer0.weight` and so on, where `nn.Sequential` has `0.weight`. Use the bare number, as a "
        "string, as name.",
        "State dicts are matched by key. Weights saved by an `nn.Sequential` fit only if every name is the same.",
        'The name is the position as a string, counted from 0: `"0"`, `"1"`, …',
        f"{CHAPTER}state-dict",
    ),
    Mistake(
        "number_as_key",
        "A number, not a string, as key",
        written(REGISTER.replace("self.add_module(str(i), module)", "self._modules[i] = module")),
        {"registered", "keys"},
        "The forward pass runs, but `parameters()` and `state_dict()` raise a TypeError, because they join the keys "
        "with dots. Keys must be strings: `str(i)`.",
        "The path of a parameter is made by joining keys, and a number cannot be joined to a string. Written "
        "straight into `_modules`, the wrong key is noticed by nobody; `add_module` would have refused it.",
        "Use `self.add_module(str(i), module)`.",
        f"{CHAPTER}string-keys",
    ),
    Mistake(
        "module_as_key",
        "The module itself as key",
        written("for module in modules:\n    self._modules[module] = module"),
        {"repeated", "registered", "keys"},
        "With the module itself as key, a module given twice is kept once, and `parameters()` and `state_dict()` "
        "raise a TypeError. Use the position, as a string, as key.",
        "A dictionary has each key once, so the second place of a module is lost. And a path is made of strings.",
        "Number the places: `for index, module in enumerate(modules): self.add_module(str(index), module)`.",
        f"{CHAPTER}string-keys",
    ),
    Mistake(
        "class_as_name",
        "Every module named after its class",
        written("for module in modules:\n    self.add_module(type(module).__name__, module)"),
        {"values", "repeated", "registered", "keys", "gradients", "hooks", "traces"},
        "Two modules of one class get one name here, and the later one replaces the earlier one without a word. "
        "Give each place a name of its own: its number.",
        "`add_module` replaces what has the same name, as every assignment does. Of two `Linear` layers only the "
        "second is left, in the place of the first.",
        "Names must be unique, so number them: `str(index)`.",
        f"{CHAPTER}string-keys",
    ),
    Mistake(
        "sorted_names",
        "The modules sorted by name",
        written(forward=APPLY.replace("module in self._modules.values()", LOOP)),
        {"values"},
        "With more than ten modules the order is wrong, because strings are sorted letter by letter: `10` comes "
        "before `2`. The register keeps the order in which it was filled, so leave the sorting out.",
        "The names are strings, and are compared as words in a dictionary are.",
        "`for module in self._modules.values()`, without `sorted`.",
        f"{CHAPTER}string-keys",
    ),
    Mistake(
        "children",
        "`children()` to run the modules",
        written(forward=APPLY.replace("_modules.values()", "children()")),
        {"repeated"},
        "A module that was given twice is applied once only: `children()` lists each object once, however many "
        "places it has. Run over `self._modules.values()`.",
        "`children()` skips what it has already seen. That is right for counting and casting, and wrong for running.",
        "`for module in self._modules.values()` visits every place.",
        f"{CHAPTER}children",
    ),
    Mistake(
        "inherited",
        "Inherited from `nn.Sequential`",
        "class MySequential(nn.Sequential):\n    pass\n",
        {"values", "repeated", "empty"},
        "This is an `nn.Sequential` under another name, and the exercise is to write one. Inherit from `nn.Module`, "
        "and write `__init__` and `forward` yourself.",
        "A subclass has everything that its parent has, so every output is right. Nothing of it was written, though.",
        "Begin with `class MySequential(nn.Module):`.",
        f"{CHAPTER}my-sequential",
    ),
    Mistake(
        "direct_forward",
        "`module.forward(X)` instead of `module(X)`",
        written(forward=APPLY.replace("module(X)", "module.forward(X)")),
        {"hooks"},
        "The numbers are right, but `module.forward(X)` goes round `__call__`, so that no hook of the module runs. "
        "Call the module itself: `module(X)`.",
        "Hooks are run by `__call__`, before and after it calls `forward`. Profilers, pruning and many other tools "
        "live on them.",
        "Write `X = module(X)`.",
        f"{CHAPTER}call",
    ),
    Mistake(
        "first_taken_for_granted",
        "The first module taken for granted",
        written(
            forward="""\
first, *rest = self._modules.values()
Y = first(X)
for module in rest:
    Y = module(Y)
return Y"""
        ),
        {"empty"},
        "With no modules there is no first one, and the call fails. Let the loop begin with the input itself: a "
        "loop that runs zero times then returns it.",
        "An empty chain is the identity. A loop that carries `X` along needs no special case for it.",
        "Give `X` a new value in each round, and return `X` after the loop.",
        f"{CHAPTER}my-sequential",
    ),
    Mistake(
        "early_return",
        "`return` inside the loop",
        written(forward=APPLY.replace("return", "    return")),
        {"values", "repeated", "empty", "gradients", "hooks"},
        "The `return` stands inside the loop, so `forward` ends after the first module (and without modules it "
        "returns None). Move it out, to the level of the `for`.",
        "A `return` ends the whole function, not one round of the loop.",
        "Indent the `return` as far as the `for`.",
        f"{CHAPTER}my-sequential",
    ),
    Mistake(
        "detached",
        "`.detach()` between the modules",
        written(forward=APPLY.replace("module(X)", "module(X.detach())")),
        {"gradients"},
        "The values are right, but `.detach()` cuts the history off before each module, so only the last one "
        "receives a gradient. Hand `X` on as it is.",
        "Autograd follows the operators from the output back to the parameters. A detached one has none to follow.",
        "Leave out `.detach()` (and `.data`, and `torch.no_grad()`).",
        "custom_layers.html#custom-layers-cuts",
    ),
    Mistake(
        "keeps_activations",
        "Activations kept as an attribute",
        written(forward="self.seen = []\n" + APPLY.replace("(X)\n", "(X)\n    self.seen.append(X)\n")),
        {"traces"},
        "`forward` keeps its intermediate results on `self`, with their graphs, so that the model can no longer be "
        "copied with `copy.deepcopy`. Use local variables; to look inside, attach a hook from outside.",
        "A tensor in the middle of a graph cannot be deep-copied, and as long as it is kept, so is all that it was "
        "computed from.",
        "Leave nothing of one call on `self`.",
        "custom_layers.html#custom-layers-hooks",
    ),
    Mistake(
        "takes_a_list",
        "`__init__` takes a list",
        written().replace("*modules", "modules"),
        {"values", "repeated", "empty", "registered", "keys", "gradients", "hooks", "traces"},
        "`__init__` accepts one argument, but the modules come one by one: `MySequential(a, b, c)`. The star in "
        "`def __init__(self, *modules)` collects any number of them.",
        "Without the star, the second module is an argument too many.",
        "Write `def __init__(self, *modules)`.",
        f"{CHAPTER}my-sequential",
    ),
)

# --- other right answers ------------------------------------------------------------------------------------------

ALTERNATIVES = {
    "numbered_attributes": written(
        "self.length = len(modules)\nfor i in range(self.length):\n    setattr(self, str(i), modules[i])",
        'for i in range(self.length):\n    X = getattr(self, f"{i}")(X)\nreturn X',
    ),
    "reduce": "from functools import reduce\n\n\n"
    + written(
        "self._modules.update({str(i): m for i, m in enumerate(modules)})",
        "return reduce(lambda Y, module: module(Y), self._modules.values(), X)",
    ),
    "a_module_list_itself": written(
        "self.extend(modules)", "for module in self:\n    X = module(X)\nreturn X", "nn.ModuleList"
    ),
    "a_module_dict_itself": written(
        "self.update({str(i): module for i, module in enumerate(modules)})",
        "modules = list(self.values())\nwhile modules:\n    X = modules.pop(0)(X)\nreturn X",
        "nn.ModuleDict",
    ),
    "tuple_and_register": written(
        "self.blocks = modules\nfor i, block in enumerate(self.blocks):\n    self.register_module(str(i), block)",
        OVER_BLOCKS,
    ),
    "renaming_hooks": """\
class MySequential(nn.Module):
    def __init__(self, *modules):
        super().__init__()
        self.blocks = nn.ModuleList(modules)
        self.register_state_dict_post_hook(self._shorten)
        self.register_load_state_dict_pre_hook(self._lengthen)

    @staticmethod
    def _shorten(module, state, prefix, local_metadata):
        for key in [k for k in state if k.startswith(prefix + "blocks.")]:
            state[prefix + key.removeprefix(prefix + "blocks.")] = state.pop(key)

    @staticmethod
    def _lengthen(module, state, prefix, *rest):
        for key in [k for k in state if k.startswith(prefix)]:
            state[prefix + "blocks." + key.removeprefix(prefix)] = state.pop(key)

    def forward(self, X):
        for block in self.blocks:
            X = block(X)
        return X
""",
}

TASK = ExerciseSource(
    name="my_sequential",
    defines="MySequential",
    reference=MySequential,
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
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
