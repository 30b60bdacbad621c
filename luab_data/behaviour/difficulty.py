"""[I/O] `luab-data difficulty`: do people take longer over what a model finds hard?

Within a person and a class: a slow person and a class of large pictures are no difficulty of an
image. Source: docs/definitions.md#difficulty.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.attention.points import image_keys
from luab_data.behaviour.views import MEASURES, views_of
from luab_data.errors import OptionError
from luab_data.join import under_own_ids
from luab_data.join.sources import Images, Rows, dataset_rows
from luab_data.kinds import kind_of
from luab_data.ragged import Floats, Ints, floats, one_array
from luab_data.results import Tabular, new_table
from luab_data.statistics.estimate import (
    NUMBERS,
    Estimate,
    Terms,
    Workers,
    WorkerSums,
    draw_workers,
)
from luab_data.store.find import imagenet_ids
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import counted

_VERB = "luab-data difficulty"
_LOSSES = {"loss": 1.0, "label_log_probability": -1.0}
"""Columns that say how hard an image was -> times what that is a loss; the first that is there."""
_SWEEPS = 30


@dataclass(frozen=True, eq=False)
class Difficulty(Tabular):
    """How what people do goes with a model's loss.

    Attributes:
        estimates: measure -> rank correlation with the loss, within worker and class; the interval
            is over workers, the null 0.
        num_views: views of an image with a loss.
        num_without_loss: views of others, left out.
    """

    estimates: dict[str, Estimate]
    num_views: int
    num_without_loss: int

    def __repr__(self) -> str:
        return f"<Difficulty of {counted(self.num_views, 'view')}>"

    def to_table(self) -> pa.Table:
        """A row a measure."""
        rows = [
            {"measure": name, "title": MEASURES[name],
             **{key: float(getattr(estimate, key)) for key in NUMBERS}}
            for name, estimate in self.estimates.items()
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows)
        for key in NUMBERS:
            values = pa.array(table[key].to_pylist(), from_pandas=True)
            table = table.set_column(table.column_names.index(key), key, values)
        return table


def difficulty(
    dataset: str | os.PathLike[str],
    losses: str | os.PathLike[str] | pa.Table,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Difficulty:
    """Rank correlation of what people did with a model's loss, within worker and class.

    Args:
        dataset: folder or name, of any kind.
        losses: `image_id` and `loss` of images, a .csv or .parquet or an Arrow table; or what
            `luab-train eval` stores of a benchmark, whose `label_log_probability` is taken.
        seed: of the bootstrap over workers.
        out: a .csv, .json or .parquet file to write the table to.
        force: replace an earlier one.

    Raises:
        DatasetError: not a dataset.
        OptionError: no such columns, or no image of the dataset has a loss.
        OutputError: of the file.
    """
    folder = find_dataset(dataset)
    with new_table(out, verb=_VERB, first="measure", force=force) as write:
        known = read_losses(losses, dataset_rows(folder))
        views = views_of(folder, kind_of(read_manifest(folder)))
        keys = image_keys(pa.chunked_array([views["image_id"].combine_chunks()])).to_pylist()
        loss = np.array([known.get(key, np.nan) for key in keys])
        there = np.isfinite(loss)
        if not there.any():
            raise OptionError(
                f"{losses}: has a loss of no image of {folder}; its ids are, e.g.,"
                f" {', '.join(sorted(known)[:2]) or 'none'}, those of the dataset {keys[0]!r}"
            )
        views, loss = views.filter(pa.array(there)), loss[there]
        found = Difficulty(
            {name: _estimate(views, name, loss, seed) for name in MEASURES},
            int(there.sum()),
            int((~there).sum()),
        )
        write(found.to_table())
    return found


def read_losses(losses: str | os.PathLike[str] | pa.Table, rows: Rows) -> dict[str, float]:
    """Key of an image -> its loss; images may be called by their ids or by paths of their files,
    which are found as join_images finds pictures.

    Args:
        losses: see difficulty; rows: of the dataset.

    Raises:
        OptionError: cannot be read, lacks the columns, or has two losses of one image.
    """
    table = losses if isinstance(losses, pa.Table) else _read(Path(losses))
    where = "the table" if isinstance(losses, pa.Table) else os.fspath(losses)
    column = next((name for name in _LOSSES if name in table.column_names), None)
    if column is None or "image_id" not in table.column_names:
        raise OptionError(
            f"{where}: has {', '.join(table.column_names) or 'no columns'}; expected `image_id` and"
            f" {' or '.join(f'`{name}`' for name in _LOSSES)}"
        )
    names = one_array(pc.cast(table["image_id"], pa.string()))
    images = Images(name=where, ids=imagenet_ids(names), places=names, root=Path())
    images = under_own_ids(replace(rows, ids=rows.ids.cast(pa.string())), images)
    keys_of: dict[str, list[str]] = {}
    keys = image_keys(pa.chunked_array([images.ids])).to_pylist()
    for name, key in zip(images.places.to_pylist(), keys, strict=True):
        keys_of.setdefault(name, []).append(key)
    found: dict[str, tuple[str, float]] = {}
    for name, loss in zip(names.to_pylist(), floats(table[column]) * _LOSSES[column], strict=True):
        for key in keys_of[name]:
            other, earlier = found.setdefault(key, (name, float(loss)))
            if earlier != loss:
                raise OptionError(
                    f"{where}: {other!r} and {name!r} both may be image {key!r}, and have two"
                    f" `{column}`; expected one row an image, called by its id in the dataset"
                )
    return {key: loss for key, (_, loss) in found.items()}


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(path)
        from pyarrow import csv

        return csv.read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise OptionError(
            f"{path}: cannot be read ({error}); expected a .csv or .parquet file"
        ) from error


def _estimate(views: pa.Table, name: str, loss: Floats, seed: int) -> Estimate:
    """Correlation of ranks of a measure and of the loss, both less what worker and class say."""
    from scipy.stats import rankdata

    measure = floats(views[name])
    there = np.isfinite(measure)
    some = views.filter(pa.array(there))
    workers = Workers()
    worker = workers.codes(some["worker_id"])
    groups = [worker + 1, _codes(some["class"])]
    x, y = (_residual(rankdata(v[there]), groups) for v in (measure, loss))
    rows = np.arange(len(x))
    sums = WorkerSums(3)
    for cell, part in enumerate((x * y, x * x, y * y)):
        sums.add(Terms(rows, part, np.ones(len(x)), np.full(len(x), cell)), worker)
    return sums.estimate(
        draw_workers(len(workers), seed=seed), finish=_correlation, null=0.0,
        n=np.array(float(len(x))),
    )  # fmt: skip


def _codes(names: pa.ChunkedArray) -> Ints:
    codes = one_array(names).dictionary_encode()
    return np.asarray(pc.fill_null(codes.indices, len(codes.dictionary))).astype(np.int64)


def _residual(values: Floats, groups: Sequence[Ints]) -> Floats:
    """Values less effects of each grouping, by taking off the means of one after the other."""
    left = values - values.mean() if len(values) else values
    for _ in range(_SWEEPS if len(values) else 0):
        before = left
        for group in groups:
            size = np.bincount(group)
            left = left - (np.bincount(group, left) / np.maximum(size, 1))[group]
        if np.abs(left - before).max() < 1e-9 * len(values):
            break
    return left


def _correlation(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(part[..., 1] * part[..., 2])
        return np.asarray(part[..., 0] / np.where(spread > 1e-9, spread, np.nan))
