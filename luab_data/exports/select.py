"""[I/O] Which rows are exported, and where their images are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import ImagesError, OptionError
from luab_data.join.images import Images, find_images
from luab_data.join.joined import Matched, Unmatched, joined_batches, left_over, match
from luab_data.join.rows import Rows, dataset_rows
from luab_data.kinds import Kind, kind_of, tables_of
from luab_data.ragged import Bools, Ints, Ragged, bounds_of
from luab_data.schema import COCO_CLASSES, Table
from luab_data.splits import stratified_fraction
from luab_data.store.folder import read_manifest
from luab_data.words import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The rows to export, with their images.

    Args:
        kind: of log.
        version, digest: of the dataset's content.
        table: schema of `default`.
        classes: column of labels -> class names by number, those of the whole dataset.
        numbers: (num_rows,) row of `default` of each row; it does not depend on the subset.
        rows_without_image: rows that were asked for and have no image, by image id.
    """

    kind: Kind
    version: str
    digest: str
    table: Table
    classes: dict[str, tuple[str, ...]]
    numbers: Ints
    rows_without_image: Unmatched
    _rows: Rows
    _images: Images
    _matched: Matched

    @property
    def num_rows(self) -> int:
        """Rows of the subset."""
        return len(self.numbers)

    @property
    def folder_columns(self) -> tuple[str, ...]:
        """Columns that the files' folders are named by."""
        return tuple(name for name in ("wnid",) if name in self.table.schema().names)

    @property
    def root(self) -> Path:
        """The image folder, absolute."""
        if self._images.root is None:
            raise ValueError("images of a subset are files")
        return self._images.root

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The columns (None: all) and `image_path` of the rows, some thousand rows at a time.

        Can be called again. Reading ends at the last row of the subset.
        """
        left = self.num_rows
        for batch in joined_batches(self._rows, self._images, self._matched, columns):
            if len(batch):
                yield batch
            left -= len(batch)
            if not left:
                return


def select(
    folder: Path,
    images: Path,
    *,
    classes: Sequence[str] = (),
    fraction: float | None = None,
    limit: int | None = None,
) -> Subset:
    """Rows of a dataset folder that have an image, and what was asked for.

    Args:
        folder: the dataset folder.
        images: folder of image files, as join_images takes it.
        classes: keep images of these wnids (COCO: with an icon of these classes, even if it was
            removed later); none keeps all.
        fraction: keep this fraction of every class (COCO: of all images), as
            stratified_fraction of seed 0 does.
        limit: of what is left, keep the first so many in the dataset's order.

    Raises:
        OptionError: an unknown class, no fraction, no limit, or nothing left.
        DatasetError, ImagesError: as join_images.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"limit {limit}: expected at least 1")
    manifest = read_manifest(folder)
    table = tables_of(manifest)[0]
    rows = dataset_rows(folder)
    found = find_images(images, rows.ids.type)
    if found.root is None:
        raise ImagesError(f"{images}: a saved dataset; expected a folder of image files")
    matched = match(rows, found)
    wanted = _wanted(rows, table, classes, fraction)
    missing = left_over(rows.ids, wanted & ~matched.has_image)
    numbers = np.flatnonzero(wanted & matched.has_image)[:limit]
    if not len(numbers):
        raise OptionError(
            f"{folder}: nothing to export: of {len(wanted):,} rows {int(wanted.sum()):,} are asked"
            f" for, and none of those has an image in {images}"
        )
    kept = np.zeros(len(wanted), bool)
    kept[numbers] = True
    image = np.full(len(wanted), -1)
    image[matched.has_image] = matched.image
    return Subset(
        kind=kind_of(manifest),
        version=manifest["version"],
        digest=manifest["content_digest"],
        table=table,
        classes=rows.classes,
        numbers=numbers,
        rows_without_image=missing,
        _rows=rows,
        _images=found,
        _matched=replace(matched, has_image=kept, image=image[numbers]),
    )


def _wanted(rows: Rows, table: Table, classes: Sequence[str], fraction: float | None) -> Bools:
    """(num_rows,) whether the classes and the fraction take the row."""
    wanted = np.ones(len(rows.ids), bool)
    has_wnids = "wnid" in table.schema().names
    if fraction is not None:
        keys = ["image_id", *(["wnid"] if has_wnids else [])]
        ids = pa.concat_tables(list(rows.batches(keys)))
        strata = "wnid" if has_wnids else None
        wanted &= stratified_fraction(ids, fraction, strata=strata).to_numpy(zero_copy_only=False)
    if classes:
        column = "wnid" if has_wnids else "icon_name"
        known = rows.classes["label"] if has_wnids else COCO_CLASSES
        _check_classes(classes, known)
        masks = [_has_class(batch[column], classes) for batch in rows.batches([column])]
        wanted &= np.concatenate(masks)
    return wanted


def _check_classes(classes: Sequence[str], known: Sequence[str]) -> None:
    for name in classes:
        if name not in known:
            raise OptionError(
                f"class {name!r}: not one of the {len(known)} of the dataset"
                f"{did_you_mean(name, known)}"
            )


def _has_class(column: pa.ChunkedArray, classes: Sequence[str]) -> Bools:
    """(num_rows,) whether the row's name, or any of its names, is one of the classes."""
    names = pa.array(classes, pa.string())
    if not pa.types.is_list(column.type):
        mask: Bools = pc.is_in(column, value_set=names).to_numpy()
        return mask
    found = pc.is_in(column.combine_chunks().flatten(), value_set=names)
    found = found.to_numpy(zero_copy_only=False)
    return Ragged(found, bounds_of(column)).reduce(np.logical_or, False)
