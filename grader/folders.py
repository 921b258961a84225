"""What lies in a folder, without what editors and operating systems leave there."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

# In the form that nbgrader's `CourseDirectory.ignore` takes; upper and lower case are the same.
LEFT_BEHIND = (
    ".*",  # .ipynb_checkpoints, .DS_Store, ._name, .~lock.name#, .git, .name.swp, .idea, .vscode
    *("__pycache__", "*.pyc", "__MACOSX"),
    *("Thumbs.db", "ehthumbs.db", "desktop.ini", "~$*"),
    *("*~", "#*#", "*.swp", "*.swo", "*.crdownload", "*.part"),
)
_LOWER = tuple(pattern.lower() for pattern in LEFT_BEHIND)


def is_left_behind(name: str) -> bool:
    """Whether an editor or an operating system leaves files or folders of this name."""
    return any(fnmatchcase(name.lower(), pattern) for pattern in _LOWER)


def entries(folder: Path) -> list[Path]:
    """The files and folders in a folder, sorted by name.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if not is_left_behind(path.name))


def files(folder: Path, suffix: str = "") -> list[Path]:
    """The files in a folder, sorted by name; no links.

    Args:
        folder: which.
        suffix: with which their names end.

    Raises:
        OSError: the folder cannot be read.
    """
    return [p for p in entries(folder) if p.name.endswith(suffix) and p.is_file() and not p.is_symlink()]


def walk(folder: Path) -> Iterator[Path]:
    """The files in a folder and in the folders below it; links are named, and not followed.

    Raises:
        OSError: a folder cannot be read.
    """
    for path in entries(folder):
        if path.is_dir() and not path.is_symlink():
            yield from walk(path)
        else:
            yield path


def ignored(_: str, names: list[str]) -> set[str]:
    """What `shutil.copytree` leaves out, as its `ignore`."""
    return {name for name in names if is_left_behind(name)}
