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
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import clicked_box, floats
from luab_data.ragged import Bools, Floats, Ints
from luab_data.statistics.estimate import LEVEL, NOBODY
from luab_data.workers.pooling import pool

COLUMNS = ("worker_id", "final_click_x", "final_click_y", "width", "height", "boxes")
"""What boxed_clicks reads."""

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
        return Clicks(
            row=self.row[mask],
            worker=self.worker[mask],
            point=self.point[mask],
            centre=self.centre[mask],
            size=self.size[mask],
        )


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
        num_clicks: (num_workers,) clicks it is taken from.
        raw: (num_workers, 2) mean of the worker's own clicks; NaN without any.
        value: (num_workers, 2) partially pooled; the crowd's without clicks.
        low, high: (num_workers, 2) ends of the 95 % interval of the worker's true bias.
        crowd: (2,) mean over workers, the more certain ones weighing more.
        crowd_low, crowd_high: (2,) ends of its 95 % interval; NaN with fewer than two workers.
        spread: (2,) standard deviation of workers' true biases.
    """

    num_clicks: Ints
    raw: Floats
    value: Floats
    low: Floats
    high: Floats
    crowd: Floats
    crowd_low: Floats
    crowd_high: Floats
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
    axes = [_fit_axis(offset[known, axis], worker[known], num_workers) for axis in (0, 1)]
    found = {name: np.stack([of[name] for of in axes], axis=-1) for name in axes[0]}
    if not known.any():  # nobody to pool
        found["crowd"] = offset.mean(axis=0)
    return Bias(num_clicks=np.bincount(worker[known], minlength=num_workers), **found)


def _fit_axis(offset: Floats, worker: Ints, num_workers: int) -> dict[str, Floats]:
    mean, variance = means(offset, worker, num_workers)
    pooled = pool(mean, variance)
    value, low, high = (
        np.where(np.isnan(found), pooled.crowd, found)
        for found in (pooled.value, pooled.low, pooled.high)
    )
    there = np.isfinite(variance)
    reach = _reach(pooled.spread**2 + variance[there])
    return {
        "raw": mean,
        "value": value,
        "low": low,
        "high": high,
        "crowd": np.array(pooled.crowd),
        "crowd_low": np.array(pooled.crowd - reach),
        "crowd_high": np.array(pooled.crowd + reach),
        "spread": np.array(pooled.spread),
    }


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


def _reach(variance: Floats) -> float:
    """Half the 95 % interval of a mean weighted by 1 / variance: Student's t, as few are drawn."""
    from scipy.special import stdtrit

    if len(variance) < 2:
        return math.nan
    with np.errstate(divide="ignore"):
        error = 1 / math.sqrt((1 / variance).sum())
    return float(stdtrit(len(variance) - 1, (1 + LEVEL) / 2)) * error


def moved(point: Floats, by: Floats) -> Floats:
    """Points moved, at most to the border of the picture.

    A click that was logged outside, by a zoomed browser, stays as far outside as it was: it is not
    moved farther out, nor in unless `by` says so.

    Args:
        point, by: (num_points, 2) fractions; NaN stays NaN.
    """
    return np.clip(point + by, np.minimum(point, 0), np.maximum(point, 1))
