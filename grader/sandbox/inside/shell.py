"""An IPython shell that runs a cell like a notebook, and returns the outputs in the format of nbformat."""

from __future__ import annotations

import builtins
import getpass
import os
import sys
from collections.abc import Iterator
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

MAX_OUTPUTS = 200
MAX_TEXT_LENGTH = 100_000  # characters of one stream or of one text in a rich output
MAX_LINE_LENGTH = 10_000  # characters of one part of a traceback
MAX_NAME_LENGTH = 200  # characters of an exception's name
MAX_RICH_OUTPUT_LENGTH = 2_000_000  # characters of one rich output, such as a picture


class _Stream:
    """What a cell prints; text beyond the limit is counted, not kept."""

    def __init__(self, outputs: Outputs, name: str) -> None:
        self._outputs, self.name, self.encoding, self.errors = outputs, name, "utf-8", "strict"

    def write(self, text: Any) -> int:
        self._outputs.print(self.name, str(text))
        return len(str(text))

    def writelines(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


class Outputs:
    """The outputs of one cell, of limited size."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []
        self._lost: dict[str, int] = {}

    def print(self, name: str, text: str) -> None:
        """Add to a stream."""
        last = self.kept[-1] if self.kept else None
        if last is None or last.get("name") != name:
            if len(self.kept) >= MAX_OUTPUTS:
                return
            last = {"output_type": "stream", "name": name, "text": ""}
            self.kept.append(last)
        room = MAX_TEXT_LENGTH - len(last["text"])
        last["text"] += text[:room]
        self._lost[name] = self._lost.get(name, 0) + max(0, len(text) - max(room, 0))

    def add(self, kind: str, data: dict[str, Any], metadata: dict[str, Any], count: int | None = None) -> None:
        """Add a rich output."""
        if len(self.kept) >= MAX_OUTPUTS:
            return
        small = {}
        for mime, content in data.items():
            if isinstance(content, str | dict | list) and len(str(content)) <= MAX_RICH_OUTPUT_LENGTH:
                small[mime] = (
                    content[:MAX_TEXT_LENGTH] if mime == "text/plain" and isinstance(content, str) else content
                )
        output = {
            "output_type": kind,
            "data": small or {"text/plain": "(too large to be kept)"},
            "metadata": metadata,
        }
        self.kept.append(output | ({"execution_count": count} if kind == "execute_result" else {}))

    def finished(self) -> list[dict[str, Any]]:
        """All outputs, with a note on text that was cut off."""
        for name, count in self._lost.items():
            if count:
                text = f"\n… and {count:,} characters more on {name}, which are not kept\n"
                self.kept.append({"output_type": "stream", "name": "stderr", "text": text})
        self._lost = {}
        return self.kept


class _Publisher(DisplayPublisher):
    outputs = Outputs()

    def publish(self, data: Any, metadata: Any = None, source: Any = None, **_: Any) -> None:
        self.outputs.add("display_data", data, metadata or {})

    def clear_output(self, wait: bool = False) -> None:
        self.outputs.kept.clear()


class _Hook(DisplayHook):
    outputs = Outputs()

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: dict[str, Any], md_dict: Any = None) -> None:
        self.outputs.add("execute_result", format_dict, md_dict or {}, self.prompt_count)

    def finish_displayhook(self) -> None:
        pass


class Shell:
    """An IPython shell without a history and without a terminal."""

    def __init__(self) -> None:
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        # `instance`, because `display` looks for one.
        self.ip = InteractiveShell.instance(config=config, display_pub_class=_Publisher, displayhook_class=_Hook)
        shell: Any = self.ip
        shell.enable_gui = lambda gui=None: None  # `%matplotlib` calls it; there is no kernel
        shell._showtraceback = lambda *_: None  # a traceback becomes an output of its own, in `run`
        builtins.input = getpass.getpass = _refuse_input
        sys.modules["__main__"] = self.ip.user_module
        self.run("0")  # the first cell is slow, so run one now

    @property
    def names(self) -> dict[str, Any]:
        """What the notebook has defined, by name."""
        return self.ip.user_ns

    def run(self, source: str) -> tuple[list[dict[str, Any]], str | None]:
        """Run a cell.

        Returns:
            Its outputs; and the name of the exception that ended it, None if none did.
        """
        outputs = Outputs()
        shell: Any = self.ip
        shell.display_pub.outputs = shell.displayhook.outputs = outputs
        sys.path_importer_cache.pop(os.getcwd(), None)  # a cell may just have written a module
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Stream(outputs, "stdout"), _Stream(outputs, "stderr")
        raised: BaseException | None = None
        try:
            result = self.ip.run_cell(source, store_history=True)
            raised = result.error_before_exec or result.error_in_exec
        except BaseException as error:  # SystemExit, or whatever else a cell raises
            raised = error
        finally:
            sys.stdout, sys.stderr = before
        kept = outputs.finished()
        if raised is None:
            return kept, None
        name = type(raised).__name__[:MAX_NAME_LENGTH]
        kept.append(
            {"output_type": "error", "ename": name, "evalue": _text(raised), "traceback": self._traceback(raised)}
        )
        return kept, name

    def _traceback(self, error: BaseException) -> list[str]:
        try:
            lines = self.ip.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
            return [str(line)[:MAX_LINE_LENGTH] for line in lines][:100]
        except Exception:
            return [f"{type(error).__name__[:MAX_NAME_LENGTH]}: {_text(error)}"]


def _refuse_input(*_: object, **__: object) -> str:
    raise RuntimeError("nobody answers while a notebook is graded: it cannot ask for input")


def _text(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except Exception:
        return "(its message cannot be read)"
