"""Where ImageNet annotators clicked, against the boxes: accuracy, its nulls, curves and maps.

S are the images that were selected and have boxes (metrics 4.3). The null of an accuracy deals the
same points out to the images of S at random: what annotators who know where objects usually are,
but do not look at the image, would reach. Points are dealt within a batch: where rows are sorted by
class, to images of the same or a neighbouring class, whose objects lie more alike.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from luab_data.columns.regions import boxes_of, click_offset, floats, in_any_box
from luab_data.ragged import ArrowColumn, Bools, Floats, Ints, Ragged, bounds_of, ragged
from luab_data.schema import LAST_N, QUANTILES
from luab_data.statistics.estimate import Parts, grid_parts, ratio
from luab_data.statistics.imagenet.areas import centred_share, disjoint
from luab_data.statistics.maps import MAP_CELLS, map_cell, offset_cells
from luab_data.statistics.measure import TableBatch

SIDES = tuple(k / 20 for k in range(21))
"""Sides of the centred square of the random-click curve, in fractions of the picture."""

_DEALS = 4


class ImageBatch(TableBatch):
    """Rows of `default` of ImageNet-AB; what several statistics share is computed once."""

    columns = (
        *("worker_id", "has_interaction", "selected", "selected_round", "has_boxes"),
        *("width", "height", "boxes", "click_in_box", "parity_disagrees", "dwell_time_ms"),
        *("final_click_x", "final_click_y", "first_click_x", "first_click_y"),
        *("trace_quantile_x", "trace_quantile_y", "time_quantile_x", "time_quantile_y"),
        *("last_n_x", "last_n_y", "image_idx", "page_idx"),
    )

    def floats(self, name: str) -> Floats:
        """(num_rows,) a column, NaN for null."""
        column = self.table[name]
        return floats(column.cast("int8") if pa.types.is_boolean(column.type) else column)

    @cached_property
    def size(self) -> tuple[Floats, Floats]:
        """Width and height, px."""
        return self.floats("width"), self.floats("height")

    @cached_property
    def boxes(self) -> tuple[Floats, Ragged]:
        """(num_boxes, 4) px and which belong to which row."""
        return boxes_of(self.table["boxes"])

    @cached_property
    def fractions(self) -> Floats:
        """(num_boxes, 4) the boxes in fractions of the picture; NaN without its size."""
        boxes, rows = self.boxes
        width, height = self.size
        size = np.stack([width, height, width, height], axis=1)
        fractions: Floats = boxes / size[rows.rows]
        return fractions

    @cached_property
    def evaluated(self) -> Bools:
        """(num_rows,) whether the image is in S."""
        there: Bools = self.table["click_in_box"].is_valid().to_numpy()
        return there

    @cached_property
    def right(self) -> Floats:
        """(num_rows,) 1 where the final click is in a box, else 0; NaN outside S."""
        return self.floats("click_in_box")

    @cached_property
    def centre_right(self) -> Floats:
        """(num_rows,) 1 where the picture's centre is in a box, else 0."""
        return self.contains(np.full(len(self), 0.5), np.full(len(self), 0.5))

    @cached_property
    def deals(self) -> Ints:
        """(_DEALS, |S|) rows of S, dealt out to the rows of S anew: the null of an accuracy."""
        own = np.flatnonzero(self.evaluated)
        rng = np.random.default_rng(0)
        return rng.permuted(np.tile(own, (_DEALS, 1)), axis=1)

    def contains(self, x: Floats, y: Floats) -> Floats:
        """(num_rows,) 1 where the row's point (fractions) is in any of its boxes, else 0."""
        return in_any_box(x, y, *self.size, *self.boxes).astype(np.float64)

    def points(self, name: str, num: int) -> tuple[Floats, Floats]:
        """(num_rows, num) x and y of a column of parallel lists; NaN for null rows and elements."""
        return _grid(self.table[f"{name}_x"], num), _grid(self.table[f"{name}_y"], num)


def _grid(column: ArrowColumn, num: int) -> Floats:
    out = np.full((len(column), num), np.nan)
    out[np.diff(bounds_of(column)) == num] = ragged(column).values.reshape(-1, num)
    return out


def accuracy_parts(images: ImageBatch, x: Floats, y: Floats) -> Parts:
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
    return grid_parts(part, whole, null)


def click_accuracy(images: ImageBatch) -> Parts:
    """Final clicks in any box of their image, over S. Source: metrics 4.3."""
    return accuracy_parts(images, *_column(images, "final_click"))


def first_click_accuracy(images: ImageBatch) -> Parts:
    """Likewise for the first click. Source: metrics 4, "which click"."""
    return accuracy_parts(images, *_column(images, "first_click"))


def _column(images: ImageBatch, name: str) -> tuple[Floats, Floats]:
    return images.floats(f"{name}_x")[:, None], images.floats(f"{name}_y")[:, None]


def last_n_accuracy(images: ImageBatch) -> Parts:
    """The N-th record before the click, N = 0..8; shorter visits are left out. Source: 4.7."""
    return accuracy_parts(images, *images.points("last_n", LAST_N))


def trace_quantile_accuracy(images: ImageBatch) -> Parts:
    """The record at each quantile of the visit's records. Source: metrics 4.7."""
    return accuracy_parts(images, *images.points("trace_quantile", len(QUANTILES)))


def time_quantile_accuracy(images: ImageBatch) -> Parts:
    """The record at each quantile of the visit's time. Source: metrics 4.7."""
    return accuracy_parts(images, *images.points("time_quantile", len(QUANTILES)))


def centre_accuracy(images: ImageBatch) -> Parts:
    """Images of S of which a box holds the centre. Source: metrics 4.3b."""
    return _of(images, images.centre_right, images.evaluated)


