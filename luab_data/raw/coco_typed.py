"""Records of the COCO-AB log as msgspec types, and their values column by column.

The types say what this path answers for; they follow from the schema. A record that differs in any
way (other keys, a missing point, half a surrogate pair, ...) is left to `coco.parse`, which gives
the same values or words the refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from luab_data.ragged import Floats, Ints
from luab_data.raw.coco import (
    ALIASES,
    NAMES,
    NO_WORKER,
    NULLABLE,
    POINT_TO,
    REQUIRED,
    TRACE,
    CocoRecord,
)
from luab_data.raw.json_values import Differs
from luab_data.schema import COCO_ACTIONS, Column


class Leaf(NamedTuple):
    """A column of a list: where an entry has its value, and the numpy type of many of them."""

    column: Column
    point: str  # the key of the point that the value is in; "" for a value of the entry itself
    key: str
    dtype: Any  # None for strings


_DTYPES = {"int64": np.int64, "int16": np.int16, "double": np.float64, "bool": np.bool_}
SCALARS = {c.raw: c for c in COCO_ACTIONS.columns if c.raw and "/" not in c.raw}
LISTS: dict[str, list[Leaf]] = {}
for _column in COCO_ACTIONS.columns:
    if _column.raw and "/" in _column.raw:
        _list, *_point, _key = _column.raw.split("/")
        _leaf = Leaf(_column, "".join(_point), _key, _DTYPES.get(str(_column.type.value_type)))
        LISTS.setdefault(_list, []).append(_leaf)

_NUMBERS = {
    key: leaves
    for key, leaves in LISTS.items()
    if all(not leaf.point and leaf.dtype in (np.int64, np.float64) for leaf in leaves)
}
"""Lists of nothing but numbers, i.e. the mouse trace: see _fixed_width."""


def _type(column: Column) -> Any:
    """What a value of the column has to be in the file."""
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


def _entry(name: str, leaves: Sequence[Leaf]) -> Any:
    if name in _NUMBERS:
        return _struct(name, [(leaf.key, float, leaf.key in NULLABLE) for leaf in leaves])
    points: dict[str, list[tuple[str, Any, bool]]] = {}
    for leaf in leaves:
        points.setdefault(leaf.point, []).append((leaf.key, _type(leaf.column), True))
    own = [(key, type_, key in NULLABLE) for key, type_, _ in points.pop("", [])]
    return _struct(name, [*own, *((p, _struct(p, fields), True) for p, fields in points.items())])


Record: Any = _struct(
    "Record",
    [
        *((key, _type(column), key not in REQUIRED) for key, column in SCALARS.items()),
        *((alias, _type(SCALARS[key]), True) for alias, key in ALIASES.items()),
        *((key, list[_entry(key, leaves)], True) for key, leaves in LISTS.items()),  # type: ignore[misc]
    ],
)
_ALIAS_OF = {key: attrgetter(alias) for alias, key in ALIASES.items()}


def _check(records: list[Any]) -> None:
    """What the types cannot say."""
    for record in records:
        for key, alias in _ALIAS_OF.items():
            if alias(record) is not None and getattr(record, key) is not None:
                raise Differs
        worker = record.worker_id
        if worker is None or worker in NO_WORKER or worker != worker.strip():
            raise Differs
        for action in record.actionHistories or ():
            if action.pointTo is None and action.actionType in POINT_TO:
                raise Differs


# --- columns -------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Some records, column by column.

    Args:
        num_rows: their number.
        scalars: values of each of SCALARS.
        lengths: of each of LISTS, the number of entries of each record.
        leaves: of each of LISTS, the values of each column: strings, or an array, NaN for null.
        repaired: ids of repairs.REPAIRS, one for each value that was mended.
    """

    num_rows: int
    scalars: list[list[Any]]
    lengths: list[list[int]]
    leaves: list[list[Any]]
    repaired: list[str]


class _Nowhere:
    """A point that is null."""

    x = y = None


