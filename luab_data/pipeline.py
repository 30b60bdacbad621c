"""[I/O] From a piece of a log to a batch of images, from batches in the order of the log to shards.

Shared by both converters. A batch holds some images in the order of the log, the rows of both
configs, and what was wrong: what one thread or process makes at a time. Threads may make batches in
any order; `in_order` gives them back in theirs. `write_shards` applies the policy for bad records,
drops duplicates and cuts shards that hold the same images in both configs.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.batches import Batch as Batch
from luab_data.batches import TimesShown, duplicate_error, own_ids, with_ids
from luab_data.columns import imagenet as imagenet_columns
from luab_data.columns.coco import Tagged
from luab_data.columns.registry import ROUNDS, with_derived
from luab_data.columns.rounds import order_rounds
from luab_data.kinds import TAGGING, Kind, Tagging
from luab_data.ragged import Ints, one_array
from luab_data.raw import coco_fast, imagenet_fast, tar
from luab_data.raw.bad_records import BadRecords, SeenIds
from luab_data.raw.private import Private
from luab_data.raw.worker_ids import WorkerHash
from luab_data.store.shards import ShardWriter, Unlabelled, begins
from luab_data.truth import Instances

T = TypeVar("T")
R = TypeVar("R")

MAX_THREADS = 4
"""One reader keeps up with about this many."""

MAX_WRITES = 2
"""Batches that wait for the thread that encodes Parquet."""


def num_threads() -> int:
    """Processors this process may use, at most MAX_THREADS."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, MAX_THREADS)


def in_order(
    work: Callable[[T], R], items: Iterable[T], workers: int, pool: Executor | None = None
) -> Iterator[R]:
    """map() with threads: results in the order of the items, few of them ahead of the reader.

    If `items` raises, the results of the items before come first.

    Args:
        work: an item -> its result.
        items: taken one by one, in this thread.
        workers: threads, or processes of the pool.
        pool: who does the work in the place of threads; stays open.
    """
    source = iter(items)
    waiting: deque[Future[R]] = deque()
    with nullcontext(pool) if pool else ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                try:
                    item = next(source)
                except StopIteration:
                    break
                except Exception:
                    while waiting:
                        yield waiting.popleft().result()
                    raise
                waiting.append(pool.submit(work, item))
                del item  # a run is large: only its worker holds it
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Written(NamedTuple):
    """What write_shards saw go by."""

    num_images: int
    unknown: dict[str, int]  # what the schema does not know -> occurrences, by name
    repaired: dict[str, int]  # id of REPAIRS -> values that were read as they were meant
    private: dict[str, int]  # column -> values that would tell who an annotator is
    hashed: dict[str, int]  # likewise, those that a hash took the place of


