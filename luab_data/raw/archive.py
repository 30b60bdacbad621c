"""[I/O] A tar or tar.gz as a stream of members: one pass, nothing is ever written to disk.

Members come in runs: some megabytes of the archive as they lie there, with the places of the
bodies. Headers that every tar has are read here; those that few have (long names, pax, base-256
sizes) and those that are damaged go through `tarfile`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib

from luab_data.errors import ArchiveError, RecordError

MAX_MEMBER_BYTES = 16 * 2**20
"""A record of the release has about 5 kB; a larger member than this is not one."""

RUN_BYTES = 8 * 2**20
"""Bytes of a run: some 1,700 members, enough to make what is done once a run cheap."""

SPARE_BYTES = 64
"""Zero bytes after the last one of a run: reads of a fixed length may start anywhere in it."""

_BLOCK = 512
_READ_BYTES = 2**17  # so much before a cut in a gzip is lost at most
_GZIP_MAGIC = b"\x1f\x8b"
_ISAL_ERROR = cast(type[Exception], isal_zlib.error)
DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error, _ISAL_ERROR, tarfile.TarError)
"""What reading a cut or damaged container raises, besides OSError."""


class Run(NamedTuple):
    """Members that lie side by side in the archive; member i is data[starts[i]:ends[i]].

    A member that must not be used has its `problem`, by its index, and an empty range.
    """

    data: npt.NDArray[np.uint8]  # (num_bytes + SPARE_BYTES,)
    names: list[str]
    starts: npt.NDArray[np.int64]  # (num_members,)
    ends: npt.NDArray[np.int64]  # (num_members,)
    problems: dict[int, RecordError]

    def only(self, chosen: npt.NDArray[np.int64]) -> Run:
        """Some of its members, by ascending index."""
        names = [self.names[i] for i in chosen.tolist()]
        problems = {
            k: self.problems[i] for k, i in enumerate(chosen.tolist()) if i in self.problems
        }
        return Run(self.data, names, self.starts[chosen], self.ends[chosen], problems)

    def body(self, index: int) -> bytes:
        """The bytes of one member."""
        return self.data[self.starts[index] : self.ends[index]].tobytes()


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


def begins_with(path: Path, num_bytes: int, sha256: str) -> bool:
    """Whether the first bytes of a file, as it lies on disk, have a digest."""
    digest, left = hashlib.sha256(), num_bytes
    with path.open("rb") as file:
        while left and (block := file.read(min(2**20, left))):
            digest.update(block)
            left -= len(block)
    return not left and digest.hexdigest() == sha256


class _Buffer:
    """The decompressed file as a window that moves forward; old windows stay valid."""

    def __init__(self, file: IO[bytes], num_bytes: int) -> None:
        self._file: Any = file  # IO[bytes] knows no read1, though both kinds of file have it
        self._usual = self._capacity = num_bytes
        self.data = np.zeros(SPARE_BYTES, np.uint8)
        self.filled = 0
        self.ended = False
        self.damage: Exception | None = None

    def forward(self, done: int) -> None:
        """Drop the first `done` bytes, which may be more than there are, and read on.

        If nothing is dropped from a full window, it grows.
        """
        if not done and self.filled >= self._capacity:
            self._capacity *= 2
        rest = self.data[done : self.filled]
        if done:  # a large member is behind us
            self._capacity = max(self._usual, len(rest))
        data = np.empty(self._capacity + SPARE_BYTES, np.uint8)
        data[: len(rest)] = rest
        missing = max(0, done - self.filled)
        self.filled = len(rest)
        while missing and (block := self._read(min(missing, _READ_BYTES))):
            missing -= len(block)
        while self.filled < self._capacity and (
            block := self._read(min(self._capacity - self.filled, _READ_BYTES))
        ):
            data[self.filled : self.filled + len(block)] = np.frombuffer(block, np.uint8)
            self.filled += len(block)
        data[self.filled :] = 0
        self.data = data

    def _read(self, size: int) -> bytes:
        if self.ended:
            return b""
        try:
            # read1, and no more at a time: what it got before the damage is lost with it.
            block: bytes = self._file.read1(size)
        except (*DAMAGE, OSError) as error:
            # What came before the damage is whole; the walk says where that ends.
            self.damage, block = error, b""
        self.ended = not block
        return block


class _Header(NamedTuple):
    """What a tar header says; its body lies at [body, body + size), the next header at `after`."""

    name: str
    body: int
    size: int
    after: int
    is_folder: bool
    is_file: bool


class _NotYet(Exception):
    """The header goes on beyond the window."""


def _plain_files(buffer: _Buffer, at: int) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Files with nothing unusual in their headers, one after the other from `at` on.

    Ends before a header that is odd, damaged or not all there, or whose body is not: the slow walk
    decides about that one. Only sizes are read one by one, since each says where the next header
    is; everything else is checked for all of them at once.

    Returns: names, and (num_files, 3) body, end of the body, next header.
    """
    view, filled = buffer.data.data, buffer.filled
    places: list[tuple[int, int, int]] = []
    try:
        while at + _BLOCK <= filled:
            size = int(bytes(view[at + 124 : at + 135]), 8)
            if size < 0 or view[at + 156] not in (0, ord("0")):
                break
            body = at + _BLOCK
            end = body + size
            at = body + (size + _BLOCK - 1) // _BLOCK * _BLOCK
            if at > filled:
                break
            places.append((body, end, at))
    except ValueError:  # zeros, base-256, or no header at all
        pass
    found = np.asarray(places, np.int64).reshape(-1, 3)
    starts = found[:, 0] - _BLOCK
    whole = np.ndarray(len(buffer.data) - _BLOCK + 1, f"V{_BLOCK}", buffer.data, strides=(1,))
    blocks = whole[starts].view(np.uint8).reshape(-1, _BLOCK)
    digits, field = blocks[:, 124:135], blocks[:, 148:156]
    checksum = blocks.sum(1, dtype=np.int64) - field.sum(1, dtype=np.int64) + 8 * ord(" ")
    plain = (
        ((blocks[:, 156] == ord("0")) | (blocks[:, 156] == 0))  # a file
        & (blocks[:, 345] == 0)  # no prefix of a long name
        & ((digits >= ord("0")) & (digits <= ord("7"))).all(axis=1)
        & ((blocks[:, 135] == 0) | (blocks[:, 135] == ord(" ")))  # where those 11 digits end
        & (blocks[:, :100] < 128).all(axis=1)
        & (checksum == _stored_checksums(blocks))
    )
    count = len(places) if plain.all() else int(np.argmin(plain))
    raw = np.ascontiguousarray(blocks[:count, :100]).view("S100").ravel().tolist()
    names = [name.split(b"\0", 1)[0].decode("ascii") for name in raw]
    old_folder = next((i for i, name in enumerate(names) if name.endswith("/")), count)
    return names[:old_folder], found[:old_folder]


