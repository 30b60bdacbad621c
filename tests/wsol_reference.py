"""Two slow ways to the boxes of a score map, written from docs/definitions.md#boxes-from-maps, not
from our code.

`reference_*` does what clovaai/wsolevaluation does, a threshold at a time with OpenCV's contours.
`flooded_contours` floods pixels in plain Python and knows no OpenCV.
"""

from __future__ import annotations

import cv2
import numpy as np


def reference_boxes(
    scores: np.ndarray, taus: np.ndarray, *, all_contours: bool, continuous: bool = False
) -> list[list[list[int]]]:
    """Boxes at each threshold."""
    height, width = scores.shape
    image = (scores * 255).astype(np.uint8)[:, :, None]
    result = []
    for tau in taus:
        _, binary = cv2.threshold(image, int(tau * np.max(image)), 255, cv2.THRESH_BINARY)
        contours = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        if len(contours) == 0:
            result.append([[0, 0, 0, 0]])
            continue
        if not all_contours:
            contours = [max(contours, key=cv2.contourArea)]
        boxes = []
        for contour in contours:
            x, y, w, h = cv2.boundingRect(contour)
            if continuous:
                boxes.append([x, y, x + w, y + h])
            else:
                boxes.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])
        result.append(boxes)
    return result


def reference_truth(boxes_px: list, image_wh: tuple, map_wh: tuple, *, continuous: bool = False):
    cut = float if continuous else int
    (w, h), (mw, mh) = map(float, image_wh), map(float, map_wh)
    return [
        [cut(x0 * mw / w), cut(y0 * mh / h), cut(x1 * mw / w), cut(y1 * mh / h)]
        for x0, y0, x1, y1 in boxes_px
    ]


def reference_iou(a: np.ndarray, b: np.ndarray, *, continuous: bool = False) -> np.ndarray:
    """(A, B) of (A, 4) and (B, 4)."""
    one = 0 if continuous else 1
    a, b = a[:, None], b[None]
    x0, y0 = np.maximum(a[..., 0], b[..., 0]), np.maximum(a[..., 1], b[..., 1])
    x1, y1 = np.minimum(a[..., 2], b[..., 2]), np.minimum(a[..., 3], b[..., 3])
    inner = np.maximum(0, x1 - x0 + one) * np.maximum(0, y1 - y0 + one)
    area_a = (a[..., 2] - a[..., 0] + one) * (a[..., 3] - a[..., 1] + one)
    area_b = (b[..., 2] - b[..., 0] + one) * (b[..., 3] - b[..., 1] + one)
    union = area_a + area_b - inner
    nothing = union <= 0
    return np.where(nothing, 0, inner / np.where(nothing, 1, union))


def reference_best_iou(
    scores: np.ndarray,
    truth: list,
    taus: np.ndarray,
    *,
    all_contours: bool,
    continuous: bool = False,
) -> np.ndarray:
    """(T,) best overlap of any box with any true box."""
    boxes = reference_boxes(scores, taus, all_contours=all_contours, continuous=continuous)
    flat = np.array([box for at_tau in boxes for box in at_tau])
    best = reference_iou(flat, np.array(truth), continuous=continuous).max(1)
    result, start = [], 0
    for at_tau in boxes:
        result.append(max(best[start : start + len(at_tau)]))
        start += len(at_tau)
    return np.array(result)


class ReferenceEvaluator:
    """Counts per threshold, then shares."""

    def __init__(self, taus: np.ndarray, *, all_contours: bool, continuous: bool = False) -> None:
        self.taus, self.options = taus, {"all_contours": all_contours, "continuous": continuous}
        self.num_correct = {delta: np.zeros(len(taus)) for delta in (0.3, 0.5, 0.7)}
        self.count = 0

    def accumulate(self, scores: np.ndarray, truth: list) -> None:
        iou = reference_best_iou(scores, truth, self.taus, **self.options)
        for delta, correct in self.num_correct.items():
            correct[np.where(iou >= delta)[0]] += 1
        self.count += 1

    def compute(self) -> dict[float, float]:
        return {delta: (c / self.count).max() for delta, c in self.num_correct.items()}


def flooded_contours(binary: list[list[bool]]) -> list[tuple[tuple[int, int, int, int], float]]:
    """(box, polygon area) of every part and hole; far corners exclusive; in no particular order.

    Parts touch at corners, holes do not. A hole's contour runs over the pixels around it, so its
    box is one pixel larger on every side. A polygon through pixel centres covers a 2 x 2 block
    with four of its pixels wholly, with three by half.
    """
    height, width = len(binary), len(binary[0])
    padded = [[False] * (width + 2)]
    padded += [[False, *row, False] for row in binary] + [[False] * (width + 2)]
    found = []
    for inside, neighbours in ((True, 8), (False, 4)):
        todo = {
            (y, x) for y in range(height + 2) for x in range(width + 2) if padded[y][x] == inside
        }
        while todo:
            part = _flood(todo, neighbours)
            if not inside and (0, 0) in part:
                continue
            ys, xs = [y for y, _ in part], [x for _, x in part]
            grow = 0 if inside else 1
            # Padding moved everything by one.
            box = (min(xs) - 1 - grow, min(ys) - 1 - grow, max(xs) + grow, max(ys) + grow)
            if inside:
                filled = _filled(part, height + 2, width + 2)
            else:
                around = {
                    (y + dy, x + dx)
                    for y, x in part
                    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
                }
                filled = part | around
            found.append((box, _polygon_area(filled)))
    return found


def _flood(todo: set, neighbours: int) -> set:
    start = todo.pop()
    part, stack = {start}, [start]
    while stack:
        y, x = stack.pop()
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                at = (y + dy, x + dx)
                if at in todo and (neighbours == 8 or dy == 0 or dx == 0):
                    todo.remove(at)
                    part.add(at)
                    stack.append(at)
    return part


def _filled(part: set, height: int, width: int) -> set:
    outside = {(y, x) for y in range(height) for x in range(width)} - part
    frame = _flood_from(outside, (0, 0))
    return {(y, x) for y in range(height) for x in range(width)} - frame


def _flood_from(pixels: set, start: tuple[int, int]) -> set:
    seen, stack = {start}, [start]
    while stack:
        y, x = stack.pop()
        for at in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)):
            if at in pixels and at not in seen:
                seen.add(at)
                stack.append(at)
    return seen


def _polygon_area(pixels: set) -> float:
    area = 0.0
    for y, x in {(y + dy, x + dx) for y, x in pixels for dy in (-1, 0) for dx in (-1, 0)}:
        count = sum((y + dy, x + dx) in pixels for dy in (0, 1) for dx in (0, 1))
        area += {4: 1.0, 3: 0.5}.get(count, 0.0)
    return area
