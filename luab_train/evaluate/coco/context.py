"""How often a class scores no lower without itself than without another class of the image. Pure.

Erase every instance of class c, and call its score then a. Erase another class o instead, and call
the score of c then b_o. A classifier that looks at c, not at its context, has a < b_o for all o; a
pair with a >= b_o is a violation, and equal scores are one, for the classifier saw no difference.

The paper does not define its two context metrics; these follow
docs/definitions.md#reliance-on-context and are ours. `E` erasures, `C` classes, `K` ordered pairs
(c, o) in one image, `T` cases (image, c).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from luab_data.errors import OptionError
from luab_data.statistics.estimate import RESAMPLES
from luab_train.evaluate.coco.rates import Rate, rates


class Erasures(NamedTuple):
    """Scores of images from which one class was erased, at least two of each image."""

    image_E: np.ndarray
    """int64, ascending: number of the image."""
    label_E: np.ndarray
    """int64: the class that was erased."""
    logits_EC: np.ndarray
    """float32: scores of all classes without it."""


class Pairs(NamedTuple):
    """All ordered pairs of classes erased from one image; those of a case are neighbours."""

    image_K: np.ndarray
    """int64."""
    label_K: np.ndarray
    """int64: the class c whose score is looked at."""
    other_K: np.ndarray
    """int64: the other class o."""
    erasure_K: np.ndarray
    """int64: which erasure took the other class."""
    without_itself_K: np.ndarray
    """float32: a, the score of c with c erased."""
    without_other_K: np.ndarray
    """float32: b_o, the score of c with o erased."""
    start_T: np.ndarray
    """int64: the first pair of each case."""

    @property
    def violated_K(self) -> np.ndarray:
        """bool: a >= b_o."""
        return self.without_itself_K >= self.without_other_K


class Cases(NamedTuple):
    """The metrics of each image and class."""

    image_T: np.ndarray
    label_T: np.ndarray
    others_T: np.ndarray
    """int64: k, how many other classes were erased."""
    random_T: np.ndarray
    """float64: share of the other classes that violate: the expected value for one at random."""
    worst_T: np.ndarray
    """float64: 1 if the other class that lowers the score most violates, else 0."""
    difference_T: np.ndarray
    """float64: a - mean of b_o, in units of the scores; negative for a classifier that looks."""
    difference_worst_T: np.ndarray
    """float64: a - the smallest b_o."""


def pairs_of(erasures: Erasures) -> Pairs:
    """Each erased class of an image beside each other one."""
    image_E, label_E, logits_EC = erasures
    if np.isnan(logits_EC).any():
        raise OptionError(
            f"{int(np.isnan(logits_EC).any(axis=1).sum())} of {len(logits_EC)} erased images have a"
            " score that is no number; scores must have an order. Does the model overflow in fp16?"
        )
    num = len(image_E)
    is_first = np.append(True, image_E[1:] != image_E[:-1])[:num]
    first, group_E = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    size_E = np.diff(np.append(first, num))[group_E]
    # Each erasure as often as its image has erasures, beside each of those in turn.
    own = np.repeat(np.arange(num), size_E)
    place = np.arange(len(own)) - np.repeat(np.cumsum(size_E) - size_E, size_E)
    other = first[group_E[own]] + place
    own, other = own[own != other], other[own != other]
    label_K = label_E[own]
    return Pairs(
        image_K=image_E[own],
        label_K=label_K,
        other_K=label_E[other],
        erasure_K=other,
        without_itself_K=logits_EC[own, label_K],
        without_other_K=logits_EC[other, label_K],
        start_T=np.flatnonzero(np.append(True, own[1:] != own[:-1])[: len(own)]),
    )


def cases_of(pairs: Pairs) -> Cases:
    """V_rand, V_worst and D of each image and class.

    Source: docs/definitions.md#reliance-on-context.
    """
    start_T = pairs.start_T
    others_T = np.diff(np.append(start_T, len(pairs.image_K)))
    violated_K = pairs.violated_K.astype(np.float64)
    without_other_K = pairs.without_other_K.astype(np.float64)
    if not len(start_T):
        nothing = np.zeros(0)
        return Cases(pairs.image_K, pairs.label_K, others_T[:0], *[nothing] * 4)
    without_itself_T = pairs.without_itself_K[start_T].astype(np.float64)
    return Cases(
        image_T=pairs.image_K[start_T],
        label_T=pairs.label_K[start_T],
        others_T=others_T,
        random_T=np.add.reduceat(violated_K, start_T) / others_T,
        worst_T=np.maximum.reduceat(violated_K, start_T),
        difference_T=without_itself_T - np.add.reduceat(without_other_K, start_T) / others_T,
        difference_worst_T=without_itself_T - np.minimum.reduceat(without_other_K, start_T),
    )


def context(
    cases: Cases,
    less: Cases | None = None,
    *,
    num_classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Rate]:
    """V_rand, V_worst and their D with bootstrap intervals over the images that have a case; lower
    is better. Nulls are those of scores that do not depend on the image: 1/2, k/(k+1) for k other
    classes, and 0; that of the worst D depends on the scores' spread.

    Args:
        cases: of one model.
        less: of another, on the same erasures: the metrics are differences, drawn together.
    Returns: `v_random`, `v_worst`, `difference` and `difference_worst`.
    """
    others_T = cases.others_T.astype(np.float64)
    values = {
        "v_random": (cases.random_T, np.full(len(others_T), 0.5)),
        "v_worst": (cases.worst_T, others_T / (others_T + 1)),
        "difference": (cases.difference_T, np.zeros(len(others_T))),
        "difference_worst": (cases.difference_worst_T, np.full(len(others_T), np.nan)),
    }
    if less is not None:
        if not all(map(np.array_equal, cases[:3], less[:3])):
            raise OptionError(
                f"{len(cases.image_T)} cases of one model and {len(less.image_T)} of the other are"
                " not of the same erasures; expected the same images, view and eraser"
            )
        taken = less[3:]
        values = {
            name: (value - other, np.zeros(len(others_T)))
            for (name, (value, _)), other in zip(values.items(), taken, strict=True)
        }
    return rates(
        cases.image_T,
        cases.label_T,
        values,
        num_classes=num_classes,
        resamples=resamples,
        seed=seed,
    )
