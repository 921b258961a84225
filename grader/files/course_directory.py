"""Where the folders of a course are: as its own settings say, wherever it lies."""

from __future__ import annotations

from pathlib import Path

from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader


def directory_of(root: Path) -> tuple[Config, CourseDirectory]:
    """The settings of a course, and its folders.

    Args:
        root: the folder that holds `nbgrader_config.py`.
    """
    config = PyFileConfigLoader("nbgrader_config.py", path=str(root)).load_config()
    return config, CourseDirectory(config=config)
