"""What calibration does to clicks it was not fitted on, beside two baselines.

Clicks on images with boxes are dealt into folds, by worker or by image; each fold is moved by what
the others taught. All arms move the same clicks and are judged by the same boxes, so their
differences are paired. Intervals resample workers; that the fits would differ too is not in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from luab_data.calibration.click_bias import Clicks, fit_bias, moved
from luab_data.calibration.reliability import fit_errors
from luab_data.ragged import Bools, Floats, Ints
from luab_data.statistics.estimate import (
    RESAMPLES,
    Estimate,
    Finish,
    Parts,
    Tally,
    draw_workers,
    grid_parts,
    ratio,
)

ARMS = ("click", "calibrated", "global_shift", "pull_to_centre")
"""The clicks as they are; moved by each worker's bias; all by one vector; p -> c + k (p - c)."""

CONTRASTS = ((1, 0), (2, 0), (3, 0), (1, 2), (1, 3))
"""Pairs of ARMS of which differences are taken: each against the click, and ours against both."""

QUARTERS = 4


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One measure of points against boxes.

    Attributes:
        name, title: key in JSON, and a few words.
        unit: of the value.
        better: 1 if more is better, -1 if less is, 0 if it only describes.
    """

    name: str
    title: str
    unit: str
    better: int


OUTCOMES = (
    Outcome(name="click_accuracy", title="in any box", unit="share", better=1),
    Outcome(name="on_centre_accuracy", title="  of images whose boxes hold the centre",
            unit="share", better=1),
    Outcome(name="off_centre_accuracy", title="  of images whose boxes miss the centre",
            unit="share", better=1),
    Outcome(name="bias", title="length of the mean offset", unit="fraction", better=-1),
    Outcome(name="bias_x", title="  mean offset, x", unit="fraction", better=0),
    Outcome(name="bias_y", title="  mean offset, y (down)", unit="fraction", better=0),
    Outcome(name="distance", title="RMS distance to the centre", unit="fraction", better=-1),
    Outcome(name="bias_box_sizes", title="length of the mean offset", unit="box sizes", better=-1),
    Outcome(name="distance_box_sizes", title="RMS distance to the centre", unit="box sizes",
            better=-1),
)  # fmt: skip
"""Offsets and distances are from the centre of the box that the click itself is judged by."""


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


def cross_fit(clicks: Clicks, behaviour: Floats, fold: Ints, num_workers: int) -> Points:
    """Move the clicks of each fold by what the other folds taught.

    Args:
        clicks: on images with boxes.
        behaviour: (num_clicks, num_behaviours) of reliability.behaviours.
        fold: (num_clicks,) from 0.
    """
    arms = np.tile(clicks.point, (len(ARMS), 1, 1))
    expected, reliability = np.full((2, len(clicks)), np.nan)
    for held in range(int(fold.max(initial=-1)) + 1):
        test = fold == held
        if not test.any():
            continue
        taught, seen = clicks.where(~test), clicks.where(test)
        bias = fit_bias(taught.offset, taught.worker, num_workers)
        arms[1, test] = moved(seen.point, -bias.of(seen.worker))
        arms[2, test] = moved(seen.point, -taught.offset.mean(axis=0))
        arms[3, test] = _pulled(seen.point, _pull(taught))
        model = fit_errors(behaviour[~test], taught.offset, taught.worker, num_workers)
        expected[test] = model.error(behaviour[test], seen.worker)
        reliability[test] = model.reliability(expected[test])
    return Points(clicks=clicks, arms=arms, fold=fold, expected=expected, reliability=reliability)


def _pull(clicks: Clicks) -> float:
    """The k of centre = c + k (click - c), c the picture's centre, by least squares."""
    click, centre = clicks.point - 0.5, clicks.centre - 0.5
    squares = float((click**2).sum())
    return float((click * centre).sum()) / squares if squares else 1.0


def _pulled(point: Floats, k: float) -> Floats:
    return moved(point, (k - 1) * (point - 0.5))


