"""Maps that both datasets have: places in a picture, offsets from a box; rows from the top."""

from __future__ import annotations

from typing import Any

import numpy as np

from luab_data.ragged import Floats, Ints

MAP_CELLS = 11
"""Cells of a map along each side: 1/121 = 0.83 %, the paper's "0.82 % central area"."""

OFFSET_CELLS, OFFSET_REACH = 21, 1.05
"""Cells along each side of the map of offsets, and the offset at its border, in box sizes."""

_PLACES = tuple(range(MAP_CELLS))
_CENTRES = tuple(
    round(-OFFSET_REACH + 2 * OFFSET_REACH * (k + 0.5) / OFFSET_CELLS, 3)
    for k in range(OFFSET_CELLS)
)
PICTURE: dict[str, Any] = {
    "shape": (MAP_CELLS, MAP_CELLS),
    "axes": (("row, from the top", _PLACES), ("column", _PLACES)),
}
"""Shape and axes of a Measure over the cells of a picture."""
OFFSETS: dict[str, Any] = {
    "shape": (OFFSET_CELLS, OFFSET_CELLS),
    "axes": (("y, box heights", _CENTRES), ("x, box widths", _CENTRES)),
}
"""Of one over the cells of an offset from a box."""
XY: dict[str, Any] = {"shape": (2,), "axes": (("axis", ("x", "y")),)}
"""Of a vector."""


def map_cell(x: Floats, y: Floats) -> Ints:
    """(n,) cell of MAP_CELLS x MAP_CELLS, row by row; points outside go to the border cells."""
    column, row = (
        np.clip(np.floor(v * MAP_CELLS), 0, MAP_CELLS - 1).astype(np.int64) for v in (x, y)
    )
    return row * MAP_CELLS + column


def offset_cells(u: Floats, v: Floats) -> tuple[Ints, Ints]:
    """Which offsets (n,) are on the map of offsets, and in which cell, row by row."""
    with np.errstate(invalid="ignore"):
        index = np.flatnonzero((np.abs(u) < OFFSET_REACH) & (np.abs(v) < OFFSET_REACH))
    step = 2 * OFFSET_REACH / OFFSET_CELLS
    column, row = (
        np.minimum(((w[index] + OFFSET_REACH) / step).astype(np.int64), OFFSET_CELLS - 1)
        for w in (u, v)
    )
    return index, row * OFFSET_CELLS + column


def mode_offset(density: Floats) -> tuple[float, float]:
    """Centre of the fullest cell of a map of offsets, (x, y) in box sizes."""
    row, column = np.unravel_index(int(np.nanargmax(density)), density.shape)
    return _CENTRES[int(column)], _CENTRES[int(row)]
