"""[I/O] Opening a dataset folder with Hugging Face `datasets`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luab_data.errors import DatasetError
from luab_data.publish.store import MANIFEST, read_manifest

if TYPE_CHECKING:
    import datasets

HOME_VARIABLE = "LUAB_DATA_HOME"


def find_dataset(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of a dataset: the path itself, else that name under $LUAB_DATA_HOME.

    Raises:
        DatasetError: neither is a whole dataset; says where it looked.
    """
    tried = [Path(name_or_path)]
    if HOME_VARIABLE in os.environ:
        tried.append(Path(os.environ[HOME_VARIABLE]) / name_or_path)
    for folder in tried:
        if (folder / MANIFEST).is_file():
            read_manifest(folder)
            return folder
    raise DatasetError(
        f"no dataset {os.fspath(name_or_path)!r}: looked for {MANIFEST} in"
        f" {' and '.join(str(folder) for folder in tried)}. Write one with `luab-data convert`, or"
        f" set {HOME_VARIABLE} to the folder that holds it"
    )


def load_dataset(
    name_or_path: str | os.PathLike[str], config: str | None = None, **options: Any
) -> datasets.DatasetDict | datasets.Dataset:
    """`datasets.load_dataset` of a folder written by luab; never asks the Hub.

    Args:
        name_or_path: a folder, or a name under $LUAB_DATA_HOME.
        config: `default`, `rounds` (or `actions`), `annotators`.
        options: passed on: split, columns, streaming, ...

    Raises:
        DatasetError: not there or not whole, or no such config.
    """
    folder = find_dataset(name_or_path)
    configs = list(read_manifest(folder)["num_rows"])
    if config is not None and config not in configs:
        raise DatasetError(f"{folder}: no config {config!r}; there are {', '.join(configs)}")
    import datasets  # a second to import, and only needed here

    return datasets.load_dataset(str(folder.resolve()), config, **options)
