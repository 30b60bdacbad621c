"""Replay of one page: its grid of pictures with the mouse path over it.

`page_path` brings the traces of all pictures of the page together in page pixels and in order of
time; `draw_page` draws them on an Axes and returns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import floats
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
from luab_data.ragged import ArrowColumn, Bools, Floats, Ints, one_array, ragged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLOTS = 48
"""Pictures of a page. Only those of the class asked for are logged."""

_TOLERANCE_PX = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class PagePath:
    """One page in page pixels, y down, times in ms from its first record.

    Attributes:
        image_id: (num_pictures,) shown pictures, by slot.
        slot: (num_pictures,) 0..47; -1 if not logged.
        frame: (num_pictures, 4) left, top, width, height; NaN if the picture never loaded.
        selected: (num_pictures,) whether it was selected at the end.
        x, y, t: (num_points,) mouse path, in order of time.
        picture: (num_points,) place in image_id of the picture it is over.
        visit: (num_points,) differs between visits.
        click_x, click_y, click_t, click_picture: (num_clicks,) selecting clicks in order of time.
        empty: (num_empty, 4) frames of slots that were not logged, where the grid can be inferred.
    """

    image_id: list[str]
    slot: Ints
    frame: Floats
    selected: Bools
    x: Floats
    y: Floats
    t: Floats
    picture: Ints
    visit: Ints
    click_x: Floats
    click_y: Floats
    click_t: Floats
    click_picture: Ints
    empty: Floats

    @property
    def enters(self) -> Ints:
        """Places in the path where a visit starts."""
        return np.flatnonzero(np.diff(self.visit, prepend=-1))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all that is known of the page, px."""
        frames = np.concatenate([self.frame, self.empty])
        frames = frames[np.isfinite(frames).all(axis=1)]
        if not len(frames):
            return 0.0, 0.0, 1.0, 1.0
        left, top = frames[:, :2].min(axis=0)
        right, bottom = (frames[:, :2] + frames[:, 2:]).max(axis=0)
        return float(left), float(top), float(right), float(bottom)


def page_path(page: pa.Table) -> PagePath:
    """What happened on one page.

    Args:
        page: the rows of `rounds` with one assignment_id and page_idx, any order.
    Returns: points of a picture are position + fraction * size. Records without time and pictures
        that never loaded (logged as 0 x 0) add no points.
    """
    slot = np.nan_to_num(floats(page["image_idx"]), nan=-1).astype(np.int64)
    order = np.argsort(slot, kind="stable")
    page, slot = page.take(pa.array(order)), slot[order]
    frame = np.column_stack(
        [floats(page[f"image_{n}"]) for n in ("position_x", "position_y", "width", "height")]
    )
    frame[~(frame[:, 2:] > 0).all(axis=1)] = np.nan
    x, y, t, picture = _records(page, "mouse_tracking", frame)
    click_x, click_y, click_t, click_picture = _records(page, "selected_record", frame)
    start = min(t.min(initial=np.inf), click_t.min(initial=np.inf))
    return PagePath(
        image_id=page["image_id"].to_pylist(),
        slot=slot,
        frame=frame,
        selected=np.array([value is True for value in page["selected"].to_pylist()], np.bool_),
        x=x, y=y, t=t - start, picture=picture,
        visit=_visits(page, t, picture),
        click_x=click_x, click_y=click_y, click_t=click_t - start, click_picture=click_picture,
        empty=empty_slots(slot, frame),
    )  # fmt: skip


def draw_page(ax: Axes, page: pa.Table, images: Mapping[str, Any] | None = None) -> Axes:
    """The grid of one page with the mouse path over it: dark is early, dashed is between pictures.

    Args:
        page: as of `page_path`.
        images: image_id -> PIL image or array; pictures without one are blank.
    """
    path = page_path(page)
    _draw_frames(ax, path, images or {})
    points = np.column_stack([path.x, path.y])
    leaves = np.flatnonzero(np.diff(path.visit)) if len(points) else np.zeros(0, np.int64)
    for k in leaves:
        ax.plot(*points[k : k + 2].T, color=GREY, linewidth=0.7, linestyle=(0, (3, 2)), zorder=3)
    draw_trace(ax, points, path.t, path.visit)
    enters = points[path.enters]
    if len(enters):
        ax.scatter(
            enters[:, 0], enters[:, 1], marker="D", s=9, facecolor="white", edgecolor=BLUE,
            linewidth=0.8, zorder=6, label="enter",
        )  # fmt: skip
    if len(path.click_x):
        ax.scatter(
            path.click_x, path.click_y, s=24, facecolor=VERMILION, edgecolor="white", linewidth=0.8,
            zorder=7, label="click",
        )  # fmt: skip
    left, top, right, bottom = path.extent
    edge = 0.02 * (right - left)
    ax.set(xlim=(left - edge, right + edge), ylim=(bottom + edge, top - edge), aspect="equal")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def page_figure(page: pa.Table, images: Mapping[str, Any] | None = None) -> Figure:
    """The replay of one page with its legend, as `draw_page` draws it."""
    left, top, right, bottom = page_path(page).extent
    with drawing():
        height = 0.4 + COLUMN_INCH * min(max((bottom - top) / (right - left), 0.3), 2.6)
        figure, ((ax,),) = new_figure(height=height)
        draw_page(ax, page, images)
        legend_below(figure, ax)
    return figure


