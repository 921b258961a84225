"""What the sandbox sees of this machine: folders and files, where they are in the sandbox, and what is covered.

The sandbox holds the system's programs, Python, the installed packages, `d2lblocks` and `grader/sandbox/inside`, all
read-only, and nothing else of the course. It does not show where Python and the course are on this machine: in the
sandbox, they are in `/python`, `/venv` and `/course`. If a folder that must be hidden lies in one that the sandbox
needs, an empty folder covers it.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from grader.errors import SandboxError
from grader.sandbox.inside import reach

ROOT = Path(__file__).resolve().parents[2]
# Where they are in the sandbox.
COURSE, PYTHON, ENVIRONMENT = "/course", "/python", "/venv"
SHARED = "/python-shared"  # holds Python's shared library, if Python was built with one
_PYTHON_NAME = f"python{sys.version_info.major}.{sys.version_info.minor}"
# The interpreter of Python itself, not that of a virtual environment, in the sandbox.
PROGRAM = f"{PYTHON}/bin/{_PYTHON_NAME}"
_TOP_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64")
# What the system's programs need of `/usr`. A course may lie in another folder of it.
_FOLDERS_OF_USR = (*_TOP_FOLDERS, "libx32", "libexec", "include", "share")


class Bind(NamedTuple):
    """A folder or file of this machine, and where it is in the sandbox."""

    source: str
    target: str


def binds() -> list[Bind]:
    """All folders and files of this machine that the sandbox holds."""
    return [*_system()[0], *_python()[0], *_course()]


def links() -> list[str]:
    """Bubblewrap's options for the symbolic links of the system and of Python."""
    return [*_system()[1], *_python()[1]]


def has_environment() -> bool:
    """Whether this Python is that of a virtual environment."""
    return os.path.realpath(sys.prefix) != os.path.realpath(sys.base_prefix)


def _system() -> tuple[list[Bind], list[str]]:
    """The system's programs and libraries: what is bound, and bubblewrap's options for links."""
    bound, linked = [], []
    tops = [f"/{name}" for name in _TOP_FOLDERS]
    for path in [*tops, *(f"{top}/{name}" for top in ("/usr", "/usr/local") for name in _FOLDERS_OF_USR)]:
        if os.path.islink(path):
            linked += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            bound.append(Bind(os.path.realpath(path), path))
    if os.path.isfile("/etc/ld.so.cache"):
        bound.append(Bind(os.path.realpath("/etc/ld.so.cache"), "/etc/ld.so.cache"))
    return bound, linked


def _python() -> tuple[list[Bind], list[str]]:
    """Python and its packages, under neutral names: what is bound, and bubblewrap's options for links."""
    base = os.path.realpath(sys.base_prefix)
    linked = [
        part for short in ("python", "python3") for part in ("--symlink", _PYTHON_NAME, f"{PYTHON}/bin/{short}")
    ]
    bound = []
    if base in ("/usr", "/usr/local"):
        linked = ["--symlink", base, PYTHON]
    else:
        program = os.path.join(base, "bin", _PYTHON_NAME)
        bound.append(Bind(os.path.realpath(program if os.path.isfile(program) else sys.executable), PROGRAM))
        for folder in ("lib", "lib64"):
            path = os.path.join(base, folder)
            if os.path.isdir(path) and not os.path.islink(path):
                bound.append(Bind(os.path.realpath(path), f"{PYTHON}/{folder}"))
        shared = os.path.join(base, "lib", str(sysconfig.get_config_var("INSTSONAME")))
        if sysconfig.get_config_var("Py_ENABLE_SHARED") and os.path.isfile(shared):
            bound.append(Bind(os.path.realpath(shared), f"{SHARED}/{os.path.basename(shared)}"))
    if has_environment():
        for kind in ("lib", "lib64"):
            path = os.path.join(sys.prefix, kind, _PYTHON_NAME, "site-packages")
            if os.path.isdir(path) and not os.path.islink(os.path.join(sys.prefix, kind)):
                bound.append(Bind(os.path.realpath(path), f"{ENVIRONMENT}/{kind}/{_PYTHON_NAME}/site-packages"))
        for short in (_PYTHON_NAME, "python", "python3"):
            linked += ["--symlink", f"{PYTHON}/bin/{_PYTHON_NAME}", f"{ENVIRONMENT}/bin/{short}"]
    return bound, linked


