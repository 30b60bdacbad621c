"""What every worker of a tagging log did, as traits, and the table `annotators`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Ints, above_0, bounds_of, floats, is_true, one_array, ragged
from luab_data.schema import COCO_ANNOTATORS
from luab_data.statistics.coco_icons import occurrences
from luab_data.statistics.estimate import ratio
from luab_data.workers.observations import Collector, Columns, Observations, owner_table
from luab_data.workers.pooling import Suspicion, all_of, together
from luab_data.workers.traits import Trait, WorkerMeasures

IMAGE_COLUMNS = (
    *("worker_id", "hit_id", "page_id", "time_spent_ms", "labels", "icon_label"),
    *("is_present_at_end", "is_on_object", "action_sequence"),
)
ACTION_COLUMNS = ("worker_id", "hit_id", "category_histories_using_keyboard")


def collect(
    images: Iterable[pa.Table], actions: Iterable[pa.Table]
) -> tuple[list[str], dict[str, Observations]]:
    """Slim rows of a COCO-AB dataset.

    Args:
        images: batches of `default` with IMAGE_COLUMNS.
        actions: batches of `actions` with ACTION_COLUMNS; none for `table`.

    Returns: worker ids, sorted; and `pages` (an image each), `icons` (that were handled), `judged`
    (the same, on an object or not), `classes` (in an image's ground truth), `steps` (between
    superclasses).
    """
    found = Collector()
    for batch in images:
        add(found, batch, image_rows(batch))
    for batch in actions:
        add_steps(found, batch)
    return found.collected()


def add(found: Collector, batch: pa.Table, rows: Mapping[str, tuple[Ints, Columns]]) -> None:
    """Collect rows of a batch, each of the worker and the HIT of its row there."""
    for name, (row, columns) in rows.items():
        index = pa.array(row)
        found.add(name, batch["worker_id"].take(index), columns, batch["hit_id"].take(index))


def add_steps(found: Collector, actions: pa.Table) -> None:
    """Collect the steps between superclasses."""
    steps = actions["category_histories_using_keyboard"]
    row = np.repeat(np.arange(len(actions)), np.diff(bounds_of(steps)))
    columns = {"keyboard": floats(one_array(steps).flatten())}
    add(found, actions, {"steps": (row, columns)})


def image_rows(images: pa.Table) -> dict[str, tuple[Ints, Columns]]:
    """For each name of rows the image that each of them belongs to, and their columns.

    Args:
        images: (num_images,) IMAGE_COLUMNS; without `is_on_object` nothing is judged.
    """
    icons = ragged(images["icon_label"])
    here = is_true(one_array(images["is_present_at_end"]).flatten()).astype(np.float64)
    sequences = one_array(images["action_sequence"]).flatten()
    classes, retrieved = occurrences(images)
    page, time = floats(images["page_id"]), above_0(floats(images["time_spent_ms"]))
    placed = np.bincount(icons.rows, here, len(images)).astype(np.float64)
    right = np.full(len(here), np.nan)
    if "is_on_object" in images.column_names:
        right = floats(one_array(images["is_on_object"]).flatten())
    return {
        "pages": (
            np.arange(len(images)),
            {"page": page, "time_ms": time, "log_time": np.log(time), "num_placed": placed},
        ),
        "icons": (
            icons.rows,
            {
                "placed": here,
                "removed": is_true(pc.match_substring(sequences, "remove")).astype(np.float64),
            },
        ),
        "judged": (icons.rows, {"page": page[icons.rows], "right": right}),
        "classes": (classes.rows, {"found": retrieved.astype(np.float64)}),
    }


TRAITS: tuple[Trait, ...] = (
    Trait("page_time_ms", "median time on a page",
          over="pages", of=("time_ms",), scale="log", unit="ms"),
    Trait("icons_per_page", "mean number of icons on an image at the end",
          over="pages", of=("num_placed",), scale="mean", unit="icons"),
    Trait("removed_share", "icons ever handled whose actions hold a remove",
          over="icons", of=("removed",), scale="share"),
    Trait("keyboard_share", "steps between superclasses made by keyboard",
          over="steps", of=("keyboard",), scale="share"),
    Trait("time_drift", "slope of the logarithm of the time on a page over the pages of a HIT",
          over="pages", of=("log_time",), on=("page",), within_hits=True, scale="mean",
          unit="log ms a page"),
    Trait("icon_precision", "icons present at the end that are on a mask of their class",
          over="judged", of=("right",), scale="share", has_truth=True),
    Trait("recall", "classes of the ground truth with an icon at the end",
          over="classes", of=("found",), scale="share", has_truth=True),
    Trait("precision_drift", "slope of icon precision over the pages of a HIT",
          over="judged", of=("right",), on=("page",), within_hits=True, scale="mean",
          unit="share a page", has_truth=True),
)  # fmt: skip

SUSPICIONS: tuple[Suspicion, ...] = (
    Suspicion("careless", "behaviour", together,
              "fast, and takes many icons back",
              ({"page_time_ms": -1}, {"removed_share": 1})),
    Suspicion("careless", "truth", all_of,
              "icons miss the masks of their class",
              ({"icon_precision": -1},)),
    Suspicion("hasty", "behaviour", together,
              "fast, and places few icons",
              ({"page_time_ms": -1}, {"icons_per_page": -1})),
    Suspicion("hasty", "truth", together,
              "fast, and misses classes that are there",
              ({"page_time_ms": -1}, {"recall": -1})),
)  # fmt: skip


def counts(rows: Mapping[str, Observations]) -> dict[str, Ints]:
    """Counts of each worker: (num_workers,) each."""
    pages, icons, judged = rows["pages"], rows["icons"], rows["judged"]
    return {
        "num_hits": pages.num_hits(),
        "num_images": pages.count(),
        "num_placed": icons.sum(icons["placed"]).astype(np.int64),
        "num_evaluated": judged.count(judged["right"]),
    }


def table(images: Iterable[pa.Table], actions: Iterable[pa.Table]) -> pa.Table:
    """COCO_ANNOTATORS, sorted by worker_id, from batches of `default` with IMAGE_COLUMNS."""
    return annotator_table(*collect(images, ()))


def annotator_table(names: list[str], rows: Mapping[str, Observations]) -> pa.Table:
    """COCO_ANNOTATORS from what was collected."""
    pages, judged, classes = rows["pages"], rows["judged"], rows["classes"]
    counted = counts(rows)
    on_object, retrieved = judged.sum(judged["right"]), classes.sum(classes["found"])
    numbers = {
        **counted,
        "median_time_spent_ms": pages.median(pages["time_ms"]),
        "num_on_object": on_object,
        "icon_precision": ratio(on_object, counted["num_evaluated"]),
        "num_present": classes.count(),
        "num_retrieved": retrieved,
        "recall": ratio(retrieved, classes.count()),
    }
    return owner_table(names, numbers, COCO_ANNOTATORS.schema())


WORKERS = WorkerMeasures(
    image_columns=IMAGE_COLUMNS,
    event_columns=ACTION_COLUMNS,
    collect=collect,
    counts=counts,
    traits=TRAITS,
    suspicions=SUSPICIONS,
    shown=(
        *("page_time_ms", "icon_precision", "recall", "icons_per_page", "removed_share"),
        "keyboard_share",
    ),
    table_columns=(IMAGE_COLUMNS, ()),
    table=table,
)
