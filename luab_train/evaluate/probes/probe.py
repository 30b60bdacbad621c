"""A model and images with boxes in; its answers to every variant of them, and their numbers, out.
[I/O]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from luab_data.console import progress
from luab_train.data.boxes import contains, meets
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import batches, worker_setup
from luab_train.data.splits import Split
from luab_train.evaluate.probes.views import PAIRS, VARIANTS, Sizes, Views
from luab_train.metrics.places import add_up
from luab_train.recipe import Recipe

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Probed:
    """Answers to `V` variants of `N` images; NaN where an image has no such variant.

    Args:
        image_id: (N,) text.
        label: (N,) int64.
        shown: (N, V) bool, whether the image has the variant.
        probability: (N, V, C) float32, softmax.
        point: (N, V, 2) float32, fractions of the crop; NaN if the model points at no single place.
        in_box: (N, V) bool, the point lies in a box of the image.
        boxed: (N,) bool, a box of the image meets the crop.
        centred: (N,) bool, a box of the image holds its centre.
        donor_label: (N,) int64, class of the other background; -1 without.
    """

    image_id: np.ndarray
    label: np.ndarray
    shown: np.ndarray
    probability: np.ndarray
    point: np.ndarray
    in_box: np.ndarray
    boxed: np.ndarray
    centred: np.ndarray
    donor_label: np.ndarray

    @property
    def prediction(self) -> np.ndarray:
        """(N, V) int64, the most probable class; -1 where there is no variant."""
        return np.where(self.shown, np.nan_to_num(self.probability).argmax(axis=2), -1)

    @property
    def correct(self) -> np.ndarray:
        """(N, V) bool; False where there is no variant."""
        found: np.ndarray = self.prediction == self.label[:, None]
        return found

    def save(self, file: Path) -> None:
        """Write all arrays to a compressed .npz."""
        np.savez_compressed(file, **vars(self))


def load_probed(file: Path) -> Probed:
    """Read what `Probed.save` wrote."""
    with np.load(file) as arrays:
        return Probed(**{name: arrays[name] for name in arrays.files})


def rows_of(probed: Probed) -> list[Row]:
    """`{probe, metric, value, n}`, a mean over n images; value is None over nothing.

    accuracy            of each variant, over the images that have it
    original_accuracy   of the unchanged pictures of these images
    donor_class         share of `other_background` answered with the class of the background
    less                first minus second accuracy of a pair, over the images that have both
    localisation, localisation_off_centre
                        share of points in a box of the image; off centre, of images whose boxes
                        miss the image's centre
    """
    correct, at = probed.correct, {name: i for i, name in enumerate(VARIANTS)}
    rows = []
    for name, i in at.items():
        shown = probed.shown[:, i]
        rows.append(_row(name, "accuracy", correct[:, i], shown))
        if i:
            rows.append(_row(name, "original_accuracy", correct[:, 0], shown))
        pointed = shown & probed.boxed & np.isfinite(probed.point[:, i]).all(axis=1)
        inside = probed.in_box[:, i]
        rows.append(_row(name, "localisation", inside, pointed))
        rows.append(_row(name, "localisation_off_centre", inside, pointed & ~probed.centred))
    other = at["other_background"]
    pulled = probed.prediction[:, other] == probed.donor_label
    rows.append(_row("other_background", "donor_class", pulled, probed.shown[:, other]))
    for first, second in PAIRS:
        gap = correct[:, at[first]].astype(float) - correct[:, at[second]]
        both = probed.shown[:, at[first]] & probed.shown[:, at[second]]
        rows.append(_row(f"{first} less {second}", "less", gap, both))
    return rows


def _row(probe: str, metric: str, values: np.ndarray, keep: np.ndarray) -> Row:
    sums = add_up(values, keep)
    value = sums.mean() if sums.count else None
    return {"probe": probe, "metric": metric, "value": value, "n": sums.count}


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
