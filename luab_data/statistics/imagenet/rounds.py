"""What annotators did with the pictures they were shown: selected, looked again, took their time.

One row of a RoundBatch is one picture shown to one worker in one round.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow.compute as pc

from luab_data.columns.clicks import is_true
from luab_data.columns.events import num_enters
from luab_data.columns.regions import floats
from luab_data.ragged import ArrowColumn, Bools, Floats, Ints, bounds_of, one_array, ragged
from luab_data.statistics.estimate import Parts, grid_parts, ratio
from luab_data.statistics.imagenet.clicks import ImageBatch
from luab_data.statistics.measure import TableBatch
from luab_data.tools import BROWSING_PAGES, SLOTS

SIDES_OF_PICTURE = ("left", "right", "top", "bottom")


class RoundBatch(TableBatch):
    """Rows of `rounds` of ImageNet-AB."""

    columns = (
        *("worker_id", "assignment_id", "page_idx", "image_idx", "round", "selected"),
        *("hit_submit_time", "estimate_time_ms", "hovered_record_action"),
        *("hovered_record_time_ms", "mouse_tracking_time_ms", "mouse_tracking_x"),
        *("mouse_tracking_y", "selected_record_time_ms", "image_position_x", "image_width"),
    )

    @cached_property
    def selected(self) -> Bools:
        """(num_rows,) whether the picture was selected at the end."""
        return is_true(self.table["selected"])

    @cached_property
    def enters(self) -> Ints:
        """(num_rows,) how often the cursor came over the picture."""
        return num_enters(self.table)

    @cached_property
    def trace(self) -> tuple[Floats, Floats, Ints]:
        """The mouse trace: x, y (num_points,) in fractions, and bounds (num_rows + 1,)."""
        x = ragged(self.table["mouse_tracking_x"])
        return x.values, ragged(self.table["mouse_tracking_y"]).values, x.bounds


def selected_by_round(rounds: RoundBatch) -> Parts:
    """Pictures shown in round 1, in round 2, that were selected. Source: metrics 4.1."""
    number = floats(rounds.table["round"])
    row = np.flatnonzero((number == 1) | (number == 2))
    return Parts(
        row=row,
        part=rounds.selected[row].astype(np.float64),
        whole=np.ones(len(row)),
        cell=number[row].astype(np.int64) - 1,
    )


def second_less_first(part: Floats, whole: Floats) -> Floats:
    """Mean of cell 1 less that of cell 0."""
    mean = ratio(part, whole)
    return mean[..., 1] - mean[..., 0]


def coverage(images: ImageBatch) -> Parts:
    """Images with any hovered, tracking or selected record. Source: metrics 4.2."""
    return _share(images.floats("has_interaction"))


def selected(images: ImageBatch) -> Parts:
    """Images that any round ended with selected. Source: metrics 4.1."""
    return _share(images.floats("selected"))


def decided_by_round(images: ImageBatch) -> Parts:
    """Images selected by round 1, by round 2, over all images. Source: metrics 4.1."""
    number = images.floats("selected_round")
    part = np.stack([number == 1, number == 2], axis=1).astype(np.float64)
    return grid_parts(part, np.ones_like(part))


def parity_disagrees(images: ImageBatch) -> Parts:
    """Images whose `selected` is not what the paper's odd-length rule says. Source: 6.1-1."""
    return _share(images.floats("parity_disagrees"))


def revisited(rounds: RoundBatch) -> Parts:
    """Of the pictures entered, those entered more than once."""
    row = np.flatnonzero(rounds.enters > 0)
    return Parts(row=row, part=(rounds.enters[row] > 1).astype(np.float64), whole=np.ones(len(row)))


def passed_over(rounds: RoundBatch) -> Parts:
    """Of the pictures left unselected, those the cursor had entered."""
    row = np.flatnonzero(~rounds.selected)
    return Parts(row=row, part=(rounds.enters[row] > 0).astype(np.float64), whole=np.ones(len(row)))


def _share(values: Floats) -> Parts:
    row = np.flatnonzero(~np.isnan(values))
    return Parts(row=row, part=values[row], whole=np.ones(len(row)))


def estimate_time_ms(rounds: RoundBatch) -> Floats:
    """The tool's estimate for each picture the cursor was over; NaN otherwise."""
    return np.where(rounds.enters > 0, floats(rounds.table["estimate_time_ms"]), np.nan)


def trace_records(rounds: RoundBatch) -> Floats:
    """Trace records of each picture the cursor was over; NaN otherwise."""
    return np.where(rounds.enters > 0, np.diff(rounds.trace[2]).astype(np.float64), np.nan)


def dwell_time_ms(images: ImageBatch) -> Floats:
    """Time the cursor was over the picture in its deciding round; NaN if it never was."""
    return images.floats("dwell_time_ms")


def entry_side(rounds: RoundBatch) -> Parts:
    """Border of the picture that the trace's first record is nearest to."""
    x, y, bounds = rounds.trace
    row = np.flatnonzero(np.diff(bounds) > 0)
    return _nearest_side(row, x[bounds[:-1][row]], y[bounds[:-1][row]])


def exit_side(rounds: RoundBatch) -> Parts:
    """Border that its last record is nearest to, where the cursor left the unselected picture.

    A selected picture logs no trace, so how the cursor left it is unknown.
    """
    x, y, bounds = rounds.trace
    actions = one_array(rounds.table["hovered_record_action"])
    ends = bounds_of(actions)
    last = np.maximum(ends[1:] - 1, 0)
    names = actions.flatten()
    left = np.zeros(len(rounds), bool)
    if len(names):
        left = is_true(pc.equal(names, "leave"))[np.minimum(last, len(names) - 1)]
    row = np.flatnonzero((np.diff(bounds) > 0) & (np.diff(ends) > 0) & left & ~rounds.selected)
    end = bounds[1:][row] - 1
    return _nearest_side(row, x[end], y[end])


def _nearest_side(row: Ints, x: Floats, y: Floats) -> Parts:
    cell = np.argmin(np.stack([x, 1 - x, y, 1 - y]), axis=0)
    ones = np.ones(len(row))
    return Parts(row=row, part=ones, whole=ones, cell=cell)


def selected_by_slot(rounds: RoundBatch) -> Parts:
    """Pictures by their slot on the page, selected over shown."""
    return _by(rounds.table["image_idx"], SLOTS, rounds.selected.astype(np.float64))


def selected_by_page(rounds: RoundBatch) -> Parts:
    """Pictures by the page of the HIT, selected over shown."""
    return _by(rounds.table["page_idx"], BROWSING_PAGES, rounds.selected.astype(np.float64))


def accuracy_by_slot(images: ImageBatch) -> Parts:
    """Click accuracy over S by slot on the page."""
    return _by(images.table["image_idx"], SLOTS, images.right)


def accuracy_by_page(images: ImageBatch) -> Parts:
    """Click accuracy over S by page of the HIT."""
    return _by(images.table["page_idx"], BROWSING_PAGES, images.right)


def _by(place: ArrowColumn, num: int, part: Floats) -> Parts:
    """Rows whose place is 0..num - 1 and whose part is known, by place."""
    number = floats(place)
    with np.errstate(invalid="ignore"):
        row = np.flatnonzero((number >= 0) & (number < num) & ~np.isnan(part))
    return Parts(
        row=row, part=part[row], whole=np.ones(len(row)), cell=number[row].astype(np.int64)
    )