def write_shards(
    kind: Kind,
    batches: Iterable[Batch],
    images: ShardWriter | Unlabelled,
    events: ShardWriter,
    bad: BadRecords,
) -> Written:
    """Write batches as shards of two configs that hold the same images.

    A thread of its own does the writing, so that reading goes on meanwhile; nothing is written any
    more once this has returned or raised.

    Args:
        kind: says how many images a shard has at least; it ends where one begins after that (see
            begins), so that images inserted in a log move the ends of few shards. The last one may
            have fewer.
        batches: in the order of the log; of two records of one image the first holds, or each is
            a view of its own, as the kind has it.
        images, events: writers of the two configs.
        bad: the policy, applied in the order of the log.
    """
    least, every = kind.images_per_shard, max(kind.images_per_shard // 8, 1)
    seen, shown, num_images, in_shard = SeenIds(), TimesShown(), 0, 0
    unknown, repaired = Counter[str](), Counter[str]()
    private, hashed = Counter[str](), Counter[str]()
    writes: deque[Future[None]] = deque()

    def write(some_images: pa.Table, some_events: pa.Table, is_last: bool) -> None:
        images.write(some_images)
        events.write(some_events)
        if is_last:
            images.end_shard()
            events.end_shard()

    with ThreadPoolExecutor(1) as thread:
        try:
            for batch in batches:
                batch = batch.numbered(shown) if kind.has_view_rows else batch.distinct(seen)
                for _, error in batch.errors:
                    bad(error)
                unknown.update(batch.unknown)
                repaired.update(batch.repaired)
                private.update(batch.private)
                hashed.update(batch.hashed)
                places = np.flatnonzero(begins(batch.images["image_id"], every))
                first, end = 0, len(batch.images)
                num_images += end
                while first < end:
                    later = places[np.searchsorted(places, first + least - in_shard) :]
                    last = int(later[0]) if len(later) else end
                    in_shard = 0 if len(later) else in_shard + last - first
                    some = batch.slice(first, last - first)
                    writes.append(thread.submit(write, *some, bool(len(later))))
                    while len(writes) > MAX_WRITES:
                        writes.popleft().result()  # raises what a write raised
                    first = last
            while writes:
                writes.popleft().result()
        finally:
            for future in writes:
                future.cancel()
    if in_shard:
        images.end_shard()
        events.end_shard()
    tallies = (dict(sorted(tally.items())) for tally in (repaired, private, hashed))
    return Written(num_images, _most_common(unknown), *tallies)


_MAX_UNKNOWN = 100


def _most_common(unknown: Counter[str]) -> dict[str, int]:
    """The counts, sorted by name; names that are made up record by record as one."""
    kept = unknown.most_common(_MAX_UNKNOWN)
    others = unknown.total() - sum(count for _, count in kept)
    return {**dict(sorted(kept)), **({"others": others} if others else {})}


# --- a batch --------------------------------------------------------------------------------------


def imagenet_batch(run: tar.Run, *, hash_worker: WorkerHash, private: Private = "keep") -> Batch:
    """Parse a run and derive its columns."""
    read = imagenet_fast.read_run(run, hash_worker)
    errors, unknown = list(read.errors), read.unknown
    ids = one_array(read.batch.images["image_id"])
    is_new = np.ones(len(ids), np.bool_)
    if pc.count_distinct(ids).as_py() < len(ids):
        ids, is_new = own_ids(read.batch.images, SeenIds())
    places = read.places[is_new]
    if not is_new.all():
        # Blocks of two members with one image would be taken for rounds of one record.
        names = read.batch.images["image_id"].filter(pa.array(~is_new)).to_pylist()
        for place, name in zip(read.places[~is_new].tolist(), names, strict=True):
            errors.append((place, duplicate_error(run.names[place], name)))
        errors.sort(key=lambda entry: entry[0])
        read = imagenet_fast.read_run(run.only(places), hash_worker)
    images, blocks = with_ids(*read.batch, ids)
    rounds = order_rounds(images["image_id"], with_derived(blocks, ROUNDS))
    return Batch(
        images=imagenet_columns.image_table(images, rounds),
        events=rounds.table,
        bounds=rounds.bounds,
        places=places,
        names=[run.names[i] for i in places.tolist()],
        errors=errors,
        unknown=[path for _, path in unknown],
        repaired=Counter(repair for _, repair in read.repaired),
    ).screened(hash_worker, private)


def tagging_batch(kind: Tagging, actions: pa.Table, bounds: Ints, truth: Instances | None) -> Batch:
    """Derive the columns of some images of a tagging log.

    Args:
        kind: of the dataset to be (kinds.kind_of of its manifest): it has the vocabulary and the
            rule for which view decides.
        actions: (num_views,) the raw columns of `kind.events`, beside them `view` if it has it;
            the views of an image stand side by side, in the order they were made in.
        bounds: (num_images + 1,) image i has the views bounds[i]:bounds[i + 1], one or more.
        truth: the instances file, read with the vocabulary, or None when there is none.

    Returns: a batch whose places count its images, and that has no names and no errors yet.
    """
    derivation = kind.derivation
    tagged = Tagged(derivation.registry, kind.vocabulary.names, kind.deciding)
    places = np.arange(len(bounds) - 1)
    return Batch(
        images=tagged.image_table(actions, bounds, truth),
        events=with_derived(actions, derivation.events),
        bounds=bounds,
        places=places,
        names=[f"image {place}" for place in places.tolist()],
        errors=[],
        unknown=[],
        repaired={},
    )


def coco_batch(
    found: coco_fast.CocoBatch,
    *,
    truth: Instances | None,
    hash_worker: WorkerHash,
    private: Private = "keep",
) -> Batch:
    """Derive the columns of some records."""
    batch = tagging_batch(TAGGING, found.table, np.arange(len(found.table) + 1), truth)
    return batch._replace(
        places=found.places,
        names=[f"record {place}" for place in found.places.tolist()],
        errors=found.errors,
        unknown=[key for _, key in found.unknown],
        repaired=found.repaired,
    ).screened(hash_worker, private)
