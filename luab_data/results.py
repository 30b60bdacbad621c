"""What a verb returns is a small frozen object with a table in it: its faces, and its file."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import OptionError
from luab_data.files import ALREADY, Target, new_file

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

    def shown_table(self) -> pa.Table:
        """What of it a notebook shows: all columns, unless a subclass says fewer."""
        return self.to_table()

    def _repr_html_(self) -> str:
        """For notebooks: one line of words, then the first rows."""
        table = self.shown_table()
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


@contextmanager
def new_table(
    out: str | os.PathLike[str] | None,
    *,
    verb: str,
    first: str,
    formats: Sequence[str] = (".csv", ".json", ".parquet"),
    force: bool = False,
) -> Iterator[Callable[[pa.Table], Target | None]]:
    """A file for one table, CSV, JSON (a list of records) or Parquet by its name.

    Refuses what cannot be written before the table is made; the file is there when the block ends.
    Where the same is there already, a line on stderr says so.

    Args:
        out: the file; see files.new_file for what is replaced. None: nothing is written.
        verb: who writes it, e.g. `luab-data annotators`.
        first: the table's first column, by which an earlier CSV or JSON file is known as ours.
        formats: suffixes that are allowed.
        force: replace an earlier file of the verb.
    Yields: what writes the table, whose lists of strings are joined by `; ` in CSV.

    Raises:
        OptionError: `out` ends in no such suffix. OutputError: as files.new_file.
    """
    if out is None:
        yield lambda table: None
        return
    suffix = Path(out).suffix
    if suffix not in formats:
        raise OptionError(f"{out}: ends in {suffix!r}; expected {' or '.join(formats)}")
    mark = {".csv": f'"{first}",', ".json": f'[\n{{"{first}":', ".parquet": verb}[suffix].encode()
    with new_file(out, mark=mark, force=force) as target:

        def write(table: pa.Table) -> Target:
            if suffix == ".parquet":
                import pyarrow.parquet as pq

                about = {**(table.schema.metadata or {}), "written_by": verb}
                pq.write_table(table.replace_schema_metadata(about), target.path)
            elif suffix == ".json":
                lines = (json.dumps(row, allow_nan=False) for row in table.to_pylist())
                text = "[\n" + ",\n".join(lines) + "\n]\n"
                target.path.write_text(text, encoding="utf-8")
            else:
                from pyarrow import csv

                csv.write_csv(_flat(table), target.path)
            return target

        yield write
    if target.same:
        click.echo(f"{out}: {ALREADY}", err=True)


def _flat(table: pa.Table) -> pa.Table:
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            joined = pc.binary_join(table[place].combine_chunks(), "; ")
            table = table.set_column(place, field.name, joined)
    return table
