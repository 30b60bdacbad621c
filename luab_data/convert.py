"""[I/O] Raw log -> records -> derived columns -> dataset folder: start reading here.

One pass over the log, a batch of records at a time. Rounds (or actions) go straight to Parquet;
ImageNet's image rows wait in the staging folder, since `label` needs every class to be known.
Killed at any moment, the old folder is whole; the next conversion begins anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from luab_data import pipeline
from luab_data.columns import imagenet as imagenet_columns
from luab_data.console import progress
from luab_data.errors import ArchiveError
from luab_data.files import MANIFEST, new_folder, sha256_of
from luab_data.forks import Forks, can_fork
from luab_data.hub.card import about_instances, complete, versions
from luab_data.kinds import BROWSING, TAGGING, Kind, check_log
from luab_data.pipeline import in_order, num_threads
from luab_data.raw import coco_fast, tar
from luab_data.raw.bad_records import BadRecords, OnBad
from luab_data.raw.instances import read_instances
from luab_data.raw.source import Source
from luab_data.raw.worker_ids import WorkerHash, read_key
from luab_data.simulate import is_simulated
from luab_data.store.folder import SKIPPED, read_columns, read_manifest
from luab_data.store.shards import Shard, ShardWriter, name_shards
from luab_data.truth import Instances

AnyPath = str | PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion wrote.

    Args:
        out: the dataset folder.
        version: 1.0.N, where N changes with the content.
        num_rows: config -> rows.
        skipped: rule -> records left out; each is listed in `skipped.jsonl`.
        unknown: element or key that the schema does not know -> occurrences, all left out.
        repaired: id of REPAIRS -> values that were read as they were meant, e.g. points of
            a trace that lacked a coordinate and were left out.
        num_without_truth: COCO images that the instances file lacks; 0 if none was given.
        content_digest: equal for equal content.
        left_aside: operating system -> its own files in the log (`._NAME`, Thumbs.db), no records.
        is_same: the same dataset was there already; nothing was written.
        remarks: what the instances file cannot tell, a sentence each.
    """

    out: Path
    version: str
    num_rows: dict[str, int]
    skipped: dict[str, int]
    unknown: dict[str, int]
    content_digest: str
    num_without_truth: int = 0
    repaired: dict[str, int] = field(default_factory=dict)
    left_aside: dict[str, int] = field(default_factory=dict)
    is_same: bool = False
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows = ", ".join(f"{config} {count:,}" for config, count in self.num_rows.items())
        return f"<Converted {self.out}: version {self.version}, {rows}>"


