"""[I/O] A log as it lies on disk, read once: counted, hashed and decompressed on the way.

A folder of XML files, or one of them, is read as the tar that would hold them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
from isal import igzip, isal_zlib

from luab_data.errors import ArchiveError

_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ISAL_ERROR = cast(type[Exception], isal_zlib.error)
DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error, _ISAL_ERROR, tarfile.TarError)
"""What reading a cut or damaged container raises, besides OSError."""

_HEAD_BYTES = 4096
_PIECE_BYTES = 2**20


class Source(io.RawIOBase):
    """A file that is read once, start to end: counts and hashes its bytes on the way through.

    Args:
        path: the file; or a folder, which is read as a tar of the files below it, sorted by path.
        on_read: called with the number of bytes of each read, for a progress bar.
        hashed: whether `sha256` is of use to anybody.

    Attributes:
        head: the first bytes of the content, decompressed; of a folder none.
        left_aside: operating system -> files in the log that it left there for itself, so far.
    """

    def __init__(
        self,
        path: Path,
        on_read: Callable[[int], object] | None = None,
        *,
        hashed: bool = True,
    ) -> None:
        self.path = path
        self.head = b""
        self.left_aside: Counter[str] = Counter()
        self._on_read = on_read
        self._hash = hashlib.sha256()
        self._is_hashed = hashed
        self._file: Any = None
        try:
            if path.is_dir() or path.suffix.lower() == ".xml":
                self._file = _Pieces(_as_tar(path))
                self.is_gzip = self._is_zstd = False
                return
            self._file = path.open("rb", buffering=0)
            self.head = self._file.read(_HEAD_BYTES)
            self._file.seek(0)
        except OSError as error:
            raise ArchiveError(f"{path}: cannot be opened ({error.strerror})") from error
        self.is_gzip = self.head.startswith(_GZIP_MAGIC)
        self._is_zstd = self.head.startswith(_ZSTD_MAGIC)
        if self.is_gzip:
            self.head = _begin_of_gzip(self.head)
        if self._is_zstd:
            self.head = _begin_of_zstd(path)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes of the file as it lies on disk."""
        view = memoryview(buffer)
        count = self._file.readinto(view) or 0
        if self._is_hashed:
            self._hash.update(view[:count])
        if self._on_read:
            self._on_read(count)
        return count

    def content(self) -> IO[bytes]:
        """The file's content, decompressed if it is gzip or Zstandard.

        Raises:
            ArchiveError: it is a file of another kind that is known; says which, and what to do.
        """
        for beginning, what in _FOREIGN.items():
            if re.match(beginning, self.head, re.IGNORECASE | re.DOTALL):
                raise ArchiveError(f"{self.path}: {what}")
        buffered = io.BufferedReader(self, 2**20)
        if self._is_zstd:
            plain = pa.CompressedInputStream(pa.PythonFile(buffered, mode="r"), "zstd")
            return io.BufferedReader(plain, 2**20)
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


def _begin_of_gzip(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:  # whoever reads the content says where it is damaged
        return b""


def _begin_of_zstd(path: Path) -> bytes:
    try:
        with pa.OSFile(str(path)) as file, pa.CompressedInputStream(file, "zstd") as plain:
            return bytes(plain.read(_HEAD_BYTES))
    except OSError:  # likewise
        return b""


_AGAIN = "expected gzip, Zstandard or no compression: unpack it first, e.g."
_FOREIGN = {
    rb"\xfd7zXZ\0": f"compressed with xz; {_AGAIN} `xz -dk FILE`",
    rb"BZh[1-9]1AY": f"compressed with bzip2; {_AGAIN} `bzip2 -dk FILE`",
    rb"PK(\x03\x04|\x05\x06)": "a zip archive; unpack it and give the folder or the file in it",
    rb"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it and give the folder or the file in it",
    rb"\x1f\x8b": f"gzip within gzip, as some downloads are; {_AGAIN} `gunzip FILE`, once",
    rb"\xff\xfe|\xfe\xff": "UTF-16 text, as Windows PowerShell writes it; expected UTF-8:"
    " `iconv -f UTF-16 -t UTF-8 FILE` gives that",
    rb"version https://git-lfs": "a Git LFS pointer, not the file itself; `git lfs pull` gets that",
    rb"(\xef\xbb\xbf)?\s*(<!DOCTYPE html|<html)": "an HTML page, not the file: the download failed,"
    " or asks for a login or a consent. Open the address in a browser to see",
    rb"PAR1": "a Parquet file, so converted already; expected a raw log",
}
"""How files begin that people have in the place of a log (regular expressions) -> what to do."""


# --- a folder as a tar ---------------------------------------------------------------------------


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and (piece := next(self._pieces, None)) is not None:
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _as_tar(path: Path) -> Iterator[bytes]:
    """A folder's files, or one file, as a tar: names from the folder on, sorted; nothing else."""
    for file, name in _files(path):
        info = tarfile.TarInfo(name)
        if not file.is_file():
            info.type = tarfile.FIFOTYPE  # no record, and said to be none
            yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
            continue
        info.size = left = file.stat().st_size
        yield info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
        with file.open("rb") as opened:
            while left and (piece := opened.read(min(left, _PIECE_BYTES))):
                left -= len(piece)
                yield piece
        yield bytes(left + -info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    whole = path.resolve()
    if path.is_file():
        yield path, f"{whole.parent.name}/{whole.name}"
        return
    for root, folders, names in os.walk(path):
        folders.sort()
        inside = Path(whole.name, os.path.relpath(root, path)).as_posix()
        for name in sorted(names):
            yield Path(root, name), f"{inside}/{name}"


# --- what is no record ---------------------------------------------------------------------------

_MACOS = re.compile(
    r"(.*/)?(__MACOSX(/.*)?|\._[^/]*|\.DS_Store|\.localized|Icon\r)", re.DOTALL
).fullmatch
_WINDOWS = re.compile(r"(.*/)?(thumbs\.db|desktop\.ini)", re.DOTALL | re.IGNORECASE).fullmatch


def system_of(name: str) -> str:
    """The operating system that left a file for itself, `macOS` or `Windows`; "" of other files.

    macOS has AppleDouble twins `._NAME` and `.DS_Store`, also below `__MACOSX`; Windows has
    `Thumbs.db` and `desktop.ini`.
    """
    return "macOS" if _MACOS(name) else "Windows" if _WINDOWS(name) else ""
