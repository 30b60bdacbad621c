"""Headers of a tar: the plain ones for many members at once, the odd ones through `tarfile`."""

from __future__ import annotations

import io
import re
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


_PAX = ord("x")
_PLAIN = (0, ord("0"), _PAX)


def plain_files(
    data: npt.NDArray[np.uint8], filled: int, at: int
) -> tuple[list[str], npt.NDArray[np.int64], int, tuple[str, int] | None]:
    """Files with nothing unusual in their headers, one after the other from `at` on.

    Ends before a header that is odd, damaged or not all there: the slow walk decides about that
    one; or before a file whose body is not all there. Only sizes are read one by one, since each
    says where the next header is; everything else is checked for all of them at once. The pax
    headers that macOS and others write before each file are passed over where they tell nothing
    but times and the like.

    Args:
        data: a window of the archive and some spare bytes; filled: how long the window is.

    Returns: names, (num_files, 2) body and its end, where the next header is, and name and size
        of the file that is cut off there, if one is.
    """
    view = data.data
    places: list[tuple[int, int]] = []
    heads = [at]
    with suppress(ValueError):  # zeros, base-256, or no header at all
        while at + BLOCK <= filled:
            size = int(bytes(view[at + 124 : at + 135]), 8)
            if size < 0 or view[at + 156] not in _PLAIN:
                break
            body = at + BLOCK
            at = body + (size + BLOCK - 1) // BLOCK * BLOCK
            places.append((body, body + size))
            heads.append(at)
            if at > filled:
                break
    found = np.asarray(places, np.int64).reshape(-1, 2)
    whole = np.ndarray(len(data) - BLOCK + 1, f"V{BLOCK}", data, strides=(1,))
    blocks = whole[found[:, 0] - BLOCK].view(np.uint8).reshape(-1, BLOCK)
    is_pax = blocks[:, 156] == _PAX
    plain = _are_plain(blocks)
    plain[is_pax] &= _tell_nothing(view, found[is_pax])
    count = len(places) if plain.all() else int(np.argmin(plain))
    raw = np.ascontiguousarray(blocks[:count, :100]).view("S100").ravel().tolist()
    names = [name.split(b"\0", 1)[0].decode("ascii") for name in raw]
    # A name with a slash at its end is the folder of old tars.
    count = next((i for i, name in enumerate(names) if name.endswith("/")), count)
    cut = None
    if count and count == len(places) and heads[count] > filled and not is_pax[count - 1]:
        count -= 1
        cut = (names[count], int(found[count, 1] - found[count, 0]))
    while count and is_pax[count - 1]:  # its file is odd, and is read together with it
        count -= 1
    files = np.flatnonzero(~is_pax[:count])
    return [names[i] for i in files.tolist()], found[files], heads[count], cut


def _are_plain(blocks: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(num_headers,) of headers (num_headers, BLOCK): whether nothing but names and sizes tells."""
    digits, field = blocks[:, 124:135], blocks[:, 148:156]
    checksum = blocks.sum(1, dtype=np.int64) - field.sum(1, dtype=np.int64) + 8 * ord(" ")
    # The checksum as every tar writes it, 6 octal digits.
    octal = blocks[:, 148:154].astype(np.int64) - ord("0")
    stored = octal @ (8 ** np.arange(5, -1, -1))
    return np.asarray(
        (blocks[:, 345] == 0)  # no prefix of a long name
        & ((digits >= ord("0")) & (digits <= ord("7"))).all(axis=1)
        & ((blocks[:, 135] == 0) | (blocks[:, 135] == ord(" ")))  # where those 11 digits end
        & (blocks[:, :100] < 128).all(axis=1)
        & ((octal >= 0) & (octal < 8)).all(axis=1)
        & (blocks[:, 154] == 0)
        & (checksum == stored)
    )


_PAX_RECORDS = re.compile(rb"(?:[0-9]+ [^\n=]+=[^\n]*\n)+").fullmatch
_PAX_THAT_COUNT = re.compile(rb" (?:path|size|linkpath|GNU\.sparse[^=]*)=").search


def _tell_nothing(view: memoryview, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(num_headers,) of the bodies of pax headers: whether they change neither name nor content."""
    texts = [bytes(view[body:end]) for body, end in places.tolist()]
    together = b"".join(texts)
    if _PAX_RECORDS(together) and not _PAX_THAT_COUNT(together):
        return np.ones(len(texts), np.bool_)
    harmless = [bool(_PAX_RECORDS(text)) and not _PAX_THAT_COUNT(text) for text in texts]
    return np.array(harmless, np.bool_)


def odd_header(window: npt.NDArray[np.uint8], at: int) -> Header:
    """A header of any kind at the start of `window`, `at` being its place in the buffer.

    Raises:
        NotYet: it goes on beyond the window.
        tarfile.TarError: it is none.
    """
    if len(window) > _FEW_BLOCKS:  # nearly always enough, and a window is long
        with suppress(NotYet, tarfile.TarError):
            return odd_header(window[:_FEW_BLOCKS], at)
    tar = tarfile.open(fileobj=io.BytesIO(bytes(2 * BLOCK)), errors="surrogateescape")
    tar.fileobj = io.BytesIO(window[:_ODD_HEADER_BYTES].tobytes())
    try:
        info = tarfile.TarInfo.fromtarfile(tar)
        if tar.offset <= 0 or info.size < 0:
            raise _invalid("negative size")
    except (tarfile.TarError, *_STUMBLES) as error:
        # A header that goes on is told apart from a damaged one by the room there was: none takes
        # a megabyte. tarfile itself stumbles over some that are damaged.
        if isinstance(error, _invalid) or len(window) >= _ODD_HEADER_BYTES:
            raise _invalid(str(error)) from error
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
_FEW_BLOCKS = 8 * BLOCK
_invalid = tarfile.InvalidHeaderError  # type: ignore[attr-defined]
_STUMBLES = (ValueError, LookupError, OverflowError, RecursionError)


def printable(name: str) -> str:
    """A member's name as text that any terminal and JSON can hold, with forward slashes."""
    if "/" not in name:
        name = name.replace("\\", "/")
    if not name.isascii():
        name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return name
