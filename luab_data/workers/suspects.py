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


@dataclass(frozen=True)
class Suspicion:
    """One thing a worker may be suspected of.

    Attributes:
        name: `careless`, `centre_clicking` or `hasty`.
        evidence: `behaviour` needs the log only, `truth` boxes or masks too.
        score: traits and families -> (num_workers,) like a z; NaN for workers it cannot judge.
        doc: the rule in a sentence.
        families: the signs, by what they measure.
        unless: traits -> (num_workers,) whom it does not fit, however high the score.
    """

    name: str
    evidence: Literal["behaviour", "truth"]
    score: Callable[[Traits, Sequence[Signs]], Floats]
    doc: str
    families: tuple[Signs, ...]
    unless: Callable[[Traits], Bools] | None = None

    @property
    def key(self) -> str:
        """`careless_by_behaviour`, ..."""
        return f"{self.name}_by_{self.evidence}"

    def scores(self, traits: Traits) -> Floats:
        """(num_workers,) of each worker."""
        score = self.score(traits, self.families)
        if self.unless is None:
            return score
        return np.where(self.unless(traits), np.minimum(score, 0.0), score)

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
    z = np.array([_mean_z(traits, family) for family in families])
    weight = np.array([_nan_mean(np.array([traits[t].weight for t in f])) for f in families])
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


def _nan_mean(values: Floats) -> Floats:
    there = ~np.isnan(values)
    number = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    found: Floats = np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0)
    return found


def follows_objects(traits: Traits) -> Bools:
    """(num_workers,) whose clicks move at least half as much as the object does, or are unknown."""
    return ~(np.nan_to_num(traits["box_following"].value, nan=1.0) < 0.5)


def near_centre(traits: Traits) -> Bools:
    """(num_workers,) whose clicks are nearer to the picture's centre than an ordinary worker's."""
    return np.nan_to_num(traits["centre_distance"].z) < 0
