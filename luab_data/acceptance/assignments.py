"""One row an assignment: what the log tells of one worker's answer to one HIT.

A HIT of ImageNet-AB is 10 pages of 48 pictures, 12 of them originals: training images of the class
asked for. Only originals are logged; what was done with the other 36 is nowhere in a release. A HIT
of COCO-AB is 20 pages of one image.

Source: metrics 4.13; raw-formats: `assignment_id` of ImageNet-AB, `hit_id` of COCO-AB.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.events import EVENT_TIMES, event_span
from luab_data.columns.regions import floats
from luab_data.ragged import ArrowColumn, Floats, Ints, ragged
from luab_data.statistics.coco.icons import retrieved_classes
from luab_data.statistics.estimate import Workers

NUM_PAGES = {"imagenet-ab": 10, "coco-ab": 20}

COLUMNS = {
    "imagenet-ab": ["assignment_id", "page_idx", "selected", "hit_submit_time", *EVENT_TIMES],
    "coco-ab": [
        *("hit_id", "page_id", "time_spent_ms", "labels"),
        *("icon_label", "is_present_at_end", "is_on_object"),
    ],
}
"""What is read of `rounds` of ImageNet-AB, and of `default` of COCO-AB."""

_ID = ("assignment_id", pa.string())
IMAGENET_FACTS = pa.schema(
    [
        _ID,
        ("num_shown", pa.int64()),  # originals logged
        ("num_selected", pa.int64()),  # of those, selected when the page was submitted
        ("num_pages", pa.int64()),  # pages with an original logged
        ("max_on_page", pa.int64()),  # originals on the fullest of those pages
        ("num_without_page", pa.int64()),  # originals of which the page is not known
        ("duration_ms", pa.float64()),
    ]
)
COCO_FACTS = pa.schema(
    [
        _ID,
        ("num_pages", pa.int64()),
        ("num_without_truth", pa.int64()),  # pages whose image is not in the ground truth
        ("num_scored", pa.int64()),  # pages with a class in the ground truth
        ("recall", pa.float64()),  # mean over those
        ("num_judged", pa.int64()),  # icons there at the end, of images in the ground truth
        ("num_on_object", pa.int64()),  # of those, on a mask of their class
        ("duration_ms", pa.float64()),
    ]
)


def imagenet_assignments(rounds: Iterable[pa.Table]) -> pa.Table:
    """Assignments of ImageNet-AB.

    Args:
        rounds: batches of `rounds` with COLUMNS; of each row some 30 bytes are kept.
    Returns: IMAGENET_FACTS, sorted by id. `duration_ms` runs from the first event on an original to
    the last one or the submission, whichever is later: a browser's clock may be ahead of MTurk's.
    Null without events.
    """
    names = Workers()  # it numbers any names
    slim = [_slim_round(names, batch) for batch in rounds]
    number, columns = _joined(slim, ("page", "selected", "first", "last"))
    page, selected, first, last = columns
    size = len(names)
    start, end = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(start, number, first)
    np.maximum.at(end, number, last)
    num_pages, max_on_page, num_without = _count_pages(number, page, size)
    facts = {
        "assignment_id": names.names,
        "num_shown": np.bincount(number, minlength=size),
        "num_selected": np.bincount(number, selected, size).astype(np.int64),
        "num_pages": num_pages,
        "max_on_page": max_on_page,
        "num_without_page": num_without,
        "duration_ms": pa.array(end - start, mask=~np.isfinite(start)),
    }
    return pa.table(facts, IMAGENET_FACTS).sort_by("assignment_id")


def coco_assignments(images: Iterable[pa.Table]) -> pa.Table:
    """Assignments of COCO-AB.

    Args:
        images: batches of `default` with COLUMNS; rows without `hit_id` are left out.
    Returns: COCO_FACTS, sorted by id. `recall` is the mean over pages of the share of the image's
    classes that ended with an icon (metrics 4.10), null if no page has a class; an image without a
    page counts as a page of its own; `duration_ms` is the sum of time_spent_ms, null if there is
    none.
    """
    names = Workers()
    slim = [_slim_image(names, batch.filter(batch["hit_id"].is_valid())) for batch in images]
    fields = ("page", "known", "recall", "judged", "right", "time")
    number, columns = _joined(slim, fields)
    page, known, recall, judged, right, time = columns
    size = len(names)
    num_pages, _, num_without_page = _count_pages(number, page, size)
    scored, recalls = _sum(number, recall, size)
    timed, times = _sum(number, time, size)
    facts = {
        "assignment_id": names.names,
        "num_pages": num_pages + num_without_page,
        "num_without_truth": np.bincount(number, known == 0, size).astype(np.int64),
        "num_scored": scored,
        "recall": pa.array(recalls / np.maximum(scored, 1), mask=scored == 0),
        "num_judged": np.bincount(number, judged, size).astype(np.int64),
        "num_on_object": np.bincount(number, right, size).astype(np.int64),
        "duration_ms": pa.array(times, mask=timed == 0),
    }
    return pa.table(facts, COCO_FACTS).sort_by("assignment_id")


def _slim_round(names: Workers, rounds: pa.Table) -> dict[str, np.ndarray]:
    first, last = event_span(rounds)
    return {
        "number": names.codes(rounds["assignment_id"]).astype(np.int32),
        "page": _page(rounds["page_idx"], NUM_PAGES["imagenet-ab"]),
        "selected": pc.fill_null(rounds["selected"], False).to_numpy().astype(np.int8),
        "first": np.nan_to_num(first, nan=np.inf),
        "last": np.fmax(last, floats(rounds["hit_submit_time"]) * 1000),
    }


def _slim_image(names: Workers, images: pa.Table) -> dict[str, np.ndarray]:
    retrieved, present = retrieved_classes(images)
    on_object = images["is_on_object"].combine_chunks()
    right = ragged(on_object, null=False)
    judged = on_object.flatten().is_valid().to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        recall = retrieved / np.where(present > 0, present, np.nan)
    return {
        "number": names.codes(images["hit_id"]).astype(np.int32),
        "page": _page(images["page_id"], NUM_PAGES["coco-ab"]),
        "known": images["labels"].is_valid().to_numpy().astype(np.int8),
        "recall": recall,
        "judged": right._replace(values=judged.astype(np.int64)).reduce(np.add, 0),
        "right": right._replace(values=right.values.astype(np.int64)).reduce(np.add, 0),
        "time": floats(images["time_spent_ms"]),
    }


def _page(column: ArrowColumn, num_pages: int) -> np.ndarray:
    """(num_rows,) int8, -1 where the page is null or none of the tool's."""
    page = pc.fill_null(column.cast(pa.int64()), -1).to_numpy()
    return np.where((page >= 0) & (page < num_pages), page, -1).astype(np.int8)


