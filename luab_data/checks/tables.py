"""[I/O] The Parquet files of a dataset folder: every column of every row group, read once.

Images and their rounds (or actions) are read side by side, shard by shard, so that what must hold
between them can be checked in bounded memory. What cannot be read side by side, because a file is
damaged or rows do not match, is read alone to its end: one damage does not hide the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.checks import invariants
from luab_data.checks.derived import differing
from luab_data.checks.files import Manifest
from luab_data.checks.invariants import Broken
from luab_data.checks.lint import Lint, Window
from luab_data.checks.report import Report
from luab_data.checks.shards import ShardReader, Spoilt
from luab_data.console import progress
from luab_data.files import MANIFEST
from luab_data.ragged import Ints
from luab_data.schema import Table, tables_of
from luab_data.store.digest import content_digest
from luab_data.store.folder import version_of


def check_tables(
    folder: Path, manifest: Manifest, report: Report, lint: Lint, *, shown: bool | None
) -> None:
    """Read all rows; note every problem in `report` and what is odd in `lint`.

    Memory holds a row group of each table and the image ids (25 MB for ImageNet-AB).
    """
    _Tables(folder, manifest, report, lint).check(shown)


class _Tables:
    """What has to be remembered from row group to row group."""

    def __init__(self, folder: Path, manifest: Manifest, report: Report, lint: Lint) -> None:
        self.folder = folder
        self.manifest = manifest
        self.report = report
        self.lint = lint
        self.dataset: str = manifest["dataset"]
        self.tables = tables_of(manifest)
        self.images, self.records, self.annotators = self.tables
        self.ids: list[pa.Array] = []
        self.workers: dict[str, set[str]] = {table.config: set() for table in self.tables}
        self.digests: dict[str, list[str | None]] = {table.config: [] for table in self.tables}
        self.complete = {table.config: True for table in self.tables}
        self.derived_done = False

    def check(self, shown: bool | None) -> None:
        self.report.ran("shards", "rows", "values", "image-ids", "workers")
        if self.dataset == "coco-ab" or "classes" in self.manifest:
            self.report.ran("classes")
        names = {table.config: self._shard_names(table) for table in self.tables}
        image_names, record_names = names["default"], names[self.records.config]
        if len(image_names) != len(record_names):
            found = f"{len(image_names)} shards of default, {len(record_names)} of"
            self.report.problem(
                "shards", self.records.folder, f"{found} {self.records.config}", "as many"
            )
        total = self.manifest.get("num_rows", {}).get("default")
        with progress(what="check", total=total, unit="image", shown=shown) as bar:
            for image_name, record_name in zip_longest(image_names, record_names):
                images = self._open(self.images, image_name)
                records = self._open(self.records, record_name)
                self._check_pair(images, records, bar)
        for name in names["annotators"]:
            if shard := self._open(self.annotators, name):
                shard.drain()
                self._closed(self.annotators, shard)
        if not all(self.complete.values()):
            self.report.partly("shards", "values", "image-ids", "classes", "workers")
        self._check_rows()
        self._check_ids()
        self._check_annotators()
        self._check_content()

    def _shard_names(self, table: Table) -> list[str]:
        """Paths of the shards in the folder, by the manifest or else by what is there, in order."""
        if "files" in self.manifest:
            names = [n for n in self.manifest["files"] if n.startswith(f"{table.folder}/")]
        else:
            names = [f"{table.folder}/{p.name}" for p in (self.folder / table.folder).glob("*")]
        names = sorted(name for name in names if name.endswith(".parquet"))
        expected = [f"train-{k:05d}-of-{len(names):05d}.parquet" for k in range(len(names))]
        found = [name.partition("/")[2] for name in names]
        if found != expected or not names:
            self.report.problem(
                "shards",
                table.folder,
                ", ".join(found[:3]) + (", ..." if len(found) > 3 else "") or "no shard",
                "train-00000-of-N.parquet to the last of N",
            )
        return names

    def _open(self, table: Table, name: str | None) -> ShardReader | None:
        """The shard; None if there is no such file, which another check has said."""
        path = None if name is None else self.folder / name
        if name is None or path is None or not path.is_file():
            self.complete[table.config] = False
            self.digests[table.config].append(None)
            return None
        types = self.manifest.get("schemas", {}).get(table.config)

        def look(rows: pa.Table, where: str) -> bool:
            return self._look(table, rows, where)

        shard = ShardReader(path, name, table, types, self.report, look)
        self.report.num_rows[table.config] = (
            self.report.num_rows.get(table.config, 0) + shard.num_rows
        )
        return shard

    def _closed(self, table: Table, shard: ShardReader) -> None:
        self.complete[table.config] &= shard.whole
        self.digests[table.config].append(shard.digest)
        shard.close()

    def _look(self, table: Table, rows: pa.Table, where: str) -> bool:
        """What can be told from a row group alone; false if its lists cannot be relied on."""
        if self._note(invariants.broken_values(rows, self.dataset, table.config), rows, where):
            return False
        if table.config == "default":
            self.ids.append(rows["image_id"].combine_chunks())
            classes = self.manifest.get("classes")
            self._note(invariants.broken_classes(rows, self.dataset, classes), rows, where)
        self._note(invariants.broken_workers(rows), rows, where)
        seen = pc.unique(rows["worker_id"]).drop_null().to_pylist()
        self.workers[table.config].update(seen)
        return True

    def _note(self, broken: Iterable[Broken], rows: pa.Table, where: str) -> bool:
        """Put broken promises into the report; whether there were any."""
        any_ = False
        for check, found, expected, row, count in broken:
            named = ""
            if "image_id" in rows.column_names:
                named = f" (image_id={rows['image_id'][row].as_py()})"
            more = f"; {count} such rows" if count > 1 else ""
            self.report.problem(check, f"{where}, row {row}{named}", found + more, expected)
            any_ = True
        return any_

    def _check_pair(
        self, images: ShardReader | None, records: ShardReader | None, bar: Any
    ) -> None:
        """Shard k of default beside shard k of rounds (or actions)."""
        before = self.lint.num_images
        if images and records and images.whole and records.whole:
            try:
                for window in self._windows(images, records):
                    self._check_window(window, images.name)
                    bar.update(len(window.images))
            except Spoilt:
                pass
        for table, shard in ((self.images, images), (self.records, records)):
            if shard:
                shard.drain()
                self._closed(table, shard)
        if images:
            self.report.not_linted += images.num_rows - (self.lint.num_images - before)

    def _windows(self, images: ShardReader, records: ShardReader) -> Iterator[Window]:
        while (table := images.next()) is not None:
            counts = self._num_records(table)
            rows = records.take(min(int(counts.sum()), records.num_left))
            owner = np.repeat(np.arange(len(table)), counts)
            expected = table["image_id"].take(pa.array(owner))
            if not rows["image_id"].equals(expected):
                self._note_mismatch(rows["image_id"], expected, records.name)
                raise Spoilt(records.name)
            yield Window(table, rows, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
        if records.num_left:
            found = f"{records.num_left} rows after those of the images of {images.name}"
            self.report.problem("shards", records.name, found, "none")

    def _num_records(self, images: pa.Table) -> Ints:
        """(num_images,) how many rows of the second table each image has."""
        if self.dataset == "coco-ab":
            return np.ones(len(images), np.int64)
        counts: Ints = images["num_rounds"].to_numpy().astype(np.int64)
        return np.maximum(counts, 0)

    def _note_mismatch(self, found: pa.ChunkedArray, expected: pa.ChunkedArray, name: str) -> None:
        shorter = min(len(found), len(expected))
        equal = pc.equal(found.slice(0, shorter), expected.slice(0, shorter))
        row = pc.index(equal, False).as_py()
        row = shorter if row < 0 else row
        has = f"row of image {found[row]}" if row < len(found) else "no row"
        wanted = f"one of image {expected[row]}" if row < len(expected) else "none"
        advice = "shard k of each config must hold the same images; convert the raw log again"
        self.report.problem("shards", name, has, f"{wanted}, as default has it", advice)

    def _check_window(self, window: Window, name: str) -> None:
        if self.dataset == "imagenet-ab":
            self._note(invariants.broken_rounds(window.records), window.records, name)
        if not self.derived_done and len(window.images):
            self.derived_done = True
            self.report.ran("derived")
            for column, row in differing(window, self.dataset, self.manifest.get("classes")):
                image = window.images["image_id"][row].as_py()
                self.report.problem(
                    "derived",
                    f"{name}: row group 0, row {row} (image_id={image})",
                    f"another {column}",
                    "what luab computes from the raw columns",
                    "if another luab wrote it, run `luab-data derive`; else convert again",
                )
        self.lint.see(window)

    def _check_rows(self) -> None:
        for config, expected in self.manifest.get("num_rows", {}).items():
            found = self.report.num_rows.get(config, 0)
            if config in self.complete and found != expected:
                self.report.problem("rows", config, f"{found} rows", f"{expected} by the manifest")

    def _check_ids(self) -> None:
        ids = pa.chunked_array(self.ids, self.images["image_id"].type)
        self.ids = []
        if len(ids) == pc.count_distinct(ids).as_py():
            return
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        for entry in twice.slice(0, 5).to_pylist():
            found = f"image {entry['values']} {entry['counts']} times"
            self.report.problem("image-ids", self.images.folder, found, "every image once")

    def _check_annotators(self) -> None:
        if not all(self.complete.values()):
            return
        rows = self.workers[self.records.config]
        listed = self.workers["annotators"]
        if len(listed) != self.report.num_rows.get("annotators", 0):
            found = f"{len(listed)} workers in {self.report.num_rows.get('annotators')} rows"
            self.report.problem("workers", self.annotators.folder, found, "a worker a row")
        if listed != rows:
            found = f"{len(rows - listed)} workers missing, {len(listed - rows)} too many"
            expected = f"the workers of {self.records.config}"
            self.report.problem("workers", self.annotators.folder, found, expected)
        if not self.workers["default"] <= rows:
            found = f"{len(self.workers['default'] - rows)} workers of no {self.records.config}"
            self.report.problem("workers", self.images.folder, found, "a worker of its rounds")

    def _check_content(self) -> None:
        """The digest of all values, which does not depend on how Parquet stores them."""
        listed = self.manifest.get("shards", {})
        for config, digests in self.digests.items():
            for number, (digest, shard) in enumerate(
                zip(digests, listed.get(config, []), strict=False)
            ):
                if digest is not None and digest != shard["digest"]:
                    where = f"{config}, shard {number}"
                    self.report.problem(
                        "content", where, f"values of digest {digest}", shard["digest"]
                    )
        found = {config: [d for d in ds if d is not None] for config, ds in self.digests.items()}
        if found != self.digests or not {"content_digest", "version"} <= self.manifest.keys():
            return
        self.report.ran("content")
        digest, version = self.manifest["content_digest"], self.manifest["version"]
        if content_digest(found) != digest:
            expected = f"{content_digest(found)}, as the rows have it"
            self.report.problem("content", MANIFEST, f"content_digest {digest}", expected)
        if version_of(digest) != version:
            expected = f"{version_of(digest)}, which follows from the content digest"
            self.report.problem("content", MANIFEST, f"version {version}", expected)
