"""What every worker of ImageNet-AB did, as traits, and the table `annotators`.

Traits of behaviour need the log only; the others judge clicks against boxes. The rows they are
taken over are slim, so that those of 1.3 million images fit in memory; traces are streamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.columns.events import (
    NEVER,
    UNTIMED,
    event_span,
    extremes,
    final_click,
    is_enter,
    last_click,
    num_enters,
    times,
)
from luab_data.columns.regions import click_offset
from luab_data.ragged import Floats, Ints, Ragged, above_0, bounds_of, floats, is_true
from luab_data.schema import IMAGENET_ANNOTATORS, LAST_N
from luab_data.statistics.estimate import ratio
from luab_data.statistics.imagenet_clicks import ImageBatch
from luab_data.workers.observations import Collector, Observations, owner_table
from luab_data.workers.pooling import Suspicion, all_of, follows_objects, near_centre, together
from luab_data.workers.traits import Trait, WorkerMeasures

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
TABLE_COLUMNS = (
    ("worker_id", "final_click_x", "final_click_y", "click_in_box", "width", "height", "boxes"),
    (*("worker_id", "assignment_id", "selected", "estimate_time_ms", "mouse_tracking_time_ms"),),
)


def collect(
    images: Iterable[pa.Table], rounds: Iterable[pa.Table]
) -> tuple[list[str], dict[str, Observations]]:
    """Slim rows of an ImageNet-AB dataset.

    Args:
        images: batches of `default` with IMAGE_COLUMNS.
        rounds: batches of `rounds` with ROUND_COLUMNS.

    Returns: worker ids, sorted; and `rounds` (pictures shown), `pages`, `images` (with a final
    click).
    """
    found = Collector()
    for table in rounds:
        found.add("rounds", table["worker_id"], round_row(table), table["assignment_id"])
    for table in images:
        found.add("images", table["worker_id"], image_row(table), table["assignment_id"])
    names, rows = found.collected()
    return names, completed(rows)


def completed(rows: Mapping[str, Observations]) -> dict[str, Observations]:
    """What follows from the rows of all batches: who used a mouse, the pages."""
    rounds, images = rows["rounds"], rows["images"]
    group, _ = rounds.groups
    by_mouse = np.bincount(group, rounds["enters"])[group] > 0
    passed = by_mouse & (rounds["selected"] == 0)
    hovered = np.where(passed, rounds["enters"] > 0, np.nan)
    return {
        "rounds": rounds.adding({"hovered": hovered}),
        "images": images.where(~np.isnan(images["x"])),
        "pages": pages_of(rounds),
    }


def round_row(table: pa.Table) -> dict[str, Floats]:
    """What is kept of each picture shown; NaN where there is nothing to tell."""
    enters = num_enters(table).astype(np.float64)
    first, last = event_span(table)
    x, y, click_ms = _last_click(table)
    return {
        "page": floats(table["page_idx"]),
        "slot": floats(table["image_idx"]),
        "selected": is_true(table["selected"]).astype(np.float64),
        "enters": enters,
        "revisited": np.where(enters > 0, enters > 1, np.nan),
        "estimate_ms": above_0(floats(table["estimate_time_ms"])),
        "approach_ms": _approach_ms(table, click_ms),
        "x": x,
        "y": y,
        "centre_distance": np.hypot(x - 0.5, y - 0.5),
        "first_ms": first,
        "last_ms": last,
    }


def _last_click(table: pa.Table) -> tuple[Floats, Floats, Ints]:
    """The final click of each picture shown, fractions, and when it was, ms; NEVER if unknown."""
    given = table["selected_record_x"], table["selected_record_y"], table["selected"]
    x, y = map(floats, final_click(*given))
    _, place = last_click(table["selected_record_time_ms"])
    row = np.flatnonzero(~np.isnan(x))
    when = np.full(len(table), NEVER)
    clock = times(table["selected_record_time_ms"]).values[place[row]].astype(np.int64)
    when[row] = np.where(clock == UNTIMED, NEVER, clock)
    return x, y, when


def _approach_ms(table: pa.Table, click_ms: Ints) -> Floats:
    """(num_rows,) from the last `enter` to the click; NaN without either."""
    hovered = times(table["hovered_record_time_ms"])
    usable = is_enter(table["hovered_record_action"]) & (hovered.values <= click_ms[hovered.rows])
    usable &= hovered.values != UNTIMED
    moments = np.where(usable, hovered.values, -NEVER).astype(np.int64)
    entered = Ragged(moments, hovered.bounds).reduce(np.maximum, -NEVER)
    known = (entered != -NEVER) & (click_ms != NEVER)
    return np.where(known, click_ms - np.where(known, entered, click_ms), np.nan)


def image_row(table: pa.Table) -> dict[str, Floats]:
    """What is kept of each final click; NaN where there is nothing to tell."""
    images = ImageBatch(table)
    before_x, before_y = (values[:, 1] for values in images.points("last_n", LAST_N))
    centre_x, centre_y = _box_centre(images)
    clicks = click_row(table)
    return {
        **clicks,
        "page": images.floats("page_idx"),
        "dwell_ms": images.floats("dwell_time_ms"),
        "gap": np.hypot(clicks["x"] - before_x, clicks["y"] - before_y),
        "right_off_centre": np.where(images.centre_right > 0, np.nan, clicks["right"]),
        "centre_x": centre_x,
        "centre_y": centre_y,
    }


def click_row(table: pa.Table) -> dict[str, Floats]:
    """Where each final click is, whether in a box, and how far from its centre in box sizes."""
    offset_x, offset_y = click_offset(table)
    return {
        "x": floats(table["final_click_x"]),
        "y": floats(table["final_click_y"]),
        "right": floats(table["click_in_box"]),
        "offset_x": offset_x,
        "offset_y": offset_y,
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


def pages_of(rounds: Observations) -> Observations:
    """Pages: their number in the HIT, and ms a picture; NaN if only one record is there.

    Between the first record and the last one the worker went over all slots between the pictures
    that were logged, most of which are of other classes and were not.
    """
    known = ~np.isnan(rounds["first_ms"] + rounds["page"] + rounds["slot"])
    seen = rounds.where(known & (rounds.hit >= 0))
    keys = seen.groups[0] * 2**16 + seen["page"].astype(np.int64)
    _, first, page = np.unique(keys, return_index=True, return_inverse=True)
    page = page.reshape(-1)
    start, stop = extremes(seen["first_ms"], seen["last_ms"], page, len(first))
    low, high = extremes(seen["slot"], seen["slot"], page, len(first))
    time = np.where(stop > start, stop - start, np.nan) / (high - low + 1)
    columns = {"page": seen["page"][first], "time_ms": time, "log_time": np.log(time)}
    return seen.where(first, columns)


TRAITS: tuple[Trait, ...] = (
    Trait("selected_rate", "pictures shown that ended selected",
          over="rounds", of=("selected",), scale="share"),
    Trait("picture_time_ms",
          "median over pages of the time a picture: from the first record to the last one, over"
          " the slots from the first to the last picture that was logged",
          over="pages", of=("time_ms",), scale="log", unit="ms"),
    Trait("estimate_time_ms",
          "median of the estimate times that are above 0, as the tool summed them",
          over="rounds", of=("estimate_ms",), scale="log", unit="ms"),
    Trait("dwell_time_ms", "median time the cursor was over a picture that was clicked",
          over="images", of=("dwell_ms",), scale="log", unit="ms"),
    Trait("approach_ms", "median time from the last entry of a picture to its final click",
          over="rounds", of=("approach_ms",), scale="log", unit="ms"),
    Trait("hover_rate", "unselected pictures that the cursor was over, in HITs not done by touch",
          over="rounds", of=("hovered",), scale="share"),
    Trait("revisit_rate", "pictures the cursor was over that it entered more than once",
          over="rounds", of=("revisited",), scale="share"),
    Trait("centre_distance", "mean distance of final clicks from the picture's centre",
          over="rounds", of=("centre_distance",), scale="mean", unit="fraction"),
    Trait("click_spread",
          "standard deviation of final clicks around the worker's mean click, along an axis",
          over="rounds", of=("x", "y"), scale="square", unit="fraction"),
    Trait("trace_gap", "mean distance of the final click from the trace record before it",
          over="images", of=("gap",), scale="mean", unit="fraction"),
    Trait("time_drift", "slope of the logarithm of the time a picture over the pages of a HIT",
          over="pages", of=("log_time",), on=("page",), within_hits=True, scale="mean",
          unit="log ms a page"),
    Trait("click_accuracy", "final clicks in a box, over images with boxes",
          over="images", of=("right",), scale="share", has_truth=True),
    Trait("off_centre_click_accuracy", "the same over images of which no box holds the centre",
          over="images", of=("right_off_centre",), scale="share", has_truth=True),
    Trait("offset_x", "mean offset of the final click from the centre of its box; x",
          over="images", of=("offset_x",), scale="mean", unit="box widths", has_truth=True),
    Trait("offset_y", "likewise, positive downwards; y",
          over="images", of=("offset_y",), scale="mean", unit="box heights", has_truth=True),
    Trait("offset_spread",
          "standard deviation of that offset around the worker's mean offset, along an axis",
          over="images", of=("offset_x", "offset_y"), scale="square", unit="box sizes",
          has_truth=True),
    Trait("box_following",
          "slope of the final click on the centre of the box, images with one box: 1 follows"
          " the object, 0 ignores it",
          over="images", of=("x", "y"), on=("centre_x", "centre_y"), scale="mean", has_truth=True),
    Trait("accuracy_drift", "slope of click accuracy over the pages of a HIT",
          over="images", of=("right",), on=("page",), within_hits=True, scale="mean",
          unit="share a page", has_truth=True),
)  # fmt: skip

SUSPICIONS: tuple[Suspicion, ...] = (
    Suspicion("careless", "behaviour", together,
              "fast, looks at few pictures, selects few, clicks scattered: at least two of these",
              ({"picture_time_ms": -1, "approach_ms": -1}, {"hover_rate": -1, "revisit_rate": -1},
               {"selected_rate": -1}, {"click_spread": 1})),
    Suspicion("careless", "truth", together,
              "clicks do not follow the box and miss it, without being near the picture's centre",
              ({"box_following": -1}, {"click_accuracy": -1, "off_centre_click_accuracy": -1}),
              unless=near_centre),
    Suspicion("centre_clicking", "behaviour", all_of,
              "clicks near the picture's centre, much nearer than ordinary workers do",
              ({"centre_distance": -1},)),
    Suspicion("centre_clicking", "truth", all_of,
              "clicks near the picture's centre that move less than half as much as the box does",
              ({"centre_distance": -1}, {"box_following": -1}), unless=follows_objects),
)  # fmt: skip


def counts(rows: Mapping[str, Observations]) -> dict[str, Ints]:
    """Counts of each worker: (num_workers,) each."""
    rounds, images = rows["rounds"], rows["images"]
    return {
        "num_assignments": rounds.num_hits(),
        "num_rounds": rounds.count(),
        "num_selected": rounds.sum(rounds["selected"]).astype(np.int64),
        "num_evaluated": images.count(images["right"]),
    }


def table(images: Iterable[pa.Table], rounds: Iterable[pa.Table]) -> pa.Table:
    """IMAGENET_ANNOTATORS, sorted by worker_id, from batches with TABLE_COLUMNS."""
    found = Collector()
    for batch in rounds:
        found.add("rounds", batch["worker_id"], shown_row(batch), batch["assignment_id"])
    for batch in images:
        clicked = batch.filter(batch["final_click_x"].is_valid())
        found.add("images", clicked["worker_id"], click_row(clicked))
    names, rows = found.collected()
    return owner_table(names, numbers(rows), IMAGENET_ANNOTATORS.schema())


def shown_row(table: pa.Table) -> dict[str, Floats]:
    """What the table `annotators` needs of each picture shown."""
    return {
        "selected": is_true(table["selected"]).astype(np.float64),
        "estimate_ms": above_0(floats(table["estimate_time_ms"])),
        "trace_length": np.diff(bounds_of(table["mouse_tracking_time_ms"])).astype(np.float64),
    }


def numbers(rows: Mapping[str, Observations]) -> dict[str, Any]:
    """(num_workers,) each of IMAGENET_ANNOTATORS, of shown_row and click_row."""
    rounds_of, clicks = rows["rounds"], rows["images"]
    counted, in_box = counts(rows), clicks.sum(clicks["right"])
    return {
        **counted,
        "median_estimate_time_ms": rounds_of.median(rounds_of["estimate_ms"]),
        "median_trace_length": rounds_of.median(rounds_of["trace_length"]),
        "mean_click_x": clicks.mean(clicks["x"]),
        "mean_click_y": clicks.mean(clicks["y"]),
        "num_in_box": in_box,
        "click_accuracy": ratio(in_box, counted["num_evaluated"]),
        "click_bias_x": clicks.mean(clicks["offset_x"]),
        "click_bias_y": clicks.mean(clicks["offset_y"]),
    }


WORKERS = WorkerMeasures(
    image_columns=IMAGE_COLUMNS,
    event_columns=ROUND_COLUMNS,
    collect=collect,
    counts=counts,
    traits=TRAITS,
    suspicions=SUSPICIONS,
    shown=(
        *("picture_time_ms", "centre_distance", "click_accuracy", "selected_rate", "hover_rate"),
        *("revisit_rate", "click_spread", "box_following", "offset_x", "offset_y"),
    ),
    table_columns=TABLE_COLUMNS,
    table=table,
)
