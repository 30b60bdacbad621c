"""What COCO annotators put on images: precision and recall of icons, and what they did with them.

Images without ground truth count in no precision and no recall: there `labels` and `is_on_object`
are null.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.regions import boxes_of, floats
from luab_data.ragged import ArrowColumn, Bools, Floats, Ints, Ragged, one_array, ragged
from luab_data.schema import COCO_CLASSES
from luab_data.statistics.estimate import RESAMPLES, Parts, Workers, estimate, share
from luab_data.statistics.measure import TableBatch

NUM_CLASSES = len(COCO_CLASSES)

GRAMMAR = "^add(-move|-remove-add)*(-remove)?$"
"""Sequences the tool allows: after add or move come move or remove, after remove comes add."""


class IconBatch(TableBatch):
    """Rows of `default` of COCO-AB; what several statistics share is computed once."""

    columns = (
        *("worker_id", "hit_id", "time_spent_ms", "width", "height"),
        *("labels", "boxes", "box_label", "icon_label", "final_x", "final_y"),
        *("is_present_at_end", "is_on_object", "is_last_add_on_object"),
        *("num_adds", "num_adds_on_object", "action_sequence"),
    )

    def of_icons(self, name: str) -> Floats:
        """(num_icons,) the elements of a column of lists, NaN for null."""
        values = one_array(self.table[name]).flatten()
        return floats(values.cast("int8") if pa.types.is_boolean(values.type) else values)

    @cached_property
    def icons(self) -> Ragged:
        """Class of each icon that was ever handled, by image, ascending."""
        return ragged(self.table["icon_label"])

    @cached_property
    def is_present(self) -> Bools:
        """(num_icons,) whether the icon was on the image at the end."""
        present: Bools = self.of_icons("is_present_at_end") == 1
        return present

    @cached_property
    def occurrences(self) -> tuple[Ragged, Ints]:
        """Classes of the ground truth by image, ascending, and 1 for those with an icon."""
        return occurrences(self.table)

    @cached_property
    def recall(self) -> Floats:
        """(num_rows,) share of the image's classes with an icon; NaN without any class."""
        retrieved, present = retrieved_classes(self.table)
        recall: Floats = retrieved / np.where(present > 0, present, np.nan)
        return recall

    @cached_property
    def size(self) -> tuple[Floats, Floats]:
        """Width and height, px."""
        return floats(self.table["width"]), floats(self.table["height"])

    @cached_property
    def boxes(self) -> tuple[Floats, Ragged]:
        """(num_boxes, 4) px of all instances but crowds, and the class of each, by image."""
        return boxes_of(self.table["boxes"])[0], ragged(self.table["box_label"])


def retrieved_classes(images: pa.Table) -> tuple[Ints, Ints]:
    """Of each COCO image, how many classes of the ground truth got an icon, and how many there are.

    Args:
        images: labels, icon_label, is_present_at_end.
    Returns: two (num_images,) int64; 0 and 0 without ground truth. Source: metrics 4.10.
    """
    labels, found = occurrences(images)
    return labels._replace(values=found).reduce(np.add, 0), labels.lengths


def occurrences(images: pa.Table) -> tuple[Ragged, Ints]:
    """Classes of the ground truth of each COCO image, and 1 for those that got an icon, else 0.

    Args:
        images: labels, icon_label, is_present_at_end.
    Returns: the classes by image, none without ground truth, and (num_occurrences,) int64.
    """
    icons = ragged(images["icon_label"])
    here = ragged(images["is_present_at_end"], null=False).values.astype(bool)
    labels = ragged(images["labels"])
    span = 1 + max(icons.values.max(initial=0), labels.values.max(initial=0))
    placed_keys = (icons.rows * span + icons.values)[here]
    found = np.isin(labels.rows * span + labels.values, placed_keys)
    return labels, found.astype(np.int64)


def keys(classes: Ragged) -> Ints:
    """(num_values,) one number for each pair of an image and a class; ascends if classes do."""
    both: Ints = classes.rows * NUM_CLASSES + classes.values.astype(np.int64)
    return both


def _share(row: Ints, part: Floats, cell: Ints | None = None) -> Parts:
    """Parts of those whose part is known."""
    there = ~np.isnan(part)
    cell = None if cell is None else cell[there]
    return Parts(row=row[there], part=part[there], whole=np.ones(int(there.sum())), cell=cell)


