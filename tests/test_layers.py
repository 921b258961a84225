"""Which folder may import which, and how long a module may be."""

import ast

import pytest

from tests import ROOT

# A part may import those that stand in the lines below its own, and those of its own folder.
LAYERS = [
    {"grader.__main__", "grader.commands", "grader.nbgrader_config", "grader.nbgrader_plugins"},
    {"grader.course", "grader.progress"},
    {"grader.publishing", "grader.lock", "grader.nbgrader_fixes"},
    {"grader.gradebook"},
    {"grader.grading"},
    {"grader.authoring"},
    {"grader.submission"},
    {"grader.sandbox"},
    {"grader.display"},
    {"grader.files"},
    {"grader.sandbox.inside"},
    {"grader.errors"},
    {"d2lblocks"},
]
MAX_LINES = 400


def modules(*folders):
    """The path of each module by its name."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "submitted" not in path.parts]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


GRADER = modules("grader", "d2lblocks")


def layer(name):
    """The number of the layer of a module, from the top; None if it has none."""
    parents = [name]
    while "." in parents[-1]:
        parents.append(parents[-1].rpartition(".")[0])
    for parent in parents:
        for number, names in enumerate(LAYERS):
            if parent in names:
                return number
    return None


def imports(name, known):
    """The modules of ours that a module imports, at its top or later."""
    for node in ast.walk(ast.parse(known[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: write `from grader...` in full"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("name", [name for name in GRADER if name != "grader"])
def test_a_module_imports_only_what_stands_below_it(name):
    own = layer(name)
    assert own is not None, f"{name} has no layer"
    ours = {other for other in imports(name, GRADER) if other.startswith(("grader.", "d2lblocks"))}
    above = [other for other in ours if layer(other) is None or layer(other) < own]
    assert not above, f"{name} imports {above}"


@pytest.mark.parametrize("name", [name for name in GRADER if layer(name) == layer("grader.sandbox.inside")])
def test_what_the_sandbox_mounts_imports_nothing_else_of_the_grader(name):
    inside = ("grader.sandbox.inside", "d2lblocks")
    assert all(other.startswith(inside) for other in imports(name, GRADER) if other.startswith("grader"))


def test_tools_and_library_import_neither_tests_nor_grader():
    known = modules("tools", "d2lblocks", "tests", "grader")
    for name in known:
        top = name.partition(".")[0]
        if top in ("tools", "d2lblocks"):
            assert not [other for other in imports(name, known) if other.partition(".")[0] in ("tests", "grader")], (
                name
            )


LENGTHS = {
    name: len(path.read_text(encoding="utf-8").splitlines())
    for name, path in modules("grader", "d2lblocks", "tools").items()
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_module_is_short(name):
    assert LENGTHS[name] <= MAX_LINES
