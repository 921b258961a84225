"""The book's page of common mistakes, made from the catalogues and the release.

In: the assignments, each with its `public.json`. Out: `book/guides/mistakes.md`, which is not in the repository.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from d2lblocks.checking.exercise import read_public
from d2lblocks.checking.judge import judge
from d2lblocks.checking.report import anchor
from grader.authoring.catalogue import Mistake
from grader.authoring.exercise import Assignment, assignments
from grader.files.atomic import PUBLIC_FILE, umask, write_file

_HEAD = """\
<!-- Made by `python -m grader mistakes` from the catalogues, solutions/*/*.md. Change those, not this page. -->

# Common mistakes

These are the mistakes that the checks of the exercises recognise. For each you find the code, what the checks
observe, why it happens, and what to do. When a check recognises one of them in your answer, it tells you so and links
to this page. Every entry is a program, and the tests run it.

The code shows only the lines that matter; `...` stands for lines that are right.
"""


def in_the_books_order(folders: Iterable[Path], toc: Path) -> list[Path]:
    """Folders of assignments in the order of the chapters that they belong to; those without a chapter come last.

    Args:
        folders: of assignments, named like chapters.
        toc: the book's `_toc.yml`.
    """
    chapters = re.findall(r"file: book/(\w+)\s*$", toc.read_text(encoding="utf-8"), flags=re.M)
    return sorted(folders, key=lambda folder: [*chapters, folder.name].index(folder.name))


def mistakes_page(chosen: Iterable[Assignment], releases: Path) -> str:
    """The page as MyST Markdown: a part for each exercise, an entry for each mistake.

    What the checks observe is judged from the release, which holds the observations of each mistake: no answer runs.

    Args:
        chosen: in the order of the page; those that are not released are left out.
        releases: nbgrader's release directory.

    Raises:
        CatalogueError: a catalogue cannot be read.
        ValueError: a mistake is not in the release, or the release cannot be read.
    """
    parts = [_HEAD]
    for assignment in chosen:
        file = releases / assignment.name / "public.json"
        if not file.is_file():
            continue
        public = read_public(file).exercises
        chapter = assignment.name.replace("_", " ").capitalize()
        for source in assignment.exercises.values():
            parts.append(f"(mistakes-{source.name.replace('_', '-')})=\n## {chapter}: `{source.defines}`\n")
            right = list(source.right_answers.values())
            known = {mistake.id: mistake for mistake in public[source.name].known} if source.name in public else {}
            for mistake in source.mistakes:
                if mistake.id not in known:
                    raise ValueError(
                        f"the mistake {mistake.id} of {source.name} is not in the release; first: "
                        f"python -m grader release {assignment.name}"
                    )
                observed = known[mistake.id].observed
                verdicts = [v for v in judge(public[source.name], observed) if v.check.id in observed]
                lines = [f"- {v.check.title}: {v.message}" for v in verdicts]
                parts.append(_entry(source.name, mistake, excerpt(mistake.source, right), lines))
    return "\n".join(parts)


def write_mistakes_page(solutions: Path, releases: Path, toc: Path, to: Path) -> None:
    """Write the page of all assignments, unless a file says the same already.

    Args:
        solutions: nbgrader's source directory.
        releases: nbgrader's release directory.
        toc: the book's `_toc.yml`, for the order.
        to: the file.

    Raises:
        CatalogueError: a catalogue cannot be read.
        ValueError: a mistake is not in the release, or the release cannot be read.
        OSError: the file cannot be written.
    """
    known = {assignment.name: assignment for assignment in assignments(solutions)}
    in_order = in_the_books_order((solutions / name for name in known), toc)
    page = mistakes_page((known[folder.name] for folder in in_order), releases)
    if not same(page, to):
        write_file(to, page.encode(), PUBLIC_FILE & ~umask())


def same(page: str, path: Path) -> bool:
    """Whether a file has this page already, apart from the last digits of numbers."""
    return path.is_file() and _without_numbers(path.read_text(encoding="utf-8")) == _without_numbers(page)


def _without_numbers(text: str) -> str:
    return re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "0", text)


def _entry(exercise: str, mistake: Mistake, code: str, observed: Sequence[str]) -> str:
    page, _, label = mistake.see.partition(".html#")
    chapter = page.replace("_", " ").capitalize()
    return "\n".join(
        [
            f"({anchor(exercise, mistake.id)})=",
            f"### {mistake.title}",
            "",
            f"```python\n{code}\n```",
            "",
            "**What the checks observe.**",
            "",
            *observed,
            "",
            f"**Why.** {mistake.why}",
            "",
            f"**What to do.** {mistake.remedy} Read more: [{chapter}](#{label}).",
            "",
        ]
    )


def excerpt(wrong: str, right: Sequence[str]) -> str:
    """The lines of a wrong answer that are not in the right answer nearest to it, with the headers above them.

    Args:
        wrong: the source of the wrong answer.
        right: sources of right answers.
    """
    lines = [line for line in wrong.splitlines() if line.strip()]
    plain = [[*_plain(source)] for source in right]
    nearest = max(plain, key=lambda other: difflib.SequenceMatcher(a=other, b=lines, autojunk=False).ratio())
    shown: set[int] = set()
    for kind, _, _, start, end in difflib.SequenceMatcher(a=nearest, b=lines, autojunk=False).get_opcodes():
        if kind == "delete":  # something is missing: show what stands around the gap
            shown.update(i for i in (start - 1, start) if 0 <= i < len(lines))
        elif kind != "equal":
            shown.update(range(start, end))
    for i in sorted(shown):
        shown.update(_headers(lines, i))
    return "\n".join(_with_gaps(lines, shown))


def _plain(source: str) -> Iterator[str]:
    """The lines of a source without annotations, docstrings and nbgrader's marks, as the catalogue writes them."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    yield from (line for line in ast.unparse(tree).replace("'", '"').splitlines() if line.strip())


def _headers(lines: Sequence[str], i: int) -> Iterator[int]:
    """The lines with `class`, `def`, `for`, … below which a line stands."""
    depth = len(lines[i]) - len(lines[i].lstrip())
    for above in range(i - 1, -1, -1):
        own = len(lines[above]) - len(lines[above].lstrip())
        if lines[above].strip() and own < depth:
            yield above
            depth = own


def _with_gaps(lines: Sequence[str], shown: set[int]) -> Iterator[str]:
    """The lines that are shown, `...` for those between, and an empty line between two functions or classes."""
    gap, depth = False, 0
    for i, line in enumerate(lines):
        own = len(line) - len(line.lstrip())
        if i in shown:
            if own < depth and line.lstrip().startswith(("def ", "class ", "@")):
                yield ""
            yield line
            depth = own
        elif not gap:
            yield " " * own + "..."
            depth = own
        gap = i not in shown
