"""How large the objects of a class are, and whether small ones are missed.

A class is as large as its boxes, crowds left out. Sizes are bins of the share of the image that a
box covers: ten of equal width in the logarithm from 1e-4 to 1; smaller boxes go to the first.
Source: docs/definitions.md#recall-and-size
"""

from __future__ import annotations

import numpy as np

from luab_data.ragged import Bools, Floats, Ints
from luab_data.schema import COCO_CLASSES
from luab_data.statistics.coco.icons import NUM_CLASSES, IconBatch, keys, matched
from luab_data.statistics.estimate import Estimate, Terms, mean_of, ratio

NUM_SIZES = 10
SMALLEST = 1e-4

MIN_OCCURRENCES = 20
"""Images that must have a class for its recall to take part in a correlation over classes."""

MIN_CLASSES = 5
"""Classes that a correlation over classes takes at least."""


def size_bin(area: Floats) -> Ints:
    """(n,) bin 0..9 of each area, a fraction of the image; NaN is in the last."""
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.floor(NUM_SIZES * (1 - np.log10(area) / np.log10(SMALLEST)) + 1e-9)
    bins: Ints = np.clip(np.nan_to_num(place, nan=np.inf), 0, NUM_SIZES - 1).astype(np.int64)
    return bins


def _areas(images: IconBatch) -> Floats:
    """(num_boxes,) share of the image that each box covers; NaN if its size is not known."""
    x0, y0, x1, y1 = images.boxes[0].T
    width, height = images.size
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (x1 - x0) * (y1 - y0) / (width * height)[images.box_classes.rows]
    return np.where(np.isfinite(area), area, np.nan)


def class_size(images: IconBatch) -> Terms:
    """Mean bin of the area of each class's boxes."""
    classes, area = images.box_classes, _areas(images)
    return mean_of(size_bin(area), where=~np.isnan(area), row=classes.rows, cell=classes.values)


def class_recall(images: IconBatch) -> Terms:
    """Recall of each class over the images that have it."""
    classes, found = images.occurrences
    return mean_of(found, row=classes.rows, cell=classes.values)


def recall_by_size(images: IconBatch) -> Terms:
    """Recall of classes by the area of their largest box in the image.

    A class of which the image has only crowds has no box and does not count.
    """
    classes, found = images.occurrences
    largest = np.full(len(found), -1.0)
    box, place = matched(keys(images.box_classes), keys(classes))
    np.maximum.at(largest, place, np.nan_to_num(_areas(images)[box], nan=-1.0))
    there = largest >= 0
    return mean_of(found[there], row=classes.rows[there], cell=size_bin(largest[there]))


def recall_and_size(images: IconBatch) -> Terms:
    """Sums for size_correlation: of all occurrences, then of class_recall, then of class_size."""
    recall, size = class_recall(images), class_size(images)
    assert recall.cell is not None and size.cell is not None
    return Terms(
        row=np.concatenate([recall.row, recall.row, size.row]),
        part=np.concatenate([recall.part, recall.part, size.part]),
        whole=np.concatenate([recall.whole, recall.whole, size.whole]),
        cell=np.concatenate([0 * recall.cell, 1 + recall.cell, 1 + NUM_CLASSES + size.cell]),
    )


def size_correlation(part: Floats, whole: Floats) -> Floats:
    """Pearson's r of the recall of a class and its size.

    Taken over the classes that at least MIN_OCCURRENCES images have (in a resample: that many of
    its images) and that have a box; NaN for fewer than MIN_CLASSES of them.
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
    """
    x, y = class_size.value, class_recall.value
    own = np.flatnonzero((class_recall.n >= MIN_OCCURRENCES) & ~np.isnan(x + y))
    if len(own) < MIN_CLASSES or np.ptp(x[own]) == 0:
        return {}
    x, y = x[own], y[own]
    apart = x - x.mean()
    leverage = 1 / len(own) + apart**2 / (apart @ apart)
    residual = y - y.mean() - apart * (apart @ (y - y.mean())) / (apart @ apart)
    others = residual @ residual - residual**2 / (1 - leverage)
    scale = np.sqrt(np.maximum(others, 0) / (len(own) - 3) * (1 - leverage))
    studentised = np.divide(residual, scale, out=np.zeros(len(own)), where=scale > 0)
    order = np.argsort(-np.abs(studentised), kind="stable")[:num]
    return {COCO_CLASSES[own[k]]: float(studentised[k]) for k in order}
