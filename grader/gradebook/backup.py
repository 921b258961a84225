"""Copy the gradebook before anything deletes rows from it, and open it as nbgrader cannot.

In: the address of a gradebook, as in `CourseDirectory.db_url`. Out: a copy in `backups/`, or another address.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from nbgrader.api import Base, Gradebook
from sqlalchemy import create_engine, insert, make_url, select, text

from grader.files.atomic import PRIVATE_FILE, make_private, write_file

FOLDER = "backups"  # in the course's folder
LOCK_TIMEOUT = 10  # seconds to wait while another program locks a gradebook in SQLite


def with_lock_timeout(address: str) -> str:
    """The address of the same gradebook, which waits longer while another program locks it."""
    url = make_url(address)
    if url.get_backend_name() == "sqlite" and "timeout" not in url.query:
        url = url.update_query_dict({"timeout": str(LOCK_TIMEOUT)})
    return url.render_as_string(hide_password=False)


def sqlite_file(address: str) -> Path | None:
    """The file of a gradebook in SQLite; None for other databases, and for one in memory."""
    url = make_url(address)
    found = url.database if url.get_backend_name() == "sqlite" else None
    return Path(found) if found and found != ":memory:" else None


def make_private_gradebook(address: str) -> None:
    """Create the file of a new gradebook that only its owner may read; SQLite uses the same mode for its other files.

    Raises:
        OSError: it cannot be created.
    """
    path = sqlite_file(address)
    if path is not None and not path.exists() and path.parent.is_dir():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE_FILE))


def back_up(address: str, root: Path) -> Path:
    """Copy a gradebook into ``backups/`` of the course. The copy is always in SQLite, also if the gradebook is not.

    To use the copy, replace ``gradebook.db`` with it, or name it in ``CourseDirectory.db_url``.

    Args:
        address: of the gradebook.
        root: the course's folder.

    Returns:
        The path of the copy.

    Raises:
        OSError: it cannot be written.
        sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
    """
    make_private(root / FOLDER)
    path = root / FOLDER / f"gradebook-{time.strftime('%Y-%m-%d-%H%M%S')}.db"
    number = 1
    while path.exists():
        number += 1
        path = path.with_stem(f"{path.stem.partition('_')[0]}_{number}")
    new = path.with_name(f".{path.name}.new")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_TRUNC | os.O_RDWR, PRIVATE_FILE))
        file = sqlite_file(address)
        if file is not None:
            with contextlib.closing(sqlite3.connect(file)) as source, contextlib.closing(sqlite3.connect(new)) as to:
                source.backup(to)
        else:
            _copy_rows(address, new)
        write_file(path, new.read_bytes())
    finally:
        new.unlink(missing_ok=True)
    return path


def _copy_rows(address: str, new: Path) -> None:
    """Copy all rows of a gradebook on a server, as they were at one moment."""
    engine = create_engine(address, isolation_level="SERIALIZABLE")
    try:
        with Gradebook(f"sqlite:///{new}") as copy, engine.connect() as source:
            for table in reversed(Base.metadata.sorted_tables):  # nbgrader has entered a course
                copy.db.execute(table.delete())
            for table in Base.metadata.sorted_tables:
                rows = [dict(row) for row in source.execute(select(table)).mappings()]
                if rows:
                    copy.db.execute(insert(table), rows)
            (version,) = source.execute(text("SELECT version_num FROM alembic_version")).one()
            copy.db.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
            copy.db.commit()
    finally:
        engine.dispose()
