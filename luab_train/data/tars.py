"""Images in WebDataset shards: plain tar files of `<key>.<ext>`, read where they lie.     [I/O]

The headers are read once; afterwards an image is one seek and one read, as with a file of its own.
Nothing is kept open, so the index can be forked and pickled to loader processes.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from luab_data.errors import ImagesError
from luab_data.raw.tar_headers import BLOCK, NotYet, odd_header, plain_files
from luab_train.data.folders import SUFFIXES
from luab_train.data.inputs import Picture, decode
from luab_train.data.sources import name_images
from luab_train.sections import Backend

_WINDOW = 2**23
"""Bytes in which headers are looked for at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TarShards:
    """Images in the tars of a folder, sorted by (wnid, number, image id); `N` of them."""

    root: Path
    wnid: np.ndarray
    """(N,) text, see `ImageSource`: of the key, else of the members `<key>.cls` and `.json`."""
    image_id: np.ndarray
    """(N,) text."""
    shards: tuple[str, ...]
    """File names in `root`."""
    shard: np.ndarray
    """(N,) int32, which of the shards."""
    body: np.ndarray
    """(N, 2) int64: first byte, number of bytes."""

    def load(self, index: int, *, upright: bool = False, backend: Backend = "pillow") -> Picture:
        """Decode one image to RGB."""
        start, size = self.body[index].tolist()
        path = self.root / self.shards[self.shard[index]]
        try:
            content = _read(path, start, size)
        except OSError as error:
            raise ImagesError(f"{self.name(index)}: cannot be read ({error.strerror})") from error
        if len(content) != size:
            raise ImagesError(
                f"{self.name(index)}: {len(content)} of {size} bytes are there; the tar was cut"
                " since the run started"
            )
        return decode(content, self.name(index), upright=upright, backend=backend)

    def name(self, index: int) -> str:
        """Where one image is."""
        path = self.root / self.shards[self.shard[index]]
        return f"{path}: image {self.image_id[index]} at byte {self.body[index, 0]}"


class _Member(NamedTuple):
    name: str
    start: int
    end: int


def scan_shards(root: Path, shards: list[str]) -> TarShards:
    """Index the images of some tars in `root`; members that are no images are passed over.

    The key of `a/b.c.jpg` is `a/b`, and its `c.jpg` is no image: the extension starts at the first
    dot of the name, as everywhere in WebDataset. Where a key tells no class, `<key>.cls` (a number
    or a name) and `<key>.json` do (wnid, else label or cls; image_id or filename is the id).
    """
    names: list[str] = []
    told: list[str] = []
    shard: list[int] = []
    body: list[tuple[int, int]] = []
    for number, file in enumerate(shards):
        about: dict[str, dict[str, _Member]] = {}
        images = []
        for member in _files(root / file):
            folder, _, base = member.name.rpartition("/")
            stem, _, suffix = base.partition(".")
            if stem and f".{suffix.lower()}" in SUFFIXES:
                images.append((f"{folder}/{stem}", member))
            elif stem and suffix in ("cls", "json"):
                about.setdefault(f"{folder}/{stem}", {})[suffix] = member
        for key, member in images:
            name, label = _told(root / file, member, about.get(key, {}))
            names.append(name)
            told.append(label)
            shard.append(number)
            body.append((member.start, member.end - member.start))
    if not names:
        raise ImagesError(
            f"{root}: no image in {len(shards)} tars, e.g. {shards[0]}; expected members"
            f" <key>.<ext> with one of {', '.join(sorted(SUFFIXES))}"
        )
    order, wnid, image_id = name_images(pa.array(names), root, told=told)
    return TarShards(
        root=root,
        wnid=wnid,
        image_id=image_id,
        shards=tuple(shards),
        shard=np.array(shard, np.int32)[order],
        body=np.array(body, np.int64)[order],
    )


def _told(path: Path, image: _Member, about: dict[str, _Member]) -> tuple[str, str]:
    """Name and class of an image by the members beside it; its own name and "" where none tell."""
    name, label = image.name, ""
    if re.search(r"n\d{8}", name):  # tells its class itself: a million members need not be read
        return name, label
    if "cls" in about:
        member = about["cls"]
        label = (
            _read(path, member.start, member.end - member.start).decode(errors="replace").strip()
        )
    if "json" in about:
        member = about["json"]
        try:
            row = msgspec.json.decode(_read(path, member.start, member.end - member.start))
        except ValueError as error:
            raise ImagesError(f"{path}: {member.name} is not JSON ({error})") from error
        if isinstance(row, dict):
            told = {key: str(value) for key, value in row.items() if isinstance(value, (str, int))}
            label = told.get("wnid") or label or told.get("label") or told.get("cls", "")
            own = told.get("image_id") or told.get("filename") or name
            name = own if "." in own else f"{own}.png"
    return name, f"#{int(label)}" if label.isdecimal() else label


def _read(path: Path, start: int, size: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), size, start)


def _files(path: Path) -> Iterator[_Member]:
    """The file members of a tar, in its order.

    Raises: ImagesError where the tar is compressed, damaged or cut. Python's own walk takes a
        damaged header after the first for the end of the archive, and would lose what follows.
    """
    at = 0
    try:
        length = path.stat().st_size
        if not length:
            raise tarfile.ReadError("empty")
        data = np.memmap(path, np.uint8, "r")
        while True:
            window = data[at : at + _WINDOW]
            if len(window) > BLOCK:
                names, places, after, _ = plain_files(window, len(window), 0)
                for name, (start, end) in zip(names, places.tolist(), strict=True):
                    yield _Member(name, at + start, at + end)
                at += after
            block = data[at : at + BLOCK]
            if len(block) == BLOCK and not block.any():
                return
            header = odd_header(data[at : at + _WINDOW], at)
            if header.body + header.size > length:
                raise tarfile.ReadError(f"{header.name} ends beyond the file")
            if header.is_file:
                yield _Member(header.name, header.body, header.body + header.size)
            at = header.after
    except OSError as error:
        raise ImagesError(f"{path}: cannot be read ({error.strerror})") from error
    except (tarfile.TarError, NotYet, ValueError) as error:
        raise ImagesError(
            f"{path}: no whole tar, damaged or cut at byte {at} ({error}); expected a plain,"
            " uncompressed tar to its two blocks of zeros. Copy it again"
        ) from error