def _joined(
    slim: list[dict[str, np.ndarray]], fields: tuple[str, ...]
) -> tuple[Ints, list[np.ndarray]]:
    """The number of each row's assignment, and the fields, of all batches."""
    if not slim:
        return np.zeros(0, np.int64), [np.zeros(0) for _ in fields]
    number = np.concatenate([batch["number"] for batch in slim]).astype(np.int64)
    return number, [np.concatenate([batch[name] for batch in slim]) for name in fields]


def _count_pages(number: Ints, page: np.ndarray, size: int) -> tuple[Ints, Ints, Ints]:
    """Distinct pages of each assignment, most rows on one, rows without one; (size,) each."""
    without = page < 0
    span = max(NUM_PAGES.values())
    place = (number * span + page)[~without].astype(np.int64)
    rows = np.bincount(place, minlength=size * span)
    grid = rows.reshape(size, span)
    return (grid > 0).sum(1), grid.max(1, initial=0), np.bincount(number[without], None, size)


def _sum(number: Ints, values: Floats, size: int) -> tuple[Ints, Floats]:
    """How many values each assignment has, and their sum; (size,) each, NaN left out."""
    there = ~np.isnan(values)
    total: Floats = np.bincount(number[there], values[there], size).astype(np.float64)
    return np.bincount(number[there], minlength=size), total
