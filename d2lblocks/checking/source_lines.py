"""Which of the student's lines an exception came from.

In: an exception. Out: one line of source.
"""

from __future__ import annotations

import functools
import importlib.util
import linecache
import os
import site
import stat
import sysconfig
import traceback
from pathlib import Path
from types import CodeType, FrameType

import torch

MAX_LINE_LENGTH = 200
MAX_SOURCE_BYTES = 200_000

# Code in these folders is not a student's.
_LIBRARIES = tuple(
    os.path.join(folder, "")
    for folder in {
        str(Path(__file__).parent.parent),
        str(Path(torch.__file__).parent),
        *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)


def students_line(error: BaseException) -> str:
    """The innermost line that is the student's own; empty if none can be found."""
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        line = _own_line(frame, number).strip()
        if line:
            return line[:MAX_LINE_LENGTH]
    return ""


def _own_line(frame: FrameType, number: int) -> str:
    """A line of a frame, if it is in a cell of the notebook or in a file of the notebook's folder."""
    code = frame.f_code
    name = os.path.abspath(code.co_filename)
    if name.startswith(_LIBRARIES):
        return ""
    in_notebook = frame.f_globals.get("__name__") == "__main__"
    try:
        status = os.stat(name)
    except (OSError, ValueError):  # no file: the name of a cell, or of code that a program has made
        return linecache.getline(code.co_filename, number) if in_notebook else ""
    if not stat.S_ISREG(status.st_mode):
        return ""
    if in_notebook or name.startswith(os.path.join(os.path.abspath(""), "")):
        lines, codes = _read_source(name, status.st_mtime_ns, status.st_size)
        if code in codes and 0 < number <= len(lines):  # not, if the file was changed after it was imported
            return lines[number - 1]
    return ""


@functools.lru_cache(maxsize=8)
def _read_source(name: str, changed: int, size: int) -> tuple[list[str], frozenset[CodeType]]:
    """The lines of a Python file, and all code objects that they make.

    Args:
        name: of the file.
        changed: when it was changed last, so that it is read again after that.
        size: in bytes.
    """
    if size > MAX_SOURCE_BYTES:
        return [], frozenset()
    try:
        source = Path(name).read_bytes()
        left, found = [compile(source, name, "exec", dont_inherit=True)], set()
        while left:
            code = left.pop()
            found.add(code)
            left += [each for each in code.co_consts if isinstance(each, CodeType)]
        return importlib.util.decode_source(source).splitlines(), frozenset(found)
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
        return [], frozenset()
