"""What a mark depends on, as a fingerprint: a submission is graded again if its fingerprint has changed.

It covers the submission, the assignment, the code that gives marks, and the versions of the packages that students'
code uses. Penalties for being late are computed elsewhere, without grading. Texts are not covered: comments,
docstrings, statements, hints, the catalogues (`solutions/*/*.md`). They change no mark; `autograde --force` shows new
ones.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.files import folders
from grader.submission import find, read, timestamps

if TYPE_CHECKING:
    from grader.grading.job import GradingJob, Submission

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "numpy", "IPython", "nbgrader", "nbformat")
# Modules that give marks, that run students' code, and that students import.
ROOTS = ("grader.grading.pool", "grader.sandbox.inside.zygote", "d2lblocks")
# Texts for readers: arguments of `Check` in the author's files, by name, with their positions.
_TEXTS_OF_A_CHECK = {"title": 1, "hints": 4}
_EXERCISE = "EXERCISE"  # what such a file defines
_OF_A_CELL = ("cell_type", "grade", "grade_id", "locked", "points", "solution", "task")

File = tuple[Path, int, int]  # the time of its last change, its size


def fingerprint(job: GradingJob, submission: Submission) -> str:
    """What the marks of a submission depend on. The seed is not part of it: any seed is as good as another."""
    digest = _Digest(versions(job, submission.assignment))
    with contextlib.suppress(OSError):  # a folder that cannot be read; grading reports it
        attempts = find.attempts(submission.folder, submission.assignment)
        for path in find.notebooks(submission.folder):
            # Of several attempts the newest is graded, and the times of the files may decide which one that is.
            time = path.stat().st_mtime_ns if path in attempts and len(attempts) > 1 else 0
            digest.add(os.fsencode(path.name), content(path) if path in attempts else b"", time)
    digest.add(timestamps.content(submission.folder) or b"")
    return digest.hex()


def versions(job: GradingJob, assignment: str) -> str:
    """What the marks of an assignment depend on besides a submission."""
    digest = _Digest("python", *sys.version_info[:2])
    for package in PACKAGES:
        digest.add(package, importlib.metadata.version(package))
    for name, path in sorted(sources().items()):
        digest.add(name, _code(_file(path)))
    # Names, not whole paths: a course that has been moved is the same course.
    for path in _author_files(job, assignment):
        if path.suffix == ".py":
            digest.add(path.name, _code(_file(path)))
        elif path.suffix == ".ipynb":
            digest.add(path.name, _worked(_file(path)))
        else:
            digest.add(path.name, content(path))
    for path in _files_of(job.releases / assignment):
        if path.suffix == ".ipynb":
            digest.add(path.name, _release(_file(path)))
        elif path.name != "public.json":  # which follows from the rest, and describes the checks in words
            digest.add(path.name, content(path))
    return digest.hex()


def state(job: GradingJob, assignment: str) -> tuple[File, ...]:
    """The files of an assignment as they are now: whoever keeps what it read from them compares this."""
    return tuple(_file(path) for path in (*_author_files(job, assignment), *_files_of(job.releases / assignment)))


def content(path: Path) -> bytes:
    """The bytes of a file; its size if it is too large, or the error if it cannot be read."""
    try:
        size = path.stat().st_size
        return path.read_bytes() if size <= read.MAX_BYTES else f"{size} bytes".encode()
    except OSError as error:
        return f"{error.strerror}".encode()


class _Digest:
    """A digest of a list of things. The boundaries between them count, too."""

    def __init__(self, *things: object) -> None:
        self._hash = hashlib.sha256()
        self.add(*things)

    def add(self, *things: object) -> None:
        for thing in things:
            data = thing if isinstance(thing, bytes) else str(thing).encode("utf-8", "surrogateescape")
            self._hash.update(len(data).to_bytes(8, "big") + data)

    def hex(self) -> str:
        return self._hash.hexdigest()


def _files_of(folder: Path) -> list[Path]:
    try:
        return folders.files(folder)
    except OSError:
        return []


def _author_files(job: GradingJob, assignment: str) -> list[Path]:
    """The files in an assignment's folder of `solutions/`, without the catalogues, on which no mark depends."""
    return [path for path in _files_of(job.solutions / assignment) if path.suffix != ".md"]


def _file(path: Path) -> File:
    found = path.stat()
    return path, found.st_mtime_ns, found.st_size


