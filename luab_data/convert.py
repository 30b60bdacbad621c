"""[I/O] Raw log -> records -> derived columns -> dataset folder: start reading here.

One pass over the log, a batch of records at a time. Rounds (or actions) go straight to Parquet;
image rows wait in an Arrow file in the staging folder, since `label` needs every class to be known.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version as installed
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from luab_data.analysis.annotators import (
    click_facts,
    coco_annotators,
    icon_facts,
    imagenet_annotators,
    round_facts,
)
from luab_data.columns import coco as coco_columns
from luab_data.columns import imagenet as imagenet_columns
from luab_data.columns.rounds import order_rounds
from luab_data.console import progress
from luab_data.errors import ArchiveError, ImagesError, RecordError
from luab_data.publish import store
from luab_data.publish.card import card
from luab_data.raw import coco, imagenet
from luab_data.raw.archive import MAX_MEMBER_BYTES, Source, members
from luab_data.raw.instances import TrueImage, read_instances
from luab_data.raw.policy import BadRecords, OnBad, SeenIds
from luab_data.raw.workers import WorkerHash, read_key
from luab_data.schema import (
    COCO_ACTIONS,
    COCO_ANNOTATORS,
    COCO_IMAGES,
    DATASETS,
    IMAGENET_ANNOTATORS,
    IMAGENET_IMAGES,
    IMAGENET_ROUNDS,
    Table,
)

BATCH = 4096
SKIPPED = "skipped.jsonl"

T = TypeVar("T")


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
        content_digest: equal for equal content.
    """

    out: Path
    version: str
    num_rows: dict[str, int]
    skipped: dict[str, int]
    unknown: dict[str, int]
    content_digest: str
    num_without_truth: int = 0


def convert_imagenet(
    source: Path,
    out: Path,
    *,
    on_bad: OnBad = "raise",
    worker_key: bytes | None = None,
    max_member_bytes: int = MAX_MEMBER_BYTES,
    shown: bool | None = None,
) -> Converted:
    """Convert the tar or tar.gz of ImageNet-AB's XML files to a dataset folder.

    Args:
        source: the archive; read once, nothing in it is written to disk under its own name.
        out: the dataset folder; replaced as a whole if luab wrote it.
        on_bad: `raise` at the first bad member, or `skip` and list them in `skipped.jsonl`.
        worker_key: secret that worker ids are hashed with; None takes read_key().
        max_member_bytes: a larger member is bad.
        shown: progress bars; None shows them on a terminal.

    Raises:
        RecordError, ArchiveError, OutputError, OptionError: nothing was changed then.
    """
    hash_worker = WorkerHash(read_key() if worker_key is None else worker_key)
    with (
        store.staging(out) as folder,
        progress(**_bar(source, "convert"), shown=shown) as bar,
        Source(source, bar.update) as log,
    ):
        bad = BadRecords(on_bad, folder / SKIPPED)
        records = _imagenet_records(log, bad, max_member_bytes)
        rounds_out = store.ShardWriter(folder, IMAGENET_ROUNDS)
        unknown: Counter[str] = Counter()
        round_rows, click_rows, wnids = [], [], set[str]()
        with _Waiting(folder / "images.arrow") as waiting:
            for some in _batches(records, BATCH):
                batch = imagenet.to_batch(some, hash_worker)
                unknown.update(imagenet.count_unknown(some))
                rounds = order_rounds(batch.images["image_id"], batch.rounds)
                images = imagenet_columns.image_table(batch.images, rounds)
                rounds_out.write(rounds.table)
                waiting.write(images)
                round_rows.append(round_facts(rounds.table))
                click_rows.append(click_facts(images))
                wnids.update(record.image["wnid"] for record in some)
        _check_some(source, waiting.num_rows, bad)
        names = sorted(wnids)
        images_out = store.ShardWriter(folder, IMAGENET_IMAGES)
        for images in waiting.read(shown):
            images_out.write(imagenet_columns.with_labels(images, names))
        annotators_out = store.ShardWriter(folder, IMAGENET_ANNOTATORS)
        annotators_out.write(
            imagenet_annotators(pa.concat_tables(round_rows), pa.concat_tables(click_rows))
        )
        about = _about("imagenet-ab", log, bad, unknown, hash_worker)
        return _finish(folder, out, [images_out, rounds_out, annotators_out], names, about)


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
        instances: COCO's instances_*.json of the images; without it `labels` and `is_on_object` are
            null and sizes are as logged. ImagesError if it has none of the images.
    """
    hash_worker = WorkerHash(read_key() if worker_key is None else worker_key)
    truth = _read_truth(instances, shown)
    with (
        store.staging(out) as folder,
        progress(**_bar(source, "convert"), shown=shown) as bar,
        Source(source, bar.update) as log,
    ):
        bad = BadRecords(on_bad, folder / SKIPPED)
        actions_out = store.ShardWriter(folder, COCO_ACTIONS)
        images_out = store.ShardWriter(folder, COCO_IMAGES)
        unknown: Counter[str] = Counter()
        facts = []
        without_truth = 0
        for some in _batches(_coco_records(log, bad), BATCH):
            actions = coco.to_table(some, hash_worker)
            unknown.update(key for record in some for key in record.unknown)
            images = coco_columns.image_table(actions, truth)
            actions_out.write(actions)
            images_out.write(images)
            facts.append(icon_facts(images))
            without_truth += images["labels"].null_count if instances else 0
        _check_some(source, images_out.num_rows, bad)
        if without_truth == images_out.num_rows:
            raise ImagesError(
                f"{instances}: has none of the {without_truth} images of {source}; expected the"
                " instances file of these images, e.g. instances_train2014.json"
            )
        annotators_out = store.ShardWriter(folder, COCO_ANNOTATORS)
        annotators_out.write(coco_annotators(pa.concat_tables(facts)))
        about = _about("coco-ab", log, bad, unknown, hash_worker)
        if instances:
            about["instances"] = {
                "name": instances.name,
                "sha256": store.sha256_of(instances),
                "num_images_missing": without_truth,
            }
        done = _finish(folder, out, [images_out, actions_out, annotators_out], [], about)
    return replace(done, num_without_truth=without_truth)


def _imagenet_records(
    log: Source, bad: BadRecords, max_member_bytes: int
) -> Iterator[imagenet.ImagenetRecord]:
    seen = SeenIds()
    for member in members(log, max_member_bytes=max_member_bytes):
        try:
            if member.problem:
                raise member.problem
            record = imagenet.parse(member.name, member.body)
            _check_new(seen, record.image["image_id"], member.name)
        except RecordError as error:
            bad(error)
        else:
            yield record


def _coco_records(log: Source, bad: BadRecords) -> Iterator[coco.CocoRecord]:
    seen = SeenIds()
    for index, found in enumerate(coco.raw_records(log)):
        try:
            record = coco.parse(index, found)
            _check_new(seen, record.values["image_id"], f"record {index}")
        except RecordError as error:
            bad(error)
        else:
            yield record


def _check_new(seen: SeenIds, image_id: str | int, where: str) -> None:
    if not seen.add(image_id):
        raise RecordError(where, "duplicate", f"image {image_id} was there before; the first holds")


def _check_some(source: Path, num_images: int, bad: BadRecords) -> None:
    if not num_images:
        raise ArchiveError(
            f"{source}: no usable record among {bad.total} ({dict(bad.tally)}); expected a log of"
            f" the release. The first: {bad.first or 'none'}"
        )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some


class _Waiting:
    """Image rows on disk until all classes are known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self.num_rows = 0

    def __enter__(self) -> _Waiting:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(str(self._path), table.schema, options=options)
        self._writer.write_table(table)
        self.num_rows += len(table)

    def read(self, shown: bool | None) -> Iterator[pa.Table]:
        """The rows again, in order; the file is gone afterwards."""
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_file(file) as reader:
            numbers = progress(range(reader.num_record_batches), what="label", shown=shown)
            for number in numbers:
                yield pa.Table.from_batches([reader.get_batch(number)])
        self._path.unlink()


