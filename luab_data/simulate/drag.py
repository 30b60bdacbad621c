"""The COCO tool and one worker who tags an image with icons.

The tool (`Board`) is naver-ai/coco-annotation-tool: ImageBoard.handler.ts, useIconAction.ts,
IconBox.handler.ts. Its quirks are kept (docs/formats.md#coco-ab-tool), but for an image that
reloads, which empties the board unlogged. Times are ms since the page's start, offsets px of the
picture as shown.

What is simulated: the worker goes through the 11 superclasses under the image, drags the icon of
each class found onto an object of it, now and then moves, nudges, misclicks or removes one, steps
back a superclass, or wanders over the image looking. A drag leaves no trace in the log, the way
back to the icons does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from luab_data.schema import COCO_CLASSES, COCO_SUPERCLASSES
from luab_data.simulate.workers import COCO_HABITS, Worker, move, stroke_ms
from luab_data.tools import BOARD_HEIGHT, BORDER_PX
from luab_data.truth import TrueImage

SUPERCLASSES = tuple(COCO_SUPERCLASSES)
_MAX_WIDTH = 1100  # the board is no wider than its page
ICON_PX = 35  # a placed icon: 70 px scaled by one half


def shown_width(width: int, height: int) -> int:
    """Width on the page, px, of an original of the given size; the height is always 450."""
    return max(1, min(round(BOARD_HEIGHT * width / height), _MAX_WIDTH))


class Board:
    """One page: an image, its placed icons, and the three histories."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.icons: dict[str, tuple[int, int]] = {}
        self.category_index = 0
        self.action_histories: list[dict[str, Any]] = []
        self.category_histories: list[dict[str, Any]] = []
        self.mouse_tracking: list[dict[str, Any]] = []

    def drop(self, icon: str, offset: tuple[int, int], t: float) -> bool:
        """Let go of a dragged icon; returns whether it lies on the image now.

        Over any placed icon, its own old place included, the image does not see the drop: the
        window takes it for a drop outside and deletes the icon.
        """
        if not self._on_image(offset) or self.is_covered(offset):
            self.delete(icon, t)
            return False
        before = self.icons.get(icon)
        self.icons[icon] = offset
        self._log("move" if before else "add", icon, before, offset, t)
        return True

    def delete(self, icon: str, t: float) -> None:
        """What a click on an icon, or dragging it off the image, does; nothing if not placed."""
        before = self.icons.pop(icon, None)
        if before is not None:
            self._log("remove", icon, before, None, t)

    def is_covered(self, offset: tuple[int, int]) -> bool:
        """Whether a placed icon lies at this place and takes the mouse's events."""
        half = ICON_PX / 2
        x, y = offset
        return any(abs(x - ix) <= half and abs(y - iy) <= half for ix, iy in self.icons.values())

    def mouse_move(self, times: list[float], offsets: list[list[float]]) -> None:
        """Mouse moves without a button held; only those over the bare image are logged."""
        for t, (x, y) in zip(times, offsets, strict=True):
            place = (int(x), int(y))
            if self._on_image(place) and not self.is_covered(place):
                self.mouse_tracking.append({"timeAt": int(t), **self.fraction(place)})

    def step(self, direction: int, t: float, *, by_keyboard: bool) -> None:
        """Go to the next (+1) or previous (-1) superclass; nothing happens past the ends."""
        index = self.category_index + direction
        if 0 <= index < len(SUPERCLASSES):
            self.category_index = index
            self.category_histories.append(
                {
                    "categoryIndex": index,
                    "categoryName": SUPERCLASSES[index],
                    "timeAt": int(t),
                    "usingKeyboard": by_keyboard,
                }
            )

    def _on_image(self, offset: tuple[int, int]) -> bool:
        """Offsets count from inside the border, which belongs to the image too."""
        x, y = offset
        return (
            -BORDER_PX <= x < self.width + BORDER_PX and -BORDER_PX <= y < BOARD_HEIGHT + BORDER_PX
        )

    def fraction(self, offset: tuple[int, int]) -> dict[str, float]:
        """`x`, `y` of a place, fractions of the picture."""
        return {"x": offset[0] / self.width, "y": offset[1] / BOARD_HEIGHT}

    def _log(
        self,
        action: str,
        icon: str,
        before: tuple[int, int] | None,
        after: tuple[int, int] | None,
        t: float,
    ) -> None:
        self.action_histories.append(
            {
                "actionType": action,
                "iconType": icon,
                "pointFrom": None if before is None else self.fraction(before),
                "pointTo": None if after is None else self.fraction(after),
                "timeAt": int(t),
            }
        )


