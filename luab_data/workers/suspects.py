"""Which workers to look at: careless ones, and ones who click the centre or rush, and why.

The rule. Every trait has a z: how far the worker is from the ordinary ones, after pooling, in a
unit that bad workers do not move (`pooling.robust_z`). A score is made of such z's and a worker is
flagged from THRESHOLD = 3.5 on, the outlier rule of Iglewicz and Hoaglin ("How to Detect and Handle
Outliers", 1993) for distances in median absolute deviations: of normal workers one in 4,300
passes it on one side. Nothing here is fitted to simulated workers.

A score of several families of signs is the sum of their z's over the square root of their number,
each capped at 3.5: no single oddity flags anybody, two strong ones or three clear ones do. Signs
of one family measure the same thing, so they are averaged. If families go together in the crowd,
the sum varies more than this square root says, and it is divided by its own robust standard
deviation.

What cannot be found: more than half of the workers being bad, since they then are the yardstick;
a worker with few rows, whose z is pulled to 0; from behaviour, a worker who takes their time and
misses, or one whose classes really are always in the centre. Flags are reasons to look, not proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from luab_data.ragged import Bools, Floats
from luab_data.workers.pooling import Pooled, weighted_median

THRESHOLD = 3.5
CLEAR = 2.0
"""A sign whose z is at least this is named among the reasons."""

Traits = Mapping[str, Pooled]
Signs = Mapping[str, float]
"""Trait -> +1 if much of it is suspicious, -1 if little of it is."""


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """One thing a worker may be suspected of.

    Attributes:
        name: `careless`, `centre_clicking` or `hasty`.
        evidence: `behaviour` needs the log only, `truth` boxes or masks too.
        doc: the rule in a sentence.
        families: the signs, by what they measure.
        score: traits -> (num_workers,) like a z; NaN for workers it cannot judge.
    """

    name: str
    evidence: Literal["behaviour", "truth"]
    doc: str
    families: tuple[Signs, ...]
    score: Callable[[Traits, Sequence[Signs]], Floats]

    @property
    def key(self) -> str:
        """`careless_by_behaviour`, ..."""
        return f"{self.name}_by_{self.evidence}"

    def scores(self, traits: Traits) -> Floats:
        """(num_workers,) of each worker."""
        return self.score(traits, self.families)

    def reasons(self, traits: Traits) -> list[list[str]]:
        """For each worker the traits that are clear signs, the clearest first."""
        signs = {trait: sign for family in self.families for trait, sign in family.items()}
        z = np.array([sign * traits[trait].z for trait, sign in signs.items()])
        names = np.array([*signs])
        found = []
        for column in np.nan_to_num(z).T:
            order = np.argsort(-column, kind="stable")
            found.append([str(names[k]) for k in order if column[k] >= CLEAR])
        return found


def flagged(score: Floats) -> Bools:
    """(num_workers,) whether each score is past the threshold; NaN is not."""
    return np.nan_to_num(score, nan=-np.inf) >= THRESHOLD


def together(traits: Traits, families: Sequence[Signs]) -> Floats:
    """All families as one score; NaN for workers without two of them."""
    z, weight = (np.array([part(traits, f) for f in families]) for part in (_mean_z, _mean_weight))
    there = ~np.isnan(z)
    number = there.sum(axis=0)
    capped = np.clip(np.where(there, z, 0.0), -THRESHOLD, THRESHOLD)
    score = np.where(number >= 2, capped.sum(axis=0) / np.sqrt(np.maximum(number, 1)), np.nan)
    known = ~np.isnan(score)
    by = np.where(there, weight, 0.0).sum(axis=0)[known] / number[known]
    centre = weighted_median(score[known], by)
    scale = 1.4826 * weighted_median(np.abs(score[known] - centre), by)
    # Workers with few rows all score near 0; that makes nobody else suspicious.
    return np.asarray(score / max(1.0, np.nan_to_num(scale)), np.float64)


def all_of(traits: Traits, families: Sequence[Signs]) -> Floats:
    """The weakest family: every one of them must be there."""
    found: Floats = np.min([_mean_z(traits, family) for family in families], axis=0)
    return found


def _mean_z(traits: Traits, family: Signs) -> Floats:
    z = np.array([sign * traits[trait].z for trait, sign in family.items()])
    return _nan_mean(np.clip(z, -THRESHOLD, THRESHOLD) if len(z) > 1 else z)


def _mean_weight(traits: Traits, family: Signs) -> Floats:
    return _nan_mean(np.array([traits[trait].weight for trait in family]))


def _nan_mean(values: Floats) -> Floats:
    there = ~np.isnan(values)
    number = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    found: Floats = np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)
    return found


def ignores_objects(traits: Traits) -> Bools:
    """(num_workers,) whose clicks move less than half as much as the object does."""
    return np.nan_to_num(traits["box_following"].value, nan=1.0) < 0.5


def near_centre(traits: Traits) -> Bools:
    """(num_workers,) whose clicks are nearer to the picture's centre than an ordinary worker's."""
    return np.nan_to_num(traits["centre_distance"].z) < 0


def _careless_by_boxes(traits: Traits, families: Sequence[Signs]) -> Floats:
    score = together(traits, families)
    return np.where(near_centre(traits), np.minimum(score, 0.0), score)


def _centre_clicking_by_boxes(traits: Traits, families: Sequence[Signs]) -> Floats:
    score = all_of(traits, families)
    return np.where(ignores_objects(traits), score, np.minimum(score, 0.0))


IMAGENET_SUSPICIONS: tuple[Suspicion, ...] = (
    Suspicion(
        name="careless", evidence="behaviour", score=together,
        doc="fast, looks at few pictures, selects few, clicks scattered: at least two of these",
        families=(
            {"picture_time_ms": -1, "approach_ms": -1},
            {"hover_rate": -1, "revisit_rate": -1},
            {"selected_rate": -1},
            {"click_spread": 1},
        ),
    ),
    Suspicion(
        name="careless", evidence="truth", score=_careless_by_boxes,
        doc="clicks do not follow the box and miss it, without being near the picture's centre",
        families=(
            {"box_following": -1},
            {"click_accuracy": -1, "off_centre_click_accuracy": -1},
        ),
    ),
    Suspicion(
        name="centre_clicking", evidence="behaviour", score=all_of,
        doc="clicks near the picture's centre, much nearer than ordinary workers do",
        families=({"centre_distance": -1},),
    ),
    Suspicion(
        name="centre_clicking", evidence="truth", score=_centre_clicking_by_boxes,
        doc="clicks near the picture's centre that move less than half as much as the box does",
        families=({"centre_distance": -1}, {"box_following": -1}),
    ),
)  # fmt: skip

COCO_SUSPICIONS: tuple[Suspicion, ...] = (
    Suspicion(
        name="careless", evidence="behaviour", score=together,
        doc="fast, and takes many icons back",
        families=({"page_time_ms": -1}, {"removed_share": 1}),
    ),
    Suspicion(
        name="careless", evidence="truth", score=all_of,
        doc="icons miss the masks of their class",
        families=({"icon_precision": -1},),
    ),
    Suspicion(
        name="hasty", evidence="behaviour", score=together,
        doc="fast, and places few icons",
        families=({"page_time_ms": -1}, {"icons_per_page": -1}),
    ),
    Suspicion(
        name="hasty", evidence="truth", score=together,
        doc="fast, and misses classes that are there",
        families=({"page_time_ms": -1}, {"recall": -1}),
    ),
)  # fmt: skip
