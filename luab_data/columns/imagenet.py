"""The columns of `default` of ImageNet-AB, from image headers and metadata blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns import clicks, regions, traces
from luab_data.columns.rounds import Rounds, deciding_rows
from luab_data.ragged import bounds_of
from luab_data.schema import IMAGENET_IMAGES


@dataclass(frozen=True)
class Inputs:
    """What derived columns are computed from; row i everywhere is image i.

    Args:
        images: (num_images,) the raw columns of IMAGENET_IMAGES.
        rounds: the metadata blocks.
        rows: (num_images,) the deciding blocks, null rows where there is none.
        visit: the visits that end in the final clicks.
        last_n: the clicks and the records before them.
    """

    images: pa.Table
    rounds: Rounds
    rows: pa.Table
    visit: traces.Approach
    last_n: traces.LastN


def inputs(images: pa.Table, rounds: Rounds) -> Inputs:
    """Bundle images and their blocks with what several columns share."""
    rows = deciding_rows(rounds)
    visit = traces.approach(rows)
    return Inputs(images, rounds, rows, visit, traces.last_n_points(visit))


Columns = dict[str, pa.Array | pa.ChunkedArray]


def _image(given: Inputs) -> Columns:
    has_boxes = pa.array(np.diff(bounds_of(given.images["boxes"])) > 0)
    sizes: Columns = {}
    for edge in ("width", "height"):
        logged = given.rows[f"original_image_{edge}"]
        sizes[edge] = pc.coalesce(_positive(given.images[edge]), _positive(logged))
    return {"has_boxes": has_boxes, **sizes}


def _positive(size: pa.ChunkedArray) -> pa.ChunkedArray:
    """The sizes, null where 0 or less: an image that never loaded is logged as 0 x 0."""
    return pc.if_else(pc.greater(size, 0), size, pa.scalar(None, size.type))


def _answer(given: Inputs) -> Columns:
    rows = given.rows
    selected = pc.fill_null(rows["selected"], False)
    return {
        "num_rounds": pa.array(np.diff(given.rounds.bounds), pa.int16()),
        "has_interaction": pa.array(given.rounds.has_interaction),
        "selected": selected,
        "selected_round": pc.if_else(selected, rows["round"], pa.scalar(None, pa.int16())),
    }


def _clicks(given: Inputs) -> Columns:
    rows, selected = given.rows, given.rows["selected"]
    out: Columns = {}
    for axis in ("x", "y"):
        record = rows[f"selected_record_{axis}"]
        out[f"final_click_{axis}"] = clicks.final_click(record, selected)
        out[f"first_click_{axis}"] = clicks.first_click(record, selected)
    times = rows["selected_record_time_ms"]
    out["num_clicks"] = clicks.num_clicks(times, selected)
    out["parity_disagrees"] = clicks.parity_disagrees(times, selected)
    table = pa.table({**{c: out[c] for c in ("final_click_x", "final_click_y")}, **_sized(given)})
    out["click_in_box"] = regions.click_in_box(table)
    return out


def _sized(given: Inputs) -> Columns:
    image = _image(given)
    return {"width": image["width"], "height": image["height"], "boxes": given.images["boxes"]}


def _traces(given: Inputs) -> Columns:
    out: Columns = {
        "trace_length": traces.trace_length(
            given.rows["mouse_tracking_time_ms"], given.rows["selected"]
        ),
        "dwell_time_ms": traces.dwell_time_ms(given.rows),
    }
    out["trace_quantile_x"], out["trace_quantile_y"] = traces.trace_quantile(given.visit)
    out["time_quantile_x"], out["time_quantile_y"] = traces.time_quantile(given.visit)
    out["last_n_x"], out["last_n_y"] = traces.last_n(given.last_n)
    out["hull_x"], out["hull_y"], out["hull_area"] = regions.hulls(given.last_n)
    return out


_OF_ROUND = (
    *("estimate_time_ms", "worker_id", "assignment_id", "hit_id", "page_idx", "image_idx"),
)


def _of_round(given: Inputs) -> Columns:
    return {name: given.rows[name] for name in _OF_ROUND}


DERIVED: tuple[Callable[[Inputs], Columns], ...] = (_image, _answer, _clicks, _traces, _of_round)
"""Families of derived columns, each a pure function of Inputs."""


def image_table(images: pa.Table, rounds: Rounds) -> pa.Table:
    """All columns of IMAGENET_IMAGES but `label`, which needs every wnid to be known.

    Args:
        images: (num_images,) the raw columns of IMAGENET_IMAGES.
        rounds: their metadata blocks, from order_rounds.
    """
    given = inputs(images, rounds)
    columns: Columns = dict(zip(images.column_names, images.columns, strict=True))
    for family in DERIVED:
        columns.update(family(given))
    fields = [c.field() for c in IMAGENET_IMAGES.columns if c.name != "label"]
    return pa.table([columns[f.name] for f in fields], pa.schema(fields))


def with_labels(table: pa.Table, wnids: list[str]) -> pa.Table:
    """The table with `label`, the position of each wnid among the sorted `wnids`."""
    label = pc.index_in(table["wnid"], value_set=pa.array(wnids)).cast(pa.int64())
    names = [c.name for c in IMAGENET_IMAGES.columns]
    columns = {name: table[name] for name in names if name != "label"}
    return pa.table([{**columns, "label": label}[n] for n in names], IMAGENET_IMAGES.schema())
