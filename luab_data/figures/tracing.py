"""The figures of a tracing dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from luab_data.figures import maps, scatter
from luab_data.figures.catalogue import POOLED, PlannedFigure
from luab_data.figures.charts import draw_bars, draw_curve
from luab_data.figures.style import Found, counts
from luab_data.schema import QUANTILES
from luab_data.statistics.tracing import SPANS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_points(ax: Axes, found: Found) -> None:
    """Where points are in the picture."""
    maps.draw_density(ax, found["point_density"])
    ax.set_title(f"{counts(found['central_cell_share'].n)} views")


def draw_times(ax: Axes, found: Found) -> None:
    """How long views take."""
    draw_bars(ax, SPANS, found["time_distribution"])
    ax.set(xlabel="duration of a view, s", ylabel="views, %")
    ax.tick_params("x", rotation=40)
    ax.set_title(counts(found["time_distribution"].n[:1]))


def draw_along(ax: Axes, found: Found) -> None:
    """How far from the centre a trace is, from its first point to its last."""
    estimate = found["centre_distance"]
    draw_curve(ax, np.array(QUANTILES), estimate, null_label="points spread evenly")
    ax.set(xlim=(-0.02, 1.02), xlabel="quantile $q$ of the trace",
           ylabel="from the centre,\n% of the picture")  # fmt: skip
    ax.set_title(counts(estimate.n))


TRACING_FIGURES: Mapping[str, PlannedFigure] = {
    "points": PlannedFigure(
        title="Where points are", on=draw_points, height=2.7,
        needs=("point_density", "central_cell_share"),
        caption="Share of a view's points that lie in each of 11 x 11 cells of the image, mean over"
        " views; the central cell is framed. Colours go by the square root.",
    ),
    "times": PlannedFigure(
        title="How long a view takes", on=draw_times, height=2.4, needs=("time_distribution",),
        caption="Share of the views whose duration is in each span, with 95 % intervals.",
    ),
    "along": PlannedFigure(
        title="From the first point to the last", on=draw_along, needs=("centre_distance",),
        legend=1,
        caption="Mean distance of the point at quantile q of a trace from the picture's centre, in"
        " its sizes, with 95 % interval; dashed: points spread evenly over the picture.",
    ),
    "annotators": PlannedFigure(
        title="Annotators", on=scatter.draw_annotators, height=2.9, legend=2, needs=("workers",),
        caption=f"Share of points off the picture of {POOLED.format(n='number of views')}. Suspects"
        " are orange.",
    ),
}  # fmt: skip
