"""What annotators put on images: icons, the classes that got one, and the actions on them.

Images without ground truth count in no precision and no recall: there `labels` and `is_on_object`
are null.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.regions import own_box
from luab_data.ragged import ArrowColumn, Bools, Floats, Ints, Ragged, one_array, ragged
from luab_data.schema import COCO_CLASSES
from luab_data.statistics.estimate import Estimate, Terms, mean_of
from luab_data.statistics.measure import BoxedBatch

NUM_CLASSES = len(COCO_CLASSES)

GRAMMAR = "^add(-move|-remove-add)*(-remove)?$"
"""Sequences the tool allows: after add or move come move or remove, after remove comes add."""


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
    def num_placed(self) -> Floats:
        """(num_rows,) icons on the image at the end."""
        return np.bincount(self.icons.rows, self.is_present, len(self)).astype(np.float64)

    @cached_property
    def occurrences(self) -> tuple[Ragged, Ints]:
        """Classes of the ground truth by image, ascending, and 1 for those with an icon."""
        return occurrences(self.table)

    @cached_property
    def recall(self) -> Floats:
        """(num_rows,) share of the image's classes with an icon; NaN without any class."""
        retrieved, present = retrieved_classes(self.table)
        return np.asarray(retrieved / np.where(present > 0, present, np.nan))

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
    return classes.rows * NUM_CLASSES + classes.values.astype(np.int64)


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
