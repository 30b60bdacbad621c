"""One picture with what its annotator did on it. Functions draw on an Axes and return it.

Axes are in pixels of the original picture, y down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.figures.style import BLACK, SEQUENTIAL, SKY, VERMILION, YELLOW, outlined
from luab_data.ragged import Bools, Floats, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]
"""One row of a table as `to_pylist` gives it."""

_UNKNOWN_SIZE = (4.0, 3.0)


def draw_canvas(ax: Axes, image: Any | None, width: float | None, height: float | None) -> Axes:
    """The picture without axes, or a blank one of the same aspect.

    Args:
        image: PIL image or array (height, width[, channels]); None draws a blank.
        width, height: px of the frame; None takes that of the image, else 4 x 3.
    """
    from matplotlib.patches import Rectangle

    pixels = None if image is None else np.asarray(image)
    if not (width and height):
        width, height = _UNKNOWN_SIZE if pixels is None else pixels.shape[1::-1]
    if pixels is None:
        ax.add_patch(
            Rectangle((0, 0), width, height, facecolor="#F4F4F4", edgecolor="#BFBFBF", zorder=0)
        )
    else:
        gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255} if pixels.ndim == 2 else {}
        ax.imshow(pixels, extent=(0, width, height, 0), zorder=0, **gray)
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def draw_image(ax: Axes, image: Any | None, row: Row, round_row: Row | None = None) -> Axes:
    """An ImageNet picture with its boxes, trace (colour is time), hull and clicks.

    Args:
        image: as in draw_canvas.
        row: of `default`: width, height, boxes, first_click_*, final_click_*, hull_*; without
            round_row, the trace is trace_quantile_*.
        round_row: of `rounds`: the deciding one.
    """
    draw_canvas(ax, image, row.get("width"), row.get("height"))
    size = _size(ax)
    draw_boxes(ax, row.get("boxes") or [])
    hull = _points(row, "hull") * size
    if len(hull) > 1:
        ax.fill(*hull.T, facecolor=SKY, alpha=0.3, edgecolor=SKY, linewidth=0.8, zorder=2,
                label="hull of the last 9")  # fmt: skip
    if round_row is None:
        trace = _points(row, "trace_quantile")
        draw_trace(ax, trace * size, np.arange(len(trace), dtype=np.float64))
    else:
        time = np.asarray(round_row.get("mouse_tracking_time_ms") or [], dtype=np.float64)
        draw_trace(
            ax, _points(round_row, "mouse_tracking") * size, time, visits_of(round_row, time)
        )
    first, final = (_point(row, name) * size for name in ("first_click", "final_click"))
    if np.isfinite(first).all() and not np.array_equal(first, final):
        _mark(ax, first, marker="o", facecolor="white", edgecolor=BLACK, label="first click")
    if np.isfinite(final).all():
        _mark(ax, final, marker="o", facecolor=VERMILION, edgecolor="white", label="final click")
    return ax


def draw_boxes(ax: Axes, boxes: Sequence[Sequence[float]], label: str = "box") -> Axes:
    """Boxes [xmin, ymin, xmax, ymax] px as frames."""
    from matplotlib.patches import Rectangle

    for k, (x0, y0, x1, y1) in enumerate(boxes):
        ax.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=YELLOW, linewidth=1.0,
                      zorder=2, path_effects=outlined(2.0, BLACK), label=label if not k else None)
        )  # fmt: skip
    return ax


def draw_trace(ax: Axes, points: Floats, time: Floats, visit: Ints | None = None) -> Axes:
    """A mouse trace from dark (start) to bright (end).

    Args:
        points: (num_records, 2) in the coordinates of the axes.
        time: (num_records,) that gives the colour.
        visit: (num_records,) records of different visits are not joined.
    """
    from matplotlib.collections import LineCollection

    there = _known(points)
    points, time = points[there], time[there]
    if not len(points):
        return ax
    joined = np.ones(len(points) - 1, dtype=np.bool_)
    if visit is not None:
        joined = np.diff(visit[there]) == 0
    start, end = float(time.min()), max(float(time.max()), float(time.min()) + 1)
    segments = np.stack([points[:-1], points[1:]], axis=1)[joined]
    line = LineCollection(
        [*segments], linewidth=1.3, zorder=4, path_effects=outlined(2.4), capstyle="round",
        array=time[1:][joined], cmap=SEQUENTIAL, clim=(start, end),
    )  # fmt: skip
    ax.add_collection(line, autolim=False)
    ax.scatter(
        points[:, 0],
        points[:, 1], c=time, s=5, zorder=5, linewidth=0.3, edgecolor="white", cmap=SEQUENTIAL,
        vmin=start, vmax=end, 
    )  # fmt: skip
    # For the legend only: neither the line nor the dots have one colour.
    ax.plot([], [], color="#575C6D", marker="o", markersize=2.5, label="trace, dark to bright")
    return ax


def visits_of(round_row: Row, time: Floats) -> Ints:
    """(num_records,) which visit to the picture each record is of, by the last enter before it."""
    actions = round_row.get("hovered_record_action") or []
    times = round_row.get("hovered_record_time_ms") or []
    enter = sorted(t for a, t in zip(actions, times, strict=True) if a == "enter" and t is not None)
    visit: Ints = np.searchsorted(np.asarray(enter, dtype=np.float64), time, side="right")
    return visit


def _mark(ax: Axes, point: Floats, **look: Any) -> None:
    ax.scatter(point[0], point[1], s=26, zorder=7, linewidth=0.8, **look)


def _size(ax: Axes) -> Floats:
    return np.array([ax.get_xlim()[1], ax.get_ylim()[0]])


def _point(row: Row, name: str) -> Floats:
    """(2,) x, y of two number columns; NaN for null."""
    return np.array([row.get(f"{name}_x"), row.get(f"{name}_y")], dtype=np.float64)


def _points(row: Row, name: str) -> Floats:
    """(num_points, 2) of two list columns; NaN for null elements, nothing for null lists."""
    lists = [row.get(f"{name}_{axis}") or [] for axis in "xy"]
    points: Floats = np.array(lists, dtype=np.float64).reshape(2, -1).T
    return points


def _known(points: Floats) -> Bools:
    """(num_points,) whether both coordinates are there."""
    return np.isfinite(points[:, 0]) & np.isfinite(points[:, 1])
