"""Tagging data and their ground truth as columns: several labels an image, a point for some.  [I/O]

`N` images, `C` classes by contiguous label (of COCO-AB 80), `P` pairs of an image and a class that
is in it and has an icon. Labels come from the ground truth where there is one: an icon of a class
that is not in the image teaches nothing, and a class without icon is still there. Of an image of
somebody's own that no ground truth tells of, they are the icons that are there at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.icons import group_icons
from luab_data.columns.regions import sort_corners
from luab_data.errors import DatasetError, ImagesError
from luab_data.kinds import TAGGING, Tagging, kind_of
from luab_data.ragged import Ragged, bounds_of, floats, is_true, one_array, ragged
from luab_data.raw.coco import ACTIONS
from luab_data.raw.instances import read_instances
from luab_train.data.boxes import Boxes
from luab_train.data.rows import read_columns, read_manifest, unique_ids

_COLUMNS = [
    *("image_id", "width", "height", "labels", "boxes", "box_label"),
    *("icon_label", "last_add_x", "last_add_y"),
]
_OF_ICONS = ["is_present_at_end"]
_ACTIONS = [f"action_histories_{name}" for name in ("action_type", "icon_type")] + [
    f"action_histories_point_to_{axis}" for axis in "xy"
]


@dataclass(frozen=True, kw_only=True)
class CocoAnnotations:
    """The image table of a folder like COCO-AB's, column by column."""

    image_id: np.ndarray
    """(N,) text, unique; COCO's without leading zeros."""
    classes: tuple[str, ...]
    """(C,) names."""
    size_wh: np.ndarray
    """(N, 2) float64, px of the original image; NaN where unknown."""
    label_NC: np.ndarray
    """float32, 1 for the classes with any annotation in the ground truth, crowds too, else 0."""
    is_by_icons: np.ndarray
    """(N,) bool, whether the labels of an image are its icons."""
    pair_row: np.ndarray
    """(P,) int64, image of each pair; pairs are sorted by image and class."""
    pair_label: np.ndarray
    """(P,) int64."""
    click_P2: np.ndarray
    """float64 fractions of the image, the last add (docs/definitions.md#coco-notebook); may lie
    just outside."""
    first_P2: np.ndarray | None
    """The first add, NaN where it has no place; None if it was not read."""
    pair_boxes: Boxes
    """Boxes of the class in the image, px, without crowds."""
    digest: str | None
    """`content_digest` of the folder's manifest; None if it has no manifest."""
    version: str | None
    """`version` of the folder's manifest."""
    byproduct: np.ndarray | None = None
    """(N, K, 2) float64 fractions of the image, points that are of no class; NaN beyond."""
    traces: dict[str, Any] | None = None
    """Where these are from."""

    @property
    def label(self) -> np.ndarray:
        """(N, C) float32."""
        return self.label_NC

    @property
    def boxes(self) -> Boxes:
        """No box of an image: those of its classes are `pair_boxes`."""
        return Boxes.of([None] * len(self.image_id))

    @property
    def strata(self) -> np.ndarray:
        """(N,) int64: a fraction of the rows is taken of each; here of all."""
        return np.zeros(len(self.image_id), np.int64)

    @property
    def facts(self) -> dict[str, Any]:
        """What there is to learn, for a run's record."""
        found: dict[str, Any] = {
            "num_labels": int(self.label_NC.sum()),
            "num_clicks": len(self.pair_row),
        }
        if self.traces is not None:
            found["traces"] = self.traces
        by_icons = int(self.is_by_icons.sum())
        return {**found, "num_labelled_by_icons": by_icons} if by_icons else found

    def take(self, index: np.ndarray) -> CocoAnnotations:
        """The images `index`, ascending without repetition."""
        place = np.full(len(self.image_id), -1)
        place[index] = np.arange(len(index))
        pairs = np.flatnonzero(place[self.pair_row] >= 0)
        return replace(
            self,
            image_id=self.image_id[index],
            size_wh=self.size_wh[index],
            label_NC=self.label_NC[index],
            is_by_icons=self.is_by_icons[index],
            pair_row=place[self.pair_row[pairs]],
            pair_label=self.pair_label[pairs],
            click_P2=self.click_P2[pairs],
            first_P2=None if self.first_P2 is None else self.first_P2[pairs],
            pair_boxes=self.pair_boxes.take(pairs),
            byproduct=None if self.byproduct is None else self.byproduct[index],
        )


