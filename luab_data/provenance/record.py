"""[I/O] One image of a dataset, explained: raw values, derived values, and how they follow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.checks.invariants import Promises, broken_values
from luab_data.checks.lint import Rule, chosen
from luab_data.errors import DatasetError
from luab_data.kinds import kind_of, tables_of
from luab_data.provenance.explain import Values
from luab_data.provenance.find import Place, find_rows, not_there, read_image_id
from luab_data.schema import Table
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything a dataset knows about one image.

    Args:
        folder: the dataset.
        manifest: its manifest.
        image_id: the image.
        image: its row of `default`: derived values, and raw ones of the image.
        records: its rows of `rounds` (in order) or of `actions`, raw values.
        places: where these rows lie, the one of `default` first.
        odd: lint rules that its rows break.
        decision: of a browsing log: which round decided, and why.
        visit: of a browsing log: which part of the trace led to the final click; None without one.
        icons: of a tagging log: which action `last_add` and `final` of each icon come from.
    """

    folder: Path
    manifest: Mapping[str, Any]
    image_id: str | int
    image: Values
    records: list[Values]
    places: list[Place]
    odd: list[Rule]
    decision: Values | None = None
    visit: Values | None = None
    icons: list[Values] = field(default_factory=list)

    def as_dict(self) -> Values:
        """For JSON."""
        return {
            "image_id": self.image_id,
            "dataset": self.manifest["dataset"],
            "version": self.manifest["version"],
            "source": self.manifest.get("source"),
            "instances": self.manifest.get("instances"),
            "places": [asdict(place) for place in self.places],
            "decision": self.decision,
            "visit": self.visit,
            "icons": self.icons,
            "default": self.image,
            kind_of(self.manifest).events.config: self.records,
            "lint": [{"rule": rule.id, "meaning": rule.doc} for rule in self.odd],
        }


def trace(dataset: str | os.PathLike[str], image_id: str | int) -> Record:
    """Find one image and say how its derived values follow from the log.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        image_id: the id, or a file name of the image.

    Raises:
        DatasetError: no such dataset, or no such image: then with the ids near it.
    """
    folder = find_dataset(dataset)
    manifest = read_manifest(folder)
    kind = kind_of(manifest)
    images, table, _ = tables_of(manifest)
    wanted = read_image_id(image_id, images)
    rows, places = find_rows(folder, images, wanted)
    if not places:
        raise DatasetError(not_there(folder, images, wanted, manifest))
    image = rows.slice(0, 1)
    count = image["num_rounds"][0].as_py() if "num_rounds" in image.column_names else 1
    number = int(places[0].file.rpartition("/")[2].split("-")[1])
    records, others = find_rows(folder, table, wanted, first=number, enough=max(count or 0, 1))
    for config, found in ((images, image), (table, records)):
        _check_sound(folder, kind.promises, config, found)
    window = kind.lint.window(image, records, np.array([0, len(records)], np.int64))
    return Record(
        folder=folder,
        manifest=manifest,
        image_id=wanted,
        image=image.to_pylist()[0],
        records=records.to_pylist(),
        places=[places[0], *others],
        **kind.explain(image, records),
        odd=[rule for rule in chosen(kind.lint.rules) if rule(window).any()],
    )


def _check_sound(folder: Path, promises: Promises, table: Table, rows: pa.Table) -> None:
    """Rows that break a promise of the schema cannot be explained: DatasetError."""
    for odd in broken_values(rows, promises, table):
        raise DatasetError(
            f"{folder}: {table.config} of this image is damaged: {odd.found}; expected"
            f" {odd.expected}. `luab-data check` says what else is; convert the raw log again"
        )
