"""[I/O] One Parquet file of a dataset: its schema, and its row groups with checksums verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.checks.report import Notes
from luab_data.schema import Table
from luab_data.store.digest import ShardDigest

_UNREADABLE = (OSError, pa.ArrowException, ValueError)
"""What pyarrow raises on damaged Parquet; ArrowMemoryError of an absurd page size included."""


class Shard(NamedTuple):
    """What a file holds."""

    name: str
    num_rows: int  # by its footer; 0 if that cannot be read
    rows: pa.Table | None = None  # None unless every one can be read and relied on
    digest: str | None = None  # of the values; None unless every one can be read


def read_shard(
    path: Path,
    name: str,
    table: Table,
    types: Mapping[str, str] | None,
    notes: Notes,
    look: Callable[[pa.Table, str], bool],
) -> Shard:
    """Read a file to its end, past any damage.

    Args:
        path: the file.
        name: its path in the dataset folder.
        table: the config.
        types: column -> type as the manifest has them; None if it has none.
        notes: where problems go.
        look: called with each row group, if the columns are those of the schema, and with a name
            of it; false if its rows cannot be relied on.
    """
    notes.ran("pages", "schema")
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except _UNREADABLE as error:
        notes.problem("pages", name, f"cannot be opened: {_line(error)}", "a Parquet file")
        return Shard(name, 0)
    with file:
        is_sound = _check_schema(file.schema_arrow, name, table, types, notes)
        digest = ShardDigest()
        groups = []
        is_read = is_whole = is_sound
        for number in range(file.num_row_groups):
            where = f"{name}: row group {number}"
            rows = _read_group(file, number, where, notes)
            is_read &= rows is not None
            if rows is not None and is_sound:
                digest.update(rows)
                is_whole &= look(rows, where)
                groups.append(rows)
        empty = table.schema().empty_table()
        return Shard(
            name=name,
            num_rows=int(file.metadata.num_rows),
            rows=pa.concat_tables(groups or [empty]) if is_read and is_whole else None,
            digest=digest.hexdigest() if is_read else None,
        )


def _check_schema(
    schema: pa.Schema, name: str, table: Table, types: Mapping[str, str] | None, notes: Notes
) -> bool:
    """Whether every column of the schema is there with its type."""
    found = {field.name: type_name(field.type) for field in schema}
    is_sound = True
    for column in table.columns:
        wanted = type_name(column.type)
        if found.get(column.name) != wanted:
            other = f"{column.name} is {found.get(column.name, 'missing')}"
            notes.problem("schema", name, other, wanted)
            is_sound = False
    if types is not None and is_sound:
        has = [" ".join(pair) for pair in found.items()]
        listed = [f"{column} {type_name(kind)}" for column, kind in types.items()]
        for place, (one, other) in enumerate(zip_longest(has, listed, fillvalue="missing")):
            if one != other:
                expected = f"{other}, as the manifest has it"
                notes.problem("schema", name, f"column {place} is {one}", expected)
                break
    if b"huggingface" in (schema.metadata or {}):
        wanted = "none: older releases of it cannot read those"
        notes.problem("schema", name, "metadata of `datasets`", wanted)
    return is_sound


def _read_group(file: pq.ParquetFile, number: int, where: str, notes: Notes) -> pa.Table | None:
    """A row group; None if it is damaged."""

    def read(columns: list[str] | None = None) -> pa.Table:
        table = file.read_row_group(number, columns=columns)
        table.validate(full=True)
        return table

    try:
        return read()
    except _UNREADABLE as error:
        damaged = []
        for column in file.schema_arrow.names:
            try:
                read([column])
            except _UNREADABLE:
                damaged.append(column)
        columns = ", ".join(damaged) or "all columns together"
        found = f"damaged in {columns}: {_line(error)}"
        notes.problem("pages", where, found, "pages that match their checksums")
        return None


def type_name(type: pa.DataType | str) -> str:
    """A type in words that do not depend on how a release of pyarrow calls list elements."""
    return str(type).replace("element: ", "").replace("item: ", "").replace(" not null", "")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
