"""[I/O] The unit of work: shard k of `default` and shard k of `rounds` or `actions` -> shard k.

Both hold the same images in the same order, so a pair needs nothing else but the class names and,
for COCO, the ground truth. A job is plain data: threads of this machine share its shards, or, where
one machine is not enough (docs/engines.md), tasks of a Ray cluster (extra `[ray]`), with the same
result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data import errors
from luab_data.columns import imagenet, traced
from luab_data.columns.coco import HISTORY, Tagged, views_of
from luab_data.columns.ground_truth import Truth
from luab_data.columns.registry import (
    ACTIONS,
    COCO,
    IMAGENET,
    OWN,
    OWN_BROWSING,
    OWN_ROUNDS,
    OWN_VIEWS,
    ROUNDS,
    Registry,
)
from luab_data.columns.rounds import ORDERED_BY, Deciding, cut, order_rounds
from luab_data.console import install_command, progress
from luab_data.derivation.places import Place, place
from luab_data.errors import DatasetError, LuabError, OptionError
from luab_data.pipeline import in_order, num_threads
from luab_data.ragged import bounds_of, one_array
from luab_data.schema import Table
from luab_data.store.shards import Shard, ShardWriter

if TYPE_CHECKING:
    from luab_data.kinds import OwnBrowsing, OwnTagging, Tagging

Engine = Literal["local", "ray"]

_IMAGES_AT_ONCE = 4096
"""Small enough for a processor's cache, large enough that whole-array arithmetic pays."""

Given = Iterator[tuple[pa.Table, Mapping[str, Any]]]
"""Some images at a time, and what the registry wants to know of them."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to derive, from where, to where.

    Args:
        source: the folder to read.
        target: the folder to write `default` in; every machine has to reach both.
        images: the table `default` as it will be, optional columns included.
        events: the table of the log.
        derivation: of the kind.
        names: derived columns to recompute or add.
        classes: class names of `label`.
        num_shards: pairs of shards.
    """

    source: Place
    target: Place
    images: Table
    events: Table
    derivation: Derivation
    names: tuple[str, ...]
    classes: tuple[str, ...]
    num_shards: int

    def file(self, table: Table, number: int) -> str:
        """Name of a shard in the folder."""
        return f"{table.folder}/train-{number:05d}-of-{self.num_shards:05d}.parquet"

    def read(self, where: Place, table: Table, columns: list[str]) -> Iterator[pa.Table]:
        """Some columns of a config, a shard at a time."""
        for number in range(self.num_shards):
            yield where.read_table(self.file(table, number), columns)


class Derivation(NamedTuple):
    """What a kind of log has for this stage.

    Args:
        registry: its derived columns of `default`.
        events: those of the table of the log, made when it is converted.
        reads: columns of the log that put its rows in order.
        parts: (job, images, events, truth) -> the registry's sources, some images at a time;
            LookupError if the events are not those of the images.
        deciding: which of several records of an image counts.
    """

    registry: Registry
    events: Registry
    reads: tuple[str, ...]
    parts: Callable[[Job, pa.Table, pa.Table, Truth | None], Given]
    deciding: Deciding = "any"


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
    with tempfile.TemporaryDirectory() as temporary:
        # Each shard has a number of its own, so no two writers name one file.
        folder = job.target.local or Path(temporary)
        writer = ShardWriter(folder, job.images, first=number)
        for piece in _derived(job, number, truth):
            writer.write(piece)
        path, name = writer.end_shard(), job.file(job.images, number)
        if job.target.local:
            path = path.rename(job.target.local / name)
        here = place(path.parent.parent)
        digest = here.copy_to(f"{job.images.folder}/{path.name}", job.target, name)
    return Written(number, writer.shards[0], digest)


def _derived(job: Job, number: int, truth: Truth | None) -> Iterator[pa.Table]:
    """The rows of the new shard, some images at a time."""
    table, registry = job.images, job.derivation.registry
    raw = [column.name for column in table.columns if column.raw]
    kept = [c.name for c in table.columns if c.name not in job.names and c.name not in raw]
    fields = [table[name].field for name in (*raw, *kept)]
    images = job.source.read_table(job.file(table, number), [field.name for field in fields])
    # Parquet names the elements of a list otherwise; types have to be the schema's own.
    images = images.cast(pa.schema(fields))
    sources = [source.partition(".") for source in registry.sources(job.names)]
    read = {name for where, _, name in sources if where != "raw" and name}
    read.update(job.derivation.reads)
    wanted = [c.name for c in job.events.columns if c.name in read and c.name != "round"]
    events = job.source.read_table(job.file(job.events, number), wanted)
    where = job.source.at(job.file(table, number))
    try:
        for piece, given in job.derivation.parts(job, images, events, truth):
            columns = dict(zip(piece.column_names, piece.columns, strict=True))
            published = {name: columns[name] for name in kept}
            columns.update(registry.compute(job.names, {**given, **published}))
            _check_parallel(columns, kept, where)
            yield pa.table([columns[c.name] for c in table.columns], table.schema())
    except LookupError as error:
        raise DatasetError(
            f"{where}: its images are not those of the shard of the same number beside it; convert"
            " the raw log again or copy the folder again"
        ) from error


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


