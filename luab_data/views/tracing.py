"""Views of a tracing log -> rows of `traces` and of `default`, one of each a view."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from luab_data.batches import Batch
from luab_data.columns.traced import view_table
from luab_data.pipeline import in_order, num_threads
from luab_data.ragged import Ints, bounds_of, list_array, one_array
from luab_data.schema_views import TRACING_TRACES
from luab_data.table import columns_of
from luab_data.views import EVENTS, Conversion, FromViews


def _batches(tables: Iterator[pa.Table], conversion: Conversion) -> Iterator[Batch]:
    """All views of a log in its order, some at a time.

    Args:
        tables: (num_views,) VIEWS with `worker_id` in the place of `annotator`.
    """
    return in_order(_batch, tables, num_threads())


def _batch(views: pa.Table) -> Batch:
    """Rows of some views, whose `view` is 0 until pipeline.write_shards counts those of each image.

    Args:
        views: (num_views,) VIEWS with `worker_id` in the place of `annotator`.
    """
    event = one_array(views["event"])
    names = pa.array(EVENTS).take(event.flatten())
    traces = TRACING_TRACES.of(
        {
            **columns_of(views),
            "view": pa.array(np.zeros(len(views), np.int32)),
            "event": list_array(names, bounds_of(event)),
        }
    )
    return Batch(
        images=view_table(traces),
        events=traces,
        bounds=np.arange(len(traces) + 1),
        places=np.arange(len(traces)),
        names=[f"view {place}" for place in range(len(traces))],
        errors=[],
        unknown=[],
        repaired={},
    )


def _class_names(views: pa.Table) -> tuple[Ints, pa.Array]:
    """None: what was asked for is a text, not one of a list of classes."""
    return np.zeros(0, np.int64), pa.array([], pa.string())


TRACING = FromViews(_class_names, _batches)