_TRAY_Y = BOARD_HEIGHT + 90  # the row of icons below the image
_HAND_PX = 2.0  # standard deviation of a drop
_CANDIDATES = 8
_WANDERS = 0.12  # per superclass
_REPEATS = 0.3  # a worker whose icon vanished makes the same slip again


@dataclass(kw_only=True)
class Placed:
    """What a worker did with one icon and meant by it.

    Attributes:
        annotation_id: object that the last add was meant for; None for none.
        last_add: (x, y) px as shown.
    """

    annotation_id: int | None
    last_add: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One object on the image; `rle` is pycocotools' run-length encoding of its mask."""

    annotation_id: int
    rle: Mapping[str, Any]
    area_px: int

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Pixels of the object at random, with repeats: (count, 2) int64, (x, y)."""
        decoded: np.ndarray = coco_mask.decode(self.rle)
        # Masks come column by column; as one row of bool they are searched ten times faster.
        flat = np.flatnonzero(decoded.ravel(order="F").view(bool))
        picks = flat[rng.integers(len(flat), size=count)]
        return np.column_stack(np.divmod(picks, len(decoded)))


def objects_of(image: TrueImage) -> dict[str, list[Instance]]:
    """Objects by class name, in file order; an object without a single pixel is left out."""
    found: dict[str, list[Instance]] = {}
    for thing in image.things:
        rle = {"size": [image.height, image.width], "counts": thing.mask}
        if area_px := int(coco_mask.area(rle)):
            instance = Instance(annotation_id=thing.annotation_id, rle=rle, area_px=area_px)
            found.setdefault(COCO_CLASSES[thing.label], []).append(instance)
    return found


def tag(
    rng: np.random.Generator, worker: Worker, image: TrueImage, board: Board
) -> tuple[dict[str, Placed], float]:
    """Work through one page; the board then holds the log.

    Returns: what was meant, by icon name, for every icon that was ever on the image; and the ms
        from the page's start to its submission.
    """
    tagger = _Tagger(rng, worker, image, board)
    found = tagger.find_classes()
    tagger.t = 600.0 + 1500.0 * float(rng.exponential())
    while True:
        for name in COCO_SUPERCLASSES[SUPERCLASSES[board.category_index]]:
            if name in found:
                found.discard(name)
                tagger.place(name)
        if rng.random() < _WANDERS:
            tagger.wander()
        goes_back = board.category_index > 0 and rng.random() < tagger.habit.returns
        if board.category_index == len(SUPERCLASSES) - 1 and not goes_back:
            break
        tagger.turn(-1 if goes_back else 1)
    return tagger.placed, tagger.t + worker.pace * (400.0 + 900.0 * float(rng.exponential()))


class _Tagger:
    """Hand, clock and intentions of the worker on one page."""

    def __init__(
        self, rng: np.random.Generator, worker: Worker, image: TrueImage, board: Board
    ) -> None:
        self.rng = rng
        self.habit = COCO_HABITS[worker.style]
        self.pace = worker.pace
        self.image = image
        self.objects = objects_of(image)
        self.board = board
        self.t = 0.0
        self.xy = (board.width / 2, float(_TRAY_Y))
        self.placed: dict[str, Placed] = {}

    def find_classes(self) -> set[str]:
        """Classes that get an icon: present ones by size, and a few that are not there."""
        rng, habit = self.rng, self.habit
        base = math.log(habit.finds / (1 - habit.finds))
        found = set()
        for name, instances in self.objects.items():
            area_px = sum(instance.area_px for instance in instances)
            share = area_px / (self.image.width * self.image.height)
            odds = base + habit.finds_slope * math.log10(share / 0.01)
            if rng.random() < 1 / (1 + math.exp(-odds)):
                found.add(name)
        names = [name for group in COCO_SUPERCLASSES.values() for name in group]
        absent = [name for name in names if name not in self.objects]
        for _ in range(min(int(rng.poisson(habit.invents)), len(absent))):
            found.add(absent[int(rng.integers(len(absent)))])
        return found

    def turn(self, direction: int) -> None:
        """Show another superclass."""
        self.t += self.pace * (500.0 + 1600.0 * float(self.rng.exponential()))
        by_keyboard = bool(self.rng.random() < self.habit.keyboard)
        self.board.step(direction, self.t, by_keyboard=by_keyboard)

    def wander(self) -> None:
        """Go over the image, looking, and back to the icons."""
        x, y = self.rng.normal(0.5, 0.2, 2).clip(0.02, 0.98).tolist()
        self._go((x * self.board.width, y * BOARD_HEIGHT))
        self.t += self.pace * 400.0
        self._go_to_tray()

    def place(self, name: str) -> None:
        """Put an icon on the image, perhaps correct it, and go back to the icons."""
        rng, habit, board = self.rng, self.habit, self.board
        self._go_to_tray()
        if not self._add(name):
            return  # every try fell onto another icon
        chance = rng.random(4).tolist()
        if chance[0] < habit.moves:
            _, offset = self._target(name)
            self._drag(name, offset)
        if name in board.icons and chance[1] < habit.nudges:
            self._slip(name, by_click=False)
        if name in board.icons and chance[2] < habit.misclicks:
            self._slip(name, by_click=True)
        if name in board.icons and chance[3] < habit.drops:
            self._drag(name, (board.width // 2, _TRAY_Y))
        self._go_to_tray()

    def _slip(self, name: str, *, by_click: bool) -> None:
        """Lose the icon by a small push or a click, and put it back; perhaps several times."""
        while name in self.board.icons:
            if by_click:
                self.t += self.pace * 300.0
                self.board.delete(name, self.t)
            else:
                x, y = self.board.icons[name]
                dx, dy = self.rng.integers(-ICON_PX // 3, ICON_PX // 3 + 1, 2).tolist()
                self._drag(name, (x + dx, y + dy))
            if name in self.board.icons or self.rng.random() < 0.06 or not self._add(name):
                return  # not lost after all, or left away for good
            if self.rng.random() >= _REPEATS:
                return

    def _add(self, name: str) -> bool:
        """Drag an icon from the row onto the image, trying again where an icon is in the way."""
        for _ in range(4):
            annotation_id, offset = self._target(name)
            self.xy = (self.board.width / 2, float(_TRAY_Y))
            self.t += self.pace * (300.0 + 900.0 * float(self.rng.exponential()))  # finds the icon
            if self._drag(name, offset):
                self.placed[name] = Placed(annotation_id=annotation_id, last_add=offset)
                return True
        return False

    def _drag(self, name: str, offset: tuple[int, int]) -> bool:
        """Drag and drop: no mouse moves are logged on the way."""
        distance = math.hypot(offset[0] - self.xy[0], offset[1] - self.xy[1])
        tempo = math.exp(0.25 * float(self.rng.standard_normal()))
        self.t += 300.0 * self.pace + stroke_ms(distance, 20.0, self.pace) * 1.3 * tempo
        self.xy = (float(offset[0]), float(offset[1]))
        return self.board.drop(name, offset, self.t)

    def _target(self, name: str) -> tuple[int | None, tuple[int, int]]:
        """Where to drop an icon, px as shown, and the object it is meant for."""
        board, rng = self.board, self.rng
        instances = self.objects.get(name, ())
        annotation_id = None
        if instances and rng.random() < self.habit.on_object:
            instance = instances[0]
            if len(instances) > 1:
                weights = np.sqrt([item.area_px for item in instances])
                instance = instances[int(rng.choice(len(instances), p=weights / weights.sum()))]
            annotation_id = instance.annotation_id
            # The most central of a few of its points.
            points = instance.sample(rng, _CANDIDATES) + 0.5
            distances = ((points - points.mean(axis=0)) ** 2).sum(axis=1)
            x, y = points[int(distances.argmin())].tolist()
        else:
            x, y = (rng.random(2) * (self.image.width, self.image.height)).tolist()
        shaky = rng.normal(0.0, _HAND_PX, 2).tolist()
        px = math.floor(x * board.width / self.image.width + shaky[0])
        py = math.floor(y * BOARD_HEIGHT / self.image.height + shaky[1])
        low, right, bottom = -BORDER_PX, board.width + BORDER_PX - 1, BOARD_HEIGHT + BORDER_PX - 1
        return annotation_id, (min(max(px, low), right), min(max(py, low), bottom))

    def _go(self, xy: tuple[float, float]) -> None:
        path = move(self.rng, self.xy, xy, self.t, target_px=50.0, settle_ms=120.0, pace=self.pace)
        self.board.mouse_move(path.t.tolist(), path.xy.tolist())
        self.xy, self.t = xy, path.t_end

    def _go_to_tray(self) -> None:
        if self.xy[1] < BOARD_HEIGHT:
            self._go((self.board.width * float(self.rng.uniform(0.3, 0.7)), float(_TRAY_Y)))
