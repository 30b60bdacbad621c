"""How far a click is to be expected from the object's centre, by who made it and how.

The expected squared error is a product: exp(line in behaviours of this click) x factor of the
worker. The line comes first, so that it serves workers nobody has seen yet; a worker's factor, what
their errors are beyond it, is partially pooled to the crowd's. A reliability is 1 / (1 + error /
typical error): in (0, 1], 1/2 for a typical click, the smaller the larger the expected error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from luab_data.calibration.bias import means
from luab_data.ragged import ArrowColumn, Floats, Ints, bounds_of, floats, ragged
from luab_data.statistics.estimate import NOBODY
from luab_data.workers.pooling import pool

BEHAVIOURS = ("dwell_time", "estimate_time", "trace_end_distance", "hull_area", "num_clicks")
"""What a click is known by beside its worker; see `behaviours`."""

COLUMNS = (
    *("final_click_x", "final_click_y", "dwell_time_ms", "estimate_time_ms"),
    *("last_n_x", "last_n_y", "hull_area", "num_clicks"),
)
"""What `behaviours` reads."""

_TIME_MS, _DISTANCE, _AREA = 50.0, 0.01, 1e-4
"""Added before a logarithm is taken: about what the tool can resolve."""

_ENDS = (0.01, 0.99)
_RIDGE = 1e-3


def behaviours(images: pa.Table) -> Floats:
    """How each click was made.

    Args:
        images: rows of `default` of ImageNet-AB, with COLUMNS.
    Returns: (num_rows, len(BEHAVIOURS)), logarithms of: time in the picture; the tool's estimate of
    it; distance of the click from the trace record before it; area of the hull around the click's
    approach; clicks of the round. NaN where that was not logged, as for touch without a trace.
    """
    click = [floats(images[f"final_click_{axis}"]) for axis in "xy"]
    end = [_second(images[f"last_n_{axis}"]) for axis in "xy"]
    distance = np.hypot(end[0] - click[0], end[1] - click[1])
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


def _second(column: ArrowColumn) -> Floats:
    """(num_rows,) element 1 of each list; NaN where it is null or not there."""
    bounds = bounds_of(column)
    long = np.diff(bounds) > 1
    out = np.full(len(long), np.nan)
    out[long] = ragged(column).values[bounds[:-1][long] + 1]
    return out


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
        factor: Floats = np.concatenate([[self.crowd], self.worker])[worker + 1]
        return factor * self._by_behaviour(behaviour)

    def _by_behaviour(self, behaviour: Floats) -> Floats:
        z, gone = _standard(behaviour, self.low, self.high, self.mean, self.scale)
        return np.exp(self.intercept + z @ self.slope + gone @ self.missing)

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
