"""Spans of text as columns of values, where they are written plainly; the others are only flagged.

What is flagged may still mean something: whoever asked reads it another way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Bools, Ints, characters
from luab_data.raw.imagenet_templates import Spans, Text


def plain_values(spans: Spans, type: pa.DataType) -> tuple[pa.Array, Bools]:
    """Values of one type, and (num_values,) which are not plainly of it."""
    if pa.types.is_boolean(type):
        found, odd = one_of(spans, ("False", "True"))
        return pc.equal(found, "True"), odd
    if pa.types.is_string(type):
        return names(spans.strings())
    if pa.types.is_floating(type):
        return numbers(spans.strings())
    found, odd = integers(spans)
    limit = 2 ** (type.bit_width - 1)
    if not odd.any():
        value = found.to_numpy()
        odd = (value < -limit) | (value >= limit)
    return (pa.nulls(len(found), type) if odd.any() else found.cast(type)), odd


def one_of(spans: Spans, words: Sequence[str]) -> tuple[pa.Array, Bools]:
    """Words of a small set, and (num_values,) which are others."""
    text = Text(spans.data, np.zeros(0, np.int64))
    size = spans.ends - spans.starts
    code: Ints = np.full(len(size), -1)
    for number, word in enumerate(words):
        code[(size == len(word)) & text.has(spans.starts, word.encode("ascii"))] = number
    return pa.array(words).take(pa.array(code, mask=code < 0)), code < 0


def integers(spans: Spans) -> tuple[pa.Array, Bools]:
    """Decimal integers as int64, and (num_values,) which are none, or have more than 16 digits."""
    negative = spans.data[spans.starts] == ord("-")
    sizes = spans.ends - spans.starts - negative
    odd = (sizes < 1) | (sizes > 16) | (spans.ends < 16)
    if odd.any():
        return pa.nulls(len(odd), pa.int64()), odd
    text = Text(spans.data, np.zeros(0, np.int64))
    value = np.zeros(len(odd), np.uint64)
    # The last 16 bytes of each in two words, what is before its first digit replaced by zeros.
    for half in (0, 1) if sizes.max(initial=0) > 8 else (1,):
        mask, zeros = _MASKS[half][sizes], _ZEROS[half][sizes]
        digits = (text.words(spans.ends - 16 + 8 * half) & mask) | zeros
        odd |= (((digits + _ABOVE_9) | (digits - _CHAR_0)) & _HIGH_BITS) != 0
        value = value * np.uint64(10**8) + _eight_digits(digits)
    signed = value.astype(np.int64)
    return pa.array(np.where(negative, -signed, signed)), odd


def _eight_digits(digits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """8 ASCII digits in a word, the first one lowest, as numbers: pairs, then fours, then eight."""
    digits = digits - _CHAR_0
    digits = digits * np.uint64(10) + (digits >> np.uint64(8))
    low = (digits & _PAIRS) * np.uint64(0x000F424000000064)
    high = ((digits >> np.uint64(16)) & _PAIRS) * np.uint64(0x0000271000000001)
    return np.asarray((low + high) >> np.uint64(32))


_CHAR_0 = np.uint64(0x3030303030303030)
_ABOVE_9 = np.uint64(0x4646464646464646)  # sets a byte's high bit from ":" on
_HIGH_BITS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x000000FF000000FF)
# For sizes 0..16: the bytes of each word that belong to the number, and zeros for the others.
_MASKS = [
    np.array(
        [~(2 ** (8 * min(8, max(0, end - size))) - 1) % 2**64 for size in range(17)], np.uint64
    )
    for end in (16, 8)
]
_ZEROS = [~mask & _CHAR_0 for mask in _MASKS]


def numbers(values: pa.StringArray) -> tuple[pa.Array, Bools]:
    """Decimal numbers as float64, correctly rounded, and (num_values,) which are none."""
    try:
        found = values.cast(pa.float64())
    except pa.ArrowInvalid:
        odd = ~pc.match_substring_regex(values, _NUMBER).to_numpy(zero_copy_only=False)
        # If none is odd, Arrow and the pattern are of two minds: somebody else decides.
        return pa.nulls(len(values), pa.float64()), odd if odd.any() else ~odd
    return found, ~np.isfinite(found.to_numpy())


_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def names(values: pa.StringArray) -> tuple[pa.Array, Bools]:
    """Strings of printable ASCII that XML takes as they are, and (num_values,) which are others."""
    # Nearly always there is nothing but letters, digits and the like, which is quick to see.
    if pc.min(pc.binary_length(values)).as_py() and not characters(values).translate(None, _PLAIN):
        return values, np.zeros(len(values), np.bool_)
    return values, ~pc.match_substring_regex(values, _NAME).to_numpy(zero_copy_only=False)


_PLAIN = bytes(c for c in range(ord("!"), ord("~") + 1) if chr(c) not in "&<>")
# Not & < >, no space at either end, and not the tool's word for "nothing".
_NAME = r"^[!-%'-;=?-~]([ -%'-;=?-~]*[!-%'-;=?-~])?$"
