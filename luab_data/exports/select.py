"""[I/O] Which rows are exported, where their images are, and what the folder's README says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from luab_data.errors import OptionError
from luab_data.hub.card import column_table
from luab_data.join.joined import Matched, left_over, match_files
from luab_data.join.rows import Rows
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
        manifest: of the dataset.
        table: schema of `default`.
        numbers: (num_rows,) row of `default` of each row; it does not depend on the subset.
        matched: in it only these rows have an image; its `rows_without_image` are those that were
            asked for.
    """

    manifest: Mapping[str, Any]
    table: Table
    numbers: Ints
    matched: Matched

    @property
    def kind(self) -> Kind:
        """Of log."""
        return kind_of(self.manifest)

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Column of labels -> class names by number, those of the whole dataset."""
        return self.matched.rows.classes

    @property
    def num_rows(self) -> int:
        """Rows of the subset."""
        return len(self.numbers)

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The columns (None: all) and `image_path` of the rows, some thousand rows at a time.

        Can be called again. Reading ends at the last row of the subset.
        """
        left = self.num_rows
        for batch in self.matched.batches(columns):
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
    matched = match_files(folder, images)
    rows = matched.rows
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
    matched = replace(matched, has_image=kept, image=image[numbers], rows_without_image=missing)
    return Subset(manifest=manifest, table=table, numbers=numbers, matched=matched)


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


# --- the README of an exported folder -------------------------------------------------------------

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
