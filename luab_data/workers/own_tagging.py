"""What every annotator of a tagging log of somebody's own did: all views count, deciding or not.

What is judged by masks, and recall, is known of the views that decide: only those are in `default`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from luab_data.columns.coco import HISTORY
from luab_data.workers import coco
from luab_data.workers.observations import Collector, Observations
from luab_data.workers.traits import WorkerMeasures

if TYPE_CHECKING:
    from luab_data.kinds import OwnTagging

_OF_VIEW = ("worker_id", "hit_id", "page_id", "time_spent_ms")
_DERIVED = ("icon_label", "is_present_at_end", "action_sequence")
_EVENT_COLUMNS = (*_OF_VIEW, *HISTORY, "category_histories_using_keyboard")


def collect(
    kind: OwnTagging, images: Iterable[pa.Table], actions: Iterable[pa.Table]
) -> tuple[list[str], dict[str, Observations]]:
    """Slim rows of a dataset, as coco.collect; `judged` are the icons of deciding views."""
    found = Collector()
    for batch in actions:
        history = {f"actions.{name}": batch[name] for name in HISTORY}
        given = {**history, "classes": kind.vocabulary.names}
        derived = kind.derivation.registry.compute(_DERIVED, given)
        none = pa.nulls(len(batch), pa.list_(pa.int64()))
        view = pa.table({**{name: batch[name] for name in _OF_VIEW}, **derived, "labels": none})
        rows = coco.image_rows(view)
        coco.add(found, view, {name: rows[name] for name in ("pages", "icons")})
        coco.add_steps(found, batch)
    for batch in images:
        rows = coco.image_rows(batch)
        coco.add(found, batch, {name: rows[name] for name in ("judged", "classes")})
    return found.collected()


def workers(kind: OwnTagging) -> WorkerMeasures:
    """Without steps between superclasses where the vocabulary has none."""
    of_coco = coco.WORKERS
    has_steps = len(kind.vocabulary.superclasses) > 1
    gather = partial(collect, kind)
    return replace(
        of_coco,
        event_columns=_EVENT_COLUMNS,
        collect=gather,
        traits=tuple(t for t in of_coco.traits if has_steps or t.over != "steps"),
        shown=tuple(name for name in of_coco.shown if has_steps or name != "keyboard_share"),
        table_columns=(coco.IMAGE_COLUMNS, _EVENT_COLUMNS),
        table=lambda images, actions: coco.annotator_table(*gather(images, actions)),
    )
