"""A predictor over images with masks: the map of each class in an image, PxAP and mPxAP.   [I/O]

`P` pairs of an image and a class in it. Images are resized to the network's input without a crop;
maps and masks are compared at 224 x 224. Memory is bounded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from luab_data.errors import OptionError
from luab_train.evaluation.predictor import Predictor
from luab_train.evaluation.wsol.cam import MapMethod, Mapper
from luab_train.evaluation.wsol.pixels import PixelSums, pixel_compute
from luab_train.evaluation.wsol.score_maps import is_flat, score_map
from luab_train.evaluation.wsol.squash import squashed_batches, thread_pool


class Masked(NamedTuple):
    """An image with the masks of the classes in it."""

    image: Path | Image.Image
    masks: Mapping[int, np.ndarray]
    """Label -> (224, 224) uint8 from `pixels.target_mask`."""


@dataclass(frozen=True, kw_only=True)
class LocalisedPixels:
    """Pooled pixels of a split or a part of it; `sums` and `num_flat` of parts add up."""

    sums: PixelSums
    num_pairs: int
    num_flat: int
    """Maps that were constant or not finite, and count as zeros."""
    method: MapMethod
    input_size: int
    map_size: str

    def metrics(self) -> dict[str, float | str | bool]:
        """Fractions in [0, 1], see `pixels.pixel_compute`; and how they were made."""
        return {
            **pixel_compute(self.sums),
            "num_pairs": self.num_pairs,
            "num_flat_maps": self.num_flat,
            **self.method.provenance(self.map_size, self.input_size),
        }


def localise_pixels(
    predictor: Predictor,
    images: Iterable[Masked],
    *,
    interval: float = 0.001,
    input_size: int | None = None,
    batch_size: int = 32,
    num_threads: int | None = None,
) -> LocalisedPixels:
    """PxAP of each class over the images that contain it, with that class's map (metrics.md 2.3).

    Args:
        predictor: any with `len(predictor.classes)` labels.
        images: each with the masks of its classes; one without masks counts for nothing.
        interval: width of the score bins.
        input_size: px a side of the network's input; None takes the predictor's own.
        batch_size: images at a time; no effect on the result but for rounding.
        num_threads: to decode images and to resize maps; None takes a thread a core, at most 8.
    """
    mapper = Mapper.of(predictor)
    size = input_size or predictor.data.image_size
    sums = PixelSums.empty(interval, num_classes=len(predictor.classes))
    num_pairs, num_flat, map_size = 0, 0, ""
    items = ((one.masks, one.image) for one in images if one.masks)
    with thread_pool(num_threads) as pool:
        for masks, pixels, _ in squashed_batches(
            items, size=size, batch_size=batch_size, pool=pool
        ):
            pairs = [(image, label) for image, of in enumerate(masks) for label in of]
            _check_labels(predictor, [label for _, label in pairs])
            image, label = torch.tensor(pairs, dtype=torch.int64).T
            maps = mapper.maps(mapper(torch.from_numpy(pixels)), image, label).cpu().numpy()
            map_size = "x".join(map(str, maps.shape[1:]))
            # The histograms are added to in turn; only the resizing is shared out.
            targets = itertools.chain.from_iterable(of.items() for of in masks)
            for scores, (name, mask) in zip(pool.map(score_map, maps), targets, strict=True):
                sums.add_map(scores, mask, name)
                num_flat += is_flat(scores)
            num_pairs += len(pairs)
    return LocalisedPixels(
        sums=sums,
        num_pairs=num_pairs,
        num_flat=num_flat,
        method=mapper.method,
        input_size=size,
        map_size=map_size,
    )


def _check_labels(predictor: Predictor, labels: list[int]) -> None:
    known = len(predictor.classes)
    if wrong := [label for label in labels if not 0 <= label < known]:
        raise OptionError(
            f"{predictor.name}: knows {known} classes, an image has a mask of class {wrong[0]};"
            " expected labels that count the predictor's classes"
        )
