"""The ImageNet tool: where pictures are on the page, what it logs of the mouse, and how as XML.

Source: naver-ai/imagenet-annotation-tool: AnnotatorPage.style.ts and AnnotationComponent.style.ts
(layout), AnnotationComponent.handler.ts (log). Its quirks are kept:
docs/formats.md#imagenet-ab-tool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from luab_data.boxes import LabelledImage
from luab_data.simulate.workers import Worker
from luab_data.tools import CELL_HEIGHT, CELL_WIDTH, GRID_COLUMNS

_FRAME = 8  # margin 4 + border 4, on each side
_GAP = 4
_PITCH_X = 340 + _GAP
GRID_WIDTH = GRID_COLUMNS * 340 + (GRID_COLUMNS - 1) * _GAP
THROTTLE_MS = 16  # the tool asks for 1000/60, of which setTimeout takes the whole milliseconds


def rendered_sizes(sizes: np.ndarray) -> np.ndarray:
    """Natural (S, 2) width, height -> (S, 2) int64 px on the page; small ones are not upscaled."""
    scale = np.minimum(1.0, np.minimum(CELL_WIDTH / sizes[:, 0], CELL_HEIGHT / sizes[:, 1]))
    return np.maximum(np.floor(sizes * scale[:, None] + 0.5).astype(np.int64), 1)


def positions(rendered: np.ndarray, loaded: np.ndarray, left: int, top: int) -> np.ndarray:
    """Top-left of each picture on the page, at the moments when given pictures are loaded.

    Args:
        rendered: (S, 2) width, height px of the pictures in slot order.
        loaded: (M, S) bool: at each of M moments, which pictures have their height already.
        left: x of the grid, px.
        top: y of the grid, px.

    Returns: (M, S, 2) int64 px. A row is as high as its highest loaded picture; pictures are
        centred in their cell.
    """
    slots = len(rendered)
    rows = math.ceil(slots / GRID_COLUMNS)
    heights = np.zeros((len(loaded), rows * GRID_COLUMNS), dtype=np.int64)
    heights[:, :slots] = loaded * rendered[:, 1]
    row_heights = heights.reshape(-1, rows, GRID_COLUMNS).max(axis=2)
    pitch = row_heights + 2 * _FRAME + _GAP
    row_tops = np.cumsum(pitch, axis=1) - pitch
    slot = np.arange(slots)
    row = slot // GRID_COLUMNS
    xy = np.empty((len(loaded), slots, 2), dtype=np.int64)
    xy[:, :, 0] = (
        left + (slot % GRID_COLUMNS) * _PITCH_X + _FRAME + (CELL_WIDTH - rendered[:, 0]) // 2
    )
    slack = np.maximum(row_heights[:, row] - rendered[:, 1], 0)
    xy[:, :, 1] = top + row_tops[:, row] + _FRAME + slack // 2
    return xy


def serpentine(slots: int) -> list[int]:
    """Slots row by row, every second row from right to left."""
    order: list[int] = []
    for row, first in enumerate(range(0, slots, GRID_COLUMNS)):
        cells = range(first, min(first + GRID_COLUMNS, slots))
        order.extend(reversed(cells) if row % 2 else cells)
    return order


class Picture:
    """One picture on the page: turns mouse events into the log, as the tool's component does.

    Times are ms since the epoch and must not run backwards; offsets are px in the picture. Clicks
    that deselect are kept in `clicks` for the truth, the tool forgets them.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.hovered = False
        self.selected = False
        self.hovered_record: list[tuple[str, int]] = []
        self.mouse_tracking: list[tuple[int, float, float]] = []
        self.selected_record: list[tuple[int, float, float]] = []
        self.clicks: list[tuple[int, float, float, bool]] = []
        self.hovered_count = 0
        self.estimate_time = 0
        self._running_since: int | None = None
        self._checked = False
        self._free_at = -math.inf

    @property
    def has_interaction(self) -> bool:
        """Whether anything at all was logged."""
        return bool(self.hovered_record or self.mouse_tracking or self.selected_record)

    def enter(self, t: float) -> None:
        """The cursor comes over the picture."""
        self.hovered = True
        self.hovered_count += 1
        self.hovered_record.append(("enter", int(t)))
        self._update_estimate(t)

    def leave(self, t: float) -> None:
        """The cursor goes away."""
        self.hovered = False
        self.hovered_record.append(("leave", int(t)))
        self._update_estimate(t)

    def moves(self, times: list[float], offsets: list[list[float]]) -> None:
        """Mouse moves over the picture; nothing is logged while it is selected."""
        if self.selected or not times:
            return
        if not self._checked:
            self._checked = True
            self._update_estimate(times[0])
        free_at, width, height = self._free_at, self.width, self.height
        for t, (x, y) in zip(times, offsets, strict=True):
            if t >= free_at:  # leading edge: the first of a burst counts, the rest is dropped
                self.mouse_tracking.append((int(t), x / width, y / height))
                free_at = t + THROTTLE_MS
        self._free_at = free_at

    def click(self, t: float, offset: tuple[float, float]) -> None:
        """Toggle the selection; only a selecting click is logged."""
        x, y = offset[0] / self.width, offset[1] / self.height
        self.selected = not self.selected
        self.clicks.append((int(t), x, y, self.selected))
        if self.selected:
            self.selected_record.append((int(t), x, y))
        self._free_at = -math.inf  # the throttle is made anew on each toggle
        self._update_estimate(t)

    def _update_estimate(self, t: float) -> None:
        """Sum the time hovered and unselected, from the first move on; an open span is lost."""
        if not self._checked:
            return
        if self.hovered and not self.selected:
            if self._running_since is None:
                self._running_since = int(t)
        elif self._running_since is not None:
            self.estimate_time += int(t) - self._running_since
            self._running_since = None


