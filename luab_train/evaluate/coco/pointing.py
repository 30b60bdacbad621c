"""Does the predicted point of a class lie on the masks of that class. Pure.

`T` cases: an image and a class in it of which the view shows some pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luab_data.statistics.estimate import RESAMPLES
from luab_train.evaluate.coco.rates import Rate, rates


@dataclass(frozen=True, kw_only=True)
class Pointing:
    """Localisation on masks, fractions; higher is better.

    Args:
        on_mask: predicted points on a mask of their class. Its null is a point drawn uniformly from
            what the network sees.
        centre: the same for the centre of the view, the answer of a head that learnt nothing.
        num_images, num_cases: what it was taken over.
    """

    on_mask: Rate
    centre: Rate
    num_images: int
    num_cases: int


def pointing(
    image_T: np.ndarray,
    label_T: np.ndarray,
    on_mask_T: np.ndarray,
    centre_T: np.ndarray,
    chance_T: np.ndarray,
    *,
    num_classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Pointing:
    """Shares of points on masks, over (image, class).

    Source: docs/definitions.md#pointing-accuracy.

    Args:
        image_T, label_T: int64, the cases; those outside the view are the caller's to leave out.
        on_mask_T, centre_T: bool, whether the point, or the view's centre, is on the mask.
        chance_T: share of the view that the mask covers.
    """
    found = rates(
        image_T,
        label_T,
        {
            "on_mask": (on_mask_T.astype(np.float64), chance_T),
            "centre": (centre_T.astype(np.float64), chance_T),
        },
        num_classes=num_classes,
        resamples=resamples,
        seed=seed,
    )
    return Pointing(**found, num_images=len(np.unique(image_T)), num_cases=len(image_T))
