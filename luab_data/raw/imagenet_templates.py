r"""Text of one known layout, many times over, as columns: places are computed, bytes compared.

A template is whole lines of the layout as they stand in the file, with `{}` for each value:

    >>> template = Template("  <folder>{}</folder>\n  <filename>{}</filename>\n")
    >>> text = Text.of(np.frombuffer(b"\n  <folder>n1</folder>\n  <filename>n1_7</filename>\n"
    ...                              + bytes(SPARE_BYTES), np.uint8))
    >>> spans, is_there = template.match(text, np.array([1]))  # first lines of the candidates
    >>> [span.strings().to_pylist() for span in spans], is_there.tolist()
    ([['n1'], ['n1_7']], [True])

Line ends are found once for megabytes of records. A value ends where its line does, less the fixed
text after it, so the places of all fixed text follow, in all records at once; those bytes are
compared, and what lies between is the values. Nothing is guessed: one other byte and it is no
match, and whoever asked falls back to reading that record as XML.

The second half of this file is the layout of the release (docs/formats.md), part by part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Bools, Ints
from luab_data.raw.tar import SPARE_BYTES


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
    for half in range(2):
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
    return values, ~pc.match_substring_regex(values, _NAME).to_numpy(zero_copy_only=False)


# Not & < >, no space at either end, and not the tool's word for "nothing".
_NAME = r"^[!-%'-;=?-~]([ -%'-;=?-~]*[!-%'-;=?-~])?$"


# --- the layout of a record -----------------------------------------------------------------------


class Part(NamedTuple):
    """A template and the columns that its values are for, in its order."""

    template: Template
    columns: tuple[str, ...]


def _part(columns: str, text: str) -> Part:
    return Part(Template(text), tuple(columns.split()))


NAMES = (
    _part("wnid image_id", "  <folder>{}</folder>\n  <filename>{}</filename>\n"),
    _part("image_id wnid", "  <filename>{}</filename>\n  <folder>{}</folder>\n"),
)
SIZE = _part(
    "database width height depth segmented",
    """\
  <source>
    <database>{}</database>
  </source>
  <size>
    <width>{}</width>
    <height>{}</height>
    <depth>{}</depth>
  </size>
  <segmented>{}</segmented>
""",
)
BOX_EDGES = ("xmin", "ymin", "xmax", "ymax")
OBJECT = _part(
    "box_name box_pose box_truncated box_difficult xmin ymin xmax ymax",
    """\
  <object>
    <name>{}</name>
    <pose>{}</pose>
    <truncated>{}</truncated>
    <difficult>{}</difficult>
    <bndbox>
      <xmin>{}</xmin>
      <ymin>{}</ymin>
      <xmax>{}</xmax>
      <ymax>{}</ymax>
    </bndbox>
  </object>
""",
)
BLOCK_START = _part(
    "assignment_id estimate_time_ms hit_id hit_submit_time hovered_count",
    """\
  <metadata>
    <assignment_id>{}</assignment_id>
    <estimateTime>{}</estimateTime>
    <hit_id>{}</hit_id>
    <hit_submit_time>{}</hit_submit_time>
    <hoveredCount>{}</hoveredCount>
""",
)
HOVERED = _part(
    "hovered_record_action hovered_record_time_ms",
    """\
    <hoveredRecord>
      <action>{}</action>
      <time>{}</time>
    </hoveredRecord>
""",
)
PICTURE = _part(
    "image_height image_id_raw image_position_x image_position_y image_width image_idx"
    " imagenet_hit_id",
    """\
    <imageHeight>{}</imageHeight>
    <imageID>{}</imageID>
    <imagePosition>
      <x>{}</x>
      <y>{}</y>
    </imagePosition>
    <imageWidth>{}</imageWidth>
    <image_idx>{}</image_idx>
    <imagenet_hit_id>{}</imagenet_hit_id>
""",
)
TRACKING = _part(
    "mouse_tracking_time_ms mouse_tracking_x mouse_tracking_y",
    """\
    <mouseTracking>
      <time>{}</time>
      <x>{}</x>
      <y>{}</y>
    </mouseTracking>
""",
)
ANSWER = _part(
    "original_image_height original_image_width page_idx selected selected_count",
    """\
    <originalImageHeight>{}</originalImageHeight>
    <originalImageWidth>{}</originalImageWidth>
    <page_idx>{}</page_idx>
    <selected>{}</selected>
    <selectedCount>{}</selectedCount>
""",
)
SELECTED = _part(
    "selected_record_time_ms selected_record_x selected_record_y",
    """\
    <selectedRecord>
      <time>{}</time>
      <x>{}</x>
      <y>{}</y>
    </selectedRecord>
""",
)
BLOCK_END = _part("worker_id", "    <worker_id>{}</worker_id>\n  </metadata>\n")
