"""Views: one image shown once to one annotator, whatever tool logged it, as one Arrow table.

Every reader of somebody's log (log.py for the open log, a module of importers/ for each other
record of attention) gives tables of VIEWS; a module here for each kind turns them into the raw
tables of that kind. What a log lacks is null, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import RecordError
from luab_data.ragged import Bools, Ints, Ragged, one_array, ragged
from luab_data.schema_views import OPTIONAL_LISTS as OPTIONAL_LISTS
from luab_data.schema_views import VIEWS as VIEWS

if TYPE_CHECKING:
    from luab_data.batches import Batch
    from luab_data.kinds import Kind
    from luab_data.truth import Instances
    from luab_data.views.given_boxes import GivenBoxes

KEPT = ("arm", *(f"page_{time}_ms" for time in ("wall", "visible", "active")))
"""Columns of VIEWS that rows of own browsing and tagging data have as they are."""

EventType = Literal[
    "enter", "leave", "move", "down", "up", "click", "add", "move-label", "remove",
    "category", "key", "scroll", "resize", "load", "blur", "focus", "submit",
    "fixation", "say",
]  # fmt: skip
"""What can happen; new types are added at the end. docs/log-format.md#events."""

EVENTS: tuple[str, ...] = get_args(EventType)
"""Their names; `event` holds positions in here."""

CODE: Mapping[str, int] = {name: code for code, name in enumerate(EVENTS)}
"""Name of a type of events -> its position in EVENTS."""


class Reading(NamedTuple):
    """What a reader gives at a time: some views in the order of the log."""

    table: pa.Table  # (num_views,) VIEWS
    names: Sequence[str]  # (num_views,) what an error calls each of them, e.g. `line 17`
    errors: Sequence[RecordError] = ()  # of other records, of the same piece of the log


@dataclass(kw_only=True)
class Conversion:
    """What views are turned into the rows of a dataset by.

    Args:
        folder: that is being written, for files that wait.
        bind: the kind with the classes of the log; all of it must have been read.
        read_truth: the instances file of these classes, if one is given.
        boxes: of browsing: those that are given.
    """

    folder: Path
    bind: Callable[[], Kind]
    read_truth: Callable[[Kind], Instances | None]
    boxes: GivenBoxes | None = None

    @cached_property
    def kind(self) -> Kind:
        """The kind of the dataset, once the whole log was read."""
        return self.bind()

    @cached_property
    def truth(self) -> Instances | None:
        """The ground truth, likewise."""
        return self.read_truth(self.kind)


class FromViews(NamedTuple):
    """How a kind of log is made of views.

    Args:
        class_names: views -> (num_names,) row of the view, and class that it names: null where one
            is missing. Both empty for a kind without classes.
        batches: all views of a log, people hashed (`worker_id` in the place of `annotator`), in its
            order -> batches of images with their events.
    """

    class_names: Callable[[pa.Table], tuple[Ints, pa.Array]]
    batches: Callable[[Iterator[pa.Table], Conversion], Iterator[Batch]]


FIDELITY = {
    "has_path": "a path: at least two moves or fixations",
    "has_time": "a time of every event with a place",
    "has_clock": "the time of day",
    "has_layout": "the size of the picture on the page, and where it was",
    "has_annotator": "who it was",
}
"""What a view may have, on which it depends what can be derived."""


def views(columns: Mapping[str, Any]) -> pa.Table:
    """A table of VIEWS from some of its columns; the others are null.

    Args:
        columns: `image_id` and the lists `event`, `event_time_ms`, `event_x`, `event_y` among them.
    """
    schema = VIEWS.schema()
    length = len(columns["image_id"])
    found = [columns.get(name, pa.nulls(length, schema.field(name).type)) for name in schema.names]
    return pa.table(found, schema)


_IS_PATH = np.isin(np.arange(len(EVENTS)), [CODE["move"], CODE["fixation"]])


def fidelity(table: pa.Table) -> dict[str, Bools]:
    """Which views have what: a flag of FIDELITY -> (num_views,) bool."""
    event = ragged(table["event"])
    is_path = _IS_PATH[event.values]
    path_length = Ragged(is_path.astype(np.int64), event.bounds).reduce(np.add, 0)
    x = one_array(table["event_x"]).flatten()
    untimed = np.asarray(
        pc.and_(one_array(table["event_time_ms"]).flatten().is_null(), x.is_valid())
    )
    sizes = ("shown_x", "shown_y", "shown_width", "shown_height")
    there = {name: np.asarray(table[name].is_valid()) for name in (*sizes, "epoch_ms", "annotator")}
    return {
        "has_path": path_length >= 2,
        "has_time": ~event.any(untimed),
        "has_clock": there["epoch_ms"],
        "has_layout": np.logical_and.reduce([there[name] for name in sizes]),
        "has_annotator": there["annotator"],
    }


def count_fidelity(tables: Iterable[pa.Table]) -> dict[str, int]:
    """How many views have each flag, and `num_views`, for the manifest."""
    total = dict.fromkeys(("num_views", *FIDELITY), 0)
    for table in tables:
        total["num_views"] += len(table)
        for name, flags in fidelity(table).items():
            total[name] += int(flags.sum())
    return total
