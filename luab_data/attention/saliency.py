"""How well one way of looking at a picture predicts another: four measures of saliency maps.

A map is a grid of counts of points, blurred. All functions take many pictures at once.

Source: Bylinskii, Judd, Oliva, Torralba and Durand, "What do different evaluation metrics tell us
about saliency models?", PAMI 2019, arXiv 1604.03605; docs/definitions.md#agreement.
"""

from __future__ import annotations

import numpy as np

from luab_data.ragged import Floats, Ints, Ragged

CELLS = 32
"""Cells of a map along each side."""

SIGMA = 0.04
"""Of the blur, as a fraction of each side: a degree of sight for a picture 25 degrees wide."""

METRICS = ("nss", "auc_judd", "cc", "kl")
"""Normalised scanpath saliency, area under Judd's ROC, correlation, Kullback-Leibler divergence.

The last is small where maps agree, the others are large."""

_EPSILON = np.finfo(np.float64).eps


def cells_of(x: Floats, y: Floats) -> Ints:
    """(num_points,) cell of each point of a picture, row by row; -1 off the picture."""
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    column, row = (
        np.minimum((np.where(inside, v, 0) * CELLS).astype(np.int64), CELLS - 1) for v in (x, y)
    )
    return np.where(inside, row * CELLS + column, -1)


def counts_of(cells: Ragged) -> Floats:
    """(num_images, CELLS, CELLS) points of each picture by their cells, none of which is -1."""
    num_images = len(cells.bounds) - 1
    place = cells.rows * CELLS**2 + cells.values
    found = np.bincount(place, minlength=num_images * CELLS**2).astype(np.float64)
    return found.reshape(num_images, CELLS, CELLS)


def blurred(counts: Floats) -> Floats:
    """(num_images, CELLS, CELLS) maps that sum to 1; NaN without a point."""
    from scipy.ndimage import gaussian_filter1d  # a tenth of a second, and only needed here

    size = SIGMA * CELLS
    found = gaussian_filter1d(gaussian_filter1d(counts, size, 1, mode="constant"), size, 2,
                              mode="constant")  # fmt: skip
    total = found.sum(axis=(1, 2), keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(found / np.where(total > 0, total, np.nan))


def compare(maps: Floats, counts: Floats, others: Floats) -> Floats:
    """How well maps predict points, and the map of these points.

    Args:
        maps: (num_images, CELLS, CELLS) that predict, of `blurred`.
        counts: (num_images, CELLS, CELLS) points to be predicted, of `counts_of`.
        others: (num_images, CELLS, CELLS) their maps.
    Returns: (num_images, 4) in the order of METRICS; NaN where one of the two has no point, or a
        measure is not defined: an even map, or a point in every cell.
    """
    flat = [values.reshape(len(values), CELLS**2) for values in (maps, counts, others)]
    predicted, points, wanted = flat
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [_nss(predicted, points), _auc(predicted, points), _cc(predicted, wanted),
             _kl(predicted, wanted)],
            axis=1,
        )  # fmt: skip


def _nss(predicted: Floats, points: Floats) -> Floats:
    """Mean of the standardised map at the points."""
    spread = predicted.std(axis=1)
    z = (predicted - predicted.mean(axis=1, keepdims=True)) / _positive(spread)[:, None]
    total = points.sum(axis=1)
    return np.asarray((z * points).sum(axis=1) / _positive(total))


def _auc(predicted: Floats, points: Floats) -> Floats:
    """Chance that a cell with points has more in the map than one without; ties count a half."""
    from scipy.stats import rankdata

    is_hit = points > 0
    ranks = rankdata(predicted, axis=1)  # NaN stays NaN
    hits = is_hit.sum(axis=1)
    misses = is_hit.shape[1] - hits
    above = (ranks * is_hit).sum(axis=1) - hits * (hits + 1) / 2
    return np.asarray(above / _positive(hits * misses))


def _cc(predicted: Floats, wanted: Floats) -> Floats:
    """Pearson's correlation over cells."""
    one, other = (v - v.mean(axis=1, keepdims=True) for v in (predicted, wanted))
    spread = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    return np.asarray((one * other).sum(axis=1) / _positive(spread))


def _kl(predicted: Floats, wanted: Floats) -> Floats:
    """Divergence of the wanted map from the predicted one, in nats."""
    return np.asarray((wanted * np.log(_EPSILON + wanted / (predicted + _EPSILON))).sum(axis=1))


def _positive(values: Floats) -> Floats:
    """The values, NaN where they are not above 0."""
    return np.where(values > 0, values, np.nan)
