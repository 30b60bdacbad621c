"""Numbers of many msgspec structs as columns, without asking each struct for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from luab_data.ragged import Floats

_pack = msgspec.msgpack.Encoder().encode


@cache
def _packed_type(names: tuple[str, ...]) -> np.dtype[Any]:
    """Where MessagePack has the values of a struct: a byte, then for each its key and 9 bytes."""
    pairs = [((f"before {name}", f"V{len(name) + 2}"), (name, ">f8")) for name in names]
    return np.dtype([("head", "V1"), *chain.from_iterable(pairs)])


def float_columns(structs: list[Any], names: Sequence[str]) -> list[Floats] | None:
    """The fields of structs whose only fields are floats; None if one of them is null.

    MessagePack writes every float in nine bytes, so packed structs without a null are rows of one
    width. Measured: a third of the time that it takes to ask each struct for each value.

    Args:
        names: all fields, in the order of the struct.
    """
    type = _packed_type(tuple(names))
    packed = _pack(structs)
    header = 1 if len(structs) < 16 else 3 if len(structs) < 2**16 else 5
    if len(packed) != header + len(structs) * type.itemsize:
        return None
    rows = np.frombuffer(packed, type, offset=header)
    return [rows[name].astype(np.float64) for name in names]
