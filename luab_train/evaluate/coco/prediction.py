"""A model over COCO's images, whole and erased, in rows that go out as they come.     [I/O]

`B` squares of a batch, `C` classes, `P` classes present in an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader

from luab_data.console import progress
from luab_data.errors import ImagesError, OptionError
from luab_data.schema import COCO_CLASSES
from luab_data.truth import contains_many
from luab_train.data.inputs import EvalCrop
from luab_train.data.loader import batches, worker_setup
from luab_train.evaluate import processes
from luab_train.evaluate.coco.erasing import Eraser
from luab_train.evaluate.coco.scenes import Gallery, Scene, Seen, Status
from luab_train.evaluate.coco.storage import (
    NUM_CLASSES,
    OBJECTS,
    SCORES,
    Tables,
    logits_array,
)
from luab_train.evaluate.predict import look
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings

_IMAGES_AT_ONCE = 8
"""Images that a loader process hands over together; an image is one square and one a class."""


def predict(
    predictor: Predictor,
    scenes: list[Scene],
    *,
    crop: EvalCrop,
    eraser: Eraser | None,
    facts: Mapping[str, Any],
    settings: Settings,
) -> Tables:
    """Scores of all images, and of each image without each of its classes; processes share them.

    Args:
        predictor: of 80 classes in COCO's order.
        scenes: by ascending image id.
        crop: what the network sees of an image.
        eraser: None erases nothing, which is much faster: only mAP and points come out.
        facts: kept with the rows.
        settings: loader processes decode and erase; with on_bad `skip`, an image that cannot be
            decoded has no rows.
    """
    check_predictor(predictor)
    mine = [*processes.mine(scenes)]
    workers = min(settings.workers, len(mine) // _IMAGES_AT_ONCE)
    loader: DataLoader[list[Seen | str]] = DataLoader(
        Gallery(mine, crop, eraser),
        batch_size=_IMAGES_AT_ONCE,
        collate_fn=list,
        num_workers=workers,
        worker_init_fn=worker_setup() if workers else None,
    )

    def work() -> tuple[pa.Table, pa.Table]:
        scores, objects = [SCORES.empty_table()], [OBJECTS.empty_table()]
        shown_here = settings.shown if processes.rank() == 0 else False
        with progress(total=len(mine), what="COCO", unit="image", shown=shown_here) as bar:
            for batch, logits_BC, point_BK2 in _answered(predictor, loader, settings):
                seen_scenes = [mine[seen.row] for seen in batch]
                whole = np.cumsum([0, *(1 + len(seen.erased) for seen in batch[:-1])])
                point_NK2 = None
                if predictor.point_trained:
                    point_NK2 = _in_image(point_BK2[whole], crop, seen_scenes)
                erased_EC = np.delete(logits_BC, whole, axis=0)
                scores.append(score_rows(seen_scenes, logits_BC[whole], point_NK2))
                objects.append(object_rows(batch, seen_scenes, erased_EC, point_NK2, crop))
                bar.update(len(batch))
        return pa.concat_tables(scores), pa.concat_tables(objects)

    found = processes.everyone(work)
    tables = [pa.concat_tables(tables) for tables in zip(*found, strict=True)]
    # Each process has its images by ascending id, and those of an image are neighbours.
    both = [
        table.take(pa.array(np.argsort(table["image_id"].to_numpy(), kind="stable")))
        for table in tables
    ]
    return Tables(both[0].combine_chunks(), both[1].combine_chunks(), dict(facts))


def _answered(
    predictor: Predictor, loader: DataLoader[list[Seen | str]], settings: Settings
) -> Iterator[tuple[list[Seen], np.ndarray, np.ndarray]]:
    """Images with the logits and points of their squares, as soon as those are there.

    Squares are answered `settings.batch_size` at a time, whatever image they are of.
    """
    batch_size = settings.batch_size
    waiting: list[Seen] = []
    squares: list[np.ndarray] = []
    answers: list[tuple[np.ndarray, np.ndarray]] = []

    def ready(*, finished: bool) -> Iterator[tuple[list[Seen], np.ndarray, np.ndarray]]:
        while squares and (finished or len(squares) >= batch_size):
            answers.append(_run(predictor, squares[:batch_size]))
            del squares[:batch_size]
        ends = np.cumsum([1 + len(seen.erased) for seen in waiting])
        num = int((ends <= sum(len(logits) for logits, _ in answers)).sum())
        if num:
            logits_BC, point_BK2 = (np.concatenate(a) for a in zip(*answers, strict=True))
            answers[:] = [(logits_BC[ends[num - 1] :], point_BK2[ends[num - 1] :])]
            yield waiting[:num], logits_BC[: ends[num - 1]], point_BK2[: ends[num - 1]]
            del waiting[:num]

    for batch in batches(loader):
        for seen in batch:
            if isinstance(seen, str):
                if settings.on_bad == "raise":
                    raise ImagesError(f"{seen}; to go on without such images: --on-bad skip")
                continue
            waiting.append(seen)
            squares += [seen.square_SS3, *seen.erased]
        yield from ready(finished=False)
    yield from ready(finished=True)


def check_predictor(predictor: Predictor) -> None:
    """Raises OptionError unless the model tells COCO's 80 classes apart, in COCO's order."""
    num = len(predictor.classes)
    if num != NUM_CLASSES:
        raise OptionError(
            f"{predictor.name}: a model of {num} classes; expected the {NUM_CLASSES} of COCO, by"
            " ascending category id"
        )
    if predictor.classes != COCO_CLASSES:
        wrong = next(k for k in range(num) if predictor.classes[k] != COCO_CLASSES[k])
        raise OptionError(
            f"{predictor.name}: its class {wrong} is {predictor.classes[wrong]}; expected"
            f" {COCO_CLASSES[wrong]}, for COCO's classes are in the order of their ids"
        )


def _run(predictor: Predictor, squares: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(B, C) float32 logits and (B, 1 or C, 2) points, fractions of the square, of (S, S, 3)s."""
    output = look(predictor, torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2), "plain")
    logits_BC = output.logits_BC.cpu().numpy()
    point = output.point_BKD.flatten(1).cpu().numpy()
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


