"""What is compared between runs: numbers of each test image, from the bits that were kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from hits import POINTED, PULLED, Hits
from paired import Estimate, estimate

Values = Callable[[Hits, str], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number an image and run.

    Args:
        name: for code.
        title: for tables and figures.
        values: (hits, key of a run) -> numbers of the images that count, the same images for all
            runs.
        points: asks the point head, which an arm without points never trained.
    """

    name: str
    title: str
    values: Values
    points: bool = False


def _share(name: str, *, off_centre: bool = False) -> Values:
    def values(hits: Hits, key: str) -> np.ndarray:
        keep = hits.shown[name] & ~hits.centred if off_centre else hits.shown[name]
        found: np.ndarray = hits.bits[key, name][keep].astype(float)
        return found

    return values


def _gap(first: str, second: str) -> Values:
    def values(hits: Hits, key: str) -> np.ndarray:
        keep = hits.shown[first] & hits.shown[second]
        found: np.ndarray = hits.bits[key, first][keep] - hits.bits[key, second][keep].astype(float)
        return found

    return values


MEASURES = (
    Measure(name="accuracy", title="accuracy", values=_share("original")),
    Measure(name="same", title="same-class background", values=_share("same_background")),
    Measure(name="other", title="other-class background", values=_share("other_background")),
    Measure(name="gap", title="background gap", values=_gap("same_background", "other_background")),
    Measure(name="pulled", title="answers the background's class", values=_share(PULLED)),
    Measure(name="masked", title="object masked", values=_share("object_masked")),
    Measure(
        name="object", title="cost of masking", values=_gap("elsewhere_masked", "object_masked")
    ),
    Measure(name="centre", title="centre masked", values=_share("centre_masked")),
    Measure(name="only", title="object only", values=_share("object_only")),
    Measure(name="localisation", title="point in box", values=_share(POINTED), points=True),
    Measure(
        name="off_centre",
        title="point in box, off centre",
        values=_share(POINTED, off_centre=True),
        points=True,
    ),
)
BY_NAME = {measure.name: measure for measure in MEASURES}


def seeds_of(hits: Hits, name: str) -> list[int]:
    """Seeds of the runs `<name>-s<seed>`, ascending; `name` is e.g. `arms-cnn-click`."""
    found = {key for key, _ in hits.bits if key.rpartition("-s")[0] == name}
    return sorted(int(key.rpartition("-s")[2]) for key in found)


def level(hits: Hits, name: str, measure: Measure) -> Estimate:
    """Of the runs `name`."""
    return _estimate(measure.values(hits, f"{name}-s{seed}") for seed in seeds_of(hits, name))


def difference(hits: Hits, name: str, versus: str, measure: Measure) -> Estimate:
    """Of the runs `name` less the runs `versus`, over the seeds that both have."""
    seeds = [seed for seed in seeds_of(hits, name) if seed in seeds_of(hits, versus)]
    return _estimate(
        measure.values(hits, f"{name}-s{seed}") - measure.values(hits, f"{versus}-s{seed}")
        for seed in seeds
    )


def _estimate(of_seed: Iterable[np.ndarray]) -> Estimate:
    rows = list(of_seed)
    return estimate(np.stack(rows) if rows else np.zeros((0, 0)))
