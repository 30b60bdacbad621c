"""Images in WebDataset shards: plain tar files of `<key>.<ext>`, read where they lie.     [I/O]

The headers are read once, 8 us each; afterwards an image is one seek and one read, as with a file
of its own. Nothing is kept open, so the index can be forked and pickled to loader processes.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from luab_data.errors import ImagesError
from luab_data.raw.tar_headers import BLOCK, Header, printable
from luab_train.data.decode import SUFFIXES, decode_rgb, name_images


@dataclass(frozen=True, kw_only=True, eq=False)
class TarShards:
    """Images in the tars of a folder, sorted by (wnid, number, image id); `N` of them."""

    root: Path
    wnid: np.ndarray
    """(N,) text; empty where the key tells none."""
    image_id: np.ndarray
    """(N,) text."""
    shards: tuple[str, ...]
    """File names in `root`."""
    shard: np.ndarray
    """(N,) int32, which of the shards."""
    body: np.ndarray
    """(N, 2) int64: first byte, number of bytes."""

    def load(self, index: int) -> Image.Image:
        """Decode one image to RGB."""
        start, size = self.body[index].tolist()
        path = self.root / self.shards[self.shard[index]]
        try:
            with path.open("rb", buffering=0) as file:
                content = os.pread(file.fileno(), size, start)
        except OSError as error:
            raise ImagesError(f"{self.name(index)}: cannot be read ({error.strerror})") from error
        if len(content) != size:
            raise ImagesError(
                f"{self.name(index)}: {len(content)} of {size} bytes are there; the tar was cut"
                " since the run started"
            )
        return decode_rgb(content, self.name(index))

    def name(self, index: int) -> str:
        """Where one image is."""
        path = self.root / self.shards[self.shard[index]]
        return f"{path}: image {self.image_id[index]} at byte {self.body[index, 0]}"


def scan_shards(root: Path, shards: list[str]) -> TarShards:
    """Index the images of some tars in `root`; members that are no images are passed over.

    The key of `a/b.c.jpg` is `a/b`, and its `c.jpg` is no image: the extension starts at the first
    dot of the name, as everywhere in WebDataset.
    """
    names: list[str] = []
    shard: list[int] = []
    body: list[tuple[int, int]] = []
    for number, file in enumerate(shards):
        for header in _files(root / file):
            stem, _, suffix = header.name.rpartition("/")[2].partition(".")
            if stem and f".{suffix.lower()}" in SUFFIXES:
                names.append(header.name)
                shard.append(number)
                body.append((header.body, header.size))
    if not names:
        raise ImagesError(
            f"{root}: no image in {len(shards)} tars, e.g. {shards[0]}; expected members"
            f" <key>.<ext> with one of {', '.join(sorted(SUFFIXES))}"
        )
    order, wnid, image_id = name_images(pa.array(names), root)
    return TarShards(
        root=root,
        wnid=wnid,
        image_id=image_id,
        shards=tuple(shards),
        shard=np.array(shard, np.int32)[order],
        body=np.array(body, np.int64)[order],
    )


def _files(path: Path) -> Iterator[Header]:
    """The file members of a tar, in its order.

    Raises: ImagesError where the tar is compressed, damaged or cut. Python's own walk takes a
        damaged header after the first for the end of the archive, and would lose what follows.
    """
    at = 0
    try:
        with tarfile.open(path, "r:", errors="surrogateescape") as tar:
            file: Any = tar.fileobj
            fd = file.fileno()
            length = os.fstat(fd).st_size
            while (block := os.pread(fd, BLOCK, at)) != bytes(BLOCK):
                header = _plain_header(block, at) or _odd_header(tar, at)
                if header.body + header.size > length:
                    raise tarfile.ReadError(f"{header.name} ends beyond the file")
                if header.is_file:
                    yield header
                at = header.after
    except OSError as error:
        raise ImagesError(f"{path}: cannot be read ({error.strerror})") from error
    except (tarfile.TarError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise ImagesError(
            f"{path}: no whole tar, damaged or cut at byte {at} ({error}); expected a plain,"
            " uncompressed tar to its two blocks of zeros. Copy it again"
        ) from error


def _odd_header(tar: tarfile.TarFile, at: int) -> Header:
    """A header of any kind, with the long names and other records before it, by `tarfile`."""
    file: Any = tar.fileobj
    file.seek(at)
    tar.offset = at
    info = tarfile.TarInfo.fromtarfile(tar)
    if info.size < 0 or tar.offset <= at:
        raise tarfile.ReadError("negative size")
    return Header(
        name=printable(info.name),
        body=info.offset_data,
        size=info.size,
        after=tar.offset,
        is_folder=info.isdir(),
        is_file=info.isreg() and not info.issparse(),
    )


def _plain_header(block: bytes, at: int) -> Header | None:
    """A header with nothing unusual in it, 4 times as fast as `tarfile`; None leaves it to that."""
    name, digits, checksum = block[:100].rstrip(b"\0"), block[124:135], block[148:154]
    if not (
        block[156] in b"0\0"  # a file
        and not block[345]  # no prefix of a long name
        and block[135] in b"\0 "
        and name.isascii()
        and b"\0" not in name
        and not name.endswith(b"/")  # old tars' folder
        and digits.isdigit()
        and checksum.isdigit()
    ):
        return None
    try:
        size, stored = int(digits, 8), int(checksum, 8)
    except ValueError:
        return None
    if sum(block) - sum(block[148:156]) + 8 * ord(" ") != stored:
        return None
    body = at + BLOCK
    after = body + (size + BLOCK - 1) // BLOCK * BLOCK
    return Header(name.decode("ascii"), body, size, after, is_folder=False, is_file=True)
