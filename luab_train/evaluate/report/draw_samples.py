"""Images with what a model says of them: class maps, predicted points, worst failures.

Functions draw on an Axes and return it. Points and maps are in fractions of the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luab_data.figures.style import GREEN, GREY, LIGHT, SEQUENTIAL, VERMILION, YELLOW, outlined

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One image.

    Args:
        pixels: (H, W, 3) uint8; None if the file is not there.
        truth, answer: class names for people.
        is_right: whether the answer is.
        probability: of the answer.
        point: predicted x, y; None without a trained head.
        cam: (h, w) map of the predicted class, any scale; None without.
    """

    pixels: np.ndarray | None
    truth: str
    answer: str
    is_right: bool
    probability: float
    point: tuple[float, float] | None = None
    cam: np.ndarray | None = None


def draw_sample(ax: Axes, sample: Sample, *, title: str = "") -> Axes:
    """The image with map, point and, below it, the answer: green is right, red wrong."""
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import NullLocator

    ax.grid(False)
    ax.xaxis.set_major_locator(NullLocator())
    ax.yaxis.set_major_locator(NullLocator())
    for spine in ax.spines.values():
        spine.set_visible(False)
    height, width = (1, 1) if sample.pixels is None else sample.pixels.shape[:2]
    extent = (0.0, float(width), float(height), 0.0)
    colour = GREEN if sample.is_right else VERMILION
    ax.add_patch(
        Rectangle((0, 0), width, height, fill=sample.pixels is None, facecolor=LIGHT,
                  edgecolor=colour, linewidth=2.4, clip_on=False, zorder=0)
    )  # fmt: skip
    if sample.pixels is None:
        ax.text(0.5, 0.5, "no such file", ha="center", va="center", fontsize=7, color=GREY)
    else:
        # Under a map the image is grey: two colours on top of each other say nothing.
        shown = sample.pixels if sample.cam is None else _grey(sample.pixels)
        ax.imshow(shown, extent=extent, interpolation="bilinear", zorder=1)
    if sample.pixels is not None and sample.cam is not None:
        ax.imshow(
            _unit(sample.cam), extent=extent, cmap=SEQUENTIAL, alpha=0.55, vmin=0, vmax=1,
            interpolation="bicubic", zorder=2,
        )  # fmt: skip
    if sample.point is not None:
        ax.plot(
            sample.point[0] * width, sample.point[1] * height, "+", color=YELLOW, markersize=8,
            markeredgewidth=1.6, path_effects=outlined(3.2, "black"), zorder=3, clip_on=False,
        )  # fmt: skip
    # Every image in the middle of an equal square, so that rows and columns line up.
    half = 0.5 * max(width, height)
    ax.set(xlim=(width / 2 - half, width / 2 + half), ylim=(height / 2 + half, height / 2 - half))
    ax.set_aspect("equal")
    if title:
        ax.set_title(_shortened(title), fontsize=6.5, pad=3, loc="center")
    answer = f"{_shortened(sample.answer, 15)} {100 * sample.probability:.0f} %"
    ax.set_xlabel(answer, fontsize=6.5, color=colour, labelpad=3)
    return ax


def draw_failure(ax: Axes, sample: Sample) -> Axes:
    """A wrong answer: above the image what it is, below what it was taken for."""
    return draw_sample(ax, sample, title=sample.truth)


def _grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) of the same lightness."""
    light = pixels @ np.array([0.299, 0.587, 0.114])
    return np.repeat(light.astype(np.uint8)[..., None], 3, axis=2)


def _unit(cam: np.ndarray) -> np.ndarray:
    spread = cam.max() - cam.min()
    return (cam - cam.min()) / spread if np.isfinite(spread) and spread > 0 else np.zeros_like(cam)


def _shortened(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
