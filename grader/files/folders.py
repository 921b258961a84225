"""What is in a folder, without what editors and operating systems leave there.

In: a folder. Out: paths, sorted by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

# .ipynb_checkpoints, .DS_Store, ._name, .~lock.name#, .git, .name.swp, .idea, .vscode; of Python; of a Mac's archives
_FOLDERS = (".*", "__pycache__", "__MACOSX")
_FILES = (".*", "*.pyc", "Thumbs.db", "ehthumbs.db", "desktop.ini", "~$*", "*~", "#*#", "*.swp", "*.swo", "*.part")
# As patterns for nbgrader's `CourseDirectory.ignore`.
LEFT_BEHIND = tuple(dict.fromkeys((*_FOLDERS, *_FILES)))


def is_left_behind(path: Path) -> bool:
    """Whether an editor or an operating system has made a file or folder, as its name shows."""
    patterns = _FOLDERS if path.is_dir() else _FILES
    return any(fnmatchcase(path.name.lower(), pattern.lower()) for pattern in patterns)


def entries(folder: Path) -> list[Path]:
    """The files and folders in a folder, sorted by name.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(path for path in folder.iterdir() if not is_left_behind(path))


def files(folder: Path, suffix: str = "") -> list[Path]:
    """The files in a folder, sorted by name, without links.

    Args:
        folder: which.
        suffix: the end of their names; all files if empty.

    Raises:
        OSError: the folder cannot be read.
    """
    return [p for p in entries(folder) if p.name.endswith(suffix) and p.is_file() and not p.is_symlink()]


def walk(folder: Path) -> Iterator[Path]:
    """The files in a folder and in the folders below it. Links are included, but not followed.

    Raises:
        OSError: a folder cannot be read.
    """
    pending = [folder]
    while pending:  # no recursion: a student may have made a thousand nested folders
        for path in entries(pending.pop()):
            if path.is_dir() and not path.is_symlink():
                pending.append(path)
            else:
                yield path


def ignored(folder: str, names: list[str]) -> set[str]:
    """What `shutil.copytree` should leave out; use it as its argument `ignore`."""
    return {name for name in names if is_left_behind(Path(folder, name))}
