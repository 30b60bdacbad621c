"""One pass of Mask R-CNN: images to losses and gradients, or to what it finds in them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_data.errors import LuabError
from luab_train.data.loader import batches
from luab_train.transfer.average_precision import detections
from luab_train.transfer.loader import Scenes
from luab_train.transfer.objects import Objects

TERMS = (
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
    "loss_objectness",
    "loss_rpn_box_reg",
)
"""torchvision's; their sum is what is minimised."""


class Sums:
    """Of an epoch's losses. Saved with a checkpoint, so that a resumed epoch reports the whole."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget all."""
        self.terms = torch.zeros(len(TERMS), dtype=torch.float64)
        self.parts = 0
        self.num_images = 0

    def add(self, terms: np.ndarray, *, num_images: int) -> None:
        """Count one pass: what `train_part` gave, and the images of all processes."""
        self.terms += torch.from_numpy(terms)
        self.parts += 1
        self.num_images += num_images

    def state_dict(self) -> dict[str, Any]:
        """Alike in all processes."""
        return {"terms": self.terms, "parts": self.parts, "num_images": self.num_images}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.terms, self.parts = state["terms"], state["parts"]
        self.num_images = state["num_images"]

    def result(self) -> dict[str, float]:
        """train_images; train_loss and train_<term> for each of TERMS, means over passes."""
        means = dict(zip(TERMS, (self.terms / self.parts).tolist(), strict=True))
        return {
            "train_images": self.num_images,
            "train_loss": sum(means.values()),
            **{f"train_{name}": value for name, value in means.items()},
        }


def train_part(
    accelerator: Accelerator, model: nn.Module, batch: Scenes, *, of: int, last: bool, at: str
) -> np.ndarray:
    """Gradients of one of an update's `of` passes; processes exchange them with the `last`.

    Returns: (len(TERMS),) float64, means over processes.

    Raises: LuabError in every process, before any weight moves, if one is no number.
    """
    with contextlib.nullcontext() if last else accelerator.no_sync(model):
        terms = model(_scaled(batch.images), batch.targets)
        values = torch.stack([terms[name] for name in TERMS])
        means = values.detach()
        if accelerator.num_processes > 1:
            means = accelerator.reduce(means, reduction="mean")
        found: np.ndarray = means.double().cpu().numpy()
        if not np.isfinite(found).all():
            bad = int(np.flatnonzero(~np.isfinite(found))[0])
            raise LuabError(
                f"{TERMS[bad]} is {found[bad]} at {at}; the last checkpoint is kept. Lower"
                " optim.lr, raise optim.warmup_updates, or use optim.precision=no"
            )
        accelerator.backward(values.sum() / of)
    return found


def _scaled(images: list[Tensor]) -> list[Tensor]:
    """uint8 -> [0, 1], as torchvision's detectors take them; a quarter of the bytes until here."""
    return [image.float() / 255 for image in images]


@torch.no_grad()
def detect(
    accelerator: Accelerator,
    model: nn.Module,
    loader: DataLoader[Scenes],
    objects: Objects,
    *,
    shown: bool | None = None,
) -> list[dict[str, Any]]:
    """What the model finds in all images, in COCO's format of results; alike in every process."""
    model.eval()
    # By image: the last batches of several processes are filled up with images seen before.
    found: dict[int, list[dict[str, Any]]] = {}
    bar = progress(
        batches(loader),
        what="validation",
        total=len(loader),
        unit="batch",
        shown=shown if accelerator.is_main_process else False,
    )
    for batch in bar:
        outputs = model(_scaled(batch.images))
        for index, output in zip(batch.index_B.tolist(), outputs, strict=True):
            found[index] = detections(
                output, image_id=int(objects.image_id[index]), category_id=objects.category_id
            )
    if accelerator.num_processes > 1:
        found = dict(gather_object(list(found.items())))
    return [one for _, ones in sorted(found.items()) for one in ones]
