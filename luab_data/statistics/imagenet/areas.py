"""How much of a centred square the union of an image's boxes covers: exact, no sampling."""

from __future__ import annotations

import numpy as np

from luab_data.ragged import Floats, Ragged


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
