"""[I/O] A dataset folder that is either whole or not there.

Everything is written to a staging folder beside the target; checksums and the manifest come last;
then the folders are swapped. Killed at any moment, the target is the old dataset or the new one;
between the two renames of the swap the old one waits beside it, and the next run puts it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from luab_data.errors import DatasetError, LuabError, OutputError
from luab_data.schema import Table

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
ROWS_PER_SHARD = 200_000
ROWS_PER_GROUP = 8_192

_PARQUET = {
    "compression": "zstd",
    "compression_level": 3,
    "write_page_checksum": True,
    # Traces are fractions with few distinct values a page; times are steps of 16 ms.
    "use_dictionary": True,
}


class ShardWriter:
    """One config's rows as `train-NNNNN-of-NNNNN.parquet` files of ROWS_PER_SHARD rows."""

    def __init__(self, folder: Path, table: Table) -> None:
        self._folder = folder / table.folder
        self._schema = table.schema()
        self._paths: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._in_shard = 0
        self._pending: list[pa.Table] = []
        self._num_pending = 0
        self.num_rows = 0
        self.num_bytes = 0

    def write(self, table: pa.Table) -> None:
        """Append rows; the schema must be the config's own."""
        if not table.schema.equals(self._schema):
            raise ValueError(f"schema differs from {self._folder.name}: {table.schema}")
        self.num_rows += len(table)
        self.num_bytes += table.nbytes
        self._pending.append(table)
        self._num_pending += len(table)
        # Row groups of one size, whatever the batches were: equal rows give equal files.
        while self._num_pending >= ROWS_PER_GROUP:
            waiting = pa.concat_tables(self._pending)
            self._write_group(waiting.slice(0, ROWS_PER_GROUP))
            self._pending = [waiting.slice(ROWS_PER_GROUP)]
            self._num_pending -= ROWS_PER_GROUP

    def _write_group(self, group: pa.Table) -> None:
        if self._writer is None or self._in_shard + len(group) > ROWS_PER_SHARD:
            self._end_shard()
            self._folder.mkdir(exist_ok=True)
            path = self._folder / f"part-{len(self._paths):05d}.parquet"
            self._paths.append(path)
            self._writer = pq.ParquetWriter(path, self._schema, **_PARQUET)
        self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        self._in_shard += len(group)

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._in_shard = None, 0

    def close(self) -> None:
        """Write what is left and give the shards their final names."""
        if self._num_pending or not self._paths:
            empty = self._schema.empty_table()
            self._write_group(pa.concat_tables(self._pending or [empty]).combine_chunks())
        self._end_shard()
        for number, path in enumerate(self._paths):
            path.rename(path.with_name(f"train-{number:05d}-of-{len(self._paths):05d}.parquet"))


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder to write a dataset in; becomes `out` when the block ends well, vanishes otherwise.

    Raises:
        OutputError: `out` is not a dataset of ours or holds files of somebody else, another process
            is writing it, or the disk refuses. The old dataset, if any, is untouched.
    """
    out = Path(os.path.realpath(out))  # a link stays a link, its target is replaced
    if not out.name or out == Path.cwd():
        raise OutputError(f"{out}: cannot be replaced as a whole; choose another --out")
    folder, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    with _writing(out), _parents(out), _locked(out):
        _finish_swap(out, old)
        _check_replaceable(out)
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir()
        try:
            yield folder
            for path in sorted(folder.rglob("*")):
                _flush(path)
            _swap(folder, out, old)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


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
def _locked(out: Path) -> Iterator[None]:
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


def _flush(path: Path) -> None:
    if path.is_file():
        with path.open("r+b") as file:  # Windows flushes only what is open for writing
            os.fsync(file.fileno())


def _check_replaceable(out: Path) -> None:
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


def content_digest(files: dict[str, str]) -> str:
    """Digest of the Parquet files among path -> sha256, whatever else lies beside them."""
    rows = [f"{digest}  {name}\n" for name, digest in sorted(files.items()) if _is_data(name)]
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def _is_data(name: str) -> bool:
    return name.endswith(".parquet")


def version_of(digest: str) -> str:
    """1.0.N: 1.0 is the layout of the tables, N a fingerprint of the content.

    `datasets` caches a local folder by its card's text, so other rows need another version, also
    after the old folder was deleted. Equal content keeps its version.
    """
    return f"1.0.{int(digest[:6], 16)}"


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write SHA256SUMS and, last, the manifest over all files of the folder."""
    files = file_digests(folder)
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
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["dataset"] and manifest["version"] and manifest["files"]:
            return dict(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a manifest of luab ({error!r})") from None
    raise DatasetError(f"{path}: not a manifest of luab: names no dataset, version or files")


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
