"""[I/O] join_images: each row of byproducts with its image; what is left over is counted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import DatasetError, ImagesError
from luab_data.join import own_files
from luab_data.join.sources import (
    Images,
    Rows,
    dataset_rows,
    find_images,
    image_column,
    open_rows,
)
from luab_data.ragged import Bools, Ints

if TYPE_CHECKING:
    import datasets

EXAMPLES = 5

IMAGE_PATH = pa.field(
    "image_path", pa.string(), metadata={"unit": "", "doc": "Absolute path of the image file"}
)
IMAGE_ROW = pa.field(
    "image_row", pa.int64(), metadata={"unit": "", "doc": "Row of the image in the dataset given"}
)


@dataclass(frozen=True)
class Unmatched:
    """What a join left over.

    Args:
        count: how many.
        examples: the first few in alphabetical order: image ids, or paths where there is no id.
    """

    count: int
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = f", e.g. {', '.join(self.examples)}" if self.examples else ""
        return f"{self.count:,}{shown}"


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Byproducts and images, matched by id, and what was left over.

    Args:
        rows: the byproducts.
        images: where the images are.
        has_image: (num_rows,) whether the row has an image.
        image: (num_joined,) the image of each row that has one, a position in `images`.
        rows_without_image: by image id.
        images_without_row: by image id.
        images_without_id: images whose names hold no id as the rows have them, by path or row.
    """

    rows: Rows
    images: Images
    has_image: Bools
    image: Ints
    rows_without_image: Unmatched
    images_without_row: Unmatched
    images_without_id: Unmatched

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The joined table piece by piece, empty pieces included, so that there is a schema."""
        start, joined = 0, 0
        for batch in self.rows.batches(columns):
            mask = self.has_image[start : start + len(batch)]
            start += len(batch)
            image = pa.array(self.image[joined : joined + int(mask.sum())])
            joined += len(image)
            field, places = IMAGE_ROW, self.images.places.take(image)
            if self.images.root is not None:
                field = IMAGE_PATH
                places = pc.binary_join_element_wise(str(self.images.root), places, "/")
            # Not both: a table that was joined before is joined anew.
            kept = [n for n in batch.column_names if n not in (IMAGE_PATH.name, IMAGE_ROW.name)]
            yield batch.select(kept).filter(pa.array(mask)).append_column(field, places)


@dataclass(frozen=True, kw_only=True, repr=False)
class JoinedImages(Matched):
    """Byproducts with their images.

    Args:
        table: (num_joined,) the byproducts' columns in the byproducts' order, and `image_path`
            (absolute path of the file) or `image_row` (row in the dataset that was given).
    """

    table: pa.Table

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Column of labels -> class names by number."""
        return self.rows.classes

    def __repr__(self) -> str:
        return f"JoinedImages({self})"

    def __str__(self) -> str:
        return (
            f"{len(self.table):,} rows with image; rows without image: {self.rows_without_image};"
            f" images without row: {self.images_without_row};"
            f" images without id: {self.images_without_id}"
        )

    def to_dataset(self) -> datasets.Dataset:
        """A Hugging Face dataset: the table's columns and `image`, decoded when it is asked for.

        Nothing is copied: files stay where they are, rows of a dataset are pointed at. A column of
        that dataset that byproducts have too gets `image_` before its name: its `label` counts all
        of its classes, ours those of the byproducts.
        """
        import datasets
        from datasets.fingerprint import generate_random_fingerprint

        if self.images.dataset is None:
            paths = self.table[IMAGE_PATH.name].combine_chunks()
            nothing = pa.nulls(len(paths), pa.binary())
            image = pa.StructArray.from_arrays([nothing, paths], ["bytes", "path"])
            table = self.table.drop_columns([IMAGE_PATH.name]).append_column("image", image)
            return _dataset(table, {**self._features(), "image": datasets.Image()})
        given = self.images.dataset
        mark = generate_random_fingerprint()
        base = datasets.Dataset(given.data, info=given.info, split=given.split, fingerprint=mark)
        clashes = set(base.column_names) & set(self.table.column_names)
        names = {name: f"image_{name}" for name in sorted(clashes)}
        if (column := image_column(given, self.images.name)) != "image":
            names[column] = "image"
        base = base.rename_columns(names)
        rows = self.table[IMAGE_ROW.name].to_numpy()
        if given._indices is not None:
            rows = given._indices.column(0).to_numpy()[rows]
        if len(np.unique(rows)) < len(rows):  # an image's several views: each has its own copy
            table = self.table.drop_columns([IMAGE_ROW.name])
            own = _dataset(table, self._features())
            return datasets.concatenate_datasets([base.select(rows), own], axis=1)
        # Side by side needs equal lengths: byproducts are laid out in the order of the stored
        # images, null where there is none, and the rows that were joined are selected from that.
        at = np.full(len(base), -1)
        at[rows] = np.arange(len(rows))
        columns = self.table.drop_columns([IMAGE_ROW.name]).take(pa.array(at, mask=at < 0))
        wide = datasets.concatenate_datasets([base, _dataset(columns, self._features())], axis=1)
        return wide.select(rows)

    def _features(self) -> dict[str, Any]:
        """Features of the columns of labels; the others follow from their types."""
        import datasets

        features: dict[str, Any] = {}
        for name, names in self.classes.items():
            if name in self.table.column_names:
                label = datasets.ClassLabel(names=list(names))
                nested = pa.types.is_list(self.table.schema.field(name).type)
                features[name] = datasets.Sequence(label) if nested else label
        return features


