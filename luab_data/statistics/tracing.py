"""Every statistic and count of a tracing dataset: name, title, meaning, function.

What a log lacks counts nowhere: without times there is no speed, without people no interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial

import numpy as np
import pyarrow as pa

from luab_data.columns.traces import Approach
from luab_data.columns.tracing import trace
from luab_data.ragged import Floats, above_0, bounds_of, one_array
from luab_data.schema import QUANTILES
from luab_data.statistics import maps
from luab_data.statistics.estimate import Terms, grid_terms, mean_of, ratio, share
from luab_data.statistics.measure import (
    Count,
    Measure,
    Source,
    Statistics,
    TableBatch,
    fraction,
    hits,
    trials,
    workers,
)

_DEFINED = "docs/definitions.md#asked-for-traces"
_EVEN = (2**0.5 + np.log(1 + 2**0.5)) / 6
"""Mean distance from the centre of points spread evenly over a square of side 1."""


SECONDS = (0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Between the places of `time_distribution`; a duration that is one of them is of the longer."""
SPANS = (f"< {SECONDS[0]:g}", *(f"{low:g} to {2 * low:g}" for low in SECONDS[:-1]), "longer")


class ViewBatch(TableBatch):
    """Rows of `default`: what follows from the trace of each view."""

    columns = (
        *("image_id", "worker_id", "trace_length", "num_clicks", "outside_share", "path_length"),
        *("duration_ms", "hull_area", "centroid_x", "centroid_y", "last_point_x", "last_point_y"),
        *("trace_quantile_x", "trace_quantile_y"),
    )

    @cached_property
    def length(self) -> Floats:
        """(num_rows,) points of each view."""
        return self.floats("trace_length")

    @cached_property
    def time_ms(self) -> Floats:
        """(num_rows,) duration of each view; NaN if it is 0 or not known."""
        return above_0(self.floats("duration_ms"))

    def from_centre(self, name: str) -> Floats:
        """(num_rows, 2) a point less the picture's centre."""
        return np.stack([self.floats(f"{name}_{axis}") - 0.5 for axis in "xy"], axis=1)


class TraceBatch(TableBatch):
    """Rows of `traces`: the points of each view; the views count alike, however many it has."""

    columns = ("worker_id", "event", "event_time_ms", "event_x", "event_y")

    @cached_property
    def points(self) -> Approach:
        """The points of each view."""
        return trace(*(self.table[name] for name in self.columns[1:]))

    @cached_property
    def density(self) -> Floats:
        """(num_rows, MAP_CELLS**2) share of a view's points in each cell; NaN without any."""
        length = np.diff(self.points.bounds)
        row = np.repeat(np.arange(len(length)), length)
        place = row * maps.MAP_CELLS**2 + maps.map_cell(self.points.x, self.points.y)
        count = np.bincount(place, minlength=len(length) * maps.MAP_CELLS**2)
        return ratio(count.reshape(len(length), -1), length[:, None])


def _by_time(batch: ViewBatch) -> Terms:
    """Views by the span of their duration."""
    row = np.flatnonzero(~np.isnan(batch.time_ms))
    cell = np.digitize(batch.time_ms[row] / 1000, SECONDS)
    return mean_of(np.ones(len(row)), row=row, cell=cell)


def _offset(batch: ViewBatch, name: str) -> Terms:
    """A point less the centre, x in cell 0, y in cell 1."""
    offset = batch.from_centre(name)
    row = np.flatnonzero(~np.isnan(offset[:, 0]))
    return grid_terms(offset[row], row=row)


def _along(batch: ViewBatch) -> Terms:
    """Distance from the centre at each trace quantile."""
    row = np.flatnonzero(np.diff(bounds_of(batch.table["trace_quantile_x"])))
    x, y = (
        batch.elements(f"trace_quantile_{axis}").reshape(-1, len(QUANTILES)) - 0.5 for axis in "xy"
    )
    return grid_terms(np.hypot(x, y), row=row)


def _density(batch: TraceBatch) -> Terms:
    row = np.flatnonzero(batch.points.has_click)
    found = batch.density[row]
    return grid_terms(found, found, row=row)


def _slim(batch: ViewBatch) -> pa.Table:
    """What is kept of each view: which image it is of."""
    return pa.table({"image_id": one_array(batch.table["image_id"]).dictionary_encode()})


def _images(views: pa.Table) -> TableBatch:
    """All images, a row each: `num_views`; nobody's."""
    ids = one_array(views["image_id"]).indices.to_numpy(zero_copy_only=False)
    count = np.bincount(ids)
    nobody = pa.nulls(len(count), pa.string())
    return TableBatch(pa.table({"worker_id": nobody, "num_views": count}))


