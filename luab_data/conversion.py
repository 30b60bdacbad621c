"""[I/O] What every conversion shares: a log opened, rows written, a folder sealed.

The three kinds of sources differ in how they are read; what a folder says of them does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa

from luab_data import pipeline
from luab_data.columns import imagenet as imagenet_columns
from luab_data.console import progress
from luab_data.errors import ArchiveError
from luab_data.files import MANIFEST, sha256_of
from luab_data.hub.card import complete, versions
from luab_data.kinds import KINDS, Kind
from luab_data.pipeline import in_order, num_threads
from luab_data.raw.bad_records import BadRecords
from luab_data.raw.instances import read_instances
from luab_data.raw.source import Source
from luab_data.raw.worker_ids import WorkerHash
from luab_data.simulate import is_simulated
from luab_data.store.folder import read_columns
from luab_data.store.shards import Shard, ShardWriter, Unlabelled, name_shards
from luab_data.table import Table
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
        private: column -> values that look like e-mail addresses or hold a worker's id, which
            `publish` refuses.
        hashed: likewise, those that a hash took the place of.
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
    private: dict[str, int] = field(default_factory=dict)
    hashed: dict[str, int] = field(default_factory=dict)
    left_aside: dict[str, int] = field(default_factory=dict)
    is_same: bool = False
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows = ", ".join(f"{config} {count:,}" for config, count in self.num_rows.items())
        return f"<Converted {self.out}: version {self.version}, {rows}>"


def label_shards(
    table: Table,
    unlabelled: Unlabelled,
    wnids: Sequence[str],
    folder: Path,
    shown: bool | None,
) -> list[Shard]:
    """Write the shards of `default` now that all classes are known."""

    def label(number: int) -> Shard:
        writer = ShardWriter(folder, table, first=number)
        for rows in unlabelled.read(number):
            writer.write(imagenet_columns.with_labels(rows, wnids, table))
        writer.end_shard()
        return writer.shards[0]

    numbers = progress(range(unlabelled.num_shards), what="label", shown=shown)
    done = list(in_order(label, numbers, num_threads()))
    unlabelled.remove()
    name_shards(folder / table.folder)
    return done


def _file_bar(path: Path, what: str, shown: bool | None) -> Any:
    """Progress over the bytes of a file that is read."""
    total = path.stat().st_size if path.is_file() else None
    return progress(what=what, total=total, unit="B", unit_scale=True, shown=shown)


@contextmanager
def opened(kind: Kind, source: Path, shown: bool | None) -> Iterator[Source]:
    """The log, with progress over its bytes; refused if it is plainly of another kind."""
    with _file_bar(source, "convert", shown) as bar, Source(source, bar.update) as log:
        _check_log(kind, source, log.head)
        yield log


def read_truth(kind: Kind, instances: AnyPath | None, shown: bool | None) -> Instances | None:
    """The ground truth of an instances file, if one is given, by the classes of the kind."""
    if instances is None:
        return None
    with _file_bar(Path(instances), "instances", shown) as bar:
        return read_instances(
            Path(instances),
            bar.update,
            vocabulary=kind.vocabulary,
            by_file=pa.types.is_string(kind.images["image_id"].type),
        )


def check_some(written: pipeline.Written, source: object, bad: BadRecords) -> None:
    """Refuse a log of which nothing was left."""
    if not written.num_images:
        found = f"no usable record among {bad.total} ({dict(bad.tally)})" if bad.total else "empty"
        first = f". The first: {bad.first}" if bad.total else ""
        raise ArchiveError(f"{source}: {found}; expected a log with some{first}")


def write_annotators(kind: Kind, folder: Path) -> list[Shard]:
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
class Job:
    """All that a dataset's content depends on: two conversions of one digest give one folder.

    Args:
        kind: of the log.
        hash_worker: with the secret key.
        options: of the conversion, those that change what it writes.
        instances: the instances file.
    """

    kind: Kind
    hash_worker: WorkerHash
    options: Mapping[str, Any]
    instances: Path | None = None

    def digest(self, name: str, sha256: str, simulated: bool) -> str:
        """Sha256 over the log's name and content, the options, the key and the versions."""
        given = self.instances and (self.instances.name, sha256_of(self.instances))
        what = [self.kind.dataset, name, sha256, simulated, given, self.options, versions()]
        text = json.dumps([*what, self.hash_worker.fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def settings(self, source: Path, out: Path) -> dict[str, str] | None:
        """For new_folder, if there is a dataset that may be of the same job."""
        if not (out / MANIFEST).is_file() or not source.is_file():
            return None
        return {"job": self.digest(source.name, sha256_of(source), is_simulated(source))}

    def about(
        self,
        name: str,
        sha256: str,
        bad: BadRecords,
        written: pipeline.Written,
        *,
        simulated: bool = False,
    ) -> dict[str, Any]:
        """What the manifest says of the input. No dates and no paths: equal input, equal bytes."""
        return {
            "dataset": self.kind.dataset,
            "source": {"name": name, "sha256": sha256},
            **({"simulated": True} if simulated else {}),
            "job": self.digest(name, sha256, simulated),
            "worker_ids": self.hash_worker.describe(),
            "skipped": dict(sorted(bad.tally.items())),
            "unknown": written.unknown,
            **({"repaired": written.repaired} if written.repaired else {}),
            **({"private": written.private} if written.private else {}),
            **({"hashed": written.hashed} if written.hashed else {}),
            "versions": versions(),
        }


def seal(
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
    return converted(out, manifest)


def converted(out: Path, manifest: Mapping[str, Any], *, is_same: bool = False) -> Converted:
    """What was written, from the manifest of the folder."""
    return Converted(
        out=out,
        version=manifest["version"],
        num_rows=manifest["num_rows"],
        skipped=manifest["skipped"],
        unknown=manifest["unknown"],
        content_digest=manifest["content_digest"],
        num_without_truth=manifest.get("instances", {}).get("num_images_missing", 0),
        repaired=manifest.get("repaired", {}),
        private=manifest.get("private", {}),
        hashed=manifest.get("hashed", {}),
        is_same=is_same,
    )


def _check_log(kind: Kind, path: Path, head: bytes) -> None:
    """Refuse a log that is plainly of another kind, by its first bytes, decompressed.

    Raises:
        ArchiveError: names the command that reads it.
    """
    if not head or kind.log_begins.match(head):
        return  # if it is no log at all, its reader says what is wrong
    for other in KINDS.values():
        if other.log_begins.match(head):
            raise ArchiveError(
                f"{path}: looks like a log of {other.title} ({other.log_format}); expected one of"
                f" {kind.title}: {kind.log_format}. `luab-data convert {other.dataset}` reads it"
            )
