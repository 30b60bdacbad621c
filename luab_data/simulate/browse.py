"""One worker browses one page of the ImageNet task.

What is simulated: the hand goes over the grid row by row, every second row backwards; it passes
over or skips pictures, clicks those the worker takes for the class, comes back to a few, and goes
to the submit button. Page px, x right, y down; times in ms. Left out: scrolling (the cursor moves
in page coordinates), and crossing pictures on the way to one that is not next to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luab_data.boxes import LabelledImage
from luab_data.simulate.page import (
    GRID_WIDTH,
    Picture,
    Shown,
    positions,
    rendered_sizes,
    serpentine,
)
from luab_data.simulate.workers import IMAGENET_HABITS, Habit, Path, Worker, move

_UNSEEN_OBJECT = (0.15, 0.15, 0.85, 0.85)  # taken for the object of an image without boxes
_RESELECTS = 0.6
_REVISIT_DESELECTS = 0.15
_REVISIT_SELECTS = 0.2
_SUBMITS_BY_KEYBOARD = 0.3  # the cursor stays, so the last picture's `leave` is never logged


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


def aim(
    rng: np.random.Generator, habit: Habit, image: LabelledImage, width: int, height: int
) -> tuple[tuple[int, int], int | None]:
    """The pixel a worker means to click, on a picture shown at width x height px.

    Returns: offset (x, y) px, and the index of the box it is meant for; None for a worker who aims
        at the picture as a whole, or an image without boxes.
    """
    target: int | None = None
    if habit.aim == "picture":
        x0, y0, x1, y1 = 0.0, 0.0, 1.0, 1.0
    elif len(image.boxes) == 0:
        x0, y0, x1, y1 = _UNSEEN_OBJECT
    else:
        size = (image.width, image.height, image.width, image.height)
        boxes = np.clip(image.boxes / size, 0.0, 1.0)
        target = 0
        if len(boxes) > 1:  # the larger an instance is, the more often it is the one clicked
            areas = np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-4)
            target = int(rng.choice(len(boxes), p=areas / areas.sum()))
        x0, y0, x1, y1 = boxes[target].tolist()
    noise_x, noise_y = rng.standard_normal(2).tolist()
    x = (x0 + x1) / 2 + (habit.shift[0] + habit.spread * noise_x) * (x1 - x0)
    y = (y0 + y1) / 2 + (habit.shift[1] + habit.spread * noise_y) * (y1 - y0)
    offset = (min(max(int(x * width), 0), width - 1), min(max(int(y * height), 0), height - 1))
    return offset, target


def browse(
    rng: np.random.Generator,
    worker: Worker,
    shown: list[Shown],
    sizes: np.ndarray,
    browser: Browser,
    *,
    round_number: int,
    t_start: float,
) -> float:
    """Fill `picture`, `position` and `target_box` of the pictures shown; returns the end, epoch ms.

    Args:
        rng: all randomness.
        worker: who browses.
        shown: pictures of the class, in any order.
        sizes: (S, 2) natural px of all pictures of the page in slot order, S <= 48.
        browser: the worker's window.
        round_number: 1 or 2.
        t_start: epoch ms at which the page is there.
    """
    habit = IMAGENET_HABITS[worker.style]
    rendered = rendered_sizes(sizes)
    slots = np.array([item.slot for item in shown], dtype=np.int64)  # may be empty
    # Pictures load roughly from the top; one logs its position when it has loaded itself.
    rank = np.empty(len(sizes), dtype=np.int64)
    every = np.arange(len(sizes))
    rank[np.argsort(every + rng.normal(0.0, 4.0, len(sizes)))] = every
    loaded = rank <= rank[slots][:, None]
    logged = positions(rendered, loaded, browser.left, browser.top)
    final = positions(rendered, np.ones((1, len(sizes)), bool), browser.left, browser.top)[0]
    for index, item in enumerate(shown):
        item.picture = Picture(*rendered[item.slot].tolist())
        x, y = logged[index, item.slot].tolist()
        item.position = (x, y)
    visit = _Visit(Hand(rng, worker.pace, browser, t_start), habit, final)
    visit.first_pass(shown, rendered, habit.selects[round_number - 1])
    visit.second_pass(shown)
    bottom = float(final[-1, 1] + rendered[-1, 1] + 80)
    return visit.submit((browser.left + GRID_WIDTH / 2, bottom))


class _Visit:
    """The course of one page: hand, habit and where the pictures really are."""

    def __init__(self, hand: Hand, habit: Habit, origins: np.ndarray) -> None:
        self.hand = hand
        self.rng = hand.rng
        self.habit = habit
        self.origins: list[tuple[int, int]] = [(x, y) for x, y in origins.tolist()]

    def first_pass(self, shown: list[Shown], rendered: np.ndarray, selects: float) -> None:
        """All slots in serpentine order."""
        of_slot = {item.slot: item for item in shown}
        hand, slots = self.hand, len(rendered)
        chance = self.rng.random((3, slots)).tolist()
        wander = self.rng.normal(0.5, 0.2, (slots, 2)).clip(0.05, 0.95)
        spots = (np.array(self.origins) + wander * rendered).tolist()
        for slot in serpentine(slots):
            hand.t += hand.pace * (250.0 + 650.0 * chance[2][slot])  # a look, before any movement
            item = of_slot.get(slot)
            if item is None:
                # A picture of another class: it takes time, but leaves nothing in the log.
                if chance[1][slot] < self.habit.hovers:
                    if hand.over is not None:
                        hand.go(tuple(spots[slot]), target_px=80.0, settle_ms=100.0)
                    else:
                        hand.xy, hand.t = tuple(spots[slot]), hand.t + hand.pace * 650.0
            elif not item.overlooked:
                if chance[0][slot] < selects:
                    self._select(item)
                elif not self.habit.touch and (
                    item.must_hover or chance[1][slot] < self.habit.hovers
                ):
                    self._pass_over(item)

    def second_pass(self, shown: list[Shown]) -> None:
        """A few pictures are looked at again, some of them decided differently."""
        chance = self.rng.random((2, len(shown))).tolist()
        for index, item in enumerate(shown):
            if item.overlooked or chance[0][index] >= self.habit.revisits:
                continue
            if not item.picture.selected and chance[1][index] < _REVISIT_SELECTS:
                self._select(item)
            elif item.picture.selected and chance[1][index] < _REVISIT_DESELECTS:
                self._click_at(item)
            elif not self.habit.touch:
                self._pass_over(item)

    def submit(self, button: tuple[float, float]) -> float:
        """Send the page off; returns when, epoch ms."""
        if not self.habit.touch and self.rng.random() >= _SUBMITS_BY_KEYBOARD:
            self.hand.go(button, target_px=40.0, settle_ms=120.0)
        return self.hand.t + self.hand.pace * 250.0

    def _select(self, item: Shown) -> None:
        """Click it; perhaps take that back, and perhaps that again."""
        self._click_at(item)
        while self.rng.random() < self.habit.takes_back:
            self.hand.t += self.hand.pace * (250.0 + 900.0 * self.rng.random())
            self._click_at(item)
            if self.rng.random() >= _RESELECTS:
                return
            self._click_at(item)

    def _click_at(self, item: Shown) -> None:
        picture = item.picture
        offset, target = aim(self.rng, self.habit, item.image, picture.width, picture.height)
        if self.habit.touch:
            self.hand.t += self.hand.pace * (350.0 + 500.0 * self.rng.random())
        else:
            settle = 170.0 + 270.0 * self.rng.random()
            self.hand.go_into(picture, self.origins[item.slot], offset, settle)
        self.hand.click(picture, offset)
        if picture.selected:
            item.target_box = target

    def _pass_over(self, item: Shown) -> None:
        """Rest on the picture without clicking."""
        x, y = self.rng.normal(0.5, 0.2, 2).clip(0.0, 0.99).tolist()
        width, height = item.picture.width, item.picture.height
        offset = (int(x * width), int(y * height))
        self.hand.go_into(item.picture, self.origins[item.slot], offset, 150.0)
