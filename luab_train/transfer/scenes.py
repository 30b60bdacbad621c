"""Images with boxes and masks in, batches out.     [I/O]

Images of a batch have sizes of their own; the network resizes and pads them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from luab_data.errors import ImagesError
from luab_train.data.geometry import sample_seed
from luab_train.data.inputs import decode_rgb
from luab_train.transfer.objects import Objects


class Scenes(NamedTuple):
    """A batch."""

    images: list[Tensor]
    """(3, H, W) uint8 RGB each."""
    targets: list[dict[str, Tensor]]
    """What torchvision's Mask R-CNN is trained with: boxes (n, 4) float32 xyxy px, labels (n,)
    int64, masks (n, H, W) uint8. Empty in evaluation.
    """
    index_B: Tensor
    """int64, which image of the Objects."""


class SceneSamples(Dataset):  # type: ignore[type-arg]
    """Images `which` of `objects`, addressed by (epoch, position): a sample has no hidden state."""

    def __init__(
        self, objects: Objects, which: np.ndarray, *, train: bool, seed: int = 0, flip: float = 0.0
    ) -> None:
        """See the class.

        Args:
            objects: what to load.
            which: (n,) int64, its images.
            train: with targets, and flipped by a draw from (seed, epoch, image).
            seed: of the run.
            flip: probability of a flip.
        """
        self.objects = objects
        self.which = which
        self.train = train
        self.seed = seed
        self.flip = flip

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, key: tuple[int, ...]) -> tuple[Tensor, dict[str, Tensor], int]:
        epoch, position = key[:2]  # a third number counts views; an image has one here
        index = int(self.which[position])
        image = torch.from_numpy(_decode(self.objects, index)).permute(2, 0, 1)
        if not self.train:
            return image.contiguous(), {}, index
        own = slice(*self.objects.bounds[index : index + 2].tolist())
        target = {
            "boxes": torch.from_numpy(self.objects.box_xyxy[own]).float(),
            "labels": torch.from_numpy(self.objects.label[own]),
            "masks": torch.from_numpy(self.objects.masks(index)),
        }
        rng = np.random.default_rng(sample_seed(self.seed, epoch, index))
        if rng.random() < self.flip:
            image, target = flip(image, target)
        return image.contiguous(), target, index


def flip(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """An image (3, H, W) and its boxes and masks, mirrored left to right."""
    boxes = target["boxes"].clone()
    boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
    return image.flip(-1), {**target, "boxes": boxes, "masks": target["masks"].flip(-1)}


def _decode(objects: Objects, index: int) -> np.ndarray:
    """(H, W, 3) uint8 of its own; EXIF orientation is ignored, as COCO's masks do."""
    path = objects.root / str(objects.file_name[index])
    pixels = np.array(decode_rgb(path, str(path)))
    width, height = objects.size_wh[index].tolist()
    if pixels.shape[:2] != (height, width):
        raise ImagesError(
            f"{path}: {pixels.shape[1]} x {pixels.shape[0]} px, but its masks are drawn on {width}"
            f" x {height}; expected the image as COCO published it"
        )
    return pixels


def collate(samples: list[tuple[Tensor, dict[str, Tensor], int]]) -> Scenes:
    """Samples -> Scenes."""
    images, targets, index = zip(*samples, strict=True)
    return Scenes(list(images), list(targets), torch.tensor(index))
