"""What to derive: the folder's manifest and the columns that were asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luab_data.columns.registry import REGISTRIES
from luab_data.derivation.places import Place
from luab_data.errors import DatasetError, OptionError
from luab_data.files import MANIFEST
from luab_data.kinds import tables_of
from luab_data.store import folder as store


def manifest_of(source: Place) -> dict[str, Any]:
    """The manifest of a dataset folder, wherever it is.

    Raises:
        DatasetError: none there, not ours, or its shards do not come in pairs.
    """
    if source.local:
        manifest = store.read_manifest(source.local)
    else:  # the manifest's own checks are for local folders
        if not source.has(MANIFEST):
            raise DatasetError(
                f"{source}: has no {MANIFEST}; expected a folder written by `luab-data convert`"
            )
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / MANIFEST).write_bytes(source.read_bytes(MANIFEST))
            manifest = store.read_manifest(Path(folder))
    kind = manifest["dataset"]
    if kind not in REGISTRIES:
        raise DatasetError(f"{source}: holds {kind!r}; expected one of {', '.join(REGISTRIES)}")
    counts = {len(manifest.get("shards", {}).get(t.config, ())) for t in tables_of(manifest)[:2]}
    if len(counts) != 1 or not counts - {0}:
        raise DatasetError(
            f"{source}: its shards of `default` do not pair with those of the log; an older luab"
            " wrote it: convert the raw log again"
        )
    return manifest


def chosen(
    manifest: Mapping[str, Any], columns: Sequence[str] | None, instances: Path | None
) -> tuple[str, ...]:
    """The columns to compute, each once, in the order of the registry.

    Columns that an older luab did not know are computed in any case: every folder has them now.

    Args:
        manifest: of the folder.
        columns: what the user names; None is every derived column that the folder has.
        instances: the instances file: every column that needs one is then computed.

    Raises:
        OptionError: an unknown column, none at all, one that needs an instances file, or a folder
            whose new columns need one.
    """
    kind = manifest["dataset"]
    registry = REGISTRIES[kind]
    known = registry.names()
    present = {column.name for column in tables_of(manifest)[0].columns}
    of_truth = {name for name in known if "truth" in registry.sources([name])}
    # An optional column takes what it needs of the ground truth from the published columns.
    only_truth = of_truth - {column.name for column in registry.table.optional}
    if instances is not None and not of_truth:
        raise OptionError(f"--instances: no column of {kind} needs an instances file; leave it out")
    if columns is None:
        wanted = {name for name in known if name in present} - only_truth
    else:
        wanted = {name for name in columns if registry.of(name)}
        if not wanted:
            raise OptionError("--columns names no column; expected some, or leave it out")
        if instances is None and (asked := sorted(wanted & only_truth)):
            raise OptionError(
                f"{', '.join(asked)}: computed from COCO's instances file; add --instances FILE"
            )
    if instances is not None:
        wanted |= of_truth & present
    missing = _missing(manifest, known) & present
    # Without an instances file from the start they are null, like `labels`.
    if instances is None and "instances" in manifest and (asked := sorted(missing & only_truth)):
        raise OptionError(
            f"the folder is of an older luab and lacks {', '.join(asked)}, computed from COCO's"
            " instances file; add --instances FILE"
        )
    wanted |= missing
    return tuple(name for name in known if name in wanted)


def _missing(manifest: Mapping[str, Any], known: Sequence[str]) -> set[str]:
    """Derived columns that the folder's files lack."""
    there = manifest.get("schemas", {}).get("default")
    return set() if there is None else {name for name in known if name not in there}
