"""How a hand moves a mouse: one movement is an aimed stroke and a slow correction.

Frame: page px, x right, y down; times in ms. A browser hands mouse moves out once per frame of the
screen (60 Hz, with a little jitter) and only when the cursor has reached another pixel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

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
