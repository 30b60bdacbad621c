"""[I/O] Arrays of an .npz, object arrays too, if they hold nothing but plain values.

Object arrays are pickles, and unpickling runs whatever the file says. Here it makes arrays, lists,
numbers and texts, and refuses anything else.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luab_data.errors import ArchiveError


def read_arrays(path: Path, names: Sequence[str], unknown: Counter[str]) -> dict[str, Any]:
    """Some arrays of an .npz; object arrays too, if they hold plain values.

    Raises:
        ArchiveError: no .npz, damaged, or with something else than arrays of plain values.
    """
    found: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                name = member.removesuffix(".npy")
                if name not in names:
                    unknown[name] += 1
                    continue
                with archive.open(member) as file:
                    found[name] = _read_array(file)
    except ArchiveError:
        raise
    except Exception as error:  # NumPy and pickle raise whatever a damaged file leads to
        raise ArchiveError(
            f"{path}: cannot be read ({error}); expected an .npz of arrays of numbers, texts and"
            " lists of them"
        ) from error
    return found


def _read_array(file: Any) -> Any:
    """An array of an .npy; one of objects by the restricted unpickler."""
    version = np.lib.format.read_magic(file)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = header(file)
    if not dtype.hasobject:
        values = np.frombuffer(file.read(), dtype)
        return values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)
    found = _plain(_Plain(file).load())
    if not isinstance(found, np.ndarray):
        raise ValueError(f"a pickled {type(found).__name__}; expected an array")
    return found


class _Plain(pickle.Unpickler):
    """Makes arrays, lists, numbers and texts, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """What makes an array or a number of NumPy, as its pickles name it; no other name."""
        known = re.sub(r"^numpy\._?core\.", "numpy._core.", f"{module}.{name}")
        if known not in _MAKERS:
            raise pickle.UnpicklingError(
                f"it asks to run {module}.{name}, which no array of clicks needs"
            )
        return _MAKERS[known]


class _Dtype:
    """The type of an array or a number; NumPy's own would believe any state that a file gives."""

    def __init__(self, code: str, *_: Any) -> None:
        if not re.fullmatch(r"[?bBhHiIlLqQefdgOSUiuf]\d*", code):
            raise ValueError(f"an array of {code!r}; expected numbers, texts or lists")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array whose content comes next."""

    values: Any = None

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, type, is_fortran, data = state
        if not type.dtype.hasobject:
            self.values = _array(data, type, shape, "F" if is_fortran else "C")
            return
        self.values = np.empty(len(data), object)
        for k, value in enumerate(data):
            self.values[k] = _plain(value)
        self.values = self.values.reshape(shape, order="F" if is_fortran else "C")


def _plain(value: Any) -> Any:
    return value.values if isinstance(value, _Array) else value


def _array(data: Any, type: _Dtype, shape: Any, order: str) -> Any:
    return np.frombuffer(data, type.dtype).reshape(shape, order="F" if order == "F" else "C")


def _number(type: _Dtype, data: bytes) -> Any:
    return np.frombuffer(data, type.dtype)[0]


_MAKERS: Mapping[str, Any] = {
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray.scalar": _number,
    "numpy._core.numeric._frombuffer": _array,
    "numpy.ndarray": None,  # an argument of _reconstruct alone
    "numpy.dtype": _Dtype,
}
"""Names in NumPy's pickles -> what makes the same of them, and nothing else."""
