"""One object of the COCO-AB log -> plain values, checked. It decides what a good record is.

coco_fast reads whole logs; it comes here with every record that its typed path does not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from luab_data.errors import RecordError
from luab_data.raw.bad_records import Bad, without_ids
from luab_data.raw.json_values import JsonStream
from luab_data.raw.source import Source
from luab_data.schema import COCO_ACTIONS, COCO_CLASSES

Values = dict[str, Any]

ACTIONS = ("add", "move", "remove")
ALIASES = {"page_idx": "page_id", "assignment_id": "hit_id", "timeSpend": "timeSpent"}
"""The spelling of a key in the paper, or in the tool's source -> in the release."""
TRACE = "mouseTracking"
"""The list of points that are nothing but points: one without a coordinate or time is left out."""
WORKER = "worker_id"
REQUIRED = ("image_id", WORKER)
"""Of these the worker's id may be null, "None", or nothing but spaces: nobody knows who it was."""
NAMES = {"actionHistories/actionType": ACTIONS, "actionHistories/iconType": COCO_CLASSES}
"""Strings of a closed set."""
POINTS = ("pointFrom", "pointTo")
NULLABLE = frozenset({*POINTS, "x", "y"})
"""What may be null or absent in an entry of a list: points that are not there, and coordinates, of
which a division by zero became null on its way through JSON."""
POINT_TO = ("add", "move")
"""Actions that need a pointTo."""


class CocoRecord(NamedTuple):
    """One image.

    Args:
        values: by column name.
        unknown: keys that the schema does not know.
        repaired: ids of REPAIRS, one for each value that was mended.
    """

    values: Values
    unknown: list[str]
    repaired: list[str]


def raw_records(source: Source) -> Iterator[Any]:
    """Each decoded object of a JSON array or of JSON Lines, in file order.

    Raises:
        ArchiveError: the text is not JSON or is cut. What follows a broken spot in an array cannot
            be trusted, so that is never skipped.
    """
    stream = JsonStream(source, takes_nan=True)
    if is_array(stream):
        yield from stream.elements()
        stream.end()
        return
    while stream.peek():
        yield stream.value()


def is_array(stream: JsonStream) -> bool:
    """Whether the file is an array; else it is JSON Lines.

    Raises:
        ArchiveError: it is neither: empty, COCO's annotations, or one object of records.
    """
    first = stream.peek()
    if not first:
        stream.fail("the file is empty; expected a JSON array or JSON Lines")
    head = stream.ahead(_HEAD_CHARS)
    for is_so, reason in _NO_LOG.items():
        if is_so(head):
            stream.fail(reason, is_damage=False)
    return first == "["


_HEAD_CHARS = 2**12
_KEY = r'\s*"[^"\\]*"\s*:'
_RECORD_KEYS = "image_id|actionHistories|mouseTracking|worker_id|originalImageWidth"
_OF_RECORDS = re.compile(
    rf'\{{{_KEY}\s*(?:\[\s*)?\{{(?:{_KEY}[^\[\]{{}}]*?,)?\s*"(?:{_RECORD_KEYS})"\s*:', re.DOTALL
).match
_OF_COCO = re.compile(r'\{\s*"(info|licenses|images|annotations|categories)"\s*:\s*[\[{]').match
_NO_LOG = {
    _OF_COCO: "annotations of COCO, not a log: give them with --instances, beside the log",
    _OF_RECORDS: "one object with the records in it; expected an array of them, or one a line, as"
    " `jq '.[]' FILE` gives them",
}


def parse(index: int, record: Any) -> CocoRecord:
    """One decoded object as checked values.

    Args:
        index: its place in the file, from 0.
        record: what the JSON says.

    Raises:
        RecordError: names the record by index and image_id, and what is wrong.
    """
    where = f"record {index}"
    try:
        if not isinstance(record, dict):
            raise Bad("not-an-object", f"found a {type(record).__name__}; expected an object")
        where += f" (image_id={record.get('image_id')!r:.20})"
        return _record(record)
    except Bad as bad:
        ids = [record.get(WORKER)] if isinstance(record, dict) else []
        where, reason = without_ids(where, ids), without_ids(str(bad), ids)
        raise RecordError(where, bad.rule, reason) from None


