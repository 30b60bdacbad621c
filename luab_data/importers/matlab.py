"""[I/O] MATLAB's .mat files up to version 7, by SciPy; 7.3 is HDF5 and is refused."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from luab_data.errors import ArchiveError
from luab_data.ragged import Floats
from luab_data.raw.source import Source


def read_mat(path: Path, on_read: Callable[[int], object]) -> dict[str, Any]:
    """The variables of a file: structs as dict, arrays of structs as lists of dict, text as str.

    What a file holds is read as data: SciPy runs nothing of it.

    Raises:
        ArchiveError: another format, version 7.3, or damaged.
    """
    with Source(path, on_read) as source:
        try:
            content = source.content()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names that are there twice
                found: dict[str, Any] = loadmat(io.BytesIO(content.read()), simplify_cells=True)
        except NotImplementedError as error:
            raise ArchiveError(
                f"{path}: a MATLAB file of version 7.3 (HDF5); expected version 7 or older. In"
                " MATLAB `x = load('A.mat'); save('B.mat', '-struct', 'x', '-v7')` writes one"
            ) from error
        except ArchiveError:
            raise
        except Exception as error:  # SciPy raises whatever a damaged file leads to
            raise ArchiveError(
                f"{path}: not a MATLAB file, or damaged ({error}). Get the file again"
            ) from error
    return {name: value for name, value in found.items() if not name.startswith("__")}


def elements(value: Any) -> list[Any]:
    """The elements of an array of structs or of a cell array; SciPy gives one alone as itself."""
    if isinstance(value, np.ndarray):
        return list(value.flat)
    return list(value) if isinstance(value, list) else [value]


def rows(value: Any, width: int) -> Floats:
    """(num_rows, width) of a matrix; SciPy gives one row alone as a vector, none as an empty one.

    Raises:
        ValueError: not numbers, or of another width.
    """
    found: Floats = np.asarray(value, np.float64)
    if found.size and found.shape not in ((width,), (len(found), width)):
        raise ValueError(f"an array of shape {found.shape}; expected (N, {width})")
    return found.reshape(-1, width)