# --- code ---------------------------------------------------------------------------------------------------------


def sources() -> dict[str, Path]:
    """The files of our modules that give marks, by name: all that `ROOTS` import, directly or not."""
    return _sources(ROOT)


@functools.lru_cache
def _sources(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    names = list(ROOTS)
    while names:
        name = names.pop()
        path = _where(root, name)
        if path is None or name in found:
            continue
        found[name] = path
        names.append(name.rpartition(".")[0])
        names += _imports(ast.parse(path.read_text(encoding="utf-8")))
    return found


def _where(root: Path, name: str) -> Path | None:
    """The file of a module; None if it is not ours."""
    if name.partition(".")[0] not in ("grader", "d2lblocks"):
        return None
    at = root.joinpath(*name.split("."))
    return next((path for path in (at.with_suffix(".py"), at / "__init__.py") if path.is_file()), None)


def _imports(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)  # a module, perhaps


@functools.lru_cache(maxsize=512)
def _code(file: File) -> bytes:
    """The code of a program, without texts that are only for reading.

    Args:
        file: read again if it has changed: the grader may run as long as a server.
    """
    return _without_texts(content(file[0]))


def _without_texts(source: bytes) -> bytes:
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    _Texts().visit(module)
    return "\n".join(map(ast.dump, _needed(module))).encode("utf-8", "surrogatepass")


class _Texts(ast.NodeTransformer):
    """Removes docstrings, and of each `Check(…)` the title and the hints."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and type(first.value.value) is str
            ):
                del body[0]
        return super().generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "Check":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in _TEXTS_OF_A_CHECK]
            for place in _TEXTS_OF_A_CHECK.values():
                if place < len(node.args):
                    node.args[place] = ast.Constant(None)
        return self.generic_visit(node)


def _needed(module: ast.Module) -> list[ast.stmt]:
    """The statements of an author's file that `EXERCISE` needs, without constants that only hints use.

    Those that bind the name, what these need in turn, and all that bind nothing, because they may do anything. The
    whole module, if it does not bind the name.
    """
    bound = [_bound(statement) for statement in module.body]
    wanted = {_EXERCISE}
    if not wanted & set().union(*bound):
        return module.body
    needed: set[int] = set()
    while True:
        more = {k for k, own in enumerate(bound) if (not own or own & wanted) and k not in needed}
        if not more:
            return [module.body[k] for k in sorted(needed)]
        needed |= more
        for k in more:
            wanted |= {node.id for node in ast.walk(module.body[k]) if isinstance(node, ast.Name)}


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement gives a value to."""
    names: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


@functools.lru_cache(maxsize=64)
def _worked(file: File) -> bytes:
    """What a mark depends on in an author's notebook: the code of the worked solutions, which is the reference."""
    data = content(file[0])
    try:
        cells = [cell for cell in json.loads(data)["cells"] if cell["cell_type"] == "code"]
        own = {cell["metadata"].get("nbgrader", {}).get("grade_id", ""): cell for cell in cells}
        solutions = {name: cell for name, cell in own.items() if cell["metadata"].get("nbgrader", {}).get("solution")}
        digest = _Digest()
        for name, cell in sorted(solutions.items()):
            digest.add(name, _without_texts("".join(cell["source"]).encode("utf-8", "surrogatepass")))
    except (ValueError, LookupError, AttributeError, TypeError):
        return data
    return digest.hex().encode()


# --- the released notebook ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _release(file: File) -> bytes:
    """What a mark depends on in a released notebook: its code, and the cells that are worth points."""
    data = content(file[0])
    try:
        cells = [_cell(cell) for cell in json.loads(data)["cells"]]
    except (ValueError, LookupError, AttributeError, TypeError):
        return data
    return json.dumps([cell for cell in cells if cell], sort_keys=True).encode()


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    own = cell["metadata"].get("nbgrader", {})
    # Its text counts, too: it tells whether the cell was answered.
    by_hand = bool(own.get("solution") or own.get("task"))
    if cell["cell_type"] != "code" and not by_hand and not own.get("grade"):
        return {}
    return {
        "id": cell.get("id"),
        "source": "".join(cell["source"]),
        **{name: own.get(name) for name in (*_OF_A_CELL, *(("checksum",) if by_hand else ()))},
    }
