"""Images with label and point for a training loop of one's own, under any transform.     [I/O]

What moves the image moves the point. torchvision's v2 transforms are given both; of its older ones
and of timm's, which know images alone, each step is called as it is and its result says how it
moved.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import AutoAugment
from timm.data.auto_augment import RandAugment as TimmRandAugment
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch.utils.data import Dataset
from torchvision import transforms as tvt
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import get_size

from luab_data.errors import OptionError
from luab_train.data.augment import Augmented, TrainCrop, with_steps
from luab_train.data.dataset import kind_of_folder, read_rows
from luab_train.data.geometry import apply, crop_resize, hflip
from luab_train.data.geometry import inside as in_sight
from luab_train.data.inputs import Crop, EvalCrop, Picture, size_of
from luab_train.data.matching import match_rows
from luab_train.data.sources import open_images
from luab_train.data.splits import Split
from luab_train.data.targets import training_points

Transform = Callable[[Any], Any]


class PointDataset(Dataset):  # type: ignore[type-arg]
    """The images of a dataset folder with label and point.

    `dataset[i]` has four keys, which `torch.utils.data.default_collate` makes batches of:

    - `image`: what the transform makes of the image; without one, the PIL image
    - `label`: int64, index into `classes`; (C,) float32 where an image may have several
    - `point`: (2,) float32, xy in fractions of `image`, not moved where it lies outside, NaN where
      there is none; (C, 2), one a class, where it may have several labels; (11, 2) of target trace
    - `mask`: bool, whether the point is there and in sight: train on these alone; (C,), (11,)
    """

    def __init__(
        self,
        data: str | os.PathLike[str],
        images: str | os.PathLike[str],
        *,
        target: str = "click",
        transform: Transform | TrainCrop | EvalCrop | None = None,
        calibrated: str | os.PathLike[str] | None = None,
        points: str | os.PathLike[str] | None = None,
        seed: int = 0,
        missing_images: str = "raise",
    ) -> None:
        """See the class.

        Args:
            data: dataset folder, as `luab-data convert` writes it.
            images: the images of its rows, in any layout of `luab_train.data.sources`.
            target: which points, as in a recipe; see `luab_train.data.targets`.
            transform: a `TrainCrop` or `EvalCrop` of ours (uint8 tensors), any of
                torchvision.transforms.v2, timm.data.create_transform's, or a Compose of
                torchvision's older ones that are crops, flips, resizes or move nothing.
            calibrated: output of `luab-data calibrate --out`, for target `calibrated`.
            points: tracing dataset of these images; its points take the place of those of `data`.
            seed: of the targets that are drawn.
            missing_images: `raise` at a row without image, or `skip` such rows.

        Raises:
            DatasetError, ImagesError: a folder is not what it should be.
            OptionError: a transform that moves the image in a way that is not known.
        """
        folder = Path(data)
        self._upright = kind_of_folder(folder).as_shown
        source = open_images(Path(images))
        rows = read_rows(
            folder,
            target=target,
            calibrated=None if calibrated is None else Path(calibrated),
            points=None if points is None else Path(points),
            source=source,
        )
        matched = match_rows(rows, source, missing=missing_images, where=folder)
        rows = rows.take(np.flatnonzero(matched.has_image))
        self.split = Split(
            source=source,
            source_index=matched.image,
            image_id=rows.image_id,
            label=rows.label,
            boxes=rows.boxes,
        )
        self.classes: tuple[str, ...] = rows.classes
        self.target = training_points(rows, target=target, seed=seed).values
        self.transform = transform
        if self.target.shape[-1] != 2:
            raise OptionError(f"target {target}: is a number, not a place; expected a place")
        if not isinstance(transform, (TrainCrop, EvalCrop, v2.Transform)):
            for step in _steps(transform):
                _check(step)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, Any]:
        target = self.target[index]
        transform = self.transform
        seen = self.split.load(
            index,
            upright=self._upright,
            backend=transform.backend if isinstance(transform, (TrainCrop, EvalCrop)) else "pillow",
        )
        image, point, mask = transformed(self.transform, seen, target)
        if len(target) == 1:
            point, mask = point[0], mask[0]
        return {
            "image": image,
            "label": torch.as_tensor(self.split.label[index]),
            "point": torch.from_numpy(point).float(),
            "mask": torch.as_tensor(mask),
        }


def transformed(
    transform: Transform | TrainCrop | EvalCrop | None, image: Picture, points: np.ndarray
) -> tuple[Any, np.ndarray, np.ndarray]:
    """What a transform makes of an image, and where its points are then.

    Args:
        transform: see `PointDataset`.
        image: RGB.
        points: (K, 2) fractions of the image; NaN where there is none.
    Returns: the image; (K, 2) fractions of it; (K,) bool, whether they are in sight.
    """
    if isinstance(transform, (TrainCrop, EvalCrop)):
        crop = _crop(transform, image)
        placed, inside = crop.place(points, size_of(image))
        return torch.from_numpy(crop.image.copy()).permute(2, 0, 1), placed, inside
    assert isinstance(image, Image.Image)
    px = points * image.size
    if isinstance(transform, v2.Transform):
        seen, moved, size_wh = _by_v2(transform, image, px)
        return seen, moved / size_wh, in_sight(moved, size_wh)
    inside, seen = in_sight(px, image.size), image
    for step in _steps(transform):
        seen, matrices = (
            _MOVES[type(step)](step, seen) if type(step) in _MOVES else (step(seen), [])
        )
        for matrix in matrices:  # of several, which are RandAugment's, all keep the size
            px = apply(matrix, px)
            inside &= in_sight(px, _size(seen))
    return seen, px / _size(seen), inside


def _crop(transform: TrainCrop | EvalCrop, image: Picture) -> Crop:
    if isinstance(transform, EvalCrop):
        return transform(image)
    return transform(image, int(torch.randint(2**62, ())))


def _size(image: Any) -> tuple[int, int]:
    """(width, height) px of a PIL image, a tensor (C, H, W) or an array (C, H, W)."""
    if isinstance(image, np.ndarray):
        return image.shape[-1], image.shape[-2]
    height, width = get_size(image)
    return width, height


def _by_v2(
    transform: v2.Transform, image: Image.Image, px: np.ndarray
) -> tuple[Any, np.ndarray, tuple[int, int]]:
    """Points travel as boxes without area: under a flip, torchvision's KeyPoints count the px from
    0 to W - 1, and boxes continuously from 0 to W, as points here.
    """
    boxes = tv_tensors.BoundingBoxes(
        torch.from_numpy(np.tile(px, 2)),
        format="XYXY",
        canvas_size=(image.height, image.width),
        clamping_mode=None,
    )
    try:
        seen, moved = transform(image, boxes)
    except TypeError as error:
        raise OptionError(
            f"transform: torchvision does not say where its points go ({error}); expected other"
            " transforms, or TrainCrop, which moves points under timm's RandAugment"
        ) from error
    height, width = moved.canvas_size
    return seen, moved[:, :2].numpy(), (width, height)


# --- steps that know images alone ----------------------------------------------------------------


def _steps(transform: Any) -> list[Any]:
    """The steps of a Compose, also of one in another."""
    if transform is None:
        return []
    if type(transform).__name__ == "Compose":
        return [step for inner in transform.transforms for step in _steps(inner)]
    return [transform]


_STILL = frozenset(
    {
        *("ToTensor", "PILToTensor", "MaybeToTensor", "MaybePILToTensor", "ToNumpy", "Normalize"),
        *("ConvertImageDtype", "ColorJitter", "RandomGrayscale", "Grayscale", "GaussianBlur"),
        *("RandomErasing", "RandomInvert", "RandomPosterize", "RandomSolarize", "RandomEqualize"),
        *("RandomAdjustSharpness", "RandomAutocontrast"),
    }
)
"""Names of steps that move nothing; a point that is erased keeps its place, as in recipes."""


def _check(step: Any) -> None:
    if type(step) not in _MOVES and type(step).__name__ not in _STILL:
        known = ", ".join(sorted({kind.__name__ for kind in _MOVES}))
        raise OptionError(
            f"transform: {type(step).__module__}.{type(step).__name__} may move the image without"
            f" its points; expected torchvision.transforms.v2, or some of {known}"
        )


def _random_crop(step: Any, image: Any) -> tuple[Any, list[np.ndarray]]:
    """RandomResizedCrop of torchvision and timm: what it drew says where the crop was."""
    drawn: list[tuple[int, int, int, int]] = []

    def get_params(*args: Any) -> tuple[int, int, int, int]:
        drawn.append(type(step).get_params(*args))
        return drawn[-1]

    step = copy.copy(step)
    step.__dict__["get_params"] = get_params
    seen = step(image)
    top, left, height, width = drawn[-1]
    return seen, [crop_resize((left, top, left + width, top + height), _size(seen))]


def _resize(step: Any, image: Any) -> tuple[Any, list[np.ndarray]]:
    seen = step(image)
    return seen, [crop_resize((0, 0, *_size(image)), _size(seen))]


def _centre_crop(step: Any, image: Any) -> tuple[Any, list[np.ndarray]]:
    seen = step(image)
    shift = [_offset(new, old) for new, old in zip(_size(seen), _size(image), strict=True)]
    return seen, [np.array([[1.0, 0, shift[0]], [0, 1, shift[1]]])]


def _offset(new: int, old: int) -> float:
    # As torchvision: what is too small is padded first, and halves are rounded to even.
    return (new - old) // 2 if new > old else -round((old - new) / 2)


def _flip(step: Any, image: Any) -> tuple[Any, list[np.ndarray]]:
    seen = step(image)
    if seen is image:  # not drawn
        return seen, []
    width, height = _size(image)
    if isinstance(step, tvt.RandomHorizontalFlip):
        return seen, [hflip(width)]
    return seen, [np.array([[1.0, 0, 0], [0, -1, height]])]


def _auto_augment(step: TimmRandAugment | AutoAugment, image: Any) -> tuple[Any, list[np.ndarray]]:
    step = copy.copy(step)
    if isinstance(step, TimmRandAugment):
        step.ops = [with_steps(op) for op in step.ops]
    else:
        step.policy = [[with_steps(op) for op in ops] for ops in step.policy]
    found: Augmented = step(Augmented(image))
    return found.image, list(found.steps)


_MOVES: dict[type, Callable[[Any, Any], tuple[Any, list[np.ndarray]]]] = {
    tvt.RandomResizedCrop: _random_crop,
    RandomResizedCropAndInterpolation: _random_crop,
    tvt.Resize: _resize,
    tvt.CenterCrop: _centre_crop,
    tvt.RandomHorizontalFlip: _flip,
    tvt.RandomVerticalFlip: _flip,
    TimmRandAugment: _auto_augment,
    AutoAugment: _auto_augment,
}
"""What a step does to an image, and how: (2, 3) matrices px -> px, the first first."""
