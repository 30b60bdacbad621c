"""[I/O] Opening a dataset folder: with Hugging Face `datasets`, or as one Arrow table."""

from __future__ import annotations

import atexit
import gc
import glob
import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.errors import DatasetError, OptionError
from luab_data.files import MANIFEST
from luab_data.kinds import tables_of
from luab_data.schema import Table
from luab_data.store.folder import check_files, folder_state, read_columns, read_manifest
from luab_data.words import did_you_mean, near

if TYPE_CHECKING:
    import datasets

HOME_VARIABLE = "LUAB_DATA_HOME"

Condition: TypeAlias = "tuple[str, str, Any]"
Filters: TypeAlias = "Sequence[Condition] | Sequence[Sequence[Condition]]"
"""`[("selected", "==", True), ...]`, all of which must hold, or a list of such lists, one of which
must; operators `= == != < > <= >= in`, `not in`. Null matches nothing but `not in`."""

_IGNORED = {
    "revision": "a local folder has no revisions",
    "data_files": "the card names the files of each config; use read_table, pandas or polars",
    "data_dir": "the card names the files of each config; use read_table, pandas or polars",
}


def find_dataset(name_or_path: str | os.PathLike[str], *, whole: bool = True) -> Path:
    """The folder of a dataset: the path itself, else that name under $LUAB_DATA_HOME.

    Args:
        name_or_path: a folder, or a name.
        whole: ask whether the files of the manifest are there, and no others.

    Raises:
        DatasetError: neither is a dataset, files of it are missing, or there are more shards than
            its own; says where it looked and what it found there.
    """
    tried = [Path(name_or_path).expanduser()]
    if home := os.environ.get(HOME_VARIABLE):
        tried.append(Path(home).expanduser() / name_or_path)
    for folder in tried:
        if (folder / MANIFEST).is_file():
            if whole:
                check_files(folder)
            return folder
    looked = "; ".join(f"{folder} {folder_state(folder)}" for folder in dict.fromkeys(tried))
    raise DatasetError(
        f"no dataset {os.fspath(name_or_path)!r}: {looked}.{_similar(tried)} Write one with"
        f" `luab-data convert`, or set {HOME_VARIABLE} to the folder that holds it"
    )


def _similar(tried: Sequence[Path]) -> str:
    """The datasets of nearly that name, as a question."""
    there = {p.parent.name for folder in tried for p in folder.parent.glob(f"*/{MANIFEST}")}
    similar = near(tried[0].name, sorted(there))
    return f" Did you mean {' or '.join(similar)}?" if similar else ""


def load_dataset(
    name_or_path: str | os.PathLike[str],
    config: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    filters: Filters | None = None,
    verify: bool = True,
    **options: Any,
) -> datasets.DatasetDict | datasets.Dataset:
    """`datasets.load_dataset` of a folder written by luab; never asks the Hub for it.

    Args:
        name_or_path: a folder, or a name under $LUAB_DATA_HOME.
        config: `default`, `rounds` (or `actions`), `annotators`; None is `default`.
        columns: read only these, in this order; their features are kept. `datasets` before 3 cannot
            do that by itself when the card has features.
        filters: read only rows that match; see Filters. Works map-style and streaming, and needs
            `datasets` 3.2 or later. The counts of the card are not compared then, so the file
            checksums of `verify` are the only check.
        verify: compare the checksums of the config's files first (about 1 s a gigabyte, streaming
            too), since `datasets` serves damaged pages without a word.
        options: passed on: split, streaming, cache_dir, num_proc, ... Close a stream that is not
            read to its end: a process that ends while one reads ahead may abort.

    Raises:
        DatasetError: not there or not whole, damaged, no such config or column, or a file in it
            that `datasets` would run instead of reading the rows.
        OptionError: an option that `datasets` would ignore for a folder, or filters with a release
            that has none.
    """
    for name, reason in _IGNORED.items():
        if name in options:
            raise OptionError(f"load_dataset does not take {name}: {reason}")
    folder, table = _find_config(name_or_path, config)
    _check_no_script(folder)
    wanted = _known_columns(folder, table, columns)
    if verify:
        check_files(folder, table)
    import datasets  # a second to import, and only needed here

    if options.get("streaming"):
        atexit.register(_let_readers_end)
    path = str(folder.resolve())
    if path != glob.escape(path):
        raise DatasetError(
            f"{path}: `datasets` takes {' or '.join('[*?')} in a path for a pattern; rename the"
            " folder, or use luab_data.read_table"
        )
    if wanted is not None:
        cache_dir = options.get("cache_dir")
        known = datasets.load_dataset_builder(path, table.config, cache_dir=cache_dir).info.features
        options["columns"] = wanted
        options.setdefault("features", datasets.Features({name: known[name] for name in wanted}))
    if filters is not None:
        options["filters"] = _disjunction(filters)
        _check_filters(folder, table, options["filters"])
        # The card counts all rows, and a map-style load compares: NonMatchingSplitsSizesError.
        options.setdefault("verification_mode", "no_checks")
    return datasets.load_dataset(path, table.config, **options)


