"""Run the chapters of the book: each once, for the website, for nbval, and for the outputs that are stored.

    python -m tools.notebooks      (make refresh) run what changed, and store the outputs in book/*.ipynb

Reads `_toc.yml` and the notebooks that it names. The outputs go into `_build/.jupyter_cache`. Jupyter Book finds them
there, and in `make test` nbval compares them with the stored ones. A chapter runs again when its code, its metadata,
`d2lblocks`, a data file in `book/`, Python or an installed package has changed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from sphinx_external_toc.parsing import MalformedError, parse_toc_yaml

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "_build" / ".jupyter_cache"  # where Jupyter Book looks, too, so that nothing runs twice
LOGS = ROOT / "_build" / "logs"
CELL_TIMEOUT = 600  # seconds
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# A chapter that times something must not share the machine with other chapters.
_MEASURES = re.compile(r"\bmeasure\(|torch\.utils\.benchmark|perf_counter|%timeit")


class BuildError(Exception):
    """An error that the author of a page has to fix; its text is all that is shown."""


# --- What to run --------------------------------------------------------------------------------------------------


def chapters() -> list[Path]:
    """The notebooks that `_toc.yml` names, in its order.

    Raises:
        BuildError: `_toc.yml` cannot be read, or names a page that does not exist.
    """
    try:
        names = list(parse_toc_yaml(ROOT / "_toc.yml"))
    except (MalformedError, OSError, yaml.YAMLError) as error:
        raise BuildError(f"_toc.yml: {' '.join(str(error).split())}") from None
    found = []
    for name in names:
        candidates = [ROOT / name, *(ROOT / f"{name}{suffix}" for suffix in (".ipynb", ".md"))]
        path = next((p for p in candidates if p.is_file()), None)
        if path is None:
            raise BuildError(f"_toc.yml: there is no page {name}.ipynb or {name}.md")
        if path.suffix == ".ipynb":
            found.append(path)
    return found


def read(path: Path) -> nbformat.NotebookNode:
    """A chapter as it is stored.

    Raises:
        BuildError: it is not a notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.reader.NotJSONError) as error:
        raise BuildError(f"{path.relative_to(ROOT)}: not a notebook: {str(error).splitlines()[0]}") from None


def fingerprint() -> str:
    """A hash of everything but the chapters' own code that their outputs depend on."""
    digest = hashlib.sha256(f"{platform.python_version()} {platform.machine()}".encode())
    # Only what is installed, not all that Python would find: setuptools adds packages of its own when it is imported.
    installed = {f"{d.metadata['Name']}=={d.version}" for d in distributions(path=[sysconfig.get_path("purelib")])}
    digest.update("\n".join(sorted(installed)).encode())
    sources = [*(ROOT / "exercises").glob("*/public.json")]  # which `check` reads
    sources += [p for p in (ROOT / "d2lblocks").rglob("*") if not {"__pycache__", ".ipynb_checkpoints"} & {*p.parts}]
    # Data that chapters read; not the pages themselves, and not the folders that belong to the site (_ext, ...).
    sources += [
        p
        for p in (ROOT / "book").rglob("*")
        if p.suffix not in {".ipynb", ".md"} and not any(s[0] in "_." for s in p.relative_to(ROOT / "book").parts)
    ]
    for path in sorted(p for p in sources if p.is_file()):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def open_cache() -> Any:
    """The cache of executed notebooks, emptied if `fingerprint` is not that of its outputs."""
    mark = CACHE / "fingerprint"
    now = fingerprint()
    if not mark.is_file() or mark.read_text() != now:
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        mark.write_text(now)
    return get_cache(CACHE)


def built_cache() -> Any:
    """The cache as the build of the book has left it.

    Raises:
        BuildError: something that the outputs depend on has changed since.
    """
    mark = CACHE / "fingerprint"
    if not mark.is_file() or mark.read_text() != fingerprint():
        raise BuildError("the chapters have not run as they are now; first: make book")
    return get_cache(CACHE)


