"""[I/O] May a dataset folder leave this machine? Whole, ids hashed, no addresses, a licence."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.checks.check import check
from luab_data.errors import DatasetError, OptionError
from luab_data.files import MANIFEST
from luab_data.hub.about import hub_licence
from luab_data.kinds import about_of, tables_of
from luab_data.raw.private import addresses, has_address, text_columns
from luab_data.raw.worker_ids import METHOD, OTHER_IDS, RELEASE_IDS
from luab_data.store.folder import SKIPPED, read_columns, read_manifest

_AGAIN = "convert the raw log again"
_FINGERPRINT = re.compile("[0-9a-f]{8}")


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


def vet(folder: Path, *, keep: Sequence[str] = (), shown: bool | None = None) -> dict[str, Any]:
    """The manifest of a dataset folder that may be published; every file of it was read.

    It must be whole, as `luab-data check` says, have this luab's columns, say that its worker ids
    are hashed with a key, and hold nothing that looks like an e-mail address or that had a worker's
    id in it when it was converted.

    Args:
        folder: of the dataset.
        keep: columns in which such values are nobody's address or id.
        shown: progress bars; None shows them on a terminal.

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
    _check_private(folder, manifest, keep)
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


def _check_private(folder: Path, manifest: Mapping[str, Any], keep: Sequence[str]) -> None:
    """Nothing looks like an e-mail address, and the conversion found no other id of a worker."""
    found = Counter[str]()
    for table in tables_of(manifest):
        texts = [column.name for column in table.columns if _is_text(column.type)]
        for rows in read_columns(folder, table, texts) if texts else ():
            for name, values in text_columns(rows):
                if (flags := addresses(values)) is not None:
                    found[f"{table.config}/{name}"] += pc.sum(flags).as_py() or 0
    found.update({f"{MANIFEST}/{key}": _count(json.dumps(manifest.get(key))) for key in _TEXTS})
    if (skipped := folder / SKIPPED).is_file():
        found[SKIPPED] = _count(skipped.read_text(encoding="utf-8"))
    named = {place.rpartition("/")[2] for place, count in found.items() if count}
    found.update({k: v for k, v in manifest.get("private", {}).items() if k not in named})
    told = {k: v for k, v in found.items() if v and k.rpartition("/")[2] not in keep}
    if told:
        counts = ", ".join(f"{count:,} of `{place}`" for place, count in told.items())
        raise DatasetError(
            f"{folder}: values look like e-mail addresses, or have the id of their worker in them:"
            f" {counts}; expected none, since they tell who somebody is. {_AGAIN.capitalize()} with"
            " --private hash, or without them; --keep COLUMN publishes those that are neither"
        )


_TEXTS = ("source", "instances", "unknown", "classes", "superclasses")
"""Entries of the manifest with texts of the log or of files; what owners say is theirs to say."""


def _count(text: str) -> int:
    """Its lines that look like they have an e-mail address in them."""
    return int(pc.sum(has_address(pa.array(text.splitlines(), pa.string()))).as_py() or 0)


def _is_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type.value_type if pa.types.is_list(type) else type))
