"""[I/O] A dataset folder that is either whole or not there.

Everything is written to a staging folder beside the target; checksums and the manifest come last;
then the folders are swapped. Killed at any moment, the target is the old dataset or the new one;
between the two renames of the swap the old one waits beside it, and the next run puts it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from luab_data.errors import DatasetError, LuabError, OutputError
from luab_data.schema import Table
from luab_data.store.digest import ShardDigest

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
SKIPPED = "skipped.jsonl"
"""The records that a conversion left out, if any: where, rule, reason."""

ROWS_PER_GROUP = 16_384


def _parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How a config's columns are stored, chosen by size on disk.

    Times ascend in steps of some 16 ms, so their differences are stored; everything else has few
    distinct values: fractions of a picture's pixels, ids of pages.
    """
    leaves = {_leaf(field): field for field in schema}
    times = [leaf for leaf, field in leaves.items() if _is_time(field)]
    return {
        "compression": "zstd",
        "compression_level": 3,
        "write_page_checksum": True,
        "use_dictionary": [leaf for leaf in leaves if leaf not in times],
        "column_encoding": dict.fromkeys(times, "DELTA_BINARY_PACKED"),
    }


def _leaf(field: pa.Field) -> str:
    """The path of a column's values in Parquet."""
    path, type = field.name, field.type
    while pa.types.is_list(type):
        path, type = f"{path}.list.element", type.value_type
    return str(path)


def _is_time(field: pa.Field) -> bool:
    type = field.type.value_type if pa.types.is_list(field.type) else field.type
    unit = (field.metadata or {}).get(b"unit", b"")
    return bool(pa.types.is_int64(type) and unit in (b"ms", b"epoch ms", b"epoch s"))


class ShardWriter:
    """One config's rows as `part-NNNNN.parquet`, later `train-NNNNN-of-NNNNN.parquet`.

    Args:
        folder: of the dataset.
        table: the config.
        schema: of the rows, if it has more columns than the table.
        first: number of the first shard.

    Shards are ended by the caller, so that those of two configs can hold the same images.
    """

    def __init__(
        self, folder: Path, table: Table, schema: pa.Schema | None = None, *, first: int = 0
    ) -> None:
        self._folder = folder / table.folder
        self._schema = schema or table.schema()
        self._first = first
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self._num_pending = 0
        self._in_shard = 0
        self._digest = ShardDigest()
        self.shards: list[Shard] = []

    def write(self, table: pa.Table) -> None:
        """Append rows to the shard; the schema must be the config's own."""
        if not table.schema.equals(self._schema):
            raise ValueError(f"schema differs from {self._folder.name}: {table.schema}")
        self._in_shard += len(table)
        self._pending.append(table)
        self._num_pending += len(table)
        # Row groups of one size, whatever the batches were: equal rows give equal files.
        while self._num_pending >= ROWS_PER_GROUP:
            waiting = pa.concat_tables(self._pending)
            self._write_group(waiting.slice(0, ROWS_PER_GROUP))
            self._pending = [waiting.slice(ROWS_PER_GROUP)]
            self._num_pending -= ROWS_PER_GROUP

    def _write_group(self, group: pa.Table) -> None:
        if self._writer is None:
            self._folder.mkdir(exist_ok=True)
            self._writer = pq.ParquetWriter(
                self._path(), self._schema, **_parquet_options(self._schema)
            )
        self._digest.update(group)
        self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)

    def _path(self) -> Path:
        return self._folder / f"part-{self._first + len(self.shards):05d}.parquet"

    def end_shard(self) -> Path:
        """Write what is left and close the file; the next rows begin another one."""
        path = self._path()
        if self._num_pending or self._writer is None:
            rows = pa.concat_tables(self._pending or [self._schema.empty_table()])
            self._write_group(rows.combine_chunks())
        if self._writer is not None:
            self._writer.close()
        digest = self._digest
        self.shards.append(Shard(self._in_shard, digest.num_bytes, digest.hexdigest()))
        self._writer, self._pending, self._num_pending = None, [], 0
        self._in_shard, self._digest = 0, ShardDigest()
        return path

    def close(self) -> None:
        """End the last shard, if any rows are in it, and give all shards their final names."""
        if self._in_shard or not self.shards:
            self.end_shard()
        name_shards(self._folder)

    @property
    def num_rows(self) -> int:
        """Rows of all ended shards."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Bytes of those rows in memory."""
        return sum(shard.num_bytes for shard in self.shards)


def name_shards(folder: Path) -> None:
    """Give all parts in a config's folder their final names, which say how many there are."""
    parts = sorted(folder.glob("part-*.parquet"))
    for path in parts:
        number = path.stem.removeprefix("part-")
        path.rename(path.with_name(f"train-{number}-of-{len(parts):05d}.parquet"))


