"""[I/O] What each annotator answered and did, of a dataset of any kind: a row a view.

A kind says in kinds.py which function here reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.coco import HISTORY
from luab_data.columns.events import is_enter
from luab_data.columns.icons import final_action, group_icons
from luab_data.columns.traces import dwell_time_ms
from luab_data.ragged import Ints, Ragged, bounds_of, is_true, list_array, one_array
from luab_data.store.folder import read_columns

if TYPE_CHECKING:
    from luab_data.kinds import Kind, OwnTagging

MEASURES = {
    "time_ms": "time on the picture or on its page",
    "visits": "entries of the cursor; of a tagging page, superclasses that were shown",
    "corrections": "answers that were taken back: deselections, moves and removals",
    "trace_length": "records of the mouse path",
}
"""What of a view may go with difficulty -> in words."""

VIEWS = pa.schema(
    {
        "image_id": pa.string(),
        "class": pa.string(),  # that was asked for; null where none was
        "worker_id": pa.string(),
        "answer": pa.list_(pa.string()),  # classes that got a yes; or what was answered freely
        "is_free": pa.bool_(),  # whether it was: else whatever else was asked got a no
        **{name: pa.float64() for name in MEASURES},  # null where not logged
    }
)


def _table(rows: pa.Table, columns: dict[str, Any]) -> pa.Table:
    length = len(rows)
    arrays = {
        "image_id": rows["image_id"],
        "worker_id": rows["worker_id"],
        "is_free": pa.array(np.zeros(length, np.bool_)),
        **columns,
    }
    return pa.table(
        [
            one_array(arrays[f.name]).cast(f.type) if f.name in arrays else pa.nulls(length, f.type)
            for f in VIEWS
        ],
        VIEWS,
    )


_HOVER = ("hovered_record_action", "hovered_record_time_ms")
_CLOCKS = ("mouse_tracking_time_ms", "selected_record_time_ms")


def of_rounds(folder: Path, kind: Kind) -> Iterator[pa.Table]:
    """Browsing: the class that was asked for, and whether the picture was selected."""
    names = ["image_id", "wnid", "worker_id", "selected", *_HOVER, *_CLOCKS]
    for rows in read_columns(folder, kind.events, names):
        enters = Ragged(is_enter(rows[_HOVER[0]]).astype(np.int64), bounds_of(rows[_HOVER[0]]))
        selected = is_true(rows["selected"])
        clicks = np.diff(bounds_of(rows[_CLOCKS[1]]))
        asked = one_array(rows["wnid"])
        yield _table(rows, {
            "class": asked,
            "answer": list_array(asked.filter(pa.array(selected)), np.cumsum([0, *selected])),
            "time_ms": dwell_time_ms(*(rows[name] for name in (*_HOVER, *_CLOCKS))),
            "visits": pa.array(enters.reduce(np.add, 0)),
            "corrections": pa.array(np.maximum(clicks - selected, 0)),
            "trace_length": pa.array(np.diff(bounds_of(rows[_CLOCKS[0]]))),
        })  # fmt: skip


def of_actions(folder: Path, kind: Kind) -> Iterator[pa.Table]:
    """Tagging: classes whose icon is there at the end, of those that anybody placed."""
    classes = cast("OwnTagging", kind).vocabulary.names
    steps, trace = "category_histories_category_name", "mouse_tracking_x"
    names = ["image_id", "worker_id", "time_spent_ms", *HISTORY, steps, trace]
    for rows in read_columns(folder, kind.events, names):
        icons = group_icons(classes, *(rows[name] for name in HISTORY))
        there = final_action(icons) >= 0
        bounds = np.concatenate([[0], np.cumsum(there)])[icons.images]
        label = pa.array(icons.label[there], mask=icons.label[there] < 0)
        counts = {name: np.diff(bounds_of(rows[name])) for name in (HISTORY[0], steps, trace)}
        yield _table(rows, {
            "answer": list_array(pa.array(classes, pa.string()).take(label), bounds),
            "time_ms": rows["time_spent_ms"],
            "visits": pa.array(counts[steps]),
            "corrections": pa.array(counts[HISTORY[0]] - _adds(rows)),
            "trace_length": pa.array(counts[trace]),
        })  # fmt: skip


def _adds(rows: pa.Table) -> Ints:
    actions = one_array(rows[HISTORY[0]])
    is_add = is_true(pc.equal(actions.flatten(), "add"))
    return Ragged(is_add.astype(np.int64), bounds_of(actions)).reduce(np.add, 0)


def of_traces(folder: Path, kind: Kind) -> Iterator[pa.Table]:
    """Tracing: what was answered in words, if anything."""
    names = ["image_id", "label", "answer", "worker_id", "duration_ms", "trace_length"]
    for rows in read_columns(folder, kind.images, names):
        answer = one_array(rows["answer"])
        there = np.asarray(answer.is_valid())
        yield _table(rows, {
            "class": rows["label"],
            "answer": list_array(answer.drop_null(), np.cumsum([0, *there])),
            "is_free": pa.array(np.ones(len(rows), np.bool_)),
            "time_ms": rows["duration_ms"],
            "trace_length": rows["trace_length"],
        })  # fmt: skip


def views_of(folder: Path, kind: Kind) -> pa.Table:
    """All views of a dataset; VIEWS."""
    return pa.concat_tables(kind.behaviour(folder, kind)).combine_chunks()


def answers_of(views: pa.Table) -> pa.Table:
    """What was asked and answered, a row an answer: `task`, `worker`, `label`, and `view`.

    A task is an image where people answered freely, and the label what they said; else an image and
    a class, `IMAGE/CLASS`, that was asked for or that somebody saw there, and the label yes or no.
    Views of nobody known are left out.

    Args:
        views: (num_views,) VIEWS.
    Returns: (num_answers,) strings, and `view`, the row of `views`.
    """
    worker, free = views["worker_id"].is_valid(), views["is_free"]
    tables = [
        _free(views, np.flatnonzero(np.asarray(pc.and_(worker, free)))),
        _yes_no(views, np.flatnonzero(np.asarray(pc.and_(worker, pc.invert(free))))),
    ]
    return pa.concat_tables(tables).combine_chunks()


def _free(views: pa.Table, rows: Ints) -> pa.Table:
    answer = one_array(views["answer"]).take(pa.array(rows))
    view = rows[np.repeat(np.arange(len(rows)), np.diff(bounds_of(answer)))]
    image = one_array(views["image_id"]).take(pa.array(view))
    return _answers(views, view, image, answer.flatten())


def _yes_no(views: pa.Table, rows: Ints) -> pa.Table:
    some = views.take(pa.array(rows))
    answer, asked = one_array(some["answer"]), one_array(some["class"])
    image = one_array(some["image_id"]).dictionary_encode()
    owner = np.asarray(image.indices)
    said = np.repeat(owner, np.diff(bounds_of(answer)))
    is_asked = np.asarray(asked.is_valid())
    known = pa.concat_arrays([answer.flatten(), asked.drop_null()]).dictionary_encode()
    names = known.dictionary
    code = np.asarray(known.indices).astype(np.int64)
    pairs = np.unique(np.concatenate([said, owner[is_asked]]) * len(names) + code)
    # Every view of an image answers about each class that anybody has said of it.
    first = np.searchsorted(pairs, np.arange(len(image.dictionary) + 1) * len(names))
    counts = np.diff(first)[owner]
    view = np.repeat(np.arange(len(some)), counts)
    place = np.arange(len(view)) - np.repeat(np.cumsum(counts) - counts, counts)
    pair = pairs[first[owner[view]] + place]
    saw = np.repeat(np.arange(len(some)), np.diff(bounds_of(answer))) * len(names)
    is_yes = np.isin(view * len(names) + pair % len(names), saw + code[: len(saw)])
    label = pa.array(["no", "yes"]).take(pa.array(is_yes.astype(np.int64)))
    parts = (
        image.dictionary.take(pa.array(pair // len(names))),
        names.take(pa.array(pair % len(names))),
    )
    return _answers(views, rows[view], pc.binary_join_element_wise(*parts, "/"), label)


def _answers(views: pa.Table, view: Ints, task: pa.Array, label: pa.Array) -> pa.Table:
    worker = one_array(views["worker_id"]).take(pa.array(view))
    return pa.table({"task": task, "worker": worker, "label": label, "view": pa.array(view)})
