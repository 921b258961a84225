"""Build the website: run every chapter that changed, then let Jupyter Book make the pages.

    python tools/book.py

The site is `_build/html`. The page of common mistakes is written first, from the catalogues in `solutions/` and the
release in `exercises/`. What a page shows is what its chapter printed when it was run here: outputs stored in the
notebooks are never used. A chapter runs again when its code, its cells' metadata, `d2lblocks`, a data file in
`book/`, Python or an installed package has changed. The exit status is 1 if a chapter fails or Sphinx warns.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from html.parser import HTMLParser
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
BUILD = ROOT / "_build"
SITE = BUILD / "html"
CACHE = BUILD / ".jupyter_cache"  # where Jupyter Book looks too, so that nothing runs twice
LOGS = BUILD / "logs"

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# A chapter that times something must not share the machine with other chapters.
_MEASURES = re.compile(r"\bmeasure\(|torch\.utils\.benchmark|perf_counter|%timeit")


class BuildError(Exception):
    """Something that the author of a page has to mend; its text is all that is shown."""


# ---------------------------------------------------------------------------------------------------------------
# What to run


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


def fingerprint() -> str:
    """A hash of everything but the chapters' own code that their outputs depend on."""
    digest = hashlib.sha256(f"{platform.python_version()} {platform.machine()}".encode())
    # Not this project, which is hashed below, and which Python may find once or twice, depending on where it starts.
    installed = {f"{d.metadata['Name']}=={d.version}" for d in distributions() if d.name != "layers-and-blocks"}
    digest.update("\n".join(sorted(installed)).encode())
    sources = [p for p in (ROOT / "d2lblocks").rglob("*") if not {"__pycache__", ".ipynb_checkpoints"} & {*p.parts}]
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


def is_cached(cache: Any, notebook: nbformat.NotebookNode) -> bool:
    """Whether the cache holds the outputs of exactly these code cells (source, metadata and kernel)."""
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------
# Running


@dataclass(frozen=True)
class Run:
    """One execution of one chapter: the notebook with its outputs and the seconds, or why it failed."""

    path: Path
    notebook: nbformat.NotebookNode
    seconds: float
    failure: str = ""


