"""Accidents that happen to submissions, without bad intent."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode

from grader.authoring.fill_in import solution_cells
from tests import ROOT
from tests.attacks.base import (
    ATTACKED,
    NAME,
    STOPPED,
    Attack,
    beside,
    called,
    instead,
    my_linear,
    own_cell,
    replaced,
    with_cells,
)


def change_test(notebook: NotebookNode) -> None:
    """The autograde cell is changed."""
    own_cell(notebook, f"test_{ATTACKED}").source = "assert True"


def delete_test(notebook: NotebookNode) -> None:
    """The autograde cell is deleted."""
    notebook.cells.remove(own_cell(notebook, f"test_{ATTACKED}"))


def duplicate(notebook: NotebookNode) -> None:
    """Solution and test are there twice, with their metadata."""
    for name in (ATTACKED, f"test_{ATTACKED}"):
        notebook.cells.append(nbformat.from_dict(dict(own_cell(notebook, name))))


def windows_newlines(notebook: NotebookNode) -> None:
    """Every line ends as on Windows."""
    with_cells("# The first of two lines.\nprint('This was ' + 'written on Windows')")(notebook)
    for cell in notebook.cells:
        cell.source = cell.source.replace("\n", "\r\n")


def use_helper(notebook: NotebookNode) -> None:
    """The answer needs a cell that the student has added."""
    cell = own_cell(notebook, ATTACKED)
    cell.source = replaced(cell.source, "F.relu(", "helper(")
    with_cells("def helper(X):\n    print('The helper ' + 'helps')\n    return F.relu(X)")(notebook)


def set_default_dtype(notebook: NotebookNode) -> None:
    """Every tensor that is made afterwards has another dtype."""
    cell = own_cell(notebook, ATTACKED)
    change = "torch.set_default_dtype(torch.float64)\nprint('everything is', torch.ones(1).dtype, 'now')\n"
    cell.source = change + cell.source


def be_noisy(notebook: NotebookNode) -> None:
    """Warnings, standard error and a progress bar, before the answer and inside it."""
    noise = "import sys, time, warnings\n"
    noise += "for i in range(50):\n    print('\\r' + '#' * i, end='', file=sys.stderr)\nwarnings.warn('careful')\n"
    cell = own_cell(notebook, ATTACKED)
    more = "        warnings.warn('careful'), print('here', file=sys.stderr), print('Noise ' + 'x' * 1000)\n"
    cell.source = noise + replaced(cell.source, "        return ", more + "        return ")


def leave_stub(notebook: NotebookNode) -> None:
    """The cell of the release, without an answer."""
    released = nbformat.read(ROOT / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    own_cell(notebook, ATTACKED).source = solution_cells(released)[ATTACKED].source


def as_version_3(folder: Path) -> None:
    """The notebook as an older Jupyter wrote it."""
    path = folder / f"{NAME}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    with_cells("print('This was ' + 'written long ago')")(notebook)
    old = nbformat.convert(notebook, 3)
    assert old["nbformat"] == 3
    path.write_text(nbformat.v3.writes_json(old), encoding="utf-8")


def as_utf_16(folder: Path) -> None:
    """The notebook as an editor under Windows may save it."""
    path = folder / f"{NAME}.ipynb"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))


def type_again(notebook: NotebookNode) -> None:
    """The answer's cell was deleted and typed again."""
    cell = own_cell(notebook, ATTACKED)
    notebook.cells[notebook.cells.index(cell)] = nbformat.v4.new_code_cell(cell.source)


def lose_metadata(notebook: NotebookNode) -> None:
    """Another program has saved it."""
    with_cells("print('nothing says ' + 'whose cell this is')")(notebook)
    for cell in notebook.cells:
        cell.metadata.clear()


def two_attempts(folder: Path) -> None:
    """A wrong answer first; then the right one, in a second upload."""
    first, second = folder / f"{NAME}.ipynb", folder / f"{NAME} (1).ipynb"
    first.rename(second)
    notebook = nbformat.read(second, as_version=4)
    own_cell(notebook, ATTACKED).source = "class MyLinear(nn.Module):\n    pass"
    nbformat.write(notebook, first)
    hour_before = second.stat().st_mtime - 3600
    os.utime(first, (hour_before, hour_before))