def from_typed(records: list[Any]) -> Part:
    """The columns of typed records; Differs if parse() must have these."""
    _check(records)
    scalars = []
    for key in SCALARS:
        values = list(map(attrgetter(key), records))
        if key in _ALIAS_OF and None in values:
            others = map(_ALIAS_OF[key], records)
            values = [o if v is None else v for v, o in zip(values, others, strict=True)]
        scalars.append(values)
    all_lengths, all_leaves, repaired = [], [], list[str]()
    for key, leaves in LISTS.items():
        lists = [entries or () for entries in map(attrgetter(key), records)]
        entries, lengths = list(chain.from_iterable(lists)), list(map(len, lists))
        flat = (_fixed_width if key in _NUMBERS else _one_by_one)(entries, leaves)
        if key == TRACE:
            flat, lengths = _without_gaps(flat, lengths)
            repaired = ["trace-point-dropped"] * (len(entries) - sum(lengths))
        all_lengths.append(lengths)
        all_leaves.append(flat)
    return Part(len(records), scalars, all_lengths, all_leaves, repaired)


def _without_gaps(flat: list[Any], lengths: list[int]) -> tuple[list[Any], list[int]]:
    """Entries that lack a number left out: their columns, and how many each record has."""
    gaps = np.any([np.isnan(values) for values in flat], axis=0)
    if not gaps.any():
        return flat, lengths
    owner = np.repeat(np.arange(len(lengths)), lengths)[~gaps]
    kept: list[int] = np.bincount(owner, minlength=len(lengths)).tolist()
    return [values[~gaps] for values in flat], kept


def from_record(record: CocoRecord) -> Part:
    """The columns of the record that parse() gave."""
    values = record.values
    return Part(
        1,
        [[values.get(column.name)] for column in SCALARS.values()],
        [[len(values[leaves[0].column.name])] for leaves in LISTS.values()],
        [
            [_flat(values[leaf.column.name], leaf.dtype) for leaf in leaves]
            for leaves in LISTS.values()
        ],
        record.repaired,
    )


def _one_by_one(entries: list[Any], leaves: list[Leaf]) -> list[Any]:
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


_pack = msgspec.msgpack.Encoder().encode


def _packed_type(leaves: list[Leaf]) -> np.dtype[Any]:
    """Where MessagePack has the values of an entry: a byte, then for each its key and 9 bytes."""
    fields = [(f"before {leaf.key}", f"V{len(leaf.key) + 2}") for leaf in leaves]
    values = [(leaf.key, ">f8") for leaf in leaves]
    pairs = chain.from_iterable(zip(fields, values, strict=True))
    return np.dtype([("head", "V1"), *pairs])


_PACKED_TYPES = {leaves[0].column.name: _packed_type(leaves) for leaves in _NUMBERS.values()}


def _fixed_width(entries: list[Any], leaves: list[Leaf]) -> list[Any]:
    """The columns of entries of numbers, which are all typed as floats.

    MessagePack writes every float in nine bytes, so packed entries without a null are rows of one
    width. Measured: a third of the time that it takes to ask each entry for each value.
    """
    type_ = _PACKED_TYPES[leaves[0].column.name]
    packed = _pack(entries)
    header = 1 if len(entries) < 16 else 3 if len(entries) < 2**16 else 5
    if len(packed) == header + len(entries) * type_.itemsize:
        rows = np.frombuffer(packed, type_, offset=header)
        columns = [rows[leaf.key].astype(np.float64) for leaf in leaves]
    else:
        columns = _one_by_one(entries, [leaf._replace(dtype=np.float64) for leaf in leaves])
    return [
        column if leaf.dtype == np.float64 else _integers(column)
        for column, leaf in zip(columns, leaves, strict=True)
    ]


def _integers(values: Floats) -> Ints:
    if (values != np.floor(values)).any() or (np.abs(values) >= 2**53).any():
        raise Differs
    return values.astype(np.int64)
