"""[I/O] Where people looked or pointed, of datasets of any kinds, joined by image: a row a view.

A kind says in kinds.py which function here gives its points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.tracing import trace
from luab_data.console import progress
from luab_data.conversion import AnyPath
from luab_data.errors import OptionError
from luab_data.kinds import kind_of
from luab_data.ragged import list_array, one_array
from luab_data.results import Tabular
from luab_data.schema import Table
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import counted

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
    """Tracing: every point of a trace (docs/definitions.md#asked-for-traces)."""
    names = ["event", "event_time_ms", "event_x", "event_y"]
    for rows in read_columns(folder, kind.events, ["image_id", "worker_id", *names]):
        points = trace(*(rows[name] for name in names))
        x, y = (list_array(pa.array(v), points.bounds) for v in (points.x, points.y))
        yield pa.table([image_keys(rows["image_id"]), one_array(rows["worker_id"]), x, y], POINTS)


@dataclass(frozen=True, eq=False)
class Attention(Tabular):
    """Where people looked or pointed, of images that two sources have at least.

    Attributes:
        sources: names of the datasets, as given.
        images: ids, sorted.
        table: a row a view: image_id, source, worker_id, x and y, lists of fractions.
    """

    sources: tuple[str, ...]
    images: tuple[str, ...]
    table: pa.Table

    def __repr__(self) -> str:
        shared = counted(len(self.images), "image")
        return f"<Attention {shared}, {len(self.table):,} views of {', '.join(self.sources)}>"

    def to_table(self) -> pa.Table:
        """A row a view."""
        return self.table


def join_attention(
    datasets: Sequence[AnyPath],
    *,
    images: int | None = None,
    seed: int = 0,
    shown: bool | None = None,
) -> Attention:
    """Where people looked, of several datasets, joined by the ids of their images.

    Ids join as text, a number without zeros in front of it.

    Args:
        datasets: folders or names, of any kinds, two at least.
        images: at most so many of the images that two of them share, drawn by seed; None is all.
        seed: of the draw.
        shown: progress bars; None shows them on a terminal.

    Raises:
        DatasetError: not a dataset.
        OptionError: fewer than two, two of one name, or no image in common.
    """
    folders = [find_dataset(dataset) for dataset in datasets]
    names = tuple(folder.resolve().name for folder in folders)
    if len(folders) < 2 or len({*names}) < len(names):
        found = ", ".join(names) or "none"
        raise OptionError(f"found {found}; expected two datasets at least, of different names")
    kinds = [kind_of(read_manifest(folder)) for folder in folders]
    keys = [
        {
            key
            for table in read_columns(folder, kind.images, ["image_id"])
            for key in image_keys(table["image_id"]).to_pylist()
        }
        for folder, kind in zip(folders, kinds, strict=True)
    ]
    shared = sorted(_shared(keys))
    if not shared:
        some = "; ".join(
            f"{name}: {', '.join(sorted(own)[:2])}" for name, own in zip(names, keys, strict=True)
        )
        raise OptionError(f"no two datasets have an image in common. Ids are, e.g., {some}")
    if images is not None and images < len(shared):
        drawn = np.random.default_rng(seed).choice(len(shared), images, replace=False)
        shared = [shared[place] for place in np.sort(drawn).tolist()]
    wanted, tables = pa.array(shared), []
    for name, folder, kind in zip(names, folders, kinds, strict=True):
        batches = kind.attention(folder, kind)
        for batch in progress(batches, what=name, unit="batch", shown=shown):
            batch = batch.filter(pc.is_in(batch["image_id"], value_set=wanted))
            tables.append(batch.add_column(1, "source", pa.array([name] * len(batch), pa.string())))
    return Attention(names, tuple(shared), pa.concat_tables(tables).combine_chunks())


def _shared(keys: Sequence[set[str]]) -> set[str]:
    """What at least two of them have."""
    once: set[str] = set()
    twice: set[str] = set()
    for some in keys:
        twice |= once & some
        once |= some
    return twice
