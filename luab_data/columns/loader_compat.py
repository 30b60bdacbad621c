"""What the two notebooks published with the release train on, quirks included.

For comparing with models that were trained with them; not in a dataset unless asked for
(`luab-data derive DIR --columns notebook_point_x,notebook_point_y`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from luab_data.columns.icons import Icons, by_image, last_add_action
from luab_data.ragged import (
    ArrowColumn,
    Bools,
    Floats,
    Ints,
    Ragged,
    floats,
    is_true,
    nullable,
    ragged,
)


def imagenet_point(
    selected_record_x: ArrowColumn,
    selected_record_y: ArrowColumn,
    selected: ArrowColumn,
    bounds: Ints,
) -> tuple[pa.Array, pa.Array]:
    """Mean of the first selecting clicks of all rounds that ended with the image selected.

    The notebook's quirks: two rounds that selected two objects average to the background; a round
    that selected the image after deselecting it counts with its first click, not its last; the
    notebook stops at a selected round without a click, and gives an image without a selected round
    the target (-1, -1) with weight 0: both are null here.

    Args:
        selected_record_x, selected_record_y: (num_rounds,) lists of fractions, of all blocks.
        selected: (num_rounds,) bool.
        bounds: (num_images + 1,) image i has the blocks bounds[i]:bounds[i + 1].
    Returns: x and y, (num_images,) float64, fractions of the picture.
    Null where no round selected the image, or a selected round has no click.
    Source: imagenet_dataloader.ipynb of naver-ai/NeglectedFreeLunch;
    docs/definitions.md#imagenet-notebook.
    """
    chosen = is_true(selected)
    owner = Ragged(np.arange(len(chosen)), bounds).keep(chosen)
    x, y = (_mean_first(ragged(c), owner) for c in (selected_record_x, selected_record_y))
    return x, y


def _mean_first(clicks: Ragged, owner: Ragged) -> pa.Array:
    """(num_images,) mean of the first values of the rows that each image owns."""
    rows = owner.values
    filled = clicks.lengths[rows] > 0
    first = np.zeros(len(rows))
    first[filled] = clicks.values[clicks.bounds[:-1][rows[filled]]]
    total = Ragged(first, owner.bounds).reduce(np.add, 0.0)
    complete = Ragged(filled, owner.bounds).reduce(np.logical_and, False)
    return nullable(total / np.maximum(owner.lengths, 1), complete, pa.float64())


def coco_point(
    icons: Icons,
    labels: ArrowColumn,
    original_image_width: ArrowColumn,
    original_image_height: ArrowColumn,
) -> tuple[pa.ListArray, pa.ListArray]:
    """Each icon's last add in whole pixels, as the notebook has it before its crop.

    The notebook's quirks: moves are ignored and removed icons still count; fractions times the
    size are cut to whole pixels by int(), towards 0; the size is the logged one, and where that is
    0 every point is (0, 0); classes that are not in the ground truth are ignored. Its point vector
    holds y before x and -1 for nothing: here x and y are apart and nothing is null. Of two records
    of one image the notebook takes the later one; a dataset has only the first.

    Args:
        icons: the icons of the images.
        labels: (num_images,) lists of classes in the ground truth; null if that is not known.
        original_image_width, original_image_height: (num_images,) int32 px, as logged.
    Returns: x and y, (num_images,) lists of int64 px, parallel to icon_label.
    Null elements where the icon was never added, the size was not logged, or `labels` is known and
    lacks the class.
    Source: coco_dataloader.ipynb of naver-ai/NeglectedFreeLunch; docs/definitions.md#coco-notebook;
    docs/formats.md#zero-sizes.
    """
    added = last_add_action(icons)
    ignored = (added < 0) | _not_in(icons, labels)
    x, y = (
        _whole_px(values[np.maximum(added, 0)], floats(size)[icons.image], ignored)
        for values, size in (
            (icons.to_x, original_image_width),
            (icons.to_y, original_image_height),
        )
    )
    return by_image(icons, x), by_image(icons, y)


def _not_in(icons: Icons, labels: ArrowColumn) -> Bools:
    """(num_icons,) whether the ground truth is known and lacks the icon's class."""
    num_classes = int(max(icons.label.max(initial=0), 0)) + 1
    there = ragged(labels)
    found = np.isin(
        icons.image * num_classes + icons.label,
        (there.rows * num_classes + there.values)[there.values < num_classes],
    )
    known = labels.is_valid().to_numpy(zero_copy_only=False)
    absent: Bools = known[icons.image] & ~found
    return absent


def _whole_px(fraction: Floats, size: Floats, ignored: Bools) -> pa.Array:
    """int(fraction * size), null where ignored or unknown."""
    points = fraction * size
    known = ~ignored & np.isfinite(points)
    whole = np.zeros(len(points), np.int64)
    whole[known] = np.trunc(points[known])
    return nullable(whole, known, pa.int64())
