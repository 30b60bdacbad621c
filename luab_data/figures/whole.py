"""Whole figures: what a panel is drawn from, its title, its legend. `catalogue` lists them.

Each takes the estimates by name and the tables by name, and returns a Figure of column width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from luab_data.columns.clicks import is_true
from luab_data.figures import annotators, bars, curves, icons, maps
from luab_data.figures.style import BLUE, VERMILION, counts, drawing, legend_below, new_figure
from luab_data.statistics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Estimates: TypeAlias = Mapping[str, Estimate]
"""Name of the measure -> its estimate, as `measure.take` gives them."""
Tables: TypeAlias = Mapping[str, pa.Table]
"""`sequences` (see icons.draw_sequences), `workers` (see annotators)."""

_SIDES = ("left", "right", "top", "bottom")


def box_centres_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Density of box centres. Fig. C left."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.7)
        maps.draw_density(ax, estimates["box_centre_density"])
        ax.set_title(counts(estimates["box_centre_density"].n.sum()))
    return figure


def random_clicks_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Accuracy of random clicks. Fig. C right."""
    with drawing():
        figure, ((ax,),) = new_figure()
        curve = estimates["random_click_curve"]
        curves.draw_random_clicks(
            ax, curve, estimates.get("click_accuracy"), estimates.get("centre_accuracy")
        )
        ax.set_title(counts(curve.n))
    return figure


def accuracy_maps_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Accuracy and density by box centre and by click. Fig. D."""
    kinds = (
        ("accuracy_by_box_centre", "box_centre_density", "box centre"),
        ("accuracy_by_click", "click_density", "click"),
    )
    with drawing():
        figure, grid = new_figure(2, 2, height=4.1, sharex=True, sharey=True)
        maps.draw_accuracy_maps(grid, [(estimates[a], estimates[d], name) for a, d, name in kinds])
    return figure


def last_n_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Accuracy of the N-th record before the click. Fig. E."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.4)
        curves.draw_last_n(ax, estimates["last_n_accuracy"])
        legend_below(figure, ax)
    return figure


def quantiles_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Accuracy along the trace. Fig. E."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.4)
        trace = estimates["trace_quantile_accuracy"]
        curves.draw_quantiles(ax, trace, estimates["time_quantile_accuracy"])
        ax.set_title(counts(trace.n))
        legend_below(figure, ax, columns=3)
    return figure


def click_offset_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Clicks relative to their box. Fig. F."""
    return _offset_figure(estimates["click_offset_density"], estimates["click_offset"])


def icon_offset_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Icons relative to the box of their object. Fig. H."""
    return _offset_figure(estimates["icon_offset_density"], estimates["icon_offset"])


def _offset_figure(density: Estimate, mean: Estimate) -> Figure:
    with drawing():
        figure, ((ax,),) = new_figure(height=3.1)
        maps.draw_offset(ax, density, mean)
        ax.set_title(counts(mean.n))
        legend_below(figure, ax, columns=3)
    return figure


def rounds_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Share of pictures selected by round."""
    with drawing():
        figure, ((ax,),) = new_figure(height=1.7)
        estimate = estimates["selected_share_by_round"]
        names = [f"round {k + 1}\n{counts(estimate.n[k : k + 1])}" for k in range(2)]
        bars.draw_bars(ax, names, estimate, thickness=0.5)
        ax.set(ylabel="selected, %", xlim=(-0.7, 1.7))
    return figure


def slots_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Selection and accuracy by slot of the page."""
    return _places_figure(estimates, "slot", "slot on the page")


def pages_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Selection and accuracy by page of the HIT."""
    return _places_figure(estimates, "page", "page of the HIT")


def _places_figure(estimates: Estimates, place: str, xlabel: str) -> Figure:
    with drawing():
        figure, ((upper,), (lower,)) = new_figure(2, height=2.8, sharex=True)
        for ax, name, ylabel, colour in (
            (upper, "selected_share", "selected, %", BLUE),
            (lower, "accuracy", "in a box, %", VERMILION),
        ):
            estimate = estimates[f"{name}_by_{place}"]
            curves.draw_places(ax, estimate, xlabel="", ylabel=ylabel, colour=colour)
            ax.set_title(counts(estimate.n))
        lower.set_xlabel(xlabel)
        figure.align_ylabels()
    return figure


def sides_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Sides of the picture at which the mouse enters and leaves."""
    with drawing():
        figure, ((ax,),) = new_figure()
        for place, name, label, colour in (
            (-0.2, "entry_side", "enters", BLUE),
            (0.2, "exit_side", "leaves", VERMILION),
        ):
            null_label = "all sides alike" if name == "exit_side" else None
            bars.draw_bars(
                ax, _SIDES, estimates[name], colour=colour, place=place, thickness=0.36,
                label=label, null_label=null_label,
            )  # fmt: skip
        ax.set(ylabel="share of visits, %")
        legend_below(figure, ax, columns=3)
    return figure


def sequences_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Sequences of actions on icons. Fig. J."""
    with drawing():
        figure, ((ax,),) = new_figure()
        icons.draw_sequences(ax, tables["sequences"])
    return figure


def class_recall_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Recall of classes against their size. Fig. K."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.6)
        icons.draw_class_recall(
            ax,
            estimates["class_recall"],
            estimates["class_size"],
            estimates.get("recall_size_correlation"),
        )
    return figure


def recall_by_size_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Recall against the area of the class."""
    with drawing():
        figure, ((ax,),) = new_figure()
        curves.draw_recall_by_size(ax, estimates["recall_by_size"])
    return figure


def superclasses_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Time and visits of superclasses."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.5)
        icons.draw_superclasses(
            ax, estimates["superclass_time_share"], estimates.get("superclass_visits")
        )
    return figure


def annotators_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Shrinkage and click offsets of workers; the second only if `offset_x` is there."""
    workers = tables["workers"]
    panels: list[Callable[[Axes, pa.Table], Axes]] = [annotators.draw_shrinkage]
    if "offset_x" in workers.column_names:
        panels.append(annotators.draw_worker_offsets)
    with drawing():
        figure, grid = new_figure(len(panels), height=0.4 + 2.5 * len(panels))
        for (ax,), draw in zip(grid, panels, strict=True):
            draw(ax, workers)
        if is_true(workers["flag"]).any():
            legend_below(figure, grid[0, 0])
    return figure
