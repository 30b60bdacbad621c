"""One page as it was: its grid of pictures with the mouse path over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.figures.pictures import draw_trace
from luab_data.figures.style import (
    BLACK,
    BLUE,
    COLUMN_INCH,
    GREY,
    SMALL,
    VERMILION,
    drawing,
    legend_below,
    new_figure,
    outlined,
)
from luab_data.ragged import Floats, Ints
from luab_data.reports.replay import Event, Picture, Replay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLOTS = 48
"""Pictures of a page. Only those of the class asked for are logged."""

_TOLERANCE_PX = 3.0


def draw_page(ax: Axes, replay: Replay, images: Mapping[str, Any] | None = None) -> Axes:
    """The grid of one page with the mouse path over it: dark is early, dashed is between pictures.

    Args:
        replay: of `imagenet_replay`. Pictures are named by their slot.
        images: image_id -> PIL image or array; pictures without one are blank.
    """
    empty = empty_slots(replay.pictures)
    _draw_frames(ax, replay.pictures, empty, images or {})
    points, time, visit = mouse_path(replay.events)
    for k in np.flatnonzero(np.diff(visit)):
        ax.plot(*points[k : k + 2].T, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)), zorder=3)
    draw_trace(ax, points, time, visit)
    enters = points[np.flatnonzero(np.diff(visit, prepend=-1))]
    if len(enters):
        ax.scatter(
            enters[:, 0], enters[:, 1], marker="D", s=9, facecolor="white", edgecolor=BLUE,
            linewidth=0.8, zorder=6, label="enter",
        )  # fmt: skip
    clicks = np.array([(e.x, e.y) for e in replay.events if e.kind == "click"])
    if len(clicks):
        ax.scatter(
            clicks[:, 0], clicks[:, 1], s=24, facecolor=VERMILION, edgecolor="white",
            linewidth=0.8, zorder=7, label="click",
        )  # fmt: skip
    left, top, right, bottom = _extent(replay.pictures, empty)
    edge = 0.02 * (right - left)
    ax.set(xlim=(left - edge, right + edge), ylim=(bottom + edge, top - edge), aspect="equal")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def page_figure(replay: Replay, images: Mapping[str, Any] | None = None) -> Figure:
    """One page with its legend, as `draw_page` draws it."""
    left, top, right, bottom = _extent(replay.pictures, empty_slots(replay.pictures))
    with drawing():
        height = 0.4 + COLUMN_INCH * min(max((bottom - top) / (right - left), 0.3), 2.6)
        figure, ((ax,),) = new_figure(height=height)
        draw_page(ax, replay, images)
        legend_below(figure, ax)
    return figure


def mouse_path(events: Sequence[Event]) -> tuple[Floats, Floats, Ints]:
    """The pointer's way over the page.

    Args:
        events: of a replay.
    Returns: (num_moves, 2) px of the page; (num_moves,) ms; (num_moves,) the visit, a number for
    each run of moves over one picture since it was last entered, from 0.
    """
    moves: list[Event] = []
    visit: list[int] = []
    entered: set[int] = set()  # pictures, since the last move
    for event in events:
        if event.kind == "enter":
            entered.add(event.picture)
        elif event.kind == "move":
            goes_on = moves and moves[-1].picture == event.picture not in entered
            visit.append(visit[-1] + (not goes_on) if visit else 0)
            moves.append(event)
            entered.clear()
    return (
        np.array([(e.x, e.y) for e in moves], np.float64).reshape(-1, 2),
        np.array([e.time_ms for e in moves], np.float64),
        np.array(visit, np.int64),
    )


def _extent(pictures: Sequence[Picture], empty: Floats) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of all that is known of the page, px."""
    frames = np.concatenate([_frames(pictures), empty])
    if not len(frames):
        return 0.0, 0.0, 1.0, 1.0
    left, top = frames[:, :2].min(axis=0)
    right, bottom = (frames[:, :2] + frames[:, 2:]).max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def _frames(pictures: Sequence[Picture]) -> Floats:
    """(num_pictures, 4) left, top, width, height, px."""
    return np.array([(p.x, p.y, p.w, p.h) for p in pictures], np.float64).reshape(-1, 4)


