"""[I/O] A tar or tar.gz as a stream of members: one pass, nothing is ever written to disk.

Members come in runs: some megabytes of the archive as they lie there, with the places of the
bodies.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from luab_data.errors import ArchiveError, RecordError
from luab_data.raw.source import DAMAGE, Source, system_of
from luab_data.raw.tar_headers import BLOCK, Header, NotYet, odd_header, plain_files, printable

MAX_MEMBER_BYTES = 16 * 2**20
"""A record of the release has about 5 kB; a larger member than this is not one."""

RUN_BYTES = 12 * 2**20
"""Bytes of a run: some 2,500 members, enough to make what is done once a run cheap."""

SPARE_BYTES = 64
"""Zero bytes after the last one of a run: reads of a fixed length may start anywhere in it."""

_READ_BYTES = 2**17  # so much before a cut in a gzip is lost at most
_START = "its start"
_NO_MEMBER = "what follows is neither a member nor the end; archives must not be joined"


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


def runs(
    source: Source, *, max_member_bytes: int = MAX_MEMBER_BYTES, run_bytes: int | None = None
) -> Iterator[Run]:
    """Every record of the archive in its order, in runs of about `run_bytes`.

    Folders, and what an operating system left for itself (source.system_of), are no members; the
    latter are counted in `source.left_aside`. A member that must not be used (a path that climbs, a
    link, a device, more than `max_member_bytes`) comes with its `problem` and without its bytes.

    Raises:
        ArchiveError: not a tar, or cut or damaged somewhere: says after which member. All members
            before that one were given out; of a damaged gzip the last 128 KiB are lost.
    """
    buffer = _Buffer(source.content(), RUN_BYTES if run_bytes is None else run_bytes)
    at, last, wrong, is_end = 0, _START, "", False
    while not wrong and not is_end:
        buffer.forward(at)
        walk = _Walk(buffer, max_member_bytes, last, source)
        at, last, wrong, is_end = walk.at, walk.last, walk.wrong, walk.is_end
        if walk.names:
            yield walk.run()
    wrong = wrong or _wrong_end(buffer, at)
    if not wrong and last == _START:
        wrong = "it holds no file at all"
    if wrong:
        raise _cut(source, last, wrong, buffer.damage)


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


class _Walk:
    """The members of one window: names and places, and why the walk stopped."""

    def __init__(self, buffer: _Buffer, max_member_bytes: int, last: str, source: Source) -> None:
        self._buffer = buffer
        self._limit = max_member_bytes
        self._left_aside = source.left_aside
        self.last = last
        self.at = 0
        self.is_end = False
        self.wrong = ""
        self.names: list[str] = []
        self.places: list[npt.NDArray[np.int64]] = []
        self.problems: dict[int, RecordError] = {}
        while True:
            names, places, after, cut = plain_files(buffer.data, buffer.filled, self.at)
            self._add_files(names, places, after)
            if cut and cut[1] <= max_member_bytes:
                self._more(f"the file ends within {printable(cut[0])}")
                break
            if not self._odd_member():
                break

    def _add_files(self, names: list[str], places: npt.NDArray[np.int64], after: int) -> None:
        self.at = after
        if not names:
            return
        self.last = f"member {names[-1]}"
        odd = {i for i, name in enumerate(names) if not _IS_TAME(name)}
        odd.update(np.flatnonzero(places[:, 1] - places[:, 0] > self._limit).tolist())
        aside: list[int] = []
        for i in sorted(odd):
            if system := system_of(names[i]):
                self._left_aside[system] += 1
                aside.append(i)
                continue
            names[i] = printable(names[i])
            header = Header(names[i], 0, int(places[i, 1] - places[i, 0]), 0, False, True)
            if problem := _problem(header, self._limit):
                self.problems[len(self.names) + i - len(aside)] = problem
                places[i] = 0
        self.names += (
            [name for i, name in enumerate(names) if i not in set(aside)] if aside else names
        )
        self.places.append(np.delete(places, aside, axis=0))

    def _odd_member(self) -> bool:
        """Take one member of any kind; False if there is none, or not yet."""
        buffer = self._buffer
        if self.at + BLOCK > buffer.filled:
            return self._more("no end-of-archive mark")
        if not buffer.data[self.at : self.at + BLOCK].any():
            self.is_end = True
            return False
        try:
            header = odd_header(buffer.data[self.at : buffer.filled], self.at)
        except NotYet:
            return self._more("the file ends within a header")
        except tarfile.TarError:
            self.wrong = _NO_MEMBER
            return False
        system = system_of(header.name)
        is_aside = header.is_folder or bool(system)
        problem = None if is_aside else _problem(header, self._limit)
        if header.after > buffer.filled and (buffer.ended or not (is_aside or problem)):
            return self._more(f"the file ends within {header.name}")
        if problem:
            self.problems[len(self.names)] = problem
        if not is_aside:
            self.names.append(header.name)
            end = header.body + header.size
            self.places.append(np.array([(0, 0) if problem else (header.body, end)], np.int64))
        elif not header.is_folder:
            self._left_aside[system] += 1
        self.last = f"member {header.name}"
        self.at = header.after
        return header.after <= buffer.filled

    def _more(self, missing: str) -> bool:
        if self._buffer.ended:
            self.wrong = str(self._buffer.damage or missing)
        return False

    def run(self) -> Run:
        """What was found in this window."""
        places = np.concatenate(self.places)
        return Run(self._buffer.data, self.names, places[:, 0], places[:, 1], self.problems)


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
    return "" if size >= BLOCK else "no end-of-archive mark"


def _cut(source: Source, last: str, why: str, damage: Exception | None) -> ArchiveError:
    if isinstance(damage, OSError) and not isinstance(damage, DAMAGE):
        return ArchiveError(f"{source.path}: cannot be read after {last} ({why})")
    if last == _START and not damage:
        return ArchiveError(
            f"{source.path}: not a tar archive with records ({why}); expected the release's"
            " .tar.gz, a folder of its XML files, or one of them"
        )
    return ArchiveError(
        f"{source.path}: cut or damaged after {last} ({why}). Nothing was written; get the file"
        " again and compare its checksum"
    )


_IS_TAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_-]*/)*[A-Za-z0-9][A-Za-z0-9_-]*\.xml").fullmatch


def _problem(header: Header, max_member_bytes: int) -> RecordError | None:
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
