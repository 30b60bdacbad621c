"""What a column and a table of a dataset are, before any is declared in schema.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from luab_data.tools import COCO_CLASSES


@dataclass(frozen=True, kw_only=True)
class Column:
    """One published column.

    Args:
        name: snake_case name.
        type: Arrow type on disk.
        doc: one sentence for the card, null meaning included where null is possible.
        unit: `px`, `ms`, `fraction` of the picture, ...; empty for plain counts and names.
        raw: key in the tool's log; None for derived columns.
        classes: set when the integers are labels: `wnid` or `own` (their names are the manifest's
            `classes`), or `coco`.
        group: of a list: lists of one group are equally long in every row, element beside element.
    """

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    raw: str | None = None
    classes: str | None = None
    group: str = ""

    @cached_property
    def field(self) -> pa.Field:
        """The Arrow field, unit and sentence in its metadata."""
        return pa.field(self.name, self.type, metadata={"unit": self.unit, "doc": self.doc})

    def class_names(self, classes: Sequence[str]) -> Sequence[str]:
        """Names of the labels of a column, by label; empty if its integers are no labels.

        Args:
            classes: those of the dataset's manifest.
        """
        if self.classes is None:
            return ()
        return COCO_CLASSES if self.classes == "coco" else classes


@dataclass(frozen=True, kw_only=True)
class Table:
    """One config of a dataset: its name, folder, the meaning of a row, its columns.

    `optional` columns are in a dataset only if `luab-data derive --columns` put them there.
    `rows_per_group` is the most rows of a row group of its files, where rows are larger than usual.
    """

    config: str
    folder: str
    row: str
    columns: tuple[Column, ...]
    optional: tuple[Column, ...] = ()
    rows_per_group: int | None = None

    def schema(self) -> pa.Schema:
        """The Arrow schema, in the published order, without any schema-level metadata."""
        return pa.schema([column.field for column in self.columns])

    def of(self, columns: Mapping[str, Any]) -> pa.Table:
        """An Arrow table of those of its columns that are given, in the published order."""
        known = (*self.columns, *self.optional)
        schema = pa.schema([column.field for column in known if column.name in columns])
        return pa.table([columns[name] for name in schema.names], schema)

    def __getitem__(self, name: str) -> Column:
        """The column of that name, optional ones included; KeyError names the table."""
        for column in (*self.columns, *self.optional):
            if column.name == name:
                return column
        raise KeyError(f"{self.config} has no column {name!r}")

    def parallel(self) -> tuple[tuple[str, ...], ...]:
        """Groups of lists that are equally long in every row, optional columns included."""
        groups: dict[str, list[str]] = {}
        for column in (*self.columns, *self.optional):
            groups.setdefault(column.group, []).append(column.name)
        groups.pop("", None)
        return tuple(tuple(names) for names in groups.values())

    def having(self, names: Sequence[str]) -> Table:
        """The same table with those optional columns that are in `names` after its own ones."""
        extra = tuple(column for column in self.optional if column.name in names)
        rest = tuple(column for column in self.optional if column not in extra)
        return replace(self, columns=(*self.columns, *extra), optional=rest)


def columns_of(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The columns of an Arrow table by their names."""
    return dict(zip(table.column_names, table.columns, strict=True))
