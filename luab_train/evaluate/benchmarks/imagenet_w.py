"""ImageNet-W: the validation images with a watermark that many models take for a carton.

Source: Li et al., A Whac-A-Mole dilemma, CVPR 2023; the watermark is drawn by the package
imagenet-w, on the crop and before it is normalised, as there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module

import numpy as np

from luab_train.data.classes import imagenet_classes, package_file
from luab_train.evaluate.benchmark import Benchmark, Classes, Roots, one_accuracy, wnid_parts
from luab_train.evaluate.benchmarks.imagenet import IN_1K, P0, SORTED
from luab_train.evaluate.measures import right
from luab_train.evaluate.parts import Part
from luab_train.evaluate.predictions import Predicted
from luab_train.metrics.sums import Cell

_CARTON = 478


@functools.cache
def _watermark(side: int) -> Callable[[object], object]:
    drawn: Callable[[object], object] = import_module("imagenet_w").AddWatermark(side)
    return drawn


def watermarked(pixels: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 with the package's watermark."""
    from PIL import Image

    return np.asarray(_watermark(len(pixels))(Image.fromarray(pixels)))


def _parts(roots: Roots, classes: Classes) -> Iterator[Part]:
    (plain,) = wnid_parts("plain", 50_000)(roots, classes)
    yield plain
    yield replace(plain, name="watermarked", edit=watermarked)


def with_cartons(part: Predicted) -> Iterator[Cell]:
    """Right or wrong, of all images and of the class carton."""
    value, carton = right(part), part.label == imagenet_classes()[_CARTON]
    yield Cell(part.name, part.image_id, value)
    yield Cell(f"{part.name} cartons", part.image_id[carton], value[carton])


def _needed() -> str | None:
    if package_file("imagenet_w", "watermark_transform.py") is not None:
        return None
    return "the watermark is in the package imagenet-w (CC BY-NC 4.0): pip install imagenet-w"


IMAGENET_W = Benchmark(
    name="in-w",
    title="IN-W",
    datasets=(IN_1K,),
    parts=_parts,
    metrics=(
        one_accuracy(
            "watermarked minus plain", name="gap", measure=with_cartons,
            weights={"watermarked": 1.0, "plain": -1.0},
        ),
        one_accuracy(
            "the same of cartons", name="carton_gap", direction="down", measure=with_cartons,
            weights={"watermarked cartons": 1.0, "plain cartons": -1.0},
        ),
        one_accuracy(
            "watermarked", name="accuracy_watermarked", measure=with_cartons,
            weights={"watermarked": 1.0},
        ),
        one_accuracy("plain", name="accuracy_plain", measure=with_cartons, weights={"plain": 1.0}),
    ),
    preparation=f"{P0}, then a text over the middle",
    mapping=SORTED,
    in_all=False,
    needs=_needed,
)  # fmt: skip
