"""[I/O] A dataset folder anywhere: a local path, or a URL of any pyarrow or fsspec filesystem."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from luab_data.errors import DatasetError, OptionError, OutputError


@dataclass(frozen=True)
class Place:
    """A folder of a filesystem; can be sent to another process.

    Args:
        filesystem: any of pyarrow's, fsspec's wrapped as one of those.
        path: of the folder in it, without a trailing slash.
    """

    filesystem: Any
    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def local(self) -> Path | None:
        """The folder as a local path; None if it is elsewhere."""
        return Path(self.path) if isinstance(self.filesystem, fs.LocalFileSystem) else None

    def at(self, name: str) -> str:
        """Path of a file in the folder."""
        return f"{self.path}/{name}"

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self.filesystem.get_file_info(self.at(name)).type == fs.FileType.File)

    def files(self) -> list[str]:
        """Names of all files in the folder and below; none if it is not there."""
        every = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        found = (f.path for f in self.filesystem.get_file_info(every) if f.type == fs.FileType.File)
        return sorted(path[path.rindex(f"{self.path}/") + len(self.path) + 1 :] for path in found)

    def read_bytes(self, name: str) -> bytes:
        """A small file.

        Raises:
            DatasetError: it cannot be read.
        """
        return b"".join(self._blocks(name))

    def read_table(self, name: str, columns: list[str]) -> pa.Table:
        """Some columns of a Parquet file, in that order; page checksums are verified.

        Raises:
            DatasetError: it is not there, is damaged or lacks a column.
        """
        path = self.at(name)
        try:
            with (
                self.filesystem.open_input_file(path) as source,
                pq.ParquetFile(source, page_checksum_verification=True) as file,
            ):
                if missing := [c for c in columns if c not in file.schema_arrow.names]:
                    raise DatasetError(
                        f"{path}: has no column {', '.join(missing)}; convert the raw log again"
                    )
                return file.read(columns, use_threads=False).select(columns)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{path}: damaged ({error}); convert the raw log again or copy the folder again"
            ) from error

    def put(self, source: Path, name: str) -> None:
        """Copy a local file into the folder.

        Raises:
            OutputError: the filesystem refuses.
        """
        path = self.at(name)
        try:
            self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with source.open("rb") as file, self.filesystem.open_output_stream(path) as out:
                shutil.copyfileobj(file, out, 2**20)
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error

    def copy_to(self, name: str, target: Place) -> str:
        """Copy a file of the folder to another one; its sha256.

        Raises:
            DatasetError: it cannot be read.
            OutputError: it cannot be written.
        """
        path = target.at(name)
        digest = hashlib.sha256()
        try:
            target.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with target.filesystem.open_output_stream(path) as out:
                for block in self._blocks(name):
                    digest.update(block)
                    out.write(block)
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
        return digest.hexdigest()

    def _blocks(self, name: str) -> Iterator[bytes]:
        try:
            with self.filesystem.open_input_stream(self.at(name)) as file:
                while block := file.read(2**20):
                    yield block
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{self.at(name)}: cannot be read ({error})") from error


def place(where: str | Path) -> Place:
    """The folder that a path or a URL (`s3://bucket/imagenet-ab`) names.

    Raises:
        OptionError: no filesystem is known for the URL, or it cannot be reached.
    """
    text = str(where)
    if "://" not in text:
        return Place(fs.LocalFileSystem(), str(Path(text).absolute()))
    try:
        filesystem, path = _resolve(text)
    except (ValueError, OSError, ImportError, pa.ArrowException) as error:
        raise OptionError(
            f"{text}: cannot be opened ({error}); expected a folder or a URL of a filesystem that"
            " pyarrow or an installed fsspec package knows"
        ) from error
    return Place(filesystem, path.rstrip("/"))


def _resolve(url: str) -> tuple[Any, str]:
    try:
        found: tuple[Any, str] = fs.FileSystem.from_uri(url)
        return found
    except (ValueError, pa.ArrowException):  # not one of pyarrow's own
        import fsspec  # type: ignore[import-untyped]

        filesystem, path = fsspec.core.url_to_fs(url)
        return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
