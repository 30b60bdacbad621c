"""[I/O] The COCO-AB log -> Arrow tables, a batch at a time and at the speed of msgspec.

The msgspec types below say what this path answers for; they follow from the schema. A record that
differs in any way (other keys, a missing point, half a surrogate pair, ...) is left to
`coco.parse`, which gives the same values or words the refusal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from luab_data.errors import ArchiveError, RecordError
from luab_data.ragged import Floats, Ints, list_array
from luab_data.raw import coco
from luab_data.raw.json_values import Differs, JsonStream, Plain, Runs
from luab_data.raw.packed import float_columns
from luab_data.raw.source import Source
from luab_data.schema import COCO_ACTIONS, Column

BATCH = 2048
"""Records of a batch: about 4 MB of table."""


class CocoBatch(NamedTuple):
    """Consecutive records of the log. A place is a record's index in the file, from 0.

    Args:
        table: (num_rows,) raw columns of COCO_ACTIONS, a row for each good record, ids hashed.
        places: (num_rows,) int64, ascending.
        errors: (place, what is wrong) of the other records, ascending.
        unknown: (place, key) of keys of good records that the schema does not know.
        repaired: id of REPAIRS -> values that were mended.
    """

    table: pa.Table
    places: Ints
    errors: list[tuple[int, RecordError]]
    unknown: list[tuple[int, str]]
    repaired: Counter[str]


def batches(
    log: Source, hash_worker: Callable[[str], str], *, size: int = BATCH
) -> Iterator[CocoBatch]:
    """The log as tables, in file order.

    Args:
        log: a JSON array or JSON Lines, plain or gzip.
        hash_worker: worker id -> published id; raw ids are kept nowhere.
        size: least number of records of a batch but the last, bad ones included.

    Raises:
        ArchiveError: not JSON, or cut, after the batches of all records before: what follows a
            broken spot in an array cannot be trusted.
    """
    growing, stream = _Growing(0), JsonStream(log, takes_nan=True)
    runs = Runs(stream, _Record, _from_typed)
    try:
        for found in runs.array() if coco.is_array(stream) else runs.lines():
            growing.add(found)
            if len(growing) >= size:
                yield growing.batch(hash_worker)
                growing = _Growing(growing.end)
        stream.end()
    except ArchiveError:
        if growing:
            yield growing.batch(hash_worker)
        raise
    if growing:
        yield growing.batch(hash_worker)


class _Growing:
    """A batch in the making: the records from place `start` on, up to `end`."""

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self._parts: list[_Part] = []
        self._errors: list[tuple[int, RecordError]] = []
        self._unknown: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return self.end - self.start

    def add(self, found: _Part | Plain) -> None:
        """Append records."""
        if isinstance(found, _Part):
            self._parts.append(found)
            self.end += found.num_rows
            return
        try:
            record = coco.parse(self.end, found.value)
        except RecordError as error:
            self._errors.append((self.end, error))
        else:
            self._unknown += [(self.end, key) for key in record.unknown]
            self._parts.append(_from_record(record))
        self.end += 1

    def batch(self, hash_worker: Callable[[str], str]) -> CocoBatch:
        """What was added."""
        columns: dict[str, pa.Array] = {}
        for number, (key, column) in enumerate(_SCALARS.items()):
            values = list(chain.from_iterable(part.scalars[number] for part in self._parts))
            if key == coco.WORKER:
                values = [None if worker is None else hash_worker(worker) for worker in values]
            columns[column.name] = pa.array(values, column.type)
        for number, leaves in enumerate(_LISTS.values()):
            lengths = list(chain.from_iterable(part.lengths[number] for part in self._parts))
            bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
            for place, leaf in enumerate(leaves):
                flat = _joined([part.leaves[number][place] for part in self._parts], leaf)
                columns[leaf.column.name] = list_array(flat, bounds)
        table = pa.table([columns[name] for name in coco.SCHEMA.names], coco.SCHEMA)
        is_good = np.ones(len(self), bool)
        is_good[[place - self.start for place, _ in self._errors]] = False
        places = self.start + np.flatnonzero(is_good)
        repaired = Counter(chain.from_iterable(part.repaired for part in self._parts))
        return CocoBatch(table, places, self._errors, self._unknown, repaired)


def _joined(parts: list[Any], leaf: _Leaf) -> pa.Array:
    type_ = leaf.column.type.value_type
    if leaf.dtype is None:
        return pa.array(list(chain.from_iterable(parts)), type_)
    values = np.concatenate(parts) if parts else np.empty(0, leaf.dtype)
    missing = np.isnan(values) if leaf.dtype == np.float64 else np.zeros(0, bool)
    return pa.array(values, type_, mask=missing if missing.any() else None)


# --- records as msgspec types --------------------------------------------------------------------


class _Leaf(NamedTuple):
    """A column of a list: where an entry has its value, and the numpy type of many of them."""

    column: Column
    point: str  # the key of the point that the value is in; "" for a value of the entry itself
    key: str
    dtype: Any  # None for strings


_DTYPES = {"int64": np.int64, "int16": np.int16, "double": np.float64, "bool": np.bool_}
_SCALARS = {c.raw: c for c in COCO_ACTIONS.columns if c.raw and "/" not in c.raw}
_LISTS: dict[str, list[_Leaf]] = {}
for _column in COCO_ACTIONS.columns:
    if _column.raw and "/" in _column.raw:
        _list, *_point, _key = _column.raw.split("/")
        _leaf = _Leaf(_column, "".join(_point), _key, _DTYPES.get(str(_column.type.value_type)))
        _LISTS.setdefault(_list, []).append(_leaf)

_NUMBERS = {
    key: leaves
    for key, leaves in _LISTS.items()
    if all(not leaf.point and leaf.dtype in (np.int64, np.float64) for leaf in leaves)
}
"""Lists of nothing but numbers, i.e. the mouse trace: see _fixed_width."""


def _type(column: Column) -> Any:
    """What a value of the column has to be in the file."""
    type_ = column.type.value_type if pa.types.is_list(column.type) else column.type
    if column.raw in coco.NAMES:
        return Literal[coco.NAMES[column.raw]]
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
    if name in _NUMBERS:
        return _struct(name, [(leaf.key, float, leaf.key in coco.NULLABLE) for leaf in leaves])
    points: dict[str, list[tuple[str, Any, bool]]] = {}
    for leaf in leaves:
        points.setdefault(leaf.point, []).append((leaf.key, _type(leaf.column), True))
    own = [(key, type_, key in coco.NULLABLE) for key, type_, _ in points.pop("", [])]
    return _struct(name, [*own, *((p, _struct(p, fields), True) for p, fields in points.items())])


_Record: Any = _struct(
    "Record",
    [
        *((key, _type(column), key not in coco.REQUIRED) for key, column in _SCALARS.items()),
        *((alias, _type(_SCALARS[key]), True) for alias, key in coco.ALIASES.items()),
        *((key, list[_entry(key, leaves)], True) for key, leaves in _LISTS.items()),  # type: ignore[misc]
    ],
)
_ALIAS_OF = {key: attrgetter(alias) for alias, key in coco.ALIASES.items()}


def _check(records: list[Any]) -> None:
    """What the types cannot say."""
    for key, alias in _ALIAS_OF.items():
        others = list(map(alias, records))
        if others.count(None) < len(others):
            values = map(attrgetter(key), records)
            if any(None not in both for both in zip(values, others, strict=True)):
                raise Differs
    workers = set(map(attrgetter(coco.WORKER), records))
    if any(w is None or w in coco.NO_WORKER or w != w.strip() for w in workers):
        raise Differs
    for record in records:
        for action in record.actionHistories or ():
            if action.pointTo is None and action.actionType in coco.POINT_TO:
                raise Differs


# --- columns -------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """Some records, column by column.

    Args:
        num_rows: their number.
        scalars: values of each of _SCALARS.
        lengths: of each of _LISTS, the number of entries of each record.
        leaves: of each of _LISTS, the values of each column: strings, or an array, NaN for null.
        repaired: ids of REPAIRS, one for each value that was mended.
    """

    num_rows: int
    scalars: list[list[Any]]
    lengths: list[list[int]]
    leaves: list[list[Any]]
    repaired: list[str]


class _Nowhere:
    """A point that is null."""

    x = y = None


def _from_typed(records: list[Any]) -> _Part:
    """The columns of typed records; Differs if parse() must have these."""
    _check(records)
    scalars = []
    for key in _SCALARS:
        values = list(map(attrgetter(key), records))
        if key in _ALIAS_OF and None in values:
            others = map(_ALIAS_OF[key], records)
            values = [o if v is None else v for v, o in zip(values, others, strict=True)]
        scalars.append(values)
    all_lengths, all_leaves, repaired = [], [], list[str]()
    for key, leaves in _LISTS.items():
        lists = [entries or () for entries in map(attrgetter(key), records)]
        entries, lengths = list(chain.from_iterable(lists)), list(map(len, lists))
        flat = (_fixed_width if key in _NUMBERS else _one_by_one)(entries, leaves)
        if key == coco.TRACE:
            flat, lengths = _without_gaps(flat, lengths)
            repaired = ["trace-point-dropped"] * (len(entries) - sum(lengths))
        all_lengths.append(lengths)
        all_leaves.append(flat)
    return _Part(len(records), scalars, all_lengths, all_leaves, repaired)


def _without_gaps(flat: list[Any], lengths: list[int]) -> tuple[list[Any], list[int]]:
    """Entries that lack a number left out: their columns, and how many each record has."""
    gaps = np.any([np.isnan(values) for values in flat], axis=0)
    if not gaps.any():
        return flat, lengths
    owner = np.repeat(np.arange(len(lengths)), lengths)[~gaps]
    kept: list[int] = np.bincount(owner, minlength=len(lengths)).tolist()
    return [values[~gaps] for values in flat], kept


def _from_record(record: coco.CocoRecord) -> _Part:
    """The columns of the record that parse() gave."""
    values = record.values
    return _Part(
        1,
        [[values.get(column.name)] for column in _SCALARS.values()],
        [[len(values[leaves[0].column.name])] for leaves in _LISTS.values()],
        [
            [_flat(values[leaf.column.name], leaf.dtype) for leaf in leaves]
            for leaves in _LISTS.values()
        ],
        record.repaired,
    )


def _one_by_one(entries: list[Any], leaves: list[_Leaf]) -> list[Any]:
    columns = []
    for leaf in leaves:
        owners = entries
        if leaf.point:
            owners = [point or _Nowhere for point in map(attrgetter(leaf.point), entries)]
        columns.append(_flat(map(attrgetter(leaf.key), owners), leaf.dtype, len(owners)))
    return columns


def _flat(values: Iterable[Any], dtype: Any, count: int = -1) -> Any:
    """Strings as a list, numbers as an array; None becomes NaN, which no number of a log is."""
    return list(values) if dtype is None else np.fromiter(values, dtype, count)


def _fixed_width(entries: list[Any], leaves: list[_Leaf]) -> list[Any]:
    """The columns of entries of numbers, which are all typed as floats."""
    columns = float_columns(entries, [leaf.key for leaf in leaves])
    if columns is None:
        columns = _one_by_one(entries, [leaf._replace(dtype=np.float64) for leaf in leaves])
    return [
        column if leaf.dtype == np.float64 else _integers(column)
        for column, leaf in zip(columns, leaves, strict=True)
    ]


def _integers(values: Floats) -> Ints:
    if (values != np.floor(values)).any() or (np.abs(values) >= 2**53).any():
        raise Differs
    return values.astype(np.int64)
