"""A predictor over images with boxes: maps, box and point metrics, a row an image.     [I/O]

`B` images of a batch, `T` thresholds. Images are resized to the network's input without a crop;
maps are compared at 224 x 224. Memory is bounded but for the rows, a few numbers an image.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from luab_data.errors import ImagesError, OptionError
from luab_train.data.boxes import Boxes, contains
from luab_train.evaluate import processes
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import cores
from luab_train.evaluate.wsol.boxes import (
    FIXED_TAU,
    BoxConvention,
    BoxSums,
    MapOverlap,
    box_compute,
    box_update,
    map_overlap,
    true_boxes,
)
from luab_train.evaluate.wsol.cam import MapMethod, Mapper
from luab_train.evaluate.wsol.metadata import Metadata, RowFinder
from luab_train.evaluate.wsol.score_maps import (
    SIZE,
    is_flat,
    levels_of,
    peak,
    score_map,
    thresholds,
)
from luab_train.evaluate.wsol.squash import squashed_batches
from luab_train.metrics.places import (
    PointSums,
    add_points,
    no_points,
    point_compute,
    point_update,
)

Images = Iterable[tuple[str, Path | Image.Image]]

_IN_MEMORY = 64 << 20
"""Bytes of overlaps to hold before they go to a temporary file: 65,536 images."""


@dataclass(frozen=True, kw_only=True)
class Localised:
    """What a predictor localised in a split or in a part of it; `boxes`, `points` and `num_flat`
    of parts add up.
    """

    boxes: BoxSums
    points: PointSums
    num_flat: int
    """Maps that were constant or not finite, which predict the box [0, 0, 0, 0] and no peak."""
    rows: pa.Table
    """A row an image, in the order they came: see `localise`."""
    method: MapMethod
    convention: BoxConvention
    input_size: int
    map_size: str
    """Places of the network's own map, e.g. `7x7`; resizing it to 224 x 224 adds no detail."""
    num_bad: int = 0
    """Images that could not be read; they are in nothing else."""

    def metrics(self) -> dict[str, float | str | bool]:
        """Every number by name, fractions in [0, 1], NaN over nothing; and how they were made."""
        return {
            **box_compute(self.boxes),
            **point_compute(self.points),
            "num_flat_maps": self.num_flat,
            "box_convention": self.convention,
            **self.method.provenance(self.map_size, self.input_size),
        }


class _Part(NamedTuple):
    """What one batch adds."""

    boxes: BoxSums
    points: PointSums
    num_flat: int
    iou: np.ndarray
    """(B, 256) float32 of the largest contour by grey level."""
    columns: dict[str, np.ndarray]
    map_size: str


class _Sums(NamedTuple):
    """What all batches of a process come to."""

    boxes: BoxSums
    points: PointSums
    num_flat: int
    map_size: str
    num_seen: int
    num_bad: int

    def add(self, other: _Sums) -> _Sums:
        return _Sums(
            self.boxes + other.boxes,
            add_points(self.points, other.points),
            self.num_flat + other.num_flat,
            self.map_size or other.map_size,
            self.num_seen + other.num_seen,
            self.num_bad + other.num_bad,
        )


class _Scored(NamedTuple):
    overlap: MapOverlap
    peak: np.ndarray
    flat: bool


