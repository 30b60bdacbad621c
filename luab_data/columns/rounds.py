"""Which round of an image counts: images and their metadata blocks -> one row per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import ArrowColumn, Bools, Ints, Ragged, bounds_of, is_true, one_array
from luab_data.schema import IMAGENET_ROUNDS
from luab_data.table import Table, columns_of

ORDERED_BY = ("image_id", "hit_submit_time", "selected")
"""What order_rounds has to know of a block."""

Deciding = Literal["any", "last", "majority", "all"]
"""How an image that was shown several times is decided: it is selected if any round selected it
(the releases), as the last one has it, if more than half did, or if all did. The last round that
ended so is the deciding one."""


class Rounds(NamedTuple):
    """Blocks of images in image order, numbered, and which one decides."""

    table: pa.Table  # (num_rounds,) columns of IMAGENET_ROUNDS, each image's by hit_submit_time
    bounds: Ints  # (num_images + 1,) image i has the blocks bounds[i]:bounds[i + 1]
    deciding: Ints  # (num_images,) row of `table`; -1 without any block


def order_rounds(
    image_ids: pa.ChunkedArray,
    blocks: pa.Table,
    deciding: Deciding = "any",
    schema: Table = IMAGENET_ROUNDS,
) -> Rounds:
    """Sort and number the blocks of each image and find the one that decides.

    The deciding round is the last one by hit_submit_time that ended as the image is decided. Blocks
    with equal times keep their order in the file, and so do all blocks of an image of which one has
    no time.

    Args:
        image_ids: (num_images,) unique ids.
        blocks: (num_rounds,) columns of `schema`, ORDERED_BY among them; every image_id is in
            image_ids.
        deciding: the rule; that of the releases is `any`.
        schema: of the table.
    Returns: `table` has `round` and the columns of `blocks`, in the published order.
    """
    image = pc.index_in(blocks["image_id"], value_set=one_array(image_ids)).to_numpy()
    submitted = pc.fill_null(blocks["hit_submit_time"], 0).to_numpy()
    if blocks["hit_submit_time"].null_count:
        untimed = image[blocks["hit_submit_time"].is_null().to_numpy()]
        submitted = np.where(np.isin(image, untimed), 0, submitted)
    order = np.lexsort((submitted, image))  # lexsort is stable
    # Blocks of a dataset, and most of a log, lie in order: do not copy every column then.
    in_order = bool((np.diff(order) > 0).all())
    table = blocks if in_order else blocks.take(pa.array(order))
    counts = np.bincount(image, minlength=len(image_ids))
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    position = np.arange(len(order))
    number = position - np.repeat(bounds[:-1], counts) + 1
    columns = {**columns_of(table), "round": pa.array(number, pa.int16())}

    selected = table["selected"].to_numpy()
    is_asked = selected == np.repeat(_decided(selected, bounds, deciding), counts)
    return Rounds(
        table=schema.of(columns),
        bounds=bounds,
        deciding=Ragged(np.where(is_asked, position, -1), bounds).reduce(np.maximum, -1),
    )


def _decided(selected: Bools, bounds: Ints, deciding: Deciding) -> Bools:
    """(num_images,) whether each image is selected, from what its rounds say (num_rounds,)."""
    counts = np.diff(bounds)
    if deciding == "last":
        found: Bools = np.zeros(len(counts), np.bool_)
        found[counts > 0] = selected[bounds[1:][counts > 0] - 1]
        return found
    agreed = Ragged(selected.astype(np.int64), bounds).reduce(np.add, 0)
    needed = {"any": np.minimum(counts, 1), "majority": counts // 2 + 1, "all": counts}[deciding]
    return agreed >= needed


def cut(rounds: Rounds, start: int, stop: int) -> Rounds:
    """The same for images start:stop alone, without copying."""
    bounds = rounds.bounds[start : stop + 1]
    first = int(bounds[0])
    deciding = rounds.deciding[start:stop]
    return Rounds(
        table=rounds.table.slice(first, int(bounds[-1]) - first),
        bounds=bounds - first,
        deciding=np.where(deciding >= 0, deciding - first, -1),
    )


def deciding_rows(rounds: Rounds, columns: Sequence[str] | None = None) -> pa.Table:
    """The deciding block of each image, (num_images,); all null where an image has none.

    Args:
        columns: which columns of the blocks; all of them if None.
    """
    table = rounds.table if columns is None else rounds.table.select(list(columns))
    if np.array_equal(rounds.deciding, np.arange(len(rounds.table))):
        return table
    return table.take(pa.array(rounds.deciding, mask=rounds.deciding < 0))


def num_rounds(bounds: Ints) -> pa.Array:
    """How often the image was shown: its metadata blocks.

    Args:
        bounds: (num_images + 1,) image i has the blocks bounds[i]:bounds[i + 1].
    Returns: (num_images,) int16, a count; 0 without any block.
    Null never.
    Source: docs/formats.md#repeated-rounds.
    """
    return pa.array(np.diff(bounds), pa.int16())


def has_interaction(
    hovered_record_time_ms: ArrowColumn,
    mouse_tracking_time_ms: ArrowColumn,
    selected_record_time_ms: ArrowColumn,
    bounds: Ints,
) -> pa.Array:
    """Whether any round of the image has a hovered, tracking or selected record.

    Args:
        hovered_record_time_ms, mouse_tracking_time_ms, selected_record_time_ms: (num_rounds,)
            lists, of all blocks.
        bounds: (num_images + 1,) image i has the blocks bounds[i]:bounds[i + 1].
    Returns: (num_images,) bool; False without any block.
    Null never.
    Source: docs/definitions.md#coverage: the existence of a file is not interaction.
    """
    records = (hovered_record_time_ms, mouse_tracking_time_ms, selected_record_time_ms)
    touched: Bools = np.any([np.diff(bounds_of(times)) > 0 for times in records], axis=0)
    return pa.array(Ragged(touched, bounds).reduce(np.logical_or, False))


def has_logged_interaction(
    hovered_record_time_ms: ArrowColumn,
    mouse_tracking_time_ms: ArrowColumn,
    selected_count: ArrowColumn,
    bounds: Ints,
) -> pa.Array:
    """Whether any view of the image has an entry, a move or a click, one made by key included.

    Args:
        hovered_record_time_ms, mouse_tracking_time_ms: (num_views,) lists; selected_count:
            (num_views,) int32; of all views.
        bounds: (num_images + 1,) image i has the views bounds[i]:bounds[i + 1].
    Returns: (num_images,) bool; False without any view.
    Null never.
    Source: docs/log-format.md#browsing.
    """
    records = (hovered_record_time_ms, mouse_tracking_time_ms)
    counts = pc.fill_null(selected_count, 0).to_numpy()
    touched: Bools = np.any([counts > 0, *(np.diff(bounds_of(r)) > 0 for r in records)], axis=0)
    return pa.array(Ragged(touched, bounds).reduce(np.logical_or, False))


def num_selected(selected: ArrowColumn, bounds: Ints) -> pa.Array:
    """How many views of the image ended with it selected.

    Args:
        selected: (num_views,) bool of all views.
        bounds: (num_images + 1,) image i has the views bounds[i]:bounds[i + 1].
    Returns: (num_images,) int16, a count; 0 without any view.
    Null never.
    Source: docs/log-format.md#deciding.
    """
    ended = is_true(selected).astype(np.int16)
    return pa.array(Ragged(ended, bounds).reduce(np.add, 0), pa.int16())


def is_selected(selected: ArrowColumn) -> ArrowColumn:
    """Whether any round ended with the image selected: then the deciding one did.

    Args:
        selected: (num_images,) bool of the deciding round.
    Returns: (num_images,) bool; False without any round.
    Null never.
    Source: docs/definitions.md#selected-share.
    """
    return pc.fill_null(selected, False)


def selected_round(selected: ArrowColumn, round: ArrowColumn) -> ArrowColumn:
    """The round that decided, if it selected the image.

    Args:
        selected, round: (num_images,) bool and int16 of the deciding round.
    Returns: (num_images,) int16, 1 for the first by hit_submit_time.
    Null where the image was not selected.
    Source: docs/definitions.md#selected-share.
    """
    return pc.if_else(is_selected(selected), round, pa.scalar(None, pa.int16()))


def as_logged(column: ArrowColumn) -> ArrowColumn:
    """A raw value beside the derived ones, unchanged: of the deciding round, or of the record.

    Returns: (num_images,) the log's value, in the log's unit.
    Null without a round, or where the log has none.
    Source: docs/formats.md.
    """
    return column
