"""What the paper prints, for a column named "paper" and nothing else: never a value of ours.

Source: Han et al., "Neglected Free Lunch", ICCV 2023, arXiv 2303.17595, through metrics.md. Numbers
that the paper prints only inside a figure are unknown and not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from luab_data.statistics.estimate import Estimate
from luab_data.statistics.measure import Measure


class Printed(NamedTuple):
    """One number of the paper.

    Args:
        measure: name of the measure it is a value of.
        label: which place of a curve, as in the measure's axis; None for one number.
        text: as printed, with what it says of its precision.
        where: section of metrics.md.
    """

    measure: str
    label: object | None
    text: str
    where: str


PRINTED: Mapping[str, tuple[Printed, ...]] = {
    "imagenet-ab": (
        Printed("coverage", None, "99.3 %", "4.2"),
        Printed("selected_share", None, "86.7 %", "4.1"),
        Printed("decided_by_round", 1, "71.8 %", "4.1"),
        Printed("decided_by_round", 2, "14.9 %", "4.1"),
        Printed("selected_share_by_round", 2, "52.8 %", "4.1"),
        Printed("click_accuracy", None, "82.9 %", "4.3"),
        Printed("centre_accuracy", None, "83.9 %", "4.3b"),
        Printed("off_centre_share", None, "16.1 %", "4.3c"),
        Printed("off_centre_click_accuracy", None, "56.5 %", "4.3c"),
        Printed("random_click_curve", 0.0, "83.9 %", "4.4"),
        Printed("random_click_curve", 1.0, "48.2 %", "4.4"),
        Printed("central_cell_share", None, "> 30 %", "4.5"),
        Printed("trace_quantile_accuracy", 0.0, "39.3 %", "4.7"),
        Printed("trace_quantile_accuracy", 1.0, "82.9 %", "4.7"),
        Printed("time_quantile_accuracy", 0.0, "39.3 %", "4.7"),
        Printed("hit_time_ms", None, "9.0 min", "4.14"),
    ),
    "coco-ab": (
        Printed("icon_precision", None, "92.3 %", "4.9"),
        Printed("recall_hit_mean", None, "61.9 %", "4.10"),
        Printed("precision_hit_sd", None, '"0.057 %p", read as 5.7 points', "4.9, 4.10"),
        Printed("recall_hit_sd", None, '"0.118 %p", read as 11.8 points', "4.10"),
        Printed("central_cell_share", None, "< 4 %", "4.5"),
        Printed("time_hit_ms", None, "12.1 min", "4.14"),
    ),
}
"""Dataset -> what the paper prints of it."""


class Compared(NamedTuple):
    """One row of the table that ends each notebook."""

    statistic: str
    paper: str
    this_dataset: str
    how_computed: str


def compare(
    dataset: str,
    measures: Sequence[Measure],
    found: Mapping[str, Estimate],
    names: Sequence[str] | None = None,
) -> list[Compared]:
    """What the paper prints beside what was measured here.

    Args:
        dataset: `imagenet-ab` or `coco-ab`.
        measures, found: of luab_data.statistics.dataset.
        names: only these measures; None is all that the paper has a number of.
    """
    of_name = {measure.name: measure for measure in measures}
    rows = []
    for printed in PRINTED[dataset]:
        if names is not None and printed.measure not in names:
            continue
        measure = of_name[printed.measure]
        place: tuple[int, ...] = ()
        title = measure.title
        if printed.label is not None:
            ((axis, labels),) = measure.axes
            place = (labels.index(printed.label),)
            title += f", {axis} {printed.label}"
        here = in_words(measure, found[measure.name], place)
        rows.append(Compared(title, printed.text, here, f"{measure.doc} ({measure.source})"))
    return rows


def in_words(measure: Measure, found: Estimate, place: tuple[int, ...] = ()) -> str:
    """`93.5 % [90.5, 95.3]`, in the unit that the paper uses; "not measurable here" for NaN."""
    value, low, high = (float(v[place]) for v in (found.value, found.low, found.high))
    if np.isnan(value):
        return "not measurable here"
    factor, unit, digits = 1.0, f" {measure.unit}", 3
    if measure.unit in ("share", "difference of shares"):
        factor, unit, digits = 100.0, " %", 1
    elif measure.unit == "ms":
        minutes = value >= 120_000
        factor, unit, digits = (1 / 60_000, " min", 1) if minutes else (1e-3, " s", 2)
    shown = [f"{factor * v:.{digits}f}" for v in (value, low, high)]
    return f"{shown[0]}{unit}" + ("" if np.isnan(low) else f" [{shown[1]}, {shown[2]}]")
