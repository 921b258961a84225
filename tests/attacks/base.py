"""What an attack is, and the parts that attacks share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.authoring.fill_in import fill_in

NAME = "custom_layers"
POINTS = {"centered_layer": 4, "my_linear": 8, "tensor_reduction": 8, "half_fourier": 6, "running_center": 10}
ATTACKED = "my_linear"
PARAMETERS_ONLY = 4  # of the 8 points: an honest wrong answer that has the right parameters, but not the values
READ = "I could read"  # an attack prints this if it has read what it must not read
NOTE = ".note-of-mallory"  # a file that one attack leaves for the next
MARK = "it got as far as its attempt"
MARK_FILE = Path("/tmp/attempted")  # nbgrader's own command runs an attack in a sandbox where this can be seen
# Put before each cell that calls `attempt()`. No source holds the whole mark, because a traceback may quote a source.
ATTEMPT = f"""\
def attempt():
    mark = "it got as far " + "as its attempt"
    print(mark, flush=True)
    try:
        open("{MARK_FILE}", "w").close()
    except OSError:
        pass
    return mark


def replace(owner, name, new):
    assert hasattr(owner, name), f"there is no {{name}} any more"
    setattr(owner, name, new)


"""
# Words in the report of an attempt after which the printed mark is lost.
CRASHED = "took down the process that it ran in"
STOPPED = "stopped after"
BEHIND = ("tensor_reduction", "half_fourier", "running_center")


@dataclass(frozen=True)
class Attack:
    """One submission, which proves that it reached its attempt.

    It calls `attempt()`, which prints `MARK`, just before or just after the attempt. If the printed mark is lost with
    the attempt, for example because the process ends, the proof is `says` or `shows`: words that only the attempt can
    cause.

    Attributes:
        id: its name, as a student's: ``mallory-<id>``.
        does: what it does, in a few words, for the guide.
        cell: the answer to `my_linear`; empty: the right answer.
        notebook: makes further changes to the notebook.
        folder: makes further changes to the folder, after the notebook is written.
        least: the points that it must get for `my_linear`, at least.
        most: the points that it may get for `my_linear`, at most.
        costs: the other exercises of the same submission that may lose points; other submissions may lose none.
        says: words that the command prints about it.
        shows: words in the graded notebook: in the outputs of its cells, or in a text cell. The mark, if neither
            this nor `says` is given.
        graded: whether it can be graded.
        clumsy: whether it is an accident.
        waits: whether only a timeout ends it. The tests set short timeouts for these, and long ones for all others.
    """

    id: str
    does: str
    cell: str = ""
    notebook: Callable[[NotebookNode], None] | None = None
    folder: Callable[[Path], None] | None = None
    least: float = 0
    most: float = PARAMETERS_ONLY
    costs: tuple[str, ...] = ()
    says: str = ""
    shows: str = ""
    graded: bool = True
    clumsy: bool = False
    waits: bool = False

    def hand_in(self, release: NotebookNode, right: dict[str, str], folder: Path) -> None:
        """Write it into the folder of submissions.

        Args:
            release: the released notebook.
            right: a right answer to each exercise.
            folder: ``submitted/<student>/custom_layers``.
        """
        notebook = fill_in(release, {**right, ATTACKED: self.cell or right[ATTACKED]})
        if self.notebook:
            self.notebook(notebook)
        for cell in notebook.cells:
            # Some of the cells are no cells at all.
            if isinstance(cell, NotebookNode) and cell.get("cell_type") == "code" and "attempt()" in cell.source:
                cell.source = ATTEMPT + cell.source
        folder.mkdir(parents=True)
        # As Jupyter writes it, but also what is no text: a lone surrogate is written with an escape.
        (folder / f"{NAME}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        if self.folder:
            self.folder(folder)

    def got_to_its_attempt(self, said: str, notebook: NotebookNode | None) -> bool:
        """Whether the grading shows that it reached its attempt.

        Args:
            said: what the command printed about it.
            notebook: as it was graded; None if it was not.
        """
        shown = shown_in(notebook) if notebook else ""
        needed = self.shows if self.says or self.shows else MARK
        return self.says in said and needed in shown


def shown_in(notebook: NotebookNode) -> str:
    """The outputs of all cells, and the text cells, as JSON."""
    cells = (c.source if c.cell_type == "markdown" else c.get("outputs") for c in notebook.cells)
    return json.dumps([*cells], ensure_ascii=False)


def my_linear(forward: str, before: str = "") -> str:
    """`MyLinear` with the right parameters, and what it does when it is called."""
    return f"""\
{before.strip()}


class MyLinear(nn.Module):
    def __init__(self, in_units, units):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(in_units, units))
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, X):
{indent(forward.strip(), " " * 8)}
""".lstrip()


def own_cell(notebook: NotebookNode, name: str) -> NotebookNode:
    """The cell of a `grade_id`."""
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def replaced(source: str, old: str, new: str) -> str:
    """A source in which a part is replaced; fails if it has no such part."""
    assert old in source, f"{old!r} is not in the cell any more"
    return source.replace(old, new)


def with_cells(*sources: str, behind: str = "setup") -> Callable[[NotebookNode], None]:
    """Add cells of the student's own after one of ours."""

    def change(notebook: NotebookNode) -> None:
        place = notebook.cells.index(own_cell(notebook, behind)) + 1
        notebook.cells[place:place] = [nbformat.v4.new_code_cell(source) for source in sources]

    return change


def with_text(source: str) -> Callable[[NotebookNode], None]:
    """Add a text cell of the student's own at the end."""
    return lambda notebook: notebook.cells.append(nbformat.v4.new_markdown_cell(source))


def with_pictures(data: str, times: int) -> Callable[[NotebookNode], None]:
    """Add a text cell at the end that shows one picture many times."""
    cell = nbformat.v4.new_markdown_cell("![p](attachment:p.png)\n" * times)
    return lambda notebook: notebook.cells.append({**cell, "attachments": {"p.png": {"image/png": data}}})


def instead(content: str | bytes) -> Callable[[Path], None]:
    """Submit this in place of the notebook."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: _only(folder / f"{NAME}.ipynb", data)


def _only(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def beside(**files: str) -> Callable[[Path], None]:
    """Submit further files; ``__`` in a name stands for a dot."""

    def add(folder: Path) -> None:
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")

    return add


def called(name: str) -> Callable[[Path], None]:
    """Give the notebook another name."""

    def rename(folder: Path) -> None:
        (folder / f"{NAME}.ipynb").rename(folder / name)

    return rename


# What the public cases contain: all observations by probe, and the outputs by input.
LOOK_UP = """
import json
from d2lblocks.checking.observation import decode, encode

PUBLIC = json.load(open("public.json"))["exercises"]["my_linear"]


def key(tensor):
    return json.dumps(encode(tensor))


def public_cases(check):
    return [case for case in PUBLIC["cases"] if case["group"] in check["on"]]


EXPECTED = {check["probe"]: check["expected"] for check in PUBLIC["checks"]}
SEEN = {
    key(decode(case["inputs"][0])): decode(seen["dict"]["output"])
    for check in PUBLIC["checks"] if check["probe"] == "values"
    for case, seen in zip(public_cases(check), check["expected"], strict=True)
}
"""

# The numbers of all open sockets; one of them leads to the grader.
CHANNEL = """
import os, socket, stat

CHANNELS = []
for number in range(3, 256):
    try:
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            CHANNELS.append(number)
    except OSError:
        pass
"""