def read_coco(folder: Path, *, target: str = "click") -> CocoAnnotations:
    """Read `folder/data/train-*.parquet`, as `luab-data convert` writes it of a tagging log.

    Should a class have several icons in an image, the last one with a place counts, as in the
    released notebook; luab-data writes one.

    Args:
        folder: dataset folder.
        target: the arm; `first_click` reads the histories of all icons too.
    """
    manifest = read_manifest(folder)
    kind = kind_of({"dataset": "coco-ab", **manifest})
    assert isinstance(kind, Tagging)
    columns = [*_COLUMNS, *_OF_ICONS] if kind.icons_are_labels else _COLUMNS
    table = read_columns(folder, "data", [*columns, *_view(kind)])
    image_id = unique_ids(table, folder)
    absent = manifest.get("instances", {}).get("absent_classes", ())
    label_NC, is_by_icons = _label_matrix(table, kind, absent, folder)
    key, click = _icons(table, label_NC)
    boxes = _boxes_by_class(table, label_NC.shape[1], folder)
    num_classes = label_NC.shape[1]
    firsts = None
    if target == "first_click":
        firsts = _first_adds(folder, kind, table.select(["image_id", *_view(kind)]))[key]
    return CocoAnnotations(
        image_id=image_id,
        classes=kind.vocabulary.names,
        size_wh=np.stack([floats(table["width"]), floats(table["height"])], axis=1),
        label_NC=label_NC,
        is_by_icons=is_by_icons,
        pair_row=key // num_classes,
        pair_label=key % num_classes,
        click_P2=click,
        first_P2=firsts,
        pair_boxes=boxes.take(key),
        digest=manifest.get("content_digest"),
        version=manifest.get("version"),
    )


def notebook_labels(label_C: np.ndarray, point_C2: np.ndarray, inside_C: np.ndarray) -> np.ndarray:
    """(C,) labels as the notebook released with COCO-AB trains on: 0 where the crop loses the icon.

    So a class with two instances goes with its icon even if the other one is in full sight, and a
    class without icon stays whatever the crop shows (docs/definitions.md#coco-notebook).

    Args:
        label_C: of the ground truth.
        point_C2: NaN where the class has no icon.
        inside_C: bool, whether the icon is in the crop.
    """
    lost_C = np.isfinite(point_C2).all(axis=-1) & ~inside_C
    labels: np.ndarray = np.where(lost_C, label_C.dtype.type(0), label_C)
    return labels


# --- an instances file ---------------------------------------------------------------------------


def read_truth(file: Path, kind: Tagging = TAGGING) -> tuple[np.ndarray, np.ndarray]:
    """(N,) ids as text, ascending, of the images of an instances_*.json: COCO's without leading
    zeros, of somebody's own data the names of their files; and (N, C) float32, 1 for classes with
    any annotation, crowds too, else 0.

    Args:
        kind: whose classes these are.
    Source: docs/definitions.md#mean-average-precision: images without annotation are kept, as
    negatives of every class.
    """
    by_file = pa.types.is_string(kind.images["image_id"].type)
    found = read_instances(file, outlines=False, vocabulary=kind.vocabulary, by_file=by_file)
    if not found:
        raise ImagesError(f"{file}: has no images; expected a file like instances_val2014.json")
    image_id = sorted(found)
    label_NC = np.zeros((len(image_id), len(kind.vocabulary.names)), np.float32)
    for row, number in enumerate(image_id):
        label_NC[row, found[number].labels] = 1
    return np.array(image_id).astype(str), label_NC


# --- columns -------------------------------------------------------------------------------------


def _view(kind: Tagging) -> list[str]:
    """The column that says which row of `actions` an image's icons are of; none if it has one."""
    return [column.name for column in kind.events.columns if column.name == "view"]


