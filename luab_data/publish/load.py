"""[I/O] Opening a dataset folder with Hugging Face `datasets`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luab_data.errors import DatasetError
from luab_data.publish.store import MANIFEST, check_files, read_manifest
from luab_data.schema import DATASETS

if TYPE_CHECKING:
    import datasets

HOME_VARIABLE = "LUAB_DATA_HOME"


def find_dataset(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of a dataset: the path itself, else that name under $LUAB_DATA_HOME.

    Raises:
        DatasetError: neither is a dataset, or files of it are missing; says where it looked.
    """
    tried = [Path(name_or_path)]
    if HOME_VARIABLE in os.environ:
        tried.append(Path(os.environ[HOME_VARIABLE]) / name_or_path)
    for folder in tried:
        if (folder / MANIFEST).is_file():
            check_files(folder)
            return folder
    raise DatasetError(
        f"no dataset {os.fspath(name_or_path)!r}: looked for {MANIFEST} in"
        f" {' and '.join(str(folder) for folder in tried)}. Write one with `luab-data convert`, or"
        f" set {HOME_VARIABLE} to the folder that holds it"
    )


def load_dataset(
    name_or_path: str | os.PathLike[str],
    config: str | None = None,
    *,
    verify: bool = True,
    **options: Any,
) -> datasets.DatasetDict | datasets.Dataset:
    """`datasets.load_dataset` of a folder written by luab; never asks the Hub.

    Args:
        name_or_path: a folder, or a name under $LUAB_DATA_HOME.
        config: `default`, `rounds` (or `actions`), `annotators`.
        verify: compare the checksums of the config's files first (about 1 s a gigabyte), since
            `datasets` serves damaged pages without a word.
        options: passed on: split, columns, streaming, ...

    Raises:
        DatasetError: not there or not whole, damaged, or no such config.
    """
    folder = find_dataset(name_or_path)
    tables = {table.config: table for table in DATASETS[read_manifest(folder)["dataset"]]}
    if (config or "default") not in tables:
        raise DatasetError(f"{folder}: no config {config!r}; there are {', '.join(tables)}")
    if verify:
        check_files(folder, tables[config or "default"])
    import datasets  # a second to import, and only needed here

    return datasets.load_dataset(str(folder.resolve()), config, **options)
