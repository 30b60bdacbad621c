"""[I/O] What people did, in a database: nothing is acknowledged before it is on the disk.

One thread a process writes, many requests in one transaction: SQLite's write-ahead log with a flush
for every commit (`synchronous=FULL`), or PostgreSQL where several servers share a study. What a
client sends again is stored once: rows are named by the session and the client's own sequence
number. What has to look before it writes does so in a transaction that no other such one, of any
process, overlaps with.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from luab_data.collect.tables import batches, metadata, sessions
from luab_data.errors import LuabError, OptionError, OutputError

MOST_AT_ONCE = 2048
"""Writes of one transaction."""
_BUSY_MS = 10_000
"""Until a transaction that waits for another one gives up."""
_LOCK = 0x6C756162
"""Of PostgreSQL's advisory locks, that of our acts."""


def now_ms() -> int:
    """The time of day, epoch ms."""
    return time.time_ns() // 1_000_000


T = TypeVar("T")


class Ended(OutputError):
    """Events came after the end of their session, or of somebody who has withdrawn."""


class _Write(NamedTuple):
    """Rows of a statement, or an act of its own; `session` has to be open if it is not None."""

    statement: Any
    rows: Sequence[dict[str, Any]]
    done: Future[Any]
    session: int | None = None


class Store:
    """A study's database.

    Args:
        url: of SQLAlchemy: `sqlite:///FILE` or `postgresql://...`, by psycopg.

    Raises:
        OptionError: the database cannot be reached, or is of another version.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _suit_sqlite)
        self._insert_batch = self.insert_new(batches)
        try:
            with self.alone() as connection:
                metadata.create_all(connection)
                _check_columns(connection)
        except OptionError:
            self._engine.dispose()
            raise
        except sa.exc.DBAPIError as error:
            self._engine.dispose()
            where = self._engine.url.render_as_string(hide_password=True)
            raise OptionError(f"{where}: cannot be opened ({_cause(error).strip()})") from error
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
        await self._put(statement, rows)

    async def write_events(self, row: dict[str, Any]) -> None:
        """Keep a batch of events, once, while its session is open.

        Raises:
            Ended: the session is over. OutputError: as of `write`.
        """
        await self._put(self._insert_batch, [row], row["session"])

    async def act(self, do: Callable[[sa.Connection], T]) -> T:
        """What `do` returns: it looks and writes, all or nothing, and no other act meanwhile.

        Raises:
            OutputError: as of `write`; and what `do` raises.
        """
        found: T = await self._put(do, ())
        return found

    async def _put(self, what: Any, rows: Sequence[dict[str, Any]], session: Any = None) -> Any:
        done: Future[Any] = Future()
        self._writes.put(_Write(what, rows, done, session))
        return await asyncio.wrap_future(done)

    @contextmanager
    def alone(self) -> Iterator[sa.Connection]:
        """A transaction that no other such one overlaps with, in any process."""
        with self._engine.begin() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    @contextmanager
    def reading(self, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """A connection for reading.

        Args:
            snapshot: all questions see the database as it is at the first one. Costs time that a
                single question need not wait.

        Raises:
            OutputError: it does not answer, for instance where a disk is full.
        """
        try:
            with self._engine.connect() as connection:
                if snapshot and self._is_sqlite:
                    connection.exec_driver_sql("BEGIN")
                elif snapshot:
                    connection.execution_options(isolation_level="REPEATABLE READ")
                yield connection
        except sa.exc.DBAPIError as error:
            raise OutputError(f"the database refuses: {_cause(error)}") from error

    def forget(self) -> bool:
        """Leave nothing of what was deleted in SQLite's log; False: others read, try it again."""
        if not self._is_sqlite:
            return True
        try:
            with self._engine.connect() as connection:
                ask = connection.exec_driver_sql
                ask("PRAGMA busy_timeout=100")  # it keeps others from writing while it waits
                is_busy = ask("PRAGMA wal_checkpoint(TRUNCATE)").scalar()
                ask(f"PRAGMA busy_timeout={_BUSY_MS}")
                return not is_busy
        except sa.exc.DBAPIError:  # a full disk: what is deleted is deleted
            return False

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
            acts = [write for write in writes if callable(write.statement)]
            self._commit([write for write in writes if not callable(write.statement)])
            self._do(acts)

    def _do(self, acts: Sequence[_Write]) -> None:
        """Acts in one transaction, each all or nothing."""
        if not acts:
            return
        found: list[Any] = []
        try:
            with self.alone() as connection:
                for act in acts:
                    try:
                        with connection.begin_nested():
                            found.append(act.statement(connection))
                    except LuabError as refused:
                        found.append(refused)
        except Exception as error:  # perhaps of the whole transaction: none is kept
            if len(acts) == 1:
                _settle(acts[0], OutputError(f"the database refuses: {_cause(error)}"))
                return
            for act in acts:
                self._do([act])
            return
        for act, result in zip(acts, found, strict=True):
            _settle(act, result)

    def _commit(self, writes: Sequence[_Write]) -> None:
        if not writes:
            return
        try:
            with self._engine.begin() as connection:
                is_open = self._open_sessions(connection, writes)
                kept = [w for w in writes if w.session is None or w.session in is_open]
                for statement, rows in _grouped(kept):
                    connection.execute(statement, rows)
        except Exception as error:  # whatever it is, the thread goes on and somebody is told
            if len(writes) == 1:
                _settle(writes[0], OutputError(f"the database refuses: {_cause(error)}"))
                return
            for write in writes:  # one of them is at fault: the others are not to suffer
                self._commit([write])
            return
        for write in writes:
            is_kept = write.session is None or write.session in is_open
            _settle(write, None if is_kept else Ended("the session has ended"))

    def _open_sessions(self, connection: sa.Connection, writes: Sequence[_Write]) -> set[int]:
        """Those of the writes' sessions that are not over, nor will be before they are kept."""
        asked = {write.session for write in writes if write.session is not None}
        if not asked:
            return set()
        one = sessions.c
        query = sa.select(one.id).where(one.id.in_(asked), one.finished_ms.is_(None))
        return {*connection.scalars(query.with_for_update(read=True))}


def _settle(write: _Write, result: Any) -> None:
    """Tell who waits."""
    if write.done.cancelled():
        return
    if isinstance(result, Exception):
        write.done.set_exception(result)
    else:
        write.done.set_result(result)


def _engine(url: str) -> sa.Engine:
    try:
        found = sa.make_url(url)
        if found.drivername == "postgresql":
            found = found.set(drivername="postgresql+psycopg")
        return sa.create_engine(found, pool_pre_ping=True)
    except sa.exc.ArgumentError as error:
        raise OptionError(
            "the database's URL makes no sense; expected postgresql://USER:PASSWORD@HOST/NAME"
        ) from error
    except ModuleNotFoundError as error:
        raise OptionError(
            f"{error.name} is not installed; `pip install 'luab[postgres]'` has it"
        ) from error


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
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.close()
