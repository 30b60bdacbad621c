"""Assignments of each kind of log: what it tells of one worker's answer to one HIT, and the rules.

A HIT of ImageNet-AB is 10 pages of 48 pictures, 12 of them originals: training images of the class
asked for. Only originals are logged; what was done with the other 36 is nowhere in a release. One
of COCO-AB is 20 pages of one picture.

Source: docs/definitions.md#acceptance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from luab_data.acceptance.rules import (
    CODE,
    AcceptanceRules,
    Measured,
    Rule,
)
from luab_data.columns.events import EVENT_TIMES, event_span, extremes
from luab_data.errors import OptionError
from luab_data.ragged import ArrowColumn, Floats, Ints, bounds_of, floats, is_true, one_array
from luab_data.statistics.coco_icons import retrieved_classes
from luab_data.statistics.estimate import ratio
from luab_data.tools import BROWSING_PAGES, SLOTS, TAGGING_PAGES
from luab_data.workers.observations import Collector, Observations, owner_table

if TYPE_CHECKING:
    from luab_data.kinds import Kind, OwnBrowsing

NUM_PICTURES = BROWSING_PAGES * SLOTS

IMAGENET_FACTS = pa.schema(
    [
        ("assignment_id", pa.string()),
        ("num_shown", pa.int64()),  # originals logged
        ("num_selected", pa.int64()),  # of those, selected when the page was submitted
        ("num_pages", pa.int64()),  # pages with an original logged
        ("max_on_page", pa.int64()),  # originals on the fullest of those pages
        ("num_without_page", pa.int64()),  # originals of which the page is not known
        ("duration_ms", pa.float64()),
    ]
)


def page_numbers(column: ArrowColumn, num_pages: int) -> Floats:
    """(num_rows,) NaN where the page is null or none of the tool's."""
    page = floats(column)
    with np.errstate(invalid="ignore"):
        return np.where((page >= 0) & (page < num_pages), page, np.nan)


def count_pages(rows: Observations, num_pages: int) -> tuple[Ints, Ints, Ints]:
    """Distinct pages of each owner, most rows on one, rows without one; (num_owners,) each."""
    page = rows["page"]
    known = ~np.isnan(page)
    place = rows.worker[known] * num_pages + page[known].astype(np.int64)
    grid = np.bincount(place, minlength=rows.num_workers * num_pages).reshape(-1, num_pages)
    return (grid > 0).sum(1), grid.max(1, initial=0), rows.count() - rows.count(page)


def collect_rounds(rounds: Iterable[pa.Table], num_pages: int = BROWSING_PAGES) -> pa.Table:
    """IMAGENET_FACTS of batches of `rounds`, of tasks of so many pages.

    `duration_ms` runs from the first event on an original to the last one or the submission,
    whichever is later: a browser's clock may be ahead of MTurk's. Null without events.
    """
    found = Collector()
    for batch in rounds:
        first, last = event_span(batch)
        columns = {
            "page": page_numbers(batch["page_idx"], num_pages),
            "selected": is_true(batch["selected"]).astype(np.float64),
            "first": first,
            "last": np.fmax(last, floats(batch["hit_submit_time"]) * 1000),
        }
        found.add("rounds", batch["assignment_id"], columns)
    names, rows = found.collected()
    shown = rows["rounds"]
    num_logged, max_on_page, num_without_page = count_pages(shown, num_pages)
    start, end = extremes(shown["first"], shown["last"], shown.worker, len(names))
    facts = {
        "num_shown": shown.count(),
        "num_selected": shown.sum(shown["selected"]),
        "num_pages": num_logged,
        "max_on_page": max_on_page,
        "num_without_page": num_without_page,
        "duration_ms": np.where(np.isfinite(start), end - start, np.nan),
    }
    return owner_table(names, facts, IMAGENET_FACTS)


def measure_browsing(
    table: pa.Table, assigned: int | None
) -> tuple[dict[str, Measured], Floats | None]:
    """What the rules are about, and the originals assigned.

    Raises:
        OptionError: `assigned` or a num_selections contradicts the log.
    """
    selected, pages = floats(table["num_selected"]), floats(table["num_pages"])
    given = floats(table["num_selections"])
    wrong = (given < selected) | (given > NUM_PICTURES)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise OptionError(
            f"num_selections of {int(wrong.sum())} assignments contradict the log, e.g."
            f" {table['assignment_id'][row]} has {given[row]:.0f} and {selected[row]:.0f} selected"
            f" originals; expected no fewer than those and at most {NUM_PICTURES}"
        )
    num_assigned = _num_assigned(table, assigned)
    return {
        "recall": Measured(selected / num_assigned),
        "selections": Measured(np.where(np.isnan(given), selected, given), ~np.isnan(given)),
        "pages": Measured(pages, ~(floats(table["num_without_page"]) > 0)),
    }, num_assigned


def _num_assigned(table: pa.Table, assigned: int | None) -> Floats:
    """(num_assignments,) originals assigned; NaN where pages are missing that may be there."""
    shown, pages = floats(table["num_shown"]), floats(table["num_pages"])
    if assigned is not None:
        above = shown > assigned
        if above.any():
            example = table["assignment_id"][int(np.argmax(above))]
            raise OptionError(
                f"assigned is {assigned}, but {int(above.sum())} assignments have more originals in"
                f" the log, e.g. {example} has {shown[above][0]:.0f}; expected the originals of a"
                " whole HIT, e.g. 120, or none for those logged"
            )
        return np.where(np.isnan(shown), np.nan, float(assigned))
    missing = BROWSING_PAGES - pages
    is_open = (missing > 0) & (floats(table["num_without_page"]) > 0)
    return np.where(is_open, np.nan, shown + floats(table["max_on_page"]) * missing)


