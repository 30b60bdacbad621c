"""[I/O] The frame of every conversion: staging folder, journal, policy, manifest."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from luab_data.console import progress
from luab_data.hub.complete import complete
from luab_data.pipeline import Build
from luab_data.raw.policy import BadRecords, OnBad
from luab_data.raw.source import Source, begins_with
from luab_data.raw.workers import WorkerHash
from luab_data.schema import DATASETS
from luab_data.store import folder as store
from luab_data.store.journal import Journal
from luab_data.store.waiting import WaitingRows

SKIPPED = "skipped.jsonl"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a conversion wrote.

    Args:
        out: the dataset folder.
        version: 1.0.N, where N changes with the content.
        num_rows: config -> rows.
        skipped: rule -> records left out; each is listed in `skipped.jsonl`.
        unknown: element or key that the schema does not know -> occurrences, all left out.
        num_without_truth: COCO images that the instances file lacks; 0 if none was given.
        num_resumed: images taken over from a conversion that was interrupted.
        content_digest: equal for equal content.
    """

    out: Path
    version: str
    num_rows: dict[str, int]
    skipped: dict[str, int]
    unknown: dict[str, int]
    content_digest: str
    num_without_truth: int = 0
    num_resumed: int = 0


class Here(NamedTuple):
    """Where one attempt at a conversion stands: its folder, the open log, what was done before."""

    dataset: str
    folder: Path
    journal: Journal
    bad: BadRecords
    log: Source
    hash_worker: WorkerHash

    def build(self, images: store.ShardWriter | WaitingRows, rows: store.ShardWriter) -> Build:
        """The build that goes on from the journal."""
        return Build(self.dataset, self.journal, images, rows, self.bad, self.log, self.hash_worker)


class Built(NamedTuple):
    """What one attempt made: the shards of the three configs and what the manifest says of them."""

    build: Build
    shards: tuple[list[store.Shard], ...]
    wnids: list[str]
    about: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Job:
    """The frame of both conversions: staging, journal, manifest."""

    dataset: str
    source: Path
    out: Path
    on_bad: OnBad
    hash_worker: WorkerHash
    options: dict[str, Any]
    shown: bool | None

    def run(self, build: Callable[[Here], Built]) -> Converted:
        """Build in a staging folder; go on from its journal, if that is of the same log."""
        with store.staging(self.out, resumable=True) as folder:
            journal = Journal(folder, self._identity())
            if journal.commits and not self._goes_on(journal.commits[-1]):
                journal.restart()
            bad = BadRecords(self.on_bad, folder / SKIPPED)
            bar = progress(**file_bar(self.source, "convert"), shown=self.shown)
            with bar, Source(self.source, bar.update) as log:
                here = Here(self.dataset, folder, journal, bad, log, self.hash_worker)
                built = build(here)
            return self._finish(folder, built, bad, log.sha256)

    def _goes_on(self, commit: dict[str, Any]) -> bool:
        """Whether the log is still the one that the commits are of."""
        num_bytes, sha256 = commit["source"]
        if not self.source.is_file():
            return False  # Source says so, better
        # The last shard, with fewer images, was written when the log had ended.
        at_end = commit["num_images"] % store.IMAGES_PER_SHARD[self.dataset]
        if at_end and self.source.stat().st_size != num_bytes:
            return False
        return begins_with(self.source, num_bytes, sha256)

    def _identity(self) -> dict[str, Any]:
        """What must be equal for shards of an earlier process to be those of this one."""
        return {
            "dataset": self.dataset,
            "on_bad": self.on_bad,
            "worker_key": self.hash_worker.fingerprint,
            "images_per_shard": store.IMAGES_PER_SHARD[self.dataset],
            "versions": _versions(),
            **self.options,
        }

    def _finish(self, folder: Path, built: Built, bad: BadRecords, sha256: str) -> Converted:
        tables = DATASETS[self.dataset]
        about: dict[str, Any] = {
            "dataset": self.dataset,
            "source": {"name": self.source.name, "sha256": sha256},
            "worker_ids": self.hash_worker.describe(),
            "skipped": dict(sorted(bad.tally.items())),
            "unknown": _most_common(built.build.unknown),
            "versions": _versions(),
            **built.about,
        }
        # No dates and no paths: equal input, equal bytes.
        manifest = complete(
            folder,
            self.out,
            about=about,
            shards={t.config: some for t, some in zip(tables, built.shards, strict=True)},
            schemas={t.config: t.schema() for t in tables},
            wnids=built.wnids,
        )
        return Converted(
            out=self.out,
            version=manifest["version"],
            num_rows=manifest["num_rows"],
            skipped=manifest["skipped"],
            unknown=manifest["unknown"],
            content_digest=manifest["content_digest"],
            num_resumed=built.build.num_resumed,
        )


def _most_common(unknown: Counter[str]) -> dict[str, int]:
    """The counts, sorted by name; names that are made up record by record as one."""
    kept = unknown.most_common(_MAX_UNKNOWN)
    others = unknown.total() - sum(count for _, count in kept)
    return {**dict(sorted(kept)), **({"others": others} if others else {})}


_MAX_UNKNOWN = 100


def file_bar(source: Path, what: str) -> dict[str, Any]:
    """How progress is shown of a file that is read: its bytes."""
    total = source.stat().st_size if source.is_file() else None
    return {"what": what, "total": total, "unit": "B", "unit_scale": True}


def _versions() -> dict[str, str]:
    names = ("luab", "numpy", "pyarrow", "shapely")
    return {"python": platform.python_version(), **{name: installed(name) for name in names}}
