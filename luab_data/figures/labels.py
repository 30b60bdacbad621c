"""Names beside points, placed so that they cover neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from luab_data.figures.style import BLACK, GREY, SMALL, outlined
from luab_data.ragged import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_DIRECTIONS = ((1, 0), (0.7, 0.7), (0.7, -0.7), (0, 1), (0, -1), (-0.7, 0.7), (-0.7, -0.7), (-1, 0))
_REACH = (5.0, 10.0, 16.0, 24.0, 34.0)
_POINT = 2.5
_OUTSIDE = 50.0


def label_points(
    ax: Axes,
    x: Sequence[float] | Floats,
    y: Sequence[float] | Floats,
    names: Sequence[str],
    *,
    others: Floats | None = None,
    size: float = SMALL,
    outline: bool = True,
) -> list[Annotation]:
    """Write each name near its point, joined by a thin line where it is not beside it.

    Call it last: names are placed for the limits and the layout the axes then have.

    Args:
        x, y: (num_names,) data coordinates.
        others: (num_others, 2) more points that names should not cover.
        size: of the font, points.
        outline: whether letters get a white rim, for pictures.
    """
    if not len(names):
        return []
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.draw_without_rendering()  # the layout moves axes
    scale = 72 / (figure.dpi if figure is not None else 72)
    points = np.column_stack([x, y]).astype(np.float64)
    every = points if others is None else np.concatenate([points, others])
    at, avoided = (scale * ax.transData.transform(p) for p in (points, every))
    frame = scale * np.array(ax.get_window_extent().extents)
    taken = np.column_stack([avoided - _POINT, avoided + _POINT])
    drawn = []
    for name, point, xy in zip(names, at, points, strict=True):
        box, reach = _place(point, _extent(name, size), taken, frame)
        taken = np.concatenate([taken, box[None]])
        far = reach > _REACH[0]
        drawn.append(
            ax.annotate(
                name, tuple(xy), xytext=tuple((box[:2] + box[2:]) / 2 - point),
                textcoords="offset points", ha="center", va="center", fontsize=size, color=BLACK,
                zorder=9, path_effects=outlined(1.6) if outline else None,
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0,
                            "shrinkB": 2} if far else None,
            )
        )  # fmt: skip
    return drawn


def _place(
    point: Floats, extent: tuple[float, float], taken: Floats, frame: Floats
) -> tuple[Floats, float]:
    """The nearest free box (x0, y0, x1, y1), points, else the one that covers least."""
    half = np.array(extent) / 2
    best, best_cost, best_reach = np.zeros(4), np.inf, 0.0
    for reach in _REACH:
        for across, up in _DIRECTIONS:
            middle = point + np.array([across, up]) * (reach + half)
            box = np.concatenate([middle - half, middle + half])
            cost = _covered(box, taken) + _OUTSIDE * _beyond(box, frame)
            if cost < best_cost - 1e-9:
                best, best_cost, best_reach = box, cost, reach
        if best_cost == 0:
            break
    return best, best_reach


def _covered(box: Floats, taken: Floats) -> float:
    low = np.maximum(box[:2], taken[:, :2])
    high = np.minimum(box[2:], taken[:, 2:])
    return float(np.clip(high - low, 0, None).prod(axis=1).sum())


def _beyond(box: Floats, frame: Floats) -> float:
    return float(np.clip(frame[:2] - box[:2], 0, None).sum() +
                 np.clip(box[2:] - frame[2:], 0, None).sum())  # fmt: skip


def _extent(text: str, size: float) -> tuple[float, float]:
    """Width and height of a line of text, points."""
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0, size
    return float(TextPath((0, 0), text, size=size).get_extents().width) + 3.0, 1.15 * size
