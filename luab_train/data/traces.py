"""Points of a tracing dataset, image by image: where people moved, pointed or looked.     [I/O]

A row of such a dataset is a view, and an image may have many:

    trace_last      the last point of a view, mean over the views of an image
    trace_centroid  the mean of a view's points, likewise
    hull_centre     the centroid of a view's convex hull, likewise
    trace           where a view was at 0, .1, ... 1 of its time, or of its points where these have
                    no times: eleven points a view, those of all views together a map
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import DatasetError, OptionError
from luab_data.kinds import kind_of
from luab_train.data.coco import CocoAnnotations
from luab_train.data.matching import match_rows
from luab_train.data.rows import (
    BYPRODUCTS,
    Annotations,
    byproduct,
    fixed_lists,
    points_of,
    read_columns,
    read_manifest,
)
from luab_train.data.sources import image_ids, numbered
from luab_train.sections import TRACE_TARGETS

_LAST = BYPRODUCTS["trace_last"]
_UNTIMED = ("trace_quantile_x", "trace_quantile_y")
_CONTROLS = ("none", "random", "centre", "shuffled", "oracle")


@dataclass(frozen=True, kw_only=True)
class Traces:
    """The traced images of a dataset, `N` of them; names are as those of an `ImageSource`."""

    root: Path
    wnid: np.ndarray
    """(N,) text, the folder in an id that is a path; else empty."""
    image_id: np.ndarray
    """(N,) text."""
    last: np.ndarray
    """(N, 2) float64 fractions of the image, see trace_last; NaN where no view has a point."""
    values: np.ndarray | None
    """(N, K, 2) of a target that is of traces, NaN where there is none."""
    facts: dict[str, Any]
    """Where they are from, for the run's record."""


def with_traces(
    rows: Annotations | CocoAnnotations, folder: Path, *, target: str
) -> Annotations | CocoAnnotations:
    """The rows with the points of a tracing dataset, by image id; NaN where it has none.

    The end of a trace takes the place of the click, so that `random` and the like are drawn for
    exactly the images that have a trace.

    Raises:
        OptionError: a target that is of the dataset's own clicks.
        ImagesError: none of the rows has a trace, or it cannot be told which of two has.
    """
    several = isinstance(rows, CocoAnnotations)
    possible = (*TRACE_TARGETS, *(_CONTROLS[:1] if several else _CONTROLS))
    if target not in possible:
        raise OptionError(
            f"target {target}: is not of the traces of {folder}, whose points are learned; expected"
            f" one of {', '.join(possible)}"
        )
    traces = read_traces(folder, target=target)
    matched = match_rows(rows, traces, missing="skip", where=folder)
    there = np.flatnonzero(matched.has_image)

    def spread(values: np.ndarray) -> np.ndarray:
        found = np.full((len(rows.image_id), *values.shape[1:]), np.nan)
        found[there] = values[matched.image]
        return found

    values = None if traces.values is None else spread(traces.values)
    facts = {**traces.facts, "num_images": len(traces.image_id), "num_rows": len(there)}
    if isinstance(rows, CocoAnnotations):
        return replace(rows, byproduct=values, traces=facts)
    return replace(rows, byproduct=values, click=spread(traces.last), traces=facts)


def read_traces(folder: Path, *, target: str) -> Traces:
    """The points of `folder/data/train-*.parquet`, as `luab-data convert tracing` writes them.

    Args:
        target: `trace` and the like; of others, `values` is None.
    """
    manifest = read_manifest(folder)
    found = manifest.get("dataset")
    if found is None or not kind_of(manifest).has_view_rows:
        raise DatasetError(
            f"{folder}: holds {found or 'no manifest.json'}; expected a dataset of traces, as"
            " `luab-data convert tracing` writes it, e.g. from Localized Narratives"
        )
    of_target = BYPRODUCTS[target] if target in TRACE_TARGETS else ()
    more = _UNTIMED if target == "trace" else ()
    names = dict.fromkeys(("image_id", *_LAST, *of_target, *more))
    table = read_columns(folder, "data", list(names))
    wnid, image_id = _names(table["image_id"])
    named = pc.binary_join_element_wise(wnid, image_id, "/").dictionary_encode()
    row = named.indices.to_numpy()
    order = np.argsort(row, kind="stable")
    first = np.searchsorted(row[order], np.arange(len(named.dictionary)))
    bounds = np.append(first, len(row))
    values = byproduct(table, target) if of_target else None
    if values is not None and target == "trace":
        untimed = np.stack([fixed_lists(table, name) for name in _UNTIMED], axis=2)
        values = _side_by_side(_first_known(values, untimed)[order], bounds)
    elif values is not None:
        values = _means(values[order], bounds)
    one = order[first]
    return Traces(
        root=folder,
        wnid=_text(wnid)[one],
        image_id=_text(image_id)[one],
        last=_means(points_of(table, *_LAST)[order], bounds),
        values=values,
        facts={
            "name": folder.resolve().name,
            "digest": manifest.get("content_digest"),
            "version": manifest.get("version"),
        },
    )


def _names(ids: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Folder and name of each id: of `Käse/IMG 1.jpg` Käse and IMG 1, of `000000000009` 9."""
    ids = ids.combine_chunks()
    above = pc.struct_field(pc.extract_regex(ids, r"(?P<above>[^/\\]+)[/\\][^/\\]*$"), "above")
    wnid = pc.utf8_normalize(pc.fill_null(above, ""), "NFC")
    stem = image_ids(ids)
    return wnid, pc.if_else(pc.equal(wnid, ""), numbered(stem), stem)


def _text(values: pa.Array) -> np.ndarray:
    return np.array(values, dtype=str)


def _first_known(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(V, K, 2): of each view its first lists, or the second where it has none."""
    width = max(values.shape[1], others.shape[1])
    values, others = (
        np.pad(v, ((0, 0), (0, width - v.shape[1]), (0, 0)), constant_values=np.nan)
        for v in (values, others)
    )
    known = np.isfinite(values).all(axis=2).any(axis=1)
    return np.where(known[:, None, None], values, others)


def _means(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(N, ...) mean of each image's views that have a point; NaN where none has."""
    known = np.isfinite(values)
    start = bounds[:-1]
    count = np.add.reduceat(known, start, axis=0, dtype=np.int64)
    total = np.add.reduceat(np.where(known, values, 0), start, axis=0)
    nothing = np.full(total.shape, np.nan)
    means: np.ndarray = np.divide(total, count, out=nothing, where=count > 0)
    return means


def _side_by_side(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(N, K * most views, 2): the points of all views of an image; NaN beyond its own."""
    num_views = np.diff(bounds)
    row = np.repeat(np.arange(len(num_views)), num_views)
    place = np.arange(len(values)) - np.repeat(bounds[:-1], num_views)
    found = np.full((len(num_views), num_views.max(initial=1), *values.shape[1:]), np.nan)
    found[row, place] = values
    return found.reshape(len(num_views), -1, 2)
