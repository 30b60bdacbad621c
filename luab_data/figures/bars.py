"""Bars of estimates with their intervals and the null: sides, rounds, superclasses.

Functions draw on an Axes and return it. Shares are drawn in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.figures.style import BASELINE, BLACK, BLUE
from luab_data.statistics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_bars(
    ax: Axes,
    names: Sequence[str],
    estimate: Estimate,
    *,
    colour: str = BLUE,
    scale: float = 100.0,
    horizontal: bool = False,
    place: float = 0.0,
    thickness: float = 0.7,
    label: str | None = None,
    null_label: str | None = None,
) -> Axes:
    """One bar a value, with its interval, and a dashed line where the null is.

    Args:
        names: (num_bars,).
        estimate: (num_bars,).
        scale: what values are multiplied by.
        horizontal: whether bars lie, the first on top: for long names.
        place, thickness: shift and width of the bars, where 1 is from bar to bar: for groups.
        label, null_label: in the legend; None is not listed.
    """
    at = np.arange(len(names))
    value, low, high, null = (
        scale * values for values in (estimate.value, estimate.low, estimate.high, estimate.null)
    )
    bars: Any = ax.barh if horizontal else ax.bar
    bars(at + place, value, thickness, color=colour, label=label, linewidth=0)
    seen = np.isfinite(value) & np.isfinite(low) & np.isfinite(high)
    (ax.hlines if horizontal else ax.vlines)(
        (at + place)[seen], low[seen], high[seen], color=BLACK, linewidth=1.0, zorder=3
    )
    for k in np.flatnonzero(np.isfinite(null)):
        ends = k + place + np.array([-0.5, 0.5]) * thickness
        line = ([null[k]] * 2, ends) if horizontal else (ends, [null[k]] * 2)
        ax.plot(*line, **{**BASELINE, "zorder": 4}, label=null_label)
        null_label = None
    if horizontal:
        ax.set_yticks(at, names)
        ax.set_ylim(len(names) - 0.4, -0.6)
    else:
        ax.set_xticks(at, names)
    ax.grid(False, axis="y" if horizontal else "x")
    return ax
