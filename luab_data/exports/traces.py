"""What other tools draw of a view of a tracing dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from luab_data.boxes import Frame
from luab_data.exports.keypoints import Line, Marked, PointFormat, approaches, as_point


def last_points(row: Mapping[str, Any], frame: Frame) -> Iterator[Marked]:
    """Where a trace that was asked for ended."""
    if (point := as_point(row["last_point_x"], row["last_point_y"])) is not None:
        yield Marked(0, point)


def ways(row: Mapping[str, Any]) -> Iterator[Line]:
    """A trace at tenths of its points, and the hull of all of them."""
    return approaches({**row, "label": 0})


TRACING = PointFormat(
    point="last_point",
    columns=(
        *("image_id", "view", "last_point_x", "last_point_y"),
        *("trace_quantile_x", "trace_quantile_y", "hull_x", "hull_y"),
    ),
    categories=lambda names: [{"id": 1, "name": "trace", "supercategory": ""}],
    marks=last_points,
    lines=ways,
)
