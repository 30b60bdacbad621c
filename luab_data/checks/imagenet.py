"""What must hold in the rows of a browsing log (ImageNet-AB), and what can be odd about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.checks.lint import (
    Broken,
    KindChecks,
    Rule,
    Window,
    beyond,
    decreases,
    differs,
    outside,
)
from luab_data.checks.rows import any_in, first
from luab_data.columns import events
from luab_data.columns.imagenet import stored_sources
from luab_data.columns.regions import boxes_of
from luab_data.ragged import Bools, Floats, Ragged, bounds_of, floats, is_true, one_array
from luab_data.tools import BROWSING_PAGES, CELL_HEIGHT, CELL_WIDTH, SLOTS

_DAY_S = 86_400


class Rounds(Window):
    """Images, and the rounds in which they were shown."""

    @cached_property
    def clicks(self) -> Ragged:
        """Times of the selecting clicks."""
        return events.times(self.records["selected_record_time_ms"])

    @cached_property
    def trace(self) -> Ragged:
        """Times of the trace records."""
        return events.times(self.records["mouse_tracking_time_ms"])

    @cached_property
    def clicked(self) -> Bools:
        """(num_records,) whether there is a selecting click."""
        return self.clicks.lengths > 0

    @cached_property
    def selected(self) -> Bools:
        """(num_records,) whether the image ended selected."""
        return is_true(self.records["selected"])

    def last_click(self, name: str) -> Floats:
        """(num_records,) `x`, `y` or `time_ms` of the last selecting click; NaN without any."""
        found = np.full(len(self.records), np.nan)
        clicked, place = events.last_click(self.records["selected_record_time_ms"])
        found[clicked] = self.lists(f"selected_record_{name}").values[place[clicked]]
        return found

    def before_enter(self, times: Ragged) -> Bools:
        """(num_records,) whether any of the times comes before any enter."""
        enter = events.first_enter(self.records)
        early: Bools = (times.reduce(np.minimum, events.NEVER) < enter) | (enter == events.NEVER)
        return early & (times.lengths > 0)

    @cached_property
    def span(self) -> tuple[Floats, Floats]:
        """(num_records,) epoch ms of the first and the last thing logged; NaN without any."""
        return events.event_span(self.records)

    @cached_property
    def submitted(self) -> Floats:
        """(num_records,) epoch s when the HIT was submitted."""
        return self.number("hit_submit_time")

    @cached_property
    def size_is_known(self) -> Bools:
        """(num_records,) whether a size of the file was logged, and the boxes have another."""
        return super().size_is_known & is_true(self.images["has_boxes"])[self.owner]

    def shares(self, name: str) -> Bools:
        """(num_records,) whether another record of the image has the same text; null is none."""
        codes = pc.dictionary_encode(one_array(self.records[name]))
        number = pc.fill_null(codes.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        key = self.owner * max(len(codes.dictionary), 1) + number
        _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
        shared: Bools = (counts[inverse] > 1) & (number >= 0)
        return shared

    def repeats(self, name: str) -> Bools:
        """(num_records,) whether the record before is of the same image and has the same value."""
        found = np.zeros(len(self.records), np.bool_)
        if len(found) > 1:
            column = self.records[name]
            same = is_true(pc.equal(column.slice(1), column.slice(0, len(found) - 1)))
            found[1:] = same & (self.owner[1:] == self.owner[:-1])
        return found


def _out_of_turn(r: Rounds) -> Bools:
    column = r.records["hovered_record_action"]
    bounds = bounds_of(column)
    place = np.arange(bounds[-1]) - np.repeat(bounds[:-1], np.diff(bounds))
    return Ragged(place, bounds).any(events.is_enter(column) != (place % 2 == 0))


def _width_copies_height(r: Rounds) -> Bools:
    return r.copies_height(r.sizes[2], r.sizes[3]) & ~r.size_missing


def _size_on_page(r: Rounds) -> Bools:
    """(num_records,) whether the picture is shown larger than its file or than the cell.

    Of a file that is not square a width that equals the height is no width at all.
    """
    width, height, file_width, file_height = r.sizes
    is_width = (width != height) | (file_width == file_height)
    wide = is_width & (width > np.minimum(file_width, CELL_WIDTH))
    odd: Bools = wide | (height > np.minimum(file_height, CELL_HEIGHT))
    return odd & ~r.size_missing


def _same_submit_time(r: Rounds) -> Bools:
    again = r.repeats("hit_submit_time")
    either: Bools = again | np.append(again[1:], False)[: len(again)]
    return either


def _same_assignment(r: Rounds) -> Bools:
    return r.shares("assignment_id")


def _after_selected(r: Rounds) -> Bools:
    again = r.repeats("image_id")
    again[1:] &= r.selected[:-1]
    return again


def _other_id(r: Rounds) -> Bools:
    """(num_records,) whether the tool's id is another one than wnid/image_id.

    Of a name that several classes have, image_id is the class and the name.
    """
    wnid, own, logged = (r.records[n] for n in ("wnid", "image_id", "image_id_raw"))
    join = pc.binary_join_element_wise
    name = pc.replace_substring_regex(logged, "^[^/]*/", "")
    is_shared = pc.and_(
        pc.equal(logged, join(wnid, name, "/")), pc.equal(own, join(wnid, name, "_"))
    )
    is_own = pc.or_(pc.equal(logged, join(wnid, own, "/")), is_shared)
    return is_true(pc.invert(is_own))


def _other_class(r: Rounds) -> Bools:
    stem = pc.replace_substring_regex(r.images["image_id"], r"_[^_]*$", "")
    return is_true(pc.not_equal(stem, r.images["wnid"]))


def _box_outside(r: Rounds) -> Bools:
    boxes, rows = boxes_of(r.images["boxes"])
    size = np.stack([floats(r.images[name]) for name in ("width", "height")], axis=1)
    over = (boxes[:, :2] < 0) | (boxes[:, 2:] > size[rows.rows])
    return rows.any(np.logical_or.reduce(over, axis=1))


def _box_reversed(r: Rounds) -> Bools:
    column = one_array(r.images["boxes"])
    corners = floats(column.flatten().flatten()).reshape(-1, 2, 2)
    odd = np.logical_or.reduce(corners[:, 0] > corners[:, 1], axis=1)
    return Ragged(odd, bounds_of(column)).any(odd)


_ROUNDS = (
    ("click-outside", "warning", "docs/formats.md#coordinates",
     "The last selecting click is off the picture.",
     lambda r: outside(r.last_click("x"), r.last_click("y"))),
    ("trace-outside", "info", "docs/formats.md#coordinates",
     "A trace record is off the picture.",
     lambda r: r.points_outside("mouse_tracking")),
    ("time-backwards", "error", "docs/formats.md#throttle; docs/formats.md#visits",
     "Hovered, trace or click times decrease.",
     lambda r: np.any([decreases(events.known_times(r.records[name]))
                       for name in events.EVENT_TIMES], axis=0)),
    ("click-without-enter", "info", "docs/formats.md#visits; docs/formats.md#touch-and-pen",
     "A selecting click comes before any enter. So do touch screens.",
     lambda r: r.before_enter(r.clicks)),
    ("trace-without-enter", "warning", "docs/definitions.md#trace-curves; docs/formats.md#visits",
     "A trace record comes before any enter. Its visits cannot be told apart.",
     lambda r: r.before_enter(r.trace)),
    ("enter-leave-order", "warning", "docs/formats.md#visits",
     "Enter and leave do not take turns, beginning with enter. A last leave may be missing.",
     _out_of_turn),
    ("trace-after-click", "error", "docs/formats.md#trace-while-selected",
     "The image ended selected, but its trace goes on after the last selecting click. The tool"
     " does not track a selected picture.",
     lambda r: r.selected & (r.trace.reduce(np.maximum, -events.NEVER) > r.last_click("time_ms"))),
    ("parity", "info", "docs/formats.md#deselection",
     "`selected` is not what the paper's rule says: an odd number of selecting clicks."
     " Deselecting clicks are not logged, so `selected` is right.",
     lambda r: r.selected != (r.clicks.lengths % 2 == 1)),
    ("selected-without-click", "error",
     "docs/formats.md#deselection; docs/definitions.md#imagenet-notebook",
     "The image ended selected without any selecting click.",
     lambda r: r.selected & ~r.clicked),
    ("click-count", "error", "docs/formats.md#deselection",
     "`selected_count` is not the number of selecting clicks.",
     lambda r: differs(r.number("selected_count"), r.clicks.lengths)),
    ("hover-count", "warning", "docs/formats.md#visits",
     "`hovered_count` is not the number of enters.",
     lambda r: differs(r.number("hovered_count"), events.num_enters(r.records))),
    ("click-without-trace", "info", "docs/formats.md#touch-and-pen",
     "There are selecting clicks, but the trace is empty. Touch and pen leave none.",
     lambda r: r.clicked & (r.trace.lengths == 0)),
    ("no-interaction", "info", "docs/definitions.md#coverage",
     "Nothing was logged at all: no hovered, trace or click record. Being shown is not being"
     " looked at.",
     lambda r: np.isnan(r.span[0])),
    ("negative-estimate", "warning", "docs/formats.md#estimated-time",
     "The tool's estimate of the time over the image is negative.",
     lambda r: r.number("estimate_time_ms") < 0),
    ("estimate-too-long", "warning", "docs/formats.md#estimated-time",
     "The tool's estimate is longer than from the round's first moment to its last.",
     lambda r: r.number("estimate_time_ms") > r.span[1] - r.span[0]),
    ("submit-before-activity", "error", "docs/formats.md#imagenet-ab-log",
     "Something was logged after the HIT was submitted (whole seconds).",
     lambda r: r.span[1] // 1000 > r.submitted),
    ("time-far-from-submit", "error", "docs/formats.md#imagenet-ab-log; docs/formats.md#visits",
     "Something was logged more than a day away from the submission: another clock or unit.",
     lambda r: np.max([np.abs(t // 1000 - r.submitted) for t in r.span], axis=0) > _DAY_S),
    ("zero-size", "error", "docs/formats.md#image-position",
     "A size is 0, negative or missing. The picture never loaded.",
     lambda r: r.size_missing),
    ("size-disagrees", "error",
     "docs/definitions.md#points-and-boxes; docs/formats.md#exif-orientation",
     "The tool's original size is not that of the boxes, nor that swapped. Click and boxes may be"
     " of two different files.",
     lambda r: r.size_is_known & ~r.size_agrees & ~r.size_is_swapped),
    ("size-swapped", "warning", "docs/formats.md#exif-orientation",
     "The tool's original size is that of the boxes with width and height swapped. The browser"
     " turned the picture by its EXIF orientation: clicks are in that frame.",
     lambda r: r.size_is_known & r.size_is_swapped),
    ("size-on-page", "info", "docs/formats.md#size-on-the-page",
     "The picture on the page is larger than its file, or than the tool's cell.",
     _size_on_page),
    ("width-copies-height", "warning", "docs/formats.md#imagenet-width",
     "The width on the page equals the height though the file is not square. Do not use"
     " `image_width`.",
     _width_copies_height),
    ("equal-submit-times", "warning", "docs/formats.md#repeated-rounds",
     "Another round of the image has the same submit time: which one decides is by file order.",
     _same_submit_time),
    ("duplicate-assignment", "warning", "docs/formats.md#repeated-rounds",
     "Another round of the image is of the same assignment.",
     _same_assignment),
    ("shown-after-selected", "info", "docs/formats.md#repeated-rounds",
     "The image was shown again though the round before had selected it. HITs that were posted"
     " again do that.",
     _after_selected),
    ("slot-range", "warning", "docs/formats.md#imagenet-ab-log",
     "Page or slot do not exist. Pages are 0..9, slots 0..47.",
     lambda r: beyond(r.number("page_idx"), BROWSING_PAGES) | beyond(r.number("image_idx"), SLOTS)),
    ("image-id-differs", "error", "docs/formats.md#imagenet-ab-log",
     "The tool's own id is not wnid/image_id of the file that holds the round.",
     _other_id),
)  # fmt: skip
_IMAGES = (
    ("wnid-differs", "warning", "docs/formats.md#imagenet-ab-log",
     "The id does not begin with the class that was asked for.",
     _other_class),
    ("not-shown", "info", "docs/definitions.md#selected-share",
     "No round at all.",
     lambda r: ~(floats(r.images["num_rounds"]) > 0)),
    ("box-outside-image", "warning", "docs/definitions.md#points-and-boxes",
     "A box reaches beyond the picture.",
     _box_outside),
    ("box-reversed", "warning", "docs/formats.md#boxes",
     "The corners of a box are swapped, as published. Whatever is computed of it sorts them.",
     _box_reversed),
)  # fmt: skip


def _browsing_images(table: pa.Table, classes: Sequence[str] | None) -> Iterator[Broken]:
    """Boxes are four numbers, and labels the places of their wnids."""
    boxes = one_array(table["boxes"])
    lengths = pc.fill_null(pc.list_value_length(boxes.flatten()), 0)
    odd = pc.not_equal(lengths, 4)
    yield from any_in(boxes, odd, "values", "a box that is not four numbers", "[x0, y0, x1, y1]")
    flags = is_true(table["has_boxes"]) != (np.diff(bounds_of(boxes)) > 0)
    yield from first(flags, "values", "has_boxes is not what boxes say", "true if there are any")
    if classes is not None:
        place = pc.index_in(table["wnid"], value_set=pa.array(classes, pa.string()))
        odd = ~is_true(pc.equal(place, table["label"]))
        yield from first(odd, "classes", "label is not its wnid's", "its position in classes")


def _browsing_records(rounds: pa.Table) -> Iterator[Broken]:
    """Rounds are numbered 1, 2, ... by submit time."""
    same = np.zeros(len(rounds), np.bool_)
    earlier = np.zeros(len(rounds), np.bool_)
    number = rounds["round"].to_numpy().astype(np.int64)
    if len(rounds) > 1:
        ids, submitted = rounds["image_id"], rounds["hit_submit_time"].to_numpy()
        same[1:] = is_true(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)))
        earlier[1:] = submitted[1:] < submitted[:-1]
        image = np.cumsum(~same)  # where a round has no time, the log's order counts
        earlier &= ~np.isin(image, image[np.isnan(submitted.astype(float))])
    wrong = number != np.where(same, np.roll(number, 1) + 1, 1)
    yield from first(wrong, "values", "rounds are not numbered in order", "1, 2, ...")
    found = "a round was submitted before the round in front of it"
    yield from first(same & earlier, "values", found, "rounds by hit_submit_time")


CHECKS = KindChecks(
    not_null={
        "default": (
            *("image_id", "wnid", "label", "num_rounds", "selected", "has_boxes"),
            "has_interaction",
        ),
        "rounds": ("image_id", "wnid", "round", "assignment_id", "selected"),
        "annotators": ("worker_id",),
    },
    full=(
        *("hovered_record_action", "hovered_record_time_ms", "mouse_tracking_time_ms"),
        *("selected_record_time_ms", "selected_record_x", "selected_record_y", "boxes"),
    ),
    of_images=_browsing_images,
    of_records=_browsing_records,
    num_records=lambda images: np.maximum(images["num_rounds"].to_numpy().astype(np.int64), 0),
    sources=stored_sources,
    rules=(*(Rule("rounds", *rule) for rule in _ROUNDS), *(Rule("default", *r) for r in _IMAGES)),
    window=Rounds,
)
