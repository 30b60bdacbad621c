"""[I/O] A dataset folder: what its manifest says, its checksums, its rows.

It is written through files.new_folder, the manifest last: where that is, the dataset is whole. What
belongs to a dataset is what the manifest lists; a file that it does not list is never read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.errors import DatasetError
from luab_data.files import CHECKSUMS, MANIFEST, files_in, sha256_of
from luab_data.schema import Table

SKIPPED = "skipped.jsonl"
"""The records that a conversion left out, if any: where, rule, reason."""

_AGAIN = "convert the raw log again or copy the folder again"
_IS_INSIDE = re.compile(r"(?!.*(^|/)\.\.(/|$))[^/\\:][^\\:]*").fullmatch


# --- to write -------------------------------------------------------------------------------------


def version_of(digest: str) -> str:
    """1.0.N: 1.0 is the layout of the tables, N a fingerprint of the content.

    `datasets` caches a local folder by its card's text, so other rows need another version, also
    after the old folder was deleted. Equal content keeps its version.
    """
    return f"1.0.{int(digest[:6], 16)}"


def seal(
    folder: Path, manifest: Mapping[str, Any], elsewhere: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Write SHA256SUMS and, last, the manifest over all files of the folder.

    Args:
        elsewhere: path -> sha256 of files of the dataset that are not in this folder, since it is
            put together on a filesystem without renames.
    """
    names = [name for name in files_in(folder) if name not in (MANIFEST, CHECKSUMS)]
    here = {name: sha256_of(folder / name) for name in names}
    files = dict(sorted({**elsewhere, **here}.items()))
    sums = "".join(f"{digest}  {name}\n" for name, digest in files.items())
    (folder / CHECKSUMS).write_text(sums, encoding="utf-8", newline="\n")
    text = json.dumps({**manifest, "files": files}, indent=1, ensure_ascii=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8", newline="\n")


# --- to read --------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset folder.

    Raises:
        DatasetError: no such folder, no manifest, or not one of ours.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DatasetError(
            f"{folder}: {folder_state(folder)}; expected a folder written by `luab-data convert`."
            " If a conversion was interrupted, run it again"
        )
    try:
        manifest = dict(json.loads(path.read_text(encoding="utf-8")))
        known = manifest["dataset"] and manifest["version"] and manifest["files"]
        unsafe = [name for name in manifest["files"] if not _IS_INSIDE(name)]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a manifest of luab ({error!r})") from None
    if not known:
        raise DatasetError(f"{path}: not a manifest of luab: names no dataset, version or files")
    if unsafe:
        raise DatasetError(f"{path}: lists {unsafe[0]!r}, which is outside of the folder")
    return manifest


def folder_state(folder: Path) -> str:
    """What is in the place of a dataset folder that has no manifest, in words."""
    if folder.is_dir():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
        if inside:
            return f"has no {MANIFEST}, but {' and '.join(inside[:3])} in it do: name one of these"
        if (folder.parent / MANIFEST).is_file():
            return f"has no {MANIFEST}, but {folder.parent} does: name that folder"
        return f"has no {MANIFEST}, so luab did not write it to its end"
    waiting = folder.with_name(f".{folder.name}.old") if folder.name else folder
    if not folder.exists() and (waiting / MANIFEST).is_file():
        return f"is not there, but an interrupted conversion left {waiting}: rename it back"
    return "is a file; expected a folder" if folder.exists() else "is not there"


def check_files(folder: Path, only: Table | None = None) -> None:
    """Check that what the manifest lists is there, and nothing else among the Parquet files.

    Args:
        only: also compare the checksums of this config's files.

    Raises:
        DatasetError: names the first file that is missing, foreign or differs.
    """
    files: Mapping[str, str] = read_manifest(folder)["files"]
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise DatasetError(f"{path}: is missing though the manifest lists it; {_AGAIN}")
        if only and name.startswith(f"{only.folder}/") and sha256_of(path) != digest:
            raise DatasetError(f"{path}: its content is not what the manifest says; {_AGAIN}")
    for config in sorted({name.partition("/")[0] for name in files if name.endswith(".parquet")}):
        # `datasets` reads every shard that the card's pattern finds, a copy too.
        for name in (f"{config}/{inside}" for inside in files_in(folder / config)):
            if name.endswith(".parquet") and name not in files:
                raise DatasetError(
                    f"{folder / name}: is not one of the dataset's files, and what is in it would"
                    " be counted twice; move it elsewhere"
                )


def parquet_files(folder: Path, table: Table) -> list[Path]:
    """The shards of one config, in order: those of the manifest, or all while there is none yet."""
    if not (folder / MANIFEST).is_file():
        return sorted((folder / table.folder).glob("*.parquet"))
    names = read_manifest(folder)["files"]
    own = (name for name in names if name.startswith(f"{table.folder}/"))
    return sorted(folder / name for name in own if name.endswith(".parquet"))


def read_columns(folder: Path, table: Table, columns: list[str]) -> Generator[pa.Table, None, None]:
    """Some columns of one config, a row group at a time; page checksums are verified.

    Raises:
        DatasetError: a file is damaged or lacks a column; says which.
    """
    for path in parquet_files(folder, table):
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                if missing := [c for c in columns if c not in file.schema_arrow.names]:
                    raise DatasetError(
                        f"{folder}: `{table.config}` has no column {', '.join(missing)}, since an"
                        f" older luab wrote it; `luab-data derive {folder}` adds what is missing"
                    )
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path}: damaged ({error}); {_AGAIN}") from error
