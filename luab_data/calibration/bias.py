"""The systematic bias of clicks, of the crowd and of each worker, and points moved back by it.

The bias is the mean of click - box centre in fractions of the picture, since a point has to be
moved in pictures without boxes too, where nobody knows how large the object is. A worker's bias is
partially pooled: close to the crowd's after three clicks, the worker's own after hundreds.

It is a shift on purpose, not a line `centre = a + b click`: fitted by least squares, b < 1 pulls
every point to the middle of where boxes usually are. That shortens distances on the many centred
objects and takes points off the objects that are elsewhere (docs/decisions.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import clicked_box
from luab_data.ragged import Bools, Floats, Ints, floats
from luab_data.statistics.estimate import NOBODY
from luab_data.workers.pooling import pool

COLUMNS = ("worker_id", "final_click_x", "final_click_y", "width", "height", "boxes")
"""What boxed_clicks reads, beside the worker."""

_PRIOR_CLICKS = 10.0
"""How many clicks the crowd's spread of clicks counts for beside those of the worker."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Clicks:
    """Final clicks on images with boxes; points and sizes are x, y in fractions of the picture.

    Attributes:
        row: (num_clicks,) row of the images.
        worker: (num_clicks,) code of the worker; NOBODY where there is none.
        point: (num_clicks, 2) the click.
        centre: (num_clicks, 2) centre of the box it is judged by (regions.clicked_box).
        size: (num_clicks, 2) width and height of that box; 0 where it is degenerate.
    """

    row: Ints
    worker: Ints
    point: Floats
    centre: Floats
    size: Floats

    def __len__(self) -> int:
        return len(self.row)

    @property
    def offset(self) -> Floats:
        """(num_clicks, 2) click - box centre, fractions of the picture."""
        return self.point - self.centre

    def where(self, mask: Bools) -> Clicks:
        """Those of the clicks where mask (num_clicks,) is true."""
        return Clicks(**{field.name: getattr(self, field.name)[mask] for field in fields(self)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Held-out clicks, where each arm puts them, and what is expected of them.

    Attributes:
        clicks: the clicks of all folds.
        arms: (num_arms, num_clicks, 2) fractions.
        fold: (num_clicks,) the fold each was held out with.
        expected: (num_clicks,) squared error expected of the click, squared fractions.
        reliability: (num_clicks,) weight that follows from it.
    """

    clicks: Clicks
    arms: Floats
    fold: Ints
    expected: Floats
    reliability: Floats


def points(images: pa.Table) -> Floats:
    """(num_rows, 2) the final clicks, NaN where there is none."""
    return np.stack([floats(images[f"final_click_{axis}"]) for axis in "xy"], axis=1)


def boxed_clicks(images: pa.Table, worker: Ints) -> Clicks:
    """The clicks that have a box to be compared with.

    Args:
        images: rows of `default` of ImageNet-AB, with COLUMNS.
        worker: (num_rows,) code of each row's worker.
    """
    click = points(images)
    size = np.stack([floats(images["width"]), floats(images["height"])], axis=1)
    box = clicked_box(images)
    row = np.flatnonzero(np.isfinite(click).all(1) & np.isfinite(box).all(1) & (size > 0).all(1))
    low, high = box[row, :2] / size[row], box[row, 2:] / size[row]
    return Clicks(
        row=row, worker=worker[row], point=click[row], centre=(low + high) / 2, size=high - low
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Bias:
    """Mean of click - box centre, x and y (down), in fractions of the picture.

    Attributes:
        value: (num_workers, 2) of each worker, partially pooled; the crowd's without clicks.
        crowd: (2,) mean over workers, the more certain ones weighing more.
        spread: (2,) standard deviation of workers' true biases.
    """

    value: Floats
    crowd: Floats
    spread: Floats

    def of(self, worker: Ints) -> Floats:
        """(num_rows, 2) the bias to take off each row's click.

        Args:
            worker: (num_rows,) codes; NOBODY, of an unknown worker, gets the crowd's.
        """
        return np.concatenate([self.crowd[None], self.value])[worker + 1]


def fit_bias(offset: Floats, worker: Ints, num_workers: int) -> Bias:
    """Bias of the crowd and of every worker.

    Args:
        offset: (num_clicks, 2) click - box centre, fractions; at least one.
        worker: (num_clicks,) codes below num_workers; clicks of NOBODY are left out.
    """
    known = worker != NOBODY
    pooled = [pool(*means(offset[known, axis], worker[known], num_workers)) for axis in (0, 1)]
    # With nobody to pool, the crowd is whoever clicked.
    crowd = np.array([p.crowd for p in pooled]) if known.any() else offset.mean(axis=0)
    value = np.stack([np.where(np.isnan(p.value), p.crowd, p.value) for p in pooled], axis=-1)
    return Bias(value=value, crowd=crowd, spread=np.array([p.spread for p in pooled]))


def means(values: Floats, worker: Ints, num_workers: int) -> tuple[Floats, Floats]:
    """Mean of each worker's values and how far it may be from the worker's true mean.

    Args:
        values: (num_values,), worker: (num_values,) code of each.
    Returns: mean and its variance, (num_workers,); NaN without values. Values vary by the worker's
    own variance pooled with everybody's, which counts as _PRIOR_CLICKS values: of two or three
    clicks that happen to be close together nobody can tell how sure a hand is.
    """
    num = np.bincount(worker, minlength=num_workers).astype(np.float64)
    some = np.where(num > 0, num, np.nan)
    mean = np.bincount(worker, values, num_workers) / some
    squares = np.bincount(worker, (values - mean[worker]) ** 2, num_workers)
    freedom = num.sum() - np.count_nonzero(num)
    everybody = squares.sum() / freedom if freedom else np.inf
    if not math.isfinite(everybody):  # one click each: only what workers differ by is known
        return mean, np.where(num > 0, everybody, np.nan)
    own = (_PRIOR_CLICKS * everybody + squares) / (_PRIOR_CLICKS + np.maximum(num - 1, 0))
    return mean, own / some


def moved(point: Floats, by: Floats) -> Floats:
    """Points moved, at most to the border of the picture.

    A click that was logged outside, by a zoomed browser, stays as far outside as it was: it is not
    moved farther out, nor in unless `by` says so.

    Args:
        point, by: (num_points, 2) fractions; NaN stays NaN.
    """
    return np.clip(point + by, np.minimum(point, 0), np.maximum(point, 1))
