"""[I/O] A log as it lies on disk, read once: counted, hashed and decompressed on the way."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from isal import igzip, isal_zlib

from luab_data.errors import ArchiveError

_GZIP_MAGIC = b"\x1f\x8b"
_ISAL_ERROR = cast(type[Exception], isal_zlib.error)
DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error, _ISAL_ERROR, tarfile.TarError)
"""What reading a cut or damaged container raises, besides OSError."""


class Source(io.RawIOBase):
    """A file that is read once, start to end: counts and hashes its bytes on the way through.

    Args:
        path: the file.
        on_read: called with the number of bytes of each read, for a progress bar.
    """

    def __init__(self, path: Path, on_read: Callable[[int], object] | None = None) -> None:
        self.path = path
        self.num_read = 0
        self._on_read = on_read
        self._hash = hashlib.sha256()
        try:
            self._file = path.open("rb", buffering=0)
            self.is_gzip = self._file.read(2) == _GZIP_MAGIC
            self._file.seek(0)
        except OSError as error:
            raise ArchiveError(f"{path}: cannot be opened ({error.strerror})") from error

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes of the file as it lies on disk."""
        view = memoryview(buffer)
        count = self._file.readinto(view) or 0
        self._hash.update(view[:count])
        self.num_read += count
        if self._on_read:
            self._on_read(count)
        return count

    def content(self) -> IO[bytes]:
        """The file's content, decompressed if it is gzip."""
        buffered = io.BufferedReader(self, 2**20)
        return cast(IO[bytes], igzip.open(buffered, "rb")) if self.is_gzip else buffered

    @property
    def sha256(self) -> str:
        """Digest of all bytes read so far: of the whole file once it was read to its end."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file; also called for a source that could not be opened."""
        if file := getattr(self, "_file", None):
            file.close()
        super().close()