# --- on this machine, or on a cluster ------------------------------------------------------------


def derive_shards(
    job: Job, truth: Truth | None, engine: Engine, shown: bool | None
) -> list[Written]:
    """Derive every shard, on the threads of this machine or on a Ray cluster; in order."""
    if engine == "ray":
        done = _derived_on_ray(job, truth)
    else:
        numbers = range(job.num_shards)
        done = in_order(lambda number: derive_shard(job, number, truth), numbers, num_threads())
    bar = progress(done, what="derive", total=job.num_shards, unit="shard", shown=shown)
    return sorted(bar, key=lambda written: written.number)


def _derived_on_ray(job: Job, truth: Truth | None) -> Iterator[Written]:
    """Derive every shard of a job, in any order.

    Raises:
        OptionError: Ray is not installed.
    """
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise OptionError(
            f"--engine ray needs Ray, which is not installed ({error}):"
            f" {install_command('ray')}, or leave --engine out"
        ) from None
    with _cluster(ray):
        task = ray.remote(_answer)
        shared = ray.put(truth)  # sent once to a machine, not once for each shard
        waiting = [task.remote(job, number, shared) for number in range(job.num_shards)]
        while waiting:
            (done,), waiting = ray.wait(waiting, num_returns=1)
            found = ray.get(done)
            if isinstance(found, Written):
                yield found
            else:
                raise getattr(errors, found[0], LuabError)(found[1])


def _answer(job: Job, number: int, truth: Truth | None) -> Written | tuple[str, str]:
    """What was written, or the name and words of our error: no crash that Ray would try again."""
    try:
        return derive_shard(job, number, truth)
    except LuabError as error:
        return type(error).__name__, str(error)


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """The cluster this process is in, else the one of $RAY_ADDRESS, else one of this machine."""
    if ray.is_initialized():
        yield
        return
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


# --- the kinds ------------------------------------------------------------------------------------


def _browsing_parts(job: Job, images: pa.Table, blocks: pa.Table, truth: Truth | None) -> Given:
    if pc.index_in(blocks["image_id"], value_set=one_array(images["image_id"])).null_count:
        raise LookupError
    rounds = order_rounds(images["image_id"], blocks, job.derivation.deciding)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        piece = images.slice(start, _IMAGES_AT_ONCE)
        own = cut(rounds, start, start + len(piece))
        yield (
            piece,
            {
                **imagenet.sources(piece, own, job.names, job.derivation.registry),
                "wnids": job.classes,
            },
        )


def _tagging_parts(
    tagged: Tagged, job: Job, images: pa.Table, actions: pa.Table, truth: Truth | None
) -> Given:
    bounds = views_of(images, actions)
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        piece = images.slice(start, _IMAGES_AT_ONCE)
        own = bounds[start : start + len(piece) + 1]
        rows = actions.slice(own[0], own[-1] - own[0])
        yield piece, tagged.sources(rows, own - own[0], truth, job.names)


def _tracing_parts(job: Job, images: pa.Table, traces: pa.Table, truth: Truth | None) -> Given:
    key = ["image_id", "view"]
    if not images.select(key).equals(traces.select(key)):
        raise LookupError
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        rows = traces.slice(start, _IMAGES_AT_ONCE)
        yield images.slice(start, _IMAGES_AT_ONCE), traced.TRACING.logged(job.names, rows)


BROWSING = Derivation(IMAGENET, ROUNDS, ORDERED_BY, _browsing_parts)
TRACING = Derivation(traced.TRACING, traced.TRACES, ("image_id", "view"), _tracing_parts)


def own_browsing(kind: OwnBrowsing) -> Derivation:
    """Of a browsing log of somebody's own."""
    return Derivation(OWN_BROWSING, OWN_ROUNDS, ORDERED_BY, _browsing_parts, kind.deciding)


def tagging(kind: Tagging) -> Derivation:
    """Of COCO-AB: an image has one view."""
    tagged = Tagged(COCO, kind.vocabulary.names)
    return Derivation(COCO, ACTIONS, ("image_id",), partial(_tagging_parts, tagged))


def own_tagging(kind: OwnTagging) -> Derivation:
    """Of a tagging log of somebody's own."""
    tagged = Tagged(OWN, kind.vocabulary.names, kind.deciding)
    return Derivation(OWN, OWN_VIEWS, ("image_id", *HISTORY), partial(_tagging_parts, tagged))
