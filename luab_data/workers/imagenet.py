"""What every worker of ImageNet-AB did, as traits: one pooled number of each worker.

Traits of behaviour need the log only; the others judge clicks against boxes. The rows they are
taken over are slim, so that those of 1.3 million images fit in memory; traces are streamed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.clicks import is_true
from luab_data.columns.events import event_span
from luab_data.columns.regions import click_offset, floats
from luab_data.ragged import Floats, Ints, Ragged, one_array, ragged
from luab_data.schema import LAST_N
from luab_data.statistics.imagenet.clicks import ImageBatch
from luab_data.statistics.imagenet.rounds import RoundBatch, estimate_time_ms
from luab_data.workers.sheets import Collector, Sheet, Trait
from luab_data.workers.traits import (
    Raw,
    log_median,
    mean_of,
    share_of,
    slope_of,
    squared_spread,
)

ROUND_COLUMNS = (
    *("worker_id", "assignment_id", "page_idx", "image_idx", "selected"),
    *("estimate_time_ms", "hovered_record_action", "hovered_record_time_ms"),
    *("mouse_tracking_time_ms", "selected_record_time_ms"),
    *("selected_record_x", "selected_record_y"),
)
IMAGE_COLUMNS = (
    *("worker_id", "assignment_id", "page_idx", "final_click_x", "final_click_y", "dwell_time_ms"),
    *("width", "height", "boxes", "click_in_box", "last_n_x", "last_n_y"),
)

REACH = 1.0
"""An offset of more box sizes counts as this many: a click far from a tiny box would decide a
mean alone."""

_NEVER = np.iinfo(np.int64).min


def imagenet_sheets(
    rounds: Iterable[pa.Table], images: Iterable[pa.Table]
) -> tuple[list[str], dict[str, Sheet]]:
    """Slim rows of an ImageNet-AB dataset.

    Args:
        rounds: batches of `rounds` with ROUND_COLUMNS.
        images: batches of `default` with IMAGE_COLUMNS.

    Returns: worker ids, sorted; and `rounds` (pictures shown), `pages`, `images` (with a final
    click).
    """
    found = Collector()
    for table in rounds:
        found.add("rounds", table["worker_id"], table["assignment_id"], round_row(table))
    for table in images:
        found.add("images", table["worker_id"], table["assignment_id"], image_row(table))
    names, sheets = found.sheets(("rounds", "images"))
    clicked = ~np.isnan(sheets["images"]["x"])
    sheets = {**sheets, "images": sheets["images"].where(clicked)}
    return names, {**sheets, "pages": pages_of(sheets["rounds"])}


def round_row(table: pa.Table) -> dict[str, Floats]:
    """What is kept of each picture shown; NaN where there is nothing to tell."""
    batch = RoundBatch(table)
    first, last = event_span(table)
    x, y, click_ms = _last_click(table, batch)
    return {
        "page": floats(table["page_idx"]),
        "slot": floats(table["image_idx"]),
        "selected": batch.selected.astype(np.float64),
        "enters": batch.enters.astype(np.float64),
        "estimate_ms": estimate_time_ms(batch),
        "approach_ms": _approach_ms(table, click_ms),
        "x": x,
        "y": y,
        "first_ms": first,
        "last_ms": last,
    }


def _last_click(table: pa.Table, batch: RoundBatch) -> tuple[Floats, Floats, Ints]:
    """The last selecting click of each picture that ended selected, and when: fractions, ms."""
    time = ragged(table["selected_record_time_ms"])
    row = np.flatnonzero(batch.selected & (time.lengths > 0))
    last = time.bounds[1:][row] - 1
    xy = np.full((2, len(table)), np.nan)
    for axis, name in enumerate("xy"):
        xy[axis, row] = ragged(table[f"selected_record_{name}"]).values[last]
    when = np.full(len(table), _NEVER)
    when[row] = time.values[last].astype(np.int64)
    return xy[0], xy[1], when


def _approach_ms(table: pa.Table, click_ms: Ints) -> Floats:
    """(num_rows,) from the last `enter` to the click; NaN without either."""
    hovered = ragged(table["hovered_record_time_ms"])
    usable = is_true(pc.equal(one_array(table["hovered_record_action"]).flatten(), "enter"))
    usable &= hovered.values <= click_ms[hovered.rows]
    times = np.where(usable, hovered.values, _NEVER).astype(np.int64)
    entered = Ragged(times, hovered.bounds).reduce(np.maximum, _NEVER)
    known = (entered != _NEVER) & (click_ms != _NEVER)
    return np.where(known, (click_ms - np.where(known, entered, click_ms)), np.nan)


def image_row(table: pa.Table) -> dict[str, Floats]:
    """What is kept of each final click; NaN where there is nothing to tell."""
    images = ImageBatch(table)
    x, y = images.floats("final_click_x"), images.floats("final_click_y")
    before_x, before_y = (values[:, 1] for values in images.points("last_n", LAST_N))
    offset_x, offset_y = click_offset(table)
    centre_x, centre_y = _box_centre(images)
    right = images.right
    return {
        "page": images.floats("page_idx"),
        "x": x,
        "y": y,
        "dwell_ms": images.floats("dwell_time_ms"),
        "gap": np.hypot(x - before_x, y - before_y),
        "right": right,
        "right_off_centre": np.where(images.centre_right > 0, np.nan, right),
        "offset_x": np.clip(offset_x, -REACH, REACH),
        "offset_y": np.clip(offset_y, -REACH, REACH),
        "centre_x": centre_x,
        "centre_y": centre_y,
    }


def _box_centre(images: ImageBatch) -> tuple[Floats, Floats]:
    """Centre of the box of each image that has just one, in fractions.

    Which of several boxes a click was meant for cannot be told without taking the nearest, and
    then every click would seem to follow its box.
    """
    _, rows = images.boxes
    one = np.flatnonzero(rows.lengths == 1)
    found = np.full((2, len(images)), np.nan)
    x0, y0, x1, y1 = images.fractions[rows.bounds[:-1][one]].T
    found[:, one] = (x0 + x1) / 2, (y0 + y1) / 2
    return found[0], found[1]


def pages_of(rounds: Sheet) -> Sheet:
    """Pages: their number in the HIT, and ms a picture; NaN if only one record is there.

    Between the first record and the last one the worker went over all slots between the pictures
    that were logged, most of which are of other classes and were not.
    """
    known = ~np.isnan(rounds["first_ms"] + rounds["page"] + rounds["slot"])
    seen = rounds.where(known)
    group, _ = seen.rows.groups
    page = seen["page"].astype(np.int64)
    _, first, code = np.unique(group * 2**16 + page, return_index=True, return_inverse=True)
    code = code.reshape(-1)
    start, stop = np.full(len(first), np.inf), np.full(len(first), -np.inf)
    np.minimum.at(start, code, seen["first_ms"])
    np.maximum.at(stop, code, seen["last_ms"])
    low, high = np.full(len(first), np.inf), np.full(len(first), -np.inf)
    np.minimum.at(low, code, seen["slot"])
    np.maximum.at(high, code, seen["slot"])
    lasted = np.where(stop > start, stop - start, np.nan)
    return seen.take(first, {"page": seen["page"][first], "time_ms": lasted / (high - low + 1)})


def _hover_rate(rounds: Sheet) -> Raw:
    """Unselected pictures entered, in HITs in which any picture was entered: not by touch."""
    group, _ = rounds.rows.groups
    by_mouse = np.bincount(group, rounds["enters"])[group] > 0
    passed = by_mouse & (rounds["selected"] == 0)
    return share_of(np.where(passed, rounds["enters"] > 0, np.nan), rounds.rows)


def _revisit_rate(rounds: Sheet) -> Raw:
    entered = rounds["enters"] > 0
    return share_of(np.where(entered, rounds["enters"] > 1, np.nan), rounds.rows)


def _centre_distance(rounds: Sheet) -> Raw:
    return mean_of(np.hypot(rounds["x"] - 0.5, rounds["y"] - 0.5), rounds.rows)


def _box_following(images: Sheet) -> Raw:
    return slope_of(
        (images["x"], images["y"]), (images["centre_x"], images["centre_y"]), images.rows
    )


def _time_drift(pages: Sheet) -> Raw:
    return slope_of((np.log(pages["time_ms"]),), (pages["page"],), pages.rows, within_hits=True)


def _accuracy_drift(images: Sheet) -> Raw:
    return slope_of((images["right"],), (images["page"],), images.rows, within_hits=True)


IMAGENET_TRAITS: tuple[Trait, ...] = (
    Trait(
        name="selected_rate", over="rounds", scale="share",
        doc="pictures shown that ended selected",
        take=lambda s: share_of(s["selected"], s.rows),
    ),
    Trait(
        name="picture_time_ms", over="pages", scale="log", unit="ms",
        doc="median over pages of the time a picture: from the first record to the last one, over"
        " the slots from the first to the last picture that was logged",
        take=lambda s: log_median(s["time_ms"], s.rows),
    ),
    Trait(
        name="estimate_time_ms", over="rounds", scale="log", unit="ms",
        doc="median estimate time of pictures the cursor was over, as the tool summed it",
        take=lambda s: log_median(s["estimate_ms"], s.rows),
    ),
    Trait(
        name="dwell_time_ms", over="images", scale="log", unit="ms",
        doc="median time the cursor was over a picture that was clicked",
        take=lambda s: log_median(s["dwell_ms"], s.rows),
    ),
    Trait(
        name="approach_ms", over="rounds", scale="log", unit="ms",
        doc="median time from the last entry of a picture to its final click",
        take=lambda s: log_median(s["approach_ms"], s.rows),
    ),
    Trait(
        name="hover_rate", over="rounds", scale="share",
        doc="unselected pictures that the cursor was over, in HITs not done by touch",
        take=_hover_rate,
    ),
    Trait(
        name="revisit_rate", over="rounds", scale="share",
        doc="pictures the cursor was over that it entered more than once",
        take=_revisit_rate,
    ),
    Trait(
        name="centre_distance", over="rounds", scale="mean", unit="fraction",
        doc="mean distance of final clicks from the picture's centre",
        take=_centre_distance,
    ),
    Trait(
        name="click_spread", over="rounds", scale="square", unit="fraction",
        doc="standard deviation of final clicks around the worker's mean click, along an axis",
        take=lambda s: squared_spread(s["x"], s["y"], s.rows),
    ),
    Trait(
        name="trace_gap", over="images", scale="mean", unit="fraction",
        doc="mean distance of the final click from the trace record before it",
        take=lambda s: mean_of(s["gap"], s.rows),
    ),
    Trait(
        name="time_drift", over="pages", scale="mean", unit="log ms a page",
        doc="slope of the logarithm of the time a picture over the pages of a HIT",
        take=_time_drift,
    ),
    Trait(
        name="click_accuracy", over="images", scale="share", has_truth=True,
        doc="final clicks in a box, over images with boxes",
        take=lambda s: share_of(s["right"], s.rows),
    ),
    Trait(
        name="off_centre_click_accuracy", over="images", scale="share", has_truth=True,
        doc="the same over images of which no box holds the centre",
        take=lambda s: share_of(s["right_off_centre"], s.rows),
    ),
    Trait(
        name="offset_x", over="images", scale="mean", unit="box widths", has_truth=True,
        doc="mean offset of the final click from the centre of its box, at most 1 either way; x",
        take=lambda s: mean_of(s["offset_x"], s.rows),
    ),
    Trait(
        name="offset_y", over="images", scale="mean", unit="box heights", has_truth=True,
        doc="likewise, positive downwards; y",
        take=lambda s: mean_of(s["offset_y"], s.rows),
    ),
    Trait(
        name="offset_spread", over="images", scale="square", unit="box sizes", has_truth=True,
        doc="standard deviation of that offset around the worker's mean offset, along an axis",
        take=lambda s: squared_spread(s["offset_x"], s["offset_y"], s.rows),
    ),
    Trait(
        name="box_following", over="images", scale="mean", has_truth=True,
        doc="slope of the final click on the centre of the box, images with one box: 1 follows the"
        " object, 0 ignores it",
        take=_box_following,
    ),
    Trait(
        name="accuracy_drift", over="images", scale="mean", unit="share a page", has_truth=True,
        doc="slope of click accuracy over the pages of a HIT",
        take=_accuracy_drift,
    ),
)  # fmt: skip


def imagenet_counts(sheets: dict[str, Sheet]) -> dict[str, Ints]:
    """Counts of each worker: (num_workers,) each."""
    rounds, images = sheets["rounds"], sheets["images"]
    boxed = images.where(~np.isnan(images["right"]))
    return {
        "num_assignments": rounds.rows.num_hits(),
        "num_rounds": rounds.rows.count(),
        "num_selected": rounds.rows.sum(rounds["selected"]).astype(np.int64),
        "num_evaluated": boxed.rows.count(),
    }
