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


# --- parts of a layout in many members at once ------------------------------------------------


class Part(NamedTuple):
    """A template and the columns that its values are for, in its order."""

    template: Template
    columns: tuple[str, ...]


_FIRST, _LAST = b"<annotation>\n", b"</annotation>"
_NONE = "    <{0}>None</{0}>\n"


class Deviates(Exception):
    """Some members have another layout, or values that are not plain."""

    def __init__(self, members: Ints) -> None:
        super().__init__(f"{len(members)} members")
        self.members = members


class Found(NamedTuple):
    """The spans of one part: value j of `columns` belongs to `owner[j]`, a block or an image."""

    part: Part
    spans: list[Spans]
    owner: Ints  # (num_values,) index of a member
    bounds: Ints  # lists: (num_owners + 1,) values of each block or image; empty for one value each


_SINGLE: Ints = np.zeros(0, np.int64)


class Members:
    """The members of a run that are read together; collects those that deviate."""

    def __init__(self, text: Text, starts: Ints, ends: Ints) -> None:
        self.text = text
        self._deviant = np.zeros(len(starts), bool)
        self.first = np.searchsorted(text.newlines, starts)
        has_newline = text.data[ends - 1] == ord("\n")
        # The line of </annotation>, whether a newline follows it or not.
        self.close = np.searchsorted(text.newlines, ends) - has_newline
        last = ends - has_newline - len(_LAST)
        self.must(
            (self.close > self.first + 2)
            & text.has(starts, _FIRST)
            & text.has(last, _LAST)
            & (text.newlines[self.close - 1] + 1 == last)
        )

    def must(self, holds: Bools, owner: Ints | None = None) -> None:
        """Note the members (or those that own the values) for which something does not hold."""
        if not holds.all():
            self._deviant[np.flatnonzero(~holds) if owner is None else owner[~holds]] = True

    def check(self) -> None:
        """Raise Deviates if anything was noted."""
        if self._deviant.any():
            raise Deviates(np.flatnonzero(self._deviant))

    def match(self, part: Part, lines: Ints, owner: Ints, bounds: Ints = _SINGLE) -> Found:
        """Compare a part at its first lines."""
        spans, holds = part.template.match(self.text, lines)
        self.must(holds, owner)
        return Found(part, spans, owner, bounds)

    def match_list(self, part: Part, tag: str, begin: Ints, end: Ints, owner: Ints) -> Found:
        """Compare repeated siblings that fill the lines [begin, end), or the tool's None."""
        size = part.template.num_lines
        lines = end - begin
        is_none = lines == 1
        none = self.text.has(self.text.starts_of(begin), _NONE.format(tag).encode())
        self.must(np.where(is_none, none, (lines > 0) & (lines % size == 0)), owner)
        return self.match_repeated(part, begin, np.where(is_none, 0, lines // size), owner)

    def match_repeated(self, part: Part, begin: Ints, counts: Ints, owner: Ints) -> Found:
        """Compare `counts` repetitions from the lines `begin` on."""
        counts = np.maximum(counts, 0)
        bounds = np.concatenate([[0], np.cumsum(counts)])
        place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], counts)
        lines = np.repeat(begin, counts) + part.template.num_lines * place
        return self.match(part, lines, np.repeat(owner, counts), bounds)


# --- the layout of a record -----------------------------------------------------------------------


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
