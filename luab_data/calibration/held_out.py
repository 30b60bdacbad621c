"""What calibration does to clicks it was not fitted on, beside two baselines; and what that means.

All arms move the same clicks and are judged by the same boxes, so their differences are paired.
Intervals resample workers; that the fits would differ too is not in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.calibration.model import Points
from luab_data.ragged import Bools, Floats, Ints
from luab_data.results import Tabular
from luab_data.statistics.estimate import (
    Estimate,
    Finish,
    Terms,
    WorkerSums,
    grid_terms,
    less,
    ratio,
)

ARMS = ("click", "calibrated", "global_shift", "pull_to_centre")
"""The clicks as they are; moved by each worker's bias; all by one vector; p -> c + k (p - c)."""

CONTRASTS = ((1, 0), (2, 0), (3, 0), (1, 2), (1, 3))
"""Pairs of ARMS of which differences are taken: each against the click, and ours against both."""

_OURS, _PULL = 0, 2  # of CONTRASTS
QUARTERS = 4


class Criterion(NamedTuple):
    """What points are judged by, against boxes.

    Args:
        name, title: key in JSON, and a few words.
        unit: of the value.
        better: 1 if more is better, -1 if less is, 0 if it only describes.
    """

    name: str
    title: str
    unit: str
    better: int