def _label_matrix(
    table: pa.Table, kind: Tagging, absent: Sequence[str], folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) float32 labels, and (N,) bool, whether those of an image are its icons.

    Args:
        absent: classes that the ground truth knows nothing of; own icons tell of these too.
    """
    column = table["labels"]
    if column.null_count and not kind.icons_are_labels:
        raise DatasetError(
            f"{folder}: labels of {column.null_count} of {len(column)} images are unknown; training"
            " needs the ground truth. Convert again with --instances instances_train2014.json, the"
            " file of all these images"
        )
    labels, is_by_icons = ragged(column), column.is_null().to_numpy()
    label_NC = np.zeros((len(column), len(kind.vocabulary.names)), np.float32)
    label_NC[labels.rows, labels.values] = 1
    if is_by_icons.any() or (absent and kind.icons_are_labels):
        icons = ragged(table["icon_label"])
        is_there = is_true(one_array(table["is_present_at_end"]).flatten())
        is_absent = np.isin(kind.vocabulary.names, absent)
        is_label = is_there & (is_by_icons[icons.rows] | is_absent[icons.values])
        label_NC[icons.rows[is_label], icons.values[is_label]] = 1
    return label_NC, is_by_icons


def _icons(table: pa.Table, label_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) row * C + class of the pairs, ascending, and (P, 2) the last adds of their icons."""
    label = ragged(table["icon_label"])
    points = np.stack([ragged(table[f"last_add_{axis}"]).values for axis in "xy"], axis=1)
    points = points.astype(np.float64)
    counts = np.isfinite(points).all(axis=1) & (label_NC[label.rows, label.values] > 0)
    key = (label.rows * label_NC.shape[1] + label.values)[counts]
    # np.unique names the first of equals, so the last one from behind.
    key, from_behind = np.unique(key[::-1], return_index=True)
    return key, points[counts][::-1][from_behind]


def _boxes_by_class(table: pa.Table, num_classes: int, folder: Path) -> Boxes:
    """The boxes of each image and class, N * C of them."""
    label, inner = ragged(table["box_label"]), one_array(table["boxes"]).flatten()
    if (np.diff(bounds_of(inner)) != 4).any() or len(inner) != len(label.values):
        raise DatasetError(f"{folder}: boxes and box_label do not fit; convert the raw log again")
    key = label.rows * num_classes + label.values
    order = np.argsort(key, kind="stable")
    bounds = np.searchsorted(key[order], np.arange(len(table) * num_classes + 1))
    values = np.asarray(ragged(inner).values, np.float64).reshape(-1, 4)
    return Boxes(sort_corners(values)[order], bounds.astype(np.int64))


def _first_adds(folder: Path, kind: Tagging, images: pa.Table) -> np.ndarray:
    """(N * C, 2) where the icon of each image and class was added first; NaN where nowhere.

    Args:
        images: (N,) image_id, and view where `actions` has a row a view.
    """
    names = images.column_names
    table = read_columns(folder, "actions", [*names, *_ACTIONS])
    icons = group_icons(kind.vocabulary.names, *(table[name] for name in _ACTIONS))
    position = np.arange(len(icons.action))
    is_add = icons.action == ACTIONS.index("add")
    first = Ragged(np.where(is_add, position, len(position)), icons.bounds).reduce(
        np.minimum, len(position)
    )
    known, asked = (
        pc.binary_join_element_wise(*(t[name].cast(pa.string()) for name in names), "\0")
        for t in (images, table)
    )
    place = pc.index_in(asked.combine_chunks(), value_set=known.combine_chunks())
    row = pc.fill_null(place, -1).to_numpy(zero_copy_only=False)[icons.image]
    there = (first < len(position)) & (row >= 0)
    num_classes = len(kind.vocabulary.names)
    result = np.full((len(images) * num_classes, 2), np.nan)
    key = row[there] * num_classes + icons.label[there]
    result[key] = np.stack([icons.to_x, icons.to_y], axis=1)[first[there]]
    return result
