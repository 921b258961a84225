"""A copy of the gradebook, made before anything takes rows out of it."""

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
LOCK_TIMEOUT = 10  # s that another program may hold a gradebook of SQLite


def patient(address: str) -> str:
    """The address of a gradebook that waits longer for another program's lock."""
    url = make_url(address)
    if url.get_backend_name() == "sqlite" and "timeout" not in url.query:
        url = url.update_query_dict({"timeout": str(LOCK_TIMEOUT)})
    return url.render_as_string(hide_password=False)


def file_of(address: str) -> Path | None:
    """The file that a gradebook of SQLite lies in; None for other databases, and for one in memory."""
    url = make_url(address)
    found = url.database if url.get_backend_name() == "sqlite" else None
    return Path(found) if found and found != ":memory:" else None


def make_private_gradebook(address: str) -> None:
    """Make the file of a new gradebook, so that only its owner may read it; SQLite keeps that for all its files.

    Raises:
        OSError: it cannot be made.
    """
    path = file_of(address)
    if path is not None and not path.exists() and path.parent.is_dir():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, PRIVATE_FILE))


def back_up(address: str, root: Path) -> Path:
    """Copy a gradebook into ``backups/`` of the course. The copy is a gradebook of SQLite, whatever it is made from.

    To use it, put it in the place of ``gradebook.db``, or name it in ``CourseDirectory.db_url``.

    Args:
        address: of the gradebook.
        root: the course's folder.

    Returns:
        Where the copy lies.

    Raises:
        OSError: it cannot be written.
        sqlalchemy.exc.SQLAlchemyError: the gradebook cannot be read.
    """
    make_private(root / FOLDER)
    place = root / FOLDER / f"gradebook-{time.strftime('%Y-%m-%d-%H%M%S')}.db"
    number = 1
    while place.exists():
        number += 1
        place = place.with_stem(f"{place.stem.partition('_')[0]}_{number}")
    made = place.with_name(f".{place.name}.new")
    try:
        os.close(os.open(made, os.O_CREAT | os.O_TRUNC | os.O_RDWR, PRIVATE_FILE))
        path = file_of(address)
        if path is not None:
            with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(made)) as to:
                source.backup(to)
        else:
            _copy_rows(address, made)
        write_file(place, made.read_bytes())
    finally:
        made.unlink(missing_ok=True)
    return place


def _copy_rows(address: str, made: Path) -> None:
    """All rows of a gradebook on a server, as they were at one moment."""
    engine = create_engine(address, isolation_level="SERIALIZABLE")
    try:
        with Gradebook(f"sqlite:///{made}") as copy, engine.connect() as source:
            for table in reversed(Base.metadata.sorted_tables):  # nbgrader enters a course of its own
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
