"""Localisation and COCO as rows like those of results.jsonl, kept beside them.     [I/O]

EVALUATION/results.jsonl         the benchmarks of Table 1, see `evaluation.runner`
EVALUATION/wsol/rows.parquet     a row an image, the metrics in its metadata: `write_localised`
EVALUATION/coco/scores.parquet, objects.parquet   of `evaluate_coco(out=EVALUATION/"coco")`
EVALUATION/coco/pixels.json      mPxAP: `write_class_pixels`
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.errors import OptionError, OutputError
from luab_data.files import write_whole
from luab_data.statistics.estimate import Estimate
from luab_train.evaluate.intervals import NOTHING, Interval, wilson
from luab_train.evaluate.scores import count
from luab_train.train.run_folder import finite_or_none

if TYPE_CHECKING:
    from luab_train.evaluate.coco.class_pixels import ClassPixels
    from luab_train.evaluate.coco.summary import CocoResult
    from luab_train.evaluate.wsol.localise import Localised

Row = Mapping[str, Any]
"""As of results.jsonl; at least benchmark, metric, status, value, low, high, n, note."""

WSOL, COCO = "wsol", "coco"
_ROWS, _PIXELS = "rows.parquet", "pixels.json"
_KEY = b"luab_metrics"


def write_localised(evaluation: Path, localised: Localised) -> Path:
    """Keep the rows and metrics of `wsol.localise` in an evaluation's folder; the file."""
    file = evaluation / WSOL / _ROWS
    metrics = {
        key: finite_or_none(value) if isinstance(value, float) else value
        for key, value in localised.metrics().items()
    }
    table = localised.rows.replace_schema_metadata({_KEY: json.dumps(metrics).encode()})
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, partial, compression="zstd")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{file}: cannot be written ({error})") from error
    return file


def read_localised(evaluation: Path) -> tuple[pa.Table, dict[str, Any]] | None:
    """Rows and metrics that `write_localised` kept; None if there are none."""
    file = evaluation / WSOL / _ROWS
    if not file.is_file():
        return None
    try:
        table = pq.read_table(file)
        metrics = json.loads((table.schema.metadata or {})[_KEY])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise OptionError(
            f"{file}: cannot be read ({error!r}); expected what write_localised wrote. Localise"
            " again"
        ) from error
    return table, metrics