def _integer(value: Any, key: str, bits: int) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Bad("not-an-integer", f"{key} is {value!r:.40}; expected an integer")
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise Bad("out-of-range", f"{key} is {value!r:.40}; expected {bits} bits")
    return value


def _identifier(value: Any, key: str, bits: int) -> int | None:
    """A number that names something, which some logs have as text."""
    if isinstance(value, str) and _DIGITS(value):
        value = int(value)
    return _integer(value, key, bits)


_DIGITS = re.compile(r"\s*-?[0-9]{1,20}\s*", re.ASCII).fullmatch


def _number(value: Any, key: str) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Bad("not-a-number", f"{key} is {value!r:.40}; expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise Bad("not-a-number", f"{key} is NaN, which is no JSON number; expected a number")
    if not math.isfinite(number):
        raise Bad("not-a-number", f"{key} is {value!r:.40}; expected a finite number")
    return number


def _string(value: Any, key: str) -> str:
    if not isinstance(value, str):
        # The type, not the value: this may be a worker id.
        raise Bad("not-a-string", f"{key} is of type {type(value).__name__}; expected a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Bad("not-utf8", f"{key} holds half a surrogate pair") from None
    return value


def _worker_id(value: Any, key: str) -> str | None:
    """Without spaces around it; of nothing but spaces, or Python's word for nothing, it is none."""
    found = _string(value, key).strip()
    return None if found in NO_WORKER else found


NO_WORKER = ("", "None")


def _hit_id(value: Any, key: str) -> str:
    """Also as a number."""
    return str(value) if type(value) is int else _string(value, key)


def _boolean(value: Any, key: str) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise Bad("not-a-boolean", f"{key} is {value!r:.40}; expected true or false")
    return value


def _choice(names: Iterable[str], rule: str) -> Callable[[Any, str], str]:
    known = frozenset(names)

    def convert(value: Any, key: str) -> str:
        if _string(value, key) not in known:
            raise Bad(rule, f"{key} is {value!r:.40}; expected one of {len(known)} known names")
        return str(value)

    return convert


Convert = Callable[[Any, str], Any]
_OF_KEY: dict[str, Convert] = {
    "actionHistories/actionType": _choice(ACTIONS, "unknown-action"),
    "actionHistories/iconType": _choice(COCO_CLASSES, "unknown-icon"),
    "image_id": partial(_identifier, bits=64),
    "page_id": partial(_identifier, bits=16),
    WORKER: _worker_id,
    "hit_id": _hit_id,
}


def _converter(raw: str, type: pa.DataType) -> Convert:
    if raw in _OF_KEY:
        return _OF_KEY[raw]
    if pa.types.is_list(type):
        type = type.value_type
    if pa.types.is_integer(type):
        return partial(_integer, bits=type.bit_width)
    if pa.types.is_floating(type):
        return _number
    return _boolean if pa.types.is_boolean(type) else _string


_SCALARS: dict[str, tuple[str, Convert]] = {}
_LISTS: dict[str, dict[tuple[str, ...], tuple[str, Convert]]] = {}
for _column in COCO_ACTIONS.columns:
    if _column.raw:
        _key, *_path = _column.raw.split("/")
        _entry = (_column.name, _converter(_column.raw, _column.type))
        if _path:
            _LISTS.setdefault(_key, {})[tuple(_path)] = _entry
        else:
            _SCALARS[_key] = _entry


def _record(record: dict[str, Any]) -> CocoRecord:
    values: Values = {}
    unknown: list[str] = []
    repaired: list[str] = []
    for key, fields in _LISTS.items():
        values.update({column: [] for column, _ in fields.values()})
        entries = record.get(key) or []
        if not isinstance(entries, list):
            raise Bad("not-a-list", f"{key} is {entries!r:.40}; expected a list")
        for index, entry in enumerate(entries):
            if key == TRACE and entry is None:
                entry = {}
            of_entry = _values_of(entry, fields, f"{key}[{index}]", key == TRACE)
            if key == TRACE and None in of_entry:
                repaired.append("trace-point-dropped")
                continue
            for (column, _), value in zip(fields.values(), of_entry, strict=True):
                values[column].append(value)
    for key, value in record.items():
        name = ALIASES.get(key, key)
        if name in _SCALARS:
            column, convert = _SCALARS[name]
            found = None if value is None else convert(value, key)
            if found is not None and values.get(column, found) not in (None, found):
                raise Bad("repeated", f"{key} and its other spelling differ")
            values[column] = values.get(column) if found is None else found
        elif key not in (*_LISTS, _URL):
            unknown.append(key.encode("ascii", "backslashreplace").decode())
    if record.get(_URL) is not None and not _takes_url(values, record[_URL]):
        unknown.append(_URL)
    for column in REQUIRED:
        if values.get(column) is None and column != WORKER:
            raise Bad("missing", f"the record has no {column}")
    if WORKER not in record:
        raise Bad("missing", f"the record has no {WORKER}")
    if values[WORKER] != record[WORKER]:
        repaired.append("worker-id-padded" if values[WORKER] else "worker-id-empty")
    return CocoRecord(values, unknown, repaired)


_URL = "imageURL"
"""What the front end sends in place of image_id: the picture's address, `.../000000000042.jpg`."""


def _takes_url(values: Values, url: Any) -> bool:
    """Have image_id from an address, if it has none yet; whether they agree."""
    match = _NUMBER_OF_URL(url) if isinstance(url, str) else None
    if match is None:
        return False
    number = int(match[1])
    if values.get("image_id") is None:
        values["image_id"] = number
    return bool(values["image_id"] == number)


_NUMBER_OF_URL = re.compile(
    r".*?([0-9]{1,18})(?:\.\w+)?(?:[?#].*)?", re.ASCII | re.DOTALL
).fullmatch


def _values_of(
    entry: Any, fields: dict[tuple[str, ...], tuple[str, Convert]], where: str, has_gaps: bool
) -> list[Any]:
    """The values of an entry of a list, in the order of the fields; `has_gaps` if any may lack."""
    if not isinstance(entry, dict):
        raise Bad("not-an-object", f"{where} is {entry!r:.40}; expected an object")
    if "actionType" in entry:
        _check_point(entry, where)
    values = []
    for path, (_, convert) in fields.items():
        found: Any = entry
        for key in path:
            if not isinstance(found, dict):
                raise Bad("not-an-object", f"{where} holds {found!r:.40}; expected an object")
            found = found.get(key)
            if found is None:
                break
        if has_gaps and found != found:  # NaN, which Python writes where the browser writes null
            found = None
        if found is None and not has_gaps and path[0] not in NULLABLE:
            raise Bad("missing", f"{where} has no {'/'.join(path)}")
        values.append(None if found is None else convert(found, f"{where}/{path[-1]}"))
    return values


def _check_point(entry: dict[str, Any], where: str) -> None:
    if entry["actionType"] in POINT_TO and not isinstance(entry.get("pointTo"), dict):
        raise Bad(
            "missing-point",
            f"{where} is {entry['actionType']!r} with no pointTo; expected a point",
        )


SCHEMA = pa.schema([c.field for c in COCO_ACTIONS.columns if c.raw])


def to_table(records: Iterable[CocoRecord], hash_worker: Callable[[str], str]) -> pa.Table:
    """Records as the raw columns of COCO_ACTIONS, row by row; tests hold coco_fast against it.

    Worker ids are hashed here and nowhere kept.
    """
    rows = []
    for record in records:
        worker = record.values[WORKER]
        rows.append({**record.values, WORKER: None if worker is None else hash_worker(worker)})
    return pa.table([pa.array([row.get(f.name) for row in rows], f.type) for f in SCHEMA], SCHEMA)
