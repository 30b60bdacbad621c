"""[I/O] Raw log -> records -> derived columns -> dataset folder: start reading here.

One pass over the log, a batch of records at a time. Rounds (or actions) go straight to Parquet;
ImageNet's image rows wait in the staging folder, since `label` needs every class to be known.
Killed at any moment, the old folder is whole; the next conversion begins anew.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from luab_data import pipeline
from luab_data.conversion import (
    AnyPath,
    Converted,
    Job,
    check_some,
    converted,
    label_shards,
    opened,
    read_truth,
    seal,
    write_annotators,
)
from luab_data.errors import ArchiveError
from luab_data.files import new_folder
from luab_data.forks import Forks, can_fork
from luab_data.hub.card import about_instances
from luab_data.kinds import BROWSING, TAGGING
from luab_data.pipeline import in_order, num_threads
from luab_data.raw import coco_fast, tar
from luab_data.raw.bad_records import BadRecords, OnBad
from luab_data.raw.private import Private, said
from luab_data.raw.source import Source
from luab_data.raw.worker_ids import WorkerHash, read_key
from luab_data.simulate import is_simulated
from luab_data.store.folder import SKIPPED, read_columns, read_manifest
from luab_data.store.shards import ShardWriter, Unlabelled


def convert_imagenet(
    source: AnyPath,
    out: AnyPath,
    *,
    on_bad: OnBad = "raise",
    worker_key: bytes | None = None,
    private: Private = "keep",
    force: bool = False,
    max_member_bytes: int = tar.MAX_MEMBER_BYTES,
    fork: bool = False,
    shown: bool | None = None,
) -> Converted:
    """Convert the XML files of ImageNet-AB to a dataset folder.

    Args:
        source: their tar or tar.gz, read once, nothing in it written to disk under its own name; or
            a folder of them, read in the order of its paths; or a single one.
        out: the dataset folder.
        on_bad: `raise` at the first bad member, or `skip` and list them in `skipped.jsonl`.
        worker_key: secret that worker ids are hashed with; None takes that of
            `$LUAB_WORKER_KEY_FILE`, else of your configuration folder.
        private: other values that look like e-mail addresses or hold a worker's id: `keep` counts
            them in `private`, and `publish` refuses them; `hash` puts hashes in their place.
        force: replace another dataset of luab at `out`; what luab did not write is never replaced.
        max_member_bytes: a larger member is bad.
        fork: parse in forked processes instead of threads: faster, but only for a process that
            runs nothing else, like the command line. Ignored where forking is not safe.
        shown: progress bars; None shows them on a terminal.

    Raises:
        RecordError, ArchiveError, OutputError, OptionError: nothing was changed then.
    """
    source, out = Path(source), Path(out)
    hash_worker = WorkerHash(read_key() if worker_key is None else worker_key)
    parse = partial(pipeline.imagenet_batch, hash_worker=hash_worker, private=private)
    with ExitStack() as stack:
        forks = None
        if fork and can_fork():
            # Before anything is open: a child would hold our locks a moment longer than we do.
            forks = stack.enter_context(Forks(parse, num_threads(), hash_worker))
        options = {"on_bad": on_bad, "max_member_bytes": max_member_bytes}
        job = Job(BROWSING, hash_worker, {**options, **said(private)})
        target = stack.enter_context(
            new_folder(out, by="dataset", settings=job.settings(source, out), force=force)
        )
        if target.same:
            return converted(out, read_manifest(out), is_same=True)
        folder = target.path
        bad = BadRecords(on_bad, folder / SKIPPED)
        unlabelled = Unlabelled(folder / "unlabelled")
        rounds = ShardWriter(folder, BROWSING.events)
        with opened(BROWSING, source, shown) as log:
            runs = tar.runs(log, max_member_bytes=max_member_bytes)
            batches = forks.in_order(runs) if forks else in_order(parse, runs, num_threads())
            written = pipeline.write_shards(BROWSING, batches, unlabelled, rounds, bad)
        if forks:
            forks.close()  # their memory is of no more use
        check_some(written, source, bad)
        rounds.close()
        wnids = sorted(unlabelled.wnids)
        images = label_shards(BROWSING.images, unlabelled, wnids, folder, shown)
        done = seal(
            BROWSING,
            folder,
            out,
            shards=(images, rounds.shards, write_annotators(BROWSING, folder)),
            about=_about(job, log, bad, written),
            wnids=wnids,
        )
    return replace(done, left_aside=dict(log.left_aside), is_same=target.same)


def convert_coco(
    source: AnyPath,
    out: AnyPath,
    *,
    instances: AnyPath | None = None,
    on_bad: OnBad = "raise",
    worker_key: bytes | None = None,
    private: Private = "keep",
    force: bool = False,
    shown: bool | None = None,
) -> Converted:
    """Convert the JSON (array or lines, plain or gzip) of COCO-AB to a dataset folder.

    Args:
        source: a file.
        out: the dataset folder.
        on_bad: `raise` at the first bad record, or `skip` and list them in `skipped.jsonl`. Broken
            JSON is never skipped: what follows it cannot be told apart.
        worker_key, private: as of convert_imagenet.
        force: replace another dataset of luab at `out`; what luab did not write is never replaced.
        shown: progress bars; None shows them on a terminal.
        instances: COCO's instances_*.json of the images; without it `labels`, boxes and what is
            judged by masks are null and sizes are as logged. ImagesError if it has none of the
            images.

    Raises:
        RecordError, ArchiveError, ImagesError, OutputError, OptionError: nothing was changed then.
    """
    source, out = Path(source), Path(out)
    if source.is_dir():
        raise ArchiveError(f"{source}: is a folder; expected a file: {TAGGING.log_format}")
    hash_worker = WorkerHash(read_key() if worker_key is None else worker_key)
    instances = None if instances is None else Path(instances)
    job = Job(TAGGING, hash_worker, {"on_bad": on_bad, **said(private)}, instances)
    with new_folder(out, by="dataset", settings=job.settings(source, out), force=force) as target:
        if target.same:
            return converted(out, read_manifest(out), is_same=True)
        truth = read_truth(TAGGING, instances, shown)
        derive = partial(pipeline.coco_batch, truth=truth, hash_worker=hash_worker, private=private)
        folder = target.path
        bad = BadRecords(on_bad, folder / SKIPPED)
        images = ShardWriter(folder, TAGGING.images)
        actions = ShardWriter(folder, TAGGING.events)
        with opened(TAGGING, source, shown) as log:
            batches = in_order(derive, coco_fast.batches(log, hash_worker), num_threads())
            written = pipeline.write_shards(TAGGING, batches, images, actions, bad)
        check_some(written, source, bad)
        images.close()
        actions.close()
        about = _about(job, log, bad, written)
        if truth is not None and instances is not None:
            labels = (t["labels"] for t in read_columns(folder, TAGGING.images, ["labels"]))
            about["instances"] = about_instances(truth, Path(instances), source, labels)
        done = seal(
            TAGGING,
            folder,
            out,
            shards=(images.shards, actions.shards, write_annotators(TAGGING, folder)),
            about=about,
        )
    remarks = [_NO_INSTANCES]
    if truth is not None:
        remarks = [f"{instances}: {remark}" for remark in truth.remarks()]
    return replace(done, is_same=target.same, remarks=tuple(remarks))


_NO_INSTANCES = (
    "without --instances, `labels`, boxes and what is judged by masks (`is_on_object`, ...) are"
    " null, and sizes are as logged"
)


def _about(job: Job, log: Source, bad: BadRecords, written: pipeline.Written) -> dict[str, Any]:
    """What the manifest says of a log of the release, or of a simulation of it."""
    simulated = is_simulated(log.path)
    return job.about(log.path.name, log.sha256, bad, written, simulated=simulated)
