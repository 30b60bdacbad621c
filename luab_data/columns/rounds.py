"""Which round of an image counts: images and their metadata blocks -> one row per image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Bools, Ints, Ragged, bounds_of
from luab_data.schema import IMAGENET_ROUNDS

_INTERACTIONS = ("hovered_record_action", "mouse_tracking_time_ms", "selected_record_time_ms")


class Rounds(NamedTuple):
    """Blocks of images in image order, numbered, and what they say about each image."""

    table: pa.Table  # (num_rounds,) IMAGENET_ROUNDS, each image's blocks by hit_submit_time
    bounds: Ints  # (num_images + 1,) image i has the blocks bounds[i]:bounds[i + 1]
    deciding: Ints  # (num_images,) row of `table`; -1 without any block
    has_interaction: Bools  # (num_images,)


def order_rounds(image_ids: pa.ChunkedArray, blocks: pa.Table) -> Rounds:
    """Sort and number the blocks of each image and find the one that decides.

    The deciding round is the last one by hit_submit_time that ended with the image selected, else
    the last one. Blocks with equal times keep their order in the file.

    Args:
        image_ids: (num_images,) unique ids.
        blocks: (num_rounds,) all raw columns of IMAGENET_ROUNDS; every image_id is in image_ids.
    """
    image = pc.index_in(blocks["image_id"], value_set=image_ids.combine_chunks()).to_numpy()
    submitted = blocks["hit_submit_time"].to_numpy()
    order = np.lexsort((submitted, image))  # lexsort is stable
    table = blocks.take(pa.array(order))
    counts = np.bincount(image, minlength=len(image_ids))
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    position = np.arange(len(order))
    number = position - np.repeat(bounds[:-1], counts) + 1
    columns = {"round": pa.array(number, pa.int16()), **dict(_named(table))}
    ordered = pa.table([columns[c.name] for c in IMAGENET_ROUNDS.columns], IMAGENET_ROUNDS.schema())

    selected = table["selected"].to_numpy()
    last_selected = Ragged(np.where(selected, position, -1), bounds).reduce(np.maximum, -1)
    last = np.where(counts > 0, bounds[1:] - 1, -1)
    touched = np.any([np.diff(bounds_of(table[name])) > 0 for name in _INTERACTIONS], axis=0)
    return Rounds(
        table=ordered,
        bounds=bounds,
        deciding=np.where(last_selected >= 0, last_selected, last),
        has_interaction=Ragged(touched, bounds).reduce(np.logical_or, False),
    )


def _named(table: pa.Table) -> list[tuple[str, pa.ChunkedArray]]:
    return list(zip(table.column_names, table.columns, strict=True))


def deciding_rows(rounds: Rounds) -> pa.Table:
    """The deciding block of each image, (num_images,); all null where an image has none."""
    index = pa.array(rounds.deciding, mask=rounds.deciding < 0)
    return rounds.table.take(index)