def executed(cache: Any, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    """The code cells of a notebook with their outputs; None if exactly these cells are not in the cache."""
    try:
        record = cache.match_cache_notebook(notebook)
    except KeyError:
        return None
    return cache.get_cache_bundle(record.pk).nb


# --- Running ------------------------------------------------------------------------------------------------------


def run(path: Path, notebook: nbformat.NotebookNode, threads: int) -> float:
    """Execute a notebook in the folder of its file, in place.

    Args:
        path: its file.
        notebook: gets the outputs.
        threads: for PyTorch's operators.

    Returns:
        How many seconds it took.

    Raises:
        BuildError: a cell failed that is not tagged ``raises-exception``.
    """
    place = {"cell": 0}

    def on_cell_start(cell: nbformat.NotebookNode, cell_index: int) -> None:
        place["cell"] = cell_index

    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        record_timing=False,  # jupyter-cache hashes cells' metadata: with times in them nothing would ever be found
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=on_cell_start,
    )
    LOGS.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    # ipykernel logs a remark about encryption at each start; what else it says matters only if it dies.
    with (LOGS / f"{path.stem}.log").open("wb") as log:
        try:
            client.execute(stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        except CellExecutionError as error:
            arrow = [line for line in _ANSI.sub("", error.traceback).splitlines() if line.startswith("-")]
            lines = "".join(f"\n    line {line.lstrip('-> ')}" for line in arrow if "> " in line)
            failure = f"{error.ename}: {error.evalue}{lines}"
        except CellTimeoutError:
            failure = f"still running after {CELL_TIMEOUT} s"
        except DeadKernelError:
            failure = f"the kernel died; see {Path(log.name).relative_to(ROOT)}"
        else:
            return time.perf_counter() - start
    source = notebook.cells[place["cell"]].source.strip().splitlines()
    first = source[0] if source else "empty"
    raise BuildError(f"{path.relative_to(ROOT)}, cell {place['cell'] + 1} ({first}): {failure}")


def run_chapters(jobs: int) -> int:
    """Run the chapters that need it, several at a time, and say so; return how many there were.

    Raises:
        BuildError: a cell failed that is not tagged ``raises-exception``.
    """
    cache = open_cache()
    stale = [(path, notebook) for path in chapters() if executed(cache, notebook := read(path)) is None]
    together = [item for item in stale if not _measures(item[1])]
    alone = [item for item in stale if _measures(item[1])]
    failures = []
    cores = os.cpu_count() or 1
    for batch, size in ((together, jobs), (alone, 1)):
        # Two kernels with as many threads each as there are cores spend their time waiting for one another: a
        # chapter of 8 s was seen to take 132 s.
        threads = max(1, cores // size)
        with ThreadPoolExecutor(max_workers=size) as pool:
            running = {pool.submit(run, *item, threads): item for item in batch}
            for future in as_completed(running):
                path, notebook = running[future]
                name = str(path.relative_to(ROOT))
                try:
                    seconds = future.result()
                except BuildError as error:
                    print(f"  {name:<32} failed", flush=True)
                    failures.append(str(error))
                    continue
                print(f"  {name:<32} ran in {seconds:.1f} s", flush=True)
                bundle = CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    if failures:
        raise BuildError("\n".join(failures))
    return len(stale)


def _measures(notebook: nbformat.NotebookNode) -> bool:
    return any(cell.cell_type == "code" and _MEASURES.search(cell.source) for cell in notebook.cells)


# --- Storing ------------------------------------------------------------------------------------------------------


def store(path: Path) -> None:
    """Write the outputs of a chapter that has run into its file, without what differs between runs and machines."""
    notebook = read(path)
    done = executed(open_cache(), notebook)
    if done is None:
        raise BuildError(f"{path.relative_to(ROOT)} has not run")
    outputs = iter([cell for cell in done.cells if cell.cell_type == "code"])
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
        for key in ("execution", "collapsed", "ExecuteTime"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            ran = next(outputs)
            cell.execution_count, cell.outputs = ran.execution_count, _merge_streams(ran.outputs)
    nbformat.write(notebook, path)


def _merge_streams(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """The same outputs; a long stream that arrived in several parts, at random places, is one output."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def main() -> int:
    """Run the chapters that changed and store all outputs; the exit status is 1 if one failed."""
    try:
        ran = run_chapters(os.cpu_count() or 1)
        for path in chapters():
            store(path)
    except BuildError as error:
        print(f"No outputs were stored.\n{error}", file=sys.stderr)
        return 1
    print(f"{ran} chapters run; the outputs of all are in book/*.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
