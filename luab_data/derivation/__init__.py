"""[I/O] `luab-data derive`: a dataset folder again, with its derived columns computed anew.

Reads the raw columns of `default` and what the chosen columns need of `rounds` or `actions`; writes
a whole new folder as a conversion does. In a local folder that is a swap of folders: killed at any
moment, the old dataset or the new one is there. Elsewhere the manifest is written last, so a folder
without one is not a dataset.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luab_data.conversion import read_truth
from luab_data.derivation.places import Place, place
from luab_data.derivation.shard import Engine, Job, Written, derive_shards
from luab_data.errors import DatasetError, OptionError, OutputError
from luab_data.files import MANIFEST, new_folder
from luab_data.hub.card import about_instances, complete, versions
from luab_data.kinds import kind_of, tables_of
from luab_data.store import folder as store
from luab_data.store.digest import content_digest
from luab_data.store.load import find_dataset
from luab_data.store.shards import Shard, ShardWriter
from luab_data.truth import Instances

Manifest = Mapping[str, Any]

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
        is_same: the same dataset was at `out` already; nothing was written.
    """

    out: str
    version: str
    content_digest: str
    changed: bool
    columns: tuple[str, ...]
    kept: tuple[str, ...]
    num_rows: dict[str, int]
    is_same: bool = False

    def __repr__(self) -> str:
        state = "new content" if self.changed else "content as before"
        return f"<Recomputed {self.out}: version {self.version}, {state}>"


