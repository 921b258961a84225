"""Links and anchors of the whole site, without a browser and without the network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.site.conftest import notebooks


def test_no_broken_link_or_anchor(site: Path) -> None:
    """Every link between pages, to a file or to an anchor, leads somewhere."""
    beside = Path(sys.executable).with_name("lychee")
    lychee = str(beside) if beside.exists() else shutil.which("lychee")
    assert lychee, "lychee is missing from the environment: run `make env`"
    done = subprocess.run(
        [lychee, "--offline", "--include-fragments", "--no-progress", "--format", "json",
         "--root-dir", str(site), str(site / "**" / "*.html")],
        capture_output=True,
        text=True,
    )  # fmt: skip
    report = json.loads(done.stdout)
    broken = [
        f"{Path(page).relative_to(site)}: {link['url'].replace(site.as_uri(), '')} ({link['status']['text']})"
        for page, links in report["error_map"].items()
        for link in links
    ]
    assert not broken, "\n".join(broken)
    assert report["successful"] > 100, "lychee looked at next to nothing; are its options still right?"


@pytest.mark.parametrize("name", [name for name in notebooks() if name != "book/index"] or ["book/basics"])
def test_chapter_can_be_downloaded_and_says_how_to_run_it(name: str, site: Path) -> None:
    """The line under the title names the notebook, and its link gives that notebook."""
    page = (site / f"{name}.html").read_text(encoding="utf-8")
    line = page.split('class="course-run"')[1].split("</p>")[0]
    assert f"<code>{name}.ipynb</code>" in line
    assert "make lab" in line
    href = line.split('href="')[1].split('"')[0]
    file = ((site / name).parent / href).resolve()
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert any(cell.cell_type == "code" and cell.source.strip() for cell in notebook.cells)