def _stored_checksums(blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """(num_headers,) the checksum field as every tar writes it, 6 octal digits; else -1."""
    digits = blocks[:, 148:154].astype(np.int64) - ord("0")
    fits = ((digits >= 0) & (digits < 8)).all(axis=1) & (blocks[:, 154] == 0)
    return np.where(fits, digits @ (8 ** np.arange(5, -1, -1)), -1)


def _odd_header(window: npt.NDArray[np.uint8], at: int) -> _Header:
    """A header of any kind at the start of `window`, `at` being its place in the buffer.

    Raises:
        _NotYet: it goes on beyond the window.
        tarfile.TarError: it is none.
    """
    if len(window) > _FEW_BLOCKS:  # nearly always enough, and a window is long
        with suppress(_NotYet, tarfile.TarError):
            return _odd_header(window[:_FEW_BLOCKS], at)
    tar = tarfile.open(fileobj=io.BytesIO(bytes(2 * _BLOCK)), errors="surrogateescape")
    tar.fileobj = io.BytesIO(window[:_ODD_HEADER_BYTES].tobytes())
    try:
        info = tarfile.TarInfo.fromtarfile(tar)
        if tar.offset <= 0 or info.size < 0:
            raise tarfile.InvalidHeaderError("negative size")  # type: ignore[attr-defined]
    except (tarfile.TarError, *_STUMBLES) as error:
        # A header that goes on is told apart from a damaged one by the room there was: none takes
        # a megabyte. tarfile itself stumbles over some that are damaged.
        invalid = isinstance(error, tarfile.InvalidHeaderError)  # type: ignore[attr-defined]
        if invalid or len(window) >= _ODD_HEADER_BYTES:
            raise tarfile.InvalidHeaderError(str(error)) from error  # type: ignore[attr-defined]
        raise _NotYet from None
    return _Header(
        name=_printable(info.name),
        body=at + info.offset_data,
        size=info.size,
        after=at + tar.offset,
        is_folder=info.isdir(),
        is_file=info.isreg() and not info.issparse(),
    )


_ODD_HEADER_BYTES = 2**20
_FEW_BLOCKS = 8 * _BLOCK
_STUMBLES = (ValueError, LookupError, OverflowError, RecursionError)


class _Walk:
    """The members of one window: names and places, and why the walk stopped."""

    def __init__(self, buffer: _Buffer, max_member_bytes: int, last: str) -> None:
        self._buffer = buffer
        self._limit = max_member_bytes
        self.last = last
        self.at = 0
        self.is_end = False
        self.wrong = ""
        self.names: list[str] = []
        self.places: list[npt.NDArray[np.int64]] = []
        self.problems: dict[int, RecordError] = {}
        while True:
            self._add_files(*_plain_files(buffer, self.at))
            if not self._odd_member():
                break

    def _add_files(self, names: list[str], places: npt.NDArray[np.int64]) -> None:
        if not names:
            return
        large = places[:, 1] - places[:, 0] > self._limit
        for i, name in enumerate(names):
            if not _IS_TAME(name) or large[i]:
                header = _Header(
                    _printable(name), 0, int(places[i, 1] - places[i, 0]), 0, False, True
                )
                names[i] = header.name
                if problem := _problem(header, self._limit):
                    self.problems[len(self.names) + i] = problem
                    places[i, :2] = 0
        self.names += names
        self.places.append(places[:, :2])
        self.last = f"member {names[-1]}"
        self.at = int(places[-1, 2])

    def _odd_member(self) -> bool:
        """Take one member of any kind; False if there is none, or not yet."""
        buffer = self._buffer
        if self.at + _BLOCK > buffer.filled:
            return self._more("no end-of-archive mark")
        if not buffer.data[self.at : self.at + _BLOCK].any():
            self.is_end = True
            return False
        try:
            header = _odd_header(buffer.data[self.at : buffer.filled], self.at)
        except _NotYet:
            return self._more("the file ends within a header")
        except tarfile.TarError:
            self.wrong = _NO_MEMBER
            return False
        problem = None if header.is_folder else _problem(header, self._limit)
        if header.after > buffer.filled and (buffer.ended or not problem):
            return self._more(f"the file ends within {header.name}")
        self._add(header, problem)
        return header.after <= buffer.filled

    def _add(self, header: _Header, problem: RecordError | None) -> None:
        if not header.is_folder:
            if problem:
                self.problems[len(self.names)] = problem
            end = header.body + header.size
            self.names.append(header.name)
            self.places.append(np.array([(0, 0) if problem else (header.body, end)], np.int64))
        self.last = f"member {header.name}"
        self.at = header.after

    def _more(self, missing: str) -> bool:
        if self._buffer.ended:
            self.wrong = str(self._buffer.damage or missing)
        return False

    def run(self) -> Run:
        """What was found in this window."""
        places = np.concatenate(self.places)
        return Run(self._buffer.data, self.names, places[:, 0], places[:, 1], self.problems)


_NO_MEMBER = "what follows is neither a member nor the end; archives must not be joined"


def runs(
    source: Source, *, max_member_bytes: int = MAX_MEMBER_BYTES, run_bytes: int | None = None
) -> Iterator[Run]:
    """Every file of the archive in its order, in runs of about `run_bytes`, without folders.

    A member that must not be used (a path that climbs, a link, a device, more than
    `max_member_bytes`) comes with its `problem` and without its bytes.

    Raises:
        ArchiveError: not a tar, or cut or damaged somewhere: says after which member. All members
            before that one were given out; of a damaged gzip the last 128 KiB are lost.
    """
    buffer = _Buffer(source.content(), RUN_BYTES if run_bytes is None else run_bytes)
    at, last, wrong, is_end = 0, _START, "", False
    while not wrong and not is_end:
        buffer.forward(at)
        walk = _Walk(buffer, max_member_bytes, last)
        at, last, wrong, is_end = walk.at, walk.last, walk.wrong, walk.is_end
        if walk.names:
            yield walk.run()
    wrong = wrong or _wrong_end(buffer, at)
    if wrong:
        raise _cut(source, last, wrong, buffer.damage)


def _wrong_end(buffer: _Buffer, at: int) -> str:
    """Why what lies from `at` on is no end of a tar; read to the end, so gzip checks its sums."""
    size = 0
    while at < buffer.filled:
        if buffer.data[at : buffer.filled].any():
            return _NO_MEMBER
        size += buffer.filled - at
        buffer.forward(buffer.filled)
        at = 0
    if buffer.damage:
        return str(buffer.damage)
    return "" if size >= _BLOCK else "no end-of-archive mark"


def members(source: Source, *, max_member_bytes: int = MAX_MEMBER_BYTES) -> Iterator[Member]:
    """The members of `runs` one by one, with their bytes."""
    for run in runs(source, max_member_bytes=max_member_bytes):
        for index, name in enumerate(run.names):
            yield Member(name, run.body(index), run.problems.get(index))


_START = "its start"


def _cut(source: Source, last: str, why: str, damage: Exception | None) -> ArchiveError:
    if isinstance(damage, OSError) and not isinstance(damage, DAMAGE):
        return ArchiveError(f"{source.path}: cannot be read after {last} ({why})")
    if last == _START and not damage:
        return ArchiveError(
            f"{source.path}: not a tar archive ({why}); expected the release's .tar.gz"
        )
    return ArchiveError(
        f"{source.path}: cut or damaged after {last} ({why}). Nothing was written; get the file"
        " again and compare its checksum"
    )


def _printable(name: str) -> str:
    """A member's name as text that any terminal and JSON can hold, with forward slashes."""
    if "/" not in name:
        name = name.replace("\\", "/")
    if not name.isascii():
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return name


_IS_TAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_/-]*\.xml").fullmatch


def _problem(header: _Header, max_member_bytes: int) -> RecordError | None:
    name = header.name
    if ".." in name or ":" in name or name[:1] == "/":
        path = PurePosixPath(name)
        if ".." in path.parts or path.is_absolute() or path.parts[0].endswith(":"):
            return RecordError(name, "unsafe-path", "the path leaves the archive's folder")
    if not header.is_file:
        return RecordError(name, "not-a-file", "a link, device or other special member")
    if not name.endswith(".xml") and PurePosixPath(name).suffix.lower() != ".xml":
        return RecordError(name, "not-xml", "not a record; expected <wnid>/<image id>.xml")
    if header.size > max_member_bytes:
        return RecordError(
            name, "too-large", f"{header.size} bytes; expected at most {max_member_bytes}"
        )
    return None
