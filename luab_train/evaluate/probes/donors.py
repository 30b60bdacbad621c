"""Which image lends its background to which: drawn by a hash of (seed, image id). Pure NumPy.

So all runs see the same composites, whatever their order, and their answers can be paired.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from luab_train.data.targets import uniform

NONE = -1


class Donors(NamedTuple):
    """(N,) int64 each: the image whose background is borrowed; NONE where there is no such."""

    same: np.ndarray
    """Another image of the same class."""
    other: np.ndarray
    """An image of another class, each image as probable as any."""


def draw_donors(
    image_id: np.ndarray, label: np.ndarray, may_give: np.ndarray, *, seed: int
) -> Donors:
    """One donor of each kind for every image.

    Args:
        image_id: (N,) text, unique.
        label: (N,) int64.
        may_give: (N,) bool, images whose background can be lent.
        seed: of the draw.
    """
    order = np.lexsort((image_id, label))
    givers = order[may_give[order]]
    first = np.searchsorted(label[givers], label, side="left")
    count = np.searchsorted(label[givers], label, side="right") - first
    rank = np.full(len(label), len(givers))
    rank[givers] = np.arange(len(givers))
    # Positions among the givers, with oneself or one's class taken out of the line.
    same = first + (uniform(image_id, seed, stream="same") * (count - may_give)).astype(np.int64)
    same += may_give & (same >= rank)
    other = (uniform(image_id, seed, stream="other") * (len(givers) - count)).astype(np.int64)
    other += np.where(other >= first, count, 0)
    return Donors(
        _at(givers, same, count - may_give > 0), _at(givers, other, len(givers) - count > 0)
    )


def _at(givers: np.ndarray, position: np.ndarray, there: np.ndarray) -> np.ndarray:
    result = np.full(len(position), NONE, dtype=np.int64)
    result[there] = givers[position[there]]
    return result
