"""COCO-AB's icons: histories replayed, points against masks.

An icon exists at most once per class and image, so an image's actions on one class form one
history: add, move*, remove, add, ... Every column of icons is a list a row, ordered by label.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.ground_truth import Known, is_known
from luab_data.ragged import (
    ArrowColumn,
    Bools,
    Ints,
    Ragged,
    list_array,
    nullable,
    one_array,
    ragged,
)
from luab_data.raw.coco import ACTIONS
from luab_data.truth import can_tell, contains_many

_ADD, _MOVE, _REMOVE = range(len(ACTIONS))


class Icons(NamedTuple):
    """Icons of some images, and their histories.

    Image i has the icons images[i]:images[i + 1], icon j the actions bounds[j]:bounds[j + 1].
    """

    images: Ints  # (num_images + 1,)
    label: Ints  # (num_icons,) contiguous class; -1 if the name is none
    action: Ints  # (num_actions,) place in ACTIONS, by icon, in logged order; -1 if unknown
    to_x: np.ndarray  # (num_actions,) where the action put the icon, fractions; NaN for remove
    to_y: np.ndarray
    bounds: Ints  # (num_icons + 1,)
    order: Ints  # (num_actions,) which of the logged actions each one is

    @property
    def image(self) -> Ints:
        """(num_icons,) row of each icon's image."""
        return np.repeat(np.arange(len(self.images) - 1), np.diff(self.images))


def group_icons(
    classes: tuple[str, ...],
    action_histories_action_type: ArrowColumn,
    action_histories_icon_type: ArrowColumn,
    action_histories_point_to_x: ArrowColumn,
    action_histories_point_to_y: ArrowColumn,
) -> Icons:
    """Group each image's actions by class, ordered by label.

    Args:
        classes: names by label.
        action_histories_action_type, ...: (num_images,) lists of COCO_ACTIONS.
    """
    to_x, to_y = ragged(action_histories_point_to_x), ragged(action_histories_point_to_y)
    num_labels = len(classes) + 1  # with -1, a name that is no class
    key = to_x.rows * num_labels + codes(action_histories_icon_type, classes) + 1
    order = np.argsort(key, kind="stable")
    found, first = np.unique(key[order], return_index=True)
    counts = np.bincount(found // num_labels, minlength=len(to_x.lengths))
    return Icons(
        images=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        label=found % num_labels - 1,
        action=codes(action_histories_action_type, ACTIONS)[order],
        to_x=to_x.values[order],
        to_y=to_y.values[order],
        bounds=np.append(first, len(order)).astype(np.int64),
        order=order,
    )


def codes(names: ArrowColumn, known: tuple[str, ...]) -> Ints:
    """(num_values,) the place of each name of a list column among the known ones, else -1."""
    places = pc.index_in(one_array(names).flatten(), value_set=pa.array(known, pa.string()))
    return np.asarray(pc.fill_null(places, -1), dtype=np.int64)


def _names(codes: Ints, known: tuple[str, ...]) -> pa.Array:
    """The names at those places; null for -1."""
    return pa.array(known, pa.string()).take(pa.array(codes, mask=codes < 0))


def last_add_action(icons: Icons) -> Ints:
    """(num_icons,) index of each icon's last `add` among the actions; -1 if it has none."""
    position = np.arange(len(icons.action))
    return Ragged(np.where(icons.action == _ADD, position, -1), icons.bounds).reduce(np.maximum, -1)


def final_action(icons: Icons) -> Ints:
    """(num_icons,) index of the action that left the icon where it ended; -1 if it ended removed.

    Source: docs/definitions.md#icon-precision, replay of all actions.
    """
    last = icons.bounds[1:] - 1
    return np.where(icons.action[last] == _REMOVE, -1, last)


def points_at(icons: Icons, index: Ints) -> tuple[pa.Array, pa.Array]:
    """Where the actions `index` (num_icons,) put the icons; null where -1 or not a number."""
    there = index >= 0
    xy = np.full((2, len(index)), np.nan)
    xy[:, there] = icons.to_x[index[there]], icons.to_y[index[there]]
    x, y = (pa.array(values, mask=np.isnan(values)) for values in xy)
    return x, y


def by_image(icons: Icons, values: pa.Array) -> pa.ListArray:
    """(num_images,) lists of (num_icons,) values."""
    return list_array(values, icons.images)


def icon_label(icons: Icons) -> pa.ListArray:
    """Class of each icon that was ever handled.

    Returns: (num_images,) lists of int64, ascending.
    Null never; empty without icons.
    Source: docs/formats.md#icon-names, constants/json/icons.json of the tool.
    """
    return by_image(icons, pa.array(icons.label))


def icon_name(icons: Icons, classes: tuple[str, ...]) -> pa.ListArray:
    """Name of each icon's class.

    Returns: (num_images,) lists of string, parallel to icon_label.
    Null never.
    Source: docs/formats.md#icon-names.
    """
    return by_image(icons, _names(icons.label, classes))


def last_add(icons: Icons) -> tuple[pa.ListArray, pa.ListArray]:
    """Where each icon was last added, even if it was moved or removed later.

    Returns: x and y, fractions of the picture: (num_images,) lists of float64 like icon_label.
    Null elements where the icon was never added (a log that lost it).
    Source: the paper and its loader: the last add wins; docs/definitions.md#coco-notebook.
    """
    x, y = points_at(icons, last_add_action(icons))
    return by_image(icons, x), by_image(icons, y)


def final(icons: Icons) -> tuple[pa.ListArray, pa.ListArray]:
    """Where each icon was at the end.

    Returns: x and y, (num_images,) lists of float64, fractions of the picture, parallel to
    icon_label.
    Null elements where the icon ended removed.
    Source: docs/definitions.md#icon-precision, replay of all actions.
    """
    x, y = points_at(icons, final_action(icons))
    return by_image(icons, x), by_image(icons, y)


def is_present_at_end(icons: Icons) -> pa.ListArray:
    """Whether each icon was on the image at the end.

    Returns: (num_images,) lists of bool, parallel to icon_label.
    Null never.
    Source: docs/definitions.md#icon-precision.
    """
    return by_image(icons, pa.array(final_action(icons) >= 0))


def action_sequence(icons: Icons) -> pa.ListArray:
    """Each icon's actions in order, joined by `-`, e.g. `add-move`.

    Returns: (num_images,) lists of string, parallel to icon_label.
    Null never.
    Source: docs/definitions.md#action-sequences, Fig. J.
    """
    names = _names(icons.action, ACTIONS)
    return by_image(icons, pc.binary_join(list_array(names, icons.bounds), "-"))


def num_actions(icons: Icons) -> pa.ListArray:
    """Number of each icon's actions.

    Returns: (num_images,) lists of int32, a count, parallel to icon_label.
    Null never.
    Source: docs/definitions.md#action-sequences.
    """
    return by_image(icons, pa.array(np.diff(icons.bounds), pa.int32()))


def num_adds(icons: Icons) -> pa.ListArray:
    """How often each icon was added.

    Returns: (num_images,) lists of int32, a count, parallel to icon_label.
    Null never.
    Source: docs/definitions.md#icon-precision, "all adds".
    """
    counts = _count(icons.action == _ADD, icons.bounds)
    return by_image(icons, pa.array(counts, pa.int32()))


def _count(flags: Bools, bounds: Ints) -> Ints:
    """(num_icons,) how many actions of each icon are flagged."""
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[bounds])