def convert_imagenet(
    source: AnyPath,
    out: AnyPath,
    *,
    on_bad: OnBad = "raise",
    worker_key: bytes | None = None,
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
    parse = partial(pipeline.imagenet_batch, hash_worker=hash_worker)
    with ExitStack() as stack:
        forks = None
        if fork and can_fork():
            # Before anything is open: a child would hold our locks a moment longer than we do.
            forks = stack.enter_context(Forks(parse, num_threads(), hash_worker))
        job = _Job(BROWSING, hash_worker, {"on_bad": on_bad, "max_member_bytes": max_member_bytes})
        target = stack.enter_context(
            new_folder(out, by="dataset", settings=job.settings(source, out), force=force)
        )
        if target.same:
            return _converted(out, read_manifest(out), is_same=True)
        folder = target.path
        bad = BadRecords(on_bad, folder / SKIPPED)
        unlabelled = pipeline.Unlabelled(folder / "unlabelled")
        rounds = ShardWriter(folder, BROWSING.events)
        with _opened(BROWSING, source, shown) as log:
            runs = tar.runs(log, max_member_bytes=max_member_bytes)
            batches = forks.in_order(runs) if forks else in_order(parse, runs, num_threads())
            written = pipeline.write_shards(BROWSING, batches, unlabelled, rounds, bad)
        if forks:
            forks.close()  # their memory is of no more use
        _check_some(written, source, bad)
        rounds.close()
        images = _label(unlabelled, folder, shown)
        done = _seal(
            BROWSING,
            folder,
            out,
            shards=(images, rounds.shards, _write_annotators(BROWSING, folder)),
            about=_about(job, log, bad, written),
            wnids=sorted(unlabelled.wnids),
        )
    return replace(done, left_aside=dict(log.left_aside), is_same=target.same)


def convert_coco(
    source: AnyPath,
    out: AnyPath,
    *,
    instances: AnyPath | None = None,
    on_bad: OnBad = "raise",
    worker_key: bytes | None = None,
    force: bool = False,
    shown: bool | None = None,
) -> Converted:
    """Convert the JSON (array or lines, plain or gzip) of COCO-AB to a dataset folder.

    Args:
        source: a file.
        out: the dataset folder.
        on_bad: `raise` at the first bad record, or `skip` and list them in `skipped.jsonl`. Broken
            JSON is never skipped: what follows it cannot be told apart.
        worker_key: as of convert_imagenet.
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
    job = _Job(TAGGING, hash_worker, {"on_bad": on_bad}, instances)
    with new_folder(out, by="dataset", settings=job.settings(source, out), force=force) as target:
        if target.same:
            return _converted(out, read_manifest(out), is_same=True)
        truth = _read_truth(instances, shown)
        derive = partial(pipeline.coco_batch, truth=truth)
        folder = target.path
        bad = BadRecords(on_bad, folder / SKIPPED)
        images = ShardWriter(folder, TAGGING.images)
        actions = ShardWriter(folder, TAGGING.events)
        with _opened(TAGGING, source, shown) as log:
            batches = in_order(derive, coco_fast.batches(log, hash_worker), num_threads())
            written = pipeline.write_shards(TAGGING, batches, images, actions, bad)
        _check_some(written, source, bad)
        images.close()
        actions.close()
        about = _about(job, log, bad, written)
        if truth is not None and instances is not None:
            labels = (t["labels"] for t in read_columns(folder, TAGGING.images, ["labels"]))
            about["instances"] = about_instances(truth, Path(instances), source, labels)
        done = _seal(
            TAGGING,
            folder,
            out,
            shards=(images.shards, actions.shards, _write_annotators(TAGGING, folder)),
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


# --- open, write, seal ---------------------------------------------------------------------------


def _label(unlabelled: pipeline.Unlabelled, folder: Path, shown: bool | None) -> list[Shard]:
    """Write the shards of `default` now that all classes are known."""
    wnids = sorted(unlabelled.wnids)

    def label(number: int) -> Shard:
        writer = ShardWriter(folder, BROWSING.images, first=number)
        for table in unlabelled.read(number):
            writer.write(imagenet_columns.with_labels(table, wnids))
        writer.end_shard()
        return writer.shards[0]

    numbers = progress(range(unlabelled.num_shards), what="label", shown=shown)
    done = list(in_order(label, numbers, num_threads()))
    unlabelled.remove()
    name_shards(folder / BROWSING.images.folder)
    return done


def _file_bar(path: Path, what: str, shown: bool | None) -> Any:
    """Progress over the bytes of a file that is read."""
    total = path.stat().st_size if path.is_file() else None
    return progress(what=what, total=total, unit="B", unit_scale=True, shown=shown)


@contextmanager
def _opened(kind: Kind, source: Path, shown: bool | None) -> Iterator[Source]:
    with _file_bar(source, "convert", shown) as bar, Source(source, bar.update) as log:
        check_log(kind, source, log.head)
        yield log


def _read_truth(instances: AnyPath | None, shown: bool | None) -> Instances | None:
    if instances is None:
        return None
    with _file_bar(Path(instances), "instances", shown) as bar:
        return read_instances(Path(instances), bar.update)


def _check_some(written: pipeline.Written, source: Path, bad: BadRecords) -> None:
    if not written.num_images:
        found = f"no usable record among {bad.total} ({dict(bad.tally)})" if bad.total else "empty"
        first = f". The first: {bad.first}" if bad.total else ""
        raise ArchiveError(f"{source}: {found}; expected a log of the release{first}")


def _write_annotators(kind: Kind, folder: Path) -> list[Shard]:
    """One row a worker, from the shards of the other two tables."""
    columns = kind.workers.table_columns
    images, events = (
        read_columns(folder, table, list(names))
        for table, names in zip((kind.images, kind.events), columns, strict=True)
    )
    writer = ShardWriter(folder, kind.annotators)
    writer.write(kind.workers.table(images, events))
    writer.close()
    return writer.shards


@dataclass(frozen=True)
class _Job:
    """All that a dataset's content depends on: two conversions of one digest give one folder."""

    kind: Kind
    hash_worker: WorkerHash
    options: Mapping[str, Any]
    instances: Path | None = None

    def digest(self, source: Path, sha256: str) -> str:
        """Sha256 over the log's name and content, the options, the key and the versions."""
        given = self.instances and (self.instances.name, sha256_of(self.instances))
        log = [self.kind.dataset, source.name, sha256, is_simulated(source)]
        what = [*log, given, self.options, versions()]
        text = json.dumps([*what, self.hash_worker.fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def settings(self, source: Path, out: Path) -> dict[str, str] | None:
        """For new_folder, if there is a dataset that may be of the same job."""
        if not (out / MANIFEST).is_file() or not source.is_file():
            return None
        return {"job": self.digest(source, sha256_of(source))}


def _about(job: _Job, log: Source, bad: BadRecords, written: pipeline.Written) -> dict[str, Any]:
    """What the manifest says of the input. No dates and no paths: equal input, equal bytes."""
    return {
        "dataset": job.kind.dataset,
        "source": {"name": log.path.name, "sha256": log.sha256},
        **({"simulated": True} if is_simulated(log.path) else {}),
        "job": job.digest(log.path, log.sha256),
        "worker_ids": job.hash_worker.describe(),
        "skipped": dict(sorted(bad.tally.items())),
        "unknown": written.unknown,
        **({"repaired": written.repaired} if written.repaired else {}),
        "versions": versions(),
    }


def _seal(
    kind: Kind,
    folder: Path,
    out: Path,
    *,
    shards: Sequence[list[Shard]],
    about: Mapping[str, Any],
    wnids: Sequence[str] = (),
) -> Converted:
    """Write card, checksums and manifest; the folder is a dataset then."""
    manifest = complete(
        folder,
        out,
        about=about,
        shards={table.config: some for table, some in zip(kind.tables, shards, strict=True)},
        schemas={table.config: table.schema() for table in kind.tables},
        wnids=wnids,
    )
    return _converted(out, manifest)


def _converted(out: Path, manifest: Mapping[str, Any], *, is_same: bool = False) -> Converted:
    return Converted(
        out=out,
        version=manifest["version"],
        num_rows=manifest["num_rows"],
        skipped=manifest["skipped"],
        unknown=manifest["unknown"],
        content_digest=manifest["content_digest"],
        num_without_truth=manifest.get("instances", {}).get("num_images_missing", 0),
        repaired=manifest.get("repaired", {}),
        is_same=is_same,
    )
