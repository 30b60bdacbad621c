"""What a verb returns is a small frozen object with a table in it: this gives it its faces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from html import escape
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import pandas

_SHOWN = 20  # rows in a notebook; the rest is in to_frame()


class Tabular(ABC):
    """A result with a natural table.

    Subclasses are frozen dataclasses with a one-line `__repr__`.
    """

    @abstractmethod
    def to_table(self) -> pa.Table:
        """The result as an Arrow table."""

    def to_frame(self) -> pandas.DataFrame:
        """The result as a pandas DataFrame; needs pandas."""
        frame: pandas.DataFrame = self.to_table().to_pandas()
        return frame

    def _repr_html_(self) -> str:
        """For notebooks: one line of words, then the first rows."""
        table = self.to_table()
        head = "".join(f"<th>{escape(name)}</th>" for name in table.column_names)
        rows = "".join(
            "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>"
            for row in table.slice(0, _SHOWN).to_pylist()
        )
        more = f"<p>and {len(table) - _SHOWN:,} rows more</p>" if len(table) > _SHOWN else ""
        return f"<p>{escape(repr(self))}</p><table><tr>{head}</tr>{rows}</table>{more}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))
