"""[I/O] A calibration: learned from clicks on images with boxes, applied to clicks on any image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.calibration.held_out import ARMS, HeldOut, compare, rank_reliability
from luab_data.calibration.model import (
    APPLY_COLUMNS,
    COLUMNS,
    Bias,
    Clicks,
    ErrorModel,
    Points,
    behaviours,
    boxed_clicks,
    fit_bias,
    fit_errors,
    moved,
    points,
)
from luab_data.columns.own_views import OF_IMAGES, of_rounds, views_as_images
from luab_data.columns.regions import boxes_of, in_any_box
from luab_data.console import progress
from luab_data.errors import DatasetError, OptionError
from luab_data.kinds import kind_of
from luab_data.ragged import ArrowColumn, Floats, Ints, floats, nullable
from luab_data.results import new_table
from luab_data.statistics.estimate import NOBODY, draw_workers
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset, read_table

SplitBy = Literal["worker", "image"]
_FOLDS = 5

ADDED = ("calibrated_click_x", "calibrated_click_y", "click_reliability")
"""Columns that `apply` adds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What clicks on images with boxes teach about clicks anywhere: a few numbers a worker.

    Attributes:
        worker_id: (num_workers,) keyed hashes, sorted: codes of the arrays of `bias` and `errors`.
        bias: mean of click - box centre, of the crowd and of each worker.
        errors: expected squared distance of a click from the box centre.
    """

    worker_id: tuple[str, ...]
    bias: Bias
    errors: ErrorModel


def calibrate(
    dataset: str | os.PathLike[str],
    *,
    split: SplitBy = "worker",
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    shown: bool | None = None,
) -> HeldOut:
    """Whether taking off the bias of clicks helps, on held-out clicks; and the points if wanted.

    Args:
        dataset: a folder of a browsing log with boxes, or its name under $LUAB_DATA_HOME.
        split: hold out workers, who get the crowd's bias, or images, whose workers get their own.
        out: a .parquet file for `image_id` and the columns of `calibration.apply` of all images,
            learned from all clicks.
        force: replace an earlier such file with other content.
        shown: False for no progress.

    Raises:
        DatasetError: not there or not whole, without clicks, or no click is on an image with boxes.
        OptionError, OutputError: `split` or `out` makes no sense, or `out` cannot be written.
    """
    verb = "luab-data calibrate"
    with new_table(out, verb=verb, first="image_id", formats=[".parquet"], force=force) as write:
        images = read_images(dataset)
        clicks = _all_clicks(dataset, images)
        if out is not None:
            write(apply(fit(clicks), images).select(["image_id", *ADDED]))
        return evaluate(clicks, split_by=split, shown=shown)


def _all_clicks(dataset: str | os.PathLike[str], images: pa.Table) -> pa.Table:
    """What is learned from: the images' clicks, or those of all views where every one counts."""
    folder = find_dataset(dataset)
    kind = kind_of(read_manifest(folder))
    if not kind.all_views_count:
        return images
    names = ("image_id", *COLUMNS)
    views = read_table(folder, kind.events.config, columns=[*of_rounds(names)])
    return views_as_images(views, read_table(folder, columns=[*OF_IMAGES]), names)


def read_images(dataset: str | os.PathLike[str]) -> pa.Table:
    """The columns of `default` that calibration needs.

    Args:
        dataset: a folder of a browsing log, or its name under $LUAB_DATA_HOME.

    Raises:
        DatasetError: not there or not whole, or a kind of log without final clicks.
    """
    folder = find_dataset(dataset)
    kind = kind_of(read_manifest(folder))
    if not set(COLUMNS) <= set(kind.images.schema().names):
        raise DatasetError(
            f"{folder}: holds {kind.title}, whose images have no final click; expected a browsing"
            " log, which has clicks"
        )
    return read_table(folder, columns=["image_id", *COLUMNS])


