"""Headers of a tar: the plain ones for many members at once, the odd ones through `tarfile`."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BLOCK = 512
"""Bytes of a header; bodies are padded to a multiple of it."""


class Header(NamedTuple):
    """What a tar header says; its body lies at [body, body + size), the next header at `after`."""

    name: str
    body: int
    size: int
    after: int
    is_folder: bool
    is_file: bool


class NotYet(Exception):
    """The header goes on beyond the window."""


def plain_files(
    data: npt.NDArray[np.uint8], filled: int, at: int
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Files with nothing unusual in their headers, one after the other from `at` on.

    Ends before a header that is odd, damaged or not all there, or whose body is not: the slow walk
    decides about that one. Only sizes are read one by one, since each says where the next header
    is; everything else is checked for all of them at once.

    Args:
        data: a window of the archive and some spare bytes; filled: how long the window is.

    Returns: names, and (num_files, 3) body, end of the body, next header.
    """
    view = data.data
    places: list[tuple[int, int, int]] = []
    try:
        while at + BLOCK <= filled:
            size = int(bytes(view[at + 124 : at + 135]), 8)
            if size < 0 or view[at + 156] not in (0, ord("0")):
                break
            body = at + BLOCK
            end = body + size
            at = body + (size + BLOCK - 1) // BLOCK * BLOCK
            if at > filled:
                break
            places.append((body, end, at))
    except ValueError:  # zeros, base-256, or no header at all
        pass
    found = np.asarray(places, np.int64).reshape(-1, 3)
    starts = found[:, 0] - BLOCK
    whole = np.ndarray(len(data) - BLOCK + 1, f"V{BLOCK}", data, strides=(1,))
    blocks = whole[starts].view(np.uint8).reshape(-1, BLOCK)
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


def odd_header(window: npt.NDArray[np.uint8], at: int) -> Header:
    """A header of any kind at the start of `window`, `at` being its place in the buffer.

    Raises:
        NotYet: it goes on beyond the window.
        tarfile.TarError: it is none.
    """
    if len(window) > _FEWBLOCKS:  # nearly always enough, and a window is long
        with suppress(NotYet, tarfile.TarError):
            return odd_header(window[:_FEWBLOCKS], at)
    tar = tarfile.open(fileobj=io.BytesIO(bytes(2 * BLOCK)), errors="surrogateescape")
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
        raise NotYet from None
    return Header(
        name=printable(info.name),
        body=at + info.offset_data,
        size=info.size,
        after=at + tar.offset,
        is_folder=info.isdir(),
        is_file=info.isreg() and not info.issparse(),
    )


_ODD_HEADER_BYTES = 2**20
_FEWBLOCKS = 8 * BLOCK
_STUMBLES = (ValueError, LookupError, OverflowError, RecursionError)


def printable(name: str) -> str:
    """A member's name as text that any terminal and JSON can hold, with forward slashes."""
    if "/" not in name:
        name = name.replace("\\", "/")
    if not name.isascii():
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return name
