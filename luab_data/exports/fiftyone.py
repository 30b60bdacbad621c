"""[I/O] `fiftyone`: points, boxes and ways as labels of a FiftyOne dataset.

    OUT/data/...       the pictures, hard links where the file system allows
    OUT/samples.json   one sample an image: keypoints, detections (boxes), polylines, ids
    OUT/metadata.json  where it came from

    fiftyone.Dataset.from_dir(OUT, dataset_type=fiftyone.types.FiftyOneDataset)

This is the plain layout of `LegacyFiftyOneDataset`, which every release reads and whose files do
not depend on one release's database (read with the importers of FiftyOne 1.22.1). All places are
fractions of the picture as shown. Polylines: ImageNet-AB's way to the final click
(`trace_quantile`) and `hull`, closed; COCO-AB's icons that were `moved`, from the last add to where
they were left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from luab_data.boxes import Frame, read_frame
from luab_data.exports.imagefolder import file_names, place
from luab_data.exports.select import Subset
from luab_data.join.joined import IMAGE_PATH


def write(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
    """Write the folder."""
    points = subset.kind.points
    names = [c["name"] for c in points.categories(subset.classes.get("label", ()))]
    wnid = [name for name in ("wnid",) if name in subset.table.schema().names]
    columns = [*points.columns, *wnid, "worker_id"]
    (out / "data").mkdir()
    separator = ""
    with (out / "samples.json").open("x", encoding="utf-8") as file:
        file.write('{"samples": [')
        for batch in subset.batches(columns):
            files = file_names(subset, batch).to_pylist()
            place(out / "data", batch[IMAGE_PATH.name].to_pylist(), files)
            for row, name in zip(batch.to_pylist(), files, strict=True):
                frame = read_frame(Path(row[IMAGE_PATH.name]))
                sample = {
                    "filepath": f"data/{name}",
                    "tags": [],
                    "image_id": str(row["image_id"]),
                    "worker_id": row["worker_id"],
                    **labels(subset, row, frame, names),
                }
                file.write(f"{separator}\n{json.dumps(sample)}")
                separator = ","
            advance(len(batch))
        file.write("\n]}\n")
    about = {name: subset.manifest[name] for name in ("version", "content_digest")}
    info = {"dataset": subset.kind.dataset, "written_by": "luab-data export", **about}
    (out / "metadata.json").write_text(json.dumps({"info": info}, indent=1) + "\n", "utf-8")


def labels(
    subset: Subset, row: Mapping[str, Any], frame: Frame, names: list[str]
) -> dict[str, Any]:
    """FiftyOne's labels of one image, each field under the name of its class.

    Args:
        subset: whose kind says what is drawn.
        row: of `default`.
        frame: of the picture file.
        names: of the classes by label.
    """
    points = subset.kind.points
    marks = [*points.marks(row, frame)]
    found: dict[str, list[dict[str, Any]]] = {
        "keypoints": [
            {"label": names[m.label], "name": points.point, "points": [m.point]}
            for m in marks
            if m.point is not None
        ],
        "detections": [
            {"label": names[m.label], "bounding_box": [*_relative(m.box, frame)]}
            for m in marks
            if m.box is not None
        ],
        "polylines": [
            {
                **{"label": names[line.label], "name": line.name, "points": [line.points]},
                **{"closed": line.closed, "filled": False},
            }
            for line in points.lines(row)
            if len(line.points) > 1
        ],
    }
    return {
        field: {
            "_cls": field.capitalize(),
            field: [{"_cls": field.capitalize().removesuffix("s"), **label} for label in some],
        }
        for field, some in found.items()
    }


def _relative(box: tuple[float, float, float, float], frame: Frame) -> Iterator[float]:
    """[x, y, width, height], fractions of the picture as shown."""
    (xa, ya), (xb, yb) = (
        frame.shown(x / frame.width, y / frame.height) for x, y in (box[:2], box[2:])
    )
    yield from (min(xa, xb), min(ya, yb), abs(xb - xa), abs(yb - ya))