def is_on_object(icons: Icons, masks: Known) -> pa.ListArray:
    """Whether each icon that is there at the end lies on a mask of its class.

    Returns: (num_images,) lists of bool, parallel to icon_label; a class that is not in the image
    counts as wrong.
    Null elements where the icon ended removed or the ground truth cannot tell: no image or class of
    it, a picture shown turned, or an object of the class without mask and the icon on no other.
    Source: docs/definitions.md#icon-precision.
    """
    return _are_on_object(icons, masks, final_action(icons))


def is_last_add_on_object(icons: Icons, masks: Known) -> pa.ListArray:
    """Whether each icon's last add lies on a mask of its class, even if moved or removed later.

    Returns: (num_images,) lists of bool, parallel to icon_label; a class that is not in the image
    counts as wrong.
    Null elements where the icon was never added or the ground truth cannot tell, see is_on_object.
    Source: docs/definitions.md#icon-precision, "last add (paper's training target)".
    """
    return _are_on_object(icons, masks, last_add_action(icons))


def num_adds_on_object(icons: Icons, masks: Known) -> pa.ListArray:
    """How many of each icon's adds lie on a mask of its class.

    Returns: (num_images,) lists of int32, a count, parallel to icon_label; 0 for a class that is
    not in the image.
    Null elements where the ground truth cannot tell of one of the adds, see is_on_object.
    Source: docs/definitions.md#icon-precision, "all adds".
    """
    owner = np.repeat(np.arange(len(icons.label)), np.diff(icons.bounds))
    adds = np.flatnonzero(icons.action == _ADD)
    right, judged = np.zeros((2, len(icons.action)), bool)
    right[adds], judged[adds] = _judged(icons, masks, owner[adds], adds)
    is_open = _count((icons.action == _ADD) & ~judged, icons.bounds) > 0
    there = is_known(masks)[icons.image] & ~is_open
    return by_image(icons, nullable(_count(right, icons.bounds), there, pa.int32()))


def _are_on_object(icons: Icons, masks: Known, action: Ints) -> pa.ListArray:
    """Whether the actions (num_icons,) put the icons on masks; null where -1 or not known."""
    asked = np.flatnonzero(action >= 0)
    right, judged = np.zeros((2, len(action)), bool)
    right[asked], judged[asked] = _judged(icons, masks, asked, action[asked])
    return by_image(icons, nullable(right, judged, pa.bool_()))


def _judged(icons: Icons, masks: Known, icon: Ints, action: Ints) -> tuple[Bools, Bools]:
    """(num_points,) whether each action put its icon on a mask of its class, and whether the
    ground truth can tell.
    """
    right, judged = np.zeros((2, len(action)), bool)
    asked = np.flatnonzero(is_known(masks)[icons.image[icon]])
    images = [masks[i] for i in icons.image[icon[asked]].tolist()]
    label = icons.label[icon[asked]]
    x, y = icons.to_x[action[asked]], icons.to_y[action[asked]]
    right[asked] = contains_many(images, label, x, y)
    judged[asked] = can_tell(images, label, right[asked])
    return right, judged
