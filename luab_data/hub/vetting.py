"""[I/O] May this folder be published? Whole, ours, and every worker id in it hashed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.console import progress
from luab_data.errors import DatasetError
from luab_data.raw.worker_ids import METHOD, OTHER_IDS, PUBLISHED_ID, RELEASE_IDS
from luab_data.schema import DATASETS, Table, tables_of
from luab_data.store.folder import (
    CHECKSUMS,
    MANIFEST,
    parquet_files,
    read_columns,
    read_manifest,
    sha256_of,
)

_AGAIN = "convert the raw log again"
_FINGERPRINT = re.compile("[0-9a-f]{8}")
_NEEDED: dict[str, type] = {
    **{"version": str, "source": dict, "versions": dict, "skipped": dict, "classes": list},
    **{"files": dict, "num_rows": dict, "schemas": dict, "shards": dict},
}
"""What the card is made from."""
_EVERY_ID = rf"\A{PUBLISHED_ID}\z"


def vet(folder: Path, *, shown: bool | None = None) -> dict[str, Any]:
    """The manifest of a dataset folder that may be published; every file of it was read.

    Checked are: the manifest says that worker ids are hashed with a key; every file has its
    checksum and nothing else lies there; SHA256SUMS says the same; the tables have this luab's
    columns and the manifest's rows; every value of every `worker_id` looks like a keyed hash.

    Raises:
        DatasetError: the first of these that does not hold. No message shows an id.
    """
    manifest = read_manifest(folder)
    if manifest["dataset"] not in DATASETS:
        known = " or ".join(DATASETS)
        raise DatasetError(f"{folder}: is a {manifest['dataset']!r:.60}; expected {known}")
    _check_hashed(folder, manifest)
    for key, kind in _NEEDED.items():
        if not isinstance(manifest.get(key), kind):
            raise DatasetError(
                f"{folder / MANIFEST}: has no {key}, so this luab did not write it; {_AGAIN}"
            )
    _check_files(folder, manifest["files"], shown)
    for table in tables_of(manifest):
        _check_table(folder, table, manifest)
        if "worker_id" in table.schema().names:
            _check_worker_ids(folder, table)
    return manifest


def _check_hashed(folder: Path, manifest: Mapping[str, Any]) -> None:
    found = manifest.get("worker_ids")
    if found is None:
        older = " (it was written before luab hashed with HMAC)" if "worker_key" in manifest else ""
        raise DatasetError(
            f"{folder / MANIFEST}: does not say that worker ids are hashed{older}; expected"
            f" worker_ids with method {METHOD}. To publish, {_AGAIN} with --worker-key-file"
        )
    if not isinstance(found, Mapping) or found.get("method") != METHOD:
        raise DatasetError(
            f"{folder / MANIFEST}: worker ids are not hashed with {METHOD} and a key. To publish,"
            f" {_AGAIN} with --worker-key-file"
        )
    key, source = found.get("key"), found.get("source")
    if (
        not isinstance(key, str)
        or not _FINGERPRINT.fullmatch(key)
        or source not in (RELEASE_IDS, OTHER_IDS)
    ):
        raise DatasetError(
            f"{folder / MANIFEST}: worker_ids names no key or no source, so it was not written by"
            f" `luab-data convert`; {_AGAIN}"
        )


def _check_files(folder: Path, files: Mapping[str, str], shown: bool | None) -> None:
    """Exactly the manifest's files are there, with its checksums."""
    # By listing, not by the manifest's names: a name that climbs out of the folder is never found.
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    if missing := sorted(files.keys() - found):
        raise DatasetError(f"{folder}: {missing[0]!r} of the manifest is missing; {_AGAIN}")
    strangers = sorted(
        name
        for name in found - files.keys() - {MANIFEST, CHECKSUMS}
        if not any(part.startswith(".") for part in name.split("/"))  # .DS_Store, .git, .cache
    )
    if strangers:
        raise DatasetError(
            f"{folder}: holds files that luab did not write: {', '.join(strangers[:5])}. Move them"
            " away: only what the manifest lists is published"
        )
    for name in progress(sorted(files), what="checksums", unit="file", shown=shown):
        if sha256_of(folder / name) != files[name]:
            raise DatasetError(
                f"{folder / name}: its content is not what the manifest says; {_AGAIN}"
            )
    sums = "".join(f"{digest}  {name}\n" for name, digest in files.items())
    if CHECKSUMS not in found or (folder / CHECKSUMS).read_bytes() != sums.encode():
        raise DatasetError(f"{folder / CHECKSUMS}: is not what the manifest says; {_AGAIN}")


def _check_table(folder: Path, table: Table, manifest: Mapping[str, Any]) -> None:
    num_rows = 0
    for path in parquet_files(folder, table):
        try:
            with pq.ParquetFile(path) as file:
                schema, num_rows = file.schema_arrow, num_rows + file.metadata.num_rows
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{path}: not Parquet ({error}); {_AGAIN}") from error
        if not schema.equals(table.schema()):
            raise DatasetError(
                f"{path}: its columns are not those of this luab's `{table.config}`, so the card"
                f" would describe other data; {_AGAIN}"
            )
    listed = manifest.get("num_rows", {}).get(table.config)
    if num_rows != listed:
        raise DatasetError(
            f"{folder}: `{table.config}` has {num_rows} rows, the manifest says {listed}; {_AGAIN}"
        )


def _check_worker_ids(folder: Path, table: Table) -> None:
    for batch in read_columns(folder, table, ["worker_id"]):
        right = pc.match_substring_regex(batch["worker_id"], _EVERY_ID)
        if not pc.all(right, min_count=0).as_py():  # a null names nobody
            wrong = pc.sum(pc.invert(right)).as_py()
            raise DatasetError(
                f"{folder}: {wrong} values of `{table.config}/worker_id` are not 16 hex digits as"
                f" {METHOD} gives them, whatever the manifest says. To publish, {_AGAIN} with"
                " --worker-key-file"
            )