def outcomes(
    points: Points,
    holds: Callable[[Floats], Floats],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Every outcome of every arm, and how the arms differ.

    Args:
        points: held-out clicks.
        holds: (num_clicks, 2) points -> (num_clicks,) 1 where in a box of their image, else 0.
    Returns: name -> estimate of shape (num_arms,), and of shape (num_contrasts,).
    """
    clicks = points.clicks
    hit = np.stack([holds(arm) for arm in points.arms], axis=1)
    central = holds(np.full_like(clicks.point, 0.5)) > 0
    offset = np.moveaxis(points.arms - clicks.centre, 0, 1)  # (num_clicks, num_arms, 2)
    everything = np.ones(len(clicks), bool)
    sized = np.asarray((clicks.size > 0).all(axis=1))
    in_boxes = offset / np.where(clicks.size > 0, clicks.size, np.nan)[:, None]
    squares, squares_in_boxes = ((v**2).sum(axis=2) for v in (offset, in_boxes))
    sums: dict[str, tuple[Floats, Bools, Finish]] = {
        "click_accuracy": (hit, everything, ratio),
        "on_centre_accuracy": (hit, central, ratio),
        "off_centre_accuracy": (hit, ~central, ratio),
        "bias": (offset.reshape(len(clicks), -1), everything, _length),
        "bias_x": (offset[..., 0], everything, ratio),
        "bias_y": (offset[..., 1], everything, ratio),
        "distance": (squares, everything, _root),
        "bias_box_sizes": (in_boxes.reshape(len(clicks), -1), sized, _length),
        "distance_box_sizes": (squares_in_boxes, sized, _root),
    }
    weights = _weights(clicks.worker, resamples, seed)
    values, changes = {}, {}
    for name, (part, there, finish) in sums.items():
        tally = _tally(part, there, clicks.worker)
        n = np.array(float(there.sum()))
        values[name] = tally.estimate(weights, shape=(len(ARMS),), finish=finish, n=n)
        changes[name] = tally.estimate(
            weights, shape=(len(CONTRASTS),), finish=_contrasts(finish), n=n
        )
    return values, changes


def _tally(part: Floats, there: Bools, worker: Ints) -> Tally:
    """Sums of the columns of part over the rows that are there."""
    tally = Tally(part.shape[1])
    own = part[there]
    tally.add(grid_parts(own, np.ones_like(own)), worker[there])
    return tally


def _weights(worker: Ints, resamples: int, seed: int) -> Floats:
    return draw_workers(int(worker.max(initial=-1)) + 1, resamples=resamples, seed=seed)


def _root(part: Floats, whole: Floats) -> Floats:
    return np.sqrt(ratio(part, whole))


def _length(part: Floats, whole: Floats) -> Floats:
    """Length of each arm's mean vector; x and y of an arm are neighbours."""
    mean = ratio(part, whole)
    return np.hypot(mean[..., 0::2], mean[..., 1::2])


def _contrasts(finish: Finish) -> Finish:
    first, second = np.array(CONTRASTS).T

    def differences(part: Floats, whole: Floats) -> Floats:
        value = finish(part, whole)
        found: Floats = value[..., first] - value[..., second]
        return found

    return differences


def ranking(
    points: Points, hit: Floats, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Whether the expected errors tell good clicks from bad ones of the same fold.

    Only of the same fold: where bad workers are held out, the others teach smaller errors, so that
    between folds expected and found errors go against each other.

    Args:
        points: held-out clicks.
        hit: (num_clicks,) 1 where the click is in a box, else 0.

    Returns: `rank_correlation` of expected and found squared errors (Spearman's);
    `quarter_accuracy` (4,) of the clicks by reliability, the least reliable first, ties in a random
    order; `top_less_bottom` of these; `weighting_gain`: click accuracy with each click weighted by
    its reliability, less the plain one.
    """
    worker, fold = points.clicks.worker, points.fold
    weights = _weights(worker, resamples, seed)
    squares = (points.clicks.offset**2).sum(axis=1)
    n = np.array(float(len(worker)))
    a, b = _ranks(points.expected, fold), _ranks(squares, fold)
    moments = _tally(
        np.stack([a, b, a * a, b * b, a * b], axis=1), np.ones(len(worker), bool), worker
    )
    chance = np.random.default_rng(seed).permutation(len(worker))
    order = _places(np.lexsort((chance, points.reliability, fold)), fold)
    quarter = (order * QUARTERS).astype(np.int64)
    quarters = Tally(QUARTERS)
    row = np.arange(len(worker))
    quarters.add(Parts(row=row, part=hit, whole=np.ones(len(row)), cell=quarter), worker)
    weighted = Tally(2)
    mean = np.bincount(fold, points.reliability) / np.maximum(np.bincount(fold), 1)
    weight = np.stack([points.reliability / mean[fold], np.ones(len(row))], axis=1)
    weighted.add(grid_parts(weight * hit[:, None], weight), worker)
    return {
        "rank_correlation": moments.estimate(weights, finish=_correlation, n=n, null=0.0),
        "quarter_accuracy": quarters.estimate(weights, shape=(QUARTERS,)),
        "top_less_bottom": quarters.estimate(weights, finish=_last_less_first, n=n, null=0.0),
        "weighting_gain": weighted.estimate(weights, finish=_first_less_second, n=n, null=0.0),
    }


def _places(order: Ints, fold: Ints) -> Floats:
    """(n,) place of each click in its fold, in [0, 1), of clicks in order of fold and value."""
    size = np.bincount(fold)
    start = np.cumsum(size) - size
    out = np.empty(len(order))
    out[order] = (np.arange(len(order)) - start[fold[order]]) / size[fold[order]]
    return out


def _ranks(values: Floats, fold: Ints) -> Floats:
    """(n,) rank of each value in its fold from -1/2 to 1/2, 0 in the mean; equal values share."""
    order = np.lexsort((values, fold))
    place = _places(order, fold) + 0.5 / np.bincount(fold)[fold] - 0.5
    changes = (np.diff(values[order]) != 0) | (np.diff(fold[order]) != 0)
    group = np.empty(len(order), np.int64)
    group[order] = np.concatenate([[0], np.cumsum(changes)])[: len(order)]
    ranks: Floats = (np.bincount(group, place) / np.bincount(group))[group]
    return ranks


def _correlation(part: Floats, whole: Floats) -> Floats:
    a, b, aa, bb, ab = np.moveaxis(ratio(part, whole), -1, 0)
    spread = (aa - a * a) * (bb - b * b)
    # Ranks that are all equal have a spread of nothing but rounding.
    found: Floats = (ab - a * b) / np.sqrt(np.where(spread > 1e-12, spread, np.nan))
    return found


def _last_less_first(part: Floats, whole: Floats) -> Floats:
    mean = ratio(part, whole)
    found: Floats = mean[..., -1] - mean[..., 0]
    return found


def _first_less_second(part: Floats, whole: Floats) -> Floats:
    mean = ratio(part, whole)
    found: Floats = mean[..., 0] - mean[..., 1]
    return found
