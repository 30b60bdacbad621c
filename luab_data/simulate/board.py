"""The COCO tool: what it logs of icons dragged onto an image.

Source: naver-ai/coco-annotation-tool: ImageBoard.handler.ts, useIconAction.ts, IconBox.handler.ts.
Quirks kept: metrics.md, section 6.2. An image that reloads, which empties the board unlogged, is
left out. Times are ms since the page's start, offsets are px of the picture as shown.
"""

from __future__ import annotations

from typing import Any

from luab_data.tools import BOARD_HEIGHT, BORDER_PX, COCO_SUPERCLASSES

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
                self.mouse_tracking.append({"timeAt": int(t), **self._fraction(place)})

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

    def _fraction(self, offset: tuple[int, int]) -> dict[str, float]:
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
                "pointFrom": None if before is None else self._fraction(before),
                "pointTo": None if after is None else self._fraction(after),
                "timeAt": int(t),
            }
        )
