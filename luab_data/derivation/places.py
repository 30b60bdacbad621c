"""[I/O] A dataset folder anywhere: a local path, or a URL of any pyarrow or fsspec filesystem."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from luab_data.errors import DatasetError, OptionError, OutputError
from luab_data.files import sha256_of


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

    def files(self) -> list[str]:
        """Names of all files in the folder and below; none if it is not there."""
        every = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        found = (f.path for f in self.filesystem.get_file_info(every) if f.type == fs.FileType.File)
        return sorted(path[path.rindex(f"{self.path}/") + len(self.path) + 1 :] for path in found)

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

    def copy_to(self, name: str, target: Place, new: str = "", *, link: bool = False) -> str:
        """Copy a file of the folder to another one; its sha256.

        Args:
            new: its name there, if it is another.
            link: let two local folders share it, if the filesystem can.

        Raises:
            DatasetError: it cannot be read.
            OutputError: it cannot be written.
        """
        source, path = self.at(name), target.at(new or name)
        if self.local and (target, path) == (self, source):
            return sha256_of(Path(path))
        digest = hashlib.sha256()
        try:
            target.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            if link and self.local and target.local:
                with suppress(OSError):  # no hard links, or another disk
                    os.link(source, path)
                    return sha256_of(Path(path))
            with target.filesystem.open_output_stream(path) as out:
                for block in self._blocks(source):
                    digest.update(block)
                    out.write(block)
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
        return digest.hexdigest()

    def _blocks(self, path: str) -> Any:
        try:
            with self.filesystem.open_input_stream(path) as file:
                while block := file.read(2**20):
                    yield block
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path}: cannot be read ({error})") from error


def place(where: str | os.PathLike[str]) -> Place:
    """The folder that a path or a URL (`s3://bucket/imagenet-ab`) names.

    Raises:
        OptionError: no filesystem is known for the URL, or it cannot be reached.
    """
    text = os.fspath(where)
    if "://" not in text:
        return Place(fs.LocalFileSystem(), str(Path(text).absolute()))
    try:
        try:
            filesystem, path = fs.FileSystem.from_uri(text)
        except (ValueError, pa.ArrowException):  # not one of pyarrow's own
            import fsspec  # type: ignore[import-untyped]

            found, path = fsspec.core.url_to_fs(text)
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(found))
    except (ValueError, OSError, ImportError, pa.ArrowException) as error:
        raise OptionError(
            f"{text}: cannot be opened ({error}); expected a folder or a URL of a filesystem that"
            " pyarrow or an installed fsspec package knows"
        ) from error
    return Place(filesystem, path.rstrip("/"))
