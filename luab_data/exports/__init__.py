"""[I/O] export: select rows that have an image, write one format, put it in place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from luab_data.console import progress
from luab_data.errors import OptionError
from luab_data.files import Target, new_file, new_folder
from luab_data.hub.card import column_table
from luab_data.join import Matched, Unmatched, left_over, match_files
from luab_data.join.sources import Rows
from luab_data.kinds import Browsing, Kind, kind_of, tables_of
from luab_data.ragged import Bools, Ints, Ragged, bounds_of, is_true, one_array
from luab_data.schema import Table
from luab_data.splits import stratified_fraction
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import did_you_mean

FORMATS: Mapping[str, str] = {
    "imagefolder": "folders:write_imagefolder",
    "webdataset": "folders:write_webdataset",
    "coco-keypoints": "keypoints:write_coco",
    "fiftyone": "keypoints:write_fiftyone",
}
"""Name -> `module:function` beside this one, which writes a subset into an empty folder, or of
coco-keypoints to a new file: (subset, out, advance)."""

LABELLED = ("imagefolder", "webdataset")
"""Formats in which the class that was asked for is the label of an image."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Exported:
    """What an export wrote.

    Args:
        out: the folder, or the JSON file of coco-keypoints.
        same: it was there already, with the same content; nothing was written.
        num_images: images in it.
        num_unselected: rows of own browsing data left out of a format whose images have the class
            that was asked for as their label: nobody selected them.
        rows_without_image: rows that were asked for and have no image, by image id.
    """

    out: Path
    num_images: int
    rows_without_image: Unmatched
    num_unselected: int = 0
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
        format: one of FORMATS; each is described where it is written.
        classes: only images of these wnids (COCO: with an icon of these classes; tracing data:
            views that asked for them).
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
        subset = select(
            folder, Path(images), classes=classes, fraction=fraction, limit=limit,
            labelled=format in LABELLED,
        )  # fmt: skip
        with progress(what="export", total=subset.num_rows, unit="image", shown=shown) as bar:
            module, _, write = FORMATS[format].partition(":")
            write_it = getattr(import_module(f"luab_data.exports.{module}"), write)
            write_it(subset, target.path, bar.update)
    return Exported(
        out=Path(out),
        num_images=subset.num_rows,
        rows_without_image=subset.rows_without_image,
        num_unselected=subset.num_unselected,
        same=target.same,
    )


# --- which rows ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Subset(Matched):
    """The rows to export, which alone have an image here.

    Args:
        manifest: of the dataset.
        num_unselected: rows that are not of the class that was asked for.
    """

    manifest: Mapping[str, Any]
    num_unselected: int = 0

    @property
    def kind(self) -> Kind:
        """Of log."""
        return kind_of(self.manifest)

    @property
    def table(self) -> Table:
        """The schema of `default`."""
        return tables_of(self.manifest)[0]

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Column of labels -> class names by number, those of the whole dataset."""
        return self.rows.classes

    @property
    def num_rows(self) -> int:
        """Rows of the subset."""
        return len(self.image)

    @property
    def numbers(self) -> Ints:
        """(num_rows,) row of `default` of each row; it does not depend on the subset."""
        return np.flatnonzero(self.has_image)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The columns (None: all) and `image_path` of the rows, some thousand rows at a time.

        Can be called again. Reading ends at the last row of the subset.
        """
        left = self.num_rows
        for batch in super().batches(columns):
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
    labelled: bool = False,
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
        labelled: of own browsing data leave out what was not selected, as training does: it is not
            of the class that was asked for. Where nothing was selected at all, everything stays.

    Raises:
        OptionError: an unknown class, no fraction, no limit, or nothing left.
        DatasetError, ImagesError: as join_images.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"limit {limit}: expected at least 1")
    manifest = read_manifest(folder)
    matched = match_files(folder, images)
    rows = matched.rows
    kind = kind_of(manifest)
    wanted = _wanted(rows, kind, classes, fraction)
    num_unselected = 0
    if labelled and isinstance(kind, Browsing) and not kind.label_is_known:
        selected = np.concatenate([is_true(b["selected"]) for b in rows.batches(["selected"])])
        if selected.any():
            num_unselected = int((wanted & ~selected).sum())
            wanted &= selected
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
    chosen = {"has_image": kept, "image": image[numbers], "rows_without_image": missing}
    return Subset(**{**vars(matched), **chosen}, manifest=manifest, num_unselected=num_unselected)


