"""What every worker of COCO-AB did, as traits: one pooled number of each worker."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.clicks import is_true
from luab_data.columns.regions import floats
from luab_data.ragged import Floats, Ints, bounds_of, one_array, ragged
from luab_data.statistics.coco.icons import retrieved_classes
from luab_data.workers.sheets import Collector, Columns, Sheet, Trait
from luab_data.workers.traits import Raw, log_median, mean_of, share_of, slope_of

IMAGE_COLUMNS = (
    *("worker_id", "hit_id", "page_id", "time_spent_ms", "labels", "icon_label"),
    *("is_present_at_end", "is_on_object", "action_sequence"),
)
ACTION_COLUMNS = ("worker_id", "hit_id", "category_histories_using_keyboard")


def coco_sheets(
    images: Iterable[pa.Table], actions: Iterable[pa.Table]
) -> tuple[list[str], dict[str, Sheet]]:
    """Slim rows of a COCO-AB dataset.

    Args:
        images: batches of `default` with IMAGE_COLUMNS.
        actions: batches of `actions` with ACTION_COLUMNS.

    Returns: worker ids, sorted; and `pages` (an image each), `icons` (that were handled),
    `classes` (in an image's ground truth), `steps` (between superclasses).
    """
    found = Collector()
    for table in images:
        for name, (row, columns) in _image_rows(table).items():
            index = pa.array(row)
            found.add(name, table["worker_id"].take(index), table["hit_id"].take(index), columns)
    for table in actions:
        steps = table["category_histories_using_keyboard"]
        row = pa.array(np.repeat(np.arange(len(table)), np.diff(bounds_of(steps))))
        columns = {"keyboard": _booleans(one_array(steps).flatten())}
        found.add("steps", table["worker_id"].take(row), table["hit_id"].take(row), columns)
    return found.sheets(("pages", "icons", "classes", "steps"))


def _booleans(flags: pa.Array) -> Floats:
    """1, 0, or NaN for null."""
    return floats(flags.cast(pa.int8()))


def _image_rows(table: pa.Table) -> dict[str, tuple[Ints, Columns]]:
    """For each sheet the row of the table that each of its own rows belongs to, and its columns."""
    icons = ragged(table["icon_label"])
    here = is_true(one_array(table["is_present_at_end"]).flatten()).astype(np.float64)
    sequences = one_array(table["action_sequence"]).flatten()
    retrieved, present = retrieved_classes(table)
    place = np.arange(present.sum()) - np.repeat(np.cumsum(present) - present, present)
    every = np.arange(len(table))
    of_class = np.repeat(every, present)
    page = floats(table["page_id"])
    return {
        "pages": (
            every,
            {
                "page": page,
                "time_ms": floats(table["time_spent_ms"]),
                "num_placed": np.bincount(icons.rows, here, len(table)).astype(np.float64),
            },
        ),
        "icons": (
            icons.rows,
            {
                "placed": here,
                "page": page[icons.rows],
                "right": _booleans(one_array(table["is_on_object"]).flatten()),
                "removed": is_true(pc.match_substring(sequences, "remove")).astype(np.float64),
            },
        ),
        # Only how many of an image's classes were found matters, so the first ones stand for them.
        "classes": (of_class, {"found": (place < retrieved[of_class]).astype(np.float64)}),
    }


def _time_drift(pages: Sheet) -> Raw:
    time = np.where(pages["time_ms"] > 0, pages["time_ms"], np.nan)
    return slope_of((np.log(time),), (pages["page"],), pages.rows, within_hits=True)


COCO_TRAITS: tuple[Trait, ...] = (
    Trait(
        name="page_time_ms", over="pages", scale="log", unit="ms",
        doc="median time on a page",
        take=lambda s: log_median(s["time_ms"], s.rows),
    ),
    Trait(
        name="icons_per_page", over="pages", scale="mean", unit="icons",
        doc="mean number of icons on an image at the end",
        take=lambda s: mean_of(s["num_placed"], s.rows),
    ),
    Trait(
        name="removed_share", over="icons", scale="share",
        doc="icons ever handled whose actions hold a remove",
        take=lambda s: share_of(s["removed"], s.rows),
    ),
    Trait(
        name="keyboard_share", over="steps", scale="share",
        doc="steps between superclasses made by keyboard",
        take=lambda s: share_of(s["keyboard"], s.rows),
    ),
    Trait(
        name="time_drift", over="pages", scale="mean", unit="log ms a page",
        doc="slope of the logarithm of the time on a page over the pages of a HIT",
        take=_time_drift,
    ),
    Trait(
        name="icon_precision", over="icons", scale="share", has_truth=True,
        doc="icons present at the end that are on a mask of their class",
        take=lambda s: share_of(s["right"], s.rows),
    ),
    Trait(
        name="recall", over="classes", scale="share", has_truth=True,
        doc="classes of the ground truth with an icon at the end",
        take=lambda s: share_of(s["found"], s.rows),
    ),
    Trait(
        name="precision_drift", over="icons", scale="mean", unit="share a page", has_truth=True,
        doc="slope of icon precision over the pages of a HIT",
        take=lambda s: slope_of((s["right"],), (s["page"],), s.rows, within_hits=True),
    ),
)  # fmt: skip


def coco_counts(sheets: dict[str, Sheet]) -> dict[str, Ints]:
    """Counts of each worker: (num_workers,) each."""
    pages, icons = sheets["pages"], sheets["icons"]
    judged = icons.where(~np.isnan(icons["right"]))
    return {
        "num_hits": pages.rows.num_hits(),
        "num_images": pages.rows.count(),
        "num_placed": icons.rows.sum(icons["placed"]).astype(np.int64),
        "num_evaluated": judged.rows.count(),
    }
