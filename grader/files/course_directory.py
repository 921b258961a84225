"""Where the folders of a course are, as its `nbgrader_config.py` says.

In: the folder of a course. Out: nbgrader's settings, and paths.
"""

from __future__ import annotations

from pathlib import Path

from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from grader.files import folders


def directory_of(root: Path) -> tuple[Config, CourseDirectory]:
    """The settings of a course, and its directory in nbgrader's sense.

    Args:
        root: the folder that holds `nbgrader_config.py`.
    """
    config = PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()
    return config, CourseDirectory(config=config)


def solutions_of(directory: CourseDirectory) -> Path:
    """nbgrader's source directory: one folder for each assignment."""
    return Path(directory.root, directory.source_directory).resolve()


def releases_of(directory: CourseDirectory) -> Path:
    """nbgrader's release directory: one folder for each assignment."""
    return Path(directory.root, directory.release_directory).resolve()


def assignments_of(directory: CourseDirectory) -> list[str]:
    """The folders in `solutions/` that hold a notebook of the same name."""
    solutions = solutions_of(directory)
    if not solutions.is_dir():
        return []
    return [path.name for path in folders.entries(solutions) if (path / f"{path.name}.ipynb").is_file()]


def student_folders(directory: CourseDirectory) -> list[Path]:
    """What lies in `submitted/`, sorted by name; not all of it needs to be a student's folder."""
    submitted = Path(directory.root, directory.submitted_directory)
    return folders.entries(submitted) if submitted.is_dir() else []
