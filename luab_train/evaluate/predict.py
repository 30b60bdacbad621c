"""One part through the model: decode, prepare, forward, keep what the metrics need.     [I/O]

`B` images of a batch, `C` classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from luab_data.console import progress
from luab_data.errors import ImagesError, OptionError
from luab_train.data.inputs import load_input
from luab_train.data.loader import batches as loaded
from luab_train.data.loader import worker_setup
from luab_train.evaluate import processes
from luab_train.evaluate.parts import Part, View
from luab_train.evaluate.predictions import SCHEMA
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings
from luab_train.models.classifier import Outputs
from luab_train.recipe import Data

TOP = 5


class Inputs(NamedTuple):
    """`B` images that could be read, and those of the batch that could not."""

    image_BCHW: Tensor
    """uint8 RGB."""
    index_B: Tensor
    """int64, which image of the part."""
    region_B4: Tensor
    """float64 xyxy, fractions of the original images."""
    turned: int
    resized: int
    bad: list[tuple[int, str]]
    """(index, why) of images that cannot be decoded."""


class PartImages(Dataset):  # type: ignore[type-arg]
    """The prepared images of a part, by index; a bad one is the text of its error."""

    def __init__(self, part: Part, data: Data) -> None:
        self.part = part
        self.data = data

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        path = self.part.root / str(self.part.image_id[index])
        try:
            found = load_input(path, self.part.prepared, self.data)
            edit = self.part.edit
            return index, found if edit is None else found._replace(pixels=edit(found.pixels))
        except ImagesError as error:
            return index, str(error)


def collate(samples: list[tuple[int, Any]]) -> Inputs:
    """Samples -> Inputs."""
    good = [(index, value) for index, value in samples if not isinstance(value, str)]
    bad = [(index, value) for index, value in samples if isinstance(value, str)]
    pixels = np.stack([value.pixels for _, value in good]) if good else np.empty((0, 1, 1, 3))
    return Inputs(
        image_BCHW=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        index_B=torch.tensor([index for index, _ in good], dtype=torch.int64),
        region_B4=torch.from_numpy(np.array([v.region for _, v in good]).reshape(-1, 4)),
        turned=sum(value.turned for _, value in good),
        resized=sum(value.resized for _, value in good),
        bad=bad,
    )


def predict_part(
    predictor: Predictor, part: Part, settings: Settings, *, what: str
) -> tuple[pa.Table, dict[str, int]]:
    """A table of SCHEMA in the part's order, and counts `num_turned`, `num_resized`.

    Args:
        predictor: the model.
        part: its images.
        settings: with on_bad `skip`, an image that cannot be decoded is a row with its error.
        what: of the progress bar.
    """
    size = settings.batch_size
    batches = [range(at, min(at + size, len(part))) for at in range(0, len(part), size)]
    mine = processes.mine(batches)
    found = processes.everyone(lambda: _predict(predictor, part, mine, settings, what=what))
    order = np.argsort(np.concatenate([index for _, index, _ in found]), kind="stable")
    table = pa.concat_tables([rows for rows, _, _ in found]).take(pa.array(order))
    keys = ("num_turned", "num_resized")
    return table.combine_chunks(), {k: sum(counts[k] for _, _, counts in found) for k in keys}


def _predict(
    predictor: Predictor, part: Part, batches: Sequence[range], settings: Settings, *, what: str
) -> tuple[pa.Table, np.ndarray, dict[str, int]]:
    """The rows of some batches, which images of the part they are, and their counts."""
    # A small part is read here, for starting workers costs more.
    workers = min(settings.workers, len(batches) // 2)
    loader = DataLoader(
        PartImages(part, predictor.data),
        batch_sampler=[[*batch] for batch in batches],
        num_workers=workers,
        collate_fn=collate,
        pin_memory=predictor.device.type == "cuda",
        worker_init_fn=worker_setup() if workers else None,
    )
    columns = _column_indices(part.mask, predictor.classes)
    rows = _Rows(part, predictor)
    counts = {"num_turned": 0, "num_resized": 0}
    num = sum(map(len, batches))
    shown = settings.shown if processes.rank() == 0 else False
    with progress(total=num, what=what, unit="image", shown=shown) as bar:
        for inputs in loaded(loader):
            if inputs.bad and settings.on_bad == "raise":
                raise ImagesError(
                    f"{inputs.bad[0][1]}; to go on without such images: --on-bad skip"
                )
            rows.add_bad(inputs.bad)
            if len(inputs.index_B):
                outputs = look(predictor, inputs.image_BCHW, part.view)
                rows.add(inputs, answers_of(outputs.logits_BC, columns), outputs.point_B2)
            counts["num_turned"] += inputs.turned
            counts["num_resized"] += inputs.resized
            bar.update(len(inputs.index_B) + len(inputs.bad))
    index = np.concatenate([np.zeros(0, np.int64), *(np.arange(b.start, b.stop) for b in batches)])
    return rows.table().take(pa.array(index)), index, counts


def look(predictor: Predictor, image_BCHW: Tensor, view: View) -> Outputs:
    """The model's answer to uint8 images, whole or with a hole in their middle."""
    try:
        return _look(predictor, image_BCHW, view)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise OptionError(
                f"{predictor.name}: no memory for {len(image_BCHW)} images at a time"
                " on this device; lower --batch-size"
            ) from error
        side = image_BCHW.shape[-1]
        said = str(error).strip().partition("\n")[0]
        raise OptionError(
            f"{predictor.name}: cannot take images of {side} x {side} px ({said}); expected a"
            " network for that size"
        ) from error


