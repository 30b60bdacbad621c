"""Text of one known layout, many times over, as columns: places are computed, bytes compared.

A template is the layout as it stands in the file, with `{}` for the values. Where its lines are is
known from counting lines, so a match compares its fixed text at computed places in all members at
once, and what lies between is the values. Nothing is guessed: one other byte and it is no match.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Bools, Ints
from luab_data.raw.archive import SPARE_BYTES


class Text(NamedTuple):
    """A buffer of text and where its lines end."""

    data: npt.NDArray[np.uint8]  # (num_bytes + SPARE_BYTES,)
    newlines: Ints  # (num_lines,) place of each newline

    @classmethod
    def of(cls, data: npt.NDArray[np.uint8]) -> Text:
        """Find the lines of a buffer that ends in SPARE_BYTES zeros."""
        return cls(data, np.flatnonzero(data == ord("\n")))

    def starts_of(self, lines: Ints) -> Ints:
        """Where lines start that are not the first one; somewhere for lines that are not there."""
        return self.newlines[np.clip(lines - 1, 0, len(self.newlines) - 1)] + 1

    def has(self, places: Ints, expected: bytes) -> Bools:
        """(num_places,) whether the text goes on with `expected` there; False outside of it."""
        size = len(expected)
        whole = len(self.data) - size + 1
        pieces = np.ndarray(whole, f"V{size}", self.data, strides=(1,))
        try:
            found = pieces[places]
        except IndexError:
            inside = (places >= 0) & (places < whole)
            return inside & self.has(np.where(inside, places, 0), expected)
        # Nearly always it is there everywhere, and one comparison of memory says so.
        if found.tobytes() == expected * len(places):
            return np.ones(len(places), bool)
        rows = found.view(np.uint8).reshape(len(places), size)
        return np.asarray((rows == np.frombuffer(expected, np.uint8)).all(axis=1))

    def words(self, places: Ints) -> npt.NDArray[np.uint64]:
        """(num_places,) the 8 bytes at each place as one number, see `word`."""
        whole = np.ndarray(len(self.data) - 7, "<u8", self.data, strides=(1,))
        return np.asarray(whole[places])


assert SPARE_BYTES >= 8


def word(text: str) -> np.uint64:
    """8 characters as Text.words gives them."""
    return np.frombuffer(text.encode("ascii"), "<u8")[0]  # type: ignore[no-any-return]


class Spans(NamedTuple):
    """Pieces of a text: value i is data[starts[i]:ends[i]]; they do not overlap and ascend."""

    data: npt.NDArray[np.uint8]
    starts: Ints
    ends: Ints

    def strings(self) -> pa.StringArray:
        """The pieces as they are, not checked to be UTF-8."""
        count = len(self.starts)
        if not count:
            return pa.array([], pa.string())
        # The text cut at every start and end, without a copy; every second piece is a value.
        cuts = np.empty(2 * count, np.int32)
        cuts[0::2] = self.starts
        cuts[1::2] = self.ends
        buffers = [None, pa.py_buffer(cuts), pa.py_buffer(self.data)]
        pieces = pa.StringArray.from_buffers(2 * count - 1, buffers[1], buffers[2])
        return pieces.take(pa.array(np.arange(count, dtype=np.int32) * 2))


class Template:
    """A piece of the layout, whole lines of it, with `{}` for each value."""

    def __init__(self, text: str) -> None:
        self._fixed = text.encode("ascii").split(b"{}")
        self.num_lines = text.count("\n")

    def match(self, text: Text, lines: Ints) -> tuple[list[Spans], Bools]:
        """Compare at the given first lines, none of which may be the first of the text.

        Returns: the spans of each value, and (num_lines,) whether the template is there. Spans are
        meaningless where it is not.
        """
        last = len(text.newlines) - 1
        # Places of a member whose layout is another may be anywhere, also outside of the text.
        lines = np.clip(lines, 1, max(last, 1))
        begin = text.starts_of(lines)
        line = lines
        holds = np.ones(len(lines), bool)
        values: list[Spans] = []
        for fixed in self._fixed:
            if values:
                start = begin
                end = text.newlines[np.minimum(line, last)] - fixed.index(b"\n")
                values[-1] = Spans(text.data, start, end)
                begin = end
                holds &= start <= end
            holds &= text.has(begin, fixed)
            begin = begin + len(fixed)
            line = line + fixed.count(b"\n")
            values.append(Spans(text.data, begin, begin))
        return values[:-1], holds


_X = ord("x")


def integers(values: pa.StringArray, spans: Spans) -> tuple[pa.Array, Bools]:
    """Decimal integers of up to 18 characters as int64, and (num_values,) which are none."""
    sizes = spans.ends - spans.starts
    # Arrow reads 0x10 as 16.
    hexadecimal = (spans.data[spans.starts + 1] | 32 == 120) | (
        spans.data[spans.starts + 2] | 32 == 120
    )
    odd = (sizes > 18) | (hexadecimal & (sizes > 2))
    if not odd.any():
        try:
            return values.cast(pa.int64()), odd
        except pa.ArrowInvalid:
            pass
    plain = pc.match_substring_regex(values, r"^-?[0-9]{1,18}$").to_numpy(zero_copy_only=False)
    return pa.nulls(len(values), pa.int64()), ~plain


def numbers(values: pa.StringArray) -> tuple[pa.Array, Bools]:
    """Decimal numbers as float64, correctly rounded, and (num_values,) which are none."""
    try:
        found = values.cast(pa.float64())
    except pa.ArrowInvalid:
        plain = pc.match_substring_regex(values, _NUMBER).to_numpy(zero_copy_only=False)
        return pa.nulls(len(values), pa.float64()), ~plain
    return found, ~np.isfinite(found.to_numpy())


_NUMBER = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def names(values: pa.StringArray) -> tuple[pa.Array, Bools]:
    """Strings of printable ASCII that XML takes as they are, and (num_values,) which are others."""
    return values, ~pc.match_substring_regex(values, _NAME).to_numpy(zero_copy_only=False)


# Not & < >, no space at either end, and not the tool's word for "nothing".
_NAME = r"^[!-%'-;=?-~]([ -%'-;=?-~]*[!-%'-;=?-~])?$"
