"""The demo's figure: what was annotated, what the arms made of it. Draws on an Axes, returns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from luab_data.figures.style import STYLE, png
from luab_train.demo.recipe import ARMS, TEST_SETS
from luab_train.demo.scenes import NUM_CLASSES
from luab_train.demo.story import ACCURACY, POINT_ERROR, Measure, arm_estimate
from luab_train.report.compare import Estimate
from luab_train.report.figures import ARM_COLOURS
from luab_train.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BOX, _CLICK = "#F0E442", "#D55E00"  # Okabe and Ito's yellow and vermilion
_MARKERS = {"none": "s", "random": "D", "click": "o"}
_GREY = "#7F7F7F"
_GUESSING = "guessing"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of the figure.

    Args:
        pixels: (height, width) uint8.
        title: above it.
        box: [xmin, ymin, xmax, ymax] px, or None.
        click: (x, y) as fractions of the image, or None.
    """

    pixels: NDArray[np.uint8]
    title: str
    box: Sequence[float] | None = None
    click: tuple[float, float] | None = None


def demo_figure(
    training: Sequence[Picture], test: Sequence[Picture], runs: Sequence[Run], centre_error: float
) -> Figure:
    """Eight training scenes, one test object on three backgrounds, accuracy and point error.

    Args:
        training: eight annotated scenes, drawn as two rows.
        test: the same object on the backgrounds `TEST_SETS`.
        runs: finished and evaluated.
        centre_error: point error of always answering the image's centre, % of the side.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(7.1, 3.0), dpi=200, layout="constrained")
        parts: Any = figure.subfigures(1, 2, width_ratios=(0.82, 1))
        left, right = parts
        grid = left.add_gridspec(3, 4)
        for number, picture in enumerate(training[:8]):
            draw_picture(left.add_subplot(grid[number // 4, number % 4]), picture)
        for number, picture in enumerate(test[:3]):
            draw_picture(left.add_subplot(grid[2, number]), picture)
        draw_key(left.add_subplot(grid[2, 3]))
        accuracy, error = right.subplots(1, 2, width_ratios=(1.5, 1))
        draw_accuracy(accuracy, runs)
        draw_point_error(error, runs, centre_error)
        handles = dict(zip(*reversed(accuracy.get_legend_handles_labels()), strict=True))
        handles[_GUESSING] = handles.pop(_GUESSING)  # goes last
        right.legend(
            handles.values(), handles.keys(), loc="outside upper left", ncols=4, frameon=False,
            handletextpad=0.3, columnspacing=1.2, borderaxespad=0.1,
        )  # fmt: skip
    return figure


def draw_picture(ax: Axes, picture: Picture) -> Axes:
    """One scene with its box and its click."""
    from matplotlib.patches import Rectangle

    height, width = picture.pixels.shape
    # The image spans [0, W] x [0, H], so that boxes and clicks need no half pixel.
    ax.imshow(
        picture.pixels, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0),
        interpolation="nearest",
    )  # fmt: skip
    if picture.box is not None:
        xmin, ymin, xmax, ymax = picture.box
        ax.add_patch(
            Rectangle((xmin, ymin), xmax - xmin, ymax - ymin, fill=False, color=_BOX, linewidth=1.0)
        )
    if picture.click is not None:
        x, y = picture.click
        ax.plot(x * width, y * height, "o", color=_CLICK, markersize=4, markeredgecolor="white",
                markeredgewidth=0.6)  # fmt: skip
    ax.set_title(picture.title, fontsize=6.5, loc="center", pad=2)
    ax.set_axis_off()
    return ax


def draw_key(ax: Axes) -> Axes:
    """What the marks on the scenes mean."""
    ax.set_axis_off()
    ax.plot([], [], "s", markerfacecolor="none", color=_BOX, markeredgewidth=1.2, label="true box")
    ax.plot([], [], "o", color=_CLICK, markeredgecolor="white", label="final click")
    ax.legend(
        loc="center", frameon=True, facecolor="#595959", edgecolor="none", labelcolor="white",
        fontsize=6, handletextpad=0.2, borderpad=0.5,
    )  # fmt: skip
    return ax


def draw_accuracy(ax: Axes, runs: Sequence[Run]) -> Axes:
    """Accuracy per background and arm: mean with interval, a faint dot a seed."""
    for position, background in enumerate(TEST_SETS):
        _draw_arms(ax, runs, ACCURACY[background], ARMS, centre=position, step=0.22)
    ax.axhline(100 / NUM_CLASSES, color=_GREY, linestyle=(0, (3, 3)), linewidth=1, label=_GUESSING)
    ax.set_xticks(range(len(TEST_SETS)), TEST_SETS)
    ax.set_xlabel("texture behind the test digit")
    ax.set_title("accuracy, %")
    ax.set_ylim(0, 104)
    ax.grid(axis="x", visible=False)
    return ax


def draw_point_error(ax: Axes, runs: Sequence[Run], centre_error: float) -> Axes:
    """Point error of the arms whose head was trained, beside that of the image's centre."""
    arms = [arm for arm in ARMS if arm != "none"]
    for position, arm in enumerate(arms):
        _draw_arms(ax, runs, POINT_ERROR, [arm], centre=position, step=0)
    ax.axhline(centre_error, color=_GREY, linestyle=(0, (3, 3)), linewidth=1)
    ax.annotate(
        "image centre", (0.02, centre_error), xycoords=("axes fraction", "data"), fontsize=6.5,
        color=_GREY, xytext=(0, -2), textcoords="offset points", va="top",
    )  # fmt: skip
    ax.set_xticks(range(len(arms)), arms)
    ax.set_xlim(-0.6, len(arms) - 0.4)
    top = max([centre_error, *(POINT_ERROR.of(run) for run in runs if run.recipe.target in arms)])
    ax.set_ylim(0, 1.12 * top)
    ax.set_xlabel("arm")
    ax.set_title("point error, %")
    ax.grid(axis="x", visible=False)
    return ax


def _draw_arms(
    ax: Axes,
    runs: Sequence[Run],
    measure: Measure,
    arms: Sequence[str],
    *,
    centre: float,
    step: float,
) -> None:
    for number, arm in enumerate(arms):
        x = centre + step * (number - (len(arms) - 1) / 2)
        estimate = arm_estimate(runs, arm, measure)
        if not estimate.n:
            continue
        values = [measure.of(run) for run in runs if run.recipe.target == arm]
        colour = ARM_COLOURS[arm]
        seeds_x = [x + 0.07] * len(values)  # beside the mean, which would hide them
        ax.plot(seeds_x, values, ".", color=colour, alpha=0.4, markersize=3.5, zorder=2)
        ax.errorbar(
            x, estimate.mean, yerr=_spread(estimate), fmt=_MARKERS[arm], color=colour,
            markersize=4.5, capsize=2, elinewidth=1, zorder=3, label=arm if centre == 0 else None,
        )  # fmt: skip


def _spread(estimate: Estimate) -> float | None:
    return estimate.half_width if estimate.n > 1 else None


def demo_png(
    training: Sequence[Picture], test: Sequence[Picture], runs: Sequence[Run], centre_error: float
) -> bytes:
    """`demo_figure` as PNG."""
    return png(demo_figure(training, test, runs, centre_error))