def derive(
    dataset: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    instances: str | os.PathLike[str] | None = None,
    engine: Engine = "local",
    force: bool = False,
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
        force: replace another dataset at `out`.
        shown: progress bars; None shows them on a terminal.

    Raises:
        DatasetError: `dataset` is not a folder of ours, or is damaged.
        OptionError: an unknown column, a combination that makes no sense, Ray is missing.
        OutputError: the target cannot be written; nothing was changed then.
        ArchiveError, ImagesError: of the instances file.
    """
    source = place(dataset if "://" in os.fspath(dataset) else find_dataset(dataset))
    manifest = _manifest_of(source)
    given = None if instances is None else Path(instances)
    names = _chosen(manifest, columns, given)
    truth = read_truth(kind_of(manifest), given, shown)
    target, is_same = source if out is None else place(out), False
    if target.local:
        made = new_folder(target.local, by="dataset", force=force or out is None)
        with made as whole:
            # The old folder goes away: its files need no second copy.
            link = source.local is not None and source.local.resolve() == target.local.resolve()
            job = _job(manifest, source, place(whole.path), names)
            found = _build(job, manifest, whole.path, target, given, truth, engine, shown, link)
        is_same = whole.same
    else:
        job = _job(manifest, source, target, names)
        with _sent_last(manifest, target) as folder:
            found = _build(job, manifest, folder, target, given, truth, engine, shown, link=False)
    derived = (c.name for c in job.images.columns if c.name in job.derivation.registry.names())
    return Recomputed(
        out=str(source.local or dataset) if out is None else os.fspath(out),
        version=found["version"],
        content_digest=found["content_digest"],
        changed=found["content_digest"] != manifest["content_digest"],
        columns=names,
        kept=tuple(name for name in derived if columns is None and name not in names),
        num_rows=found["num_rows"],
        is_same=is_same,
    )


# --- what to derive -------------------------------------------------------------------------------


def _manifest_of(source: Place) -> dict[str, Any]:
    """The manifest of a dataset folder, wherever it is; its shards come in pairs.

    Raises:
        DatasetError: none there, not ours, or its shards do not come in pairs.
    """
    if source.local:
        manifest = store.read_manifest(source.local)
    else:  # the manifest's own checks are for local folders
        if MANIFEST not in source.files():
            raise DatasetError(
                f"{source}: has no {MANIFEST}; expected a folder written by `luab-data convert`"
            )
        with tempfile.TemporaryDirectory() as folder:
            source.copy_to(MANIFEST, place(folder))
            manifest = store.read_manifest(Path(folder))
    images, events, _ = tables_of(manifest)
    counts = {len(manifest.get("shards", {}).get(t.config, ())) for t in (images, events)}
    if len(counts) != 1 or not counts - {0}:
        raise DatasetError(
            f"{source}: its shards of `default` do not pair with those of the log; an older luab"
            " wrote it: convert the raw log again"
        )
    return manifest


def _chosen(
    manifest: Manifest, columns: Sequence[str] | None, instances: Path | None
) -> tuple[str, ...]:
    """The columns to compute, each once, in the order of the registry.

    Columns that an older luab did not know are computed in any case: every folder has them now.

    Args:
        columns: what the user names; None is every derived column that the folder has.
        instances: the instances file: every column that needs one is then computed.

    Raises:
        OptionError: an unknown column, none at all, one that needs an instances file, or a folder
            whose new columns need one.
    """
    registry = kind_of(manifest).derivation.registry
    known = registry.names()
    present = {column.name for column in tables_of(manifest)[0].columns}
    of_truth = {name for name in known if "truth" in registry.sources([name])}
    # An optional column takes what it needs of the ground truth from the published columns.
    only_truth = of_truth - {column.name for column in registry.table.optional}
    if instances is not None and not of_truth:
        kind = manifest["dataset"]
        raise OptionError(f"--instances: no column of {kind} needs an instances file; leave it out")
    if columns is None:
        wanted = {name for name in known if name in present} - only_truth
    else:
        wanted = {name for name in columns if registry.of(name)}
        if not wanted:
            raise OptionError("--columns names no column; expected some, or leave it out")
        if instances is None and (asked := sorted(wanted & only_truth)):
            raise OptionError(
                f"{', '.join(asked)}: computed from COCO's instances file; add --instances FILE"
            )
    if instances is not None:
        wanted |= of_truth & present
    there = manifest.get("schemas", {}).get("default", known)
    missing = present.intersection(known) - set(there)
    # Without an instances file from the start they are null, like `labels`.
    if instances is None and "instances" in manifest and (asked := sorted(missing & only_truth)):
        raise OptionError(
            f"the folder is of an older luab and lacks {', '.join(asked)}, computed from COCO's"
            " instances file; add --instances FILE"
        )
    wanted |= missing
    return tuple(name for name in known if name in wanted)


def _job(manifest: Manifest, source: Place, target: Place, names: tuple[str, ...]) -> Job:
    images, events, _ = tables_of(manifest)
    return Job(
        source=source,
        target=target,
        images=images.having(names),
        events=events,
        derivation=kind_of(manifest).derivation,
        names=names,
        classes=tuple(manifest["classes"]),
        num_shards=len(manifest["shards"]["default"]),
    )


# --- how it is put together -----------------------------------------------------------------------


def _build(
    job: Job,
    manifest: Manifest,
    folder: Path,
    out: Place,
    instances: Path | None,
    truth: Instances | None,
    engine: Engine,
    shown: bool | None,
    link: bool,
) -> dict[str, Any]:
    """Derive all shards, take over the other files, seal; the manifest.

    Args:
        manifest: of the source.
        folder: a local folder for what is small; it is job.target's own if that is local.
        out: where the dataset will stand; its name is in the card.
        link: let the new folder share files with the source.
    """
    written = derive_shards(job, truth, engine, shown)
    shards = _shards(job, manifest, written, folder)
    files = {job.file(job.images, w.number): w.sha256 for w in written}
    others = {table.folder for table in tables_of(manifest)[1:]}
    taken = others - {path.name for path in folder.iterdir()} | {store.SKIPPED}
    for name, digest in manifest["files"].items():
        if name.partition("/")[0] not in taken:
            continue
        files[name] = job.source.copy_to(name, job.target, link=link)
        if files[name] != digest:
            raise DatasetError(
                f"{job.source.at(name)}: its content is not what the manifest says; convert the"
                " raw log again or copy the folder again"
            )
    about = {key: v for key, v in manifest.items() if key not in _OF_COMPLETE}
    if instances is not None and truth is not None:
        labels = (table["labels"] for table in job.read(job.target, job.images, ["labels"]))
        about["instances"] = about_instances(truth, instances, job.source, labels)
    digests = {config: [s.digest for s in some] for config, some in shards.items()}
    if content_digest(digests) != manifest["content_digest"]:
        about.pop("job", None)  # another content than that of the conversion
        about["derived"] = {"columns": list(job.names), "versions": versions()}
    tables = (job.images, *tables_of(manifest)[1:])
    return complete(
        folder,
        Path(out.path),
        about=about,
        shards=shards,
        schemas={table.config: table.schema() for table in tables},
        wnids=manifest["classes"],
        elsewhere=files,
    )


def _shards(
    job: Job, manifest: Manifest, written: Sequence[Written], folder: Path
) -> dict[str, list[Shard]]:
    """Shards of all configs; `annotators` is written to `folder` if it is not what it was."""
    before = {c: [Shard(**s) for s in some] for c, some in manifest["shards"].items()}
    pairs = zip(written, before["default"], strict=True)
    # Equal rows are the same shard, though in other batches they may take other bytes.
    default = [old if w.shard.digest == old.digest else w.shard for w, old in pairs]
    shards = {**before, "default": default}
    if default != before["default"]:
        kind, annotators = kind_of(manifest), tables_of(manifest)[2]
        of_images, of_events = map(list, kind.workers.table_columns)
        images = job.read(job.target, job.images, of_images)
        writer = ShardWriter(folder, annotators)
        writer.write(kind.workers.table(images, job.read(job.source, job.events, of_events)))
        writer.close()
        if [s.digest for s in writer.shards] == [s.digest for s in before[annotators.config]]:
            shutil.rmtree(folder / annotators.folder)
        else:
            shards[annotators.config] = writer.shards
    return shards


@contextmanager
def _sent_last(manifest: Manifest, target: Place) -> Iterator[Path]:
    """A temporary folder whose files go to a filesystem without renames, the manifest last.

    Raises:
        OutputError: `target` holds a dataset, or shards that are not of this one.
    """
    there = target.files()
    if MANIFEST in there:
        raise OutputError(
            f"{target}: holds a dataset, and only a local folder can be replaced as a whole;"
            " choose another --out or remove it first"
        )
    # The card takes every shard it finds: those of an upload that failed would be rows twice.
    if strangers := {n for n in there if n.endswith(".parquet")} - {*manifest["files"]}:
        raise OutputError(
            f"{target}: holds {min(strangers)}, which is no file of this dataset, as of an"
            " upload that failed; remove it or choose another --out"
        )
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)
        here = place(temporary)
        for name in sorted(here.files(), key=lambda name: name == MANIFEST):
            here.copy_to(name, target)
