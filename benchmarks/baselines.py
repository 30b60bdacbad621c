"""[I/O] What people do today, each a process: `python baselines.py ARM SOURCE OUT`.

Nothing of luab is imported here. Each arm is written as a competent user would write it, on the
fast side wherever there is a choice (ElementTree in one pass over the children, `map` in batches
with declared features, no progress bars), and reads every field of the metadata blocks and the
boxes. It leaves out what ours adds: checks of values, derived columns, hashed ids, checksums, and
the constant fields of boxes (pose, truncated, ...). `agree.py` compares the results with ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

INTEGERS = frozenset(
    (
        *("estimateTime", "hit_submit_time", "hoveredCount", "imageHeight", "imageWidth"),
        *("image_idx", "originalImageHeight", "originalImageWidth", "page_idx", "selectedCount"),
    )
)
STRINGS = ("assignment_id", "hit_id", "imageID", "imagenet_hit_id", "worker_id")
POINTS = ("mouseTracking", "selectedRecord")
EDGES = ("xmin", "ymin", "xmax", "ymax")


def rows_of(body: bytes | str) -> Iterator[dict[str, Any]]:
    """Each metadata block of one XML file with all its raw fields, lists as parallel columns."""
    root = ElementTree.fromstring(body)
    boxes = [[float(box.findtext(edge)) for edge in EDGES] for box in root.iter("bndbox")]
    image = {"filename": root.findtext("filename"), "folder": root.findtext("folder")}
    for block in root.iter("metadata"):
        row: dict[str, Any] = {
            **image,
            "boxes": boxes,
            **{f"{tag}_{key}": [] for tag in POINTS for key in ("time", "x", "y")},
            **{f"hoveredRecord_{key}": [] for key in ("action", "time")},
        }
        for element in block:
            tag = element.tag
            if tag in POINTS:
                if len(element):
                    row[f"{tag}_time"].append(int(element.findtext("time")))
                    row[f"{tag}_x"].append(float(element.findtext("x")))
                    row[f"{tag}_y"].append(float(element.findtext("y")))
            elif tag == "hoveredRecord":
                if len(element):
                    row["hoveredRecord_action"].append(element.findtext("action"))
                    row["hoveredRecord_time"].append(int(element.findtext("time")))
            elif tag == "imagePosition":
                row["imagePosition_x"] = float(element.findtext("x"))
                row["imagePosition_y"] = float(element.findtext("y"))
            elif tag == "selected":
                row[tag] = element.text == "True"
            else:
                row[tag] = int(element.text) if tag in INTEGERS else element.text
        yield row


def _batch_of_rows(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for body in batch["xml"]:
        for row in rows_of(body):
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    return columns


def hf(source: Path, out: Path) -> None:
    """HF datasets: its webdataset reader, `map` in two processes, `to_parquet`."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    os.environ["HF_HOME"] = str(out / "cache")
    from datasets import Features, Sequence, Value, load_dataset

    lists = {f"{tag}_{key}": Sequence(Value("float64")) for tag in POINTS for key in ("x", "y")}
    lists.update({f"{tag}_time": Sequence(Value("int64")) for tag in (*POINTS, "hoveredRecord")})
    features = Features(
        {
            "filename": Value("string"),
            "folder": Value("string"),
            "boxes": Sequence(Sequence(Value("float64"))),
            "hoveredRecord_action": Sequence(Value("string")),
            "imagePosition_x": Value("float64"),
            "imagePosition_y": Value("float64"),
            "selected": Value("bool"),
            **lists,
            **{tag: Value("int64") for tag in sorted(INTEGERS)},
            **{tag: Value("string") for tag in STRINGS},
        }
    )
    files = load_dataset("webdataset", data_files={"train": str(source)}, split="train")
    rows = files.map(
        _batch_of_rows,
        batched=True,
        num_proc=2,
        remove_columns=files.column_names,
        features=features,
    )
    rows.to_parquet(str(out / "rounds.parquet"))


def reference(source: Path, out: Path) -> None:
    """Extract the archive, ElementTree on each file, a pandas frame, `to_parquet`."""
    import pandas as pd

    folder = out / "extracted"
    folder.mkdir()
    subprocess.run(["tar", "xzf", str(source), "-C", str(folder)], check=True)
    rows: list[dict[str, Any]] = []
    for path in folder.rglob("*.xml"):
        rows.extend(rows_of(path.read_bytes()))
    pd.DataFrame(rows).to_parquet(out / "rounds.parquet")


def limit(source: Path, out: Path) -> None:
    """Nothing but decompression: no reader of the log in Python can be faster than this."""
    from isal import igzip

    buffer = bytearray(2**20)
    with igzip.open(source, "rb") as file:
        while file.readinto(buffer):
            pass


def json_loop(source: Path, out: Path) -> None:
    """COCO-AB: `json.load`, a loop over the records, a pandas frame, `to_parquet`."""
    import json

    import pandas as pd

    with source.open(encoding="utf-8") as file:
        records = json.load(file)
    rows = []
    for record in records:
        actions = record["actionHistories"]
        categories = record["categoryHistories"]
        traces = record["mouseTracking"]
        row = {
            key: record.get(key)
            for key in (
                *("image_id", "originalImageWidth", "originalImageHeight", "imageWidth"),
                *("imageHeight", "timeSpent", "page_id", "hit_id", "worker_id"),
            )
        }
        for key in ("actionType", "iconType", "timeAt"):
            row[f"actionHistories_{key}"] = [action[key] for action in actions]
        for key in ("pointFrom", "pointTo"):
            points = [action.get(key) for action in actions]
            row[f"actionHistories_{key}_x"] = [p["x"] if p else None for p in points]
            row[f"actionHistories_{key}_y"] = [p["y"] if p else None for p in points]
        for key in ("categoryIndex", "categoryName", "timeAt", "usingKeyboard"):
            row[f"categoryHistories_{key}"] = [category[key] for category in categories]
        for key in ("x", "y", "timeAt"):
            row[f"mouseTracking_{key}"] = [point[key] for point in traces]
        rows.append(row)
    pd.DataFrame(rows).to_parquet(out / "actions.parquet")


ARMS = {"hf": hf, "reference": reference, "limit": limit, "json": json_loop}


if __name__ == "__main__":
    arm, source, out = sys.argv[1:]
    ARMS[arm](Path(source), Path(out))
