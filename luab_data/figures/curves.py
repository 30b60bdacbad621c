"""Curves of estimates: the line, its interval as a band, its null dashed. Appendix C and E.

Functions draw on an Axes and return it. Shares are drawn in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.figures.style import BASELINE, BLACK, BLUE, GREEN, GREY, SMALL, VERMILION
from luab_data.ragged import Floats
from luab_data.statistics.coco.icon_places import SMALLEST
from luab_data.statistics.estimate import Estimate
from luab_data.words import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENT = 100.0
DEALT = "dealt at random"
"""The null of clicks and traces: the same points, dealt to the images at random."""


def draw_curve(
    ax: Axes,
    x: Sequence[float] | Floats,
    estimate: Estimate,
    *,
    label: str | None = None,
    colour: str = BLUE,
    marker: str | None = "o",
    scale: float = PERCENT,
    null_label: str | None = None,
) -> Axes:
    """One curve with its 95 % band, and its null model dashed where there is one.

    Args:
        x: (num_points,).
        estimate: (num_points,); NaN values leave a gap.
        label, null_label: in the legend; None is not listed.
        scale: what values are multiplied by.
    """
    x = np.asarray(x, dtype=np.float64)
    value, low, high, null = (
        scale * values for values in (estimate.value, estimate.low, estimate.high, estimate.null)
    )
    if np.isfinite(null).any():
        ax.plot(x, null, label=null_label, **BASELINE)
    if np.isfinite(low).any():
        ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.plot(x, value, color=colour, linewidth=1.3, marker=marker, markersize=2.5, label=label)
    return ax


def draw_counts(ax: Axes, x: Sequence[float] | Floats, n: Floats) -> Axes:
    """The sample size of each point, as a row of small numbers just inside the lower edge.

    Args:
        x, n: (num_points,); meant for a dozen points at most.
    """
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom - 0.12 * (top - bottom), top)  # room for the numbers under the curve
    across = ax.get_xaxis_transform()
    for at, number in zip(x, n, strict=True):
        ax.text(
            float(at), 0.02, short_count(float(number)),
            transform=across, fontsize=SMALL, color=GREY,
            ha="center", va="bottom",
        )  # fmt: skip
    ax.text(
        0.0, 0.02, "n ", transform=ax.transAxes, fontsize=SMALL, color=GREY, ha="right", va="bottom"
    )
    return ax


def draw_level(
    ax: Axes, estimate: Estimate, label: str, *, colour: str, above: bool, scale: float = PERCENT
) -> Axes:
    """One number as a horizontal line with its band, named at its right end.

    Args:
        estimate: ().
        above: whether the name stands above the line or below it.
    """
    value = scale * float(estimate.value)
    if not np.isfinite(value):
        return ax
    low, high = scale * float(estimate.low), scale * float(estimate.high)
    if np.isfinite(low):
        ax.axhspan(low, high, color=colour, alpha=0.15, linewidth=0)
    ax.axhline(value, color=colour, linewidth=1.0)
    ax.annotate(
        f"{label} {value:.1f} %", (1.0, value), xycoords=ax.get_yaxis_transform(),
        xytext=(-1, 2 if above else -2), textcoords="offset points", color=colour, fontsize=7,
        ha="right", va="bottom" if above else "top",
    )  # fmt: skip
    return ax


def draw_random_clicks(
    ax: Axes, curve: Estimate, click: Estimate | None = None, centre: Estimate | None = None
) -> Axes:
    """Accuracy of a random click against the side of the square it falls in. Fig. C right.

    Args:
        curve: (num_sides,) at sides 0 to 1, evenly spaced.
        click, centre: () accuracy of the workers' clicks and of the image's centre, as lines.
    """
    draw_curve(ax, np.linspace(0, 1, len(curve.value)), curve, colour=BLACK, marker=None)
    levels = [
        (level, name, colour)
        for level, name, colour in ((click, "workers", BLUE), (centre, "centre", VERMILION))
        if level is not None and np.isfinite(level.value)
    ]
    # Two lines may lie close: the upper one is named above, the lower one below.
    levels.sort(key=lambda entry: -float(entry[0].value))
    for place, (level, name, colour) in enumerate(levels):
        draw_level(ax, level, name, colour=colour, above=place == 0)
    ax.set(xlim=(0, 1), xlabel="side $t$ of the centred square", ylabel="in a box, %")
    return ax


def draw_last_n(ax: Axes, estimate: Estimate) -> Axes:
    """Accuracy of the N-th record before the click. Fig. E.

    Args:
        estimate: (num_records,) N = 0 is the click itself; n is written below.
    """
    steps = np.arange(len(estimate.value), dtype=np.float64)
    draw_curve(ax, steps, estimate, label="workers' traces", null_label=DEALT)
    draw_counts(ax, steps, estimate.n)
    ax.set(xticks=steps, xlabel="records before the click, $N$", ylabel="in a box, %")
    return ax


def draw_quantiles(ax: Axes, trace: Estimate | None = None, time: Estimate | None = None) -> Axes:
    """Accuracy along the visit that ends in the click, from its entry to the click. Fig. E.

    Args:
        trace, time: (num_quantiles,) q from 0 to 1, by records and by time.
    """
    for estimate, name, colour, marker in (
        (trace, "by record", BLUE, "o"),
        (time, "by time", VERMILION, "s"),
    ):
        if estimate is not None:
            at = np.linspace(0, 1, len(estimate.value))
            null_label = DEALT if estimate is trace or trace is None else None
            draw_curve(
                ax, at, estimate, label=name, colour=colour, marker=marker, null_label=null_label
            )
    ax.set(xlim=(-0.02, 1.02), xlabel="quantile $q$ of the trace", ylabel="in a box, %")
    return ax


def draw_places(
    ax: Axes, estimate: Estimate, *, xlabel: str, ylabel: str, colour: str = BLUE
) -> Axes:
    """A share against the slot on the page or the page of the HIT, numbered from 0 as in the log.

    Args:
        estimate: (num_places,).
    """
    from matplotlib.ticker import MaxNLocator

    places = np.arange(len(estimate.value), dtype=np.float64)
    marker: dict[str, Any] = {} if len(places) <= 12 else {"marker": None}
    draw_curve(ax, places, estimate, colour=colour, null_label="no effect of the place", **marker)
    ax.set(xlim=(-0.5, len(places) - 0.5), xlabel=xlabel, ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def draw_recall_by_size(ax: Axes, estimate: Estimate) -> Axes:
    """Recall of icons against the size of the object, in bins of its share of the image.

    Args:
        estimate: (num_bins,) logarithmic bins of the area from SMALLEST to 1.
    """
    edges = np.geomspace(SMALLEST, 1, len(estimate.value) + 1)
    middle = np.sqrt(edges[:-1] * edges[1:])
    draw_curve(ax, middle, estimate, colour=GREEN)
    draw_counts(ax, middle, estimate.n)
    ax.set(
        xscale="log", xlim=(SMALLEST, 1), xlabel="largest box of the class, share of the image",
        ylabel="recall, %",
    )  # fmt: skip
    return ax
