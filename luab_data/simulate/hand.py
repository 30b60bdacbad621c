"""How a hand moves a mouse, and the hand on the page of the ImageNet task.

One movement is an aimed stroke and a slow correction. Frame: page px, x right, y down; times in ms.
A browser hands mouse moves out once per frame of the screen (60 Hz, with a little jitter) and only
when the cursor has reached another pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from luab_data.simulate.page import GRID_WIDTH, Picture

FRAME_MS = 1000 / 60
_JITTER_MS = 1.5


class Path(NamedTuple):
    """Mouse events of one movement, in order; none if it never leaves its pixel.

    Attributes:
        t: (N,) ms since the epoch, increasing.
        xy: (N, 2) page px, whole numbers as float64.
        t_end: ms when the hand has come to rest; at or after the last event.
    """

    t: np.ndarray
    xy: np.ndarray
    t_end: float


def stroke_ms(distance_px: float, target_px: float, pace: float) -> float:
    """Duration of an aimed stroke by Fitts's law; 160 ms + 145 ms per bit is a casual hand."""
    return pace * (160.0 + 145.0 * math.log2(distance_px / max(target_px, 4.0) + 1.0))


def move(
    rng: np.random.Generator,
    start: tuple[float, float],
    end: tuple[float, float],
    t_start: float,
    *,
    target_px: float,
    settle_ms: float,
    pace: float,
) -> Path:
    """The mouse events of a movement from `start` to `end`, both in page px.

    The stroke follows a minimum-jerk profile along a slightly bowed line and lands near the end;
    a second, slower sub-movement of `settle_ms` corrects the rest and starts before the stroke is
    over. The last position is the pixel of `end`.
    """
    dx, dy = end[0] - start[0], end[1] - start[1]
    distance = math.hypot(dx, dy)
    stroke = stroke_ms(distance, target_px, pace)
    total = 0.8 * stroke + max(settle_ms, 0.3 * stroke)
    bow, miss_x, miss_y, tempo = rng.standard_normal(4).tolist()
    stroke, total = stroke * math.exp(0.2 * tempo), total * math.exp(0.2 * tempo)
    miss = 0.04 * distance + 2.0
    steps = max(int(total / FRAME_MS), 2)
    t = np.arange(steps) * FRAME_MS + _JITTER_MS * rng.random(steps)
    t[-1] = total
    aimed = _minimum_jerk(t / stroke)
    corrected = _minimum_jerk((t - 0.8 * stroke) / (total - 0.8 * stroke))
    bowed = (0.06 * bow) * np.sin(np.pi * aimed)
    xy = np.empty((steps, 2))
    xy[:, 0] = start[0] + (dx + miss * miss_x) * aimed - miss * miss_x * corrected - dy * bowed
    xy[:, 1] = start[1] + (dy + miss * miss_y) * aimed - miss * miss_y * corrected + dx * bowed
    np.floor(xy, out=xy)
    before = np.empty_like(xy)
    before[0] = math.floor(start[0]), math.floor(start[1])
    before[1:] = xy[:-1]
    moved = np.any(xy != before, axis=1)
    return Path(t_start + t[moved], xy[moved], t_start + total)


def _minimum_jerk(phase: np.ndarray) -> np.ndarray:
    """Progress 0..1 of a smooth movement at phase 0..1 (Flash and Hogan, 1985)."""
    s = np.clip(phase, 0.0, 1.0)
    progress: np.ndarray = s * s * s * (10.0 + s * (6.0 * s - 15.0))
    return progress


@dataclass(frozen=True, kw_only=True)
class Browser:
    """A worker's window during one HIT.

    Attributes:
        left: x of the picture grid, px.
        top: y of the picture grid, px.
        rounding: (x, y) px added to every offset: a zoomed browser lays pictures out at fractions
            of a pixel, so an offset can come out as -1 or as the full width.
    """

    left: int
    top: int
    rounding: tuple[int, int]


def open_browser(rng: np.random.Generator) -> Browser:
    """Common window widths less a scroll bar; one window in ten is zoomed."""
    width = int(rng.choice((1263, 1349, 1349, 1423, 1519, 1903)))
    zoomed = rng.random() < 0.1
    dx, dy = rng.integers(-1, 2, 2).tolist()
    return Browser(
        left=(width - GRID_WIDTH) // 2,
        top=int(rng.integers(330, 520)),
        rounding=(dx, dy) if zoomed else (0, 0),
    )


class Hand:
    """Where the cursor is, when, and over which picture."""

    def __init__(self, rng: np.random.Generator, pace: float, browser: Browser, t: float) -> None:
        self.rng = rng
        self.pace = pace
        self.rounding = np.array(browser.rounding, dtype=np.float64)
        self.xy = (browser.left + GRID_WIDTH / 2, browser.top - 60.0)
        self.t = t
        self.over: tuple[Picture, tuple[int, int]] | None = None

    def go(self, xy: tuple[float, float], *, target_px: float, settle_ms: float) -> Path:
        """Move to a page position; the picture that is left logs its part of the way."""
        path = move(
            self.rng,
            self.xy,
            xy,
            self.t,
            target_px=target_px,
            settle_ms=settle_ms * self.pace,
            pace=self.pace,
        )
        if self.over is not None:
            self._feed(path, *self.over)
            if not self.over[0].hovered:
                self.over = None
        self.xy, self.t = xy, path.t_end
        return path

    def go_into(
        self, picture: Picture, origin: tuple[int, int], offset: tuple[int, int], settle_ms: float
    ) -> None:
        """Move to a pixel of a picture, which logs its part of the way."""
        was_over = self.over is not None and self.over[0] is picture
        path = self.go(
            (origin[0] + offset[0] + 0.5, origin[1] + offset[1] + 0.5),
            target_px=0.3 * min(picture.width, picture.height),
            settle_ms=settle_ms,
        )
        if not was_over:
            self._feed(path, picture, origin)
            self.over = (picture, origin)

    def click(self, picture: Picture, offset: tuple[int, int]) -> None:
        """Press the button a moment after the hand has come to rest."""
        self.t += self.pace * (40.0 + 90.0 * self.rng.random())
        dx, dy = self.rounding.tolist()
        picture.click(self.t, (offset[0] + dx, offset[1] + dy))
        self.t += self.pace * 60.0

    def _feed(self, path: Path, picture: Picture, origin: tuple[int, int]) -> None:
        """Send the events that fall on the picture to it, with enter and leave at its border."""
        if not len(path.t):
            return
        offsets = path.xy - origin
        inside = (
            (offsets[:, 0] >= 0)
            & (offsets[:, 1] >= 0)
            & (offsets[:, 0] < picture.width)
            & (offsets[:, 1] < picture.height)
        )
        times, points = path.t.tolist(), (offsets + self.rounding).tolist()
        borders = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        for start, stop in zip(
            [0, *borders.tolist()], [*borders.tolist(), len(times)], strict=True
        ):
            if inside[start]:
                if not picture.hovered:
                    picture.enter(times[start])
                picture.moves(times[start:stop], points[start:stop])
            elif picture.hovered:
                picture.leave(times[start])
