"""Which image of a source belongs to which row of a dataset, by class and name. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import ImagesError
from luab_data.join import Matched, match
from luab_data.join.sources import Images, Rows
from luab_train.data.coco import CocoAnnotations
from luab_train.data.rows import Annotations
from luab_train.data.sources import Named, as_folder, image_ids, numbered


class Listed(NamedTuple):
    """Images of a list, each by its id alone."""

    image_id: np.ndarray
    """(N,) text, unique."""
    classes: tuple[str, ...] = ()


def match_rows(
    rows: Annotations | CocoAnnotations | Listed, source: Named, *, missing: str, where: Path
) -> Matched:
    """Find each row's image: by class and id, by id among the images that name no class, else by a
    path as its id, or by id alone in folders that are no classes, if one image there has it.

    Args:
        rows: to find.
        source: where to look.
        missing: `raise` if any row has no image, or `skip`: leave those rows out.
        where: the dataset folder, for the message.
    """
    ids = pa.array(rows.image_id)
    nameless = (source.wnid == "") | np.char.startswith(source.wnid, "#")
    folder = as_folder(source.wnid)
    known = pc.if_else(pa.array(nameless), source.image_id, _joined(folder, source.image_id))
    wanted = pa.nulls(len(ids), pa.string())
    for names in _names(rows, source, known, folder):
        there = pc.is_in(names, value_set=known)
        wanted = pc.coalesce(wanted, pc.if_else(there, names, pa.scalar(None, pa.string())))
        if not wanted.null_count:
            break
    wanted = pc.coalesce(wanted, ids)
    names = wanted.unique()  # of two rows about one picture, as of two classes, too
    matched = match(
        Rows(
            name=str(where), ids=pa.chunked_array([names]), classes={}, batches=lambda _: iter(())
        ),
        Images(name=str(source.root), ids=known, places=known),
    )
    image = np.full(len(names), -1)
    image[matched.has_image] = matched.image
    image = image[pc.index_in(wanted, value_set=names).to_numpy()]
    matched = replace(matched, has_image=image >= 0, image=image[image >= 0])
    if matched.rows_without_image.count and missing == "raise":
        raise ImagesError(
            f"{source.root}: has no image for {matched.rows_without_image.count} of"
            f" {len(ids)} rows of {where}, e.g."
            f" {', '.join(matched.rows_without_image.examples[:3])}; expected"
            " <wnid>/<image_id>.<ext> or <image_id>.<ext>. To train on the others: --set"
            " data.missing_images=skip"
        )
    return matched


def _names(
    rows: Annotations | CocoAnnotations | Listed, source: Named, known: pa.Array, folder: np.ndarray
) -> Iterator[pa.Array]:
    """What each row's image may be called in `known`, the likeliest first; null is nothing.

    Args:
        known: (num_images,) name of each image of the source, `<folder>/<id>` or `<id>`.
        folder: (num_images,) where it is, as `as_folder` writes it; empty if it is told of none.
    """
    ids, classes = pa.array(rows.image_id), as_folder(np.array(rows.classes, dtype=str))
    plain: list[str] = []
    in_class: list[pa.Array] = []
    if isinstance(rows, Annotations):
        wnid = np.array(rows.classes, dtype=str)[rows.label]
        # A name that is there in several classes is <class>_<name> in all rows but one.
        plain = [name.removeprefix(f"{c}_") for name, c in zip(rows.image_id, wnid, strict=True)]
        own = classes[rows.label]
        in_class += [_joined(own, names) for names in (rows.image_id, plain)]
        yield from in_class
    yield ids
    stem = image_ids(ids)
    if plain:
        in_class += [_joined(own, names) for names in (stem, image_ids(plain))]
        yield from in_class[2:]
    times = stem.value_counts()
    several = times.filter(pc.greater(times.field("counts"), 1)).field("values")
    is_plain = pc.or_(pc.equal(stem, ids), pc.invert(pc.is_in(stem, value_set=several)))
    alone = pc.if_else(is_plain, stem, pa.scalar(None, pa.string()))
    yield from (alone, numbered(alone))
    if plain:
        # In one folder a name is one picture, whatever class it was asked about.
        yield from (pa.array(as_folder(rows.image_id)), pa.array(plain), numbered(image_ids(plain)))
    # Of what is left, the one image of that name in the folder of that name, wherever that is.
    leaf = as_folder(np.array([name.rpartition("/")[2] for name in source.wnid.tolist()], str))
    in_folder = _only(_joined(leaf, source.image_id), known)
    above = pc.struct_field(pc.extract_regex(ids, r"(?P<above>[^/\\]+)[/\\][^/\\]*$"), "above")
    for names in (*in_class, pc.binary_join_element_wise(above, stem, "/")):
        yield _found(names, in_folder)
    elsewhere = ~(np.isin(folder, classes) | np.isin(leaf, classes))
    images = pa.array(source.image_id[elsewhere])
    yield _found(numbered(alone), _only(numbered(images), known.filter(pa.array(elsewhere))))


def _only(key: pa.Array, name: pa.Array) -> pa.Table:
    """(key, name) of the images whose key no other has."""
    table = pa.table({"key": key, "name": name}).group_by("key")
    found = table.aggregate([("name", "count"), ("name", "min")])
    return found.filter(pc.equal(found["name_count"], 1))


def _found(wanted: pa.Array, only: pa.Table) -> pa.Array:
    """The names of `only` by keys, null where there is none."""
    names = only["name_min"].combine_chunks()
    return names.take(pc.index_in(wanted, value_set=only["key"].combine_chunks()))


def _joined(folder: np.ndarray, image_id: Any) -> pa.Array:
    return pc.binary_join_element_wise(pa.array(folder), pa.array(image_id), "/")