def _draw_frames(ax: Axes, path: PagePath, images: Mapping[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    for x, y, width, height in path.empty:
        ax.add_patch(Rectangle((x, y), width, height, facecolor="#F7F7F7", linewidth=0, zorder=0))
    named = False
    for k in np.flatnonzero(np.isfinite(path.frame).all(axis=1)):
        x, y, width, height = path.frame[k]
        if path.image_id[k] in images:
            pixels = np.asarray(images[path.image_id[k]])
            gray: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
            ax.imshow(
                pixels, extent=(x, x + width, y + height, y), zorder=1, alpha=0.85,
                **(gray if pixels.ndim == 2 else {}),
            )  # fmt: skip
        selected = bool(path.selected[k])
        ax.add_patch(
            Rectangle((x, y), width, height, facecolor="none" if path.image_id[k] in images
                      else "#EAEAEA", edgecolor=VERMILION if selected else "#BFBFBF",
                      linewidth=1.2 if selected else 0.6, zorder=2,
                      label=None if named or not selected else "selected")
        )  # fmt: skip
        named |= selected
        if path.slot[k] >= 0:
            ax.annotate(
                f"{path.slot[k] + 1}", (x, y), xytext=(2, -2), textcoords="offset points",
                ha="left", va="top", fontsize=SMALL, color=BLACK, zorder=8,
                path_effects=outlined(),
            )  # fmt: skip


def empty_slots(slot: Ints, frame: Floats) -> Floats:
    """Frames of the slots that were not logged, if the pictures lie on one clear grid.

    Args:
        slot: (num_pictures,) 0..47.
        frame: (num_pictures, 4) left, top, width, height.
    Returns: (num_empty, 4), of the median size; none if rows and columns of the logged pictures do
        not fix the grid (unequal columns, or too few pictures).
    """
    nothing = np.zeros((0, 4))
    there = (slot >= 0) & np.isfinite(frame).all(axis=1)
    slot, frame = slot[there], frame[there]
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


def _records(page: pa.Table, name: str, frame: Floats) -> tuple[Floats, Floats, Floats, Ints]:
    """X and y on the page, time and picture of the records of a list column, in order of time."""
    x, y, t = (
        ragged(_doubles(page[f"{name}_{part}"])).values.astype(np.float64)
        for part in ("x", "y", "time_ms")
    )
    picture = ragged(page[f"{name}_x"]).rows
    left, top, width, height = frame[picture].T
    x, y = left + x * width, top + y * height
    there = np.flatnonzero(np.isfinite(x + y + t))
    order = there[np.argsort(t[there], kind="stable")]
    return x[order], y[order], t[order], picture[order]


def _doubles(column: ArrowColumn) -> pa.Array:
    return one_array(column).cast(pa.list_(pa.float64()))


def _visits(page: pa.Table, time: Floats, picture: Ints) -> Ints:
    """(num_points,) a number for each run of points over one picture since its last enter."""
    if not len(time):
        return np.zeros(0, np.int64)
    stamps = ragged(_doubles(page["hovered_record_time_ms"]))
    actions = one_array(page["hovered_record_action"]).flatten().to_pylist()
    enters = stamps.keep(np.array([action == "enter" for action in actions], np.bool_))
    entered = np.zeros(len(time), np.int64)
    for k in range(page.num_rows):
        mine = picture == k
        own = np.sort(enters.values[enters.bounds[k] : enters.bounds[k + 1]])
        entered[mine] = np.searchsorted(own, time[mine], side="right")
    new = (np.diff(picture, prepend=-1) != 0) | (np.diff(entered, prepend=-1) != 0)
    return np.cumsum(new) - 1
