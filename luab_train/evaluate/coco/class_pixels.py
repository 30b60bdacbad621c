"""Pixels of each class's map against its masks: mPxAP on COCO.     [I/O]

Maps are made as for weakly supervised localisation: the image is resized to the network's square
without a crop, maps and masks are compared at 224 x 224. Each class in an image is judged by its
own map; pixels that only a crowd covers count neither way.

`C` classes, `P` pairs of an image and a class in it.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch

from luab_data.console import progress
from luab_data.errors import ImagesError
from luab_data.statistics.estimate import LEVEL, Estimate
from luab_data.truth import TrueImage
from luab_train.evaluate import processes
from luab_train.evaluate.coco.prediction import check_predictor
from luab_train.evaluate.coco.scenes import Scene, decode
from luab_train.evaluate.coco.storage import NUM_CLASSES
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings
from luab_train.evaluate.wsol.cam import Mapper
from luab_train.evaluate.wsol.pixels import (
    PixelSums,
    foreground_share,
    pixel_compute,
    px_ap,
    target_mask,
)
from luab_train.evaluate.wsol.score_maps import SIZE, is_flat, score_map
from luab_train.evaluate.wsol.squash import squashed_batches

_GROUPS = 25
"""Parts that the images are dealt to for the interval; a histogram of each image would not fit."""


@dataclass(frozen=True, kw_only=True)
class ClassPixels:
    """Pixel average precision of a model's maps, fractions.

    Args:
        mean: over the classes with a pixel. Its null is the mean share of foreground: what a map
            that says nothing comes to. Its interval is a jackknife over groups of images.
        classes: (C,) of each class; NaN for one without a pixel.
        chance: (C,) share of foreground in the images that have the class.
        num_images, num_pairs: what it was taken over.
        num_flat: pairs whose map was constant or not finite, and counts as zeros.
        num_crowds: classes in images that are there as a crowd only, left out.
        method: how maps are made, and whether the paper has such.
        map_size: places of the network's own map.
        input_size: side of the square the network saw, px.
    """

    mean: Estimate
    classes: np.ndarray
    chance: np.ndarray
    num_images: int
    num_pairs: int
    num_flat: int
    num_crowds: int
    method: str
    map_size: str
    input_size: int


def class_pixels(
    predictor: Predictor, found: list[Scene], *, interval: float = 0.001, settings: Settings
) -> ClassPixels:
    """The mPxAP of a multi-label model whose maps wsol.cam can make.

    Source: docs/definitions.md#localisation-metrics; docs/definitions.md#localisation-protocol.

    Args:
        predictor: of 80 classes by ascending category id.
        found: the images.
        interval: width of a bin of scores.
        settings: its threads decode images and resize maps.
    """
    check_predictor(predictor)
    mapper = Mapper.of(predictor)
    numbered = [*enumerate(scene for scene in found if things(scene.truth))]
    size = settings.batch_size
    batches = [numbered[at : at + size] for at in range(0, len(numbered), size)]
    mine = processes.mine(batches)

    def work() -> tuple[list[PixelSums], Counter[str], str]:
        groups = [PixelSums.empty(interval, num_classes=NUM_CLASSES) for _ in range(_GROUPS)]
        counts, map_size = Counter[str](), ""
        shown_here = settings.shown if processes.rank() == 0 else False
        with (
            ThreadPoolExecutor(settings.threads) as pool,
            progress(
                total=sum(map(len, mine)), what="COCO maps", unit="image", shown=shown_here
            ) as bar,
        ):
            items = ((((n, scene), scene.path) for n, scene in batch) for batch in mine)
            for keys, pixels, sizes, bad in squashed_batches(
                map(list, items), size=predictor.data.image_size, pool=pool, on_bad=settings.on_bad
            ):
                _check_sizes([scene for _, scene in keys], sizes)
                if keys:
                    map_size = _add_batch(mapper, keys, pixels, groups, counts, pool)
                bar.update(len(keys) + len(bad))
        return groups, counts, map_size

    every = processes.everyone(work)
    groups = [reduce(add, of_group) for of_group in zip(*(g for g, *_ in every), strict=True)]
    counts = reduce(add, (c for _, c, _ in every))
    total = reduce(add, groups)
    return ClassPixels(
        mean=_mean(total, groups, counts["images"]),
        classes=px_ap(total),
        chance=foreground_share(total),
        num_images=counts["images"],
        num_pairs=counts["pairs"],
        num_flat=counts["flat"],
        num_crowds=sum(len(s.truth.labels) - len(things(s.truth)) for s in found),
        method=mapper.method.label,
        map_size=next(filter(None, (size for *_, size in every)), ""),
        input_size=predictor.data.image_size,
    )


def _add_batch(
    mapper: Mapper,
    keys: list[tuple[int, Scene]],
    pixels: np.ndarray,
    groups: list[PixelSums],
    counts: Counter[str],
    pool: ThreadPoolExecutor,
) -> str:
    """Count the maps of (number, scene)s in their groups, in place; the size of a map."""
    pairs = [(k, label) for k, (_, s) in enumerate(keys) for label in things(s.truth)]
    image_P, label_P = torch.tensor(pairs).T
    forward = mapper(torch.from_numpy(pixels))
    maps_Phw = mapper.maps(forward, image_P, label_P).cpu().numpy()
    truths, labels = [keys[k][1].truth for k, _ in pairs], [label for _, label in pairs]
    masks = pool.map(mask_of, truths, labels)
    for (k, label), scores, mask in zip(pairs, pool.map(score_map, maps_Phw), masks, strict=True):
        groups[keys[k][0] % _GROUPS].add_map(scores, mask, label)
        counts["flat"] += is_flat(scores)
    counts.update(images=len(keys), pairs=len(pairs))
    return "x".join(map(str, maps_Phw.shape[1:]))


def things(truth: TrueImage) -> list[int]:
    """Classes of an image that are there as more than a crowd, ascending."""
    return [k for k in truth.labels if truth.uncrowded.get(k, truth.masks[k]) is not None]


def mask_of(truth: TrueImage, label: int) -> np.ndarray:
    """(224, 224) uint8: 1 on the class, 255 where only a crowd of it is, else 0."""
    everything = decode(truth.masks[label], truth)
    alone = truth.uncrowded.get(label)
    if alone is None:
        return target_mask([everything], size=SIZE)
    return target_mask([decode(alone, truth)], everything, size=SIZE)


def _check_sizes(batch: list[Scene], sizes: list[tuple[int, int]]) -> None:
    for scene, size in zip(batch, sizes, strict=True):
        if size != (scene.truth.width, scene.truth.height):
            raise ImagesError(
                f"{scene.path}: {size[0]} x {size[1]} px, but its masks are drawn on"
                f" {scene.truth.width} x {scene.truth.height}; expected the image as COCO"
                " published it"
            )


def _mean(total: PixelSums, groups: list[PixelSums], num_images: int) -> Estimate:
    """The mPxAP with the interval of a jackknife that leaves out one group of images at a time."""
    from scipy.special import stdtrit

    found = pixel_compute(total)
    filled = [g for g in groups if g.foreground.any() or g.background.any()]
    without = np.array([pixel_compute(_less(total, group))["m_px_ap"] for group in filled])
    reach = np.nan
    if len(filled) > 1:
        freedom = len(filled) - 1
        error = np.sqrt(freedom / len(filled) * np.nansum((without - np.nanmean(without)) ** 2))
        reach = float(stdtrit(freedom, (1 + LEVEL) / 2) * error)
    value = found["m_px_ap"]
    return Estimate(
        value=np.array(value),
        low=np.clip(np.array(value - reach), 0.0, 1.0),
        high=np.clip(np.array(value + reach), 0.0, 1.0),
        n=np.array(float(num_images)),
        null=np.array(found["chance"]),
        num_workers=num_images,
    )


def _less(total: PixelSums, group: PixelSums) -> PixelSums:
    return PixelSums(
        edges=total.edges,
        foreground=total.foreground - group.foreground,
        background=total.background - group.background,
    )
