"""[I/O] export: select rows, write one format, put it in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from luab_data.console import progress
from luab_data.errors import OptionError
from luab_data.exports import coco_keypoints, fiftyone, imagefolder, webdataset
from luab_data.exports.select import Subset, select
from luab_data.files import Target, new_file, new_folder
from luab_data.join.joined import Unmatched
from luab_data.store.load import find_dataset
from luab_data.words import did_you_mean

Writer = Callable[[Subset, Path, Callable[[int], object]], None]

FORMATS: dict[str, Writer] = {
    "imagefolder": imagefolder.write,
    "webdataset": webdataset.write,
    "coco-keypoints": coco_keypoints.write,
    "fiftyone": fiftyone.write,
}
"""Name -> function that writes a subset into an empty folder; coco-keypoints to a new file."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Exported:
    """What an export wrote.

    Args:
        out: the folder, or the JSON file of coco-keypoints.
        same: it was there already, with the same content; nothing was written.
        num_images: images in it.
        rows_without_image: rows that were asked for and have no image, by image id.
    """

    out: Path
    num_images: int
    rows_without_image: Unmatched
    same: bool = False

    def __repr__(self) -> str:
        return f"<Exported: {self.num_images:,} images, {self.out}>"


def export(
    dataset: str | os.PathLike[str],
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str,
    classes: Sequence[str] = (),
    fraction: float | None = None,
    limit: int | None = None,
    force: bool = False,
    shown: bool | None = None,
) -> Exported:
    """Write images with their byproducts in a format that other tools read.

    Args:
        dataset: a dataset folder, or a name under $LUAB_DATA_HOME.
        images: folder of its image files, at any depth.
        out: folder to make, or the JSON file of coco-keypoints.
        format: one of FORMATS; each is described in the module of its name.
        classes: only images of these wnids (COCO: with an icon of these classes).
        fraction: only this fraction of every class (COCO: of all images), nested and seeded.
        limit: only the first so many of what is left.
        force: replace an earlier export with other content.
        shown: progress, as console.progress has it.

    Raises:
        OptionError: unknown format or class, or nothing to export.
        DatasetError, ImagesError: as join_images.
        OutputError: `out` is not ours to replace, or cannot be written. Nothing was changed then.
    """
    if format not in FORMATS:
        raise OptionError(f"format {format!r}{did_you_mean(format, FORMATS)}")
    folder = find_dataset(dataset)
    place: AbstractContextManager[Target] = new_folder(out, by="export", force=force)
    if format == "coco-keypoints":
        place = new_file(out, mark=b"luab-data export", force=force)
    with place as target:
        subset = select(folder, Path(images), classes=classes, fraction=fraction, limit=limit)
        with progress(what="export", total=subset.num_rows, unit="image", shown=shown) as bar:
            FORMATS[format](subset, target.path, bar.update)
    return Exported(
        out=Path(out),
        num_images=subset.num_rows,
        rows_without_image=subset.matched.rows_without_image,
        same=target.same,
    )
