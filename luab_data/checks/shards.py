"""[I/O] One Parquet file of a dataset: its schema, and its row groups with checksums verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.checks.report import Report
from luab_data.errors import LuabError
from luab_data.schema import Table
from luab_data.store.digest import ShardDigest

_UNREADABLE = (OSError, pa.ArrowException, ValueError)
"""What pyarrow raises on damaged Parquet; ArrowMemoryError of an absurd page size included."""

Look = Callable[[pa.Table, str], bool]
"""Looks at a row group, named by the string; false if its rows break a promise of the schema."""


class Spoilt(LuabError):
    """Rows cannot be read or break a promise; the report has it."""


class ShardReader:
    """The row groups of one file, each looked at when it is read.

    Args:
        path: the file.
        name: its path in the dataset folder.
        table: the config.
        types: column -> type as the manifest has them; None if it has none.
        report: where problems go.
        look: called with each row group of sound columns.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        table: Table,
        types: Mapping[str, str] | None,
        report: Report,
        look: Look,
    ) -> None:
        self.name = name
        self._table = table
        self._report = report
        self._look = look
        self._next = 0
        self._held: list[pa.Table] = []
        self._num_held = 0
        self._file: pq.ParquetFile | None = None
        self._digest: ShardDigest | None = None
        self.sound = False
        self.whole = False  # whether every row was read and holds its promises
        report.ran("pages", "schema")
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        except _UNREADABLE as error:
            report.problem("pages", name, f"cannot be opened: {_line(error)}", "a Parquet file")
            return
        self.sound = self._check_schema(types)
        self.whole = self.sound
        self._digest = ShardDigest() if self.sound else None

    @property
    def num_rows(self) -> int:
        """Rows by the footer; 0 if that cannot be read."""
        return 0 if self._file is None else int(self._file.metadata.num_rows)

    def _check_schema(self, types: Mapping[str, str] | None) -> bool:
        """Whether every column of the schema is there with its type."""
        schema = self._file.schema_arrow  # type: ignore[union-attr]
        found = {field.name: type_name(field.type) for field in schema}
        sound = True
        for column in self._table.columns:
            wanted = type_name(column.type)
            if found.get(column.name) != wanted:
                has = f"{column.name} is {found.get(column.name, 'missing')}"
                self._report.problem("schema", self.name, has, wanted)
                sound = False
        if types is not None:
            listed = [(name, plain_name(kind)) for name, kind in types.items()]
            pairs = list(found.items())
            if sound and pairs != listed:
                place = next(
                    (
                        i
                        for i, both in enumerate(zip(pairs, listed, strict=False))
                        if both[0] != both[1]
                    ),
                    min(len(pairs), len(listed)),
                )
                has = f"column {place} is {_at(pairs, place)}"
                wanted = f"{_at(listed, place)}, as the manifest has it"
                self._report.problem("schema", self.name, has, wanted)
        if b"huggingface" in (schema.metadata or {}):
            has, wanted = "metadata of `datasets`", "none: older releases of it cannot read those"
            self._report.problem("schema", self.name, has, wanted)
        return sound

    def next(self) -> pa.Table | None:
        """The next row group; None after the last.

        Raises:
            Spoilt: it is damaged or breaks a promise. The one after it can be asked for.
        """
        if self._file is None or self._next >= self._file.num_row_groups:
            return None
        group = self._next
        self._next += 1
        where = f"{self.name}: row group {group}"
        try:
            table = self._file.read_row_group(group)
            table.validate(full=True)
        except _UNREADABLE as error:
            self.whole, self._digest = False, None
            columns = ", ".join(self._damaged(group)) or "all columns together"
            found = f"damaged in {columns}: {_line(error)}"
            self._report.problem("pages", where, found, "pages that match their checksums")
            raise Spoilt(where) from None
        if not self.sound:
            return table
        if self._digest is not None:
            self._digest.update(table)
        if not self._look(table, where):
            self.whole = False
            raise Spoilt(where)
        return table

    def take(self, count: int) -> pa.Table:
        """The next `count` rows as one chunk a column, fewer at the end of the file.

        Raises:
            Spoilt: as next.
        """
        while self._num_held < count and (group := self.next()) is not None:
            self._held.append(group)
            self._num_held += len(group)
        if not self._held:
            return self._table.schema().empty_table()
        held = pa.concat_tables(self._held)
        taken = held.slice(0, count).combine_chunks()
        self._held = [held.slice(count)]
        self._num_held -= len(taken)
        return taken

    @property
    def digest(self) -> str | None:
        """Digest of the values of all row groups; None if some are damaged or were not read."""
        unread = self._file is None or self._next < self._file.num_row_groups
        return None if unread or self._digest is None else self._digest.hexdigest()

    @property
    def num_left(self) -> int:
        """Rows that take has not given yet, by the footer."""
        if self._file is None:
            return 0
        groups = range(self._next, self._file.num_row_groups)
        unread = sum(self._file.metadata.row_group(group).num_rows for group in groups)
        return int(unread) + self._num_held

    def drain(self) -> None:
        """Read and look at what is left, past any damage."""
        while True:
            try:
                if self.next() is None:
                    return
            except Spoilt:
                continue

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _damaged(self, group: int) -> list[str]:
        """The columns of a row group that cannot be read."""
        damaged = []
        for field in self._file.schema_arrow:  # type: ignore[union-attr]
            try:
                self._file.read_row_group(group, columns=[field.name]).validate(full=True)  # type: ignore[union-attr]
            except _UNREADABLE:
                damaged.append(field.name)
        return damaged


def type_name(type: pa.DataType) -> str:
    """A type in words that do not depend on how a release of pyarrow calls list elements."""
    return plain_name(str(type))


def plain_name(name: str) -> str:
    """As type_name, of a type that is in words already."""
    return str(name).replace("element: ", "").replace("item: ", "").replace(" not null", "")


def _at(pairs: list[tuple[str, str]], place: int) -> str:
    return " ".join(pairs[place]) if place < len(pairs) else "missing"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
