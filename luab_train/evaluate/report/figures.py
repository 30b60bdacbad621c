"""Which figures there are, by what was kept: planned here, drawn when asked for.     [I/O]"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from luab_data.figures.style import COLOURS, PAGE_INCH, drawing, new_figure
from luab_train.evaluate.report.draw_results import (
    Curve,
    Look,
    curves_figure,
    draw_bars,
    draw_curves,
    draw_differences,
    legend_above,
    looks_of,
    severity_curve,
)
from luab_train.evaluate.report.evaluated import Arm
from luab_train.evaluate.report.layout import Column
from luab_train.evaluate.report.tables import Cell, Table, arm_cell
from luab_train.metrics.robustness import C15, EXTRA, SEVERITIES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_SHARE = ("coco", "difference")
"""Not in percent, so in no figure with the others."""


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


def plan(
    arms: Sequence[Arm], tables: Sequence[Table], *, root: Path | None = None
) -> list[Planned]:
    """Every figure for which something was kept.

    Args:
        arms, tables: of `make_tables`.
        root: folder of the benchmarks' images; None leaves out what needs them.
    """
    from luab_train.evaluate.report.image_figures import plan_with_images

    looks = looks_of(arms)
    found = [*_results(arms, tables, looks), *_severities(arms, looks)]
    if root is not None:
        found += plan_with_images(arms, looks, root)
    return found


def _results(
    arms: Sequence[Arm], tables: Sequence[Table], looks: Mapping[str, Look]
) -> Iterator[Planned]:
    for table in tables:
        shown = [k for k, c in enumerate(table.layout.columns) if c.key != _NO_SHARE]
        columns = [table.layout.columns[k] for k in shown]
        yield Planned(
            key=f"{table.layout.key}-bars",
            title=table.layout.title,
            caption="Bars are means over an arm's runs, lines 95 % intervals: over seeds from three"
            " on, over images for one run, none for two. A cross is a result that is missing.",
            draw=partial(
                _bars_figure, columns, {a.name: [arm_cell(a, c) for c in columns] for a in arms},
                looks,
            ),
        )  # fmt: skip
        differences = {row.name: [row.cells[k] for k in shown]
                       for row in table.of_kind("difference")}  # fmt: skip
        if differences:
            yield Planned(
                key=f"{table.layout.key}-differences",
                title=f"{table.layout.title}: differences",
                caption="Paired differences with 95 % intervals; full dots leave out 0. Columns"
                " where lower is better are turned, so that right is better everywhere.",
                draw=partial(_differences_figure, columns, differences),
            )


def _bars_figure(
    columns: Sequence[Column], cells: Mapping[str, Sequence[Cell]], looks: Mapping[str, Look]
) -> Figure:
    width = min(PAGE_INCH, 1.0 + len(columns) * max(0.8, 0.25 * (1 + len(cells))))
    figure, axes = new_figure(height=2.7, width=width)
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


def _severities(arms: Sequence[Arm], looks: Mapping[str, Look]) -> Iterator[Planned]:
    mean = _severity_curves(arms, C15)
    if mean:
        yield Planned(
            key="in-c-severity",
            title="ImageNet-C by severity",
            caption="Mean over the 15 corruptions; bands go from the lowest seed to the highest.",
            draw=partial(
                curves_figure, mean, looks, xlabel="severity", ylabel="top-1, %", xticks=SEVERITIES
            ),
        )
    each = {name: curves for name in (*C15, *EXTRA) if (curves := _severity_curves(arms, (name,)))}
    if each:
        yield Planned(
            key="in-c-corruptions",
            title="ImageNet-C by corruption",
            caption="Accuracy against severity, one panel a corruption, one scale for all.",
            draw=partial(_corruptions_figure, each, looks),
        )


def _severity_curves(arms: Sequence[Arm], corruptions: Sequence[str]) -> dict[str, Curve]:
    curves = {arm.name: severity_curve(arm, corruptions) for arm in arms}
    return {name: curve for name, curve in curves.items() if curve is not None}


def _corruptions_figure(
    each: Mapping[str, Mapping[str, Curve]], looks: Mapping[str, Look]
) -> Figure:
    rows = -(-len(each) // 5)
    figure, axes = new_figure(
        rows, 5, height=0.5 + 1.1 * rows, width=PAGE_INCH, sharex=True, sharey=True
    )
    with drawing():
        for ax, (name, curves) in zip(axes.flat, each.items(), strict=False):
            draw_curves(ax, curves, looks)
            ax.set_title(name.replace("_", " "), fontsize=7, pad=2)
            ax.set_xticks(SEVERITIES)
        for ax in [*axes.flat][len(each) :]:
            ax.set_axis_off()
        axes[0, 0].set_ylim(bottom=0)
        figure.supxlabel("severity", fontsize=8)
        figure.supylabel("top-1, %", fontsize=8)
        legend_above(figure)
    return figure
