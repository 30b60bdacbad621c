"""Maps over the image and over the box: densities, accuracies, click offsets. Appendix C, D, F, H.

Arrays are indexed [row (y), column (x)], y down, as on screen. Functions draw on an Axes, return
it. Cells without a value are grey and hatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from luab_data.figures.style import (
    BLACK,
    DENSITY,
    LIGHT,
    SEQUENTIAL,
    VERMILION,
    YELLOW,
    AxesGrid,
    Draw,
    Found,
    counts,
    outlined,
)
from luab_data.ragged import Floats
from luab_data.statistics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

UNIT = (0.0, 1.0)
"""Both axes of a map of the image, in fractions of it."""
AROUND_BOX = (-1.05, 1.05)
"""Both axes of a map around the box, in box widths and heights from its centre."""
FEW = 10
"""Cells of an accuracy map seen fewer times than this are dotted."""


def draw_map(
    ax: Axes,
    values: Floats,
    *,
    span: tuple[float, float] = UNIT,
    limits: tuple[float, float] | None = None,
    density: bool = False,
) -> AxesImage:
    """A map in percent; NaN cells are grey and hatched.

    Args:
        values: (num_rows, num_columns) shares.
        span: of both axes.
        limits: of the colours, percent; by default those of the values, of a density from 0.
        density: whether 0 is white and colours go by the square root, so that one high cell leaves
            room for others.
    Returns: the image, for `add_colour_bar`.
    """
    from matplotlib.colors import Normalize, PowerNorm
    from matplotlib.patches import Rectangle

    low, high = span
    ax.add_patch(
        Rectangle((low, low), high - low, high - low, facecolor=LIGHT, edgecolor="#BFBFBF",
                  hatch="/////", linewidth=0, zorder=0)
    )  # fmt: skip
    percent = np.ma.masked_invalid(100 * values)
    if limits is None:
        limits = (float(percent.min()), float(percent.max())) if percent.count() else (0.0, 100.0)
        limits = (0.0, limits[1]) if density else limits
    if limits[0] >= limits[1]:
        limits = (limits[0] - 0.5, limits[0] + 0.5)
    image = ax.imshow(
        percent, extent=(low, high, high, low), origin="upper", interpolation="nearest", zorder=1,
        cmap=DENSITY if density else SEQUENTIAL,
        norm=PowerNorm(0.5, *limits) if density else Normalize(*limits),
    )  # fmt: skip
    ax.grid(False)
    ax.set(xlim=span, ylim=span[::-1], aspect="equal")
    return image


def add_colour_bar(
    axes: Axes | Sequence[Axes], image: AxesImage, label: str, *, below: bool = False
) -> None:
    """A thin colour bar right of the axes, or below them."""
    from matplotlib.ticker import MaxNLocator

    first = axes if not isinstance(axes, Sequence) else axes[0]
    bar = first.figure.colorbar(
        image, ax=axes, fraction=0.06, pad=0.03, aspect=18, location="bottom" if below else "right"
    )
    bar.set_label(label, labelpad=2)
    bar.ax.tick_params(labelsize=7, width=0.6, length=2)
    bar.locator = MaxNLocator(4 if below else 5)
    bar.outline.set_linewidth(0.4)
    bar.update_ticks()


def draw_density(
    ax: Axes,
    estimate: Estimate,
    *,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Where something is in the image: the share of each cell. Fig. C left, Fig. D.

    Args:
        estimate: (num_rows, num_columns) sums to 1.
        limits: of the colours, percent, of a map beside others; one alone has its own, a colour
            bar, and its central cell framed with its share.
    """
    image = draw_map(ax, estimate.value, limits=limits, density=True)
    _fraction_ticks(ax)
    if limits is not None:
        return ax
    add_colour_bar(ax, image, "share, %")
    if np.isfinite(estimate.value).any():
        _mark_centre(ax, estimate)
    return ax


def draw_accuracy_map(ax: Axes, estimate: Estimate) -> Axes:
    """Accuracy in each cell of the image. Fig. D.

    Args:
        estimate: (num_rows, num_columns); NaN cells are hatched, those of fewer than FEW dotted.
    """
    draw_map(ax, estimate.value, limits=(0, 100))
    num_rows, num_columns = estimate.value.shape
    few = (estimate.n < FEW) & np.isfinite(estimate.value)
    row, column = np.nonzero(few)
    ax.scatter(
        (column + 0.5) / num_columns, (row + 0.5) / num_rows, s=2.5, color="white",
        edgecolor=BLACK, linewidth=0.3, zorder=2,
    )  # fmt: skip
    _fraction_ticks(ax)
    return ax