def _look(predictor: Predictor, image_BCHW: Tensor, view: View) -> Outputs:
    if view == "plain":
        return predictor(image_BCHW)
    image = image_BCHW.to(predictor.device).float()
    if view == "hole-before":
        return predictor(centre_hole(image))
    mean, std = (
        255 * torch.tensor(values, device=image.device).view(1, -1, 1, 1)
        for values in (predictor.data.mean, predictor.data.std)
    )
    return predictor.forward_normalised(centre_hole((image - mean) / std))


def centre_hole(image_BCHW: Tensor) -> Tensor:
    """A copy whose middle square of half the side is 0: 112 of 224 px, [56, 168)."""
    hollow = image_BCHW.clone()
    height, width = image_BCHW.shape[-2:]
    top, left = (height - height // 2) // 2, (width - width // 2) // 2
    hollow[..., top : top + height // 2, left : left + width // 2] = 0
    return hollow


class Answers(NamedTuple):
    """What is kept of the logits of `B` images; of the classes that take part."""

    index_BT: Tensor
    """int64: the five most probable classes, ties by class order."""
    probability_BT: Tensor
    """float32, theirs."""
    logits_BC: Tensor
    """float32, of every class; minus infinity where it takes no part."""
    max_logit_B: Tensor
    energy_B: Tensor
    """float32: logarithm of the sum of the exponentials of the logits."""


def answers_of(logits_BC: Tensor, columns: Tensor | None) -> Answers:
    """What is kept of logits, on the CPU.

    Args:
        logits_BC: of all classes.
        columns: class indices that take part, ascending; None for all. The softmax is over them.
    """
    num_classes = logits_BC.shape[1]
    if columns is not None:
        logits_BC = logits_BC[:, columns.to(logits_BC.device)]
    if not torch.isfinite(logits_BC).all():
        raise OptionError(
            "the model answers NaN or infinity for some image; its training diverged, or the"
            " precision is too low: try --precision no"
        )
    ordered, index = logits_BC.sort(dim=1, descending=True, stable=True)
    # Of the sorted logits: the same logits in another order give the same bits, so ties stay ties.
    probability = ordered.softmax(dim=1).cpu()
    index = index.cpu() if columns is None else columns[index.cpu()]
    every = torch.full((len(index), num_classes), -torch.inf).scatter(1, index, ordered.cpu())
    return Answers(
        index[:, :TOP], probability[:, :TOP], every, ordered[:, 0].cpu(),
        ordered.logsumexp(dim=1).cpu(),
    )  # fmt: skip


def top_classes(logits_BC: Tensor, columns: Tensor | None) -> tuple[Tensor, Tensor]:
    """Classes and probabilities of the five highest logits, (B, min(5, C)); ties by class order."""
    found = answers_of(logits_BC, columns)
    return found.index_BT, found.probability_BT


def _column_indices(mask: tuple[str, ...] | None, classes: tuple[str, ...]) -> Tensor | None:
    """Class indices of a mask's wnids; a model of few classes has only some of them."""
    if mask is None:
        return None
    wanted = set(mask)
    return torch.tensor([i for i, wnid in enumerate(classes) if wnid in wanted], dtype=torch.int64)


class _Rows:
    """Predictions in the order of the part, filled batch by batch."""

    def __init__(self, part: Part, predictor: Predictor) -> None:
        num_classes = len(predictor.classes)
        if part.mask is not None:
            num_classes = len(set(part.mask) & set(predictor.classes))
        top = min(TOP, num_classes)
        self.part = part
        self.predictor = predictor
        self.index = np.zeros((len(part), top), dtype=np.int32)
        self.probability = np.zeros((len(part), top), dtype=np.float32)
        self.point = np.full((len(part), 2), np.nan, dtype=np.float32)
        self.label_log_probability = np.zeros(len(part), dtype=np.float32)
        self.max_logit = np.zeros(len(part), dtype=np.float32)
        self.energy = np.zeros(len(part), dtype=np.float32)
        self.error: list[str | None] = [None] * len(part)
        self.accepted = {
            label: np.array([wnid in wnids for wnid in predictor.classes])
            for label, wnids in part.accepted.items()
        }

    def add_bad(self, bad: list[tuple[int, str]]) -> None:
        for index, why in bad:
            # Without the path: a file of predictions names no folder of the user's machine.
            self.error[index] = why.replace(f"{self.part.root}{os.sep}", "")

    def add(self, inputs: Inputs, answers: Answers, point_B2: Tensor) -> None:
        at = inputs.index_B.numpy()
        self.index[at] = answers.index_BT.numpy()
        self.probability[at] = answers.probability_BT.numpy()
        right = np.stack([self.accepted[label] for label in self.part.label[at].tolist()])
        energy_B = answers.energy_B.numpy()
        likely_BC = np.where(right, answers.logits_BC.numpy(), -np.inf)
        self.label_log_probability[at] = np.logaddexp.reduce(likely_BC, axis=1) - energy_B
        self.max_logit[at] = answers.max_logit_B.numpy()
        self.energy[at] = energy_B
        if self.predictor.point_trained:
            low, high = inputs.region_B4[:, :2], inputs.region_B4[:, 2:]
            self.point[at] = (low + point_B2.cpu() * (high - low)).numpy()

    def table(self) -> pa.Table:
        size, top = self.index.shape
        bad = np.array([error is not None for error in self.error], dtype=bool)
        offsets = pa.array(np.arange(size + 1) * top, pa.int32(), mask=np.append(bad, False))
        names = pa.array(self.predictor.classes).take(pa.array(self.index.ravel()))
        second = self.probability[:, 1] if top > 1 else np.zeros(size, np.float32)
        columns = {
            "image_id": pa.array(self.part.image_id.tolist(), pa.string()),
            "label": pa.array(self.part.label.tolist(), pa.string()),
            "top5_class": pa.ListArray.from_arrays(offsets, names),
            "top5_probability": pa.ListArray.from_arrays(
                offsets, pa.array(self.probability.ravel())
            ),
            "margin": pa.array(self.probability[:, 0] - second, mask=bad),
            "max_probability": pa.array(self.probability[:, 0], mask=bad),
            "label_log_probability": pa.array(self.label_log_probability, mask=bad),
            "max_logit": pa.array(self.max_logit, mask=bad),
            "energy": pa.array(self.energy, mask=bad),
            "point_x": _nullable(self.point[:, 0]),
            "point_y": _nullable(self.point[:, 1]),
            "error": pa.array(self.error, pa.string()),
        }
        return pa.table(columns, schema=SCHEMA)


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))