def _wanted(rows: Rows, kind: Kind, classes: Sequence[str], fraction: float | None) -> Bools:
    """(num_rows,) whether the classes and the fraction take the row."""
    wanted = np.ones(len(rows.ids), bool)
    number, column = kind.class_columns
    has_wnids = column == "wnid"
    if fraction is not None:
        keys = ["image_id", *(["wnid"] if has_wnids else [])]
        ids = pa.concat_tables(list(rows.batches(keys)))
        strata = "wnid" if has_wnids else None
        if kind.has_view_rows:  # all views of an image, or none
            ids = ids.group_by("image_id", use_threads=False).aggregate([])
        taken = stratified_fraction(ids, fraction, strata=strata)
        if kind.has_view_rows:
            taken = pc.is_in(rows.ids, value_set=ids["image_id"].filter(taken).combine_chunks())
        wanted &= np.asarray(taken)
    if classes:
        _check_classes(classes, rows.classes.get(number) or _names(rows, column))
        masks = [_has_class(batch[column], classes) for batch in rows.batches([column])]
        wanted &= np.concatenate(masks)
    return wanted


def _names(rows: Rows, column: str) -> list[str]:
    """What is there in a column of names, or of lists of them; sorted."""
    found: set[str] = set()
    for batch in rows.batches([column]):
        names = one_array(batch[column])
        flat = names.flatten() if pa.types.is_list(names.type) else names
        found.update(flat.drop_null().unique().to_pylist())
    return sorted(found)


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


# --- the README of an exported folder ------------------------------------------------------------

_OPENING = {
    "imagefolder": """```python
from datasets import load_dataset

images = load_dataset("THIS FOLDER", split="train")  # or load_dataset("imagefolder", data_dir=...)
```

Needs `datasets` 3 or later: 2 passes over `metadata.parquet` and serves images and classes alone.
timm: `create_dataset("hfds//ABSOLUTE/PATH", additional_features=["final_click_x", ...])`.
Image files may be hard links: changing one in place changes the original.""",
    "webdataset": """```python
from datasets import load_dataset

samples = load_dataset("THIS FOLDER", split="train", streaming=True)  # jpg, json, __key__
```

WebDataset: `wds.WebDataset("train-{000000..}.tar").decode("pil").to_tuple("jpg", "json")`.
timm: `--dataset wds/`; `_info.json` tells it the shards and that `label` of the json is the target.
Samples follow the dataset's order, but for a few complete ones in front: `datasets` infers types
from the first five where it does not see this file.""",
}


def readme(subset: Subset, format: str, front_matter: Mapping[str, Any]) -> str:
    """Where it came from, how to open it, what the columns are.

    Args:
        front_matter: becomes its YAML block, keys in the order given.
    """
    matter = yaml.safe_dump(dict(front_matter), sort_keys=False, allow_unicode=True, width=100)
    return f"""---
{matter}---

# {subset.num_rows:,} images of {subset.kind.dataset} {subset.manifest["version"]}

Exported by `luab-data export --format {format}` from the dataset with content digest
`{subset.manifest["content_digest"]}`.

{_OPENING[format]}

Points are (x, y) fractions of the picture, origin top left, raw values kept even outside [0, 1].
Boxes are xyxy pixels of the original, as published. Null means not there. Labels count the classes
of the whole dataset. Worker ids are the hashes of the dataset. The pictures are under the terms of
those who published them, not under the licence of the byproducts.

## Columns

{column_table(subset.table)}
"""
