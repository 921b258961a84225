"""A stub of a new exercise, which can be released, checked and graded as it is: `python -m grader new`.

In: the names of an assignment and of an exercise. Out, in `solutions/<assignment>/`: the cells of the exercise, at
the end of the notebook; `<exercise>.py` with one check; `<exercise>.md` with one wrong and one right answer.
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from grader.authoring.exercise import TEST_PREFIX
from grader.errors import NewExerciseError
from grader.files.atomic import PUBLIC_FILE, umask, write_file

POINTS = 3


def new_exercise(solutions: Path, assignment: str, exercise: str) -> list[Path]:
    """Add a stub of an exercise to a new or an existing assignment.

    Args:
        solutions: the folder of all assignments.
        assignment: the name of its folder and of its notebook.
        exercise: the name of the exercise, like ``"my_linear"``. The stub defines a class: ``MyLinear``.

    Returns:
        The files that were written: the notebook, the checks, the catalogue.

    Raises:
        NewExerciseError: a name cannot be used, or there is such an exercise already. Nothing is written.
        OSError: a file cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", assignment, flags=re.ASCII):
        raise NewExerciseError(f"an assignment cannot be called {assignment!r}; use letters, digits and _")
    name = "".join(word[:1].upper() + word[1:] for word in exercise.split("_"))
    if not re.fullmatch(r"[a-z]\w*", exercise, flags=re.ASCII) or keyword.iskeyword(exercise):
        raise NewExerciseError(
            f"an exercise cannot be called {exercise!r}; use small letters, digits and _: my_linear"
        )
    folder = solutions / assignment
    path = folder / f"{assignment}.ipynb"
    texts = {folder / f"{exercise}.py": _CHECKS, folder / f"{exercise}.md": _CATALOGUE}
    for file in texts:
        if file.exists():
            raise NewExerciseError(f"{file} is there already; choose another name, or remove it")
    notebook = nbformat.read(path, as_version=4) if path.exists() else _notebook(assignment)
    cells = _cells(exercise, name)
    known = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells}
    for cell in cells:
        if (taken := cell.metadata.nbgrader.grade_id) in known:
            raise NewExerciseError(f"{path} has a cell {taken} already; choose another name, or remove the cell")
    notebook.cells += cells
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        write_file(file, text.replace("NAME", name).encode(), PUBLIC_FILE & ~umask())
    write_file(path, f"{nbformat.writes(notebook)}\n".encode(), PUBLIC_FILE & ~umask())
    return [path, *texts]


def _notebook(assignment: str) -> NotebookNode:
    """A notebook without exercises: its title and its imports."""
    title = f"# {assignment.replace('_', ' ').capitalize()}: exercises\n\nWrite here what the assignment is about."
    notebook = new_notebook(
        cells=[
            new_markdown_cell(title, metadata=_about("introduction")),
            new_code_cell(_IMPORTS, metadata=_about("setup")),
        ]
    )
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def _cells(exercise: str, name: str) -> list[NotebookNode]:
    """The statement, the solution cell, the autograde cell."""
    statement, solution = (text.replace("NAME", name) for text in (_STATEMENT, _SOLUTION))
    test = f'{_HIDDEN}\ncheck("{exercise}", {name})'
    return [
        new_markdown_cell(statement, metadata=_about(f"about_{exercise}")),
        new_code_cell(solution, metadata=_about(exercise, solution=True, locked=False)),
        new_code_cell(test, metadata=_about(TEST_PREFIX + exercise, grade=True, points=POINTS)),
    ]


def _about(grade_id: str, **own: bool | int) -> dict[str, dict[str, object]]:
    """nbgrader's metadata of a cell: by default one that is only read."""
    usual = {"grade": False, "solution": False, "locked": True, "task": False, "schema_version": 3}
    return {"nbgrader": {"grade_id": grade_id, **usual, **own}}


_IMPORTS = """\
import math

import torch
from torch import nn
from torch.nn import functional as F

from d2lblocks import check"""

_STATEMENT = f"""\
## `NAME`: a layer with one parameter ({POINTS} points)

Write a layer that multiplies its input by a trained number.

**Contract**

- `NAME()` takes no arguments. It has one parameter, `factor`, without dimensions, which begins at 1.
- Input: a tensor of any shape. Output: `factor * X`, of the same shape and dtype."""

_SOLUTION = '''\
class NAME(nn.Module):
    """factor * X; any shape to the same shape."""

    def __init__(self) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.factor = nn.Parameter(torch.ones(()))
        ### END SOLUTION

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        return self.factor * X
        ### END SOLUTION'''

_HIDDEN = """\
### BEGIN HIDDEN TESTS
from grader.grading.plain_check import check
### END HIDDEN TESTS"""

_CHECKS = f'''\
"""`NAME`: multiplies its input by a trained number."""

from __future__ import annotations

from random import Random

from grader.authoring.exercise import Case, Check, ExerciseSource, normal


def case(label: str, shape: tuple[int, ...], seed: int) -> Case:
    """The layer with a given factor, on a random input."""
    return Case(label, "answer()", (normal(*shape, seed=seed),), {{"factor": normal(seed=seed + 1)}}, seed=seed)


def secret(draw: Random) -> list[Case]:
    """The cases that students do not have: other shapes, other numbers."""
    rows, columns, seed = draw.randint(2, 9), draw.randint(2, 9), draw.randrange(10**6)
    return [case("a batch", (rows, columns), seed), case("one number", (), seed + 10)]


EXERCISE = ExerciseSource(
    defines="NAME",
    checks=(Check("values", "It multiplies by the factor", {POINTS}, "values"),),
    public=(case("one vector", (4,), seed=1),),
    secret=secret,
)
'''

_CATALOGUE = """\
# `NAME`: known answers

## Mistakes

### Added instead of multiplied

- id: `adds`
- fails: `values`
- read: `custom_layers.html#custom-layers-linear`

```python
class NAME(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, X):
        return self.factor + X
```

**What happens.** The layer adds the factor to its input. The statement asks for the product, `self.factor * X`.

**Why.** Both give a tensor of the right shape. For some numbers they even give the same result: 2 + 2 is 2 * 2.

**What to do.** Try the layer on numbers for which you know the result: with the factor 2.5, an input of 2 gives 5.

## Right answers

### torch_mul

```python
class NAME(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_parameter("factor", nn.Parameter(torch.tensor(1.0)))

    def forward(self, X):
        return torch.mul(X, self.factor)
```
"""
