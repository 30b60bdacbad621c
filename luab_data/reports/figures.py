"""The figures of a dataset as images inside a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from luab_data.figures import drawable, png, svg
from luab_data.reports.thumbnails import as_data_uri
from luab_data.statistics.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SVG_BYTES = 150_000
"""Larger drawings (maps of many cells) are embedded as PNG, twice as dense as a screen."""

_PX_PER_INCH = 96


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure: its key, words, data URI and size in CSS px."""

    key: str
    title: str
    caption: str
    src: str
    width: int
    height: int


def pictures(
    kind: str, estimates: Mapping[str, Estimate], tables: Mapping[str, pa.Table]
) -> tuple[Picture, ...]:
    """Every figure of the dataset for which there is what it needs.

    Args:
        kind: `imagenet-ab` or `coco-ab`.
        estimates, tables: as luab_data.figures.drawable takes them.
    """
    return tuple(
        picture(key, planned.title, planned.caption, planned.draw(estimates, tables))
        for key, planned in drawable(kind, estimates, tables).items()
    )


def picture(key: str, title: str, caption: str, figure: Figure) -> Picture:
    """A drawn figure, as SVG unless that is large."""
    width, height = (round(float(side) * _PX_PER_INCH) for side in figure.get_size_inches())
    drawing = svg(figure).encode()
    if len(drawing) <= MOST_SVG_BYTES:
        src = as_data_uri(drawing, "image/svg+xml")
    else:
        figure.set_dpi(2.5 * _PX_PER_INCH)
        src = as_data_uri(png(figure), "image/png")
    return Picture(key=key, title=title, caption=caption, src=src, width=width, height=height)
