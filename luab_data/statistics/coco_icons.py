"""What annotators put on images: icons, the classes that got one, how large those are.

Images without ground truth count in no precision and no recall: there `labels` and `is_on_object`
are null. A class is as large as its boxes, crowds left out. Sizes are bins of the share of the
image that a box covers: ten of equal width in the logarithm from 1e-4 to 1; smaller boxes go to the
first.
Source: docs/definitions.md#recall-and-size
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.regions import own_box
from luab_data.ragged import ArrowColumn, Bools, Floats, Ints, Ragged, one_array, ragged
from luab_data.statistics.estimate import Estimate, Terms, mean_of, ratio
from luab_data.statistics.measure import BoxedBatch

GRAMMAR = "^add(-move|-remove-add)*(-remove)?$"
"""Sequences the tool allows: after add or move come move or remove, after remove comes add."""

NUM_SIZES, SMALLEST = 10, 1e-4

MIN_OCCURRENCES = 20
"""Images that must have a class for its recall to take part in a correlation over classes."""

MIN_CLASSES = 5
"""Classes that a correlation over classes takes at least."""


class IconBatch(BoxedBatch):
    """Rows of `default` of a tagging log; what several statistics share is computed once.

    `boxes` are those of all instances but crowds.
    """

    columns = (
        *("worker_id", "hit_id", "time_spent_ms", "width", "height"),
        *("labels", "boxes", "box_label", "icon_label", "final_x", "final_y"),
        *("is_present_at_end", "is_on_object", "is_last_add_on_object"),
        *("num_adds", "num_adds_on_object", "action_sequence"),
    )

    @cached_property
    def icons(self) -> Ragged:
        """Class of each icon that was ever handled, by image, ascending."""
        return ragged(self.table["icon_label"])

    @cached_property
    def is_present(self) -> Bools:
        """(num_icons,) whether the icon was on the image at the end."""
        return np.asarray(self.elements("is_present_at_end") == 1)

    @cached_property
    def occurrences(self) -> tuple[Ragged, Ints]:
        """Classes of the ground truth by image, ascending, and 1 for those with an icon."""
        return occurrences(self.table)

    @cached_property
    def box_classes(self) -> Ragged:
        """The class of each box, by image."""
        return ragged(self.table["box_label"])

    @cached_property
    def offsets(self) -> tuple[Ints, Floats]:
        """Row and offset of each icon at the end whose class has a box in the image."""
        pair, icon = matched(keys(self.box_classes), keys(self.icons))
        box, row = self.boxes[0][pair], self.icons.rows[icon]
        xy = np.stack([self.elements("final_x"), self.elements("final_y")], axis=1)[icon]
        with np.errstate(over="ignore", invalid="ignore"):
            point = xy * np.stack(self.size, axis=1)[row]
        known = np.isfinite(point).all(axis=1) & (box[:, 2:] > box[:, :2]).all(axis=1)
        icon, box, point = icon[known], box[known], point[known]
        chosen = own_box(icon, point, box)
        box, point = box[chosen], point[chosen]
        offset = (point - (box[:, :2] + box[:, 2:]) / 2) / (box[:, 2:] - box[:, :2])
        return self.icons.rows[icon[chosen]], offset


def retrieved_classes(images: pa.Table) -> tuple[Ints, Ints]:
    """Of each image, how many classes of the ground truth got an icon, and how many there are.

    Args:
        images: labels, icon_label, is_present_at_end.
    Returns: two (num_images,) int64; 0 and 0 without ground truth.
    Source: docs/definitions.md#recall
    """
    labels, found = occurrences(images)
    return labels._replace(values=found).reduce(np.add, 0), labels.lengths


def occurrences(images: pa.Table) -> tuple[Ragged, Ints]:
    """Classes of the ground truth of each image, and 1 for those that got an icon, else 0.

    Args:
        images: labels, icon_label, is_present_at_end.
    Returns: the classes by image, none without ground truth, and (num_occurrences,) int64.
    """
    icons = ragged(images["icon_label"])
    here = ragged(images["is_present_at_end"], null=False).values.astype(bool)
    labels = ragged(images["labels"])
    span = 1 + max(icons.values.max(initial=0), labels.values.max(initial=0))
    placed = (icons.rows * span + icons.values)[here]
    return labels, np.isin(labels.rows * span + labels.values, placed).astype(np.int64)


def keys(classes: Ragged) -> Ints:
    """(num_values,) one number for each pair of an image and a class; ascends if classes do."""
    return classes.rows * _MANY + classes.values.astype(np.int64)


_MANY = 2**24
"""More than any vocabulary has classes."""


def matched(wanted: Ints, known: Ints) -> tuple[Ints, Ints]:
    """Places of those wanted that are among the known, which ascend; and where they are there."""
    if not len(known):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    there = np.flatnonzero(known[place] == wanted)
    return there, place[there]


def sequences(images: IconBatch) -> tuple[Ints, pa.Array]:
    """Row and action sequence of each icon present at the end."""
    names = one_array(images.table["action_sequence"]).flatten()
    there = np.flatnonzero(images.is_present)
    return images.icons.rows[there], names.take(pa.array(there))


def follows_grammar(names: ArrowColumn) -> Bools:
    """(num_names,) whether the tool allows each sequence, such as `add-move-remove`.

    A reload of the image loses icons without a record, so an add may follow an add.
    Source: docs/formats.md#image-reload
    """
    fits: Bools = pc.match_substring_regex(names, GRAMMAR).to_numpy(zero_copy_only=False)
    return fits.astype(bool)


def violations(images: IconBatch) -> Terms:
    """Icons present at the end whose sequence the tool does not allow."""
    row, names = sequences(images)
    return mean_of(~follows_grammar(names), row=row)


def sequence_table(found: Estimate) -> pa.Table:
    """How often each action sequence of icons present at the end occurs.

    Args:
        found: of the measure `action_sequences`.
    Returns: one row a sequence, the most frequent first: `sequence`, `count`, `share` of all icons
        present at the end, `low` and `high` of its interval (null with fewer than two workers) and
        `is_valid`, whether the tool allows it.
    """
    names = pa.array(found.labels, pa.string())
    columns = {
        "sequence": names,
        "count": pa.array(np.rint(found.value * found.n).astype(np.int64)),
        "share": pa.array(found.value),
        "low": pa.array(found.low, from_pandas=True),
        "high": pa.array(found.high, from_pandas=True),
        "is_valid": pa.array(follows_grammar(names)),
    }
    return pa.table(columns).sort_by([("count", "descending"), ("sequence", "ascending")])


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
    """Sums for size_correlation: of all occurrences, then of each class its recall and its size."""
    recall, size = class_recall(images), class_size(images)
    assert recall.cell is not None and size.cell is not None
    return Terms(
        row=np.concatenate([recall.row, recall.row, size.row]),
        part=np.concatenate([recall.part, recall.part, size.part]),
        whole=np.concatenate([recall.whole, recall.whole, size.whole]),
        cell=np.concatenate([0 * recall.cell, 1 + 2 * recall.cell, 2 + 2 * size.cell]),
    )


def size_correlation(part: Floats, whole: Floats) -> Floats:
    """Pearson's r of the recall of a class and its size.

    Taken over the classes that at least MIN_OCCURRENCES images have (in a resample: that many of
    its images) and that have a box; NaN for fewer than MIN_CLASSES of them.
    """
    mean = ratio(part, whole)[..., 1:]
    recall, size = mean[..., 0::2], mean[..., 1::2]
    there = (whole[..., 1::2] >= MIN_OCCURRENCES) & ~np.isnan(size)
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
) -> dict[int, float]:
    """Classes furthest from the regression line of recall on size.

    Args:
        class_recall, class_size: (num_classes,) of the measures of these names.
        num: how many are named.
    Returns: label -> studentised residual, the furthest first: how many standard errors the
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
    return {int(own[k]): float(studentised[k]) for k in order}
