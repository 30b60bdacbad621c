"""[I/O] One image of a dataset, explained: raw values, derived values, and how they follow."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.checks.invariants import Promises, broken_values
from luab_data.checks.lint import Rule, chosen
from luab_data.columns.rounds import order_rounds
from luab_data.errors import DatasetError
from luab_data.kinds import kind_of
from luab_data.provenance.find import Place, find_rows, not_there, read_image_id
from luab_data.schema import DATASETS, Table, tables_of
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset

Values = dict[str, Any]


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
        decision: ImageNet-AB: which round decided, and why; None for COCO-AB.
        visit: ImageNet-AB: which part of the trace led to the final click; None without a click.
        icons: COCO-AB: which action `last_add` and `final` of each icon come from.
        odd: lint rules that its rows break.
    """

    folder: Path
    manifest: Mapping[str, Any]
    image_id: str | int
    image: Values
    records: list[Values]
    places: list[Place]
    decision: Values | None
    visit: Values | None
    icons: list[Values]
    odd: list[Rule]

    def as_dict(self) -> Values:
        """For JSON."""
        tables = DATASETS[self.manifest["dataset"]]
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
            tables[1].config: self.records,
            "lint": [{"rule": rule.id, "meaning": rule.doc} for rule in self.odd],
        }


def trace(dataset: str | os.PathLike[str], image_id: str) -> Record:
    """Find one image and say how its derived values follow from the log.

    Args:
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        image_id: the id, or a file name of the image.

    Raises:
        DatasetError: no such dataset, or no such image: then with the ids near it.
    """
    folder = find_dataset(dataset)
    manifest = read_manifest(folder)
    kind = manifest["dataset"]
    if kind not in DATASETS:
        raise DatasetError(f"{folder}: holds {kind!r}; expected one of {', '.join(DATASETS)}")
    images, table, _ = tables_of(manifest)
    wanted = read_image_id(image_id, kind)
    rows, places = find_rows(folder, images, wanted)
    if not places:
        raise DatasetError(not_there(folder, images, wanted, manifest))
    image = rows.slice(0, 1)
    count = 1 if kind == "coco-ab" else image["num_rounds"][0].as_py() or 0
    number = int(places[0].file.rpartition("/")[2].split("-")[1])
    records, others = find_rows(folder, table, wanted, first=number, enough=max(count, 1))
    for config, found in ((images, image), (table, records)):
        _check_sound(folder, kind_of(manifest).promises, config, found)
    window = kind_of(manifest).lint.window(image, records, np.array([0, len(records)], np.int64))
    rounds = kind == "imagenet-ab"
    decision = _decision(image, records) if rounds else None
    raw = records.to_pylist()
    return Record(
        folder=folder,
        manifest=manifest,
        image_id=wanted,
        image=image.to_pylist()[0],
        records=raw,
        places=[places[0], *others],
        decision=decision,
        visit=_visit(raw, decision),
        icons=[] if rounds else _icons(raw),
        odd=[rule for rule in chosen(kind_of(manifest).lint.rules) if rule(window).any()],
    )


def _check_sound(folder: Path, promises: Promises, table: Table, rows: pa.Table) -> None:
    """Rows that break a promise of the schema cannot be explained: DatasetError."""
    for odd in broken_values(rows, promises, table):
        raise DatasetError(
            f"{folder}: {table.config} of this image is damaged: {odd.found}; expected"
            f" {odd.expected}. `luab-data check` says what else is; convert the raw log again"
        )


def _decision(image: pa.Table, records: pa.Table) -> Values:
    """Which round decides, by the rule of order_rounds, and why in words."""
    count = len(records)
    if not count:
        return {"round": None, "why": "no round: the image was never shown"}
    rounds = order_rounds(image["image_id"], records.drop_columns(["round"]))
    place = int(rounds.deciding[0])
    submitted = records["hit_submit_time"].to_pylist()
    selected = records["selected"].to_pylist()
    if selected[place]:
        why = "the last one, by hit_submit_time, that ended with the image selected"
    else:
        why = "no round ended with the image selected, so the last one by hit_submit_time"
    if count == 1:
        why = "the only one"
    ties = count - len(set(submitted))
    why += "; rounds with equal submit times stand in the order of the file" if ties else ""
    return {"round": place + 1, "of": count, "why": why}


def _visit(records: Sequence[Values], decision: Values | None) -> Values | None:
    """The visit that ends in the final click: the trace records that quantiles are taken of.

    Returns: `enter_ms` (None if the log has no enter before the click, then the visit starts with
        the trace), `visit` of `num_visits`, `click_ms`, `first_record` and `last_record` (from 0
        among the round's trace records, None without any) and `num_records`; None without a final
        click. Source: docs/definitions.md#trace-curves
    """
    if decision is None or decision["round"] is None:
        return None
    row = records[decision["round"] - 1]
    if not row["selected"] or not row["selected_record_time_ms"]:
        return None
    click = row["selected_record_time_ms"][-1]
    hovered = zip(row["hovered_record_action"], row["hovered_record_time_ms"], strict=True)
    enters = [time for action, time in hovered if action == "enter"]
    before = [time for time in enters if time <= click]
    start = max(before, default=None)
    used = [
        number
        for number, time in enumerate(row["mouse_tracking_time_ms"])
        if (start is None or time >= start) and time <= click
    ]
    return {
        "enter_ms": start,
        "visit": None if start is None else enters.index(start) + 1,
        "num_visits": len(enters),
        "click_ms": click,
        "first_record": used[0] if used else None,
        "last_record": used[-1] if used else None,
        "num_records": len(used),
    }


def _icons(records: Sequence[Values]) -> list[Values]:
    """Each icon's actions, and which of them (from 0 in the log) give `last_add` and `final`."""
    if not records:
        return []
    row = records[0]
    of_icon: dict[str, list[int]] = {}
    for number, name in enumerate(row["action_histories_icon_type"]):
        of_icon.setdefault(name, []).append(number)
    kinds = row["action_histories_action_type"]
    found = []
    for name, actions in of_icon.items():
        adds = [number for number in actions if kinds[number] == "add"]
        ended = actions[-1] if kinds[actions[-1]] != "remove" else None
        found.append(
            {
                "icon": name,
                "actions": actions,
                "last_add": adds[-1] if adds else None,
                "final": ended,
            }
        )
    return found