def draw_accuracy_maps(axes: AxesGrid, found: Found) -> None:
    """Accuracy (left) and density (right) by box centre and by click, one row each. Fig. D."""
    pairs = (
        ("accuracy_by_box_centre", "box_centre_density", "box centre"),
        ("accuracy_by_click", "click_density", "click"),
    )
    top = max(_highest(found[density].value) for _, density, _ in pairs)
    for (left, right), (accuracy, density, name) in zip(axes, pairs, strict=True):
        draw_accuracy_map(left, found[accuracy])
        left.set_title(f"accuracy by {name}")
        draw_density(right, found[density], limits=(0, top))
        right.set_title(f"{name}s, {counts(found[density].n)}")
    for column, label in enumerate(("in a box, %", "share, %")):
        add_colour_bar([*axes[:, column]], axes[0, column].images[0], label, below=True)


def draw_box_centres(ax: Axes, found: Found) -> None:
    """Where the boxes' centres are. Fig. C left."""
    draw_density(ax, found["box_centre_density"])
    ax.set_title(counts(found["box_centre_density"].n))


def draw_offset(name: str) -> Draw:
    """Where clicks (icons) lie relative to their box: density, mode cell, mean. Fig. F, H.

    Args:
        name: of the mean, (2,) x, y in box widths and heights, y down; NAME_density is (num_rows,
            num_columns) over AROUND_BOX on both axes.
    """

    def draw(ax: Axes, found: Found) -> None:
        from matplotlib.patches import Rectangle

        density, mean = found[f"{name}_density"].value, found[name]
        image = draw_map(ax, density, span=AROUND_BOX, density=True)
        add_colour_bar(ax, image, "share, %")
        ax.add_patch(
            Rectangle((-0.5, -0.5), 1, 1, fill=False, edgecolor=BLACK, linewidth=1.0, zorder=3,
                      label="the box")
        )  # fmt: skip
        if np.isfinite(density).any():
            corner, size = mode_cell(density)
            ax.add_patch(
                Rectangle(corner, size, size, fill=False, edgecolor=YELLOW, linewidth=1.2, zorder=4,
                          path_effects=outlined(2.4, BLACK), label="fullest cell")
            )  # fmt: skip
        if np.isfinite(mean.value).all():
            _draw_mean(ax, mean)
        ax.set(
            xticks=(-1, -0.5, 0, 0.5, 1), yticks=(-1, -0.5, 0, 0.5, 1),
            xlabel="from the box's centre, box widths", ylabel="box heights, down",
        )  # fmt: skip
        ax.set_title(counts(mean.n))

    return draw


def mode_cell(density: Floats) -> tuple[tuple[float, float], float]:
    """Upper left corner (x, y) and side of the fullest cell of a map over AROUND_BOX."""
    row, column = np.unravel_index(int(np.nanargmax(density)), density.shape)
    size = (AROUND_BOX[1] - AROUND_BOX[0]) / len(density)
    return (AROUND_BOX[0] + float(column) * size, AROUND_BOX[0] + float(row) * size), size


def _draw_mean(ax: Axes, mean: Estimate) -> None:
    x, y = mean.value
    ax.plot(
        x, y, "+", color=VERMILION, markersize=7, markeredgewidth=1.4, zorder=6, label="mean",
        path_effects=outlined(2.6),
    )  # fmt: skip
    if np.isfinite(mean.low).all() and np.isfinite(mean.high).all():
        # A bootstrap interval need not hold the value, and matplotlib takes no negative length.
        ends = np.maximum([mean.value - mean.low, mean.high - mean.value], 0)
        ax.errorbar(
            x, y, xerr=ends[:, :1], yerr=ends[:, 1:], fmt="none", ecolor=VERMILION, elinewidth=1.4,
            capsize=2, zorder=6,
        )  # fmt: skip


def _mark_centre(ax: Axes, estimate: Estimate) -> None:
    from matplotlib.patches import Rectangle

    num_rows, num_columns = estimate.value.shape
    row, column = num_rows // 2, num_columns // 2
    ax.add_patch(
        Rectangle((column / num_columns, row / num_rows), 1 / num_columns, 1 / num_rows, fill=False,
                  edgecolor=VERMILION, linewidth=1.0, zorder=3)
    )  # fmt: skip
    centre = 100 * float(estimate.value[row, column])
    ax.annotate(
        f"{centre:.1f} %", ((column + 0.5) / num_columns, row / num_rows), xytext=(0, 2),
        textcoords="offset points", ha="center", va="bottom", fontsize=7, color=BLACK, zorder=4,
        path_effects=outlined(),
    )  # fmt: skip


def _highest(values: Floats) -> float:
    return 100 * float(np.nanmax(values)) if np.isfinite(values).any() else 100.0


def _fraction_ticks(ax: Axes) -> None:
    ticks = (0, 0.5, 1)
    ax.set(xticks=ticks, yticks=ticks)
    ax.set_xticklabels([f"{tick:g}" for tick in ticks])
    ax.set_yticklabels([f"{tick:g}" for tick in ticks])
