"""nbval without a second execution: it compares the stored outputs with those that the book's build has computed.

`pytest --nbval --built` takes the outputs from the cache of `make book`, and hands them to nbval as a kernel would.
Without `--built` nbval runs the notebooks itself.
"""

from __future__ import annotations

import functools
from collections import deque
from queue import Empty
from typing import Any

import nbformat
import pytest
from nbval.plugin import IPyNbFile

from tools import notebooks

built_cache = functools.cache(notebooks.built_cache)


class BuiltKernel:
    """What nbval takes for a kernel: it answers each cell with the outputs that the build has kept.

    Args:
        cells: the code cells of a chapter with their outputs, in order.
    """

    def __init__(self, cells: list[nbformat.NotebookNode]) -> None:
        self._cells = deque(cells)
        self._messages: deque[dict[str, Any]] = deque()
        self._count = 0

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Find the next cell with this source; returns the identity of the messages that follow."""
        while (ran := self._cells.popleft()).source != source:
            pass
        self._count += 1
        identity = str(self._count)
        for output in ran.outputs:
            content = {key: value for key, value in output.items() if key != "output_type"}
            self._send(identity, output.output_type, content)
        self._send(identity, "status", {"execution_state": "idle"})
        return identity

    def _send(self, identity: str, kind: str, content: dict[str, Any]) -> None:
        self._messages.append({"msg_type": kind, "content": content, "parent_header": {"msg_id": identity}})

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next output, then that the cell has ended."""
        if not self._messages:
            raise Empty
        return self._messages.popleft()

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Every cell has ended already."""

    def await_idle(self, parent_id: str, timeout: float) -> None:
        """Skip the outputs that are left."""
        self._messages.clear()

    def is_alive(self) -> bool:
        """It cannot die."""
        return True

    def stop(self) -> None:
        """Nothing runs."""


def _set_up(self: IPyNbFile) -> None:
    done = notebooks.executed(built_cache(), self.nb)
    if done is None:
        pytest.fail(f"{self.path.name} has not run as it is now; first: make book", pytrace=False)
    self.kernel = BuiltKernel([cell for cell in done.cells if cell.cell_type == "code"])
    self.setup_sanitize_files()


def use_the_build() -> None:
    """From now on nbval runs nothing in this process."""
    IPyNbFile.setup = _set_up
