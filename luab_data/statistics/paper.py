"""What the paper prints, for a column named "paper" and nothing else: never a value of ours.

Source: Han et al., "Neglected Free Lunch", ICCV 2023, arXiv 2303.17595. Numbers that the paper
prints only inside a figure are unknown and not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from luab_data.statistics.estimate import Estimate
from luab_data.statistics.measure import Measure
from luab_data.words import MISSING, interval, number

if TYPE_CHECKING:
    from luab_data.statistics.dataset import Stats

Printed = Mapping[tuple[str, object], str]
"""(measure, place on its axis or None) -> as printed, with what it says of its precision."""

IMAGENET_PRINTED: Printed = {
    ("coverage", None): "99.3 %",
    ("selected_share", None): "86.7 %",
    ("decided_by_round", 1): "71.8 %",
    ("decided_by_round", 2): "14.9 %",
    ("selected_share_by_round", 2): "52.8 %",
    ("click_accuracy", None): "82.9 %",
    ("centre_accuracy", None): "83.9 %",
    ("off_centre_share", None): "16.1 %",
    ("off_centre_click_accuracy", None): "56.5 %",
    ("random_click_curve", 0.0): "83.9 %",
    ("random_click_curve", 1.0): "48.2 %",
    ("central_cell_share", None): "> 30 %",
    ("trace_quantile_accuracy", 0.0): "39.3 %",
    ("trace_quantile_accuracy", 1.0): "82.9 %",
    ("time_quantile_accuracy", 0.0): "39.3 %",
    ("hit_time_ms", None): "9.0 min",
}
COCO_PRINTED: Printed = {
    ("icon_precision", None): "92.3 %",
    ("recall_hit_mean", None): "61.9 %",
    ("precision_hit_sd", None): '"0.057 %p", read as 5.7 points',
    ("recall_hit_sd", None): '"0.118 %p", read as 11.8 points',
    ("central_cell_share", None): "< 4 %",
    ("time_hit_ms", None): "12.1 min",
}


class Compared(NamedTuple):
    """One row of the table that ends each notebook."""

    statistic: str
    paper: str
    this_dataset: str
    how_computed: str


def compare(found: Stats, names: Sequence[str] | None = None) -> list[Compared]:
    """What the paper prints beside what was measured here.

    Args:
        found: of luab_data.stats.
        names: only these measures; None is all that the paper has a number of.
    """
    of_name = {measure.name: measure for measure in found.measures}
    rows = []
    for (name, label), text in found.kind.statistics.printed.items():
        if name not in (of_name if names is None else names):
            continue
        measure = of_name[name]
        place: tuple[int, ...] = ()
        title = measure.title
        if label is not None:
            ((axis, labels),) = measure.axes
            place, title = (labels.index(label),), f"{title}, {axis} {label}"
        here = in_words(measure, found.estimates[name], place)
        rows.append(Compared(title, text, here, f"{measure.doc} ({measure.source})"))
    return rows


def in_words(measure: Measure, found: Estimate, place: tuple[int, ...] = ()) -> str:
    """`93.5 % [90.5 to 95.3 %]`, in the unit that the paper uses; "not measurable here" for NaN."""
    value, low, high = (float(v[place]) for v in (found.value, found.low, found.high))
    if np.isnan(value):
        return "not measurable here"
    ends = interval(low, high, measure.unit)
    return number(value, measure.unit) + ("" if ends == MISSING else f" [{ends}]")