def download_again(folder: Path) -> None:
    """The assignment was downloaded a second time, and everything uploaded."""
    shutil.copy(ROOT / "exercises" / NAME / f"{NAME}.ipynb", folder / f"{NAME} (1).ipynb")


def of_another_assignment(folder: Path) -> None:
    """The wrong notebook under the right name."""
    other = ROOT / "exercises" / "layers_and_blocks" / "layers_and_blocks.ipynb"
    (folder / f"{NAME}.ipynb").write_bytes(other.read_bytes())


def truncate(folder: Path) -> None:
    """The upload was interrupted."""
    path = folder / f"{NAME}.ipynb"
    path.write_bytes(path.read_bytes()[:5000])


Mishap = partial(Attack, least=8, most=8, clumsy=True)
CLUMSY = (
    Mishap("noisy", "warns, prints to standard error, shows a progress bar", notebook=be_noisy, shows="Noise xxx"),
    Mishap("deleted_test", "deletes an autograde cell", notebook=delete_test, says="have been put back"),
    Mishap(
        "edited_test", "edits an autograde cell", notebook=change_test, says="is locked; your change of it was undone"
    ),
    Mishap("duplicated_cell", "copies cells, ids included", notebook=duplicate, says="more than once"),
    Mishap(
        "reordered",
        "moves cells",
        notebook=lambda notebook: notebook.cells.reverse(),
        says="had been moved",
    ),
    Mishap(
        "default_dtype",
        "sets the default dtype for the whole notebook",
        notebook=set_default_dtype,
        shows="everything is torch.float64 now",
    ),
    Mishap("scratch_cell", "needs a cell of its own", notebook=use_helper, shows="The helper helps"),
    Mishap(
        "renamed_notebook",
        "gives the notebook another name",
        folder=called("My solution (final).ipynb"),
        says="was graded as custom_layers.ipynb",
    ),
    Mishap(
        "wrong_assignment",
        "hands in another assignment's notebook",
        folder=of_another_assignment,
        least=0,
        graded=False,
        says="another assignment",
    ),
    Mishap(
        "extra_notebook",
        "hands in a second notebook",
        folder=beside(draft__ipynb="{}"),
        says="Also submitted, but not graded: draft.ipynb",
    ),
    Mishap(
        "no_notebook",
        "hands in something else",
        folder=called("solution.pdf"),
        least=0,
        graded=False,
        says="there is solution.pdf",
    ),
    Mishap(
        "not_json",
        "hands in what is no notebook",
        folder=instead("%PDF-1.4"),
        least=0,
        graded=False,
        says="is not a notebook that can be read",
    ),
    Mishap(
        "not_text",
        "hands in bytes",
        folder=instead(bytes(range(256))),
        least=0,
        graded=False,
        says="is not a notebook that can be read",
    ),
    Mishap(
        "not_a_notebook",
        "hands in JSON that is no notebook",
        folder=instead("[1, 2]"),
        least=0,
        graded=False,
        says="JSON, but not a notebook",
    ),
    Mishap(
        "deeply_nested",
        "hands in 100,000 brackets",
        folder=instead("[" * 100_000),
        least=0,
        graded=False,
        says="is not a notebook that can be read",
    ),
    Mishap(
        "no_cells",
        "hands in a notebook without cells",
        folder=instead('{"nbformat": 4}'),
        least=0,
        graded=False,
        says="has no cells",
    ),
    Mishap("empty_file", "hands in an empty file", folder=instead(""), least=0, graded=False, says="it is empty"),
    Mishap(
        "truncated",
        "hands in half a notebook",
        folder=truncate,
        least=0,
        graded=False,
        says="is not a notebook that can be read",
    ),
    Mishap(
        "nbformat_3",
        "hands in the format of an older Jupyter",
        folder=as_version_3,
        shows="This was written long ago",
    ),
    Mishap(
        "utf_16",
        "saves the notebook in another encoding",
        notebook=with_cells("print('saved as ' + 'UTF-16')"),
        folder=as_utf_16,
        shows="saved as UTF-16",
    ),
    Mishap(
        "answer_retyped",
        "deletes the answer's cell and types it again",
        notebook=type_again,
        says="was missing; your cell that defines MyLinear was graded in its place",
    ),
    Mishap(
        "lost_metadata",
        "saves the notebook with a program that drops nbgrader's metadata",
        notebook=lose_metadata,
        shows="nothing says whose cell this is",
    ),
    Mishap(
        "two_attempts",
        "hands in a second attempt beside the first",
        folder=two_attempts,
        says="(1).ipynb was graded: its name has the highest number, its file is the newest",
    ),
    Mishap(
        "downloaded_again",
        "hands in an empty copy beside the notebook",
        folder=download_again,
        says="custom_layers.ipynb was graded: the others have no answers",
    ),
    Mishap(
        "syntax_error",
        "has a syntax error",
        "class MyLinear(nn.Module:\n    pass",
        least=0,
        most=0,
        shows="SyntaxError",
    ),
    Mishap(
        "name_error", "uses a name that is not defined", "undefined_name", least=0, most=0, shows="undefined_name"
    ),
    Mishap(
        "import_error",
        "imports a package that is not there",
        "import no_such_module",
        least=0,
        most=0,
        shows="no_such_module",
    ),
    Mishap("stub_untouched", "leaves the stub", notebook=leave_stub, least=0, most=0, shows="not answered"),
    Mishap(
        "top_level_slow",
        "trains a network in a cell of its own",
        notebook=with_cells(
            "net = nn.Linear(100, 100)\nwhile True:\n    net(torch.randn(64, 100)).square().mean().backward()"
        ),
        shows=STOPPED,
        waits=True,
    ),
    Mishap(
        "pip_and_magics",
        "uses magics, a shell, `pip` and `input()`",
        notebook=with_cells(
            "%matplotlib inline\n%timeit -n1 -r1 1\n!ls\n%load_ext autoreload\n_ = display(1)\n",
            "%%bash\necho hello",
            "%%time\nsum(range(1000))",
            "input('how many? ')",
            "%pip --version",
        ),
        shows="nobody answers while a notebook is graded",
    ),
    Mishap(
        "unicode",
        "writes in other scripts",
        notebook=with_cells("größe = 'שלום мир 你好 🧱 e\\u0301'\nprint(größe)\n# ∀ε>0 ∃δ\n'🧱'"),
        shows="你好",
    ),
    Mishap(
        "windows_newlines", "ends lines as on Windows", notebook=windows_newlines, shows="This was written on Windows"
    ),
    Mishap(
        "output_heavy",
        "prints a great deal and draws pictures",
        notebook=with_cells(
            "%matplotlib inline\nimport matplotlib.pyplot as plt\nfor n in range(3):\n"
            "    plt.figure()\n    plt.plot(torch.randn(1000))\n    plt.show()\n"
            "print('\\n'.join(map(str, range(20000))))"
        ),
        shows="image/png",
    ),
    Mishap(
        "writes_a_module",
        "writes its answer into a file, and imports it from there",
        "from mine import MyLinear\n",
        notebook=with_cells(
            "%%writefile mine.py\nimport torch\nfrom torch import nn\n\n\n"
            + my_linear("return F.relu(X @ self.weight + self.bias)", "import torch.nn.functional as F")
        ),
        shows="Writing mine.py",
    ),
    Mishap(
        "names_of_modules",
        "writes files that are called like the modules of Python and PyTorch, beside the notebook",
        notebook=with_cells(
            """\
import sys

for name in {*sys.stdlib_module_names, *(name.partition(".")[0] for name in sys.modules)}:
    with open(f"{name}.py", "w") as file:
        file.write("print('not the module ' + 'that was meant')\\nraise ImportError(__name__)\\n")
print("all have " + "been written")
"""
        ),
        shows="all have been written",
    ),
)
