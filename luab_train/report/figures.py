"""Numbers as figures: training curves, bars of all columns, differences, severities of IN-C.

Planned by what there is, drawn when asked for; nothing is planned that would be empty.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.figures.style import COLOURS, PAGE_INCH, drawing, new_figure
from luab_train.metrics.robustness import C15, EXTRA, SEVERITIES
from luab_train.report.arms import Arm
from luab_train.report.draw import (
    Curve,
    Look,
    band_of,
    draw_bars,
    draw_differences,
    legend_above,
    looks_of,
    panels_figure,
)
from luab_train.report.layouts import PAPERS, VALIDATION_PANELS, Cell, Column, Table
from luab_train.report.runs import LAST_EPOCH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_SHARE = (("coco", "difference"), ("coco", "difference_worst"))
"""Not in percent, so in no figure with the others."""
_OF_SEEDS = "Bands go from the lowest seed to the highest."


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A figure that can be drawn.

    Args:
        key: of its file.
        title, caption: beside it.
        draw: draws it.
    """

    key: str
    title: str
    caption: str
    draw: Callable[[], Figure]

    @property
    def file(self) -> str:
        """In the report's folder."""
        return f"{'' if self.key == 'curves' else 'figures/'}{self.key}.png"


def plan(arms: Sequence[Arm], tables: Sequence[Table]) -> list[Planned]:
    """Every figure of numbers, in order."""
    looks = looks_of(arms)
    return [*_curves(arms, looks), *_results(tables, looks), *_severities(arms, looks)]


# --- training curves ------------------------------------------------------------------------------


def _curves(arms: Sequence[Arm], looks: Mapping[str, Look]) -> Iterator[Planned]:
    """Like Figure 8 of the paper: a panel a validation metric."""
    panels = {title: curves for metric, title in VALIDATION_PANELS.items()
              if (curves := training_curves(arms, metric))}  # fmt: skip
    if not any(LAST_EPOCH in run.results for arm in arms for run in arm.runs) or not panels:
        return
    several = any(len(arm.models) > 1 for arm in arms)
    centre = {VALIDATION_PANELS[metric]: score for metric, score in _centre(arms).items()}
    dashed = " Dashed is the answer “the image's centre”." if panels.keys() & centre else ""
    yield Planned(
        key="curves",
        title="Training curves",
        caption=f"Validation after each epoch{', mean over seeds' if several else ''}."
        f"{' ' + _OF_SEEDS if several else ''}{dashed}",
        draw=partial(panels_figure, panels, looks, xlabel="epoch", centre=centre),
    )


def training_curves(arms: Sequence[Arm], metric: str) -> dict[str, Curve]:
    """Arm -> a validation metric, percent, by epoch: mean, lowest and highest of its seeds.

    Arms whose head learned no place have none of a place: it would look like a result.
    """
    curves = {}
    for arm in arms:
        values: dict[float, list[float]] = {}
        for epochs in arm.epochs_that_say(metric):
            for epoch in epochs:
                if math.isfinite(value := epoch.get(f"val_{metric}", math.nan)):
                    values.setdefault(epoch["epoch"], []).append(100 * value)
        if values:
            x = sorted(values)
            mean, low, high = (
                np.array([f(values[e]) for e in x]) for f in (statistics.fmean, min, max)
            )
            curves[arm.name] = Curve(x=np.array(x), mean=mean, low=low, high=high)
    return curves


def _centre(arms: Sequence[Arm]) -> dict[str, float]:
    """What answering the image's centre scores, percent: 0 where it is in no box."""
    epochs = (epoch for arm in arms for run in arm.runs for epoch in run.epochs)
    found = (epoch.get("val_centre_localisation", math.nan) for epoch in epochs)
    score = next(filter(math.isfinite, found), math.nan)
    known = {"localisation": 100 * score} if math.isfinite(score) else {}
    return {**known, "localisation_off_centre": 0.0}


# --- results --------------------------------------------------------------------------------------


def _results(tables: Sequence[Table], looks: Mapping[str, Look]) -> Iterator[Planned]:
    for table in tables:
        if table.key not in {layout.key for layout in PAPERS}:
            continue
        ours, of = _with_numbers(table, "ours")
        if ours:
            cells = [cell for row in of.values() for cell in row]
            left_out = [c for c in table.columns if c not in ours and c.key not in _NO_SHARE]
            yield Planned(
                key=f"{table.key}-bars",
                title=table.title,
                caption=_bars_caption(cells, left_out),
                draw=partial(_bars_figure, ours, of, looks),
            )
        differing, of = _with_numbers(table, "difference")
        if differing:
            turned = any(c.direction == "down" for c in differing)
            yield Planned(
                key=f"{table.key}-differences",
                title=f"{table.title}: differences",
                caption="Paired differences with 95 % intervals; full dots leave out 0."
                + " Columns where lower is better are turned, so that right is better." * turned,
                draw=partial(_differences_figure, differing, of),
            )


