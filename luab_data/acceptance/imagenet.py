"""Assignments of ImageNet-AB: what the log tells of one worker's answer to one HIT.

A HIT is 10 pages of 48 pictures, 12 of them originals: training images of the class asked for. Only
originals are logged; what was done with the other 36 is nowhere in a release.

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
from luab_data.columns.events import EVENT_TIMES, event_span
from luab_data.errors import OptionError
from luab_data.ragged import Floats, floats, is_true
from luab_data.tools import BROWSING_PAGES, SLOTS
from luab_data.workers.observations import Collector, extremes, owner_table

NUM_PICTURES = BROWSING_PAGES * SLOTS

FACTS = pa.schema(
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


def collect(rounds: Iterable[pa.Table]) -> pa.Table:
    """FACTS of batches of `rounds`.

    `duration_ms` runs from the first event on an original to the last one or the submission,
    whichever is later: a browser's clock may be ahead of MTurk's. Null without events.
    """
    found = Collector()
    for batch in rounds:
        first, last = event_span(batch)
        columns = {
            "page": page_numbers(batch["page_idx"], BROWSING_PAGES),
            "selected": is_true(batch["selected"]).astype(np.float64),
            "first": first,
            "last": np.fmax(last, floats(batch["hit_submit_time"]) * 1000),
        }
        found.add("rounds", batch["assignment_id"], columns)
    names, rows = found.collected()
    shown = rows["rounds"]
    num_pages, max_on_page, num_without_page = count_pages(shown, BROWSING_PAGES)
    start, end = extremes(shown["first"], shown["last"], shown.worker, len(names))
    facts = {
        "num_shown": shown.count(),
        "num_selected": shown.sum(shown["selected"]),
        "num_pages": num_pages,
        "max_on_page": max_on_page,
        "num_without_page": num_without_page,
        "duration_ms": np.where(np.isfinite(start), end - start, np.nan),
    }
    return owner_table(names, facts, FACTS)


def measure(table: pa.Table, assigned: int | None) -> tuple[dict[str, Measured], Floats | None]:
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


RULES = AcceptanceRules(
    assignment="assignment_id",
    columns=("assignment_id", "page_idx", "selected", "hit_submit_time", *EVENT_TIMES),
    in_events=True,
    reward_usd=1.5,
    rules=(
        Rule(
            "recall",
            "recall of the assigned originals",
            0.333,
            "the page of some originals is not logged",
        ),
        Rule(
            "selections",
            "selections among the 480 pictures",
            30,
            "only originals are in the log, 120 of the 480",
        ),
        Rule("pages", "pages of 10", 9, "the page of some originals is not logged"),
        CODE,
    ),
    collect=collect,
    measure=measure,
    has_originals=True,
)
