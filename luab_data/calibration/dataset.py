"""[I/O] Clicks with their systematic bias taken off, and how far each is to be trusted.

Learn from images with boxes, apply to any, and see on held-out clicks whether it helps:

    images = calibrate.read_images("imagenet-ab")
    print(calibrate.evaluate(images).words)
    images = calibrate.apply(calibrate.fit(images), images)

`click_reliability` is made to be the weight of a point in a training loss.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.calibration.click_bias import boxed_clicks
from luab_data.calibration.fitted import APPLY_COLUMNS as APPLY_COLUMNS
from luab_data.calibration.fitted import COLUMNS as COLUMNS
from luab_data.calibration.fitted import Calibration as Calibration
from luab_data.calibration.fitted import apply as apply
from luab_data.calibration.fitted import check_columns, codes
from luab_data.calibration.fitted import fit as fit
from luab_data.calibration.held_out import cross_fit, outcomes, ranking
from luab_data.calibration.held_out_report import HeldOut as HeldOut
from luab_data.calibration.reliability import behaviours
from luab_data.columns.regions import boxes_of, floats, in_any_box
from luab_data.errors import DatasetError, OptionError
from luab_data.exports.target import new_target
from luab_data.ragged import Floats, Ints
from luab_data.statistics.estimate import RESAMPLES
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset, read_table

SplitBy = Literal["worker", "image"]
_FOLDS = 5


def evaluate(
    images: pa.Table,
    *,
    split_by: SplitBy = "worker",
    folds: int | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> HeldOut:
    """Calibrate each fold of the clicks by the other folds, and compare with two baselines.

    Args:
        images: rows of `default` of ImageNet-AB with COLUMNS and `image_id`.
        split_by: `worker`: clicks of new workers, who get the crowd's bias. `image`: new images of
            known workers, who get their own.
        folds: at least 2, at most as many as there are workers (or images); None is 5, or as many
            as there are.
        seed: who is in which fold, and the bootstrap; the order of rows does not matter.
        resamples: of the bootstrap over workers.

    Raises:
        DatasetError: a column is missing, or no click is on an image with boxes.
        OptionError: an unknown split, or more folds than there is to deal.
    """
    if split_by not in get_args(SplitBy):
        raise OptionError(f"split_by {split_by!r}: expected {' or '.join(get_args(SplitBy))}")
    check_columns(images, (*COLUMNS, "image_id"))
    images = images.filter(images["final_click_x"].is_valid())
    boxed = boxed_clicks(images, np.zeros(len(images), np.int64)).row
    if not len(boxed):
        raise DatasetError(
            "no click is on an image with boxes, so there is nothing to compare with"
        )
    images = images.take(pa.array(boxed))
    fold = _deal(images[f"{split_by}_id"], folds, seed, split_by)
    folds = int(fold.max()) + 1
    names = tuple(pc.unique(images["worker_id"].cast(pa.string())).drop_null().sort().to_pylist())
    clicks = boxed_clicks(images, codes(images["worker_id"], names))
    points = cross_fit(clicks, behaviours(images), fold, len(names))
    width, height = floats(images["width"]), floats(images["height"])
    boxes, rows = boxes_of(images["boxes"])

    def holds(point: Floats) -> Floats:
        return in_any_box(point[:, 0], point[:, 1], width, height, boxes, rows).astype(np.float64)

    values, changes = outcomes(points, holds, resamples=resamples, seed=seed)
    return HeldOut(
        split_by=split_by,
        folds=folds,
        seed=seed,
        num_clicks=len(clicks),
        num_workers=len(names),
        values=values,
        changes=changes,
        ranking=ranking(points, holds(clicks.point), resamples=resamples, seed=seed),
    )


def _deal(ids: pa.ChunkedArray, asked: int | None, seed: int, what: str) -> Ints:
    """(num_rows,) fold of each row: ids are dealt out evenly, whatever order they come in."""
    encoded = ids.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    if len(order) < 2:
        raise DatasetError(
            f"clicks on images with boxes are of {len(order)} {what}; expected at least 2, to hold"
            " some out"
        )
    folds = min(_FOLDS, len(order)) if asked is None else asked
    if not 2 <= folds <= len(order):
        raise OptionError(f"folds {folds}: expected 2 to {len(order)}, the number of {what}s")
    of_id = np.empty(len(order), np.int64)
    of_id[order] = np.random.default_rng(seed).permutation(len(order)) % folds
    fold: Ints = of_id[encoded.indices.to_numpy()]
    return fold


def save(calibration: Calibration, out: str | os.PathLike[str]) -> None:
    """Write a calibration to a new JSON file, whole or not at all.

    It holds a few numbers a worker and the keyed hashes of worker ids, like `annotators`.

    Raises:
        OutputError: the file is there or cannot be written.
    """
    with new_target(Path(out)) as partial:
        partial.write_text(json.dumps(calibration.as_dict(), allow_nan=False), encoding="utf-8")


def load(path: str | os.PathLike[str]) -> Calibration:
    """Read what `save` wrote.

    Raises:
        DatasetError: not there, or no calibration.
    """
    try:
        return Calibration.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise DatasetError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # not text, not JSON, or a DatasetError of from_dict
        raise DatasetError(f"{os.fspath(path)}: {error}") from error


def read_images(dataset: str | os.PathLike[str]) -> pa.Table:
    """The columns of `default` that calibration needs.

    Args:
        dataset: a folder of ImageNet-AB, or its name under $LUAB_DATA_HOME.

    Raises:
        DatasetError: not there or not whole, or no ImageNet-AB.
    """
    folder = find_dataset(dataset)
    kind = read_manifest(folder)["dataset"]
    if kind != "imagenet-ab":
        raise DatasetError(f"{folder}: holds {kind!r}; expected 'imagenet-ab', which has clicks")
    return read_table(folder, columns=["image_id", *COLUMNS])


def points_of(images: pa.Table) -> pa.Table:
    """`image_id` and the columns that `apply` added: what is worth keeping in a file.

    Args:
        images: what `apply` returned, with `image_id`.
    """
    names = ["image_id", "calibrated_click_x", "calibrated_click_y", "click_reliability"]
    check_columns(images, tuple(names))
    return images.select(names)