def join_images(
    ab: str | os.PathLike[str] | pa.Table | datasets.Dataset,
    images: str | os.PathLike[str] | datasets.Dataset,
    *,
    columns: Sequence[str] | None = None,
) -> JoinedImages:
    """Give each row of byproducts its image, by image id.

    Pictures of somebody's own browsing data are found by the file that the log names, else by class
    and id: the paths that share the most folders.

    Args:
        ab: `default` of ImageNet-AB, COCO-AB or somebody's own data: a dataset folder, its name
            under $LUAB_DATA_HOME, an Arrow table or a Hugging Face dataset.
        images: a folder of image files at any depth (`<wnid>/<image_id>.JPEG`, `000000000009.jpg`,
            `COCO_train2014_000000000009.jpg`), or imagenet-1k as a Hugging Face dataset, loaded or
            as the folder that save_to_disk wrote; its ids come from `image.path`. No image is
            opened.
        columns: columns of `ab` to keep, `image_id` always; None keeps all.

    Points are fractions of the picture as its annotator saw it, turned as EXIF says: turn an image
    with `PIL.ImageOps.exif_transpose` before points are put on it.

    Returns: the rows that have an image, and counts and examples of what was left over.

    Raises:
        DatasetError: `ab` is no dataset, or has an image id twice and no `view`.
        ImagesError: no images, two images of one id, images without paths, or not one that belongs
            to a row.
    """
    rows = open_rows(ab)
    matched = match(rows, find_images(images, rows.ids.type))
    if columns is not None:
        columns = list(dict.fromkeys(["image_id", *columns]))
    return JoinedImages(**vars(matched), table=pa.concat_tables(list(matched.batches(columns))))


def match_files(folder: Path, images: Path) -> Matched:
    """Match the rows of a dataset folder with a folder of image files; errors as join_images."""
    rows = dataset_rows(folder)
    found = find_images(images, rows.ids.type)
    if found.root is None:
        raise ImagesError(f"{images}: a saved dataset; expected a folder of image files")
    return match(rows, found)


