"""A model and images with boxes in, its answers to every variant of them out.     [I/O]"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from luab_data.console import progress
from luab_train.data.boxes import contains, meets
from luab_train.data.dataset import Split
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import batches, worker_setup
from luab_train.evaluate.probes.probed import Probed
from luab_train.evaluate.probes.views import VARIANTS, Sizes, Views
from luab_train.recipe import Recipe


def probe(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    shown: bool | None = None,
) -> Probed:
    """Show a model every variant of the images of a split, in full precision where the model is.

    Args:
        model: takes uint8 RGB (B, 3, S, S) and answers Outputs, as a LuabModel.
        split: with one label an image.
        recipe: its `data` says what the network sees of an image.
        batch_size: images at a time; each comes in up to seven variants.
        num_workers: processes that load.
        seed: of donors and places; leave it alone where runs are to be compared.
        shown: progress bars; None shows them on a terminal.
    """
    crop = EvalCrop(recipe.data)

    def loaded(images: Dataset, what: str) -> Iterable[Any]:  # type: ignore[type-arg]
        loader = DataLoader(
            images,
            batch_size=batch_size,
            num_workers=num_workers,
            worker_init_fn=worker_setup() if num_workers else None,
        )
        return progress(batches(loader), what=what, total=len(loader), unit="batch", shown=shown)

    size_wh = torch.cat(list(loaded(Sizes(split), "image sizes"))).numpy()
    views = Views(split, crop, size_wh, seed=seed)
    was_training = model.training
    model.eval()
    answers = [_answer(model, picture, there) for picture, there in loaded(views, "probes")]
    model.train(was_training)
    probability, point, there = (torch.cat(a).numpy() for a in zip(*answers, strict=True))
    seen_px = crop.regions(size_wh)
    point_px = seen_px[:, None, :2] + point * (seen_px[:, 2:] - seen_px[:, :2])[:, None]
    return Probed(
        image_id=split.image_id,
        label=split.label,
        shown=there,
        probability=probability,
        point=point,
        in_box=np.stack([contains(split.boxes, point_px[:, i]) for i in range(len(VARIANTS))], 1),
        boxed=meets(split.boxes, seen_px),
        centred=contains(split.boxes, size_wh / 2),
        donor_label=np.where(there[:, 2], split.label[views.donors.other], -1),
    )


@torch.inference_mode()
def _answer(model: nn.Module, picture: Tensor, there: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, V, C) probabilities, (B, V, 2) points and (B, V) there, of (B, V, S, S, 3) pictures."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    asked = picture[there].permute(0, 3, 1, 2).to(device)
    outputs = model(asked)
    logits = outputs.logits_BC.float().cpu()
    probability = torch.full((*there.shape, logits.shape[1]), torch.nan)
    probability[there] = logits.softmax(dim=1)
    point = torch.full((*there.shape, 2), torch.nan)
    if outputs.point_BKD.shape[1:] == (1, 2):
        point[there] = outputs.point_B2.float().cpu()
    return probability, point, there
