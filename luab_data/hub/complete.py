"""[I/O] The last step of every build: from shards in a staging folder to a whole dataset folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from luab_data.hub.card import dataset_card
from luab_data.hub.legacy import legacy_script
from luab_data.schema import tables_of
from luab_data.store import folder as store
from luab_data.store.digest import content_digest
from luab_data.store.folder import Shard


def complete(
    folder: Path,
    out: Path,
    *,
    about: Mapping[str, Any],
    shards: Mapping[str, Sequence[Shard]],
    schemas: Mapping[str, pa.Schema],
    wnids: Sequence[str],
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Write card, loading script, checksums and, last, the manifest.

    Args:
        folder: the staging folder, all shards in it under their final names.
        out: where the folder will stand; its name is in the card.
        about: what the manifest says of the input: `dataset`, `source`, `worker_ids`, `skipped`,
            `unknown`, `versions`; for COCO `instances`.
        shards, schemas: of every config.
        wnids: class names of `label`; empty for COCO.
        elsewhere: path -> sha256 of files that are not in the folder, as store.seal has it.

    Returns: the manifest, without the checksums of files.
    """
    digest = content_digest({config: [s.digest for s in some] for config, some in shards.items()})
    manifest: dict[str, Any] = {
        **about,
        "version": store.version_of(digest),
        "content_digest": digest,
        "num_rows": {config: sum(s.num_rows for s in some) for config, some in shards.items()},
        "classes": list(wnids),
        "schemas": {c: {f.name: str(f.type) for f in schema} for c, schema in schemas.items()},
        "shards": {config: [asdict(s) for s in some] for config, some in shards.items()},
    }
    num_bytes = {config: sum(s.num_bytes for s in some) for config, some in shards.items()}
    text = dataset_card(manifest, name=Path(os.path.realpath(out)).name, num_bytes=num_bytes)
    (folder / "README.md").write_text(text, encoding="utf-8")
    tables = tables_of(manifest)
    name, script = legacy_script(manifest["dataset"], tables, wnids, manifest["version"])
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(script, encoding="utf-8")
    store.seal(folder, manifest, elsewhere)
    return manifest


def versions() -> dict[str, str]:
    """What a dataset's bytes depend on besides its input: the manifest's `versions`."""
    names = ("luab", "numpy", "pyarrow", "shapely")
    return {"python": platform.python_version(), **{name: installed(name) for name in names}}
