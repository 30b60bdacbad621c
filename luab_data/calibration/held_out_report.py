"""What held-out clicks say about a calibration: numbers, and words chosen by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from luab_data.calibration.held_out import ARMS, CONTRASTS, OUTCOMES
from luab_data.statistics.estimate import Estimate

_OURS, _PULL = 0, 2  # of CONTRASTS


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """How calibrated points compare with the clicks and two baselines, on clicks not fitted on.

    Attributes:
        split_by: `worker` or `image`: what no fold shares with another.
        folds: their number.
        seed: of folds and bootstrap.
        num_clicks: clicks on images with boxes, each held out once.
        num_workers: of these.
        values: outcome -> estimate of shape (num_arms,), in the order of held_out.ARMS.
        changes: outcome -> estimate of shape (num_contrasts,), of held_out.CONTRASTS, paired.
        ranking: what the reliability is worth; see held_out.ranking.
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
    def words(self) -> tuple[str, ...]:
        """Sentences chosen by the numbers, the verdict first."""
        return (_verdict(self), *_sentences(self), *_about_reliability(self))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        about = {outcome.name: outcome for outcome in OUTCOMES}
        return {
            **{name: getattr(self, name) for name in ("split_by", "folds", "seed")},
            **{name: getattr(self, name) for name in ("num_clicks", "num_workers")},
            "arms": list(ARMS),
            "contrasts": [[ARMS[first], ARMS[second]] for first, second in CONTRASTS],
            "outcomes": {
                name: {
                    "unit": about[name].unit,
                    "values": value.as_dict(),
                    "changes": self.changes[name].as_dict(),
                }
                for name, value in self.values.items()
            },
            "reliability": {name: found.as_dict() for name, found in self.ranking.items()},
            "words": list(self.words),
        }


def _sign(found: Estimate, place: int | tuple[()] = ()) -> int:
    """1 or -1 if the whole interval is on that side of 0, else 0."""
    if found.low[place] > 0:
        return 1
    return -1 if found.high[place] < 0 else 0


def _better(report: HeldOut, name: str, contrast: int = _OURS) -> int:
    """1 if an outcome gets better beyond its interval, -1 if worse, 0 if that cannot be told."""
    (better,) = (outcome.better for outcome in OUTCOMES if outcome.name == name)
    return better * _sign(report.changes[name], contrast)


def _verdict(report: HeldOut) -> str:
    accuracy, off_centre = (
        _better(report, name) for name in ("click_accuracy", "off_centre_accuracy")
    )
    closer = max(_better(report, name) for name in ("bias", "distance"))
    if accuracy < 0 or off_centre < 0:
        if closer > 0:
            return (
                "Calibration does not help here: points are less biased or closer to box centres on"
                " average, and fewer are on the object. Keep the clicks."
            )
        return "Calibration does harm here. Keep the clicks."
    if accuracy > 0 or off_centre > 0:
        return "Calibration helps here: more points are on the object."
    if closer > 0:
        return (
            "Calibration helps a little here: points are less biased or closer to box centres, and"
            " no more of them are on the object than before, as far as can be told."
        )
    return "Calibration makes no difference here that can be told from chance."


def _sentences(report: HeldOut) -> list[str]:
    subjects = (
        ("click_accuracy", "points in a box"),
        ("off_centre_accuracy", "points in a box, where boxes miss the picture's centre"),
        ("bias", "length of the mean offset, fractions of the picture"),
        ("distance", "RMS distance to the box centre, fractions of the picture"),
        ("distance_box_sizes", "RMS distance to the box centre, box sizes"),
    )
    lines = [f"Calibrated, {what}: {_change(report, name, _OURS)}" for name, what in subjects]
    on, off = (_change(report, f"{side}_centre_accuracy", _PULL) for side in ("on", "off"))
    lines.append(
        f"Pulled to the centre, points in a box where boxes hold the centre: {on}; where they miss"
        f" it: {off}"
    )
    return lines


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


def _about_reliability(report: HeldOut) -> list[str]:
    rank, top = report.ranking["rank_correlation"], report.ranking["top_less_bottom"]
    between = (
        f"rank correlation {rank.value:.3f} [{rank.low:.3f}, {rank.high:.3f}], accuracy of the most"
        f" less the least reliable quarter {top.value:+.3f} [{top.low:+.3f}, {top.high:+.3f}]"
    )
    ranks, hits = _sign(rank), _sign(top)
    if ranks > 0 and hits > 0:
        return [f"Reliability tells good clicks from bad ones: {between}."]
    if ranks > 0:
        return [f"Reliability ranks clicks by distance, not by being in a box: {between}."]
    if ranks < 0 or hits < 0:
        return [f"Reliability misleads here, do not weight by it: {between}."]
    return [f"Reliability does not tell good clicks from bad ones here: {between}."]
