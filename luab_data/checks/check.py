"""[I/O] A dataset folder -> a report: is it whole, and what is odd about the behaviour in it.

Start reading here: first the files, then the rows, every column of every row group, read once. A
broken part is reported and the rest is checked all the same. Images and their rounds (or actions)
are read shard by shard, so that what must hold between them can be checked in bounded memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.checks.folder import Manifest, check_card, check_files, check_manifest
from luab_data.checks.lint import Broken, Lint, chosen, rules_of
from luab_data.checks.report import Notes, Report
from luab_data.checks.rows import (
    UNREADABLE,
    broken_values,
    broken_workers,
    check_schema,
    differing,
    line,
    read_group,
)
from luab_data.console import progress
from luab_data.errors import OptionError
from luab_data.files import MANIFEST
from luab_data.kinds import kind_of, tables_of
from luab_data.ragged import one_array
from luab_data.schema import Table
from luab_data.store.digest import ShardDigest, content_digest
from luab_data.store.folder import version_of
from luab_data.store.load import find_dataset
from luab_data.store.shards import ROWS_PER_GROUP

EXAMPLES = 3


def check(
    dataset: str | os.PathLike[str],
    *,
    rules: Iterable[str] = (),
    examples: int = EXAMPLES,
    shown: bool | None = None,
) -> Report:
    """Verify all of a dataset folder and lint the behaviour in it.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        rules: ids of the lint rules to apply; none means all of the dataset's.
        examples: how many rows to name per rule.
        shown: False for no progress.

    Returns: the report; `whole` is false if any check of integrity failed. Lint never counts.

    Raises:
        DatasetError: the folder is not there or holds nothing of luab.
        OptionError: no such rule, or a negative number of examples.
    """
    if examples < 0:
        raise OptionError(f"examples is {examples}; expected 0 or more")
    folder, notes = Path(dataset).expanduser(), Notes()
    if not folder.exists():
        folder = find_dataset(dataset, whole=False)
    manifest = check_manifest(folder, notes)
    kind = kind_of(manifest)
    lint = Lint(chosen(rules_of(kind), rules), examples)
    check_files(folder, manifest, notes, shown=shown)
    check_card(folder, manifest, notes)
    _Tables(folder, manifest, notes, lint).check(shown)
    return Report(
        folder=folder,
        dataset=kind.dataset,
        version=manifest.get("version"),
        num_rows=notes.num_rows,
        statuses=notes.statuses,
        num_problems=notes.num_problems,
        problems=tuple(notes.problems),
        findings=lint.findings,
        not_linted=notes.not_linted,
        repaired=manifest.get("repaired", {}),
    )


class Shard(NamedTuple):
    """What a file holds."""

    name: str
    num_rows: int  # by its footer; 0 if that cannot be read
    rows: pa.Table | None = None  # None unless every one can be read and relied on
    digest: str | None = None  # of the values; None unless every one can be read


class _Tables:
    """What has to be remembered from shard to shard.

    Memory holds a shard of each table and the image ids (25 MB for ImageNet-AB).
    """

    def __init__(self, folder: Path, manifest: Manifest, notes: Notes, lint: Lint) -> None:
        self.folder = folder
        self.manifest = manifest
        self.notes = notes
        self.lint = lint
        self.kind = kind_of(manifest)
        self.classes: list[str] | None = manifest.get("classes")
        self.tables = tables_of(manifest)
        self.images, self.records, self.annotators = self.tables
        self.ids: list[pa.Array] = []
        self.workers: dict[str, set[str]] = {table.config: set() for table in self.tables}
        self.digests: dict[str, list[str | None]] = {table.config: [] for table in self.tables}
        self.complete = True
        self.derived_done = False

    def check(self, shown: bool | None) -> None:
        """Read all rows; note every problem, and what is odd in the lint."""
        self.notes.ran("shards", "rows", "values", "image-ids", "workers")
        needed = {column.classes for column in self.images.columns} - {None, "coco"}
        if self.classes is not None or not needed:
            self.notes.ran("classes")
        names = {table.config: self._shard_names(table) for table in self.tables}
        image_names, record_names = names["default"], names[self.records.config]
        if len(image_names) != len(record_names):
            found = f"{len(image_names)} shards of default, {len(record_names)} of"
            found = f"{found} {self.records.config}"
            self.notes.problem("shards", self.records.folder, found, "as many")
        total = self.manifest.get("num_rows", {}).get("default")
        with progress(what="check", total=total, unit="image", shown=shown) as bar:
            for image_name, record_name in zip_longest(image_names, record_names):
                images = self._read(self.images, image_name)
                records = self._read(self.records, record_name)
                linted = self.lint.num_images
                if images.rows is not None and records.rows is not None:
                    self._check_pair(images.rows, records.rows, images.name, records.name)
                self.notes.not_linted += images.num_rows - (self.lint.num_images - linted)
                bar.update(images.num_rows)
        for name in names["annotators"]:
            self._read(self.annotators, name)
        if not self.complete:
            self.notes.partly("shards", "values", "image-ids", "classes", "workers")
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
            listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
            wanted = "train-00000-of-N.parquet to the last of N"
            self.notes.problem("shards", table.folder, listed or "no shard", wanted)
        return names

    def _read(self, table: Table, name: str | None) -> Shard:
        """The shard; an empty one if there is no such file, which another check has said."""
        shard = Shard(name or "", 0)
        if name is not None and (self.folder / name).is_file():
            shard = self._read_file(table, name)
            num_rows = self.notes.num_rows.get(table.config, 0) + shard.num_rows
            self.notes.num_rows[table.config] = num_rows
        self.complete &= shard.rows is not None
        self.digests[table.config].append(shard.digest)
        return shard

    def _read_file(self, table: Table, name: str) -> Shard:
        """A file, read to its end, past any damage."""
        self.notes.ran("pages", "schema")
        try:
            file = pq.ParquetFile(self.folder / name, page_checksum_verification=True)
        except UNREADABLE as error:
            found = f"cannot be opened: {line(error)}"
            self.notes.problem("pages", name, found, "a Parquet file")
            return Shard(name, 0)
        types = self.manifest.get("schemas", {}).get(table.config)
        with file:
            is_sound = check_schema(file.schema_arrow, name, table, types, self.notes)
            is_read = is_whole = is_sound
            digest, groups = ShardDigest(), []
            for number in range(file.num_row_groups):
                where = f"{name}: row group {number}"
                rows = read_group(file, number, where, self.notes)
                is_read &= rows is not None
                if rows is not None and is_sound:
                    digest.update(rows)
                    is_whole &= self._look(table, rows, where)
                    groups.append(rows)
            empty = table.schema().empty_table()
            return Shard(
                name,
                int(file.metadata.num_rows),
                pa.concat_tables(groups or [empty]) if is_read and is_whole else None,
                digest.hexdigest() if is_read else None,
            )

    def _look(self, table: Table, rows: pa.Table, where: str) -> bool:
        """What can be told from a row group alone; false if its lists cannot be relied on."""
        is_image = table.config == "default"
        broken = [*broken_values(rows, self.kind.checks, table)]
        if is_image and not broken:
            broken = [*self.kind.checks.of_images(rows, self.classes)]
        self._note(broken, rows, where)
        if any(promise.check == "values" for promise in broken):
            return False
        if is_image:
            self.ids.append(self._ids_of(rows))
        self._note(broken_workers(rows), rows, where)
        seen = pc.unique(rows["worker_id"]).drop_null().to_pylist()
        self.workers[table.config].update(seen)
        return True

    def _ids_of(self, rows: pa.Table) -> pa.Array:
        """(num_rows,) what names each row of `default`."""
        first, *others = (one_array(rows[name]) for name in self.kind.key)
        if not others:
            return first
        parts = [part.cast(pa.string()) for part in (first, *others)]
        return pc.binary_join_element_wise(*parts, ", view ")

    def _note(self, broken: Iterable[Broken], rows: pa.Table, where: str) -> None:
        for check, found, expected, row, count in broken:
            named = ""
            if "image_id" in rows.column_names:
                named = f" (image_id={rows['image_id'][row].as_py()})"
            more = f"; {count} such rows" if count > 1 else ""
            self.notes.problem(check, f"{where}, row {row}{named}", found + more, expected)

    def _check_pair(self, images: pa.Table, records: pa.Table, name: str, other: str) -> None:
        """Shard k of default beside shard k of rounds (or actions)."""
        counts = self.kind.checks.num_records(images)
        owner = np.repeat(np.arange(len(images)), counts)
        found, expected = self._ids_of(records), self._ids_of(images).take(pa.array(owner))
        if not found.equals(expected):
            shorter = min(len(found), len(expected))
            equal = pc.equal(found.slice(0, shorter), expected.slice(0, shorter))
            row = pc.index(equal, False).as_py()
            row = shorter if row < 0 else row
            has = f"row of image {found[row]}" if row < len(found) else "no row"
            wanted = f"one of image {expected[row]}" if row < len(expected) else "none"
            advice = "shard k of each config must hold the same images; convert the raw log again"
            self.notes.problem("shards", other, has, f"{wanted}, as default has it", advice)
            return
        bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._note(self.kind.checks.of_records(records), records, other)
        if not self.derived_done and len(images):
            self.derived_done = True
            some = min(len(images), ROWS_PER_GROUP)
            group = images.slice(0, some), records.slice(0, int(bounds[some]))
            self.notes.ran("derived")
            for rows, column, row in differing(*group, self.kind, self.classes):
                self.notes.problem(
                    "derived",
                    f"{name}: row {row} (image_id={rows['image_id'][row].as_py()})",
                    f"another {column}",
                    "what luab computes from the raw columns",
                    "if another luab wrote it, run `luab-data derive`; else convert again",
                )
        self.lint.see(self.kind.checks.window(images, records, bounds))

    def _check_rows(self) -> None:
        for table in self.tables:
            expected = self.manifest.get("num_rows", {}).get(table.config)
            found = self.notes.num_rows.get(table.config, 0)
            if expected is not None and found != expected:
                expected = f"{expected} by the manifest"
                self.notes.problem("rows", table.config, f"{found} rows", expected)

    def _check_ids(self) -> None:
        ids = pa.chunked_array(self.ids, None if self.ids else pa.string())
        if len(ids) == pc.count_distinct(ids).as_py():
            return
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        for entry in twice.slice(0, 5).to_pylist():
            found = f"image {entry['values']} {entry['counts']} times"
            self.notes.problem("image-ids", self.images.folder, found, "every image once")

    def _check_annotators(self) -> None:
        if not self.complete:
            return
        rows, listed = self.workers[self.records.config], self.workers["annotators"]
        num_rows = self.notes.num_rows.get("annotators", 0)
        if len(listed) != num_rows:
            found = f"{len(listed)} workers in {num_rows} rows"
            self.notes.problem("workers", self.annotators.folder, found, "a worker a row")
        if listed != rows:
            found = f"{len(rows - listed)} workers missing, {len(listed - rows)} too many"
            expected = f"the workers of {self.records.config}"
            self.notes.problem("workers", self.annotators.folder, found, expected)
        if strange := self.workers["default"] - rows:
            found = f"{len(strange)} workers of no {self.records.config}"
            self.notes.problem("workers", self.images.folder, found, "a worker of its rounds")

    def _check_content(self) -> None:
        """The digest of all values, which does not depend on how Parquet stores them."""
        listed = self.manifest.get("shards", {})
        for config, digests in self.digests.items():
            pairs = zip(digests, listed.get(config, []), strict=False)
            for number, (digest, shard) in enumerate(pairs):
                if digest is not None and digest != shard["digest"]:
                    where = f"{config}, shard {number}"
                    self.notes.problem(
                        "content", where, f"values of digest {digest}", shard["digest"]
                    )
        found = {config: [d for d in ds if d is not None] for config, ds in self.digests.items()}
        if found != self.digests or not {"content_digest", "version"} <= self.manifest.keys():
            return
        self.notes.ran("content")
        digest, version = self.manifest["content_digest"], self.manifest["version"]
        if content_digest(found) != digest:
            expected = f"{content_digest(found)}, as the rows have it"
            self.notes.problem("content", MANIFEST, f"content_digest {digest}", expected)
        if version_of(digest) != version:
            expected = f"{version_of(digest)}, which follows from the content digest"
            self.notes.problem("content", MANIFEST, f"version {version}", expected)
