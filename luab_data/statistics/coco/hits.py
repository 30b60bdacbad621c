"""COCO-AB by HIT: precision, recall and time of its images together, and their spread over HITs.

Images of one HIT are spread over the log, so a slim row of each is kept until all are there.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import floats
from luab_data.ragged import ArrowColumn, Floats, Ints, one_array
from luab_data.statistics.coco.icons import IconBatch, retrieved_classes
from luab_data.statistics.estimate import Parts, grid_parts, ratio


def hit_facts(images: IconBatch) -> pa.Table:
    """What is kept of each image that has a HIT: about 60 bytes."""
    right = images.of_icons("is_on_object")
    judged = ~np.isnan(right)
    rows = images.icons.rows[judged]
    retrieved, present = retrieved_classes(images.table)
    facts = pa.table(
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
    return facts.filter(images.table["hit_id"].is_valid())


class HitBatch:
    """All HITs; each array has one entry a HIT.

    Args:
        facts: hit_facts of every image.

    Attributes:
        worker_id: who did the HIT: the worker of the first of its images.
        precision: icons on their object over icons judged; NaN without any.
        recall: mean over its images with any class of the share of classes with an icon; NaN
            without any such image. Source: metrics 4.10.
        time_ms: sum of the times of its pages; NaN if one is not logged.
        chance_of_precision, chance_of_recall: variance of the two if each icon, each class had the
            mean precision, the mean recall of all. Source: metrics 4.10, "binomial noise alone".
    """

    def __init__(self, facts: pa.Table) -> None:
        facts = facts.unify_dictionaries()
        hit = one_array(facts["hit_id"]).indices.to_numpy(zero_copy_only=False).astype(np.int64)
        _, first, self._hit = np.unique(hit, return_index=True, return_inverse=True)
        self._num = len(first)
        self.worker_id: ArrowColumn = one_array(facts["worker_id"]).take(pa.array(first))
        right, judged = floats(facts["num_right"]), floats(facts["num_judged"])
        retrieved, present = floats(facts["num_retrieved"]), floats(facts["num_present"])
        self.precision = ratio(self._sum(right), self._sum(judged))
        self.chance_of_precision = ratio(_variance(right, judged), self._sum(judged))
        asked = present > 0
        num_asked = self._sum(asked.astype(np.float64))
        self.recall = ratio(self._sum(ratio(retrieved, present), asked), num_asked)
        noise = ratio(_variance(retrieved, present), present)
        self.chance_of_recall = ratio(self._sum(noise, asked), num_asked**2)
        self.time_ms = self._sum(floats(facts["time_spent_ms"]))

    def __len__(self) -> int:
        return self._num

    def _sum(self, values: Floats, there: np.ndarray | None = None) -> Floats:
        """(num_hits,) sum over the images of each, of those that are there."""
        kept = slice(None) if there is None else there
        total: Floats = np.bincount(self._hit[kept], values[kept], self._num).astype(np.float64)
        return total


def _variance(part: Floats, whole: Floats) -> Floats:
    """Of one trial, if all had the same chance."""
    chance = ratio(part.sum(), whole.sum())
    return np.asarray(chance * (1 - chance))


def precision_mean(hits: HitBatch) -> Parts:
    """Mean over HITs of their precision."""
    return _mean(hits.precision)


def recall_mean(hits: HitBatch) -> Parts:
    """Mean over HITs of the mean recall of their images. Source: metrics 4.10."""
    return _mean(hits.recall)


def _mean(values: Floats) -> Parts:
    row = np.flatnonzero(~np.isnan(values))
    return Parts(row=row, part=values[row], whole=np.ones(len(row)))


def precision_moments(hits: HitBatch) -> Parts:
    """Sums for spread of the precision of HITs; the null is chance alone."""
    return _moments(hits.precision, hits.chance_of_precision)


def recall_moments(hits: HitBatch) -> Parts:
    """Sums for spread of the recall of HITs; the null is chance alone."""
    return _moments(hits.recall, hits.chance_of_recall)


def _moments(values: Floats, chance: Floats) -> Parts:
    """Sums of values and of their squares."""
    row: Ints = np.flatnonzero(~np.isnan(values))
    values, chance = values[row], chance[row]
    part = np.stack([values, values**2], axis=1)
    # spread() divides by one HIT less than there are, which is right around an estimated mean only.
    null = np.stack([np.zeros(len(row)), chance * (1 - 1 / max(len(row), 1))], axis=1)
    return grid_parts(part, np.ones_like(part), null)._replace(row=np.repeat(row, 2))


def spread(part: Floats, whole: Floats) -> Floats:
    """Standard deviation from sums of values (cell 0) and of squares (cell 1); NaN for one."""
    count = whole[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = part[..., 1] - part[..., 0] ** 2 / count
        variance = np.maximum(squares, 0) / np.where(count > 1, count - 1, np.nan)
    return np.asarray(np.sqrt(variance))


def time_ms(hits: HitBatch) -> Floats:
    """(num_hits,) time of all pages of a HIT together."""
    return hits.time_ms
