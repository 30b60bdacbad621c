"""[I/O] Raw log -> records -> derived columns -> dataset folder: start reading here.

One pass over the log, a batch of records at a time. Rounds (or actions) go straight to Parquet;
ImageNet's image rows wait in the staging folder, since `label` needs every class to be known.
Killed at any moment, the same command goes on after the last whole shard: see pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.columns import coco as coco_columns
from luab_data.columns import imagenet as imagenet_columns
from luab_data.columns.rounds import order_rounds
from luab_data.console import progress
from luab_data.errors import ArchiveError, ImagesError
from luab_data.forks import Forks, can_fork
from luab_data.job import Built, Converted, Here, Job, file_bar
from luab_data.pipeline import Batch, duplicate_error, in_order, num_threads
from luab_data.raw import imagenet_fast
from luab_data.raw.archive import MAX_MEMBER_BYTES, RUN_BYTES, Run, runs
from luab_data.raw.coco_batches import CocoBatch
from luab_data.raw.coco_batches import batches as coco_batches
from luab_data.raw.instances import TrueImage, read_instances
from luab_data.raw.policy import BadRecords, OnBad
from luab_data.raw.workers import WorkerHash, read_key
from luab_data.schema import (
    COCO_ACTIONS,
    COCO_ANNOTATORS,
    COCO_IMAGES,
    IMAGENET_ANNOTATORS,
    IMAGENET_IMAGES,
    IMAGENET_ROUNDS,
    Table,
)
from luab_data.store import folder as store
from luab_data.store.waiting import WaitingRows
from luab_data.workers.published import (
    click_facts,
    coco_annotators,
    icon_facts,
    imagenet_annotators,
    round_facts,
)


def convert_imagenet(
    source: Path,
    out: Path,
    *,
    on_bad: OnBad = "raise",
    worker_key: bytes | None = None,
    max_member_bytes: int = MAX_MEMBER_BYTES,
    fork: bool = False,
    shown: bool | None = None,
) -> Converted:
    """Convert the tar or tar.gz of ImageNet-AB's XML files to a dataset folder.

    Args:
        source: the archive; read once, nothing in it is written to disk under its own name.
        out: the dataset folder; replaced as a whole if luab wrote it.
        on_bad: `raise` at the first bad member, or `skip` and list them in `skipped.jsonl`.
        worker_key: secret that worker ids are hashed with; None takes read_key().
        max_member_bytes: a larger member is bad.
        fork: parse in forked processes instead of threads: faster, but only for a process that
            runs nothing else, like the command line. Ignored where forking is not safe.
        shown: progress bars; None shows them on a terminal.

    Raises:
        RecordError, ArchiveError, OutputError, OptionError: nothing was changed then.
    """
    hash_worker = WorkerHash(read_key() if worker_key is None else worker_key)
    work = partial(_imagenet_batch, hash_worker=hash_worker)

    def build(here: Here) -> Built:
        waiting = WaitingRows(here.folder)
        rounds_out = store.ShardWriter(here.folder, IMAGENET_ROUNDS)
        shards = here.build(waiting, rounds_out)
        found = _new_runs(runs(here.log, max_member_bytes=max_member_bytes), shards.next_place)
        batches = in_order(work, found, num_threads()) if forks is None else forks.in_order(found)
        with closing(waiting), shards:
            for batch in batches:
                shards.take(batch)
            shards.end()
        if forks is not None:
            forks.close()  # their memory is of no more use
        _check_some(source, shards.num_images, here.bad)
        rounds_out.close()
        wnids, images, clicks = _labelled(here.folder, waiting, shown)
        facts = _round_facts(here.folder)
        annotators = _write_annotators(
            here.folder, IMAGENET_ANNOTATORS, imagenet_annotators(facts, clicks)
        )
        return Built(shards, (images, rounds_out.shards, annotators), wnids)

    options = {"max_member_bytes": max_member_bytes, "run_bytes": RUN_BYTES}
    job = Job("imagenet-ab", source, out, on_bad, hash_worker, options, shown)
    with ExitStack() as stack:
        # Before the job opens anything: a child would hold its locks a moment longer than we do.
        forks = stack.enter_context(_forks(work, hash_worker)) if fork and can_fork() else None
        return job.run(build)


def _forks(work: Callable[[tuple[int, Run]], Batch], hash_worker: WorkerHash) -> Forks:
    """Processes that parse; what they learn of worker ids comes home."""

    def learn(only_release_ids: bool) -> None:
        hash_worker.only_release_ids &= only_release_ids

    return Forks(work, num_threads(), state=lambda: hash_worker.only_release_ids, on_state=learn)


def convert_coco(
    source: Path,
    out: Path,
    *,
    instances: Path | None = None,
    on_bad: OnBad = "raise",
    worker_key: bytes | None = None,
    shown: bool | None = None,
) -> Converted:
    """Convert the JSON (array or lines, plain or gzip) of COCO-AB to a dataset folder.

    Args:
        source, out, on_bad, worker_key, shown: as convert_imagenet. Broken JSON is never skipped:
            what follows it cannot be told apart.
        instances: COCO's instances_*.json of the images; without it `labels`, boxes and what is
            judged by masks are null and sizes are as logged. ImagesError if it has none of the
            images.
    """
    hash_worker = WorkerHash(read_key() if worker_key is None else worker_key)
    truth = _read_truth(instances, shown)
    given = _about_truth(instances)
    without_truth = 0

    def build(here: Here) -> Built:
        nonlocal without_truth
        images_out = store.ShardWriter(here.folder, COCO_IMAGES)
        actions_out = store.ShardWriter(here.folder, COCO_ACTIONS)
        shards = here.build(images_out, actions_out)
        found = coco_batches(here.log, hash_worker, skip=shards.next_place)
        with shards:
            for batch in in_order(partial(_coco_batch, truth=truth), found, num_threads()):
                shards.take(batch)
            shards.end()
        _check_some(source, shards.num_images, here.bad)
        images_out.close()
        actions_out.close()
        facts = [
            icon_facts(t) for t in store.read_columns(here.folder, COCO_IMAGES, list(_ICON_FACTS))
        ]
        if instances:
            without_truth = sum(
                t["labels"].null_count
                for t in store.read_columns(here.folder, COCO_IMAGES, ["labels"])
            )
            _check_truth(instances, source, without_truth, shards.num_images)
        annotators = _write_annotators(
            here.folder, COCO_ANNOTATORS, coco_annotators(pa.concat_tables(facts))
        )
        about = (
            {"instances": {**given["instances"], "num_images_missing": without_truth}}
            if instances
            else {}
        )
        return Built(shards, (images_out.shards, actions_out.shards, annotators), [], about)

    job = Job("coco-ab", source, out, on_bad, hash_worker, given, shown)
    return replace(job.run(build), num_without_truth=without_truth)


_ICON_FACTS = (
    *("worker_id", "hit_id", "time_spent_ms", "labels"),
    *("icon_label", "is_present_at_end", "is_on_object"),
)


def _new_runs(found: Iterable[Run], next_place: int) -> Iterator[tuple[int, Run]]:
    """Runs with the place of their first member, without what an earlier process did."""
    first = 0
    for run in found:
        after = first + len(run.names)
        if after > next_place:
            done = max(0, next_place - first)
            yield first + done, run.only(np.arange(done, len(run.names)))
        first = after


def _imagenet_batch(numbered: tuple[int, Run], *, hash_worker: WorkerHash) -> Batch:
    """Parse a run and derive its columns."""
    first, run = numbered
    read = imagenet_fast.read_run(run, hash_worker)
    errors, unknown = list(read.errors), read.unknown
    ids, places = read.batch.images["image_id"].to_pylist(), read.places
    if len(set(ids)) < len(ids):
        # Blocks of two members with one image would be taken for rounds of one record.
        _, once = np.unique(ids, return_index=True)
        for index in sorted(set(range(len(ids))) - set(once.tolist())):
            place = int(places[index])
            errors.append((place, duplicate_error(run.names[place], ids[index])))
        places = places[np.sort(once)]
        errors.sort(key=lambda entry: entry[0])
        read = imagenet_fast.read_run(run.only(places), hash_worker)
    images, blocks = read.batch
    rounds = order_rounds(images["image_id"], blocks)
    return Batch(
        images=imagenet_columns.image_table(images, rounds),
        rows=rounds.table,
        bounds=rounds.bounds,
        places=places + first,
        names=[run.names[i] for i in places.tolist()],
        errors=[(first + i, error) for i, error in errors],
        unknown=[(first + i, path) for i, path in unknown],
    )


def _labelled(
    folder: Path, waiting: WaitingRows, shown: bool | None
) -> tuple[list[str], list[store.Shard], pa.Table]:
    """Write the shards of `default` once all classes are known: wnids, shards, click_facts."""
    numbers = range(waiting.num_shards)
    tables = (table for k in numbers for table in waiting.read(k, ["wnid"]))
    wnids = sorted({wnid for table in tables for wnid in table["wnid"].unique().to_pylist()})

    def label(number: int) -> tuple[store.Shard, pa.Table]:
        writer = store.ShardWriter(folder, IMAGENET_IMAGES, first=number)
        facts = []
        for table in waiting.read(number):
            writer.write(imagenet_columns.with_labels(table, wnids))
            facts.append(click_facts(table))
        writer.end_shard()
        return writer.shards[0], pa.concat_tables(facts)

    done = list(in_order(label, progress(numbers, what="label", shown=shown), num_threads()))
    store.name_shards(folder / IMAGENET_IMAGES.folder)
    return wnids, [shard for shard, _ in done], pa.concat_tables([facts for _, facts in done])


_ROUND_FACTS = (
    *("worker_id", "assignment_id", "selected", "estimate_time_ms", "mouse_tracking_time_ms"),
)


def _round_facts(folder: Path) -> pa.Table:
    tables = store.read_columns(folder, IMAGENET_ROUNDS, list(_ROUND_FACTS))
    return pa.concat_tables([round_facts(table) for table in tables])


def _write_annotators(folder: Path, table: Table, rows: pa.Table) -> list[store.Shard]:
    writer = store.ShardWriter(folder, table)
    writer.write(rows)
    writer.close()
    return writer.shards


def _coco_batch(found: CocoBatch, *, truth: dict[int, TrueImage] | None) -> Batch:
    """Derive the columns of some records."""
    return Batch(
        images=coco_columns.image_table(found.table, truth),
        rows=found.table,
        bounds=np.arange(len(found.table) + 1),
        places=found.places,
        names=[f"record {place}" for place in found.places.tolist()],
        errors=found.errors,
        unknown=found.unknown,
    )


def _read_truth(instances: Path | None, shown: bool | None) -> dict[int, TrueImage] | None:
    if instances is None:
        return None
    with progress(**file_bar(instances, "instances"), shown=shown) as bar:
        return read_instances(instances, bar.update)


def _about_truth(instances: Path | None) -> dict[str, Any]:
    if instances is None:
        return {}
    return {"instances": {"name": instances.name, "sha256": store.sha256_of(instances)}}


def _check_truth(instances: Path, source: Path, num_missing: int, num_images: int) -> None:
    if num_missing == num_images:
        raise ImagesError(
            f"{instances}: has none of the {num_images} images of {source}; expected the instances"
            " file of these images, e.g. instances_train2014.json"
        )


def _check_some(source: Path, num_images: int, bad: BadRecords) -> None:
    if not num_images:
        raise ArchiveError(
            f"{source}: no usable record among {bad.total} ({dict(bad.tally)}); expected a log of"
            f" the release. The first: {bad.first or 'none'}"
        )
