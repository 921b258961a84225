"""The book's page of common mistakes, made from the catalogues."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from d2lblocks.checking.pipeline import examine
from d2lblocks.checking.report import anchor, explain
from grader.authoring.catalogue import Mistake
from grader.authoring.exercise import Assignment, define

_HEAD = """\
<!-- Made by `python -m grader mistakes` from the catalogues in solutions/; changes belong there. -->

# Common mistakes

What goes wrong again and again, exercise by exercise: the code, what one observes, how it comes about, and the way
out. Every entry is a program that the tests run: what is *observed* here is what the checks said about it. When a
check recognises one of these in your answer, it tells you so and points here.

Only the lines that matter are shown; `...` stands for what is as it should be.
"""


def in_the_books_order(folders: Iterable[Path], toc: Path) -> list[Path]:
    """Folders of assignments in the order of the chapters that they belong to; those without a chapter come last.

    Args:
        folders: of assignments, named like chapters.
        toc: the book's `_toc.yml`.
    """
    chapters = re.findall(r"file: book/(\w+)\s*$", toc.read_text(encoding="utf-8"), flags=re.M)
    return sorted(folders, key=lambda folder: [*chapters, folder.name].index(folder.name))


def mistakes_page(assignments: Iterable[Assignment]) -> str:
    """The page as MyST Markdown: a part for each exercise, an entry for each mistake.

    Args:
        assignments: in the order of the page.

    Raises:
        CatalogueError: a catalogue cannot be read.
    """
    parts = [_HEAD]
    for assignment in assignments:
        chapter = assignment.name.replace("_", " ").capitalize()
        for source in assignment.exercises.values():
            parts.append(f"(mistakes-{source.name.replace('_', '-')})=\n## {chapter}: `{source.defines}`\n")
            right = list(source.right_answers.values())
            exercise = source.exercise()
            for mistake in source.mistakes:
                report = examine(exercise, define(mistake.source, source.defines))
                observed = [f"- {v.check.title}: {explain(v)}" for v in report.verdicts if v.message]
                parts.append(_entry(source.name, mistake, excerpt(mistake.source, right), observed))
    return "\n".join(parts)


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
    lines = wrong.strip().splitlines()
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
    yield from ast.unparse(tree).replace("'", '"').splitlines()


def _headers(lines: Sequence[str], i: int) -> Iterator[int]:
    """The lines with `class`, `def`, `for`, … below which a line stands."""
    depth = len(lines[i]) - len(lines[i].lstrip())
    for above in range(i - 1, -1, -1):
        own = len(lines[above]) - len(lines[above].lstrip())
        if lines[above].strip() and own < depth:
            yield above
            depth = own


def _with_gaps(lines: Sequence[str], shown: set[int]) -> Iterator[str]:
    gap = False
    for i, line in enumerate(lines):
        if i in shown:
            yield line
        elif line.strip() and not gap:
            yield line[: len(line) - len(line.lstrip())] + "..."
        gap = i not in shown and (gap or bool(line.strip()))