CRITERIA = (
    Criterion("click_accuracy", "in any box", "share", 1),
    Criterion("on_centre_accuracy", "  of images whose boxes hold the centre", "share", 1),
    Criterion("off_centre_accuracy", "  of images whose boxes miss the centre", "share", 1),
    Criterion("bias", "length of the mean offset", "fraction", -1),
    Criterion("bias_x", "  mean offset, x", "fraction", 0),
    Criterion("bias_y", "  mean offset, y (down)", "fraction", 0),
    Criterion("distance", "RMS distance to the centre", "fraction", -1),
    Criterion("bias_box_sizes", "length of the mean offset", "box sizes", -1),
    Criterion("distance_box_sizes", "RMS distance to the centre", "box sizes", -1),
)
"""Offsets and distances are from the centre of the box that the click itself is judged by."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeldOut(Tabular):
    """How calibrated points compare with the clicks and two baselines, on clicks not fitted on.

    Attributes:
        split_by: `worker` or `image`: what no fold shares with another.
        folds, seed: their number, and the seed of folds and bootstrap.
        num_clicks, num_workers: clicks on images with boxes, each held out once, and whose.
        values, changes: criterion -> estimates of ARMS, and of CONTRASTS, paired.
        ranking: what the reliability is worth; see rank_reliability.
    """

    split_by: str
    folds: int
    seed: int
    num_clicks: int
    num_workers: int
    values: dict[str, Estimate]
    changes: dict[str, Estimate]
    ranking: dict[str, Estimate]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Sentences chosen by the numbers, the verdict first."""
        return (_verdict(self), *_sentences(self), _about_reliability(self))

    def __repr__(self) -> str:
        return f"HeldOut({self.num_clicks:,} clicks by {self.split_by}: {self.sentences[0]})"

    def to_table(self) -> pa.Table:
        """One row a criterion and arm, then a criterion and pair of arms (`calibrated - click`)."""
        pairs = [f"{ARMS[first]} - {ARMS[second]}" for first, second in CONTRASTS]
        rows = [
            {
                **{"criterion": criterion.name, "unit": criterion.unit, "arm": arm},
                **{k: float(getattr(found, k)[place]) for k in ("value", "low", "high", "n")},
            }
            for arms, estimates in ((ARMS, self.values), (pairs, self.changes))
            for criterion in CRITERIA
            for found in [estimates[criterion.name]]
            for place, arm in enumerate(arms)
        ]
        return pa.Table.from_pylist(rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("split_by", "folds", "seed", "num_clicks", "num_workers")
        return {
            **{name: getattr(self, name) for name in names},
            "arms": list(ARMS),
            "contrasts": [[ARMS[first], ARMS[second]] for first, second in CONTRASTS],
            "outcomes": {
                criterion.name: {
                    "unit": criterion.unit,
                    "values": self.values[criterion.name].as_dict(),
                    "changes": self.changes[criterion.name].as_dict(),
                }
                for criterion in CRITERIA
            },
            "reliability": {name: found.as_dict() for name, found in self.ranking.items()},
            "words": list(self.sentences),
        }


def _sign(found: Estimate, place: int | tuple[()] = ()) -> int:
    """1 or -1 if the whole interval is on that side of 0, else 0."""
    if found.low[place] > 0:
        return 1
    return -1 if found.high[place] < 0 else 0


def _better(report: HeldOut, name: str, contrast: int = _OURS) -> int:
    """1 if a criterion gets better beyond its interval, -1 if worse, 0 if that cannot be told."""
    (better,) = (criterion.better for criterion in CRITERIA if criterion.name == name)
    return better * _sign(report.changes[name], contrast)


def _verdict(report: HeldOut) -> str:
    hits = [_better(report, name) for name in ("click_accuracy", "off_centre_accuracy")]
    closer = max(_better(report, name) for name in ("bias", "distance"))
    if min(hits) < 0:
        if closer > 0:
            return (
                "Calibration does not help here: points are less biased or closer to box centres on"
                " average, and fewer are on the object. Keep the clicks."
            )
        return "Calibration does harm here. Keep the clicks."
    if max(hits) > 0:
        return "Calibration helps here: more points are on the object."
    if closer > 0:
        return (
            "Calibration helps a little here: points are less biased or closer to box centres, and"
            " no more of them are on the object than before, as far as can be told."
        )
    return "Calibration makes no difference here that can be told from chance."


_SUBJECTS = {  # criterion -> how a sentence calls it
    "click_accuracy": "points in a box",
    "off_centre_accuracy": "points in a box, where boxes miss the picture's centre",
    "bias": "length of the mean offset, fractions of the picture",
    "distance": "RMS distance to the box centre, fractions of the picture",
    "distance_box_sizes": "RMS distance to the box centre, box sizes",
}


def _sentences(report: HeldOut) -> list[str]:
    on, off = (_change(report, f"{side}_centre_accuracy", _PULL) for side in ("on", "off"))
    return [
        *(f"Calibrated, {what}: {_change(report, k, _OURS)}" for k, what in _SUBJECTS.items()),
        f"Pulled to the centre, points in a box where boxes hold the centre: {on}; where they miss"
        f" it: {off}",
    ]


def _change(report: HeldOut, name: str, contrast: int) -> str:
    change = report.changes[name]
    first, second = CONTRASTS[contrast]
    value = report.values[name].value
    told = {1: "better", -1: "worse", 0: "no difference that can be told"}
    return (
        f"{value[second]:.4f} -> {value[first]:.4f}, {change.value[contrast]:+.4f}"
        f" [{change.low[contrast]:+.4f}, {change.high[contrast]:+.4f}],"
        f" {told[_better(report, name, contrast)]}"
    )


def _about_reliability(report: HeldOut) -> str:
    rank, top = report.ranking["rank_correlation"], report.ranking["top_less_bottom"]
    between = (
        f"rank correlation {rank.value:.3f} [{rank.low:.3f}, {rank.high:.3f}], accuracy of the most"
        f" less the least reliable quarter {top.value:+.3f} [{top.low:+.3f}, {top.high:+.3f}]"
    )
    ranks, hits = _sign(rank), _sign(top)
    if ranks < 0 or (hits < 0 and not ranks):
        what = "misleads here, do not weight by it"
    elif ranks > 0:
        what = (
            "tells good clicks from bad ones"
            if hits > 0
            else ("ranks clicks by distance, not by being in a box")
        )
    else:
        what = "does not tell good clicks from bad ones here"
    return f"Reliability {what}: {between}."


def compare(
    points: Points, holds: Callable[[Floats], Floats], weights: Floats
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Every criterion of every arm, and how the arms differ.

    Args:
        points: held-out clicks.
        holds: (num_clicks, 2) points -> (num_clicks,) 1 where in a box of their image, else 0.
        weights: (num_resamples, num_workers) of draw_workers.
    Returns: name -> estimates, (num_arms,) and (num_contrasts,).
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
        "distance": (squares, everything, _rms),
        "bias_box_sizes": (in_boxes.reshape(len(clicks), -1), sized, _length),
        "distance_box_sizes": (squares_in_boxes, sized, _rms),
    }
    values, changes = {}, {}
    for name, (part, there, finish) in sums.items():
        of_workers = _sums_of(part, there, clicks.worker)
        n = np.array(float(there.sum()))
        values[name] = of_workers.estimate(weights, shape=(len(ARMS),), finish=finish, n=n)
        changes[name] = of_workers.estimate(
            weights, shape=(len(CONTRASTS),), finish=_contrasts(finish), n=n
        )
    return values, changes


def _sums_of(part: Floats, there: Bools, worker: Ints) -> WorkerSums:
    """Sums of the columns of part over the rows that are there."""
    sums = WorkerSums(part.shape[1])
    sums.add(grid_terms(part[there], np.ones_like(part[there])), worker[there])
    return sums


def _rms(part: Floats, whole: Floats) -> Floats:
    return np.sqrt(ratio(part, whole))


def _length(part: Floats, whole: Floats) -> Floats:
    """Length of each arm's mean vector; x and y of an arm are neighbours."""
    mean = ratio(part, whole)
    return np.hypot(mean[..., 0::2], mean[..., 1::2])


def _contrasts(finish: Finish) -> Finish:
    """First less second arm of each of CONTRASTS."""
    first, second = np.array(CONTRASTS).T

    def differences(part: Floats, whole: Floats) -> Floats:
        value = finish(part, whole)
        return np.asarray(value[..., first] - value[..., second])

    return differences


def rank_reliability(
    points: Points, hit: Floats, weights: Floats, *, seed: int = 0
) -> dict[str, Estimate]:
    """Whether the expected errors tell good clicks from bad ones of the same fold.

    Only of the same fold: where bad workers are held out, the others teach smaller errors, so that
    between folds expected and found errors go against each other.

    Args:
        points: held-out clicks.
        hit: (num_clicks,) 1 where the click is in a box, else 0.
        weights: as compare. seed: of the order of ties.

    Returns: `rank_correlation` of expected and found squared errors (Spearman's);
    `quarter_accuracy` (4,) of the clicks by reliability, the least reliable first, ties in a random
    order; `top_less_bottom` of these; `weighting_gain`: click accuracy with each click weighted by
    its reliability, less the plain one.
    """
    worker, fold = points.clicks.worker, points.fold
    squares = (points.clicks.offset**2).sum(axis=1)
    n = np.array(float(len(worker)))
    a, b = _ranks(points.expected, fold), _ranks(squares, fold)
    moments = _sums_of(np.stack([a, b, a * a, b * b, a * b], axis=1), np.isfinite(a), worker)
    chance = np.random.default_rng(seed).permutation(len(worker))
    order = _places(np.lexsort((chance, points.reliability, fold)), fold)
    quarter = (order * QUARTERS).astype(np.int64)
    quarters = WorkerSums(QUARTERS)
    row = np.arange(len(worker))
    quarters.add(Terms(row=row, part=hit, whole=np.ones(len(row)), cell=quarter), worker)
    weighted = WorkerSums(2)
    mean = np.bincount(fold, points.reliability) / np.maximum(np.bincount(fold), 1)
    weight = np.stack([points.reliability / mean[fold], np.ones(len(row))], axis=1)
    weighted.add(grid_terms(weight * hit[:, None], weight), worker)
    return {
        "rank_correlation": moments.estimate(weights, finish=_correlation, n=n, null=0.0),
        "quarter_accuracy": quarters.estimate(weights, shape=(QUARTERS,)),
        "top_less_bottom": quarters.estimate(weights, finish=less(-1, 0), n=n, null=0.0),
        "weighting_gain": weighted.estimate(weights, finish=less(0, -1), n=n, null=0.0),
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
    return (np.bincount(group, place) / np.bincount(group))[group]


def _correlation(part: Floats, whole: Floats) -> Floats:
    a, b, aa, bb, ab = np.moveaxis(ratio(part, whole), -1, 0)
    spread = (aa - a * a) * (bb - b * b)
    # Ranks that are all equal have a spread of nothing but rounding.
    found: Floats = (ab - a * b) / np.sqrt(np.where(spread > 1e-12, spread, np.nan))
    return found
