"""What clicks on images with boxes teach: the bias of the crowd and of each worker, and errors.

The bias is the mean of click - box centre in fractions of the picture, since a point has to be
moved in pictures without boxes too, where nobody knows how large the object is. A worker's bias is
partially pooled: close to the crowd's after three clicks, the worker's own after hundreds.

It is a shift on purpose, not a line `centre = a + b click`: fitted by least squares, b < 1 pulls
every point to the middle of where boxes usually are. That shortens distances on the many centred
objects and takes points off the objects that are elsewhere (docs/decisions.md).

The expected squared error is a product: exp(line in behaviours of this click) x factor of the
worker. The line comes first, so that it serves workers nobody has seen yet; a worker's factor, what
their errors are beyond it, is partially pooled to the crowd's. A reliability is 1 / (1 + error /
typical error): in (0, 1], 1/2 for a typical click, the smaller the larger the expected error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import clicked_box
from luab_data.ragged import Bools, Floats, Ints, floats
from luab_data.schema import LAST_N
from luab_data.statistics.estimate import NOBODY
from luab_data.statistics.imagenet_clicks import ImageBatch
from luab_data.workers.pooling import pool

COLUMNS = (
    *("worker_id", "final_click_x", "final_click_y", "width", "height", "boxes"),
    *("click_in_box", "dwell_time_ms", "estimate_time_ms", "last_n_x", "last_n_y", "hull_area"),
    *("num_clicks",),
)
"""Columns of `default` of ImageNet-AB that a calibration is learned from."""

_OF_BOXES = ("width", "height", "boxes", "click_in_box")
APPLY_COLUMNS = tuple(name for name in COLUMNS if name not in _OF_BOXES)
"""Those it is applied to: no boxes among them."""

BEHAVIOURS = ("dwell_time", "estimate_time", "trace_end_distance", "hull_area", "num_clicks")
"""What a click is known by beside its worker; see `behaviours`."""

_TIME_MS, _DISTANCE, _AREA = 50.0, 0.01, 1e-4
"""Added before a logarithm is taken: about what the tool can resolve."""

_ENDS = (0.01, 0.99)
_RIDGE = 1e-3

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


def behaviours(images: pa.Table) -> Floats:
    """How each click was made.

    Args:
        images: rows of `default` of ImageNet-AB, with APPLY_COLUMNS.
    Returns: (num_rows, len(BEHAVIOURS)), logarithms of: time in the picture; the tool's estimate of
    it; distance of the click from the trace record before it; area of the hull around the click's
    approach; clicks of the round. NaN where that was not logged, as for touch without a trace.
    """
    before = np.stack([v[:, 1] for v in ImageBatch(images).points("last_n", LAST_N)], axis=1)
    distance = np.hypot(*(before - points(images)).T)
    times = (np.maximum(floats(images[f"{name}_time_ms"]), 0) for name in ("dwell", "estimate"))
    return np.stack(
        [
            *(np.log(time + _TIME_MS) for time in times),
            np.log(distance + _DISTANCE),
            np.log(floats(images["hull_area"]) + _AREA),
            np.log(np.maximum(floats(images["num_clicks"]), 1)),
        ],
        axis=1,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorModel:
    """Expected squared distance of a click from its box's centre, in squared fractions.

    Attributes:
        low, high: (num_behaviours,) range seen; a behaviour beyond is taken at its end.
        mean, scale: (num_behaviours,) what behaviours are standardised by.
        intercept: log of the expected error at the mean of all behaviours.
        slope: (num_behaviours,) change of that log for one scale.
        missing: (num_behaviours,) change of it where the behaviour was not logged.
        worker: (num_workers,) factor of each worker, pooled; the crowd's without clicks.
        crowd: factor of a worker who is not among them.
        typical: median of the expected error over the clicks it was fitted on.
    """

    low: Floats
    high: Floats
    mean: Floats
    scale: Floats
    intercept: float
    slope: Floats
    missing: Floats
    worker: Floats
    crowd: float
    typical: float

    def error(self, behaviour: Floats, worker: Ints) -> Floats:
        """Expected squared error of each click, squared fractions.

        Args:
            behaviour: (num_clicks, num_behaviours) of `behaviours`.
            worker: (num_clicks,) codes; NOBODY, of an unknown worker, has the crowd's factor.
        """
        z, gone = _standard(behaviour, self.low, self.high, self.mean, self.scale)
        factor: Floats = np.concatenate([[self.crowd], self.worker])[worker + 1]
        return factor * np.exp(self.intercept + z @ self.slope + gone @ self.missing)

    def reliability(self, error: Floats) -> Floats:
        """Weight in (0, 1] of points with these expected squared errors; NaN stays NaN."""
        if self.typical > 0:
            return 1 / (1 + error / self.typical)
        return np.where(error > 0, 0.5, np.where(np.isnan(error), np.nan, 1.0))


def fit_errors(behaviour: Floats, offset: Floats, worker: Ints, num_workers: int) -> ErrorModel:
    """Learn expected errors from clicks on images with boxes.

    Args:
        behaviour: (num_clicks, num_behaviours), at least one click.
        offset: (num_clicks, 2) click - box centre, fractions of the picture.
        worker: (num_clicks,) codes below num_workers, or NOBODY.
    """
    squares = (offset**2).sum(axis=1)
    low, high, mean, scale = _ranges(behaviour)
    z, gone = _standard(behaviour, low, high, mean, scale)
    line = _log_linear(np.concatenate([z, gone], axis=1), squares)
    num = behaviour.shape[1]
    by_behaviour = ErrorModel(
        low=low,
        high=high,
        mean=mean,
        scale=scale,
        intercept=float(line[0]),
        slope=line[1 : num + 1],
        missing=line[num + 1 :],
        worker=np.ones(num_workers),
        crowd=1.0,
        typical=1.0,
    )
    expected = by_behaviour.error(behaviour, worker)
    known = worker != NOBODY
    ratio = np.divide(squares, expected, out=np.ones_like(squares), where=expected > 0)[known]
    pooled = pool(*means(ratio, worker[known], num_workers))
    crowd = pooled.crowd if np.isfinite(pooled.crowd) else 1.0
    factor = np.where(np.isnan(pooled.value), crowd, pooled.value)
    model = replace(by_behaviour, worker=factor, crowd=crowd)
    return replace(model, typical=float(np.median(model.error(behaviour, worker))))


def _ranges(behaviour: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """low, high, mean, scale of each behaviour; scale is 1 where nothing varies."""
    out = np.tile([[0.0], [0.0], [0.0], [1.0]], behaviour.shape[1])
    for column, values in enumerate(behaviour.T):
        there = values[~np.isnan(values)]
        if len(there):
            low, high = np.quantile(there, _ENDS)
            there = np.clip(there, low, high)
            out[:, column] = low, high, there.mean(), there.std() or 1.0
    return out[0], out[1], out[2], out[3]


def _standard(
    behaviour: Floats, low: Floats, high: Floats, mean: Floats, scale: Floats
) -> tuple[Floats, Floats]:
    """Standardised behaviours, 0 where not logged, and 1 where not logged, else 0."""
    gone = np.isnan(behaviour)
    z = (np.clip(behaviour, low, high) - mean) / scale
    return np.where(gone, 0.0, z), gone.astype(np.float64)


def _log_linear(features: Floats, squares: Floats) -> Floats:
    """Intercept and slopes of log E[squares]: a gamma regression with a little ridge on slopes.

    Args:
        features: (num_clicks, num_features), squares: (num_clicks,) at least 0.
    Returns: (1 + num_features,)
    """
    from scipy.optimize import minimize

    mean = squares.mean()
    if not mean > 0:  # every click is in the very centre
        return np.zeros(1 + features.shape[1])
    design = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    ridge = np.concatenate([[0.0], np.full(features.shape[1], _RIDGE)])
    y = squares / mean

    def loss(line: Floats) -> tuple[float, Floats]:
        log_error = design @ line
        # The gamma deviance, convex in the line; clipped where a trial step is far off.
        ratio = y * np.exp(np.minimum(-log_error, 50.0))
        value = (ratio + log_error).mean() + 0.5 * float(ridge @ line**2)
        return float(value), design.T @ (1 - ratio) / len(y) + ridge * line

    line = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x
    line[0] += np.log(mean)
    found: Floats = line
    return found
