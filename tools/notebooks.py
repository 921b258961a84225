"""Run notebooks in place and store their outputs, without what changes from run to run.

    python tools/notebooks.py book/basics.ipynb      (all chapters if none is named)

What is stored is what nbval compares and what a reader sees on a forge.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parent.parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Keep what a reader needs and drop what differs between runs and machines."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03d}"
        for key in ("execution", "collapsed", "ExecuteTime"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            # Jupyter's front ends split a long stream into several outputs as it arrives; one is stable.
            if output.output_type == "stream":
                output.text = "".join(output.text)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _merge_streams(cell.outputs)


def _merge_streams(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def run(path: Path) -> None:
    """Execute one notebook in its own folder and write it back with its outputs.

    Raises:
        CellExecutionError: a cell failed that is not tagged ``raises-exception``.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    tidy(notebook)
    nbformat.write(notebook, path)


def main() -> int:
    """Run the notebooks named on the command line; the exit status is 1 if one failed."""
    parser = argparse.ArgumentParser(description="Run notebooks in place and store their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every chapter in book/")
    failed = False
    for path in parser.parse_args().notebooks or sorted((ROOT / "book").glob("*.ipynb")):
        start = time.perf_counter()
        try:
            run(path)
        except CellExecutionError as error:
            failed = True
            print(f"{path}: a cell failed; nothing was stored.\n{error}", file=sys.stderr)
        except FileNotFoundError:
            failed = True
            print(f"{path}: no such file", file=sys.stderr)
        else:
            print(f"{path}: {time.perf_counter() - start:.1f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
