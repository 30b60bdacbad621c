"""[I/O] One Parquet file of a dataset: its schema, its row groups, and what must hold in each row.

These are promises of the schema (lists side by side, ids, hashes), so a broken one is a problem of
the dataset. What is merely odd about a worker or the tool is in the lint rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.checks.lint import Broken, KindChecks
from luab_data.checks.report import Notes
from luab_data.ragged import Bools, Ragged, bounds_of, is_true, one_array
from luab_data.raw.worker_ids import PUBLISHED_ID
from luab_data.schema import LAST_N, QUANTILES, Table

if TYPE_CHECKING:
    from luab_data.kinds import Kind

UNREADABLE = (OSError, pa.ArrowException, ValueError)
"""What pyarrow raises on damaged Parquet; ArrowMemoryError of an absurd page size included."""


def check_schema(
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


def read_group(file: pq.ParquetFile, number: int, where: str, notes: Notes) -> pa.Table | None:
    """A row group; None if it is damaged."""

    def read(columns: list[str] | None = None) -> pa.Table:
        table = file.read_row_group(number, columns=columns)
        table.validate(full=True)
        return table

    try:
        return read()
    except UNREADABLE as error:
        damaged = []
        for column in file.schema_arrow.names:
            try:
                read([column])
            except UNREADABLE:
                damaged.append(column)
        columns = ", ".join(damaged) or "all columns together"
        found = f"damaged in {columns}: {line(error)}"
        notes.problem("pages", where, found, "pages that match their checksums")
        return None


def type_name(type: pa.DataType | str) -> str:
    """A type in words that do not depend on how a release of pyarrow calls list elements."""
    return str(type).replace("element: ", "").replace("item: ", "").replace(" not null", "")


def line(error: BaseException) -> str:
    """What an error says, on one line."""
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


def differing(
    images: pa.Table, records: pa.Table, kind: Kind, classes: Sequence[str] | None
) -> Iterator[tuple[pa.Table, str, int]]:
    """Each derived column that differs from its recomputation: rows, name, first row that does.

    What follows from the instances file is not recomputed: that file is not part of the dataset.

    Args:
        images, records: rows of `default` and all their rows of the other config, all columns.
        kind: of log.
        classes: the class names of the manifest; None leaves what needs them out.
    """
    registry, events = kind.derivation.registry, kind.derivation.events
    unknown = {"truth"} if classes is not None else {"truth", "wnids", "classes"}
    names = [
        name
        for name in registry.names()
        if name in images.column_names and not unknown & set(registry.sources([name]))
    ]
    logged = events.logged(events.names(), records)
    given = kind.checks.sources(images, records, names, classes)
    computed = (
        (images, registry.compute(names, given)),
        (records, events.compute(events.names(), logged)),
    )
    for rows, columns in computed:
        for name, expected in columns.items():
            found, wanted = one_array(rows[name]), one_array(expected)
            if not found.equals(wanted):
                yield rows, name, _first_difference(found, wanted)


def _first_difference(found: pa.Array, wanted: pa.Array) -> int:
    """The first row that differs, found by halving: nested columns have no elementwise equal."""
    start, stop = 0, len(found)
    while stop - start > 1:
        middle = (start + stop) // 2
        halves = (values.slice(start, middle - start) for values in (found, wanted))
        if next(halves).equals(next(halves)):
            start = middle
        else:
            stop = middle
    return start
