"""A small COCO of coloured rectangles, and models that see colours: what they score is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from luab_data.schema import COCO_CATEGORIES, COCO_CLASSES
from luab_train.evaluate.coco.erasing import Eraser
from luab_train.evaluate.coco.evaluate import predicted
from luab_train.evaluate.coco.scenes import find_scenes
from luab_train.evaluate.coco.storage import write_tables
from luab_train.evaluate.coco.summary import CocoResult, summarise
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings
from luab_train.models.classifier import Outputs
from luab_train.sections import Data

BACKGROUND = (90, 140, 140)
COLOURS = {0: (220, 20, 20), 1: (20, 220, 20), 2: (20, 20, 220), 16: (220, 220, 20)}
DATA = Data(image_size=32, eval_resize=32, interpolation="bilinear")
"""A square image is seen pixel by pixel; of a wider one the sides are cut off."""

Box = tuple[int, int, int, int]


class Coco(NamedTuple):
    images: Path
    instances: Path


def rectangle(box: Box, size_wh: tuple[int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    mask = np.zeros(size_wh[::-1], bool)
    mask[y0:y1, x0:x1] = True
    return mask


def annotation(image_id: int, label: int, mask: np.ndarray, crowd: bool = False) -> dict[str, Any]:
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = packed["counts"].decode()
    return {
        "image_id": image_id,
        "category_id": list(COCO_CATEGORIES)[label],
        "iscrowd": int(crowd),
        "segmentation": {"size": list(mask.shape), "counts": counts},
    }


def make_coco(
    root: Path,
    scenes: Sequence[Sequence[tuple[int, Box]]],
    *,
    size_wh: tuple[int, int] = (32, 32),
    crowds: Sequence[tuple[int, int, Box]] = (),
) -> Coco:
    """Write images 100, 101, ... with rectangles (label, box), later ones on top.

    Args:
        crowds: (image, label, box) annotated as a crowd, and not painted.
    """
    images = root / "val2014"
    images.mkdir(parents=True)
    listed, annotations = [], []
    for number, scene in enumerate(scenes, 100):
        pixels = np.full((*size_wh[::-1], 3), BACKGROUND, np.uint8)
        for label, box in scene:
            mask = rectangle(box, size_wh)
            pixels[mask] = COLOURS[label]
            annotations.append(annotation(number, label, mask))
        Image.fromarray(pixels).save(images / f"COCO_val2014_{number:012}.png")
        listed.append({"id": number, "width": size_wh[0], "height": size_wh[1]})
    for number, label, box in crowds:
        annotations.append(annotation(number, label, rectangle(box, size_wh), crowd=True))
    path = root / "instances_val2014.json"
    path.write_text(json.dumps({"images": listed, "annotations": annotations}))
    return Coco(images, path)


def amounts(image_B3HW: Tensor) -> Tensor:
    """(B, 80) float32: how many pixels have each class's colour, up to 3 in each channel."""
    found = torch.zeros(len(image_B3HW), len(COCO_CLASSES))
    for label, colour in COLOURS.items():
        distance = (image_B3HW.int() - torch.tensor(colour).view(1, 3, 1, 1)).abs().amax(dim=1)
        found[:, label] = (distance <= 3).float().sum(dim=(1, 2))
    return found


class Answer(nn.Module):
    """Scores and points by a function of the image."""

    def __init__(self, scores: Callable[[Tensor], Tensor], points: Tensor | None) -> None:
        super().__init__()
        self.scores = scores
        self.points = (torch.full((2,), torch.nan) if points is None else points).view(-1, 2)

    def forward(self, image_B3HW: Tensor) -> Outputs:
        return Outputs(self.scores(image_B3HW), self.points.expand(len(image_B3HW), -1, -1))


def model(
    scores: Callable[[Tensor], Tensor] = amounts,
    *,
    points: Tensor | None = None,
    data: Data = DATA,
    **changes: Any,
) -> Predictor:
    fields: dict[str, Any] = {
        "model": Answer(scores, points),
        "classes": COCO_CLASSES,
        "data": data,
        "point_trained": points is not None,
        "name": "a model",
        "digest": "0",
    }
    return Predictor(**{**fields, **changes})


def constant(image_B3HW: Tensor) -> Tensor:
    return torch.zeros(len(image_B3HW), len(COCO_CLASSES))


def random_scores(seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Scores that have nothing to do with the image."""
    generator = torch.Generator().manual_seed(seed)
    return lambda image: torch.randn(len(image), len(COCO_CLASSES), generator=generator)


def linear(weights: dict[tuple[int, int], float]) -> Callable[[Tensor], Tensor]:
    """Score of class c: the sum of weights[c, o] times the pixels of colour o."""
    matrix = torch.zeros(len(COCO_CLASSES), len(COCO_CLASSES))
    for (label, other), weight in weights.items():
        matrix[label, other] = weight
    return lambda image: amounts(image) @ matrix.T


def evaluate(
    predictor: Predictor,
    coco: Coco,
    *,
    eraser: Eraser | None = None,
    erasing: bool = True,
    out: Path | None = None,
    resamples: int = 20,
    seed: int = 0,
    **options: Any,
) -> CocoResult:
    """Predict and summarise; the tables are kept in `out`."""
    settings = Settings(**{"num_workers": 0, "shown": False, **options})
    chosen = (eraser or Eraser()) if erasing else None
    tables = predicted(predictor, find_scenes(*coco), eraser=chosen, settings=settings)
    if out is not None:
        write_tables(out, tables)
    return summarise(tables, resamples=resamples, seed=seed)
