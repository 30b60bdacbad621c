"""[I/O] A dataset folder -> its statistics."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from luab_data.errors import DatasetError
from luab_data.schema import DATASETS
from luab_data.statistics import counts as statistics
from luab_data.statistics.coco.browsing import BrowsingBatch
from luab_data.statistics.coco.icons import IconBatch, sequence_shares
from luab_data.statistics.coco.measures import COCO_MEASURES, coco_sources
from luab_data.statistics.estimate import RESAMPLES, Estimate
from luab_data.statistics.imagenet.clicks import ImageBatch
from luab_data.statistics.imagenet.measures import IMAGENET_MEASURES, imagenet_sources
from luab_data.statistics.imagenet.rounds import RoundBatch
from luab_data.statistics.measure import Batch, Measure, take
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset


def stats(dataset: str | os.PathLike[str]) -> statistics.Statistics:
    """The counts and fractions of a dataset, without intervals: quick.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.

    Returns: name -> count, fraction in [0, 1] or None where a group is empty; names as decided in
    docs/decisions.md, 3.
    """
    folder = find_dataset(dataset)
    if _kind(folder) == "imagenet-ab":
        wanted = statistics.IMAGENET_COLUMNS
        batches = (_batches(folder, config, names) for config, names in wanted.items())
        return statistics.imagenet_statistics(*batches)
    columns = statistics.COCO_COLUMNS["default"]
    return statistics.coco_statistics(_batches(folder, "default", columns))


def measures_of(dataset: str | os.PathLike[str]) -> tuple[Measure, ...]:
    """What `measured` takes of a dataset: names, meanings, definitions, nulls."""
    return _measures(_kind(find_dataset(dataset)))


def measured(
    dataset: str | os.PathLike[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Every statistic with its sample size, interval and null.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        resamples, seed: of the bootstrap over workers; equal ones give equal intervals.

    Returns: name -> estimate, in the order of `measures_of`. Batches are streamed; only a slim row
    of each picture shown is held.
    """
    folder = find_dataset(dataset)
    kind = _kind(folder)
    return take(_measures(kind), _sources(folder, kind), resamples=resamples, seed=seed)


def _kind(folder: Path) -> str:
    kind: str = read_manifest(folder)["dataset"]
    return kind


def sequences(
    dataset: str | os.PathLike[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> pa.Table:
    """How often each sequence of actions on an icon of COCO-AB occurs: see icons.sequence_shares.

    Raises:
        DatasetError: not a COCO-AB dataset.
    """
    folder = find_dataset(dataset)
    if _kind(folder) != "coco-ab":
        raise DatasetError(f"{folder}: holds {_kind(folder)}, which has no icons; expected coco-ab")
    batches = map(IconBatch, _batches(folder, "default", list(IconBatch.columns)))
    return sequence_shares(batches, resamples=resamples, seed=seed)


def _measures(kind: str) -> tuple[Measure, ...]:
    return IMAGENET_MEASURES if kind == "imagenet-ab" else COCO_MEASURES


def _sources(folder: Path, kind: str) -> Mapping[str, Iterable[Batch]]:
    if kind == "imagenet-ab":
        return imagenet_sources(
            _batches(folder, "default", list(ImageBatch.columns)),
            _batches(folder, "rounds", list(RoundBatch.columns)),
        )
    return coco_sources(
        _batches(folder, "default", list(IconBatch.columns)),
        _batches(folder, "actions", list(BrowsingBatch.columns)),
    )


def _batches(folder: Path, config: str, columns: list[str]) -> Iterator[pa.Table]:
    manifest = read_manifest(folder)
    missing = [name for name in columns if name not in manifest["schemas"][config]]
    if missing:
        raise DatasetError(
            f"{folder}: config {config!r} has no {', '.join(missing)}; an older luab wrote it:"
            " convert the raw log again, or run `luab-data derive` (COCO-AB: with --instances)"
        )
    table = next(t for t in DATASETS[manifest["dataset"]] if t.config == config)
    return read_columns(folder, table, columns)
