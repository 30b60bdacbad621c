"""Maps that both kinds of log have: places in a picture, offsets from a box; rows from the top."""

from __future__ import annotations

import numpy as np

from luab_data.ragged import Floats, Ints
from luab_data.statistics.estimate import Terms, grid_terms, mean_of
from luab_data.statistics.measure import BoxedBatch

MAP_CELLS = 11
"""Cells of a map along each side: 1/121 = 0.83 %, the paper's "0.82 % central area"."""

OFFSET_CELLS, OFFSET_REACH = 21, 1.05
"""Cells along each side of the map of offsets, and the offset at its border, in box sizes."""

_PLACES = tuple(range(MAP_CELLS))
_CENTRES = tuple(
    round(-OFFSET_REACH + 2 * OFFSET_REACH * (k + 0.5) / OFFSET_CELLS, 3)
    for k in range(OFFSET_CELLS)
)
PICTURE = (("row, from the top", _PLACES), ("column", _PLACES))
"""Axes of a Measure over the cells of a picture."""
OFFSETS = (("y, box heights", _CENTRES), ("x, box widths", _CENTRES))
"""Of one over the cells of an offset from a box."""
XY = (("axis", ("x", "y")),)
"""Of a vector."""


def map_cell(x: Floats, y: Floats) -> Ints:
    """(n,) cell of MAP_CELLS x MAP_CELLS, row by row; points outside go to the border cells."""
    column, row = (
        np.clip(np.floor(v * MAP_CELLS), 0, MAP_CELLS - 1).astype(np.int64) for v in (x, y)
    )
    return row * MAP_CELLS + column


def box_centres(batch: BoxedBatch) -> tuple[Ints, Ints]:
    """Row and cell of each box whose picture has a size."""
    x0, y0, x1, y1 = batch.fractions.T
    known = np.isfinite(x0 + y0 + x1 + y1)
    cell = map_cell(((x0 + x1) / 2)[known], ((y0 + y1) / 2)[known])
    return batch.boxes[1].rows[known], cell


def box_centre_density(batch: BoxedBatch) -> Terms:
    """Boxes by the cell of their centre."""
    row, cell = box_centres(batch)
    return mean_of(np.ones(len(row)), row=row, cell=cell)


def central_cell(batch: BoxedBatch) -> Terms:
    """Boxes whose centre is in the central cell."""
    row, cell = box_centres(batch)
    return mean_of(cell == MAP_CELLS**2 // 2, row=row)


def mean_offset(batch: BoxedBatch) -> Terms:
    """Points by their offset, x in cell 0, y in cell 1."""
    row, offset = batch.offsets
    return grid_terms(offset, row=row)


def mean_offset_inside(batch: BoxedBatch) -> Terms:
    """mean_offset of points in their box.

    A point far from a tiny box has an offset of many box sizes; a few of those move a mean.
    """
    row, offset = batch.offsets
    inside = (np.abs(offset) <= 0.5).all(axis=1)
    return grid_terms(offset[inside], row=row[inside])


def offset_density(batch: BoxedBatch) -> Terms:
    """Points by the cell of their offset, of those less than OFFSET_REACH away on both axes."""
    row, offset = batch.offsets
    near = (np.abs(offset) < OFFSET_REACH).all(axis=1)
    place = (offset[near] + OFFSET_REACH) / (2 * OFFSET_REACH / OFFSET_CELLS)
    column, line = np.minimum(place.astype(np.int64), OFFSET_CELLS - 1).T
    return mean_of(np.ones(len(line)), row=row[near], cell=line * OFFSET_CELLS + column)


def mode_offset(density: Floats) -> tuple[float, float]:
    """Centre of the fullest cell of a map of offsets, (x, y) in box sizes."""
    row, column = np.unravel_index(int(np.nanargmax(density)), density.shape)
    return _CENTRES[int(column)], _CENTRES[int(row)]
