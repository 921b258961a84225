"""Build the website: run every chapter that changed, then let Jupyter Book make the pages.

    python -m tools.book

The site is `_build/html`. The pages of common mistakes are written first, from the catalogues in `solutions/` and the
release in `exercises/`. What a page shows is what its chapter printed when it was run here (see `notebooks.py`):
outputs stored in the notebooks are never used. The exit status is 1 if a chapter fails or Sphinx warns.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

from tools.downloads import write_downloads
from tools.notebooks import ROOT, BuildError, run_chapters

SITE = ROOT / "_build" / "html"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def make_pages() -> None:
    """Let Jupyter Book build `_build/html` from nothing.

    Raises:
        BuildError: Sphinx failed, or warned.
    """
    # Jupyter Book would leave a page there that is no longer in _toc.yml.
    shutil.rmtree(SITE, ignore_errors=True)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from jupyter_book.cli.main import main; main()",
            "build",
            ".",
            "-W",
            "--keep-going",
            "--all",
            "-q",
        ],
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


def write_mistakes_pages(jobs: int) -> None:
    """Write the pages of common mistakes, which are not stored in the repository.

    Raises:
        BuildError: a catalogue cannot be read, or has a mistake that is not released.
    """
    from grader.authoring.mistakes_page import write_mistakes_pages as write  # it imports PyTorch
    from grader.errors import GraderError

    pages = ROOT / "book" / "guides" / "mistakes"
    try:
        write(
            ROOT / "solutions", ROOT / "exercises", ROOT / "_toc.yml", pages, ROOT / "_build" / "mistakes.json", jobs
        )
    except (GraderError, ValueError) as error:
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
        write_mistakes_pages(jobs)
        ran = run_chapters(jobs)
        make_pages()
        write_downloads(SITE)
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
