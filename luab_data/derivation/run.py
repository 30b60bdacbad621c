"""[I/O] `luab-data derive`: a dataset folder again, with its derived columns computed anew.

Reads the raw columns of `default` and what the chosen columns need of `rounds` or `actions`; writes
a whole new folder through the same store as a conversion. In a local folder that is a swap of
folders: killed at any moment, the old dataset or the new one is there. Elsewhere the manifest is
written last, so a folder without one is not a dataset.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luab_data.columns.icons import Truth
from luab_data.columns.registry import REGISTRIES
from luab_data.console import progress
from luab_data.derivation.annotators import annotators_of
from luab_data.derivation.choose import chosen, manifest_of
from luab_data.derivation.engines import Engine, run
from luab_data.derivation.places import Place, place
from luab_data.derivation.shard import Job
from luab_data.errors import DatasetError, ImagesError, OutputError
from luab_data.files import MANIFEST, new_folder, sha256_of
from luab_data.hub.card import complete, versions
from luab_data.kinds import tables_of
from luab_data.raw.instances import read_instances
from luab_data.store import folder as store
from luab_data.store.digest import content_digest
from luab_data.store.folder import SKIPPED
from luab_data.store.load import find_dataset
from luab_data.store.shards import Shard, ShardWriter

_OF_COMPLETE = (
    *("version", "content_digest", "num_rows", "classes", "schemas", "shards", "files"),
)
"""Keys of a manifest that `complete` writes anew."""


@dataclass(frozen=True, kw_only=True)
class Recomputed:
    """What a derivation wrote.

    Args:
        out: the dataset folder, as given.
        version, content_digest: of the new content.
        changed: whether the content differs from what the source's manifest says.
        columns: the columns that were computed.
        kept: derived columns that were taken over, since they need the instances file.
        num_rows: config -> rows.
    """

    out: str
    version: str
    content_digest: str
    changed: bool
    columns: tuple[str, ...]
    kept: tuple[str, ...]
    num_rows: dict[str, int]


def derive(
    dataset: str | Path,
    *,
    columns: Sequence[str] | None = None,
    out: str | Path | None = None,
    instances: Path | None = None,
    engine: Engine = "local",
    shown: bool | None = None,
) -> Recomputed:
    """Compute derived columns of a dataset folder from its own raw columns.

    Args:
        dataset: the folder, a name under $LUAB_DATA_HOME, or a URL (`s3://bucket/imagenet-ab`).
        columns: which; optional ones are added. None: every derived column that the folder has.
        out: folder or URL to write; None replaces `dataset`, which has to be a local folder then.
        instances: COCO's instances_*.json of the images: `width`, `height`, `labels`,
            boxes and what is judged by masks are then computed too. Without it they are kept as
            they are.
        engine: `local` uses the processors of this machine, `ray` those of a Ray cluster.
        shown: progress bars; None shows them on a terminal.

    Raises:
        DatasetError: `dataset` is not a folder of ours, or is damaged.
        OptionError: an unknown column, a combination that makes no sense, Ray is missing.
        OutputError: the target cannot be written; nothing was changed then.
        ArchiveError, ImagesError: of the instances file.
    """
    source = place(dataset if "://" in str(dataset) else find_dataset(dataset))
    manifest = manifest_of(source)
    names = chosen(manifest, columns, instances)
    target = source if out is None else place(out)
    task = _Task(manifest, source, names, instances, _truth(instances, shown), engine, shown)
    found = task.swap(target.local) if target.local else task.upload(target)
    default, registry = tables_of(found)[0], REGISTRIES[manifest["dataset"]]
    return Recomputed(
        out=str(source.local or dataset) if out is None else str(out),
        version=found["version"],
        content_digest=found["content_digest"],
        changed=found["content_digest"] != manifest["content_digest"],
        columns=names,
        kept=tuple(
            column.name
            for column in default.columns
            if columns is None and column.name in registry.names() and column.name not in names
        ),
        num_rows=found["num_rows"],
    )


def _truth(instances: Path | None, shown: bool | None) -> Truth | None:
    if instances is None:
        return None
    total = instances.stat().st_size if instances.is_file() else None
    with progress(what="instances", total=total, unit="B", unit_scale=True, shown=shown) as bar:
        return read_instances(instances, bar.update)


@dataclass(frozen=True)
class _Task:
    """One derivation: what is read, what is computed, and how the result is put together."""

    manifest: dict[str, Any]
    source: Place
    names: tuple[str, ...]
    instances: Path | None
    truth: Truth | None
    engine: Engine
    shown: bool | None

    def swap(self, out: Path) -> dict[str, Any]:
        """Build beside a local folder and put it in its place; the manifest."""
        with new_folder(out, by="dataset", force=True) as target:
            folder = target.path
            job = self._job(place(folder))
            (folder / job.tables[0].folder).mkdir()
            shards = self._derive(job, folder)[0]
            # The old folder goes away: its files need no second copy.
            carry = _link if self.source.local and _same(self.source.local, out) else _copy
            names = self._carried(folder)
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                carry(self.source, name, folder)
            manifest = self._complete(folder, out, job, shards, {})
            found = store.read_manifest(folder)["files"]
            self._compare({name: found[name] for name in names})
        return manifest

    def upload(self, target: Place) -> dict[str, Any]:
        """Write to a filesystem without renames, the manifest last; the manifest."""
        if target.has(MANIFEST):
            raise OutputError(
                f"{target}: holds a dataset, and only a local folder can be replaced as a whole;"
                " choose another --out or remove it first"
            )
        # The card takes every shard it finds: those of an upload that failed would be rows twice.
        strangers = {n for n in target.files() if n.endswith(".parquet")} - {
            *self.manifest["files"]
        }
        if strangers:
            raise OutputError(
                f"{target}: holds {min(strangers)}, which is no file of this dataset, as of an"
                " upload that failed; remove it or choose another --out"
            )
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            job = self._job(target)
            shards, digests = self._derive(job, folder)
            copied = {n: self.source.copy_to(n, target) for n in self._carried(folder)}
            self._compare(copied)
            manifest = self._complete(folder, Path(target.path), job, shards, {**digests, **copied})
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            files = [path.relative_to(folder).as_posix() for path in paths]
            for name in sorted(files, key=lambda name: name == MANIFEST):  # the manifest last
                target.put(folder / name, name)
        return manifest

    def _job(self, target: Place) -> Job:
        kind = self.manifest["dataset"]
        default = tables_of(self.manifest)[0]
        have = {*self.names, *(column.name for column in default.columns)}
        return Job(
            dataset=kind,
            source=self.source,
            target=target,
            names=self.names,
            optional=tuple(c.name for c in REGISTRIES[kind].table.optional if c.name in have),
            classes=tuple(self.manifest["classes"]),
            num_shards=len(self.manifest["shards"]["default"]),
        )

    def _derive(self, job: Job, folder: Path) -> tuple[Shards, dict[str, str]]:
        """Shards of all configs, and path -> sha256 of those of `default`.

        `annotators` follows from `default`: if that changed, it is written to `folder` unless it
        is what it was.
        """
        written = run(job, self.truth, self.engine, shown=self.shown)
        digests = {job.file(job.tables[0], w.number): w.sha256 for w in written}
        before = {c: [Shard(**s) for s in some] for c, some in self.manifest["shards"].items()}
        pairs = zip(written, before["default"], strict=True)
        # Equal rows are the same shard, though in other batches they may take other bytes.
        default = [old if w.shard.digest == old.digest else w.shard for w, old in pairs]
        shards = {**before, "default": default}
        if default != before["default"]:
            annotators = tables_of(self.manifest)[2]
            writer = ShardWriter(folder, annotators)
            writer.write(annotators_of(job))
            writer.close()
            shards[annotators.config] = writer.shards
            if [s.digest for s in writer.shards] == [s.digest for s in before[annotators.config]]:
                shards[annotators.config] = before[annotators.config]
                shutil.rmtree(folder / annotators.folder)
        return shards, digests

    def _carried(self, folder: Path) -> list[str]:
        """Files of the source that are the new dataset's too: rows of configs that stay."""
        others = tables_of(self.manifest)[1:]
        folders = {table.folder for table in others if not (folder / table.folder).exists()}
        names = self.manifest["files"]
        return [name for name in names if name.partition("/")[0] in folders or name == SKIPPED]

    def _compare(self, found: Mapping[str, str]) -> None:
        """Refuse to seal a file that is not the one the source's manifest was written over."""
        for name, digest in found.items():
            if digest != self.manifest["files"][name]:
                raise DatasetError(
                    f"{self.source.at(name)}: its content is not what the manifest says; convert"
                    " the raw log again or copy the folder again"
                )

    def _complete(
        self, folder: Path, out: Path, job: Job, shards: Shards, elsewhere: Mapping[str, str]
    ) -> dict[str, Any]:
        about = {key: v for key, v in self.manifest.items() if key not in _OF_COMPLETE}
        if self.instances:
            about["instances"] = self._about_instances(job, self.instances)
        digests = {config: [s.digest for s in some] for config, some in shards.items()}
        if content_digest(digests) != self.manifest["content_digest"]:
            about["derived"] = {"columns": list(self.names), "versions": versions()}
        return complete(
            folder,
            out,
            about=about,
            shards=shards,
            schemas={
                table.config: (job.tables[0] if table.config == "default" else table).schema()
                for table in tables_of(self.manifest)
            },
            wnids=self.manifest["classes"],
            elsewhere=elsewhere,
        )

    def _about_instances(self, job: Job, instances: Path) -> dict[str, Any]:
        files = [job.file(job.tables[0], number) for number in range(job.num_shards)]
        labels = [job.target.read_table(file, ["labels"])["labels"] for file in files]
        missing = sum(column.null_count for column in labels)
        if missing == sum(len(column) for column in labels):
            raise ImagesError(
                f"{instances}: has none of the {missing} images of {self.source}; expected the"
                " instances file of these images, e.g. instances_train2014.json"
            )
        return {
            "name": instances.name,
            "sha256": sha256_of(instances),
            "num_images_missing": missing,
        }


Shards = dict[str, list[Shard]]
"""Config -> its shards."""


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _link(source: Place, name: str, folder: Path) -> None:
    try:
        os.link(source.at(name), folder / name)
    except OSError:  # a filesystem without hard links
        _copy(source, name, folder)


def _copy(source: Place, name: str, folder: Path) -> None:
    source.copy_to(name, place(folder))
