"""[I/O] Do ours and a baseline say the same? `python agree.py rows|totals ...`, as a process.

`rows` compares every raw column of two results, value by value: for samples. `totals` counts what
a result holds, one JSON object: for the results of the measured runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.kinds import KINDS
from luab_data.schema import COCO_ACTIONS, IMAGENET_ROUNDS, Table

RAW_TABLE = {"imagenet-ab": IMAGENET_ROUNDS, "coco-ab": COCO_ACTIONS}
TRACE = {
    "imagenet-ab": ("mouse_tracking_x", "mouseTracking_x"),
    "coco-ab": ("mouse_tracking_x", "mouseTracking_x"),
}


def shards(folder: Path, table: Table) -> list[Path]:
    """The Parquet files of one config of our dataset folder."""
    return sorted((folder / table.folder).glob("*.parquet"))


def read(paths: list[Path], columns: list[str] | None = None) -> pa.Table:
    """Parquet files, one after the other, as one table."""
    return pa.concat_tables(pq.read_table(path, columns=columns) for path in paths)


def baseline_file(folder: Path) -> Path:
    """The one Parquet file that a baseline writes."""
    (path,) = folder.glob("*.parquet")
    return path


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def our_rows(dataset: str, folder: Path) -> list[dict[str, Any]]:
    """Raw columns of ours under the names of the log, without the (hashed) worker id."""
    raw = {
        column.name: column.raw.replace("/", "_")
        for column in RAW_TABLE[dataset].columns
        if column.raw and column.name != "worker_id"
    }
    rows = read(shards(folder, RAW_TABLE[dataset]), list(raw)).to_pylist()
    rows = [{raw[name]: value for name, value in row.items()} for row in rows]
    if dataset == "imagenet-ab":
        images = read(shards(folder, KINDS[dataset].tables[0]), ["image_id", "boxes"]).to_pylist()
        boxes = {row["image_id"]: row["boxes"] for row in images}
        for row in rows:
            row["boxes"] = boxes[row["filename"]]
    return rows


def their_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a baseline, without the worker id."""
    rows = pq.read_table(path).to_pylist()
    return [{name: v for name, v in row.items() if name != "worker_id"} for row in rows]


def difference(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    """The first place where two results differ, whatever their order; empty if there is none."""
    if len(ours) != len(theirs):
        return f"ours has {len(ours)} rows, the baseline {len(theirs)}"
    for mine, other in zip(_sorted(ours), _sorted(theirs), strict=True):
        if mine.keys() != other.keys():
            return f"columns in only one of them: {sorted(mine.keys() ^ other.keys())}"
        for name, value in mine.items():
            if value != other[name]:
                return f"{name} is {value!r:.80} in ours, {other[name]!r:.80} in the baseline"
    return ""


def totals(dataset: str, folder: Path, *, ours: bool) -> dict[str, Any]:
    """Rows, trace records and their mean x; of ours also images and bytes of each config."""
    name = TRACE[dataset][0 if ours else 1]
    paths = shards(folder, RAW_TABLE[dataset]) if ours else [baseline_file(folder)]
    trace = read(paths, [name])[name]
    values = pc.list_flatten(trace)
    found: dict[str, Any] = {
        "rows": len(trace),
        "trace_records": len(values),
        "mean_x": round(pc.mean(values).as_py() or 0.0, 9) if len(values) else 0.0,
    }
    if ours:
        images, *_ = KINDS[dataset].tables
        found["records"] = sum(pq.read_metadata(p).num_rows for p in shards(folder, images))
        found["out_bytes"] = {
            table.config: sum(p.stat().st_size for p in shards(folder, table))
            for table in KINDS[dataset].tables
        }
    else:
        found["out_bytes"] = {"all": paths[0].stat().st_size}
    return found


def main(words: list[str]) -> int:
    what, dataset, *folders = words
    if what == "totals":
        kind, folder = folders
        print(json.dumps(totals(dataset, Path(folder), ours=kind == "ours")))
        return 0
    ours, theirs = (Path(folder) for folder in folders)
    mine, other = our_rows(dataset, ours), their_rows(baseline_file(theirs))
    found = difference(mine, other)
    print(found or json.dumps({"rows": len(mine), "columns": len(mine[0]) if mine else 0}))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