def run(path: Path, notebook: nbformat.NotebookNode, threads: int) -> Run:
    """Execute `notebook` in the folder of `path`, with so many threads for PyTorch's operators."""
    place = {"cell": 0}

    def on_cell_start(cell: nbformat.NotebookNode, cell_index: int) -> None:
        place["cell"] = cell_index

    client = NotebookClient(
        notebook,
        timeout=600,
        record_timing=False,  # jupyter-cache hashes cells' metadata: with times in them nothing would ever be found
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=on_cell_start,
    )
    LOGS.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    failure = ""
    # ipykernel logs a remark about encryption at each start; what else it says matters only if it dies.
    with (LOGS / f"{path.stem}.log").open("wb") as log:
        try:
            client.execute(stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
        except CellExecutionError as error:
            failure = f"{error.ename}: {error.evalue}"
            arrow = [line for line in _ANSI.sub("", error.traceback).splitlines() if line.startswith("-")]
            failure += "".join(f"\n    line {line.lstrip('-> ')}" for line in arrow if "> " in line)
        except CellTimeoutError:
            failure = "still running after 600 s"
        except DeadKernelError:
            failure = f"the kernel died; its last words, if any, are in {Path(log.name).relative_to(ROOT)}"
    if failure:
        number = place["cell"] + 1
        source = notebook.cells[place["cell"]].source.strip().splitlines()
        failure = f"{path.relative_to(ROOT)}, cell {number} ({source[0] if source else 'empty'}): {failure}"
    return Run(path, notebook, time.perf_counter() - start, failure)


def run_chapters(jobs: int) -> int:
    """Run the chapters that need it, several at a time, and say so; return how many there were.

    Raises:
        BuildError: a cell failed that is not tagged ``raises-exception``.
    """
    cache = open_cache()
    stale = []
    for path in chapters():
        try:
            notebook = nbformat.read(path, as_version=4)
        except (ValueError, nbformat.reader.NotJSONError) as error:
            raise BuildError(f"{path.relative_to(ROOT)}: not a notebook: {str(error).splitlines()[0]}") from None
        if not is_cached(cache, notebook):
            stale.append((path, notebook))
    together = [item for item in stale if not _measures(item[1])]
    alone = [item for item in stale if _measures(item[1])]
    failures = []
    cores = os.cpu_count() or 1
    for batch, size in ((together, jobs), (alone, 1)):
        # Two kernels with as many threads each as there are cores spend their time waiting for one another: a
        # chapter of 8 s was seen to take 132 s.
        threads = max(1, cores // size)
        with ThreadPoolExecutor(max_workers=size) as pool:
            for future in as_completed([pool.submit(run, *item, threads) for item in batch]):
                done = future.result()
                state = "failed after" if done.failure else "ran in"
                print(f"  {done.path.relative_to(ROOT)!s:<32} {state} {done.seconds:.1f} s", flush=True)
                if done.failure:
                    failures.append(done.failure)
                    continue
                bundle = CacheBundleIn(done.notebook, str(done.path), data={"execution_seconds": done.seconds})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    if failures:
        raise BuildError("\n".join(failures))
    return len(stale)


def _measures(notebook: nbformat.NotebookNode) -> bool:
    return any(cell.cell_type == "code" and _MEASURES.search(cell.source) for cell in notebook.cells)


# ---------------------------------------------------------------------------------------------------------------
# The pages


def make_pages() -> None:
    """Let Jupyter Book build `_build/html` from nothing.

    Raises:
        BuildError: Sphinx failed, or warned.
    """
    # Jupyter Book would leave a page there that is no longer in _toc.yml.
    shutil.rmtree(SITE, ignore_errors=True)
    program = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run(
        [str(program), "build", ".", "-W", "--keep-going", "--all", "-q"],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = _ANSI.sub("", done.stdout).split("Traceback (most recent call last)")[0]
        banner = ("Running Jupyter-Book", "Source Folder", "Config Path", "Output Path", "Building your book", "====")
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith(banner)]
        raise BuildError("\n".join(lines).replace(f"{ROOT}{os.sep}", ""))


class _Resources(HTMLParser):
    """Collects what a page makes the browser load, without fonts."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        wanted = {"script": "src", "img": "src", "link": "href"}.get(tag)
        if wanted and (tag != "link" or "stylesheet" in (values.get("rel") or "")):
            self.urls.add((values.get(wanted) or "").split("?")[0])


def weight(page: Path) -> tuple[int, int]:
    """Bytes that a first visit to `page` loads (without fonts): as they are, and compressed by gzip."""
    parser = _Resources()
    parser.feed(page.read_text(encoding="utf-8"))
    files = {page, *((page.parent / url).resolve() for url in parser.urls if url and "://" not in url)}
    contents = [file.read_bytes() for file in files if file.is_file()]
    return sum(map(len, contents)), sum(min(len(c), len(gzip.compress(c, 6))) for c in contents)


def write_mistakes_page() -> None:
    """Write the page of common mistakes, which is not stored in the repository.

    Raises:
        BuildError: a catalogue cannot be read, or has a mistake that is not released.
    """
    from grader.authoring.mistakes_page import write_mistakes_page as write  # it brings PyTorch

    try:
        write(ROOT / "solutions", ROOT / "exercises", ROOT / "_toc.yml", ROOT / "book" / "guides" / "mistakes.md")
    except ValueError as error:
        raise BuildError(str(error)) from error


def main() -> int:
    """Build the site and say in one line what came out."""
    parser = argparse.ArgumentParser(description="Run the chapters that changed and build the website.")
    parser.add_argument(
        "-j", "--jobs", type=int, default=os.cpu_count() or 1, help="chapters run at a time (default: one a core)"
    )
    jobs = max(1, parser.parse_args().jobs)
    start = time.perf_counter()
    try:
        write_mistakes_page()
        ran = run_chapters(jobs)
        make_pages()
    except BuildError as error:
        # No site rather than an old one, or one with the page that Sphinx warned about.
        shutil.rmtree(SITE, ignore_errors=True)
        print(f"The book was not built.\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # Kernels end by themselves when this process is gone; waiting for their chapters would not be an end.
        print("\nInterrupted; chapters that had finished need not run again.", file=sys.stderr, flush=True)
        os._exit(130)
    pages = sorted(p for p in SITE.rglob("*.html") if "_static" not in p.parts)
    raw, packed = max(weight(page) for page in pages)
    seconds = time.perf_counter() - start
    print(
        f"Book: {len(pages)} pages in {SITE.relative_to(ROOT)}, {ran} chapters run, {seconds:.0f} s; "
        f"the heaviest page loads {raw / 1e6:.1f} MB, {packed / 1e6:.2f} MB compressed."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