def _read_truth(instances: Path | None, shown: bool | None) -> dict[int, TrueImage] | None:
    if instances is None:
        return None
    with progress(**_bar(instances, "instances"), shown=shown) as bar:
        return read_instances(instances, bar.update)


def _bar(source: Path, what: str) -> dict[str, Any]:
    total = source.stat().st_size if source.is_file() else None
    return {"what": what, "total": total, "unit": "B", "unit_scale": True}


def _about(
    dataset: str, log: Source, bad: BadRecords, unknown: Counter[str], hash_worker: WorkerHash
) -> dict[str, Any]:
    """What the manifest says of the input; no dates and no paths, so equal input, equal bytes."""
    about = {
        "dataset": dataset,
        "source": {"name": log.path.name, "sha256": log.sha256},
        "worker_key": hash_worker.fingerprint,
        "skipped": dict(sorted(bad.tally.items())),
        "unknown": dict(sorted(unknown.items())),
        "versions": {
            "python": platform.python_version(),
            **{p: installed(p) for p in ("luab", "numpy", "pyarrow", "shapely")},
        },
    }
    return about


_TITLES = {"imagenet-ab": "ImageNet-AB", "coco-ab": "COCO-AB"}


def _finish(
    folder: Path,
    out: Path,
    writers: list[store.ShardWriter],
    wnids: list[str],
    about: dict[str, Any],
) -> Converted:
    """Card, checksums, manifest."""
    tables: tuple[Table, ...] = DATASETS[about["dataset"]]
    for writer in writers:
        writer.close()
    num_rows = {t.config: w.num_rows for t, w in zip(tables, writers, strict=True)}
    num_bytes = {t.config: w.num_bytes for t, w in zip(tables, writers, strict=True)}
    digest = store.content_digest(store.file_digests(folder))
    version = store.version_of(digest)
    text = card(
        tables,
        name=Path(os.path.realpath(out)).name,
        title=_TITLES[about["dataset"]],
        version=version,
        wnids=wnids,
        num_rows=num_rows,
        num_bytes=num_bytes,
        num_skipped=sum(about["skipped"].values()),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    schemas = {t.config: {f.name: str(f.type) for f in t.schema()} for t in tables}
    manifest = {
        **about,
        "version": version,
        "content_digest": digest,
        "num_rows": num_rows,
        "classes": wnids,
        "schemas": schemas,
    }
    store.seal(folder, manifest)
    return Converted(
        out=out,
        version=version,
        num_rows=num_rows,
        skipped=about["skipped"],
        unknown=about["unknown"],
        content_digest=digest,
    )