def _with_numbers(table: Table, kind: str) -> tuple[list[Column], dict[str, list[Cell]]]:
    """Columns in which some row has a number, and the cells of the rows that have one."""
    rows = [row for row in table.rows if row.kind == kind]
    shown = [
        k for k, column in enumerate(table.columns)
        if column.key not in _NO_SHARE and any(row.cells[k].status == "value" for row in rows)
    ]  # fmt: skip
    of = {row.name: [row.cells[k] for k in shown] for row in rows}
    of = {name: cells for name, cells in of.items() if any(c.status == "value" for c in cells)}
    return [table.columns[k] for k in shown], of


def _bars_caption(cells: Sequence[Cell], left_out: Sequence[Column]) -> str:
    over = {cell.over for cell in cells} - {""}
    parts = {
        "Lines are 95 % intervals over " + " or ".join(sorted(over, reverse=True)) + ".": bool(
            over
        ),
        "Hatched bars are of a part of the published images or classes, see the table.": any(
            cell.marks for cell in cells
        ),
        "A cross, or the word, is a result that is missing.": any(
            cell.status == "missing" for cell in cells
        ),
        "Columns without a number are left out.": bool(left_out),
    }
    return " ".join(
        ["Means over an arm's models.", *(text for text, told in parts.items() if told)]
    )


def _bars_figure(
    columns: Sequence[Column], cells: Mapping[str, Sequence[Cell]], looks: Mapping[str, Look]
) -> Figure:
    width = min(PAGE_INCH, 1.0 + len(columns) * max(0.8, 0.25 * (1 + len(cells))))
    figure, axes = new_figure(height=2.7, width=max(width, 2.2))
    with drawing():
        draw_bars(axes[0, 0], columns, cells, looks)
        legend_above(figure)
    return figure


def _differences_figure(columns: Sequence[Column], cells: Mapping[str, Sequence[Cell]]) -> Figure:
    height = 0.9 + len(columns) * (0.12 + 0.075 * len(cells))
    figure, axes = new_figure(height=height, width=4.6)
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(cells))]
    with drawing():
        draw_differences(axes[0, 0], columns, cells, dict(zip(cells, colours, strict=True)))
        legend_above(figure)
    return figure


# --- curves of results ----------------------------------------------------------------------------


def _severities(arms: Sequence[Arm], looks: Mapping[str, Look]) -> Iterator[Planned]:
    bands = f" {_OF_SEEDS}" if any(len(arm.models) > 1 for arm in arms) else ""
    axes: Any = {"xlabel": "severity", "ylabel": "top-1, %", "xticks": SEVERITIES}
    mean = _severity_curves(arms, C15)
    if mean:
        yield Planned(
            key="in-c-severity",
            title="ImageNet-C by severity",
            caption=f"Mean over the 15 corruptions.{bands}",
            draw=partial(panels_figure, {"": mean}, looks, **axes),
        )
    each = {
        name.replace("_", " "): curves
        for name in (*C15, *EXTRA)
        if (curves := _severity_curves(arms, (name,)))
    }
    if each:
        yield Planned(
            key="in-c-corruptions",
            title="ImageNet-C by corruption",
            caption=f"Accuracy against severity, one panel a corruption, one scale for all.{bands}",
            draw=partial(panels_figure, each, looks, columns=5, **axes),
        )


def _severity_curves(arms: Sequence[Arm], corruptions: Sequence[str]) -> dict[str, Curve]:
    curves = {arm.name: severity_curve(arm, corruptions) for arm in arms}
    return {name: curve for name, curve in curves.items() if curve is not None}


def severity_curve(arm: Arm, corruptions: Sequence[str]) -> Curve | None:
    """Accuracy against severity, mean over corruptions; None unless every cell is there."""
    keys = [[("in-c", f"{name}-{s}") for s in SEVERITIES] for name in corruptions]
    values = np.array([[[m.value(key) for key in line] for line in keys] for m in arm.models])
    values = values[np.isfinite(values).all(axis=(1, 2))]
    if not len(values):
        return None
    mean, low, high = band_of(values.mean(axis=1))
    return Curve(x=np.array(SEVERITIES, np.float64), mean=mean, low=low, high=high)
