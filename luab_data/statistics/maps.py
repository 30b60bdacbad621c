"""Where boxes and points lie: maps of places and of offsets, rows from the top; areas covered."""

from __future__ import annotations

import numpy as np

from luab_data.ragged import Floats, Ints, Ragged
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


def centred_share(boxes: Floats, rows: Ragged, sides: Floats) -> Floats:
    """Share of the centred square of each side that a row's boxes cover.

    That is the chance that a point drawn uniformly from the square lies in them. The edges of a
    row's boxes cut the picture into cells, each of which is covered or not.

    Args:
        boxes: (num_boxes, 4) xyxy in fractions of the picture.
        rows: which of them belong to which row.
        sides: (num_sides,) of the square, more than 0.
    Returns: (num_rows, num_sides).
    Source: docs/definitions.md#random-click-curve
    """
    share = np.zeros((len(rows.lengths), len(sides)))
    for count in np.unique(rows.lengths[rows.lengths > 0]).tolist():
        # Rows with the same number of boxes are cut together, so many at a time as fit in memory.
        having = np.flatnonzero(rows.lengths == count)
        for some in np.array_split(having, 1 + len(having) * count**2 // 2**20):
            own = boxes[rows.values[rows.bounds[some][:, None] + np.arange(count)]]
            share[some] = _covered(own, sides)
    return share


def _covered(boxes: Floats, sides: Floats) -> Floats:
    """(num_rows, num_sides) of (num_rows, k, 4) boxes."""
    x, y = (np.sort(boxes[:, :, axis::2].reshape(len(boxes), -1), axis=1) for axis in (0, 1))
    x0, y0, x1, y1 = np.moveaxis(boxes[..., None], 2, 0)
    across = (x0 <= x[:, None, :-1]) & (x[:, None, 1:] <= x1)
    down = (y0 <= y[:, None, :-1]) & (y[:, None, 1:] <= y1)
    # A cell is covered if a box spans it both ways.
    inside = (np.swapaxes(down, 1, 2).astype(np.float32) @ across.astype(np.float32)) > 0
    share = np.empty((len(boxes), len(sides)))
    for k, side in enumerate(sides.tolist()):
        width, height = (np.diff(np.clip(e, 0.5 - side / 2, 0.5 + side / 2)) for e in (x, y))
        share[:, k] = np.einsum("ny,nyx,nx->n", height, inside, width) / side**2
    return share