IMAGENET_RULES = AcceptanceRules(
    assignment="assignment_id",
    columns=("assignment_id", "page_idx", "selected", "hit_submit_time", *EVENT_TIMES),
    in_events=True,
    reward_usd=1.5,
    rules=(
        Rule("recall", "recall of the assigned originals", 0.333,
             "the page of some originals is not logged"),
        Rule("selections", "selections among the 480 pictures", 30,
             "only originals are in the log, 120 of the 480"),
        Rule("pages", "pages of 10", 9, "the page of some originals is not logged"),
        CODE,
    ),
    collect=collect_rounds,
    measure=measure_browsing,
    has_originals=True,
)  # fmt: skip


def own_browsing_rules(kind: OwnBrowsing) -> AcceptanceRules:
    """Of a browsing log of somebody's own: the paper's rules are of its own HITs; codes decide."""
    return replace(
        IMAGENET_RULES,
        reward_usd=0.0,
        rules=(CODE,),
        collect=partial(collect_rounds, num_pages=max(kind.num_pages, 1)),
        measure=lambda table, assigned: ({}, None),
        has_originals=False,
    )


COCO_FACTS = pa.schema(
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


def collect_images(images: Iterable[pa.Table]) -> pa.Table:
    """COCO_FACTS of batches of `default`.

    `recall` is the mean over pages of the share of the image's classes that ended with an icon
    (docs/definitions.md#recall), null if no page has a class; an image without a page counts as a
    page of its own; `duration_ms` is the sum of time_spent_ms, null if there is none.
    """
    found = Collector()
    for batch in images:
        retrieved, present = retrieved_classes(batch)
        columns = {
            "page": page_numbers(batch["page_id"], TAGGING_PAGES),
            "unknown": floats(batch["labels"].is_null()),
            "recall": ratio(retrieved, present),
            "time_ms": floats(batch["time_spent_ms"]),
        }
        found.add("pages", batch["hit_id"], columns)
        image = pa.array(np.repeat(np.arange(len(batch)), np.diff(bounds_of(batch["icon_label"]))))
        right = floats(one_array(batch["is_on_object"]).flatten())
        found.add("icons", batch["hit_id"].take(image), {"right": right})
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
    return owner_table(names, facts, COCO_FACTS)


def measure_tagging(
    table: pa.Table, assigned: int | None
) -> tuple[dict[str, Measured], Floats | None]:
    """What the rules are about; there are no originals, so none are assigned."""
    judged = floats(table["num_judged"])
    return {
        "recall": Measured(floats(table["recall"])),
        "icon_accuracy": Measured(ratio(floats(table["num_on_object"]), judged)),
        "pages": Measured(floats(table["num_pages"])),
    }, None


COCO_RULES = AcceptanceRules(
    assignment="hit_id",
    columns=(
        *("hit_id", "page_id", "time_spent_ms", "labels"),
        *("icon_label", "is_present_at_end", "is_on_object"),
    ),
    in_events=False,
    reward_usd=2.0,
    rules=(
        Rule("recall", "mean class recall of the pages", 0.333,
             "no page has ground truth with a class in it"),
        Rule("icon_accuracy", "share of the final icons on their class", 0.75,
             "no icon on a page with ground truth"),
        Rule("pages", "pages of 20", 16, ""),
        CODE,
    ),
    collect=collect_images,
    measure=measure_tagging,
    has_originals=False,
)  # fmt: skip


def no_rules(kind: Kind) -> AcceptanceRules:
    """Of a kind that the paper has no rules for.

    Raises:
        OptionError: always.
    """
    raise OptionError(
        f"{kind.title}: the paper's rules are about pictures selected and icons placed, so they"
        " accept or reject no assignment of this kind; `luab-data annotators` tells of the people"
    )


OWN_FACTS = pa.schema(
    [("assignment_id", pa.string()), ("num_pages", pa.int64()), ("duration_ms", pa.float64())]
)


def collect_views(actions: Iterable[pa.Table]) -> pa.Table:
    """OWN_FACTS of batches of `actions`: a page a view; `duration_ms` as of collect_images."""
    found = Collector()
    for batch in actions:
        found.add("pages", batch["hit_id"], {"time_ms": floats(batch["time_spent_ms"])})
    names, rows = found.collected()
    pages = rows["pages"]
    timed = pages.count(pages["time_ms"]) > 0
    facts = {
        "num_pages": pages.count(),
        "duration_ms": np.where(timed, pages.sum(pages["time_ms"]), np.nan),
    }
    return owner_table(names, facts, OWN_FACTS)


OWN_TAGGING_RULES = AcceptanceRules(
    assignment="hit_id",
    columns=("hit_id", "time_spent_ms"),
    in_events=True,
    reward_usd=0.0,
    rules=(CODE,),
    collect=collect_views,
    measure=lambda table, assigned: ({}, None),
    has_originals=False,
)
"""Of a tagging log of somebody's own: the paper's rules are of its own HITs; codes decide."""