def match(rows: Rows, images: Images) -> Matched:
    """Find each row's image; arguments and errors as join_images."""
    images = under_own_ids(rows, images)
    _check_unique(rows, images)
    index = pc.index_in(rows.ids, value_set=images.ids)
    has_image = pc.is_valid(index).to_numpy()
    image = index.drop_null().to_numpy().astype(np.int64)
    used = np.zeros(len(images.ids), bool)
    used[image] = True
    named = pc.is_valid(images.ids).to_numpy(zero_copy_only=False)
    matched = Matched(
        rows=rows,
        images=images,
        has_image=has_image,
        image=image,
        rows_without_image=left_over(rows.ids, ~has_image),
        images_without_row=left_over(images.ids, named & ~used),
        images_without_id=left_over(images.places, ~named),
    )
    if len(has_image) and not len(image):
        others = [matched.images_without_row, matched.images_without_id]
        examples = ", ".join(name for other in others for name in other.examples)
        raise ImagesError(
            f"{images.name}: none of its {len(images.ids):,} images is one of the"
            f" {len(has_image):,} of {rows.name}: the images are {examples}; expected some of"
            f" {', '.join(matched.rows_without_image.examples)}. Is it the right folder?"
        )
    return matched


def _dataset(table: pa.Table, features: dict[str, Any]) -> datasets.Dataset:
    """A dataset over a table in memory, without a copy."""
    import datasets
    from datasets.fingerprint import generate_random_fingerprint
    from datasets.table import InMemoryTable

    bare = table.replace_schema_metadata(None)
    kinds = {**datasets.Features.from_arrow_schema(bare.schema), **features}
    # Left alone, `datasets` would pickle and hash the whole table for a fingerprint.
    return datasets.Dataset(
        InMemoryTable(bare),
        info=datasets.DatasetInfo(features=datasets.Features(kinds)),
        fingerprint=generate_random_fingerprint(),
    )


def left_over(values: pa.Array | pa.ChunkedArray, mask: Bools) -> Unmatched:
    """What the mask picks, counted, with examples."""
    left = values.filter(pa.array(mask))
    examples = left.take(pc.bottom_k_unstable(left, EXAMPLES))
    return Unmatched(len(left), tuple(map(str, examples.to_pylist())))


def under_own_ids(rows: Rows, images: Images) -> Images:
    """The images under the ids that rows of somebody's own have for their files."""
    if images.root is not None and own_files.names_files(rows):
        return own_files.by_file(rows, images)
    return _told_apart(rows, images)


def _told_apart(rows: Rows, images: Images) -> Images:
    """Pictures of one name in two class folders under the ids that convert gave their records.

    The first record of a name has it as its id, those of other classes are `<class>_<name>`.
    """
    twice = pa.array(_duplicates(images.ids), images.ids.type)
    if images.root is None or not len(twice) or not pa.types.is_string(images.ids.type):
        return images
    parent = pc.extract_regex(images.places, r"(?:^|/)(?P<name>[^/]+)/[^/]*$")
    other = pc.binary_join_element_wise(pc.struct_field(parent, "name"), images.ids, "_")
    is_other = pc.and_(
        pc.is_in(images.ids, value_set=twice), pc.is_in(other, value_set=rows.ids.combine_chunks())
    )
    return replace(images, ids=pc.if_else(is_other, other, images.ids))


def _check_unique(rows: Rows, images: Images) -> None:
    if twice := [] if rows.has_views else _duplicates(rows.ids):
        raise DatasetError(
            f"{rows.name}: {len(twice):,} image ids are there more than once, e.g. {twice[0]};"
            " expected one row an image, like the config `default`"
        )
    if twice := _duplicates(images.ids):
        first = pc.equal(images.ids, pa.scalar(twice[0], images.ids.type))
        places = images.places.filter(pc.fill_null(first, False))[:2].to_pylist()
        raise ImagesError(
            f"{images.name}: {len(twice):,} image ids are there more than once, e.g. {twice[0]} as"
            f" {' and '.join(map(str, places))}; expected one image an id. Remove one of them or"
            " name a folder inside"
        )


def _duplicates(ids: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Ids that occur more than once, sorted."""
    present = ids.drop_null()
    if pc.count_distinct(present).as_py() == len(present):
        return []
    counts = pc.value_counts(present)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    return sorted(twice.to_pylist())
