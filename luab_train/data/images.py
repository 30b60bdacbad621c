"""Which images are whose: a source of images, the rows of a dataset, and a split to load.  [I/O]"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from luab_data.errors import ImagesError
from luab_train.data.annotations import Annotations
from luab_train.data.boxes import Boxes
from luab_train.data.sources import ImageSource


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images with their labels and boxes, ready to be loaded."""

    source: ImageSource
    source_index: np.ndarray
    """(N,) int64: which image of the source each one is."""
    image_id: np.ndarray
    """(N,) text."""
    label: np.ndarray
    """(N,) int64, or (N, C) float32 where an image has several."""
    boxes: Boxes
    """px of the original image."""

    def __len__(self) -> int:
        return len(self.label)

    def load(self, index: int) -> Image.Image:
        """Decode one image to RGB; ImagesError names an image that cannot be."""
        return self.source.load(int(self.source_index[index]))


class Matched(NamedTuple):
    """Rows of a dataset with their images."""

    rows: np.ndarray
    """(n,) int64: rows that have an image, ascending."""
    source_index: np.ndarray
    """(n,) int64: their images."""
    num_missing: int
    """Rows without an image."""
    num_unused: int
    """Images without a row."""


def match_images(
    annotations: Annotations, source: ImageSource, *, missing: str, where: Path
) -> Matched:
    """Find each row's image by class and id, or by id among the images that name no class.

    Args:
        annotations: rows to find.
        source: where to look.
        missing: `raise` if any row has no image, or `skip`: leave those rows out.
        where: the dataset folder, for the message.
    """
    wnid = np.array(annotations.classes, dtype=str)[annotations.label]
    return match_ids(annotations.image_id, source, wnid=wnid, missing=missing, where=where)


def match_ids(
    image_id: np.ndarray,
    source: ImageSource,
    *,
    wnid: np.ndarray | None = None,
    missing: str,
    where: Path,
) -> Matched:
    """`match_images` for (N,) ids as text and, of ImageNet, their classes."""
    known = pa.array(
        np.where(source.wnid == "", source.image_id, _with_class(source.wnid, source.image_id))
    )
    wanted = pa.array(image_id)
    index = pc.index_in(wanted, value_set=known)
    if wnid is not None:
        wanted = pa.array(_with_class(wnid, image_id))
        index = pc.coalesce(pc.index_in(wanted, value_set=known), index)
    found = pc.is_valid(index).to_numpy(zero_copy_only=False)
    num_missing = int((~found).sum())
    if not found.any() or (num_missing and missing == "raise"):
        examples = ", ".join(wanted.filter(pa.array(~found))[:3].to_pylist())
        there = f"{source.name(0)} is one of {len(known)}"
        advice = (
            f"expected <wnid>/<image_id>.<ext> or <image_id>.<ext>, but {there}; is it the right"
            " folder?"
            if not found.any()
            else "to train on the others: --set data.missing_images=skip"
        )
        raise ImagesError(
            f"{source.root}: {num_missing} of {len(found)} images of {where} not found, e.g."
            f" {examples}; {advice}"
        )
    rows = np.flatnonzero(found)
    source_index = index.drop_null().to_numpy().astype(np.int64)
    return Matched(rows, source_index, num_missing, len(known) - len(rows))


def _with_class(wnid: np.ndarray, image_id: np.ndarray) -> np.ndarray:
    return np.char.add(np.char.add(wnid, "/"), image_id)


def labelled_split(
    source: ImageSource, classes: tuple[str, ...], boxes: Mapping[str, np.ndarray]
) -> Split:
    """All images of a source, labelled by the classes they name, with the boxes known by their
    ids.
    """
    order = {name: i for i, name in enumerate(classes)}
    if nameless := int((source.wnid == "").sum()):
        raise ImagesError(
            f"{source.root}: {nameless} of {len(source.wnid)} images name no class, e.g."
            f" {source.image_id[source.wnid == ''][0]}; expected <wnid>/<image_id>.<ext>, or a"
            " column wnid"
        )
    if unknown := sorted(set(source.wnid.tolist()) - set(order)):
        raise ImagesError(
            f"{source.root}: {len(unknown)} folders are not classes of the run, e.g."
            f" {', '.join(unknown[:3])}; expected some of {', '.join(classes[:3])}..."
        )
    return Split(
        source=source,
        source_index=np.arange(len(source.image_id)),
        image_id=source.image_id,
        label=np.array([order[name] for name in source.wnid.tolist()], dtype=np.int64),
        boxes=Boxes.of(boxes.get(name) for name in source.image_id.tolist()),
    )