def fit(images: pa.Table) -> Calibration:
    """Learn from the final clicks on images with boxes.

    Args:
        images: rows of `default` of ImageNet-AB with COLUMNS; those without click, boxes or size
            are left out. Pass the images (or the workers) to learn from: a part of a table, say by
            `luab_data.splits`.

    Raises:
        DatasetError: a column is missing, or no click is on an image with boxes.
    """
    images, names, clicks = _taught(images, COLUMNS)
    return Calibration(
        worker_id=names,
        bias=fit_bias(clicks.offset, clicks.worker, len(names)),
        errors=fit_errors(behaviours(images), clicks.offset, clicks.worker, len(names)),
    )


def apply(calibration: Calibration, images: pa.Table) -> pa.Table:
    """Calibrated points and reliabilities of the final clicks; no boxes are needed.

    Args:
        calibration: of `fit`.
        images: rows of `default` of ImageNet-AB with APPLY_COLUMNS; further columns are kept.

    Returns: the table with three more columns, float64, null where final_click is null:
        calibrated_click_x, calibrated_click_y: the click less its worker's bias (the crowd's for
            workers the calibration does not know), in fractions of the picture. A point moves at
            most to the border; one that was logged outside is not moved farther out.
        click_reliability: weight in (0, 1] of the *click* as a sign of where the object's centre
            is, 1/2 for a typical one: 1 / (1 + expected squared error / typical one).

    Columns of these names are replaced.

    Raises:
        DatasetError: a column is missing.
    """
    check_columns(images, APPLY_COLUMNS)
    click = points(images)
    there = np.asarray(np.isfinite(click).all(axis=1))
    worker = codes(images["worker_id"], calibration.worker_id)
    point = moved(click, -calibration.bias.of(worker))
    error = calibration.errors.error(behaviours(images), worker)
    weight = calibration.errors.reliability(error)
    images = images.drop_columns([name for name in ADDED if name in images.column_names])
    for name, values in zip(ADDED, (point[:, 0], point[:, 1], weight), strict=True):
        images = images.append_column(name, nullable(values, there, pa.float64()))
    return images


def evaluate(
    images: pa.Table,
    *,
    split_by: SplitBy = "worker",
    seed: int = 0,
    shown: bool | None = None,
) -> HeldOut:
    """Calibrate each fifth of the clicks by the others, and compare with two baselines.

    With fewer than five workers (or images) there are as many folds as there are of these.

    Args:
        images: rows of `default` of ImageNet-AB with COLUMNS and `image_id`.
        split_by: `worker`: clicks of new workers, who get the crowd's bias. `image`: new images of
            known workers, who get their own.
        seed: who is in which fold, and the bootstrap; the order of rows does not matter.
        shown: False for no progress.

    Raises:
        DatasetError: a column is missing, no click is on an image with boxes, or they are of one
            worker (or image) only. OptionError: an unknown split.
    """
    if split_by not in get_args(SplitBy):
        raise OptionError(f"split_by {split_by!r}: expected {' or '.join(get_args(SplitBy))}")
    images, names, clicks = _taught(images, (*COLUMNS, "image_id"))
    fold = _deal(images[f"{split_by}_id"], seed, split_by)
    moved_points = cross_fit(clicks, behaviours(images), fold, len(names), shown=shown)
    width, height = floats(images["width"]), floats(images["height"])
    boxes, rows = boxes_of(images["boxes"])

    def holds(point: Floats) -> Floats:
        return in_any_box(point[:, 0], point[:, 1], width, height, boxes, rows).astype(np.float64)

    weights = draw_workers(len(names), seed=seed)
    values, changes = compare(moved_points, holds, weights)
    return HeldOut(
        split_by=split_by,
        folds=int(fold.max()) + 1,
        seed=seed,
        num_clicks=len(clicks),
        num_workers=len(names),
        values=values,
        changes=changes,
        ranking=rank_reliability(moved_points, holds(clicks.point), weights, seed=seed),
    )


