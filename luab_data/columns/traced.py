"""`default` of a tracing dataset, from its traces: which function gives which column."""

from __future__ import annotations

import pyarrow as pa

from luab_data.columns import traces, tracing
from luab_data.columns.registry import Derived, Registry, Step
from luab_data.columns.rounds import as_logged
from luab_data.schema_views import TRACING_TRACES, TRACING_VIEWS

_LOGGED = (
    *("image_file", "label", "prompt", "answer", "width", "height"),
    *("worker_id", "session", "task", "page", "slot", "arm", "epoch_ms"),
)
_OF_TRACES = (
    (("trace_length",), tracing.trace_length),
    (("first_point_x", "first_point_y"), tracing.first_point),
    (("last_point_x", "last_point_y"), tracing.last_point),
    (("centroid_x", "centroid_y"), tracing.centroid),
    (("outside_share",), tracing.outside_share),
    (("path_length",), tracing.path_length),
    (("trace_quantile_x", "trace_quantile_y"), traces.trace_quantile),
    (("time_quantile_x", "time_quantile_y"), tracing.by_time),
    (("hull_x", "hull_y", "hull_area"), tracing.hulls),
)
_POINTS = ("traces.event", "traces.event_time_ms", "traces.event_x", "traces.event_y")
_TIMES = ("traces.event_time_ms", "traces.event_duration_ms")

TRACING = Registry(
    table=TRACING_VIEWS,
    derived=(
        *(Derived((name,), as_logged, (f"traces.{name}",)) for name in _LOGGED),
        *(Derived(names, function, ("visit",)) for names, function in _OF_TRACES),
        Derived(("num_clicks",), tracing.num_clicks, ("traces.event", "visit")),
        Derived(("duration_ms",), tracing.duration_ms, _TIMES),
    ),
    steps={"visit": Step(tracing.trace, _POINTS)},
)
"""Derived columns of `default`."""

TRACES = Registry(TRACING_TRACES, (), {})
"""Derived columns of `traces`: none."""


def view_table(rows: pa.Table) -> pa.Table:
    """TRACING_VIEWS from TRACING_TRACES."""
    names = TRACING.names()
    raw = {c.name: rows[c.name] for c in TRACING_VIEWS.columns if c.raw}
    return TRACING_VIEWS.of({**raw, **TRACING.compute(names, TRACING.logged(names, rows))})
