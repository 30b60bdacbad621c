"""[I/O] May a dataset folder leave this machine? Whole, ids hashed, no addresses, a licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.checks.check import check
from luab_data.errors import DatasetError, OptionError
from luab_data.files import MANIFEST
from luab_data.hub.about import hub_licence
from luab_data.kinds import about_of, tables_of
from luab_data.raw.worker_ids import METHOD, OTHER_IDS, RELEASE_IDS
from luab_data.schema import Table
from luab_data.store.folder import read_columns, read_manifest

_AGAIN = "convert the raw log again"
_FINGERPRINT = re.compile("[0-9a-f]{8}")
_E_MAIL = r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$"
_PICTURE = r"(?i)\.(jpe?g|png|webp|gif|bmp|tiff?)$"  # icon@2x.png is nobody's address


def licensed(folder: Path, manifest: dict[str, Any], given: str | None) -> dict[str, Any]:
    """The manifest with a licence in it: nobody may use published data that have none.

    Raises:
        OptionError: one is given, and the data have another.
        DatasetError: they have none, and none is given.
    """
    has = about_of(manifest).license
    wanted, known = (hub_licence(licence or "") for licence in (given, has))
    unknown = hub_licence("")
    if unknown not in (wanted, known) and wanted != known:
        raise OptionError(f"--license {given}: the data are under {has} already; leave it out")
    if known != unknown:
        return manifest
    if wanted == unknown:
        raise DatasetError(
            f"{folder}: names no licence, without which nobody may use what is published; expected"
            " one: add --license with an id of the Hub, e.g. cc-by-4.0"
        )
    return {**manifest, "collection": {**manifest["collection"], "license": given}}


def vet(folder: Path, *, shown: bool | None = None) -> dict[str, Any]:
    """The manifest of a dataset folder that may be published; every file of it was read.

    It must be whole, as `luab-data check` says, have this luab's columns, say that its worker ids
    are hashed with a key, and hold nothing that looks like an e-mail address.

    Raises:
        DatasetError: the first of these that does not hold. No message shows an id.
    """
    manifest = read_manifest(folder)
    _check_hashed(folder, manifest)
    report = check(folder, shown=shown)
    for problem in report.problems:
        raise DatasetError(
            f"{folder / problem.file}: found {problem.found}; expected {problem.expected}. Only"
            f" what `luab-data check` finds whole is published: {problem.advice}"
        )
    for key in ("shards", "skipped", "versions"):  # of the card
        if not isinstance(manifest.get(key), dict):
            raise DatasetError(f"{folder / MANIFEST}: has no {key}: an older luab; {_AGAIN}")
    for table in tables_of(manifest):
        if list(manifest["schemas"][table.config]) != table.schema().names:
            raise DatasetError(
                f"{folder}: `{table.config}` does not have the columns of this luab, so the card"
                " would describe other data; `luab-data derive` adds what is missing"
            )
        _check_no_address(folder, table)
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


def _check_no_address(folder: Path, table: Table) -> None:
    """No text of any column is an e-mail address: some platforms use them as ids."""
    texts = [column.name for column in table.columns if _is_text(column.type)]
    for batch in read_columns(folder, table, texts):
        for name in texts:
            values = pc.unique(_flat(batch[name])).drop_null()
            found = values.filter(pc.match_substring_regex(values, _E_MAIL))
            found = found.filter(pc.invert(pc.match_substring_regex(found, _PICTURE)))
            if len(found):
                raise DatasetError(
                    f"{folder}: {len(found)} values of `{table.config}/{name}` look like e-mail"
                    f" addresses. To publish, replace them in the log and {_AGAIN}"
                )


def _is_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type.value_type if pa.types.is_list(type) else type))


def _flat(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.list_flatten(values) if pa.types.is_list(values.type) else values
