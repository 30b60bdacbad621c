"""[I/O] Where people looked or pointed, of a dataset of each kind: a row a view.

A kind says in kinds.py which function here gives its points.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import one_array
from luab_data.schema import Table
from luab_data.store.folder import read_columns

if TYPE_CHECKING:
    from luab_data.kinds import Kind

POINTS = pa.schema(
    {
        "image_id": pa.string(),
        "worker_id": pa.string(),
        "x": pa.list_(pa.float64()),
        "y": pa.list_(pa.float64()),
    }
)


def image_keys(ids: pa.ChunkedArray) -> pa.Array:
    """Ids by which sources are joined: text in NFC; a number without its zeros in front.

    So the 9 of COCO-AB, the `000000000009` of a file name and the `9` of others are one image.
    """
    text = pc.utf8_normalize(one_array(ids).cast(pa.string()), "NFC")
    return pc.replace_substring_regex(text, r"^0+([0-9]+)$", r"\1")


def _points(folder: Path, table: Table, x: str, y: str) -> Iterator[pa.Table]:
    for rows in read_columns(folder, table, ["image_id", "worker_id", x, y]):
        columns = [image_keys(rows["image_id"]), rows["worker_id"], rows[x], rows[y]]
        yield pa.table([one_array(c).cast(f.type) for c, f in zip(columns, POINTS, strict=True)],
                       POINTS)  # fmt: skip


def of_rounds(folder: Path, kind: Kind) -> Iterator[pa.Table]:
    """Browsing: the clicks that selected the picture."""
    return _points(folder, kind.events, "selected_record_x", "selected_record_y")


def of_icons(folder: Path, kind: Kind) -> Iterator[pa.Table]:
    """Tagging: where icons were at the end; a point that is null is none."""
    return _points(folder, kind.images, "final_x", "final_y")


def of_traces(folder: Path, kind: Kind) -> Iterator[pa.Table]:
    """Tracing: every move, click and fixation."""
    return _points(folder, kind.events, "event_x", "event_y")