def _course() -> list[Bind]:
    """What the sandbox sees of the course."""
    names = ("d2lblocks", "grader/__init__.py", "grader/sandbox/__init__.py", "grader/sandbox/inside")
    return [Bind(str(ROOT / name), f"{COURSE}/{name}") for name in names]


def covers(bound: Iterable[Bind], hidden: Iterable[Path]) -> list[str]:
    """The folders of the sandbox that must be covered, so that no path leads to what is hidden.

    Args:
        bound: what is in the sandbox.
        hidden: what must not be reached, as real paths that exist.

    Raises:
        SandboxError: Python or a program of the system lies in a hidden folder.
        OSError: a hidden path does not exist.
    """
    bound = list(bound)
    here = reach.mounts()
    closest = sorted(bound, key=lambda bind: len(bind.source))
    # Where the sandbox uses it: packages below `/usr` have a place of their own.
    needed = {list(_in_sandbox(path, closest))[-1] for path in _needed() if any(_in_sandbox(path, closest))}
    covered: set[str] = set()
    for path in hidden:
        for way in reach.ways(reach.hidden(str(path), here), here):
            for target in _in_sandbox(way.path, bound):
                on_purpose = target in {bind.target for bind in bound}
                if on_purpose and not way.whole:  # packages that lie in the course
                    continue
                if on_purpose or any(reach.is_below(each, target) for each in needed):
                    raise SandboxError(
                        f"{path} cannot be hidden from students' code, because Python or the system's programs lie "
                        f"in it, too; move the course, or its gradebook, to a folder of its own"
                    )
                if os.path.lexists(way.path):
                    covered.add(target)
    return sorted(each for each in covered if not any(reach.is_below(each, other) for other in covered - {each}))


def _in_sandbox(path: str, bound: Iterable[Bind]) -> Iterator[str]:
    """The paths in the sandbox that lead to a path of this machine."""
    for bind in bound:
        if reach.is_below(path, bind.source):
            yield reach.moved(path, bind.source, bind.target)


def _needed() -> Iterator[str]:
    """What a running Python needs: its library, and all that is mapped into this process."""
    yield os.path.realpath(os.path.dirname(os.__file__))
    for line in Path("/proc/self/maps").read_text("utf-8", "surrogateescape").splitlines():
        path = line.partition("/")[2]
        if " r-xp " in line and path:
            yield f"/{path}"


class Descriptors:
    """Small files that are made for the sandbox. Each has an open descriptor, until the sandbox has started."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def file(self, text: str, target: str) -> list[str]:
        """Bubblewrap's options for a small file that everybody in the sandbox can read.

        Args:
            text: of the file.
            target: its path in the sandbox.
        """
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.seek(0)
            self.numbers.append(os.dup(file.fileno()))
        return ["--perms", "0444", "--ro-bind-data", str(self.numbers[-1]), target]

    def close(self) -> None:
        """Close them all."""
        while self.numbers:
            os.close(self.numbers.pop())


def files_without_paths(bound: Iterable[Bind], descriptors: Descriptors) -> Iterator[str]:
    """Bubblewrap's options that replace the small files which say where Python or the course are on this machine."""
    if has_environment():
        yield from descriptors.file(_pyvenv_cfg(), f"{ENVIRONMENT}/pyvenv.cfg")
    for bind in bound:
        if not bind.target.startswith((PYTHON, ENVIRONMENT)):
            continue
        for path in sorted(Path(bind.source).glob("*/_sysconfigdata_*.py")):
            text = path.read_text("utf-8")
            for prefix in (os.path.realpath(sys.base_prefix), os.path.normpath(sys.base_prefix)):
                text = text.replace(prefix, PYTHON)
            yield from descriptors.file(text, reach.moved(str(path), *bind))
        for start in ("", "*/site-packages/"):
            for path in sorted(Path(bind.source).glob(f"{start}*.pth")):
                if re.search("^/", path.read_text("utf-8", "replace"), re.MULTILINE):
                    yield from descriptors.file("", reach.moved(str(path), *bind))
            for path in sorted(Path(bind.source).glob(f"{start}*.dist-info/direct_url.json")):
                yield from descriptors.file("{}", reach.moved(str(path), *bind))


def _pyvenv_cfg() -> str:
    """The settings of the virtual environment, with neutral paths."""
    try:
        text = Path(sys.prefix, "pyvenv.cfg").read_text("utf-8")
    except OSError:
        text = ""
    with_system = "true" if re.search(r"include-system-site-packages\s*=\s*true", text) else "false"
    return f"home = {PYTHON}/bin\ninclude-system-site-packages = {with_system}\n"