def _in_image(point_NK2: np.ndarray, crop: EvalCrop, scenes: Sequence[Scene]) -> np.ndarray:
    """Fractions of the square -> fractions of the original image."""
    size_N2 = np.array([(scene.truth.width, scene.truth.height) for scene in scenes], np.float64)
    region_N4 = crop.regions(size_N2)
    low, high = region_N4[:, None, :2], region_N4[:, None, 2:]
    placed: np.ndarray = (low + point_NK2 * (high - low)) / size_N2[:, None]
    return placed


def score_rows(
    scenes: Sequence[Scene], logits_NC: np.ndarray, point_NK2: np.ndarray | None
) -> pa.Table:
    """Rows of storage.SCORES, one an image.

    Args:
        scenes: (N,)
        logits_NC: of the unedited images.
        point_NK2: fractions of the original, one for all classes or one for each; None if the model
            was not trained to point.
    """
    nothing = [None] * len(scenes)
    columns = {
        "image_id": [scene.image_id for scene in scenes],
        "labels": [scene.truth.labels for scene in scenes],
        "logits": logits_array(logits_NC),
        "point_x": nothing if point_NK2 is None else list(point_NK2[..., 0].astype(np.float32)),
        "point_y": nothing if point_NK2 is None else list(point_NK2[..., 1].astype(np.float32)),
    }
    return pa.Table.from_pydict(columns, schema=SCORES)


def object_rows(
    batch: Sequence[Seen],
    scenes: Sequence[Scene],
    logits_EC: np.ndarray,
    point_NK2: np.ndarray | None,
    crop: EvalCrop,
) -> pa.Table:
    """Rows of storage.OBJECTS, one for each class in an image; none for an image without any.

    Args:
        batch, scenes: (N,)
        logits_EC: of the erased images, in order.
        point_NK2: as in `score_rows`.
        crop: what was seen of them.
    """
    num_P = [len(seen.label_P) for seen in batch]
    row = np.repeat(np.arange(len(batch)), num_P)
    label = _joined([seen.label_P for seen in batch])
    status = _joined([seen.status_P for seen in batch])
    visible = _joined([seen.visible_P for seen in batch])
    owners = [scenes[k].truth for k in row.tolist()]
    centre_N12 = _in_image(np.full((len(scenes), 1, 2), 0.5), crop, scenes)
    centre = centre_N12[row, 0]
    is_erased = status == Status.ERASED
    logits = np.zeros((len(row), NUM_CLASSES), np.float32)
    logits[is_erased] = logits_EC
    on_mask: Any = [None] * len(row)
    if point_NK2 is not None:
        point = point_NK2[row, 0 if point_NK2.shape[1] == 1 else label]
        on_mask = contains_many(owners, label, point[:, 0], point[:, 1])
    columns = {
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
    return pa.Table.from_pydict(columns, schema=OBJECTS)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    # An image without any class has empty arrays of whatever type.
    kept = [array for array in arrays if len(array)]
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)
