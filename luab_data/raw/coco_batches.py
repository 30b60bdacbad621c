"""[I/O] The COCO-AB log -> Arrow tables, a batch at a time and at the speed of msgspec.

The types below say what the fast path answers for; they follow from the schema. A record that
differs in any way (other keys, 12.0 for 12, a missing point, a surrogate, ...) goes through
`coco.parse`, which gives the same values or words the refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from luab_data.errors import ArchiveError, RecordError
from luab_data.ragged import Ints, list_array
from luab_data.raw.archive import Source
from luab_data.raw.coco import ALIASES, NAMES, NULLABLE, POINT_TO, REQUIRED, parse
from luab_data.raw.json_runs import Differs, Passed, Plain, Runs
from luab_data.raw.json_stream import JsonStream
from luab_data.schema import COCO_ACTIONS, Column

BATCH = 2048
"""Records of a batch: about 4 MB of table."""

_SCHEMA = COCO_ACTIONS.schema()


class CocoBatch(NamedTuple):
    """Consecutive records of the log. A place is a record's index in the file, from 0.

    Args:
        table: (num_rows,) COCO_ACTIONS, a row for each good record, worker ids hashed.
        places: (num_rows,) int64, ascending.
        errors: (place, what is wrong) of the other records, ascending.
        unknown: (place, key) of keys of good records that the schema does not know.
    """

    table: pa.Table
    places: Ints
    errors: list[tuple[int, RecordError]]
    unknown: list[tuple[int, str]]


def batches(
    log: Source, hash_worker: Callable[[str], str], *, size: int = BATCH, skip: int = 0
) -> Iterator[CocoBatch]:
    """The log as tables, in file order; the k-th ends with record `size` k - 1 of the file.

    Args:
        log: a JSON array or JSON Lines, plain or gzip.
        hash_worker: worker id -> published id; raw ids are kept nowhere.
        size: records of a batch, bad ones included.
        skip: records to pass over first; of those only the JSON is checked.

    Raises:
        ArchiveError: not JSON, or cut, after the batches of all records before: what follows a
            broken spot in an array cannot be trusted.
    """
    rows = _Rows(skip)
    try:
        for found in _runs(JsonStream(log), skip):
            left: list[Any] = [found] if isinstance(found, Plain) else found
            while left:
                room = size - rows.next_place % size
                rows.add(left[:room])
                left = left[room:]
                if rows.next_place % size == 0:
                    yield rows.batch(hash_worker)
                    rows = _Rows(rows.next_place)
    except ArchiveError:
        if rows:
            yield rows.batch(hash_worker)
        raise
    if rows:
        yield rows.batch(hash_worker)


def _runs(stream: JsonStream, skip: int) -> Iterator[list[Any] | Plain]:
    """The records behind the first `skip` ones, typed or not."""
    runs = Runs(stream, _Record, check=_check_run, skip=skip)
    first = stream.peek()
    if not first:
        stream.fail("the file is empty; expected a JSON array or JSON Lines")
    for found in runs.array() if first == "[" else runs.lines():
        if not isinstance(found, Passed):
            yield found
    stream.end()


# --- what the fast path answers for ----------------------------------------------------------------


class _Leaf(NamedTuple):
    """A column of a list: how an entry gives its value, and the numpy type of many of them."""

    column: Column
    key: str
    point: str  # the key of the point that the value is in; "" for a value of the entry itself
    dtype: Any  # None for strings


_DTYPES = {"int64": np.int64, "int16": np.int16, "double": np.float64, "bool": np.bool_}
_SCALARS = {c.raw: c for c in COCO_ACTIONS.columns if c.raw and "/" not in c.raw}
_LISTS: dict[str, list[_Leaf]] = {}
for _column in COCO_ACTIONS.columns:
    if _column.raw and "/" in _column.raw:
        _list, *_point, _key = _column.raw.split("/")
        _leaf = _Leaf(_column, _key, "".join(_point), _DTYPES.get(str(_column.type.value_type)))
        _LISTS.setdefault(_list, []).append(_leaf)


def _type(column: Column) -> Any:
    """What a value of the column must be in the file; more than msgspec is asked of nobody."""
    type_ = column.type.value_type if pa.types.is_list(column.type) else column.type
    if column.raw in NAMES:
        return Literal[NAMES[column.raw]]
    if pa.types.is_integer(type_):
        end = 2 ** (type_.bit_width - 1)
        return Annotated[int, msgspec.Meta(ge=-end, le=end - 1)]
    if pa.types.is_floating(type_):
        return float
    return bool if pa.types.is_boolean(type_) else str


def _struct(name: str, fields: Iterable[tuple[str, Any, bool]]) -> Any:
    """A msgspec type of (key, type, whether it may be null or absent)."""
    typed = [(key, type_ | None, None) if null else (key, type_) for key, type_, null in fields]
    return msgspec.defstruct(name, typed, kw_only=True, forbid_unknown_fields=True, gc=False)


def _entry(name: str, leaves: Sequence[_Leaf]) -> Any:
    points: dict[str, list[tuple[str, Any, bool]]] = {}
    for leaf in leaves:
        points.setdefault(leaf.point, []).append((leaf.key, _type(leaf.column), True))
    own = [(key, type_, key in NULLABLE) for key, type_, _ in points.pop("", [])]
    return _struct(name, [*own, *((p, _struct(p, fields), True) for p, fields in points.items())])


_Record: Any = _struct(
    "Record",
    [
        *((key, _type(column), key not in REQUIRED) for key, column in _SCALARS.items()),
        *((alias, _type(_SCALARS[key]), True) for alias, key in ALIASES.items()),
        *((key, list[_entry(key, leaves)], True) for key, leaves in _LISTS.items()),  # type: ignore[misc]
    ],
)
_ALIASED = [(attrgetter(alias), attrgetter(key)) for alias, key in ALIASES.items()]


def _check_run(records: list[Any]) -> None:
    """What the types cannot say."""
    for record in records:
        for alias, key in _ALIASED:
            if alias(record) is not None and key(record) is not None:
                raise Differs
        for action in record.actionHistories or ():
            if action.pointTo is None and action.actionType in POINT_TO:
                raise Differs


# --- columns ---------------------------------------------------------------------------------------


class _Nowhere:
    """A point that is null."""

    x = y = None


_ALIAS_OF = {key: attrgetter(alias) for alias, key in ALIASES.items()}


class _Rows:
    """Records, column by column, with as few Python objects kept as possible."""

    def __init__(self, first: int) -> None:
        self.next_place = first
        self._first = first
        self._errors: list[tuple[int, RecordError]] = []
        self._unknown: list[tuple[int, str]] = []
        self._scalars: dict[str, list[Any]] = {key: [] for key in _SCALARS}
        self._lengths: dict[str, list[int]] = {key: [] for key in _LISTS}
        self._leaves: dict[str, list[Any]] = {
            leaf.column.name: [] for leaves in _LISTS.values() for leaf in leaves
        }

    def __bool__(self) -> bool:
        return self.next_place > self._first

    def add(self, records: list[Any]) -> None:
        """Append typed records, or one that is Plain."""
        if isinstance(records[0], Plain):
            self._add_plain(records[0].value)
        else:
            self._add_typed(records)
        self.next_place += len(records)

    def _add_typed(self, records: list[Any]) -> None:
        for key, kept in self._scalars.items():
            values = list(map(attrgetter(key), records))
            if key in _ALIAS_OF and None in values:
                others = map(_ALIAS_OF[key], records)
                values = [o if v is None else v for v, o in zip(values, others, strict=True)]
            kept += values
        for key, leaves in _LISTS.items():
            lists = [entries or () for entries in map(attrgetter(key), records)]
            self._lengths[key] += map(len, lists)
            entries = list(chain.from_iterable(lists))
            for leaf in leaves:
                owners = entries
                if leaf.point:
                    owners = [point or _Nowhere for point in map(attrgetter(leaf.point), entries)]
                flat = _flat(attrgetter(leaf.key), owners, leaf.dtype)
                self._leaves[leaf.column.name].append(flat)

    def _add_plain(self, value: Any) -> None:
        try:
            values, unknown = parse(self.next_place, value)
        except RecordError as error:
            self._errors.append((self.next_place, error))
            return
        self._unknown += [(self.next_place, key) for key in unknown]
        for key, kept in self._scalars.items():
            kept.append(values.get(_SCALARS[key].name))
        for key, leaves in _LISTS.items():
            self._lengths[key].append(len(values[leaves[0].column.name]))
            for leaf in leaves:
                flat = _flat(_itself, values[leaf.column.name], leaf.dtype)
                self._leaves[leaf.column.name].append(flat)

    def batch(self, hash_worker: Callable[[str], str]) -> CocoBatch:
        """What was added."""
        columns: dict[str, pa.Array] = {}
        for key, values in self._scalars.items():
            column = _SCALARS[key]
            found = list(map(hash_worker, values)) if key == "worker_id" else values
            columns[column.name] = pa.array(found, column.type)
        for key, leaves in _LISTS.items():
            bounds = np.concatenate([[0], np.cumsum(self._lengths[key], dtype=np.int64)])
            for leaf in leaves:
                parts = self._leaves[leaf.column.name]
                columns[leaf.column.name] = list_array(_joined(parts, leaf), bounds)
        table = pa.table([columns[name] for name in _SCHEMA.names], _SCHEMA)
        is_good = np.ones(self.next_place - self._first, bool)
        is_good[[place - self._first for place, _ in self._errors]] = False
        places = self._first + np.flatnonzero(is_good)
        return CocoBatch(table, places, self._errors, self._unknown)


def _itself(value: Any) -> Any:
    return value


def _flat(get: Callable[[Any], Any], owners: list[Any], dtype: Any) -> Any:
    """Strings as a list, numbers as an array in which NaN is null (the log's own are finite)."""
    if dtype is None:
        return list(map(get, owners))
    return np.fromiter(map(get, owners), dtype, len(owners))  # None becomes NaN


def _joined(parts: list[Any], leaf: _Leaf) -> pa.Array:
    type_ = leaf.column.type.value_type
    if leaf.dtype is None:
        return pa.array(list(chain.from_iterable(parts)), type_)
    values = np.concatenate(parts) if parts else np.empty(0, leaf.dtype)
    missing = np.isnan(values)
    return pa.array(values, type_, mask=missing if missing.any() else None)
