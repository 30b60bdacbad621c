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
from luab_train.sections import Data

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
    classes = _Classes(part, predictor)
    tables, index = [SCHEMA.empty_table()], [np.zeros(0, np.int64)]
    counts = {"num_turned": 0, "num_resized": 0}
    shown = settings.shown if processes.rank() == 0 else False
    with progress(total=sum(map(len, batches)), what=what, unit="image", shown=shown) as bar:
        for inputs in loaded(loader):
            if inputs.bad and settings.on_bad == "raise":
                raise ImagesError(
                    f"{inputs.bad[0][1]}; to go on without such images: --on-bad skip"
                )
            tables += [_good_rows(part, predictor, classes, inputs), _bad_rows(part, inputs.bad)]
            index += [inputs.index_B.numpy(), np.array([at for at, _ in inputs.bad], np.int64)]
            counts["num_turned"] += inputs.turned
            counts["num_resized"] += inputs.resized
            bar.update(len(inputs.index_B) + len(inputs.bad))
    return pa.concat_tables(tables), np.concatenate(index), counts


class _Classes:
    """Which classes of the model take part, and which are right for each label; on its device."""

    def __init__(self, part: Part, predictor: Predictor) -> None:
        self.chosen: Tensor | None = None
        if part.mask is not None:
            masked = set(part.mask)
            places = [k for k, wnid in enumerate(predictor.classes) if wnid in masked]
            self.chosen = torch.tensor(places, dtype=torch.int64, device=predictor.device)
        self.labels = np.unique(part.label)
        right = [
            [wnid in accepted for wnid in predictor.classes]
            for accepted in (frozenset(part.accepted[label]) for label in self.labels.tolist())
        ]
        self.right_LC = torch.tensor(right, dtype=torch.bool, device=predictor.device)


def _good_rows(part: Part, predictor: Predictor, classes: _Classes, inputs: Inputs) -> pa.Table:
    """Rows of SCHEMA of the images of a batch that could be read."""
    at = inputs.index_B.numpy()
    if not len(at):
        return SCHEMA.empty_table()
    outputs = look(predictor, inputs.image_BCHW, part.view)
    label = np.searchsorted(classes.labels, part.label[at])
    right_BC = classes.right_LC[torch.from_numpy(label).to(predictor.device)]
    found = answers_of(outputs.logits_BC, classes.chosen)
    likely_BC = outputs.logits_BC.masked_fill(~right_BC, -torch.inf)
    log_probability = likely_BC.logsumexp(dim=1).cpu() - found.energy_B
    index, probability = found.index_BT.numpy(), found.probability_BT.numpy()
    size, top = index.shape
    offsets = pa.array(np.arange(size + 1) * top, pa.int32())
    names = pa.array(predictor.classes).take(pa.array(index.ravel()))
    point = np.full((size, 2), np.nan, np.float32)
    if predictor.point_trained:
        low, high = inputs.region_B4[:, :2], inputs.region_B4[:, 2:]
        point = (low + outputs.point_B2.cpu() * (high - low)).numpy().astype(np.float32)
    second = probability[:, 1] if top > 1 else np.zeros(size, np.float32)
    columns = {
        "image_id": pa.array(part.image_id[at].tolist(), pa.string()),
        "label": pa.array(part.label[at].tolist(), pa.string()),
        "top5_class": pa.ListArray.from_arrays(offsets, names),
        "top5_probability": pa.ListArray.from_arrays(offsets, pa.array(probability.ravel())),
        "margin": pa.array(probability[:, 0] - second),
        "max_probability": pa.array(probability[:, 0]),
        "label_log_probability": pa.array(log_probability.numpy()),
        "max_logit": pa.array(found.max_logit_B.numpy()),
        "energy": pa.array(found.energy_B.numpy()),
        "point_x": pa.array(point[:, 0], mask=np.isnan(point[:, 0])),
        "point_y": pa.array(point[:, 1], mask=np.isnan(point[:, 1])),
        "error": pa.nulls(size, pa.string()),
    }
    return pa.table(columns, schema=SCHEMA)


def _bad_rows(part: Part, bad: Sequence[tuple[int, str]]) -> pa.Table:
    """Rows of SCHEMA of images that could not be read: their names, and why."""
    columns = {name: pa.nulls(len(bad), SCHEMA.field(name).type) for name in SCHEMA.names}
    at = [index for index, _ in bad]
    # Without the path: a file of predictions names no folder of the user's machine.
    said = [why.replace(f"{part.root}{os.sep}", "") for _, why in bad]
    told = {"image_id": part.image_id[at].tolist(), "label": part.label[at].tolist(), "error": said}
    columns |= {name: pa.array(values, pa.string()) for name, values in told.items()}
    return pa.table(columns, schema=SCHEMA)


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
    """What is kept of the logits of `B` images, of the classes that take part; on the CPU."""

    index_BT: Tensor
    """int64: the five most probable classes, ties by class order."""
    probability_BT: Tensor
    """float32, theirs."""
    max_logit_B: Tensor
    """float32."""
    energy_B: Tensor
    """float32: logarithm of the sum of the exponentials of the logits."""


def answers_of(logits_BC: Tensor, chosen: Tensor | None = None) -> Answers:
    """What is kept of logits.

    Args:
        logits_BC: of all classes.
        chosen: class indices that take part, ascending; None for all. The softmax is over them.
    """
    if chosen is not None:
        logits_BC = logits_BC[:, chosen]
    if not torch.isfinite(logits_BC).all():
        raise OptionError(
            "the model answers NaN or infinity for some image; its training diverged, or the"
            " precision is too low: try --precision no"
        )
    ordered, index = logits_BC.sort(dim=1, descending=True, stable=True)
    index = index[:, :TOP] if chosen is None else chosen[index[:, :TOP]]
    # Of the sorted logits: the same logits in another order give the same bits, so ties stay ties.
    found = (index, ordered.softmax(dim=1)[:, :TOP], ordered[:, 0], ordered.logsumexp(dim=1))
    return Answers(*(values.cpu() for values in found))
