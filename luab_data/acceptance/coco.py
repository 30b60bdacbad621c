"""Assignments of COCO-AB: what the log tells of one worker's answer to one HIT of 20 pages.

Source: docs/definitions.md#acceptance.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from luab_data.acceptance.rules import (
    CODE,
    AcceptanceRules,
    Measured,
    Rule,
    count_pages,
    page_numbers,
)
from luab_data.ragged import Floats, bounds_of, floats, one_array
from luab_data.statistics.coco_icons import retrieved_classes
from luab_data.tools import TAGGING_PAGES
from luab_data.workers.observations import Collector, over, owner_table

FACTS = pa.schema(
    [
        ("assignment_id", pa.string()),
        ("num_pages", pa.int64()),
        ("num_without_truth", pa.int64()),  # pages whose image is not in the ground truth
        ("num_scored", pa.int64()),  # pages with a class in the ground truth
        ("recall", pa.float64()),  # mean over those
        ("num_judged", pa.int64()),  # icons there at the end, of images in the ground truth
        ("num_on_object", pa.int64()),  # of those, on a mask of their class
        ("duration_ms", pa.float64()),
    ]
)


def collect(images: Iterable[pa.Table]) -> pa.Table:
    """FACTS of batches of `default`.

    `recall` is the mean over pages of the share of the image's classes that ended with an icon
    (docs/definitions.md#recall), null if no page has a class; an image without a page counts as a
    page of its own; `duration_ms` is the sum of time_spent_ms, null if there is none.
    """
    found = Collector()
    for batch in images:
        retrieved, present = retrieved_classes(batch)
        columns = {
            "page": page_numbers(batch["page_id"], TAGGING_PAGES),
            "unknown": floats(batch["labels"].is_null().cast(pa.int8())),
            "recall": over(retrieved, present),
            "time_ms": floats(batch["time_spent_ms"]),
        }
        found.add("pages", batch["hit_id"], columns)
        image = pa.array(np.repeat(np.arange(len(batch)), np.diff(bounds_of(batch["icon_label"]))))
        on_object = one_array(batch["is_on_object"]).flatten()
        columns = {"right": floats(on_object.cast(pa.int8()))}
        found.add("icons", batch["hit_id"].take(image), columns)
    names, rows = found.collected()
    pages, icons = rows["pages"], rows["icons"]
    num_pages, _, num_without_page = count_pages(pages, TAGGING_PAGES)
    timed = pages.count(pages["time_ms"]) > 0
    facts = {
        "num_pages": num_pages + num_without_page,
        "num_without_truth": pages.sum(pages["unknown"]),
        "num_scored": pages.count(pages["recall"]),
        "recall": pages.mean(pages["recall"]),
        "num_judged": icons.count(icons["right"]),
        "num_on_object": icons.sum(icons["right"]),
        "duration_ms": np.where(timed, pages.sum(pages["time_ms"]), np.nan),
    }
    return owner_table(names, facts, FACTS)


def measure(table: pa.Table, assigned: int | None) -> tuple[dict[str, Measured], Floats | None]:
    """What the rules are about; there are no originals, so none are assigned."""
    judged = floats(table["num_judged"])
    return {
        "recall": Measured(floats(table["recall"])),
        "icon_accuracy": Measured(over(floats(table["num_on_object"]), judged)),
        "pages": Measured(floats(table["num_pages"])),
    }, None


RULES = AcceptanceRules(
    assignment="hit_id",
    columns=(
        *("hit_id", "page_id", "time_spent_ms", "labels"),
        *("icon_label", "is_present_at_end", "is_on_object"),
    ),
    in_events=False,
    reward_usd=2.0,
    rules=(
        Rule(
            "recall",
            "mean class recall of the pages",
            0.333,
            "no page has ground truth with a class in it",
        ),
        Rule(
            "icon_accuracy",
            "share of the final icons on their class",
            0.75,
            "no icon on a page with ground truth",
        ),
        Rule("pages", "pages of 20", 16, ""),
        CODE,
    ),
    collect=collect,
    measure=measure,
    has_originals=False,
)