# --- the log -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Hit:
    """What every block of one answered HIT repeats; `submit_time` is epoch seconds."""

    assignment_id: str
    hit_id: str
    imagenet_hit_id: str
    submit_time: int
    worker: Worker


@dataclass(kw_only=True, eq=False)
class Shown:
    """A picture of the class asked for, shown once; the pictures of other classes are not logged.

    Attributes:
        image: the image.
        hit: the HIT it was shown in, once that is answered.
        page_idx: 0..9.
        slot: its place on the page, 0..47.
        position: (x, y) px of the picture on the page as the tool logged it.
        picture: what the tool logged, once browsed.
        is_loaded: False when the browser never had the image; its sizes and position are then 0.
        overlooked: the worker pays it no attention at all.
        must_hover: nobody has passed over it so far, so this worker does.
        target_box: index of the box that the last selecting click was meant for; None when it was
            meant for no box. Not logged.
    """

    image: LabelledImage
    hit: Hit = field(init=False)
    page_idx: int = 0
    slot: int = 0
    position: tuple[int, int] = (0, 0)
    picture: Picture = field(init=False)
    is_loaded: bool = True
    overlooked: bool = False
    must_hover: bool = False
    target_box: int | None = None


def annotation(image: LabelledImage, rounds: Sequence[Shown], *, has_box_part: bool) -> str:
    """The text of one record, byte for byte as the release writes it.

    2-space indent, no XML declaration; keys sorted inside `metadata`; a list is repeated siblings
    and an empty one is one element with the text None. With boxes `folder` comes before `filename`,
    without them after it (docs/formats.md#imagenet-ab-log).
    """
    image_id, wnid = escape(image.image_id), escape(image.wnid)
    record: dict[str, Any] = {"filename": image_id, "folder": wnid}
    if has_box_part:
        record = {"folder": wnid, "filename": image_id, **_box_part(image, wnid)}
    blocks = [_metadata(f"{wnid}/{image_id}", shown) for shown in rounds]
    return element("annotation", {**record, "metadata": blocks}, "")


def element(tag: str, value: Any, indent: str) -> str:
    """A dict is an element of elements, a list siblings of one tag, all else a text.

    A pair of keys and rows is siblings too: the many points of a log, each row written at once.
    """
    deep = indent + "  "
    if isinstance(value, dict):
        inside = "".join([element(key, one, deep) for key, one in value.items()])
        return f"{indent}<{tag}>\n{inside}{indent}</{tag}>\n"
    if isinstance(value, list):
        return "".join([element(tag, one, indent) for one in value])
    if isinstance(value, tuple):
        keys, rows = value
        row = element(tag, dict.fromkeys(keys, "%s"), indent)
        return "".join([row % one for one in rows]) or element(tag, None, indent)
    return f"{indent}<{tag}>{value}</{tag}>\n"


def _box_part(image: LabelledImage, wnid: str) -> dict[str, Any]:
    """source, size, segmented and one object per box, as ILSVRC published them."""
    edges = ("xmin", "ymin", "xmax", "ymax")
    flags = {"name": wnid, "pose": "Unspecified", "truncated": 0, "difficult": 0}
    objects = [
        {**flags, "bndbox": dict(zip(edges, map(_number, box), strict=True))}
        for box in image.boxes.tolist()
    ]
    return {
        "source": {"database": "ILSVRC_2012"},
        "size": {"width": image.width, "height": image.height, "depth": 3},
        "segmented": 0,
        "object": objects,
    }


def _metadata(image_path: str, shown: Shown) -> dict[str, Any]:
    hit, picture = shown.hit, shown.picture
    # What never loaded has no size and no place.
    x, y, height, width_of_file, height_of_file = (
        (*shown.position, picture.height, shown.image.width, shown.image.height)
        if shown.is_loaded
        else (0,) * 5
    )
    point = ("time", "x", "y")
    return {
        "assignment_id": hit.assignment_id,
        "estimateTime": picture.estimate_time,
        "hit_id": hit.hit_id,
        "hit_submit_time": hit.submit_time,
        "hoveredCount": picture.hovered_count,
        "hoveredRecord": (("action", "time"), picture.hovered_record),
        "imageHeight": height,
        "imageID": image_path,
        "imagePosition": {"x": x, "y": y},
        "imageWidth": height,  # the release writes the height twice
        "image_idx": shown.slot,
        "imagenet_hit_id": hit.imagenet_hit_id,
        "mouseTracking": (point, picture.mouse_tracking),
        "originalImageHeight": height_of_file,
        "originalImageWidth": width_of_file,
        "page_idx": shown.page_idx,
        "selected": picture.selected,
        "selectedCount": len(picture.selected_record),
        "selectedRecord": (point, picture.selected_record),
        "worker_id": hit.worker.worker_id,
    }


def _number(value: float) -> str:
    """36.0 -> 36: published boxes are whole pixels, others keep their fraction."""
    return str(int(value)) if value.is_integer() else repr(value)
