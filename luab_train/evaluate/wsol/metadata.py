"""Splits in the format of clovaai/wsolevaluation: images, classes, sizes and boxes.     [I/O]

A folder with four text files, a line an image or a box, fields separated by commas:
image_ids.txt `id`; class_labels.txt `id,label`; image_sizes.txt `id,width,height`;
localization.txt `id,x0,y0,x1,y1`, several lines for an image with several boxes. An id is the
image's path below the image root, e.g. `val/ILSVRC2012_val_00000001.JPEG`; labels count the classes
in the order of their sorted wnids; boxes are whole px of the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luab_data.errors import ImagesError
from luab_train.data.boxes import Boxes

IMAGE_IDS = "image_ids.txt"
CLASS_LABELS = "class_labels.txt"
IMAGE_SIZES = "image_sizes.txt"
LOCALIZATION = "localization.txt"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """`N` images of a split."""

    image_id: tuple[str, ...]
    """(N,) paths below the image root."""
    label: np.ndarray
    """(N,) int64."""
    size_wh: np.ndarray
    """(N, 2) int64 px of the originals."""
    boxes: Boxes
    """(N images) px of the originals, at least one each."""

    def __len__(self) -> int:
        return len(self.image_id)

    def position(self) -> dict[str, int]:
        """Row of each image id."""
        return {name: row for row, name in enumerate(self.image_id)}

    def files(self, root: Path) -> list[tuple[str, Path]]:
        """(id, file) of every image below `root`; whether it exists is not looked up."""
        return [(name, root / name) for name in self.image_id]


class RowFinder:
    """Rows of the metadata for images, of which every one comes once, whichever process sees it.

    Args:
        metadata: of the split.
        images: (id, anything) of all images that will come.
    """

    def __init__(self, metadata: Metadata, images: Sequence[tuple[str, object]]) -> None:
        self._metadata = metadata
        self._position = metadata.position()
        self.order: dict[str, int] = {}
        """Id -> number among the images."""
        for number, (name, _) in enumerate(images):
            if name not in self._position or name in self.order:
                found = "came twice" if name in self.order else "is not in the metadata"
                raise ImagesError(f"image {name!r} {found}; expected every image of it once")
            self.order[name] = number
        missing = [name for name in metadata.image_id if name not in self.order]
        if missing:
            raise ImagesError(
                f"{len(missing)} of {len(metadata)} images of the metadata were not given, e.g."
                f" {missing[0]!r}; expected all"
            )

    def __call__(self, ids: list[str], sizes: list[tuple[int, int]]) -> np.ndarray:
        """(B,) int64; ImagesError for an image that has another shape.

        Sizes are px of the files. A smaller copy will do, a turned or cropped one will not.
        """
        rows = []
        for name, (width, height) in zip(ids, sizes, strict=True):
            row = self._position[name]
            expected_width, expected_height = self._metadata.size_wh[row].tolist()
            if abs(width * expected_height - height * expected_width) > 0.02 * max(
                width * expected_height, height * expected_width
            ) + max(expected_width, expected_height):
                raise ImagesError(
                    f"image {name!r} is {width} x {height} px, the metadata says {expected_width} x"
                    f" {expected_height}; expected the same shape, for the boxes belong to it. Is"
                    " it the right image folder?"
                )
            rows.append(row)
        return np.array(rows, np.int64)


def read_metadata(folder: Path) -> Metadata:
    """The split of a folder; ImagesError names the file and line that is not as expected."""
    ids = [fields[0] for _, fields in _lines(folder / IMAGE_IDS, ("id",))]
    _check_unique(folder / IMAGE_IDS, ids)
    position = {name: row for row, name in enumerate(ids)}
    label, _ = _whole_numbers(folder / CLASS_LABELS, ("id", "label"), position)
    size, _ = _whole_numbers(folder / IMAGE_SIZES, ("id", "width", "height"), position)
    corners = ("id", "x0", "y0", "x1", "y1")
    boxes, rows = _whole_numbers(folder / LOCALIZATION, corners, position, several=True)
    _check_boxes(folder / LOCALIZATION, boxes, [ids[row] for row in rows])
    _check_sizes(folder / IMAGE_SIZES, size, ids)
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=len(ids))
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Metadata(
        image_id=tuple(ids),
        label=label[:, 0],
        size_wh=size,
        boxes=Boxes(boxes[order].astype(np.float64), bounds),
    )


def _lines(path: Path, fields: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """(line number, fields) of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ImagesError(
            f"{path}: cannot be read ({error}); expected a folder of clovaai/wsolevaluation's"
            f" metadata with {IMAGE_IDS}, {CLASS_LABELS}, {IMAGE_SIZES} and {LOCALIZATION}, e.g."
            " its metadata/ILSVRC/test"
        ) from error
    found = [(i, line.split(",")) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not found:
        raise ImagesError(f"{path}: is empty; expected lines {','.join(fields)}")
    for number, values in found:
        if len(values) != len(fields):
            masks = path.name == LOCALIZATION and len(values) == 3
            hint = " These look like mask files, as of OpenImages; expected boxes." if masks else ""
            raise ImagesError(
                f"{path}, line {number}: {len(values)} fields, {','.join(values)[:80]!r}; expected"
                f" {len(fields)}: {','.join(fields)}.{hint}"
            )
    return found


def _whole_numbers(
    path: Path, fields: tuple[str, ...], position: dict[str, int], *, several: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(M, F) int64 numbers behind the ids, and (M,) int64 rows of their images.

    Every image has one line, in the order of `position`; with `several`, at least one, in file
    order.
    """
    numbers, rows = [], []
    for number, (name, *values) in _lines(path, fields):
        if name not in position:
            raise ImagesError(
                f"{path}, line {number}: image {name!r} is not in {IMAGE_IDS}; expected one of its"
                f" {len(position)}, e.g. {next(iter(position))!r}"
            )
        try:
            numbers.append([int(value) for value in values])
        except ValueError:
            raise ImagesError(
                f"{path}, line {number}: {','.join(values)!r}; expected whole numbers"
                f" {','.join(fields[1:])}"
            ) from None
        rows.append(position[name])
    table, row = np.array(numbers, np.int64), np.array(rows, np.int64)
    counts = np.bincount(row, minlength=len(position))
    wrong = np.flatnonzero((counts < 1) if several else (counts != 1))
    if len(wrong):
        name = list(position)[wrong[0]]
        raise ImagesError(
            f"{path}: {len(wrong)} images have not the lines they need, e.g. {name!r} has"
            f" {counts[wrong[0]]}; expected {'at least one' if several else 'one'} for each id of"
            f" {IMAGE_IDS}"
        )
    if several:
        return table, row
    order = np.argsort(row)
    return table[order], row[order]


def _check_unique(path: Path, ids: list[str]) -> None:
    seen: set[str] = set()
    for number, name in enumerate(ids, 1):
        if name in seen:
            raise ImagesError(
                f"{path}: image {name!r} is listed twice, the second time as number {number};"
                " expected every id once"
            )
        seen.add(name)


def _check_sizes(where: Path | str, size: np.ndarray, ids: Sequence[str]) -> None:
    wrong = np.flatnonzero((size < 1).any(axis=1))
    if len(wrong):
        i = wrong[0]
        raise ImagesError(
            f"{where}: {len(wrong)} sizes without area, e.g. {size[i].tolist()} of {ids[i]!r};"
            " expected width and height of at least 1 px"
        )


def _check_boxes(where: Path | str, boxes: np.ndarray, owner: Sequence[str]) -> None:
    wrong = np.flatnonzero((boxes < 0).any(axis=1) | (boxes[:, 2:] < boxes[:, :2]).any(axis=1))
    if len(wrong):
        i = wrong[0]
        raise ImagesError(
            f"{where}: {len(wrong)} boxes are not x0,y0,x1,y1, e.g. {boxes[i].tolist()} of"
            f" {owner[i]!r}; expected 0 <= x0 <= x1 and 0 <= y0 <= y1"
        )
