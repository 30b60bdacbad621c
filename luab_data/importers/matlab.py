"""[I/O] MATLAB's .mat files of versions 5 to 7: numbers, text, cells and structs, nothing else.

SciPy reads them too, but a damaged file ends the process there (seen with SciPy's loadmat: a
segmentation fault on one changed byte), and whose file it is nobody knows. Source: "MAT-File
Format", MathWorks, chapter 1. Version 7.3 is HDF5, and refused.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.errors import ArchiveError
from luab_data.ragged import Floats
from luab_data.raw.source import DAMAGE, Source

_NUMBERS = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"},
    **{7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
"""Type of a data element -> NumPy's."""

_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _DOUBLE, _UINT64 = 1, 2, 4, 6, 15  # classes of a matrix
_IS_COMPLEX = 0x800
_HEADER_BYTES = 128
_MOST_BYTES = 2**30
_HDF5 = b"\x89HDF\r\n\x1a\n"


def read_mat(path: Path, on_read: Callable[[int], object]) -> dict[str, Any]:
    """The variables of a file: arrays, str, and of cells and structs lists, column by column.

    An element of a struct is a dict. A text of several lines is a list of str.

    Raises:
        ArchiveError: another format, version 7.3, damaged, or with something else in it.
    """
    try:
        with Source(path, on_read, hashed=False) as source:
            data = source.content().read()
        version = data[124:126] if data[126:128] == b"IM" else data[125:123:-1]
        if data.startswith(_HDF5) or version == b"\x00\x02":
            raise ArchiveError(
                f"{path}: a MATLAB file of version 7.3 (HDF5); expected version 7 or older. In"
                " MATLAB `x = load('A.mat'); save('B.mat', '-struct', 'x', '-v7')` writes one"
            )
        order = {b"IM": "<", b"MI": ">"}[data[126:128]]
        elements = _Elements(memoryview(data)[_HEADER_BYTES:], order)
        found = {}
        while elements:
            name, value = elements.matrix()
            found[name] = value
    except ArchiveError:
        raise
    except (*DAMAGE, LookupError, OSError, RecursionError, ValueError, struct.error) as error:
        raise ArchiveError(
            f"{path}: not a MATLAB file of version 5 to 7, or damaged ({error}). Get the file again"
        ) from error
    return found


class _Elements:
    """The data elements of a piece of a file, one after the other."""

    def __init__(self, data: memoryview, order: str) -> None:
        self._data, self._order, self._at = data, order, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def _next(self) -> tuple[int, memoryview]:
        """Type and content of the next element, after which the one after it is next."""
        if self._at + 8 > len(self._data):
            raise ValueError("it ends within an element")
        type, size = struct.unpack_from(f"{self._order}II", self._data, self._at)
        start = self._at + 8
        if type >> 16:  # four bytes or less, in the place of the size
            type, size, start = type & 0xFFFF, type >> 16, start - 4
            if size > 4:
                raise ValueError(f"a small element of {size} bytes")
        padding = 0 if type == _COMPRESSED or start % 8 else -size % 8
        self._at = max(self._at + 8, start + size + padding)
        if start + size > len(self._data):
            raise ValueError("it ends within an element")
        return type, self._data[start : start + size]

    def _numbers(self) -> Any:
        type, body = self._next()
        return np.frombuffer(body, f"{self._order}{_NUMBERS[type]}")

    def _text(self) -> str:
        type, body = self._next()
        encoding = _TEXTS[type]
        is_wide = encoding in ("utf-16", "utf-32")
        return str(body, encoding + {"<": "-le", ">": "-be"}[self._order] * is_wide)

    def matrix(self) -> tuple[str, Any]:
        """Name and value of the matrix that is the next element."""
        type, body = self._next()
        if type == _COMPRESSED:
            inflate = zlib.decompressobj()
            body = memoryview(inflate.decompress(body, _MOST_BYTES))
            if not inflate.eof:
                raise ValueError(f"compressed, and cut or of more than {_MOST_BYTES} bytes")
            return _Elements(body, self._order).matrix()
        if type != _MATRIX:
            raise ValueError(f"an element of type {type}; expected a matrix")
        return _Elements(body, self._order)._content()

    def _content(self) -> tuple[str, Any]:
        if not self:
            return "", np.zeros((0, 0))
        flags = int(self._numbers()[0])
        shape = tuple(int(side) for side in self._numbers())
        size, name, kind = math.prod(shape), self._text(), flags & 0xFF
        if min(shape, default=0) < 0 or size > 8 * len(self._data):
            raise ValueError(f"a matrix of {shape} in {len(self._data)} bytes")
        if kind == _CELL:
            return name, [self.matrix()[1] for _ in range(size)]
        if kind == _STRUCT:
            length, names = int(self._numbers()[0]), self._text()
            if length < 1:
                raise ValueError(f"names of fields of {length} characters")
            fields = [names[k : k + length].split("\0")[0] for k in range(0, len(names), length)]
            return name, [{key: self.matrix()[1] for key in fields} for _ in range(size)]
        if kind == _CHAR:
            return name, self._lines(shape)
        if not _DOUBLE <= kind <= _UINT64 or flags & _IS_COMPLEX:
            raise ValueError(f"a matrix of class {kind}; expected numbers, text, cells, structs")
        return name, self._numbers().reshape(shape, order="F")

    def _lines(self, shape: tuple[int, ...]) -> str | list[str]:
        text = self._text()
        if len(shape) != 2 or shape[0] <= 1:
            return text
        if len(text) != math.prod(shape):
            raise ValueError(f"a text of {shape} in {len(text)} characters")
        return [text[k :: shape[0]] for k in range(shape[0])]


def elements(value: Any) -> list[Any]:
    """The elements of cells or structs; one text alone is one, an empty array none."""
    if isinstance(value, np.ndarray):
        return list(value.flat)
    return value if isinstance(value, list) else [value]


def rows(value: Any, width: int) -> Floats:
    """(num_rows, width) of a matrix, which has no columns either if it is empty.

    Raises:
        ValueError: not numbers, or of another width.
    """
    found: Floats = np.asarray(value, np.float64)
    if found.size and (found.ndim != 2 or found.shape[1] != width):
        raise ValueError(f"an array of shape {found.shape}; expected (N, {width})")
    return found.reshape(-1, width)
