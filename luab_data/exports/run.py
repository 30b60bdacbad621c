"""[I/O] export: select rows, write one format, put it in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luab_data.console import progress
from luab_data.errors import OptionError
from luab_data.exports import coco_keypoints, imagefolder, webdataset
from luab_data.exports.select import Subset, select
from luab_data.exports.target import new_target
from luab_data.join.joined import Unmatched
from luab_data.store.load import find_dataset

Writer = Callable[[Subset, Path, Callable[[int], object]], None]

FORMATS: dict[str, Writer] = {
    "imagefolder": imagefolder.write,
    "webdataset": webdataset.write,
    "coco-keypoints": coco_keypoints.write,
}
"""Name -> function that writes a subset to a path that is not there yet."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote.

    Args:
        out: the folder, or the JSON file of coco-keypoints.
        num_images: images in it.
        rows_without_image: rows that were asked for and have no image, by image id.
    """

    out: Path
    num_images: int
    rows_without_image: Unmatched


def export(
    dataset: str | os.PathLike[str],
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str,
    classes: Sequence[str] = (),
    fraction: float | None = None,
    limit: int | None = None,
    shown: bool | None = None,
) -> Exported:
    """Write images with their byproducts in a format that other tools read.

    Args:
        dataset: a dataset folder, or a name under $LUAB_DATA_HOME.
        images: folder of its image files, at any depth.
        out: folder to make, or the JSON file of coco-keypoints; nothing is ever replaced.
        format: one of FORMATS; each is described in the module of its name.
        classes: only images of these wnids (COCO: with an icon of these classes).
        fraction: only this fraction of every class (COCO: of all images), nested and seeded.
        limit: only the first so many of what is left.
        shown: a progress bar; None shows it on a terminal.

    Raises:
        OptionError: unknown format or class, or nothing to export.
        DatasetError, ImagesError: as join_images.
        OutputError: `out` is there, or cannot be written. Nothing is left behind then.
    """
    if format not in FORMATS:
        raise OptionError(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    folder, target = find_dataset(dataset), Path(out)
    with new_target(target) as partial:
        subset = select(folder, Path(images), classes=classes, fraction=fraction, limit=limit)
        with progress(what="export", total=subset.num_rows, unit="image", shown=shown) as bar:
            FORMATS[format](subset, partial, bar.update)
    return Exported(
        out=target, num_images=subset.num_rows, rows_without_image=subset.rows_without_image
    )
