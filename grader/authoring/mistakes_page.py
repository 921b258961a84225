"""The book's pages of common mistakes, made from the catalogues and the release.

In: the assignments, each with its `public.json`. Out: `book/guides/mistakes/`, which is not in the repository. What
the checks say of each mistake is kept in a cache.
"""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

import d2lblocks
from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.pipeline import examine
from d2lblocks.checking.public import read_public
from d2lblocks.checking.report import Report, anchor, explain
from grader.authoring.catalogue import Mistake
from grader.authoring.exercise import Assignment, ExerciseSource, assignments, define
from grader.errors import ReleaseError
from grader.files.atomic import PUBLIC_FILE, umask, write_file

_MADE = "<!-- Made by `python -m grader mistakes` from the catalogues, solutions/*/*.md. Change those. -->\n"
_INDEX = """\
# Common mistakes

These are the mistakes that the checks of the exercises recognise. For each you find the code, what the checks
observe, why it happens, and what to do. When a check recognises one of them in your answer, it tells you so and links
to its page. Every entry is a program, and the tests run it.
"""


def in_the_books_order(folders: Iterable[Path], toc: Path) -> list[Path]:
    """Folders of assignments in the order of the chapters that they belong to; those without a chapter come last.

    Args:
        folders: of assignments, named like chapters.
        toc: the book's `_toc.yml`.
    """
    chapters = re.findall(r"file: book/(\w+)\s*$", toc.read_text(encoding="utf-8"), flags=re.M)
    return sorted(folders, key=lambda folder: [*chapters, folder.name].index(folder.name))


def mistakes_pages(
    chosen: Iterable[Assignment], releases: Path, cache: Path | None = None, jobs: int = 1
) -> dict[str, str]:
    """The pages as MyST Markdown, by assignment: a part for each exercise, an entry for each mistake.

    Each wrong answer runs, and the checks say what they observe.

    Args:
        chosen: in the order of the pages; those that are not released are left out.
        releases: nbgrader's release directory.
        cache: a file that keeps what the checks said, so that only what has changed runs again.
        jobs: how many exercises run at a time.

    Raises:
        CatalogueError: a catalogue cannot be read.
        ReleaseError: an exercise is not released.
        ValueError: a release cannot be read.
    """
    found: dict[str, list[tuple[ExerciseSource, _Released]]] = {}
    for assignment in chosen:
        file = releases / assignment.name / "public.json"
        if file.is_file():
            public = read_public(file).exercises
            version = hashlib.sha256(file.read_bytes()).hexdigest()
            for name, source in assignment.exercises.items():
                if name not in public:
                    raise ReleaseError(f"{name} is not released; first: python -m grader release {assignment.name}")
                found.setdefault(assignment.name, []).append((source, _Released(public[name], version)))
    observed = _observed_by_key([each for exercises in found.values() for each in exercises], cache, jobs)
    return {assignment: _page(assignment, exercises, observed) for assignment, exercises in found.items()}


def _page(
    assignment: str, exercises: Sequence[tuple[ExerciseSource, _Released]], observed: dict[str, list[str]]
) -> str:
    parts = [
        f"{_MADE}\n# Common mistakes: {_chapter(assignment).lower()}\n\n"
        "The code shows only the lines that matter; `...` stands for lines that are right.\n"
    ]
    for source, released in exercises:
        parts.append(f"(mistakes-{source.name.replace('_', '-')})=\n## `{source.defines}`\n")
        right = list(source.right_answers.values())
        for mistake in source.mistakes:
            lines = observed[_key(released, mistake)]
            parts.append(_entry(source.name, mistake, excerpt(mistake.source, right), lines))
    return "\n".join(parts)


def _chapter(assignment: str) -> str:
    return assignment.replace("_", " ").capitalize()


@dataclass(frozen=True)
class _Released:
    """An exercise, and a hash of the release that it is from."""

    exercise: Exercise
    version: str


def _observed_by_key(
    found: Sequence[tuple[ExerciseSource, _Released]], cache: Path | None, jobs: int
) -> dict[str, list[str]]:
    """What the checks say of each mistake, by `_key`."""
    kept: dict[str, list[str]] = {}
    if cache is not None and cache.is_file():
        kept = json.loads(cache.read_text(encoding="utf-8"))
    keys = [{_key(released, mistake): mistake for mistake in source.mistakes} for source, released in found]
    new = [
        (released.exercise, source.defines, {key: mistake.source for key, mistake in own.items() if key not in kept})
        for (source, released), own in zip(found, keys, strict=True)
    ]
    new = [each for each in new if each[2]]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for observed in pool.map(_observe, *zip(*new, strict=True)) if new else ():
            kept |= observed
    kept = {key: kept[key] for own in keys for key in own}
    if cache is not None and new:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_file(cache, json.dumps(kept).encode(), PUBLIC_FILE & ~umask())
    return kept


def _key(released: _Released, mistake: Mistake) -> str:
    """What the observations of a mistake depend on: its code, the exercise, and the code that checks."""
    said = json.dumps([_code_that_checks(), released.version, released.exercise.name, mistake.source])
    return hashlib.sha256(said.encode()).hexdigest()


@functools.cache
def _code_that_checks() -> str:
    digest = hashlib.sha256(torch.__version__.encode())
    for path in sorted(Path(d2lblocks.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _observe(exercise: Exercise, defines: str, sources: dict[str, str]) -> dict[str, list[str]]:
    torch.set_num_threads(1)
    return {key: _lines(examine(exercise, define(source, defines))) for key, source in sources.items()}


def _lines(report: Report) -> list[str]:
    return [f"- {verdict.check.title}: {explain(verdict)}" for verdict in report.verdicts if verdict.message]


def write_mistakes_pages(solutions: Path, releases: Path, toc: Path, to: Path, cache: Path, jobs: int) -> None:
    """Write the pages of all assignments, and a page that lists them, unless the files say the same already.

    Args:
        solutions: nbgrader's source directory.
        releases: nbgrader's release directory.
        toc: the book's `_toc.yml`, for the order.
        to: the folder of the pages. The list of them is beside it, with the suffix ``.md``.
        cache: as for `mistakes_pages`.
        jobs: as for `mistakes_pages`.

    Raises:
        CatalogueError: a catalogue cannot be read.
        ReleaseError: an exercise is not released.
        ValueError: a release cannot be read.
        OSError: a file cannot be written.
    """
    known = {assignment.name: assignment for assignment in assignments(solutions)}
    in_order = in_the_books_order((solutions / name for name in known), toc)
    made = mistakes_pages((known[folder.name] for folder in in_order), releases, cache, jobs)
    to.mkdir(parents=True, exist_ok=True)
    for path in to.glob("*.md"):
        if path.stem not in made:
            path.unlink()
    for name, page in made.items():
        _write(page, to / f"{name}.md")
    links = "".join(f"- [{_chapter(name)}]({to.name}/{name}.md)\n" for name in made)
    _write(f"{_MADE}\n{_INDEX}\n{links}", to.with_name(f"{to.name}.md"))


def _write(page: str, path: Path) -> None:
    if not same(page, path):
        write_file(path, page.encode(), PUBLIC_FILE & ~umask())


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
