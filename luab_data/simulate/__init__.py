"""[I/O] Images with boxes or masks in, raw logs in the releases' byte formats and their truth out.

Worker (habits, pointer) and tool (page, board) are separate: the worker only produces mouse
events, the tool decides what of them is logged. The truth file keeps what the tool does not log.
Here are the files of a simulation: whole or not at all, and the same bytes for the same seed.

The truth names its log: an empty gzip member after its lines has the log's SHA-256 for a name. So a
log whose truth lies beside it is known to be simulated, by `convert`, by the card, and here before
an earlier one is replaced.
"""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from luab_data.errors import OptionError
from luab_data.files import Target, new_file, sha256_of

_MEMBER_MTIME = 1_640_995_200  # 2022-01-01; a clock would change the bytes
_SEAL = b"luab simulated "


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Counts of what was written.

    Attributes:
        num_hits: HITs answered.
        num_trace_points: mouseTracking records.
        num_workers: workers who answered at least one HIT.
        workers_by_style: number of workers of each style, whether or not they got a HIT.
        same: the same log was there already; nothing was written.
    """

    num_hits: int
    num_trace_points: int
    num_workers: int
    workers_by_style: dict[str, int]
    same: bool


def truth_beside(log: Path) -> Path:
    """`raw.tar.gz` -> `raw.tar.gz.truth.jsonl.gz`: no two logs of a folder share a truth."""
    return log.with_name(f"{log.name}.truth.jsonl.gz")


def is_simulated(log: Path) -> bool:
    """Whether a log is the one that the truth beside it was written with."""
    truth = truth_beside(log)
    if not (log.is_file() and truth.is_file()):
        return False
    with truth.open("rb") as file:
        file.seek(max(0, truth.stat().st_size - 200))
        _, found, name = file.read().rpartition(_SEAL)
    return bool(found) and name[:64].decode("latin-1") == sha256_of(log)


@contextmanager
def new_simulation(
    out: Path, truth: Path, *, force: bool
) -> Iterator[tuple[IO[bytes], Callable[[dict[str, Any]], None], Target]]:
    """A log and its truth: the file to write the log to, what adds a line to the truth, and what
    tells afterwards whether the same was there already.

    Args:
        out: the log. An earlier simulation is replaced with `force` only, anything else never.
        truth: JSON Lines, gzip if it ends in `.gz`; only then it names its log.

    Raises:
        OptionError: one file for both. OutputError: as files.new_file; nothing was changed then.
    """
    if out.resolve() == truth.resolve():
        raise OptionError(f"{out}: given for the log and for its truth; expected two files")
    packed = truth.suffix == ".gz"
    with (
        new_file(truth, mark=_SEAL if packed else None, force=force) as truth_target,
        new_file(out, mark=b"" if is_simulated(out) else None, force=force) as target,
    ):
        with target.path.open("xb") as log, truth_target.path.open("xb") as file:
            with gzipped(file) if packed else nullcontext(file) as lines:

                def add(row: dict[str, Any]) -> None:
                    lines.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")

                yield log, add, target
        if packed:
            with truth_target.path.open("ab") as file:
                gzipped(file, name=_SEAL.decode() + sha256_of(target.path)).close()


def gzipped(file: IO[bytes], name: str = "") -> gzip.GzipFile:
    """A gzip stream on top of a file, without a time in its header."""
    return gzip.GzipFile(filename=name, mode="wb", compresslevel=6, fileobj=file, mtime=0)


@contextmanager
def tar_gz(file: IO[bytes]) -> Iterator[Callable[[str, bytes], None]]:
    """A .tar.gz with nothing of this machine in it; yields the function that adds one member."""
    with gzipped(file) as packed:
        written = 0

        def add(name: str, data: bytes) -> None:
            nonlocal written
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), _MEMBER_MTIME, 0o644
            block = member.tobuf(format=tarfile.GNU_FORMAT) + data
            block += bytes(-len(data) % tarfile.BLOCKSIZE)
            packed.write(block)
            written += len(block)

        yield add
        end = 2 * tarfile.BLOCKSIZE
        packed.write(bytes(end + -(written + end) % tarfile.RECORDSIZE))
