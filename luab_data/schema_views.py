"""Views as tables: one image shown once to one annotator, whatever tool logged it.

VIEWS is what every reader of somebody's log gives. A tracing dataset (a person moved, pointed or
looked over a picture because asked to) has a row a view: TRACING_TRACES holds all that VIEWS says,
TRACING_VIEWS what follows from it.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from luab_data.table import Column, Table

_S, _B = pa.string(), pa.bool_()
_I16, _I32, _I64, _F = pa.int16(), pa.int32(), pa.int64(), pa.float64()


def _c(name: str, type: pa.DataType, doc: str, unit: str = "") -> Column:
    return Column(name=name, type=type, doc=doc, unit=unit)


def _event(name: str, type: pa.DataType, doc: str, unit: str = "") -> Column:
    return Column(name=name, type=pa.list_(type), doc=doc, unit=unit, group="event")


VIEWS = Table(
    config="views",
    folder="views",
    row="image shown once to one annotator",
    columns=(
        _c("image_id", _S, "Id of the picture, unique within its class; never null"),
        _c("image_file", _S, "Its file, as the tool had it"),
        _c("width", _I32, "Width of the file as the annotator saw it (turned as EXIF says)", "px"),
        _c("height", _I32, "Height of the file, likewise", "px"),
        _c("label", _S, "Class that was asked for, or that the picture is of"),
        _c("labels", pa.list_(_S), "Classes that were offered"),
        _c("prompt", _S, "What was asked, in words"),
        _c("answer", _S, "What was answered, in words"),
        _c("selected", _B, "Whether the picture ended selected; null where nothing was selected"),
        _c("shown_x", _F, "Left edge of the picture on the page", "px"),
        _c("shown_y", _F, "Top edge of the picture on the page", "px"),
        _c("shown_width", _F, "Width of the picture on the page", "px"),
        _c("shown_height", _F, "Height of the picture on the page", "px"),
        _c("viewport_width", _F, "Width of the window's inside", "px"),
        _c("viewport_height", _F, "Height of the window's inside", "px"),
        _c("pixel_ratio", _F, "Pixels of the device to one of the page"),
        _c("session", _S, "One annotator's answer to one task, from opening to submitting"),
        _c("task", _S, "The task of several pages (a HIT) that the session answers"),
        _c("page", _I16, "Page of the task, from 0"),
        _c("slot", _I16, "Place on the page, from 0"),
        _c("arm", _S, "Arm of an experiment that the session is in"),
        _c("page_wall_ms", _I64, "From the first event of the page to its last; of all its"
           " pictures", "ms"),
        _c("page_visible_ms", _I64, "Of that, while the page had the attention of the window",
           "ms"),
        _c("page_active_ms", _I64, "Of that, without what is beyond 10 s after an event", "ms"),
        _c("annotator", _S, "Who it was, not hashed yet: no table that is written has it"),
        _c("epoch_ms", _I64, "When the session's clock stood at 0", "epoch ms"),
        _event("event", pa.int8(), "Type of each event, a position in EVENTS, in their order"),
        _event("event_time_ms", _I64, "When, by the session's clock; null elements if not known",
               "ms"),
        _event("event_x", _F, "Where on the picture; null elements for events without a place; x",
               "fraction"),
        _event("event_y", _F, "Likewise; y", "fraction"),
        _event("event_from_x", _F, "Where a label was before; x; the list is null if none is"
               " known", "fraction"),
        _event("event_from_y", _F, "Likewise; y", "fraction"),
        _event("event_label", _S, "Class of a label, a superclass, a key, a word; the list is null"
               " if no event has one"),
        _event("event_state", _B, "Whether the picture is selected after a click; the list is null"
               " if no event has one"),
        _event("event_duration_ms", _I64, "How long a fixation or a word took; the list is null if"
               " no event has one", "ms"),
        _event("event_pointer", _S, "mouse, touch, pen, eye or keyboard; the list is null if not"
               " known of any"),
    ),
)  # fmt: skip
"""The table that every reader of a log gives. Lists of one view are equally long, or null."""

OPTIONAL_LISTS = (
    *("event_from_x", "event_from_y", "event_label", "event_state", "event_duration_ms"),
    "event_pointer",
)
"""Lists that are null in a view where no event has a value."""

# --- tables of a tracing dataset ------------------------------------------------------------------

_ID = (
    replace(VIEWS["image_id"], raw="image/id", doc="Id of the picture; several views may have it"),
    Column(name="view", type=_I32, raw="image/id",
           doc="1 for the image's first view in the log, then 2, ..."),
)  # fmt: skip
_WORKER = _c("worker_id", _S, "Keyed hash of the annotator's id; null if not in the log")
_EVENT_NAMES = _event("event", _S, "Type of each event, in their order: move, click, fixation, ...")


def _logged(column: Column) -> Column:
    """A column of VIEWS in the table of traces."""
    found = _EVENT_NAMES if column.name == "event" else column
    return replace(
        found, raw=column.name, group="" if column.name in OPTIONAL_LISTS else column.group
    )


TRACING_TRACES = Table(
    config="traces",
    folder="traces",
    row="view: all that was logged of it",
    columns=(
        *_ID,
        *(_logged(c) for c in VIEWS.columns if c.name not in ("image_id", "annotator")),
        replace(_WORKER, raw="annotator"),
    ),
    rows_per_group=512,
)

_POINTS = "events with a place that are a move, fixation, click or add"


def _xy(name: str, doc: str, *, group: str = "") -> tuple[Column, ...]:
    make = _c if not group else _event
    both = (make(f"{name}_{axis}", _F, f"{doc}; {axis}", "fraction") for axis in "xy")
    return tuple(replace(column, group=group) for column in both)


TRACING_VIEWS = Table(
    config="default",
    folder="data",
    row="view: one image shown once to one annotator, and what follows from its trace",
    columns=(
        *_ID,
        *(VIEWS[n] for n in ("image_file", "label", "prompt", "answer", "width", "height")),
        _c("trace_length", _I32, f"Points of the trace: {_POINTS}"),
        _c("num_clicks", _I32, "Clicks and adds; null if there are points but no such event: the"
           " tool need not log them"),
        *_xy("first_point", "First point of the trace; null without any"),
        *_xy("last_point", "Last point of the trace; null without any"),
        *_xy("centroid", "Mean of the points; null without any"),
        _c("outside_share", _F, "Points off the picture / points; null without any"),
        _c("path_length", _F, "Sum of the steps from point to point, x in widths and y in heights"
           " of the picture; null without any", "fraction"),
        _c("duration_ms", _I64, "From the first event to the end of the last one; null if no event"
           " has a time", "ms"),
        *_xy("trace_quantile", "Point floor(q (m - 1)) of the m points, q = 0, .1, ... 1; null"
             " without any", group="trace_quantile"),
        *_xy("time_quantile", "Last point at or before t0 + q (t1 - t0), t0 and t1 the times of the"
             " first and the last; null without any, or if one has no time",
             group="time_quantile"),
        *_xy("hull", "Convex hull of the points, counter-clockwise on screen from its leftmost one,"
             " not closed; 1 or 2 points if degenerate; null without any", group="hull"),
        _c("hull_area", _F, "Area of that hull; 0 if degenerate; null without points",
           "fraction of the picture's area"),
        _WORKER,
        *(VIEWS[n] for n in ("session", "task", "page", "slot", "arm", "epoch_ms")),
    ),
)  # fmt: skip

TRACING_ANNOTATORS = Table(
    config="annotators",
    folder="annotators",
    row="worker",
    columns=(
        _c("worker_id", _S, "Keyed hash of the annotator's id"),
        _c("num_sessions", _I32, "Sessions; 0 if the log names none"),
        _c("num_views", _I64, "Images shown, counted once a view"),
        _c("num_traced", _I64, "Of those, with any point"),
        _c("median_duration_ms", _F, "Median duration of a view, of those above 0; null without"
           " any", "ms"),
        _c("median_trace_length", _F, "Median points of a view"),
        _c("mean_offset_x", _F, "Mean centroid less the picture's centre; null without points; x",
           "fraction"),
        _c("mean_offset_y", _F, "Likewise; y", "fraction"),
        _c("mean_outside_share", _F, "Mean share of points off the picture; null without points"),
    ),
)  # fmt: skip