_SOURCES = (
    Source("views", "default", ViewBatch,
           counted=("image_id", "worker_id", "trace_length", "outside_share"),
           slim=_slim, whole={"images": _images}),
    Source("traces", "traces", TraceBatch, counted=()),
)  # fmt: skip

_views, _traces = (partial(Measure, source=_DEFINED, over=over) for over in ("views", "traces"))
_from_centre = partial(_views, unit="picture sizes", axes=maps.XY, null=0.0,
                       null_doc="points scatter evenly about the centre")  # fmt: skip

TRACING_MEASURES: tuple[Measure, ...] = (
    _views("traced_share", "views with a trace", "views with any point, over all views",
           terms=lambda b: mean_of(b.length > 0)),
    _views("time_view_ms", "time on a view", "median duration of a view, of those above 0",
            unit="ms", values=lambda b: b.time_ms),
    _views("time_distribution", "times on a view", "views by their duration, of those above 0",
           axes=(("s", SPANS),), finish=share, terms=_by_time),
    _views("points_per_view", "points of a view", "median points of a view that has any",
            unit="points", values=lambda b: above_0(b.length)),
    _views("clicks_per_view", "clicks of a view",
            "median clicks and adds of a view, of those that have any",
            unit="clicks", values=lambda b: above_0(b.floats("num_clicks"))),
    _views("point_rate", "points a second",
            "median of the points of a view less one, over its duration",
            unit="points a second",
            values=lambda b: above_0(b.length - 1) / (b.time_ms / 1000)),
    _views("path_length", "path of a view",
            "median path length of a view of two points or more",
            unit="picture sizes", values=lambda b: above_0(b.floats("path_length"))),
    _views("speed", "speed", "median of a view's path length over its duration",
            unit="picture sizes a second",
            values=lambda b: above_0(b.floats("path_length")) / (b.time_ms / 1000)),
    _views("outside_share", "points off the picture", "points off the picture, over all points",
           terms=lambda b: mean_of(b.floats("outside_share"))._replace(
               part=(b.floats("outside_share") * b.length)[b.length > 0],
               whole=b.length[b.length > 0])),
    _views("hull_area", "area of a trace", "mean area of the hull of a view's points",
           unit="picture areas", terms=lambda b: mean_of(b.floats("hull_area"))),
    _from_centre("centroid_offset", "centroid from the centre",
                 "mean centroid of a view less the picture's centre, in its sizes, y down",
                 terms=lambda b: _offset(b, "centroid")),
    _from_centre("last_point_offset", "last point from the centre",
                 "mean last point of a view less the picture's centre, likewise",
                 terms=lambda b: _offset(b, "last_point")),
    _views("centre_distance", "distance from the centre, along the trace",
           "mean distance of the point at quantile q of a view's points from the picture's centre",
           unit="picture sizes", axes=(("quantile", QUANTILES),), terms=_along,
           null=float(_EVEN), null_doc="points spread evenly over the picture"),
    _traces("point_density", "where points are",
            "points by cell, those off the picture in the cells at its border; views count alike",
            axes=maps.PICTURE, finish=share, terms=_density),
    _traces("central_cell_share", "points in the central cell",
            "share of a view's points in the central of 11 x 11 cells, mean over views",
            terms=lambda b: mean_of(b.density[:, maps.MAP_CELLS**2 // 2]),
            null=1 / maps.MAP_CELLS**2, null_doc="points spread evenly"),
    Measure("views_per_image", "views of an image", "mean number of views of an image",
            _DEFINED, lambda b: mean_of(b.floats("num_views")), over="images", unit="views"),
)  # fmt: skip

_taken = {m.name: m for m in TRACING_MEASURES}

_COUNTS: Mapping[str, Count] = {
    "num_views": Count("views: an image shown once to one annotator", _taken["traced_share"],
                       trials),
    "num_images": Count("images", _taken["views_per_image"], trials),
    "num_workers": Count("annotators", _taken["traced_share"], workers),
    "num_traced": Count("views with a trace", _taken["traced_share"], hits),
    "num_points": Count("points of all traces", _taken["outside_share"], trials),
    "outside_share": fraction("share of the points that are off the picture",
                              _taken["outside_share"]),
}  # fmt: skip

TRACING_STATISTICS = Statistics(
    counts=_COUNTS, measures=TRACING_MEASURES, sources=_SOURCES, printed={}
)
