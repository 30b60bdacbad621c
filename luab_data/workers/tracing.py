"""What every annotator of a tracing dataset did, as traits, and the table `annotators`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from luab_data.ragged import Ints, above_0, floats
from luab_data.schema_views import TRACING_ANNOTATORS
from luab_data.statistics.estimate import ratio
from luab_data.workers.observations import Collector, Observations, owner_table
from luab_data.workers.pooling import Suspicion, all_of, together
from luab_data.workers.traits import Trait, WorkerMeasures

VIEW_COLUMNS = (
    *("worker_id", "session", "trace_length", "centroid_x", "centroid_y", "outside_share"),
    *("path_length", "duration_ms", "hull_area"),
)


def collect(
    views: Iterable[pa.Table], traces: Iterable[pa.Table]
) -> tuple[list[str], dict[str, Observations]]:
    """Slim rows of a tracing dataset.

    Args:
        views: batches of `default` with VIEW_COLUMNS. traces: not read.

    Returns: worker ids, sorted; and `views`.
    """
    found = Collector()
    for batch in views:
        time_ms, length = (above_0(floats(batch[n])) for n in ("duration_ms", "trace_length"))
        columns = {
            "time_ms": time_ms,
            "length": length,
            "empty": np.isnan(length).astype(np.float64),
            "offset_x": floats(batch["centroid_x"]) - 0.5,
            "offset_y": floats(batch["centroid_y"]) - 0.5,
            "outside": floats(batch["outside_share"]),
            "hull_area": floats(batch["hull_area"]),
            "speed": above_0(floats(batch["path_length"])) / (time_ms / 1000),
        }
        found.add("views", batch["worker_id"], columns, batch["session"])
    return found.collected()


TRAITS: tuple[Trait, ...] = (
    Trait("view_time_ms", "median duration of a view",
          over="views", of=("time_ms",), scale="log", unit="ms"),
    Trait("points_per_view", "median points of a trace that has any",
          over="views", of=("length",), scale="log", unit="points"),
    Trait("speed", "median path length of a view over its duration",
          over="views", of=("speed",), scale="log", unit="picture sizes a second"),
    Trait("outside_share", "mean share of points off the picture",
          over="views", of=("outside",), scale="mean"),
    Trait("empty_share", "views without a point",
          over="views", of=("empty",), scale="share"),
    Trait("mean_hull_area", "mean area of the hull of a trace",
          over="views", of=("hull_area",), scale="mean", unit="picture areas"),
    Trait("offset_x", "mean centroid from the picture's centre, to the right",
          over="views", of=("offset_x",), scale="mean", unit="picture widths"),
    Trait("offset_y", "mean centroid from the picture's centre, downwards",
          over="views", of=("offset_y",), scale="mean", unit="picture heights"),
    Trait("centroid_spread", "spread of centroids along an axis, around their mean",
          over="views", of=("offset_x", "offset_y"), scale="square", unit="picture sizes"),
)  # fmt: skip

SUSPICIONS: tuple[Suspicion, ...] = (
    Suspicion("hasty", "behaviour", together,
              "short, and few points",
              ({"view_time_ms": -1}, {"points_per_view": -1})),
    Suspicion("careless", "behaviour", all_of,
              "points off the picture",
              ({"outside_share": 1},)),
    Suspicion("centre_clicking", "behaviour", together,
              "traces that stay small, around one place of every picture",
              ({"mean_hull_area": -1}, {"centroid_spread": -1})),
)  # fmt: skip


def counts(rows: Mapping[str, Observations]) -> dict[str, Ints]:
    """Counts of each worker: (num_workers,) each."""
    views = rows["views"]
    return {
        "num_sessions": views.num_hits(),
        "num_views": views.count(),
        "num_traced": views.count(views["length"]),
    }


def table(views: Iterable[pa.Table], traces: Iterable[pa.Table]) -> pa.Table:
    """TRACING_ANNOTATORS, sorted by worker_id, from batches of `default` with VIEW_COLUMNS."""
    names, found = collect(views, ())
    rows = found["views"]
    traced = rows.count(rows["length"])
    numbers = {
        **counts(found),
        "median_duration_ms": rows.median(rows["time_ms"]),
        "median_trace_length": rows.median(np.nan_to_num(rows["length"])),
        "mean_offset_x": ratio(rows.sum(rows["offset_x"]), traced),
        "mean_offset_y": ratio(rows.sum(rows["offset_y"]), traced),
        "mean_outside_share": ratio(rows.sum(rows["outside"]), traced),
    }
    return owner_table(names, numbers, TRACING_ANNOTATORS.schema())


WORKERS = WorkerMeasures(
    image_columns=VIEW_COLUMNS,
    event_columns=(),
    collect=collect,
    counts=counts,
    traits=TRAITS,
    suspicions=SUSPICIONS,
    shown=("view_time_ms", "points_per_view", "outside_share", "speed", "mean_hull_area"),
    table_columns=(VIEW_COLUMNS, ()),
    table=table,
)