@dataclass(frozen=True)
class Shard:
    """What the manifest says of a shard."""

    num_rows: int
    num_bytes: int
    digest: str  # of its values: publish.digest


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder to write a dataset in; becomes `out` when the block ends well, vanishes otherwise.

    It is empty at the start, whatever a killed process left there.

    Raises:
        OutputError: `out` is not a dataset of ours or holds files of somebody else, another process
            is writing it, or the disk refuses. The old dataset, if any, is untouched.
    """
    out = Path(os.path.realpath(out))  # a link stays a link, its target is replaced
    if not out.name or out == Path.cwd():
        raise OutputError(f"{out}: cannot be replaced as a whole; choose another --out")
    folder, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    with _writing(out), _parents(out), locked(out):
        _finish_swap(out, old)
        _check_replaceable(out)
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
        folder.mkdir()
        try:
            yield folder
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    flush(path)
            _swap(folder, out, old)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def flush(path: Path) -> None:
    """Have a file on disk, not only in memory."""
    # Windows flushes only what is open for writing; elsewhere a file may be read-only.
    with path.open("r+b" if os.name == "nt" else "rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _parents(out: Path) -> Iterator[None]:
    """Make the folders above `out`; take back those that were made if the block fails."""
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for parent in made:
            with suppress(OSError):  # somebody else may have used it meanwhile
                parent.rmdir()
        raise


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """The disk's refusals as OutputError."""
    try:
        yield
    except LuabError:
        raise
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}). Nothing was changed; make room"
            " or choose another --out"
        ) from error


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from writing a target; OutputError if one is at it."""
    # Beside the target: every job that can write the target sees it, whatever its temporary folder.
    lock = FileLock(out.with_name(f".{out.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(f"{out}: another process is writing it; wait for it to end") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _finish_swap(out: Path, old: Path) -> None:
    """After a kill between the two renames the old dataset waits beside its place."""
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _swap(folder: Path, out: Path, old: Path) -> None:
    if out.exists():
        out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _check_not_inside(out: Path) -> None:
    """A dataset in a dataset's folder would be a stranger there."""
    for parent in out.parents:
        with suppress(DatasetError):
            read_manifest(parent)
            raise OutputError(f"{out}: lies inside the dataset {parent}; choose another --out")


def _check_replaceable(out: Path) -> None:
    _check_not_inside(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out}: is a file; expected a folder to make or replace")
    if not any(out.iterdir()):
        return
    if not (out / MANIFEST).is_file():
        raise OutputError(
            f"{out}: holds files but no {MANIFEST}, so luab did not write it; choose another --out"
            " or remove the folder"
        )
    known = {*read_manifest(out)["files"], MANIFEST, CHECKSUMS}
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if not p.is_dir()}
    if strangers := sorted(found - known):
        raise OutputError(
            f"{out}: replacing it would delete files that luab did not write:"
            f" {', '.join(strangers[:5])}. Move them away or choose another --out"
        )


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest(file)
        )


def _digest(file: Any) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def version_of(digest: str) -> str:
    """1.0.N: 1.0 is the layout of the tables, N a fingerprint of the content.

    `datasets` caches a local folder by its card's text, so other rows need another version, also
    after the old folder was deleted. Equal content keeps its version.
    """
    return f"1.0.{int(digest[:6], 16)}"


def seal(
    folder: Path, manifest: dict[str, Any], elsewhere: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write SHA256SUMS and, last, the manifest over all files of the folder.

    Args:
        elsewhere: path -> sha256 of files of the dataset that are not in this folder, since it is
            put together on a filesystem without renames.
    """
    for name in (MANIFEST, CHECKSUMS):  # of a folder that is sealed anew
        (folder / name).unlink(missing_ok=True)
    files = dict(sorted({**elsewhere, **file_digests(folder)}.items()))
    sums = "".join(f"{digest}  {name}\n" for name, digest in files.items())
    (folder / CHECKSUMS).write_text(sums, encoding="utf-8")
    text = json.dumps({**manifest, "files": files}, indent=1, ensure_ascii=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def file_digests(folder: Path) -> dict[str, str]:
    """Sha256 of every file by its POSIX path in the folder, sorted by path."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in paths}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset folder.

    Raises:
        DatasetError: no such folder, no manifest, or not one of ours.
    """
    path = folder / MANIFEST
    if not path.is_file():
        state = "has no manifest.json" if folder.is_dir() else "is not there"
        waiting = folder.with_name(f".{folder.name}.old") if folder.name else folder
        if not folder.exists() and (waiting / MANIFEST).is_file():
            state = f"is not there, but an interrupted conversion left {waiting}: rename it back"
        raise DatasetError(
            f"{folder}: {state}; expected a folder written by `luab-data convert`. If a conversion"
            " was interrupted, run it again"
        )
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        known = manifest["dataset"] and manifest["version"] and manifest["files"]
        unsafe = [name for name in manifest["files"] if not _IS_INSIDE(name)]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a manifest of luab ({error!r})") from None
    if not known:
        raise DatasetError(f"{path}: not a manifest of luab: names no dataset, version or files")
    if unsafe:
        raise DatasetError(f"{path}: lists {unsafe[0]!r}, which is outside of the folder")
    return manifest


_IS_INSIDE = re.compile(r"(?!.*(^|/)\.\.(/|$))[^/\\:][^\\:]*").fullmatch


def parquet_files(folder: Path, table: Table) -> list[Path]:
    """The shards of one config, in order."""
    return sorted((folder / table.folder).glob("train-*.parquet"))


def read_columns(folder: Path, table: Table, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of one config, a row group at a time; page checksums are verified.

    Raises:
        DatasetError: a file is damaged; says which.
    """
    for path in parquet_files(folder, table):
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path}: damaged ({error}); {_AGAIN}") from error


def check_files(folder: Path, only: Table | None = None) -> None:
    """Check that every file of the manifest is there, and the checksums of one config's files.

    Raises:
        DatasetError: names the first file that is missing or differs.
    """
    for name, digest in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            raise DatasetError(f"{path}: is missing though the manifest lists it; {_AGAIN}")
        if only and name.startswith(f"{only.folder}/") and sha256_of(path) != digest:
            raise DatasetError(f"{path}: its content is not what the manifest says; {_AGAIN}")


_AGAIN = "convert the raw log again or copy the folder again"
