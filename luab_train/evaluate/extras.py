"""Localisation and COCO under the same command: `--benchmarks wsol` and `--benchmarks coco`.  [I/O]

They are no columns of Table 1 and no part of `all`: their images come with boxes and masks, and
COCO wants a model of its 80 classes. What they keep is theirs (`report.outcomes`); the rows go to
results.jsonl beside those of the suite.

    ROOT/wsol/metadata/image_ids.txt, ...   a split of clovaai/wsolevaluation
    ROOT/wsol/images/<image id>
    ROOT/coco/val2014/COCO_val2014_*.jpg
    ROOT/coco/annotations/instances_val2014.json
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from luab_data.errors import OptionError
from luab_data.schema import COCO_CLASSES
from luab_train.evaluate.layouts import Missing
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.rows import Row, provenance, read_results, replace_rows
from luab_train.evaluate.wsol.overlap import BoxConvention

EXTRAS = ("wsol", "coco")
_TITLES = {"wsol": "WSOL", "coco": "COCO"}
_PRIMARY = {"wsol": "top1_loc", "coco": "map"}
_NEEDED = {
    "wsol": ("metadata/image_ids.txt", "images"),
    "coco": ("val2014", "annotations/instances_val2014.json"),
}
_KEPT = {"wsol": "rows.parquet", "coco": "scores.parquet"}


def check_extras(names: Sequence[str], num_classes: int) -> None:
    """Whether a model of that many classes can be asked for them."""
    is_coco = num_classes == len(COCO_CLASSES)
    wrong = [name for name in names if (name == "coco") != is_coco]
    if wrong:
        wanted = "80 classes of COCO: a file of weights with 80 outputs, by itself"
        raise OptionError(
            f"{wrong[0]}: the model has {num_classes} classes; expected"
            f" {wanted if wrong[0] == 'coco' else 'those of ImageNet'}"
        )


def evaluate_extra(
    predictor: Predictor,
    name: str,
    *,
    root: Path,
    out: Path,
    batch_size: int,
    num_workers: int,
    box_convention: BoxConvention = "wsolevaluation",
) -> list[Row]:
    """One of EXTRAS: its rows, which are in results.jsonl too.

    Args:
        predictor: the model.
        name: `wsol` or `coco`.
        root, out, batch_size, num_workers: see `runner.evaluate_benchmarks`.
        box_convention: how `wsol` counts pixels, see `wsol.overlap`.
    """
    folder = root / name
    lacking = [folder / path for path in _NEEDED[name] if not (folder / path).exists()]
    if lacking:
        note = str(Missing(lacking[0]))
        rows = [_row(predictor, name, {"metric": _PRIMARY[name], "note": note}, "missing")]
    else:
        told = f"{_told(folder, name)}" + (f" {box_convention}" if name == "wsol" else "")
        kept = [
            row for row in read_results(out / "results.jsonl")
            if row["benchmark"] == name and row["weights"] == predictor.digest
            and row["precision"] == predictor.precision and row.get("truth") == told
        ]  # fmt: skip
        if kept and (out / name / _KEPT[name]).is_file():
            return kept
        from luab_train.evaluate.report.outcomes import other_rows

        lost: list[Row] = []
        if name == "wsol":
            _localise(predictor, folder, out, batch_size, box_convention)
        else:
            lost = _coco(predictor, folder, out, batch_size, num_workers)
        found = [row for row in (*other_rows(out), *lost) if row["benchmark"] == name]
        rows = [_row(predictor, name, {**row, "truth": told}, str(row["status"])) for row in found]
    replace_rows(out / "results.jsonl", name, rows)
    return rows


def _told(folder: Path, name: str) -> str:
    """sha256 of the files that hold the labels, boxes and masks."""
    files = sorted((folder / "metadata").glob("*.txt"))
    if name == "coco":
        files = [folder / _NEEDED[name][1]]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _localise(
    predictor: Predictor, folder: Path, out: Path, batch_size: int, box_convention: BoxConvention
) -> None:
    from luab_train.evaluate.report.outcomes import write_localised
    from luab_train.evaluate.wsol.localise import localise
    from luab_train.evaluate.wsol.metadata import read_metadata

    metadata = read_metadata(folder / "metadata")
    localised = localise(
        predictor,
        metadata.files(folder / "images"),
        metadata,
        box_convention=box_convention,
        batch_size=min(batch_size, 64),
    )
    write_localised(out, localised)


def _coco(
    predictor: Predictor, folder: Path, out: Path, batch_size: int, num_workers: int
) -> list[Row]:
    """Scores, erased scores and maps; a row for the mPxAP if the model has no maps."""
    from luab_train.evaluate.coco.class_pixels import class_pixels
    from luab_train.evaluate.coco.evaluate import evaluate_coco
    from luab_train.evaluate.report.outcomes import drop_class_pixels, write_class_pixels

    images, instances = folder / "val2014", folder / _NEEDED["coco"][1]
    evaluate_coco(
        predictor,
        images,
        instances,
        out=out / "coco",
        batch_size=min(batch_size, 128),
        num_workers=num_workers,
    )
    try:
        pixels = class_pixels(predictor, images, instances, batch_size=min(batch_size, 64))
    except OptionError as error:  # a head that no map can be made of
        drop_class_pixels(out)
        return [{"benchmark": "coco", "metric": "mpxap", "status": "none", "note": str(error)}]
    write_class_pixels(out, pixels)
    return []


def _columns(name: str) -> list[tuple[str, str, str]]:
    """(metric, title, direction) of the report's columns, in their order."""
    from luab_train.evaluate.report.layout import LAYOUTS

    return [
        (column.metric, column.title, column.direction)
        for layout in LAYOUTS
        for column in layout.columns
        if column.benchmark == name
    ]


def _row(predictor: Predictor, name: str, found: Row, status: str) -> Row:
    titled = {metric: (title, direction) for metric, title, direction in _columns(name)}
    metric = found["metric"]
    title, direction = titled.get(metric, (metric, "up"))
    unit = "logits" if metric == "difference" else "percent"
    nothing: Row = {"value": None, "low": None, "high": None, "interval": "", "n": 0, "note": ""}
    return {
        "benchmark": name,
        "column": _TITLES[name],
        "title": title if unit == "percent" else f"{title}, {unit}",
        "primary": metric == _PRIMARY[name],
        "direction": direction,
        "unit": unit,
        **nothing,
        **found,
        "status": status,
        "dataset": [name],
        **provenance(predictor),
    }
