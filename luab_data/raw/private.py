"""What would tell who an annotator is, outside of `worker_id`: addresses, and ids before hashing.

An assignment id that is an e-mail address, or that has the worker's id in it, undoes the hash
beside it. A conversion counts such values, or replaces them by hashes; nothing shows one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import one_array
from luab_data.raw.worker_ids import WorkerHash

Private = Literal["keep", "hash"]

ADDRESS = r"[^\s@](?:@|%40)[\pL\pN-]+(?:\.[\pL\pN-]+)*\.\pL{2,}"
"""Something before an @, as URLs may write it too, and a domain after it: an e-mail address, for
RE2, whose time is linear."""

_PICTURE = r"(?i)\.(?:jpe?g|png|webp|gif|bmp|tiff?)\b"  # icon@2x.png is nobody's address
_SHORTEST = 6
_SHORTEST_NUMBER = 8
_SHORTEST_WHOLE, _SHORTEST_WHOLE_NUMBER = 2, 4  # of an id that is all of a text
_SURE = 10

_WORKER = "worker_id"
_NAMES = ("image_id", "image_file", "image_id_raw", "wnid", "label")
"""By them tables and pictures are joined: never replaced."""


def said(private: Private) -> dict[str, str]:
    """The option as a conversion's digest has it; what is the default is not said."""
    return {} if private == "keep" else {"private": private}


def has_address(values: pa.Array) -> pa.BooleanArray:
    """(num_values,) whether a text has something in it that looks like an e-mail address."""
    plain = pc.replace_substring_regex(values, _PICTURE, "")
    return pc.fill_null(pc.match_substring_regex(plain, ADDRESS), False)


def addresses(values: pa.Array) -> pa.Array | None:
    """(num_values,) the same of values that repeat; None if there is no @ in the whole column."""
    text = _text_of(values)
    if b"@" not in text and b"%40" not in text:
        return None
    some = pc.unique(values)
    return pc.is_in(values, value_set=some.filter(has_address(some)))


def _text_of(values: pa.Array) -> bytes:
    """All texts (num_values,) in one, without those beside a slice."""
    _, offsets, data = values.buffers()
    if not len(values) or data is None:
        return b""
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    found: bytes = data.slice(int(bounds[0]), int(bounds[-1] - bounds[0])).to_pybytes()
    return found


