"""Where icons lie on their objects, how large objects are, and whether small ones are missed.

A class is as large as its boxes, crowds left out. Sizes are bins of the share of the image that a
box covers: ten of equal width in the logarithm from 1e-4 to 1; smaller boxes go to the first.
"""

from __future__ import annotations

import numpy as np

from luab_data.ragged import Bools, Floats, Ints
from luab_data.schema import COCO_CLASSES
from luab_data.statistics.coco.icons import NUM_CLASSES, IconBatch, keys
from luab_data.statistics.estimate import Estimate, Parts, grid_parts, ratio
from luab_data.statistics.maps import MAP_CELLS, map_cell, offset_cells

NUM_SIZES = 10
SMALLEST = 1e-4

MIN_OCCURRENCES = 20
"""Images that must have a class for its recall to take part in a correlation over classes."""

MIN_CLASSES = 5
"""Classes that a correlation over classes takes at least."""


def size_bin(area: Floats) -> Ints:
    """(n,) bin 0..9 of each area, a fraction of the image. Source: metrics 4.12, U12."""
    with np.errstate(divide="ignore"):
        place = np.floor(NUM_SIZES * (1 - np.log10(area) / np.log10(SMALLEST)) + 1e-9)
    bins: Ints = np.clip(place, 0, NUM_SIZES - 1).astype(np.int64)
    return bins


def _areas(images: IconBatch) -> Floats:
    """(num_boxes,) share of the image that each box covers; NaN if its size is not known."""
    boxes, classes = images.boxes
    width, height = images.size
    area: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area / (width * height)[classes.rows]


def class_size(images: IconBatch) -> Parts:
    """Mean bin of the area of each class's boxes. Source: metrics 4.12."""
    classes, area = images.boxes[1], _areas(images)
    there = ~np.isnan(area)
    return Parts(
        row=classes.rows[there],
        part=size_bin(area[there]).astype(np.float64),
        whole=np.ones(int(there.sum())),
        cell=classes.values[there].astype(np.int64),
    )


def recall_by_size(images: IconBatch) -> Parts:
    """Recall of classes by the area of their largest box in the image.

    A class of which the image has only crowds has no box and does not count.
    """
    classes, found = images.occurrences
    area = _areas(images)
    largest = np.full(len(found), -1.0)
    box, place = _matched(keys(images.boxes[1]), keys(classes))
    np.maximum.at(largest, place, np.nan_to_num(area[box], nan=-1.0))
    there = largest >= 0
    return Parts(
        row=classes.rows[there],
        part=found[there].astype(np.float64),
        whole=np.ones(int(there.sum())),
        cell=size_bin(largest[there]),
    )


def _matched(wanted: Ints, known: Ints) -> tuple[Ints, Ints]:
    """Places of those wanted that are among the known, which ascend; and where they are there."""
    if not len(known):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    there = np.flatnonzero(known[place] == wanted)
    return there, place[there]


# --- over classes --------------------------------------------------------------------------------


def recall_and_size(images: IconBatch) -> Parts:
    """Sums for size_correlation: of all occurrences, then of class_recall, then of class_size."""
    classes, found = images.occurrences
    size, part = class_size(images), found.astype(np.float64)
    assert size.cell is not None
    return Parts(
        row=np.concatenate([classes.rows, classes.rows, size.row]),
        part=np.concatenate([part, part, size.part]),
        whole=np.ones(2 * len(found) + len(size.row)),
        cell=np.concatenate(
            [
                np.zeros(len(found), np.int64),
                1 + classes.values.astype(np.int64),
                1 + NUM_CLASSES + size.cell,
            ]
        ),
    )


def size_correlation(part: Floats, whole: Floats) -> Floats:
    """Pearson's r of the recall of a class and its size.

    Taken over the classes that at least MIN_OCCURRENCES images have (in a resample: that many of
    its images) and that have a box; NaN for fewer than MIN_CLASSES of them.
    Source: metrics 4.12.
    """
    mean = ratio(part, whole)[..., 1:]
    recall, size = mean[..., :NUM_CLASSES], mean[..., NUM_CLASSES:]
    there = (whole[..., 1 : 1 + NUM_CLASSES] >= MIN_OCCURRENCES) & ~np.isnan(size)
    return _pearson(recall, size, there)


