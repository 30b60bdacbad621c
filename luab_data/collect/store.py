"""[I/O] What people did, in a database: nothing is acknowledged before it is on the disk.

One thread writes, many requests in one transaction: SQLite's write-ahead log with a flush for every
commit (`synchronous=FULL`), or PostgreSQL where several servers share a study. What a client sends
again is stored once: rows are named by the session and the client's own sequence number.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from luab_data.errors import OptionError, OutputError

metadata = sa.MetaData()

participants = sa.Table(
    "participants",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("person", sa.String, nullable=False, unique=True),  # keyed hash, or a random id
    sa.Column("entry", sa.String, nullable=False),
    sa.Column("arm", sa.String),
    sa.Column("consented_ms", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,  # the id of somebody who withdrew is nobody's again
)
tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task", sa.Text, nullable=False),  # JSON: of plan.Task
)
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("participant", sa.ForeignKey("participants.id", ondelete="CASCADE"), nullable=False),
    sa.Column("token", sa.String, nullable=False, unique=True),
    sa.Column("task", sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("begun_ms", sa.BigInteger, nullable=False),
    sa.Column("finished_ms", sa.BigInteger),
    sa.Column("code", sa.String),
    sa.Column("entry", sa.Text, nullable=False),  # JSON: of the platform, without who it was
    sqlite_autoincrement=True,
)
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("session", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("events", sa.Text, nullable=False),  # JSON: a list of events
)
answers = sa.Table(
    "answers",
    metadata,
    sa.Column("session", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("page", sa.Integer, primary_key=True),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),  # JSON
)
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("act", sa.String, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
)

MOST_AT_ONCE = 2048
"""Writes of one transaction."""


_ALONE = 7_230_317
"""The lock of PostgreSQL that `Store.alone` takes."""


def now_ms() -> int:
    """The time of day, epoch ms."""
    return time.time_ns() // 1_000_000


class _Write(NamedTuple):
    statement: Any
    rows: Sequence[dict[str, Any]]
    done: Future[None]


class Store:
    """A study's database.

    Args:
        url: of SQLAlchemy: `sqlite:///FILE` or `postgresql+psycopg://...`.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, pool_pre_ping=True)
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _suit_sqlite)
        self._joining = threading.Lock()
        with self.alone() as connection:
            metadata.create_all(connection)
            _check_columns(connection)
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="luab-store", daemon=True)
        self._thread.start()

    def insert_new(self, table: sa.Table) -> Any:
        """An insertion that leaves alone what is there by its primary key."""
        dialect = sqlite if self._is_sqlite else postgresql
        return dialect.insert(table).on_conflict_do_nothing()

    async def write(self, statement: Any, *rows: dict[str, Any]) -> None:
        """Execute a statement for each of the rows; returns once they are on the disk.

        Raises:
            OutputError: they are not, and nothing of the statement is.
        """
        done: Future[None] = Future()
        self._writes.put(_Write(statement, rows, done))
        await asyncio.wrap_future(done)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for reading, or for a transaction of its own."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def alone(self) -> Iterator[sa.Connection]:
        """A transaction beside which no other thread or server begins one of its kind.

        What is decided by what is there (the next task of somebody) is decided in it.

        Raises:
            OutputError: the database refuses; nothing of the transaction is kept.
        """
        with self._joining:
            try:
                with self._engine.begin() as connection:
                    connection.exec_driver_sql(
                        "BEGIN IMMEDIATE"
                        if self._is_sqlite
                        else f"SELECT pg_advisory_xact_lock({_ALONE})"
                    )
                    yield connection
            except sa.exc.SQLAlchemyError as error:
                raise OutputError(f"the database refuses: {_cause(error)}") from error

    def forget(self) -> None:
        """Leave nothing of what was deleted in SQLite's log; while others read, the next time."""
        if self._is_sqlite:
            with self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Write what waits, and close."""
        self._writes.put(None)
        self._thread.join()
        self._engine.dispose()

    def _write_all(self) -> None:
        """The writing thread: what waits goes into one transaction."""
        is_open = True
        while is_open:
            some = [self._writes.get()]
            while len(some) < MOST_AT_ONCE:
                try:
                    some.append(self._writes.get_nowait())
                except queue.Empty:
                    break
            writes = [write for write in some if write is not None]
            is_open = len(writes) == len(some)
            self._commit(writes)

    def _commit(self, writes: Sequence[_Write]) -> None:
        if not writes:
            return
        try:
            with self._engine.begin() as connection:
                for statement, rows in _grouped(writes):
                    connection.execute(statement, rows)
        except Exception as error:  # whatever it is, the thread goes on and somebody is told
            if len(writes) == 1:
                if not writes[0].done.cancelled():
                    refused = OutputError(f"the database refuses: {_cause(error)}")
                    writes[0].done.set_exception(refused)
                return
            for write in writes:  # one of them is at fault: the others are not to suffer
                self._commit([write])
            return
        for write in writes:
            if not write.done.cancelled():
                write.done.set_result(None)


def _grouped(writes: Sequence[_Write]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Neighbours of one statement together: one round trip for all of their rows."""
    rows: list[dict[str, Any]] = []
    for place, write in enumerate(writes):
        rows += write.rows
        following = writes[place + 1].statement if place + 1 < len(writes) else None
        if following is not write.statement:
            yield write.statement, rows
            rows = []


def _check_columns(connection: sa.Connection) -> None:
    """Refuse a database of another version, before anything is written into it."""
    inspector = sa.inspect(connection)
    for table in metadata.sorted_tables:
        found = {column["name"] for column in inspector.get_columns(table.name)}
        if found != {*table.columns.keys()}:
            raise OptionError(
                f"the study's database has a table {table.name} of {', '.join(sorted(found))};"
                f" expected {', '.join(sorted(table.columns.keys()))}: it is of another version of"
                " luab, so export it with that version, and go on with a new study"
            )


def _cause(error: Exception) -> str:
    """What the database says, without the values of the statement."""
    return str(getattr(error, "orig", None) or type(error).__name__).partition("\n")[0]


def _suit_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()