def localise(
    predictor: Predictor,
    images: Images,
    metadata: Metadata,
    *,
    clicks: Mapping[str, tuple[float, float]] | None = None,
    box_convention: BoxConvention = "wsolevaluation",
    interval: float = 0.001,
    input_size: int | None = None,
    batch_size: int = 64,
    num_threads: int | None = None,
    on_bad: str = "raise",
) -> Localised:
    """Evaluate the maps and points of a predictor; processes share the images.

    Maps are of the true class. Top-1 localisation asks for the predicted class's, but counts only
    images whose predicted class is the true one (docs/definitions.md#localisation-metrics).

    Args:
        predictor: see `evaluate.predictor`; the points count only if its head was trained.
        images: (image id of `metadata`, file or decoded image), e.g. `metadata.files(root)`.
        metadata: labels, sizes and boxes; labels count the predictor's classes.
        clicks: image id -> xy fractions of the image where a human clicked; not all need one.
        box_convention: see the top of `boxes`.
        interval: between thresholds; 0.001 or 0.01.
        input_size: px a side of the network's input; None takes the predictor's own.
        batch_size: images at a time; no effect on the result but for rounding.
        num_threads: to decode images and to score maps; None takes a thread a core, at most 8.
        on_bad: `raise` at an image that cannot be decoded, or `skip` it.
    Returns: rows has image_id, label, predicted, iou (largest contour, at the best threshold of
        top-1 localisation over these images), iou_fixed (at 0.20), peak_x, peak_y, peak_in_box,
        point_x, point_y, point_in_box; null where there is no peak or no trained point.
    """
    _check_labels(predictor, metadata)
    mapper, taus = Mapper.of(predictor), thresholds(interval)
    size = input_size or predictor.data.image_size
    listed = list(images)
    batches = [listed[at : at + batch_size] for at in range(0, len(listed), batch_size)]
    rows_of = RowFinder(metadata, listed)
    columns: list[dict[str, np.ndarray]] = []
    with (
        ThreadPoolExecutor(num_threads or min(8, cores())) as pool,
        tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool,
    ):

        def work() -> _Sums:
            sums = _Sums(BoxSums.empty(taus), no_points(), 0, "", 0, 0)
            for ids, pixels, sizes, bad in squashed_batches(
                processes.mine(batches), size=size, pool=pool, on_bad=on_bad
            ):
                sums = sums._replace(num_bad=sums.num_bad + len(bad))
                if not ids:
                    continue
                part = _part(
                    mapper,
                    pixels,
                    metadata,
                    rows_of(ids, sizes),
                    click=_clicks_of(clicks or {}, ids),
                    taus=taus,
                    convention=box_convention,
                    pool=pool,
                )
                added = (part.boxes, part.points, part.num_flat, part.map_size, len(ids), 0)
                sums = sums.add(_Sums(*added))
                columns.append(part.columns)
                spool.write(part.iou.tobytes())
            return sums

        total = functools.reduce(_Sums.add, processes.everyone(work))
        if not total.num_seen:
            raise ImagesError(f"none of {total.num_bad} images can be read; expected images")
        best = box_compute(total.boxes)["top1_loc_tau"]
        tables = processes.everyone(lambda: _table(metadata, columns, spool, best=best))
    order = np.argsort([rows_of.order[name] for t in tables for name in t["image_id"].to_pylist()])
    return Localised(
        boxes=total.boxes,
        points=total.points,
        num_flat=total.num_flat,
        rows=pa.concat_tables(tables).take(pa.array(order)).combine_chunks(),
        method=mapper.method,
        convention=box_convention,
        input_size=size,
        map_size=total.map_size,
        num_bad=total.num_bad,
    )


