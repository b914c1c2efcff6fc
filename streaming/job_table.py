"""Store the jobs that render films in the background, in one SQLite database that outlives kills and power cuts.

A job is in the table with its take before anyone is told its name, and every change is synced (WAL with
`synchronous=full`). How far a job is stands in the journal of its render.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

from models.errors import UserError

Kept = Literal["asked", "done", "cancelled", "failed"]  # asked: it waits or is being rendered
VERSION = 1  # of the table; a newer one is of a newer release


class JobTableError(UserError):
    """Report a database of jobs that cannot be used."""


@dataclass(frozen=True)
class JobRecord:
    """Hold what was asked for and what became of it."""

    name: str  # a take's id, or `video_` and 32 hexadecimal digits
    state: Kept
    asked: float  # when, in seconds since 1970: jobs are begun in this order
    model: str
    chunks: int  # in all
    take: str  # YAML; empty for a job of an earlier release whose take is gone
    why: str = ""  # one line, of a job that failed
    begun_at: int = 0  # chunks that were done when its process was last started
    tries: int = 0  # kills of its process or server in a row, before a chunk was added
    owner: str = ""  # whose job it is; empty: the server's own
    prompt: str = ""
    seconds: str = ""  # length of the film, as it was asked for
    size: str = ""  # WIDTHxHEIGHT in pixels
    ended: float | None = None  # when, in seconds since 1970
    expires: float | None = None  # when it is deleted; None: never
    remix_of: str | None = None
    extends: str | None = None  # job whose film this one begins with


_COLUMNS = [field.name for field in fields(JobRecord)]
_SCHEMA = """create table if not exists job (
    name text primary key, state text not null, asked real not null, model text not null, chunks integer not null,
    take text not null, why text not null, begun_at integer not null, tries integer not null, owner text not null,
    prompt text not null, seconds text not null, size text not null, ended real, expires real, remix_of text,
    extends text
) strict"""


class JobTable:
    """Read and write jobs; every method may be called from any thread, and OSError says that the disk refuses."""

    def __init__(self, path: Path) -> None:
        """Open the database, or make it; JobTableError if it is damaged or of a newer release."""
        self.path = path
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            (version,) = self._database.execute("pragma user_version").fetchone()
            if version <= VERSION:
                self._database.execute("pragma journal_mode=wal")
                self._database.execute("pragma synchronous=full")
                self._database.execute(_SCHEMA)
                self._database.execute(f"pragma user_version={VERSION}")
        except sqlite3.Error as e:
            raise JobTableError(f"{path}: cannot be used as the table of jobs ({e}); move it away") from None
        if version > VERSION:
            raise JobTableError(f"{path}: is of a newer release (version {version}); use that, or another --data")

    def write(self, record: JobRecord) -> None:
        """Write a job in place of an earlier one of its name, synced."""
        places = ", ".join("?" * len(_COLUMNS))
        with self._used() as database:
            database.execute(f"insert or replace into job ({', '.join(_COLUMNS)}) values ({places})", astuple(record))

    def read(self) -> list[JobRecord]:
        """Return all jobs, in the order in which they were asked for."""
        with self._used() as database:
            rows = database.execute(f"select {', '.join(_COLUMNS)} from job order by asked, rowid").fetchall()
        return [JobRecord(*row) for row in rows]

    def delete(self, name: str) -> None:
        """Delete a job, synced; an unknown name is none."""
        with self._used() as database:
            database.execute("delete from job where name = ?", (name,))

    def close(self) -> None:
        """Close the database; nothing can be read or written afterwards."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._database
            except sqlite3.Error as e:
                full = e.sqlite_errorcode == sqlite3.SQLITE_FULL if isinstance(e, sqlite3.OperationalError) else False
                raise OSError(errno.ENOSPC if full else errno.EIO, f"the table of jobs: {e}") from e