def boxed_centre_accuracy(images: ImageBatch) -> Parts:
    """Likewise over all images with boxes; which of the two the paper means is unknown."""
    return _of(
        images, images.centre_right, ~np.isnan(images.size[0]) & (images.floats("has_boxes") > 0)
    )


def off_centre_share(images: ImageBatch) -> Parts:
    """Images of S whose boxes all miss the centre. Source: metrics 4.3c."""
    return _of(images, 1 - images.centre_right, images.evaluated)


def off_centre_click_accuracy(images: ImageBatch) -> Parts:
    """Click accuracy on images of S whose boxes all miss the centre. Source: metrics 4.3c."""
    return _of(images, images.right, images.evaluated & (images.centre_right == 0))


def on_centre_click_accuracy(images: ImageBatch) -> Parts:
    """Click accuracy on the other images of S. Source: metrics 4.3, "implied value"."""
    return _of(images, images.right, images.evaluated & (images.centre_right == 1))


def _of(images: ImageBatch, part: Floats, there: Bools) -> Parts:
    row = np.flatnonzero(there)
    return Parts(row=row, part=part[row], whole=np.ones(len(row)))


def click_and_centre(images: ImageBatch) -> Parts:
    """Click accuracy in cell 0, centre accuracy in cell 1: for their difference."""
    row = np.flatnonzero(images.evaluated)
    both = np.stack([images.right, images.centre_right], axis=1)[row]
    return grid_parts(both, np.ones_like(both))._replace(row=np.repeat(row, 2))


def difference(part: Floats, whole: Floats) -> Floats:
    """Mean of cell 0 less that of cell 1."""
    mean = ratio(part, whole)
    return mean[..., 0] - mean[..., 1]


def random_click_curve(images: ImageBatch) -> Parts:
    """Chance that a point drawn from the centred square of side t is in a box, t in SIDES.

    At t = 0 it is the centre itself, borders included. Source: metrics 4.4.
    """
    _, rows = images.boxes
    there = images.evaluated
    kept = rows.keep(there[rows.rows])
    cut = disjoint(np.clip(np.nan_to_num(images.fractions), 0, 1), kept)
    share = centred_share(cut, len(images), np.array(SIDES[1:]))
    part = np.concatenate([images.centre_right[:, None], share], axis=1)[there]
    row = np.repeat(np.flatnonzero(there), len(SIDES))
    return grid_parts(part, np.ones_like(part))._replace(row=row)


def _box_centres(images: ImageBatch) -> tuple[Ints, Ints]:
    """Row and cell of each box whose image has a size."""
    x0, y0, x1, y1 = images.fractions.T
    known = np.isfinite(x0 + y0 + x1 + y1)
    cell = map_cell(((x0 + x1) / 2)[known], ((y0 + y1) / 2)[known])
    return images.boxes[1].rows[known], cell


def box_centre_density(images: ImageBatch) -> Parts:
    """Box instances by the cell of their centre. Source: metrics 4.5."""
    row, cell = _box_centres(images)
    return Parts(row=row, part=np.ones(len(row)), whole=np.ones(len(row)), cell=cell)


def central_cell(images: ImageBatch) -> Parts:
    """Box instances whose centre is in the central cell. Source: metrics 4.5."""
    row, cell = _box_centres(images)
    central = cell == MAP_CELLS**2 // 2
    return Parts(row=row, part=central.astype(np.float64), whole=np.ones(len(row)))


def accuracy_by_box_centre(images: ImageBatch) -> Parts:
    """Click accuracy by the cell of a box's centre, once a box. Source: metrics 4.6a."""
    row, cell = _box_centres(images)
    there = images.evaluated[row]
    row, cell = row[there], cell[there]
    return Parts(row=row, part=images.right[row], whole=np.ones(len(row)), cell=cell)


def accuracy_by_click(images: ImageBatch) -> Parts:
    """Click accuracy by the cell of the click. Source: metrics 4.6b."""
    row = np.flatnonzero(images.evaluated)
    cell = map_cell(*(images.floats(f"final_click_{axis}")[row] for axis in "xy"))
    return Parts(row=row, part=images.right[row], whole=np.ones(len(row)), cell=cell)


def click_density(images: ImageBatch) -> Parts:
    """Final clicks of all selected images by cell."""
    x, y = (images.floats(f"final_click_{axis}") for axis in "xy")
    row = np.flatnonzero(~np.isnan(x + y))
    ones = np.ones(len(row))
    return Parts(row=row, part=ones, whole=ones, cell=map_cell(x[row], y[row]))


def click_offset_parts(images: ImageBatch, *, inside: bool = False) -> Parts:
    """Offset of the click from its box's centre in box sizes, x in cell 0, y in cell 1.

    Args:
        inside: only of clicks that lie in their box: a click far from a tiny box has an offset of
            many box sizes, and a few of those move a mean.
    Source: metrics 4.8.
    """
    offset = np.stack(click_offset(images.table), axis=1)
    there = np.isfinite(offset).all(axis=1)
    if inside:
        there &= (np.abs(np.nan_to_num(offset, nan=1.0)) <= 0.5).all(axis=1)
    row = np.flatnonzero(there)
    parts = grid_parts(offset[row], np.ones((len(row), 2)))
    return parts._replace(row=np.repeat(row, 2))


def click_offset_inside(images: ImageBatch) -> Parts:
    """click_offset_parts of clicks in their box."""
    return click_offset_parts(images, inside=True)


def click_offset_density(images: ImageBatch) -> Parts:
    """Clicks by the cell of their offset, among those less than OFFSET_REACH away on both axes."""
    u, v = click_offset(images.table)
    row, cell = offset_cells(u, v)
    return Parts(row=row, part=np.ones(len(row)), whole=np.ones(len(row)), cell=cell)
