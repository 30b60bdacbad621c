"""Writing the simulated files: whole or not at all, and the same bytes for the same seed.  [I/O]"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from luab_data.errors import OptionError, OutputError

_MEMBER_MTIME = 1_640_995_200  # 2022-01-01; a clock would change the bytes


def check_targets(out: Path, truth: Path) -> None:
    """Refuse one file for both; otherwise the second would silently replace the first."""
    if out.resolve() == truth.resolve():
        raise OptionError(f"{out}: given for the log and for its truth; expected two files")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that takes its name only when it is complete; nothing stays on an error."""
    temporary: str | None = None
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; expected the name of a file to write")
        # In the target's folder, since a rename across file systems would not be atomic.
        number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(number, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}). "
            "Choose a folder that exists, is writable and has room."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def gzipped(file: IO[bytes]) -> gzip.GzipFile:
    """A gzip stream on top of a file, without file name or time in its header."""
    return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)


@contextmanager
def tar_gz(path: Path) -> Iterator[Callable[[str, bytes], None]]:
    """A .tar.gz with nothing of this machine in it; yields the function that adds one member."""
    with replacing(path) as file, gzipped(file) as packed:
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


@contextmanager
def truth_file(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """JSON Lines, gzip when the name ends in `.gz`; yields the function that adds one line."""
    with replacing(path) as file, gzipped(file) if path.suffix == ".gz" else nullcontext(file) as f:

        def add(row: dict[str, Any]) -> None:
            f.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")

        yield add
