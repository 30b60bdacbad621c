"""[I/O] The unit of work: shard k of `default` and shard k of `rounds` or `actions` -> shard k.

Both hold the same images in the same order, so a pair needs nothing else but the class names and,
for COCO, the ground truth. A job is plain data: it can be sent to another machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns import coco, imagenet
from luab_data.columns.icons import Truth
from luab_data.columns.registry import REGISTRIES
from luab_data.columns.rounds import ORDERED_BY, cut, order_rounds
from luab_data.derivation.places import Place
from luab_data.errors import DatasetError
from luab_data.files import sha256_of
from luab_data.kinds import tables_of
from luab_data.ragged import bounds_of, one_array
from luab_data.schema import Table
from luab_data.store.shards import Shard, ShardWriter

_IMAGES_AT_ONCE = 4096
"""Small enough for a processor's cache, large enough that whole-array arithmetic pays."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to derive, from where, to where.

    Args:
        dataset: its name.
        source: the folder to read.
        target: the folder to write `default` in; every machine has to reach both.
        names: derived columns to recompute or add.
        optional: optional columns of the result, old ones included.
        classes: class names of `label`.
        num_shards: pairs of shards.
    """

    dataset: str
    source: Place
    target: Place
    names: tuple[str, ...]
    optional: tuple[str, ...]
    classes: tuple[str, ...]
    num_shards: int

    @property
    def tables(self) -> tuple[Table, Table]:
        """`default` as it will be, and the table of the log."""
        default, log, _ = tables_of({"dataset": self.dataset})
        return default.having(self.optional), log

    def file(self, table: Table, number: int) -> str:
        """Name of a shard in the folder."""
        return f"{table.folder}/train-{number:05d}-of-{self.num_shards:05d}.parquet"


@dataclass(frozen=True)
class Written:
    """A shard of `default` that is in its place."""

    number: int
    shard: Shard
    sha256: str


def derive_shard(job: Job, number: int, truth: Truth | None) -> Written:
    """Read a pair of shards, derive, write the shard of `default`.

    Args:
        truth: the instances file; None if no column of the job needs it.

    Raises:
        DatasetError: the pair is damaged or its shards do not hold the same images.
    """
    table, _ = job.tables
    pieces = _derived(job, number, truth)
    if job.target.local:
        # Each shard has a number of its own, so no two writers name one file.
        writer = ShardWriter(job.target.local, table, first=number)
        return _write(writer, pieces, job, number)
    with tempfile.TemporaryDirectory() as folder:
        return _write(ShardWriter(Path(folder), table, first=number), pieces, job, number)


def _write(writer: ShardWriter, pieces: Iterator[pa.Table], job: Job, number: int) -> Written:
    for piece in pieces:
        writer.write(piece)
    path = writer.end_shard()
    name = job.file(job.tables[0], number)
    digest = sha256_of(path)
    if job.target.local:
        path.rename(job.target.local / name)
    else:
        job.target.put(path, name)
    return Written(number, writer.shards[0], digest)


def _derived(job: Job, number: int, truth: Truth | None) -> Iterator[pa.Table]:
    """The rows of the new shard, some images at a time."""
    table, log = job.tables
    registry = REGISTRIES[job.dataset]
    raw = [column.name for column in table.columns if column.raw]
    kept = [c.name for c in table.columns if c.name not in job.names and c.name not in raw]
    fields = [table[name].field() for name in (*raw, *kept)]
    images = job.source.read_table(job.file(table, number), [field.name for field in fields])
    # Parquet names the elements of a list otherwise; types have to be the schema's own.
    images = images.cast(pa.schema(fields))
    sources = [source.partition(".") for source in registry.sources(job.names)]
    read = {name for where, _, name in sources if where in ("round", "rounds", "actions")}
    read |= set(ORDERED_BY) if job.dataset == "imagenet-ab" else {"image_id"}
    wanted = [c.name for c in log.columns if c.name in read and c.name != "round"]
    rows = job.source.read_table(job.file(log, number), wanted)
    where = job.source.at(job.file(table, number))
    pieces = _imagenet_given if job.dataset == "imagenet-ab" else _coco_given
    for piece, given in pieces(job, images, rows, truth, where):
        columns = dict(zip(piece.column_names, piece.columns, strict=True))
        published = {name: columns[name] for name in kept}
        columns.update(registry.compute(job.names, {**given, **published}))
        _check_parallel(columns, kept, where)
        yield pa.table([columns[c.name] for c in table.columns], table.schema())


Given = Iterator[tuple[pa.Table, Mapping[str, Any]]]
"""Some images at a time, and what the registry wants to know of them."""


def _imagenet_given(
    job: Job, images: pa.Table, blocks: pa.Table, truth: Truth | None, where: str
) -> Given:
    if pc.index_in(blocks["image_id"], value_set=one_array(images["image_id"])).null_count:
        raise _apart(where)
    rounds = order_rounds(images["image_id"], blocks)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        piece = images.slice(start, _IMAGES_AT_ONCE)
        own = cut(rounds, start, start + len(piece))
        yield piece, {**imagenet.sources(piece, own, job.names), "wnids": job.classes}


def _coco_given(
    job: Job, images: pa.Table, actions: pa.Table, truth: Truth | None, where: str
) -> Given:
    if not images["image_id"].equals(actions["image_id"]):
        raise _apart(where)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        rows = actions.slice(start, _IMAGES_AT_ONCE)
        yield images.slice(start, _IMAGES_AT_ONCE), coco.sources(rows, truth, job.names)


def _apart(where: str) -> DatasetError:
    return DatasetError(
        f"{where}: its images are not those of the shard of the same number beside it; convert the"
        " raw log again or copy the folder again"
    )


def _check_parallel(columns: Mapping[str, Any], kept: list[str], where: str) -> None:
    """A column of icons that is kept has to fit those that are computed anew."""
    for name in ("is_on_object", "is_last_add_on_object", "num_adds_on_object"):
        if name not in kept:
            continue
        if not np.array_equal(bounds_of(columns[name]), bounds_of(columns["icon_label"])):
            raise DatasetError(
                f"{where}: `{name}` does not have an entry for each icon; it can be derived"
                " again from the instances file: --instances FILE"
            )