def _part(
    mapper: Mapper,
    pixels: np.ndarray,
    metadata: Metadata,
    rows: np.ndarray,
    *,
    click: np.ndarray,
    taus: np.ndarray,
    convention: BoxConvention,
    pool: ThreadPoolExecutor,
) -> _Part:
    """Forward, maps and scores of one batch, (B, 3, S, S) uint8 of the metadata's rows, (B,)."""
    label, size_wh, truth = metadata.label[rows], metadata.size_wh[rows], metadata.boxes.take(rows)
    forward = mapper(torch.from_numpy(pixels))
    pairs = torch.arange(len(rows)), torch.from_numpy(label)
    maps = mapper.maps(forward, *pairs).cpu().numpy()
    boxes = true_boxes(truth.values, size_wh[truth.rows], (SIZE, SIZE), convention)

    def score(activation: np.ndarray, boxes_K4: np.ndarray) -> _Scored:
        scores = score_map(activation)
        overlap = map_overlap(scores, boxes_K4, taus, convention)
        return _Scored(overlap, peak(scores), is_flat(scores))

    scored = list(pool.map(score, maps, np.split(boxes, truth.bounds[1:-1])))
    iou_N2T = np.stack([one.overlap.at(taus) for one in scored])
    predicted = forward.logits_BC.argmax(dim=1).cpu().numpy()
    point = forward.point_B2.cpu().numpy().astype(np.float64)
    if not mapper.predictor.point_trained:
        point = np.full_like(point, np.nan)
    peaks = np.stack([one.peak for one in scored])
    return _Part(
        boxes=box_update(iou_N2T, predicted == label, taus=taus),
        points=point_update(truth, size_wh, peak=peaks, point=point, click=click),
        num_flat=sum(one.flat for one in scored),
        iou=np.stack([one.overlap.iou[0] for one in scored]).astype(np.float32),
        columns={
            "row": rows,
            "predicted": predicted,
            "highest": np.array([one.overlap.highest for one in scored]),
            **_point_columns("peak", peaks, truth, size_wh),
            **_point_columns("point", point, truth, size_wh),
        },
        map_size="x".join(map(str, maps.shape[1:])),
    )


def _point_columns(
    name: str, point: np.ndarray, truth: Boxes, size_wh: np.ndarray
) -> dict[str, np.ndarray]:
    inside = contains(truth, point * size_wh).astype(np.float64)
    known = np.isfinite(point).all(axis=1)
    x, y = point.T
    return {f"{name}_x": x, f"{name}_y": y, f"{name}_in_box": np.where(known, inside, np.nan)}


def _clicks_of(clicks: Mapping[str, tuple[float, float]], ids: list[str]) -> np.ndarray:
    return np.array([clicks.get(name, (np.nan, np.nan)) for name in ids], np.float64)


def _table(
    metadata: Metadata, parts: list[dict[str, np.ndarray]], spool: IO[bytes], *, best: float
) -> pa.Table:
    """The rows, with the overlaps that were put aside until the best threshold was known."""
    names = [*(f"{p}_{c}" for p in ("peak", "point") for c in ("x", "y", "in_box"))]
    columns = {
        name: np.concatenate([part[name] for part in parts]) if parts else np.zeros(0)
        for name in ("row", "predicted", "highest", *names)
    }
    row, highest = columns["row"].astype(np.int64), columns["highest"]
    taus = np.nan_to_num([best, FIXED_TAU])
    iou = _overlaps_at(spool, levels_of(taus, highest[:, None]))
    floats = {name: pa.array(columns[name], pa.float64(), from_pandas=True) for name in names}
    for name in ("peak_in_box", "point_in_box"):
        floats[name] = floats[name].cast(pa.bool_())
    return pa.table(
        {
            "image_id": pa.array([metadata.image_id[i] for i in row.tolist()], pa.string()),
            "label": pa.array(metadata.label[row], pa.int64()),
            "predicted": pa.array(columns["predicted"].astype(np.int64)),
            "iou": pa.array(iou[:, 0]),
            "iou_fixed": pa.array(iou[:, 1]),
            **floats,
        }
    )


def _overlaps_at(spool: IO[bytes], level_N2: np.ndarray) -> np.ndarray:
    """(N, 2) float32: read back, a block of images at a time, what was written level by level."""
    spool.seek(0)
    result = np.zeros(level_N2.shape, np.float32)
    for start in range(0, len(level_N2), 4096):
        levels = level_N2[start : start + 4096]
        block = np.frombuffer(spool.read(1024 * len(levels)), np.float32).reshape(-1, 256)
        result[start : start + 4096] = np.take_along_axis(block, levels, axis=1)
    return result


def _check_labels(predictor: Predictor, metadata: Metadata) -> None:
    known, label = len(predictor.classes), metadata.label
    if len(label) and not (label.min() >= 0 and label.max() < known):
        raise OptionError(
            f"{predictor.name}: knows {known} classes, the metadata has labels {label.min()} to"
            f" {label.max()}; expected labels that count the predictor's classes"
        )
