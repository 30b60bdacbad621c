"""Where annotators clicked, against the boxes: accuracy, its null, curves and maps.

S are the images that were selected and have boxes. The null of an accuracy deals the same points
out to the images of S at random: what annotators who know where objects usually are, but do not
look at the image, would reach. Points are dealt within a batch: where rows are sorted by class, to
images of the same or a neighbouring class, whose objects lie more alike.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from luab_data.columns.regions import click_offset, in_any_box
from luab_data.ragged import ArrowColumn, Bools, Floats, Ints, bounds_of, ragged
from luab_data.statistics.estimate import Terms, grid_terms, mean_of
from luab_data.statistics.maps import box_centres, centred_share, map_cell
from luab_data.statistics.measure import BoxedBatch

SIDES = tuple(k / 20 for k in range(21))
"""Sides of the centred square of the random-click curve, in fractions of the picture."""

_DEALS = 4


class ImageBatch(BoxedBatch):
    """Rows of `default` of a browsing log; what several statistics share is computed once."""

    columns: tuple[str, ...] = (
        *("worker_id", "has_interaction", "selected", "selected_round", "has_boxes"),
        *("width", "height", "boxes", "click_in_box", "parity_disagrees", "dwell_time_ms"),
        *("final_click_x", "final_click_y", "first_click_x", "first_click_y"),
        *("trace_quantile_x", "trace_quantile_y", "time_quantile_x", "time_quantile_y"),
        *("last_n_x", "last_n_y", "image_idx", "page_idx"),
    )

    @cached_property
    def evaluated(self) -> Bools:
        """(num_rows,) whether the image is in S."""
        return np.asarray(self.table["click_in_box"].is_valid())

    @cached_property
    def right(self) -> Floats:
        """(num_rows,) 1 where the final click is in a box, else 0; NaN outside S."""
        return self.floats("click_in_box")

    @cached_property
    def centre_right(self) -> Bools:
        """(num_rows,) whether the picture's centre is in a box."""
        middle = np.full(len(self), 0.5)
        return self.contains(middle, middle)

    @cached_property
    def deals(self) -> Ints:
        """(_DEALS, |S|) rows of S, dealt out to the rows of S anew: the null of an accuracy."""
        own = np.flatnonzero(self.evaluated)
        rng = np.random.default_rng(0)
        return rng.permuted(np.tile(own, (_DEALS, 1)), axis=1)

    @cached_property
    def offsets(self) -> tuple[Ints, Floats]:
        """Row and offset of each final click."""
        offset = np.stack(click_offset(self.table), axis=1)
        row = np.flatnonzero(np.isfinite(offset).all(axis=1))
        return row, offset[row]

    def contains(self, x: Floats, y: Floats) -> Bools:
        """(num_rows,) whether the row's point (fractions) is in any of its boxes."""
        return in_any_box(x, y, *self.size, *self.boxes)

    def points(self, name: str, num: int) -> tuple[Floats, Floats]:
        """(num_rows, num) x and y of a column of parallel lists; NaN for null rows and elements."""
        return _grid(self.table[f"{name}_x"], num), _grid(self.table[f"{name}_y"], num)


def _grid(column: ArrowColumn, num: int) -> Floats:
    out = np.full((len(column), num), np.nan)
    out[np.diff(bounds_of(column)) == num] = ragged(column).values.reshape(-1, num)
    return out


def accuracy(images: ImageBatch, x: Floats, y: Floats) -> Terms:
    """Share of points in a box of their image, and its null.

    Args:
        x, y: (num_rows, num_cells) fractions; NaN is no trial. Rows outside S are none either.
    """
    own = np.flatnonzero(images.evaluated)
    part, null = np.zeros((2, len(images), x.shape[1]))
    whole = (images.evaluated[:, None] & ~np.isnan(x)).astype(np.float64)
    for cell in range(x.shape[1]):
        part[:, cell] = images.contains(x[:, cell], y[:, cell]) * whole[:, cell]
        hits, trials = np.zeros((2, len(images)))
        for dealt in images.deals:
            other_x, other_y = np.full((2, len(images)), np.nan)
            other_x[own], other_y[own] = x[dealt, cell], y[dealt, cell]
            hits += images.contains(other_x, other_y)
            trials += ~np.isnan(other_x)
        # The null belongs to points dealt to an image; it counts by the points the image had.
        expected = hits.sum() / trials.sum() if trials.any() else np.nan
        null[:, cell] = np.where(whole[:, cell] > 0, expected, 0)
    return grid_terms(part, whole, null)


def click_accuracy(images: ImageBatch, name: str = "final_click") -> Terms:
    """Accuracy of a click of each image."""
    return accuracy(
        images, images.floats(f"{name}_x")[:, None], images.floats(f"{name}_y")[:, None]
    )


def click_and_centre(images: ImageBatch) -> Terms:
    """Click accuracy in cell 0, centre accuracy in cell 1: for their difference."""
    row = np.flatnonzero(images.evaluated)
    return grid_terms(np.stack([images.right, images.centre_right], axis=1)[row], row=row)


def random_click_curve(images: ImageBatch) -> Terms:
    """Chance that a point drawn from the centred square of side t is in a box, t in SIDES.

    At t = 0 it is the centre itself, borders included.
    """
    there = images.evaluated
    _, rows = images.boxes
    boxes = np.clip(np.nan_to_num(images.fractions), 0, 1)
    covered = centred_share(boxes, rows.keep(there[rows.rows]), np.array(SIDES[1:]))
    part = np.concatenate([images.centre_right[:, None], covered], axis=1)[there]
    return grid_terms(part, row=np.flatnonzero(there))


def accuracy_by_box_centre(images: ImageBatch) -> Terms:
    """Click accuracy by the cell of a box's centre, once a box."""
    row, cell = box_centres(images)
    return mean_of(images.right[row], row=row, cell=cell)


def by_click(images: ImageBatch, values: Floats) -> Terms:
    """Mean of values (num_rows,) by the cell of the final click."""
    x, y = images.floats("final_click_x"), images.floats("final_click_y")
    there = np.isfinite(x + y)
    cell = map_cell(np.where(there, x, 0), np.where(there, y, 0))
    return mean_of(values, where=there, cell=cell)
