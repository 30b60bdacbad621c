"""[I/O] One Parquet file of a dataset: its schema, its row groups, and what must hold in each row.

These are promises of the schema (lists side by side, ids, hashes), so a broken one is a problem of
the dataset. What is merely odd about a worker or the tool is in the lint rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.checks.lint import Broken, KindChecks
from luab_data.checks.report import Notes
from luab_data.ragged import Bools, Ragged, bounds_of, is_true, one_array
from luab_data.raw.worker_ids import PUBLISHED_ID
from luab_data.schema import LAST_N, QUANTILES, Table
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


_FIXED = {
    **dict.fromkeys(("trace_quantile_x", "time_quantile_x"), len(QUANTILES)),
    "last_n_x": LAST_N,
}
"""Lists that have one length wherever they are not null."""


def broken_values(rows: pa.Table, checks: KindChecks, table: Table) -> Iterator[Broken]:
    """Nulls and list lengths: what the `values` check looks at.

    Args:
        rows: (num_rows,) of one config, all of the schema's columns.
        checks, table: of the kind, and which config.
    """
    for name in checks.not_null[table.config]:
        yield from first(rows[name].is_null(), "values", f"{name} is null", "a value")
    for group in table.parallel():
        names = [name for name in group if name in rows.column_names]
        lengths = [np.diff(bounds_of(rows[name])) for name in names]
        for name, length in zip(names[1:], lengths[1:], strict=True):
            found = f"{name} is not as long as {group[0]}"
            yield from first(length != lengths[0], "values", found, "lists side by side")
    for name in _FIXED.keys() & set(rows.column_names):
        odd = pc.not_equal(pc.list_value_length(rows[name]), _FIXED[name])
        found = f"{name} of another length"
        yield from first(odd, "values", found, f"{_FIXED[name]} elements")
    for name in checks.full:
        if name in rows.column_names:
            nulls = one_array(rows[name]).flatten().is_null()
            found = f"{name} holds a null"
            yield from any_in(rows[name], nulls, "values", found, "a value in every element")


def broken_workers(table: pa.Table) -> Iterator[Broken]:
    """Worker ids that do not look like hashes; the id itself is never shown."""
    hashed = pc.match_substring_regex(table["worker_id"], f"^(?:{PUBLISHED_ID})$")
    odd = pc.and_(table["worker_id"].is_valid(), pc.invert(hashed))
    yield from first(odd, "workers", "a worker_id that is no hash", "16 hex digits")


def first(
    odd: Bools | pa.Array | pa.ChunkedArray, check: str, found: str, expected: str
) -> Iterator[Broken]:
    """The first of the odd rows (num_rows,), and how many; nothing if there are none."""
    flags = odd if isinstance(odd, np.ndarray) else is_true(odd)
    if count := int(flags.sum()):
        yield Broken(check, found, expected, int(np.argmax(flags)), count)


def any_in(
    lists: pa.Array | pa.ChunkedArray, odd: Bools | pa.Array, check: str, found: str, expected: str
) -> Iterator[Broken]:
    """As first, of rows with an odd element; odd is (num_values,) of a list column."""
    flags = odd if isinstance(odd, np.ndarray) else is_true(odd)
    yield from first(Ragged(flags, bounds_of(lists)).any(flags), check, found, expected)
