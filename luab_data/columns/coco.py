"""The columns of `default` of COCO-AB: icon histories replayed, icons against masks.

An icon exists at most once per class and image, so an image's actions on one class form one
history: add, move*, remove, add, ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Bools, Ints, Ragged, list_array, ragged
from luab_data.raw.coco import ACTIONS
from luab_data.raw.instances import TrueImage
from luab_data.schema import COCO_CLASSES, COCO_IMAGES

_ADD, _MOVE, _REMOVE = range(len(ACTIONS))


class Icons(NamedTuple):
    """The icon histories of some images: icon j owns the actions bounds[j]:bounds[j + 1]."""

    image: Ints  # (num_icons,) row of its image
    label: Ints  # (num_icons,) contiguous class
    action: Ints  # (num_actions,) index in ACTIONS, grouped by icon, in logged order
    to_x: np.ndarray  # (num_actions,) where the action put the icon, fractions; NaN for remove
    to_y: np.ndarray
    bounds: Ints  # (num_icons + 1,)


def icons(actions: pa.Table) -> Icons:
    """Group each image's actions by class, ordered by label.

    Args:
        actions: (num_images,) action_histories_* of COCO_ACTIONS.
    """
    types = ragged(actions["action_histories_action_type"])
    names = ragged(actions["action_histories_icon_type"]).values
    label = _codes(names, COCO_CLASSES)
    key = types.rows * len(COCO_CLASSES) + label
    order = np.argsort(key, kind="stable")
    found, first = np.unique(key[order], return_index=True)
    return Icons(
        image=found // len(COCO_CLASSES),
        label=found % len(COCO_CLASSES),
        action=_codes(types.values, ACTIONS)[order],
        to_x=ragged(actions["action_histories_point_to_x"]).values[order],
        to_y=ragged(actions["action_histories_point_to_y"]).values[order],
        bounds=np.append(first, len(order)).astype(np.int64),
    )


def _codes(names: np.ndarray, known: tuple[str, ...]) -> Ints:
    codes = pc.index_in(pa.array(names, pa.string()), value_set=pa.array(known))
    numbers: Ints = codes.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def last_add(icon: Icons) -> Ints:
    """(num_icons,) index of each icon's last `add` among the actions; -1 if it has none.

    Source: the paper and its loader: the last add wins, even if moved or removed later.
    """
    position = np.arange(len(icon.action))
    return Ragged(np.where(icon.action == _ADD, position, -1), icon.bounds).reduce(np.maximum, -1)


def final_action(icon: Icons) -> Ints:
    """(num_icons,) index of the action that left the icon where it ended; -1 if it ended removed.

    Source: metrics 4.9 and 6.4d, replay of all actions.
    """
    last = icon.bounds[1:] - 1
    return np.where(icon.action[last] == _REMOVE, -1, last)


def action_sequence(icon: Icons) -> pa.Array:
    """(num_icons,) each icon's actions in order, joined by `-`. Source: metrics 4.11, Fig. J."""
    names = pa.array(ACTIONS).take(pa.array(icon.action))
    return pc.binary_join(list_array(names, icon.bounds), "-")


def is_on_object(
    image_ids: Ints, icon: Icons, final: Ints, truth: Mapping[int, TrueImage]
) -> pa.Array:
    """Whether each icon that is there at the end lies on a mask of its class.

    Returns: (num_icons,) bool; a class that is not in the image counts as wrong; null if the icon
    ended removed or the image is not in the ground truth. Source: metrics 4.9.
    """
    answers: list[bool | None] = [None] * len(final)
    for j in np.flatnonzero(final >= 0):
        image = truth.get(int(image_ids[icon.image[j]]))
        if image is not None:
            x, y = icon.to_x[final[j]], icon.to_y[final[j]]
            answers[j] = image.contains(int(icon.label[j]), float(x), float(y))
    return pa.array(answers, pa.bool_())


def image_table(actions: pa.Table, truth: Mapping[int, TrueImage] | None) -> pa.Table:
    """COCO_IMAGES from COCO_ACTIONS.

    Args:
        actions: (num_images,) COCO_ACTIONS.
        truth: the instances file, or None when there is none.
    """
    icon = icons(actions)
    image_ids = actions["image_id"].to_numpy()
    per_image = np.bincount(icon.image, minlength=len(actions))
    bounds = np.concatenate([[0], np.cumsum(per_image)]).astype(np.int64)
    added, final = last_add(icon), final_action(icon)
    flat = {
        "icon_label": pa.array(icon.label),
        "icon_name": pa.array(COCO_CLASSES).take(pa.array(icon.label)),
        "last_add_x": _at(icon.to_x, added),
        "last_add_y": _at(icon.to_y, added),
        "final_x": _at(icon.to_x, final),
        "final_y": _at(icon.to_y, final),
        "is_present_at_end": pa.array(final >= 0),
        "is_on_object": is_on_object(image_ids, icon, final, truth or {}),
        "action_sequence": action_sequence(icon),
        "num_actions": pa.array(np.diff(icon.bounds), pa.int32()),
    }
    columns = {name: list_array(values, bounds) for name, values in flat.items()}
    columns["labels"] = _labels(image_ids, truth)
    columns["width"], columns["height"] = _sizes(actions, image_ids, truth or {})
    for column in COCO_IMAGES.columns:
        if column.name not in columns:
            columns[column.name] = actions[column.name]
    return pa.table([columns[c.name] for c in COCO_IMAGES.columns], COCO_IMAGES.schema())


def _at(values: np.ndarray, index: Ints) -> pa.Array:
    """values[index] as float64, null where index is -1 or the value is NaN."""
    there: Bools = index >= 0
    taken = np.full(len(index), np.nan)
    taken[there] = values[index[there]]
    return pa.array(taken, mask=np.isnan(taken))


def _labels(image_ids: Ints, truth: Mapping[int, TrueImage] | None) -> pa.Array:
    known = [(truth or {}).get(int(i)) for i in image_ids]
    return pa.array([None if t is None else t.labels for t in known], pa.list_(pa.int64()))


def _sizes(
    actions: pa.Table, image_ids: Ints, truth: Mapping[int, TrueImage]
) -> tuple[pa.Array, pa.Array]:
    """Width and height of the originals; the log's own can be 0 (metrics 6.2-3), then null."""
    sizes = []
    for edge in ("width", "height"):
        logged = actions[f"original_image_{edge}"].to_pylist()
        true = [getattr(truth.get(int(i)), edge, None) for i in image_ids]
        sizes.append(
            pa.array([t or (v or None) for t, v in zip(true, logged, strict=True)], pa.int32())
        )
    return sizes[0], sizes[1]