def text_columns(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    """Name and flat values of the columns that hold text, or lists of it; ids of workers aside."""
    for field in table.schema:
        type = field.type.value_type if pa.types.is_list(field.type) else field.type
        if pa.types.is_string(type) and field.name != _WORKER:
            values = one_array(table[field.name])
            yield field.name, values.flatten() if pa.types.is_list(field.type) else values


class Screened(NamedTuple):
    """A table, and column -> how many of its values would tell who somebody is."""

    table: pa.Table
    kept: Counter[str]
    hashed: Counter[str]  # of which a hash took the place


def screened(
    table: pa.Table,
    hash_worker: WorkerHash | None,
    private: Private = "keep",
    known: Container[str] = (),
) -> Screened:
    """A table, its values by column that would tell who somebody is, and those replaced.

    A value would if it looks like an e-mail address, or if it is a text of its row, not of a list,
    and has the id of the row's worker in it. Within a text, ids of fewer than 6 characters say
    nothing, nor do numbers of fewer than 8 digits: any image may be called 123456. A text that is
    the whole id tells from 2 characters on, or 4 digits, unless it is a name of an image or class.

    Args:
        table: `worker_id`, hashed by hash_worker, and any other columns.
        hash_worker: knows what is behind the hashes; None looks for e-mail addresses alone.
        private: `hash`, which needs it, replaces these values by hashes with the same key, but for
            elements of lists and names of images and classes.
        known: columns that are not looked at: another table had them.
    """
    kept, hashed = Counter[str](), Counter[str]()
    columns = {name: values for name, values in text_columns(table) if name not in known}
    texts = {n: v for n, v in columns.items() if pa.types.is_string(table.schema.field(n).type)}
    workers = one_array(table[_WORKER])
    holding = _holding(texts, workers, hash_worker) if hash_worker else {}
    for name, values in columns.items():
        found = [flags for flags in (addresses(values), holding.get(name)) if flags is not None]
        if not found or not (count := pc.sum(flags := pc.or_(found[0], found[-1])).as_py()):
            continue
        if hash_worker and private == "hash" and name in texts and name not in _NAMES:
            hashed[name] += count
            column = _replaced(values, flags, hash_worker)
            table = table.set_column(table.column_names.index(name), table.field(name), column)
        else:
            kept[name] += count
    return Screened(table, kept, hashed)


def _holding(
    columns: Mapping[str, pa.Array], workers: pa.Array, hash_worker: WorkerHash
) -> dict[str, pa.BooleanArray]:
    """Column -> (num_rows,) whether the worker's id is in it, of columns where it ever is."""
    encoded = workers.dictionary_encode()
    before = pa.array(map(hash_worker.before, encoded.dictionary.to_pylist()), pa.string())
    before = pc.ascii_lower(before)
    size, is_number = pc.utf8_length(before), pc.utf8_is_decimal(before)
    tells = pc.greater_equal(size, pc.if_else(is_number, _SHORTEST_NUMBER, _SHORTEST))
    is_long = pc.greater_equal(size, pc.if_else(is_number, _SHORTEST_WHOLE_NUMBER, _SHORTEST_WHOLE))
    short = pc.if_else(pc.and_(is_long, pc.invert(tells)), before, None)
    found = _equal(columns, short.take(encoded.indices))
    within = _within(columns, pc.if_else(tells, before, None).take(encoded.indices))
    for name, flags in within.items():
        found[name] = pc.or_(found[name], flags) if name in found else flags
    return found


def _equal(columns: Mapping[str, pa.Array], ids: pa.Array) -> dict[str, pa.BooleanArray]:
    """Column -> (num_rows,) whether its text is the row's id (num_rows,), where it ever is."""
    if ids.null_count == len(ids):
        return {}
    asked = {name: values for name, values in columns.items() if name not in _NAMES}
    same = {n: pc.fill_null(pc.equal(pc.ascii_lower(v), ids), False) for n, v in asked.items()}
    return {name: flags for name, flags in same.items() if flags.true_count}


def _within(columns: Mapping[str, pa.Array], told: pa.Array) -> dict[str, pa.BooleanArray]:
    """Column -> (num_rows,) whether the row's id is in its text, where it ever is."""
    if not columns or told.null_count == len(told):
        return {}
    ids = told.to_pylist()
    # All texts of a row at once: nearly no row has the id anywhere.
    rows = pc.binary_join_element_wise(*columns.values(), "\n", null_handling="replace")
    together = pc.ascii_lower(rows).to_pylist()
    odd = [row for row, id in enumerate(ids) if id is not None and id in together[row]]
    found = {}
    for name, column in columns.items() if odd else ():
        some = pc.ascii_lower(pc.fill_null(column.take(pa.array(odd)), "")).to_pylist()
        flags = np.zeros(len(ids), np.bool_)
        flags[odd] = [_is_there(text, str(ids[row])) for row, text in zip(odd, some, strict=True)]
        found[name] = pa.array(flags)
    return found


def _is_there(text: str, id: str) -> bool:
    """Whether an id in a text is that id; a short word or a number may be part of another one."""
    if id not in text or (len(id) >= _SURE and not id.isdecimal()):
        return id in text
    before, _, after = text.partition(id)
    odd = str.isdecimal if id.isdecimal() else str.isalnum
    return not (odd(before[-1:]) or odd(after[:1]))


def _replaced(values: pa.Array, flags: pa.BooleanArray, hash_worker: WorkerHash) -> pa.Array:
    """The values, those flagged as hashes."""
    encoded = values.filter(flags).dictionary_encode()
    hashes = pa.array([hash_worker.text(v) for v in encoded.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(values, flags, hashes.take(encoded.indices))
