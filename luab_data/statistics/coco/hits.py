"""A tagging log by HIT: precision, recall and time of its images together, and their spread.

Images of one HIT are spread over the log, so a slim row of each is kept until all are there.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from luab_data.ragged import ArrowColumn, Floats, floats, one_array
from luab_data.statistics.coco.icons import IconBatch, retrieved_classes
from luab_data.statistics.estimate import Terms, grid_terms, ratio


def slim_images(images: IconBatch) -> pa.Table:
    """What is kept of each image that has a HIT: about 60 bytes."""
    right = images.elements("is_on_object")
    judged = ~np.isnan(right)
    rows = images.icons.rows[judged]
    retrieved, present = retrieved_classes(images.table)
    slim = pa.table(
        {
            "hit_id": one_array(images.table["hit_id"]).dictionary_encode(),
            "worker_id": one_array(images.worker_id).dictionary_encode(),
            "time_spent_ms": images.table["time_spent_ms"],
            "num_right": np.bincount(rows[right[judged] == 1], minlength=len(images)),
            "num_judged": np.bincount(rows, minlength=len(images)),
            "num_retrieved": retrieved,
            "num_present": present,
        }
    )
    return slim.filter(images.table["hit_id"].is_valid())


class HitBatch:
    """All HITs; each array has one entry a HIT.

    Args:
        images: slim_images of every image.

    Attributes:
        worker_id: who did the HIT: the worker of the first of its images.
        precision: icons on their object over icons judged; NaN without any.
        recall: mean over its images with any class of the share of classes with an icon; NaN
            without any such image.
        time_ms: sum of the times of its pages; NaN if one is not logged.
        chance_of_precision, chance_of_recall: variance of the two if each icon, each class had the
            mean precision, the mean recall of all: binomial noise alone.
    """

    def __init__(self, images: pa.Table) -> None:
        hit = one_array(images["hit_id"]).indices.to_numpy(zero_copy_only=False).astype(np.int64)
        _, first, self._hit = np.unique(hit, return_index=True, return_inverse=True)
        self._num = len(first)
        self.worker_id: ArrowColumn = one_array(images["worker_id"]).take(pa.array(first))
        right, judged = floats(images["num_right"]), floats(images["num_judged"])
        retrieved, present = floats(images["num_retrieved"]), floats(images["num_present"])
        self.precision = ratio(self._sum(right), self._sum(judged))
        self.chance_of_precision = ratio(_variance(right, judged), self._sum(judged))
        asked = present > 0
        num_asked = self._sum(asked.astype(np.float64))
        self.recall = ratio(self._sum(np.where(asked, ratio(retrieved, present), 0)), num_asked)
        noise = np.where(asked, ratio(_variance(retrieved, present), present), 0)
        self.chance_of_recall = ratio(self._sum(noise), num_asked**2)
        self.time_ms = self._sum(floats(images["time_spent_ms"]))

    def __len__(self) -> int:
        return self._num

    def _sum(self, values: Floats) -> Floats:
        """(num_hits,) sum over the images of each."""
        return np.bincount(self._hit, values, self._num).astype(np.float64)


def _variance(part: Floats, whole: Floats) -> Floats:
    """Of one trial, if all had the same chance."""
    chance = ratio(part.sum(), whole.sum())
    return np.asarray(chance * (1 - chance))


def moments(values: Floats, chance: Floats) -> Terms:
    """Sums for spread: of the values of HITs and of their squares; the null is chance alone."""
    row = np.flatnonzero(~np.isnan(values))
    values, chance = values[row], chance[row]
    # spread() divides by one HIT less than there are, which is right around an estimated mean only.
    null = np.stack([np.zeros(len(row)), chance * (1 - 1 / max(len(row), 1))], axis=1)
    return grid_terms(np.stack([values, values**2], axis=1), null=null, row=row)


def spread(part: Floats, whole: Floats) -> Floats:
    """Standard deviation from sums of values (cell 0) and of squares (cell 1); NaN for one."""
    count = whole[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = part[..., 1] - part[..., 0] ** 2 / count
        variance = np.maximum(squares, 0) / np.where(count > 1, count - 1, np.nan)
    return np.asarray(np.sqrt(variance))
