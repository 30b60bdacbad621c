"""The hand on the page of the ImageNet task: moves the cursor, and tells the pictures under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luab_data.simulate.page import GRID_WIDTH, Picture
from luab_data.simulate.pointer import Path, move


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
