"""What the instances file says of each image: its size, classes and boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.boxes import file_stem
from luab_data.columns import regions
from luab_data.ragged import ArrowColumn, Bools, list_array
from luab_data.truth import TrueImage

Truth = Mapping[int, TrueImage] | Mapping[str, TrueImage]
Known = Sequence[TrueImage | None]
"""(num_images,) the ground truth of each image, None where there is none."""


def is_known(known: Known) -> Bools:
    """(num_images,) whether there is a ground truth of each image."""
    return np.array([image is not None for image in known], dtype=bool)


def known_images(image_id: ArrowColumn, truth: Truth | None) -> Known:
    """The ground truth of each image.

    Args:
        image_id: (num_images,) ids.
        truth: the instances file, or None when there is none.
    """
    return [None if truth is None else truth.get(i) for i in image_id.to_pylist()]


def known_files(image_id: ArrowColumn, image_file: ArrowColumn, truth: Truth | None) -> Known:
    """The ground truth of each image of somebody's own: by the name of its file, else by its id."""
    names: Mapping[Any, TrueImage] = truth or {}
    found: list[TrueImage | None] = []
    for name, file in zip(image_id.to_pylist(), image_file.to_pylist(), strict=True):
        keys = (file_stem(file or name), name, file_stem(name))
        found.append(next((names[key] for key in keys if key in names), None))
    return found


def labels(known: Known) -> pa.ListArray:
    """Classes with any instance in the ground truth, crowds included.

    Returns: (num_images,) lists of int64, ascending.
    Null where the instances file lacks the image, or there is no such file.
    Source: docs/definitions.md#mean-average-precision; docs/definitions.md#coco-notebook.
    """
    found = [None if image is None else image.labels for image in known]
    return pa.array(found, pa.list_(pa.int64()))


def boxes(known: Known) -> pa.ListArray:
    """Box of each instance that is no crowd, in the order of the instances file.

    Returns: (num_images,) lists of [xmin, ymin, xmax, ymax], float64, continuous px.
    Null where the instances file lacks the image, or there is no such file.
    Source: `bbox` of the instances file, which is [x, y, width, height].
    """
    values = np.concatenate([[], *(image.box_xyxy for image in known if image is not None)])
    corners = np.arange(0, len(values) + 1, 4)
    return _of_boxes(known, list_array(pa.array(values), corners))


def box_label(known: Known) -> pa.ListArray:
    """Class of each box.

    Returns: (num_images,) lists of int64, parallel to boxes.
    Null where boxes is.
    Source: `category_id` of the instances file.
    """
    values = np.concatenate([[], *(image.box_label for image in known if image is not None)])
    return _of_boxes(known, pa.array(values.astype(np.int64)))


def _of_boxes(known: Known, values: pa.Array) -> pa.ListArray:
    """(num_images,) lists of (num_boxes,) values; null for images that are not known."""
    lengths = [0 if image is None else len(image.box_label) for image in known]
    bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return list_array(values, bounds, null_rows=~is_known(known))


def size(
    known: Known, original_image_width: ArrowColumn, original_image_height: ArrowColumn
) -> tuple[ArrowColumn, ArrowColumn]:
    """Size of the original picture: that of the instances file, else as logged.

    Args:
        known: (num_images,) the ground truth.
        original_image_width, original_image_height: (num_images,) int32 px, as logged.
    Returns: width and height, (num_images,) int32 px, each more than 0.
    Null if neither is there: the log's can be 0.
    Source: docs/formats.md#zero-sizes.
    """
    wide = pa.array([None if image is None else image.width for image in known], pa.int32())
    high = pa.array([None if image is None else image.height for image in known], pa.int32())
    return regions.size(wide, high, original_image_width, original_image_height)