def write_class_pixels(evaluation: Path, pixels: ClassPixels) -> Path:
    """Keep the mPxAP in an evaluation's folder; the file."""
    file = evaluation / COCO / _PIXELS
    content = {
        **{
            name: finite_or_none(float(getattr(pixels.mean, name)))
            for name in ("value", "low", "high", "null")
        },
        **{name: getattr(pixels, name) for name in _PIXEL_FACTS},
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{file.parent}: cannot be made ({error.strerror})") from error
    write_whole(file, (json.dumps(content) + "\n").encode())
    return file


def drop_class_pixels(evaluation: Path) -> None:
    """Forget an mPxAP that other weights had."""
    (evaluation / COCO / _PIXELS).unlink(missing_ok=True)


_PIXEL_FACTS = (
    *("num_images", "num_pairs", "num_flat", "num_crowds"),
    *("method", "map_size", "input_size"),
)


def other_rows(evaluation: Path, *, known: Collection[str] = ()) -> list[Row]:
    """Rows of localisation and COCO, percent but for D; none where nothing was kept.

    Args:
        evaluation: its folder.
        known: of these, `wsol` or `coco`, results.jsonl has the rows; they are not made again.
    """
    rows: list[Row] = []
    localised = None if WSOL in known else read_localised(evaluation)
    if localised is not None:
        rows += _wsol_rows(*localised)
    if COCO not in known and (evaluation / COCO / "scores.parquet").is_file():
        from luab_train.evaluate.coco.storage import read_tables
        from luab_train.evaluate.coco.summary import summarise

        rows += coco_rows(summarise(read_tables(evaluation / COCO)))
    pixels = evaluation / COCO / _PIXELS
    if pixels.is_file():
        rows.append(_pixels_row(pixels))
    return rows


def wsol_correct(table: pa.Table, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Which images are right by a metric, and which have a say; (N,) bool each. None: unknown.

    The best threshold is each model's own.
    """
    overlaps = {"top1_loc": "iou", "top1_loc_fixed": "iou_fixed"}
    if metric in overlaps:
        right = table["predicted"].to_numpy() == table["label"].to_numpy()
        right &= table[overlaps[metric]].to_numpy() >= 0.5
        return right, np.ones(len(table), bool)
    if metric in ("point_in_box", "peak_in_box"):
        inside = table[metric].cast(pa.float64()).to_numpy()
        # A flat map has no peak and misses; a head that was not trained says nothing.
        seen = np.isfinite(inside) if metric == "point_in_box" else np.ones(len(table), bool)
        return np.nan_to_num(inside) > 0, seen
    return None


_WSOL_METRICS = (
    *("top1_loc", "top1_loc_fixed", "max_box_acc", "max_box_acc_v2"),
    *("point_in_box", "peak_in_box", "centre_in_box"),
)


def _wsol_rows(table: pa.Table, metrics: Mapping[str, Any]) -> list[Row]:
    rows = []
    facts = (
        f"{metrics['map_method']}, {metrics['map_size']} maps, {metrics['box_convention']} boxes"
    )
    for metric in _WSOL_METRICS:
        value = metrics.get(metric)
        judged = wsol_correct(table, metric)
        ends, how, n = NOTHING, "", int(metrics.get("num_images", len(table)))
        if judged is not None:
            right, seen = judged
            ends, how, n = wilson(count(right[seen])), "wilson", int(seen.sum())
        tau = metrics.get(f"{metric}_tau")
        note = facts if tau is None else f"{facts}, τ = {tau:g}"
        rows.append(_row(WSOL, metric, None if value is None else 100 * value, ends, n, how, note))
    return rows


def coco_rows(result: CocoResult) -> list[Row]:
    """Rows of a result on COCO."""
    note = f"{result.facts['geometry']} view"
    found: list[tuple[str, Estimate, float, int]] = [
        ("map", result.precision.mean, 100.0, result.num_images)
    ]
    if (context := result.context) is not None:
        found += [
            ("v_random", context.random.mean, 100.0, context.num_images),
            ("v_worst", context.worst.mean, 100.0, context.num_images),
            ("difference", context.difference.mean, 1.0, context.num_images),
        ]
    if (pointing := result.pointing) is not None:
        found += [
            ("on_mask", pointing.on_mask.mean, 100.0, pointing.num_images),
            ("centre", pointing.centre.mean, 100.0, pointing.num_images),
        ]
    return [
        _row(
            COCO, metric, factor * float(e.value),
            Interval(factor * float(e.low), factor * float(e.high)), n, "bootstrap", note,
        )
        for metric, e, factor, n in found
    ]  # fmt: skip


def _pixels_row(file: Path) -> Row:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        value, low, high = (
            math.nan if found[key] is None else 100 * found[key] for key in ("value", "low", "high")
        )
        chance = "unknown" if found["null"] is None else f"{100 * found['null']:.1f}"
        note = (
            f"{found['method']}, {found['map_size']} maps of {found['input_size']} px, chance"
            f" {chance}"
        )
        n = int(found["num_images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(
            f"{file}: cannot be read ({error!r}); expected what write_class_pixels wrote"
        ) from error
    return _row(COCO, "mpxap", value, Interval(low, high), n, "jackknife", note)


def _row(
    benchmark: str, metric: str, value: float | None, ends: Interval, n: int, how: str, note: str
) -> Row:
    known = value is not None and math.isfinite(value)
    return {
        "benchmark": benchmark,
        "metric": metric,
        "status": "done" if known else "none",
        "value": value if known else None,
        "low": finite_or_none(ends.low),
        "high": finite_or_none(ends.high),
        "interval": how,
        "n": n,
        "note": note,
    }
