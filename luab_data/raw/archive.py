"""[I/O] A tar or tar.gz as a stream of members: one pass, nothing is ever written to disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from isal import igzip, isal_zlib

from luab_data.errors import ArchiveError, RecordError

MAX_MEMBER_BYTES = 16 * 2**20
"""A record of the release has about 5 kB; a larger member than this is not one."""

_BLOCK = 512
_GZIP_MAGIC = b"\x1f\x8b"
_ISAL_ERROR = cast(type[Exception], isal_zlib.error)
DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error, _ISAL_ERROR, tarfile.TarError)
"""What reading a cut or damaged container raises, besides OSError."""


class Member(NamedTuple):
    """One file of the archive: its bytes, or what is wrong with it."""

    name: str
    body: bytes
    problem: RecordError | None


class Source(io.RawIOBase):
    """A file that is read once, start to end: counts and hashes its bytes on the way through.

    Args:
        path: the file.
        on_read: called with the number of bytes of each read, for a progress bar.
    """

    def __init__(self, path: Path, on_read: Callable[[int], object] | None = None) -> None:
        self.path = path
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
        count = self._file.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
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


class _Chunks:
    """Passes reads through and keeps the last one: tarfile reads ahead of the archive's end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._start = 0
        self._chunk = b""

    def read(self, size: int) -> bytes:
        self._start += len(self._chunk)
        self._chunk = self._file.read(size)
        return self._chunk

    def ends_with_zeros(self, offset: int) -> str:
        """Read on to the end of the file: why what lies from `offset` on is no end of a tar."""
        rest = self._chunk[max(0, offset - self._start) :]
        size = len(rest)
        while rest:
            if rest.strip(b"\0"):
                return "what follows is neither a member nor the end; archives must not be joined"
            rest = self.read(2**20)  # to the end, so that gzip checks its checksum
            size += len(rest)
        return "" if size >= _BLOCK else "no end-of-archive mark"


def members(source: Source, *, max_member_bytes: int = MAX_MEMBER_BYTES) -> Iterator[Member]:
    """Every file of the archive in its order; folders are passed over.

    A member that must not be used (a path that climbs, a link, a device, more than
    `max_member_bytes`) comes with its `problem` and without its bytes.

    Raises:
        ArchiveError: not a tar, or cut or damaged somewhere: says after which member.
    """
    chunks = _Chunks(source.content())
    last = "its start"
    try:
        stream = cast(IO[bytes], chunks)
        with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as tar:
            for info in tar:
                # tarfile keeps every header it has seen; a stream needs none of them again.
                tar.members = []  # type: ignore[attr-defined]
                name = _printable(info.name)
                if not info.isdir():
                    problem = _problem(name, info, max_member_bytes)
                    file = None if problem else tar.extractfile(info)
                    yield Member(name, file.read() if file else b"", problem)
                last = f"member {name}"
            wrong = chunks.ends_with_zeros(tar.offset)
    except tarfile.ReadError as error:
        if last == "its start":
            raise ArchiveError(
                f"{source.path}: not a tar archive ({error}); expected the release's .tar.gz"
            ) from error
        raise _cut(source, last, error) from error
    except DAMAGE as error:
        raise _cut(source, last, error) from error
    except OSError as error:
        raise ArchiveError(f"{source.path}: cannot be read after {last} ({error})") from error
    if wrong:
        raise _cut(source, last, wrong)


def _cut(source: Source, last: str, why: object) -> ArchiveError:
    return ArchiveError(
        f"{source.path}: cut or damaged after {last} ({why}). Nothing was written; get the file"
        " again and compare its checksum"
    )


def _printable(name: str) -> str:
    """A member's name as text that any terminal and JSON can hold, with forward slashes."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\\", "/") if "/" not in text else text


def _problem(name: str, info: tarfile.TarInfo, max_member_bytes: int) -> RecordError | None:
    path = PurePosixPath(name)
    if ".." in path.parts or path.is_absolute() or (path.parts and path.parts[0].endswith(":")):
        return RecordError(name, "unsafe-path", "the path leaves the archive's folder")
    if not info.isreg():
        return RecordError(name, "not-a-file", "a link, device or other special member")
    if path.suffix.lower() != ".xml":
        return RecordError(name, "not-xml", "not a record; expected <wnid>/<image id>.xml")
    if info.size > max_member_bytes:
        return RecordError(
            name, "too-large", f"{info.size} bytes; expected at most {max_member_bytes}"
        )
    return None