def _pearson(x: Floats, y: Floats, there: Bools) -> Floats:
    """Correlation along the last axis of those that are there."""
    count = there.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = (np.where(there, v, 0) for v in (x, y))
        x, y = (np.where(there, v - v.sum(axis=-1, keepdims=True) / count, 0) for v in (x, y))
        r = (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return np.asarray(np.where(count[..., 0] >= MIN_CLASSES, r, np.nan))


def size_outliers(
    class_recall: Estimate, class_size: Estimate, *, num: int = 8
) -> dict[str, float]:
    """Classes furthest from the regression line of recall on size.

    Args:
        class_recall, class_size: (80,) of the measures of these names.
        num: how many are named.
    Returns: class name -> studentised residual, the furthest first: how many standard errors the
        recall lies above (+) or below (-) the line that the other classes give. Only classes that
        size_correlation takes; empty for fewer than MIN_CLASSES.
    Source: metrics 4.12, "expected outliers".
    """
    x, y = class_size.value, class_recall.value
    own = np.flatnonzero((class_recall.n >= MIN_OCCURRENCES) & ~np.isnan(x + y))
    if len(own) < MIN_CLASSES or np.ptp(x[own]) == 0:
        return {}
    x, y = x[own], y[own]
    spread = x - x.mean()
    leverage = 1 / len(own) + spread**2 / (spread @ spread)
    residual = y - y.mean() - spread * (spread @ (y - y.mean())) / (spread @ spread)
    others = residual @ residual - residual**2 / (1 - leverage)
    scale = np.sqrt(np.maximum(others, 0) / (len(own) - 3) * (1 - leverage))
    with np.errstate(invalid="ignore", divide="ignore"):
        studentised = np.where(scale > 0, residual / scale, 0)
    order = np.argsort(-np.abs(studentised), kind="stable")[:num]
    return {COCO_CLASSES[own[k]]: float(studentised[k]) for k in order}


# --- points --------------------------------------------------------------------------------------


def icon_offsets(images: IconBatch) -> tuple[Ints, Floats]:
    """Offset of each icon's final point from the centre of its box.

    Its box is the one of its class that holds it, else the one with the nearest centre; of several
    that hold it the one with the nearest centre. |offset| <= .5 on both axes is inside.

    Returns: the row of each icon that is there at the end and whose class has a box in the image,
        and (num_found, 2) its offset in box widths and heights, y down. Source: metrics 4.8.
    """
    boxes, classes = images.boxes
    width, height = images.size
    box, icon = _matched(keys(classes), keys(images.icons))
    row = images.icons.rows[icon]
    point = np.stack([images.of_icons("final_x")[icon] * width[row],
                      images.of_icons("final_y")[icon] * height[row]], axis=1)  # fmt: skip
    sides = boxes[box, 2:] - boxes[box, :2]
    distance = point - (boxes[box, :2] + boxes[box, 2:]) / 2
    known = ~np.isnan(distance).any(axis=1) & (sides > 0).all(axis=1)
    icon, sides, distance = icon[known], sides[known], distance[known]
    holds = (2 * np.abs(distance) <= sides).all(axis=1)
    order = np.lexsort(((distance**2).sum(axis=1), ~holds, icon))
    found, first = np.unique(icon[order], return_index=True)
    chosen = order[first]
    return images.icons.rows[found], distance[chosen] / sides[chosen]


def icon_offset(images: IconBatch) -> Parts:
    """Mean offset of icons from the centre of their box, x in cell 0, y in cell 1. Source: 4.8."""
    return _offset_parts(*icon_offsets(images))


def icon_offset_inside(images: IconBatch) -> Parts:
    """icon_offset of icons inside their box, which no far icon can move."""
    row, offset = icon_offsets(images)
    inside = (np.abs(offset) <= 0.5).all(axis=1)
    return _offset_parts(row[inside], offset[inside])


def _offset_parts(row: Ints, offset: Floats) -> Parts:
    return grid_parts(offset, np.ones_like(offset))._replace(row=np.repeat(row, 2))


def icon_offset_density(images: IconBatch) -> Parts:
    """Icons by the cell of their offset, among those less than 1.05 box sizes away on both axes."""
    row, offset = icon_offsets(images)
    index, cell = offset_cells(offset[:, 0], offset[:, 1])
    ones = np.ones(len(index))
    return Parts(row=row[index], part=ones, whole=ones, cell=cell)


def _box_centres(images: IconBatch) -> tuple[Ints, Ints]:
    """Row and cell of each box whose image has a size."""
    boxes, classes = images.boxes
    size = np.stack(images.size, axis=1)[classes.rows]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / size
    known = ~np.isnan(centre).any(axis=1)
    return classes.rows[known], map_cell(centre[known, 0], centre[known, 1])


def box_centre_density(images: IconBatch) -> Parts:
    """Box instances by the cell of their centre. Source: metrics 4.5."""
    row, cell = _box_centres(images)
    return Parts(row=row, part=np.ones(len(row)), whole=np.ones(len(row)), cell=cell)


def central_cell(images: IconBatch) -> Parts:
    """Box instances whose centre is in the central cell. Source: metrics 4.5."""
    row, cell = _box_centres(images)
    central = (cell == MAP_CELLS**2 // 2).astype(np.float64)
    return Parts(row=row, part=central, whole=np.ones(len(row)))