def cross_fit(
    clicks: Clicks,
    behaviour: Floats,
    fold: Ints,
    num_workers: int,
    *,
    shown: bool | None = False,
) -> Points:
    """Move the clicks of each fold by what the other folds taught.

    Args:
        clicks: on images with boxes.
        behaviour: (num_clicks, num_behaviours) of reliability.behaviours.
        fold: (num_clicks,) from 0.
        shown: False for no progress.
    """
    arms = np.tile(clicks.point, (len(ARMS), 1, 1))
    expected, weight = np.full((2, len(clicks)), np.nan)
    for held in progress(np.unique(fold), what="calibrate", unit="fold", shown=shown):
        test = fold == held
        taught, seen = clicks.where(~test), clicks.where(test)
        bias = fit_bias(taught.offset, taught.worker, num_workers)
        arms[1, test] = moved(seen.point, -bias.of(seen.worker))
        arms[2, test] = moved(seen.point, -taught.offset.mean(axis=0))
        # The k of centre = c + k (click - c), c the picture's centre, by least squares.
        click, centre = taught.point - 0.5, taught.centre - 0.5
        squares = float((click**2).sum())
        pull = float((click * centre).sum()) / squares if squares else 1.0
        arms[3, test] = moved(seen.point, (pull - 1) * (seen.point - 0.5))
        model = fit_errors(behaviour[~test], taught.offset, taught.worker, num_workers)
        expected[test] = model.error(behaviour[test], seen.worker)
        weight[test] = model.reliability(expected[test])
    return Points(clicks=clicks, arms=arms, fold=fold, expected=expected, reliability=weight)


def _taught(images: pa.Table, columns: tuple[str, ...]) -> tuple[pa.Table, tuple[str, ...], Clicks]:
    """The images with a click and a box to compare it with, their workers, sorted, and clicks."""
    check_columns(images, columns)
    images = images.filter(images["final_click_x"].is_valid())
    row = boxed_clicks(images, np.zeros(len(images), np.int64)).row
    if not len(row):
        raise DatasetError(
            "no click is on an image with boxes, so there is nothing to learn from or to compare"
            " with; convert a log with boxes (own data: --boxes), or fit on another dataset"
        )
    images = images.take(pa.array(row))
    ids = pc.unique(images["worker_id"].cast(pa.string())).drop_null().to_pylist()
    names = tuple(sorted(name for name in ids if name))  # "" is nobody, like null
    return images, names, boxed_clicks(images, codes(images["worker_id"], names))


def _deal(ids: pa.ChunkedArray, seed: int, what: str) -> Ints:
    """(num_rows,) fold of each row: ids are dealt out evenly, whatever order they come in."""
    encoded = ids.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    if len(order) < 2:
        raise DatasetError(
            f"clicks on images with boxes are of {len(order)} {what}; expected at least 2, to hold"
            " some out"
        )
    of_id = np.empty(len(order), np.int64)
    of_id[order] = np.random.default_rng(seed).permutation(len(order)) % min(_FOLDS, len(order))
    fold: Ints = of_id[encoded.indices.to_numpy()]
    return fold


def codes(worker_id: ArrowColumn, names: tuple[str, ...]) -> Ints:
    """(num_rows,) place of each row's worker in `names`; NOBODY for null and unknown ones."""
    places = pc.index_in(worker_id.cast(pa.string()), value_set=pa.array(names, pa.string()))
    found: Ints = pc.fill_null(places, NOBODY).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def check_columns(images: pa.Table, names: tuple[str, ...]) -> None:
    """Raise DatasetError if the table lacks one of the columns."""
    missing = [name for name in names if name not in images.column_names]
    if missing:
        raise DatasetError(
            f"no column {missing[0]!r}; expected rows of `default` of ImageNet-AB with"
            f" {', '.join(names)}"
        )