def _draw_frames(
    ax: Axes, pictures: Sequence[Picture], empty: Floats, images: Mapping[str, Any]
) -> None:
    from matplotlib.patches import Rectangle

    for x, y, width, height in empty:
        ax.add_patch(Rectangle((x, y), width, height, facecolor="#F7F7F7", linewidth=0, zorder=0))
    named = False
    for p in pictures:
        if p.image_id in images:
            pixels = np.asarray(images[p.image_id])
            gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
            ax.imshow(
                pixels, extent=(p.x, p.x + p.w, p.y + p.h, p.y), zorder=1, alpha=0.85,
                **(gray if pixels.ndim == 2 else {}),
            )  # fmt: skip
        ax.add_patch(
            Rectangle((p.x, p.y), p.w, p.h, facecolor="none" if p.image_id in images
                      else "#EAEAEA", edgecolor=VERMILION if p.selected else "#BFBFBF",
                      linewidth=1.2 if p.selected else 0.6, zorder=2,
                      label=None if named or not p.selected else "selected")
        )  # fmt: skip
        named |= bool(p.selected)
        if p.slot is not None:
            ax.annotate(
                f"{p.slot}", (p.x, p.y), xytext=(2, -2), textcoords="offset points",
                ha="left", va="top", fontsize=SMALL, color=BLACK, zorder=8,
                path_effects=outlined(),
            )  # fmt: skip


def empty_slots(pictures: Sequence[Picture]) -> Floats:
    """Frames of the slots that were not logged, if the pictures lie on one clear grid.

    Returns: (num_empty, 4) left, top, width, height, px, of the median size; none if rows and
        columns of the logged pictures do not fix the grid (unequal columns, or too few pictures).
    """
    nothing = np.zeros((0, 4))
    logged = [p for p in pictures if p.slot is not None and p.slot >= 0]
    slot, frame = np.array([p.slot for p in logged], np.int64), _frames(logged)
    if len(slot) < 4:
        return nothing
    grids = [(n, *_grid(slot, frame, n)) for n in range(2, 9)]
    found = [(n, x, y) for n, x, y in grids if x is not None and y is not None]
    if len(found) != 1:
        return nothing
    num_columns, x, y = found[0]
    missing = np.setdiff1d(np.arange(SLOTS), slot)
    missing = missing[missing // num_columns < len(y)]
    # Pictures differ in size; neighbours should stay apart.
    pitch = np.array([x[1] - x[0], y[1] - y[0]])
    width, height = np.minimum(np.median(frame[:, 2:], axis=0), 0.85 * pitch)
    return np.column_stack(
        [
            x[missing % num_columns],
            y[missing // num_columns],
            np.full(len(missing), width),
            np.full(len(missing), height),
        ]
    )


def _grid(slot: Ints, frame: Floats, num_columns: int) -> tuple[Floats | None, Floats | None]:
    """Left edges of the columns and tops of the rows, if all pictures agree on them."""
    num_rows = -(-SLOTS // num_columns)
    edges = []
    for place, at, number in (
        (slot % num_columns, frame[:, 0], num_columns),
        (slot // num_columns, frame[:, 1], num_rows),
    ):
        known = np.unique(place)
        if len(known) < 2:
            return None, None
        middle = np.array([np.median(at[place == k]) for k in known])
        spread = max(float(np.ptp(at[place == k])) for k in known)
        pitch, start = np.polyfit(known, middle, 1)
        regular = np.abs(start + pitch * known - middle).max() <= _TOLERANCE_PX
        if spread > _TOLERANCE_PX or not regular or pitch <= 0:
            return None, None
        edges.append(start + pitch * np.arange(number))
    return edges[0], edges[1]