def icon_precision(images: IconBatch) -> Parts:
    """Icons present at the end whose point is on a mask of their class. Source: metrics 4.9."""
    return _share(images.icons.rows, images.of_icons("is_on_object"))


def icon_precision_last_add(images: IconBatch) -> Parts:
    """Last adds on a mask, of all icons ever added, moved or removed later or not.

    Source: metrics 4.9, the paper's training target; 6.4d.
    """
    return _share(images.icons.rows, images.of_icons("is_last_add_on_object"))


def icon_precision_all_adds(images: IconBatch) -> Parts:
    """Adds on a mask, over all adds. Source: metrics 4.9."""
    right, adds = images.of_icons("num_adds_on_object"), images.of_icons("num_adds")
    there = ~np.isnan(right)
    return Parts(row=images.icons.rows[there], part=right[there], whole=adds[there])


def recall(images: IconBatch) -> Parts:
    """Classes of the ground truth with an icon at the end, over all of them. Source: 4.10."""
    classes, found = images.occurrences
    return _share(classes.rows, found.astype(np.float64))


def recall_image_mean(images: IconBatch) -> Parts:
    """Mean over images with any class of the share with an icon. Source: metrics 4.10."""
    return _share(np.arange(len(images)), images.recall)


def class_recall(images: IconBatch) -> Parts:
    """Recall of each class over the images that have it. Source: metrics 4.12."""
    classes, found = images.occurrences
    return _share(classes.rows, found.astype(np.float64), classes.values.astype(np.int64))


def time_page_ms(images: IconBatch) -> Floats:
    """(num_rows,) time on each page; NaN if it is not logged."""
    return floats(images.table["time_spent_ms"])


# --- actions -------------------------------------------------------------------------------------


def sequences(images: IconBatch) -> tuple[Ints, pa.Array]:
    """Row and action sequence of each icon present at the end. Source: metrics 4.11."""
    names = one_array(images.table["action_sequence"]).flatten()
    there = np.flatnonzero(images.is_present)
    return images.icons.rows[there], names.take(pa.array(there))


def follows_grammar(names: ArrowColumn) -> Bools:
    """(num_names,) whether the tool allows each sequence, such as `add-move-remove`.

    A reload of the image loses icons without a record, so an add may follow an add.
    Source: metrics 4.11, 6.2-10.
    """
    fits: Bools = pc.match_substring_regex(names, GRAMMAR).to_numpy(zero_copy_only=False)
    return fits


def sequence_violation_share(images: IconBatch) -> Parts:
    """Icons present at the end whose sequence the tool does not allow. Source: metrics 4.11."""
    row, names = sequences(images)
    return _share(row, (~follows_grammar(names).astype(bool)).astype(np.float64))


def sequence_shares(
    images: Iterable[IconBatch], *, resamples: int = RESAMPLES, seed: int = 0
) -> pa.Table:
    """How often each action sequence of icons present at the end occurs. Fig. J.

    Args:
        images: batches of the whole dataset.
        resamples, seed: of the bootstrap over workers.
    Returns: one row a sequence, the most frequent first: `sequence`, `count`, `share` of all icons
        present at the end, `low` and `high` of its interval (null with fewer than two workers) and
        `is_valid`, whether the tool allows it.
    """
    workers = Workers()
    code, found = [np.zeros(0, np.int64)], [pa.array([], pa.string())]
    for batch in images:
        row, names = sequences(batch)
        code.append(workers.codes(batch.worker_id)[row])
        found.append(names)
    coded = pa.chunked_array(found).combine_chunks().dictionary_encode()
    names, ones = coded.dictionary, np.ones(len(coded))
    # A row of the bootstrap here is an icon.
    parts = Parts(
        row=np.arange(len(coded)),
        part=ones,
        whole=ones,
        cell=coded.indices.to_numpy().astype(np.int64),
    )
    taken = estimate(
        parts,
        np.concatenate(code),
        num_cells=len(names),
        shape=(len(names),),
        finish=share,
        resamples=resamples,
        seed=seed,
    )
    columns = {
        "sequence": names,
        "count": pa.array(taken.n.astype(np.int64)),
        "share": pa.array(taken.value),
        "low": pa.array(taken.low, from_pandas=True),
        "high": pa.array(taken.high, from_pandas=True),
        "is_valid": pa.array(follows_grammar(names)),
    }
    return pa.table(columns).sort_by([("count", "descending"), ("sequence", "ascending")])