def _let_readers_end() -> None:
    """Give pyarrow's threads a moment: a stream that was left in the middle, as by
    `next(iter(stream))`, still reads ahead, and the process aborts if it ends meanwhile.
    """
    gc.collect()
    time.sleep(0.2)
    atexit.unregister(_let_readers_end)


def read_table(
    name_or_path: str | os.PathLike[str],
    config: str | None = None,
    *,
    columns: Sequence[str] | None = None,
    filters: Filters | None = None,
) -> pa.Table:
    """One config as an Arrow table in memory, with pyarrow alone: no `datasets`, no cache.

    The light way to a few columns, also of lists: `read_table("imagenet-ab", columns=["label",
    "final_click_x"]).to_pandas()`. Page checksums are verified; files that are not read are not.

    Args:
        name_or_path: a folder, or a name under $LUAB_DATA_HOME.
        config: `default`, `rounds` (`actions`) or `annotators`; None is `default`.
        columns: read only these, in this order; None reads all.
        filters: keep only rows that match; see Filters. Their columns need not be among `columns`.

    Raises:
        DatasetError: not there or not whole, a file is damaged, no such config or column.
        OptionError: a condition that makes no sense for its column.
    """
    folder, table = _find_config(name_or_path, config)
    wanted = _known_columns(folder, table, columns) or _columns(folder, table)
    groups = None if filters is None else _disjunction(filters)
    names = [condition[0] for group in groups or [] for condition in group]
    needed = _known_columns(folder, table, [*wanted, *names]) or []
    parts = read_columns(folder, table, needed)
    if groups is None:
        return pa.concat_tables(parts)
    return pa.concat_tables(_kept(part, groups).select(wanted) for part in parts)


def _find_config(name_or_path: str | os.PathLike[str], config: str | None) -> tuple[Path, Table]:
    folder = find_dataset(name_or_path)
    try:
        tables = {table.config: table for table in tables_of(read_manifest(folder))}
    except DatasetError as error:
        raise DatasetError(f"{folder}: {error}") from None
    if (config or "default") not in tables:
        raise DatasetError(f"{folder}: no config {config!r}{did_you_mean(config, tables)}")
    return folder, tables[config or "default"]


def _check_no_script(folder: Path) -> None:
    # `datasets` 4 and later refuses the folder then; before 3 it runs the file without asking.
    script = folder / f"{folder.resolve().name}.py"
    if script.exists():
        raise DatasetError(
            f"{script}: `datasets` takes a file of this name for the dataset's loading script and"
            " would not read the rows; move it elsewhere"
        )


def _columns(folder: Path, table: Table) -> list[str]:
    """The columns that the folder has, which may be more or fewer than this luab would write."""
    return list(read_manifest(folder)["schemas"][table.config])


def _known_columns(folder: Path, table: Table, columns: Sequence[str] | None) -> list[str] | None:
    """The columns without repetitions; None stays None.

    Raises:
        DatasetError: one is not in the folder, or there are none.
    """
    if columns is None:
        return None
    if isinstance(columns, str) or not columns:
        raise DatasetError(f"{folder}: columns is {columns!r}; expected a list of names")
    known = _columns(folder, table)
    for name in columns:
        if name not in known:
            similar = near(name, known) or known[:3]
            raise DatasetError(
                f"{folder}: config {table.config!r} has no column {name!r}; did you mean"
                f" {' or '.join(similar)}? All are in {folder / 'README.md'}"
            )
    return list(dict.fromkeys(columns))


def _disjunction(filters: Filters) -> list[list[Condition]]:
    """The filters as a list of lists of tuples, the one form that `datasets` takes everywhere."""
    try:
        flat = any(isinstance(row[0], str) for row in filters)
        rows: Any = [filters] if flat else filters
        groups = [[tuple(condition) for condition in row] for row in rows]
        pq.filters_to_expression(groups)
    except (ValueError, TypeError, LookupError, pa.ArrowException) as error:
        raise OptionError(
            f"filters {filters!r}: {error}; expected [(column, operator, value), ...] or a list of"
            " such lists"
        ) from None
    return groups


def _kept(rows: pa.Table, groups: list[list[Condition]]) -> pa.Table:
    """The rows that match; OptionError if a value cannot be compared with its column."""
    try:
        return rows.filter(pq.filters_to_expression(groups))
    except (ValueError, pa.ArrowException) as error:
        raise OptionError(f"filters {groups}: {error}") from None


def _check_filters(folder: Path, table: Table, groups: list[list[Condition]]) -> None:
    """Fail here with one clear line, not inside `datasets`, which may be hours into a stream."""
    import datasets
    from datasets.packaged_modules.parquet.parquet import ParquetConfig

    if "filters" not in ParquetConfig.__dataclass_fields__:
        raise OptionError(
            f"datasets {datasets.__version__} cannot filter while it reads; upgrade to 3.2 or"
            " later, or use luab_data.read_table(..., filters=...)"
        )
    names = [condition[0] for group in groups for condition in group]
    wanted = _known_columns(folder, table, names)
    batches = read_columns(folder, table, wanted or [])
    for first in islice(batches, 1):
        _kept(first, groups)
    batches.close()  # a stream that is left open can abort the process when it ends
