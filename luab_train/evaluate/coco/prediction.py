"""A model over COCO's images, whole and erased, in rows that go out as they come.     [I/O]

`B` squares of a batch, `C` classes, `P` classes present in an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_data.errors import OptionError
from luab_data.schema import COCO_CLASSES
from luab_data.truth import contains_many
from luab_train.data.loader import batches, worker_setup
from luab_train.evaluate.coco.erasing import Eraser
from luab_train.evaluate.coco.scenes import Gallery, Scene, Seen, Status
from luab_train.evaluate.coco.storage import (
    NUM_CLASSES,
    OBJECTS,
    SCORES,
    RowWriter,
    Tables,
    logits_array,
)
from luab_train.evaluate.coco.views import View
from luab_train.evaluate.predictor import Predictor

_IMAGES_AT_ONCE = 8
"""Images that a loader process hands over together; an image is one square and one a class."""


def predict(
    predictor: Predictor,
    scenes: list[Scene],
    *,
    view: View,
    eraser: Eraser | None,
    facts: Mapping[str, Any],
    out: Path | None = None,
    batch_size: int = 128,
    num_workers: int = 4,
    shown: bool | None = None,
) -> Tables:
    """Scores of all images, and of each image without each of its classes.

    Args:
        predictor: of 80 classes in COCO's order.
        scenes: by ascending image id.
        view: what the network sees of an image.
        eraser: None erases nothing, which is much faster: only mAP and points come out.
        facts: kept with the rows.
        out: folder for both files; None keeps the rows in memory.
        batch_size: squares at a time; no effect on the result but for rounding.
        num_workers: loader processes, which decode and erase; 0 is this process.
        shown: progress bar; None shows it on a terminal.
    """
    check_predictor(predictor)
    if batch_size < 1:
        raise OptionError(f"batch size {batch_size}; expected at least 1")
    loader: DataLoader[list[Seen]] = DataLoader(
        Gallery(scenes, view, eraser),
        batch_size=_IMAGES_AT_ONCE,
        collate_fn=list,
        num_workers=num_workers,
        worker_init_fn=worker_setup() if num_workers else None,
    )
    paths = [None if out is None else out / f"{name}.parquet" for name in ("scores", "objects")]
    with (
        RowWriter(paths[0], SCORES, facts) as scores,
        RowWriter(paths[1], OBJECTS, facts) as objects,
        progress(total=len(scenes), what="COCO", unit="image", shown=shown) as bar,
    ):
        for batch in batches(loader):
            shown_scenes = [scenes[seen.row] for seen in batch]
            logits_BC, point_BK2 = _run(predictor, _squares(batch), batch_size)
            whole = np.cumsum([0, *(1 + len(seen.erased) for seen in batch[:-1])])
            point_NK2 = _in_image(point_BK2[whole], view, shown_scenes)
            has_points = predictor.point_trained
            scores.add(
                score_rows(shown_scenes, logits_BC[whole], point_NK2 if has_points else None)
            )
            objects.add(
                object_rows(
                    batch,
                    shown_scenes,
                    np.delete(logits_BC, whole, axis=0),
                    point_NK2 if has_points else None,
                    view,
                )
            )
            bar.update(len(batch))
    return Tables(scores.table(), objects.table(), dict(facts))


def check_predictor(predictor: Predictor) -> None:
    """Raises OptionError unless the model tells COCO's 80 classes apart, in COCO's order."""
    num = len(predictor.classes)
    if num != NUM_CLASSES:
        raise OptionError(
            f"{predictor.name}: a model of {num} classes; expected the {NUM_CLASSES} of COCO, by"
            " ascending category id"
        )
    if predictor.classes != COCO_CLASSES and set(predictor.classes) == set(COCO_CLASSES):
        wrong = next(k for k in range(num) if predictor.classes[k] != COCO_CLASSES[k])
        raise OptionError(
            f"{predictor.name}: its class {wrong} is {predictor.classes[wrong]}; expected"
            f" {COCO_CLASSES[wrong]}, for COCO's classes are in the order of their ids"
        )


def _squares(batch: Sequence[Seen]) -> Iterator[np.ndarray]:
    """Each image whole, then without each of its classes, (S, S, 3) uint8."""
    for seen in batch:
        yield seen.square_SS3
        yield from seen.erased


def _run(
    predictor: Predictor, squares: Iterable[np.ndarray], batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """(B, C) float32 logits and (B, 1 or C, 2) points, fractions of the square."""
    image_B3SS = torch.from_numpy(np.stack(list(squares))).permute(0, 3, 1, 2)
    outputs = [predictor(part) for part in torch.split(image_B3SS, batch_size)]
    logits_BC = torch.cat([output.logits_BC for output in outputs]).cpu().numpy()
    point = torch.cat([output.point_BKD.flatten(1) for output in outputs]).cpu().numpy()
    if logits_BC.shape[1] != NUM_CLASSES or point.shape[1] not in (2, 2 * NUM_CLASSES):
        raise OptionError(
            f"{predictor.name}: gives {logits_BC.shape[1]} scores and {point.shape[1]} coordinates"
            f" an image; expected {NUM_CLASSES}, and 2 or {2 * NUM_CLASSES}"
        )
    if not np.isfinite(logits_BC).all():
        raise OptionError(
            f"{predictor.name}: gives scores that are not finite; if it runs in fp16, try"
            " precision no or bf16"
        )
    return logits_BC, point.reshape(len(point), -1, 2)


def _in_image(point_NK2: np.ndarray, view: View, scenes: Sequence[Scene]) -> np.ndarray:
    """Fractions of the square -> fractions of the original image."""
    size_N2 = np.array([(scene.truth.width, scene.truth.height) for scene in scenes], np.float64)
    region_N4 = view.regions(size_N2)
    low, high = region_N4[:, None, :2], region_N4[:, None, 2:]
    placed: np.ndarray = (low + point_NK2 * (high - low)) / size_N2[:, None]
    return placed


def score_rows(
    scenes: Sequence[Scene], logits_NC: np.ndarray, point_NK2: np.ndarray | None
) -> dict[str, Any]:
    """Columns of storage.SCORES, a row an image.

    Args:
        scenes: (N,)
        logits_NC: of the unedited images.
        point_NK2: fractions of the original, one for all classes or one for each; None if the model
            was not trained to point.
    """
    nothing = [None] * len(scenes)
    return {
        "image_id": [scene.image_id for scene in scenes],
        "labels": [scene.truth.labels for scene in scenes],
        "logits": logits_array(logits_NC),
        "point_x": nothing if point_NK2 is None else list(point_NK2[..., 0].astype(np.float32)),
        "point_y": nothing if point_NK2 is None else list(point_NK2[..., 1].astype(np.float32)),
    }


def object_rows(
    batch: Sequence[Seen],
    scenes: Sequence[Scene],
    logits_EC: np.ndarray,
    point_NK2: np.ndarray | None,
    view: View,
) -> dict[str, Any]:
    """Columns of storage.OBJECTS, a row for each class in an image; none for an image without any.

    Args:
        batch, scenes: (N,)
        logits_EC: of the erased images, in order.
        point_NK2: as in `score_rows`.
        view: what was seen of them.
    """
    num_P = [len(seen.label_P) for seen in batch]
    row = np.repeat(np.arange(len(batch)), num_P)
    label = _joined([seen.label_P for seen in batch])
    status = _joined([seen.status_P for seen in batch])
    visible = _joined([seen.visible_P for seen in batch])
    owners = [scenes[k].truth for k in row.tolist()]
    centre_N12 = _in_image(np.full((len(scenes), 1, 2), 0.5), view, scenes)
    centre = centre_N12[row, 0]
    is_erased = status == Status.ERASED
    logits = np.zeros((len(row), NUM_CLASSES), np.float32)
    logits[is_erased] = logits_EC
    on_mask: Any = [None] * len(row)
    if point_NK2 is not None:
        point = point_NK2[row, 0 if point_NK2.shape[1] == 1 else label]
        on_mask = contains_many(owners, label, point[:, 0], point[:, 1])
    return {
        "image_id": [scenes[k].image_id for k in row.tolist()],
        "label": label,
        "status": status,
        "area": _joined([seen.area_P for seen in batch]),
        "visible": pa.array(visible, pa.float32(), mask=np.isnan(visible)),
        "chance": _joined([seen.chance_P for seen in batch]),
        "is_centre_on_mask": contains_many(owners, label, centre[:, 0], centre[:, 1]),
        "is_point_on_mask": on_mask,
        "covered": [own for seen in batch for own in seen.covered_PP.astype(np.float32)],
        "logits_erased": logits_array(logits, is_erased),
    }


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    # An image without any class has empty arrays of whatever type.
    kept = [array for array in arrays if len(array)]
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)
