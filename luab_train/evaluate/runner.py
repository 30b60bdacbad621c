"""The suite: find the datasets, predict what is not yet predicted, score, write the rows.     [I/O]

    OUT/<benchmark>/<part>.parquet   predictions, see `predictions`
    OUT/results.jsonl                one row a metric

Everything that can be wrong with a folder is found before the first image is read. A killed run
repeats one part; the same command goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from luab_data.errors import ImagesError, OptionError
from luab_train.evaluate.backgrounds import ForegroundPart, challenge
from luab_train.evaluate.benchmarks import BENCHMARKS, BY_NAME, Benchmark
from luab_train.evaluate.layouts import Dataset, Missing, locate, scan_folders
from luab_train.evaluate.parts import Part
from luab_train.evaluate.predict import default_workers, predict_part
from luab_train.evaluate.predictions import is_current, read_about, write_predictions
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.rows import Row, provenance, replace_rows
from luab_train.evaluate.rows import read_results as read_results
from luab_train.evaluate.scoring import Score, Stored
from luab_train.train.run_folder import finite_or_none

ON_BAD = ("raise", "skip")


def evaluate_benchmarks(
    predictor: Predictor,
    *,
    root: Path,
    out: Path,
    names: Sequence[str] | None = None,
    on_bad: str = "raise",
    batch_size: int = 256,
    num_workers: int | None = None,
    shown: bool | None = None,
) -> list[Row]:
    """Evaluate a model on benchmarks and write predictions and results.

    Args:
        predictor: the model.
        root: the folder that holds the datasets.
        out: folder of the results; other benchmarks' files in it stay.
        names: which benchmarks; None for all of them.
        on_bad: an image that cannot be read is an error, or skipped and counted.
        batch_size, num_workers: change no result but for rounding.
        shown: progress bars; None shows them on a terminal.
    Returns: the rows of these benchmarks, in order.
    """
    chosen = choose(names)
    if on_bad not in ON_BAD:
        raise OptionError(f"on_bad is {on_bad!r}; expected one of {', '.join(ON_BAD)}")
    if batch_size < 1:
        raise OptionError(f"batch size {batch_size}; expected at least 1")
    places = find(chosen, root)
    rows: list[Row] = []
    for benchmark in chosen:
        found = [places[dataset.name] for dataset in benchmark.datasets]
        missing = [place for place in found if isinstance(place, Missing)]
        if missing:
            mine = [_missing_row(benchmark, str(missing[0]), predictor)]
        else:
            mine = _evaluate_one(
                predictor,
                benchmark,
                [place for place in found if isinstance(place, Path)],
                out,
                on_bad=on_bad,
                batch_size=batch_size,
                num_workers=default_workers() if num_workers is None else num_workers,
                shown=shown,
            )
        replace_rows(out / "results.jsonl", benchmark.name, mine)
        rows += mine
    return rows


def choose(names: Sequence[str] | None) -> list[Benchmark]:
    """Benchmarks by name, in the order of the table; None or `all` for all of them."""
    if names is None or list(names) == ["all"]:
        return list(BENCHMARKS)
    if unknown := [name for name in names if name not in BY_NAME]:
        raise OptionError(
            f"unknown benchmark {', '.join(unknown)}; expected all, or some of {', '.join(BY_NAME)}"
        )
    return [benchmark for benchmark in BENCHMARKS if benchmark.name in names]


def find(benchmarks: Sequence[Benchmark], root: Path) -> dict[str, Path | Missing]:
    """Name of a dataset -> its folder, or where to put it."""
    folders = scan_folders(root)
    datasets: dict[str, Dataset] = {d.name: d for b in benchmarks for d in b.datasets}
    return {name: locate(dataset, root, folders) for name, dataset in datasets.items()}


def _evaluate_one(
    predictor: Predictor,
    benchmark: Benchmark,
    roots: list[Path],
    out: Path,
    *,
    on_bad: str,
    batch_size: int,
    num_workers: int,
    shown: bool | None,
) -> list[Row]:
    folder = out / benchmark.folder
    names: list[str] = []
    labels: set[str] = set()
    totals: dict[str, int] = {}
    lacking: list[str] = []
    for part in benchmark.parts(roots, predictor.classes):
        totals["num_left_out"] = totals.get("num_left_out", 0) + part.num_left_out
        totals["num_labels"] = max(totals.get("num_labels", 0), part.num_labels)
        listed = len(part) + part.num_left_out
        if part.num_published not in (0, listed):
            lacking.append(f"{part.name} holds {listed:,} of {part.num_published:,} images")
        if not len(part):
            continue
        file = folder / f"{part.name}.parquet"
        about = _about(predictor, part)
        if not (is_current(file, about) and _tolerable(file, on_bad)):
            _predict(
                predictor,
                part,
                file,
                about,
                on_bad=on_bad,
                batch_size=batch_size,
                num_workers=num_workers,
                what=f"{benchmark.title} {part.name}",
                shown=shown,
            )
        names.append(part.name)
        labels |= set(part.accepted)
        for key, value in read_about(file)["counts"].items():
            totals[key] = totals.get(key, 0) + value
    if not names:
        note = "none of its classes is among the model's"
        return [_row(benchmark, _nothing(benchmark, note), predictor, "no class", totals, roots)]
    totals["num_labels_used"] = len(labels)
    first, *others = benchmark.score(Stored(folder, names))
    if lacking:
        more = f", and {len(lacking) - 1} more parts" if len(lacking) > 1 else ""
        told = f"{lacking[0]} of the published set{more}"
        first = replace(first, note="; ".join(filter(None, (first.note, told))))
    return [
        _row(
            benchmark,
            score,
            predictor,
            "done" if math.isfinite(score.value) else "incomplete",
            totals,
            roots,
        )
        for score in (first, *others)
    ]


def _predict(
    predictor: Predictor,
    part: Part,
    file: Path,
    about: Mapping[str, Any],
    *,
    on_bad: str,
    batch_size: int,
    num_workers: int,
    what: str,
    shown: bool | None,
) -> None:
    if isinstance(part, ForegroundPart):
        table, counts = challenge(
            predictor, part, on_bad=on_bad, batch_size=batch_size, what=what, shown=shown
        )
    else:
        table, counts = predict_part(
            predictor,
            part,
            on_bad=on_bad,
            batch_size=batch_size,
            num_workers=num_workers,
            what=what,
            shown=shown,
        )
    num_bad = len(table) - table["error"].null_count
    if num_bad == len(table):
        raise ImagesError(
            f"{part.root}: none of its {num_bad} images can be read, e.g."
            f" {table['error'][0].as_py()}; unpack the archive again"
        )
    counts["num_bad"] = num_bad + counts.pop("num_bad_backgrounds", 0)
    write_predictions(file, table, {**about, "counts": counts})


def _about(predictor: Predictor, part: Part) -> dict[str, Any]:
    """What decides a part's predictions."""
    data = predictor.data
    return {
        "weights": predictor.digest,
        "part": part.digest,
        "settings": {
            "prepared": part.prepared,
            "view": part.view,
            "num_masked_classes": None if part.mask is None else len(part.mask),
            "image_size": data.image_size,
            "eval_resize": data.eval_resize,
            "eval_fit": data.eval_fit,
            "interpolation": data.interpolation,
            "mean": list(data.mean),
            "std": list(data.std),
            "precision": predictor.precision,
            "point_trained": predictor.point_trained,
        },
        "accepted": {label: list(wnids) for label, wnids in part.accepted.items()},
        "model": predictor.name,
    }


def _tolerable(file: Path, on_bad: str) -> bool:
    """Whether a finished part may be used: one with skipped images only where they may be."""
    return on_bad == "skip" or not read_about(file)["counts"]["num_bad"]


def _nothing(benchmark: Benchmark, note: str) -> Score:
    nan = math.nan
    return Score(
        metric=benchmark.metrics[0].name, value=nan, low=nan, high=nan, n=0, interval="", note=note
    )


def _missing_row(benchmark: Benchmark, note: str, predictor: Predictor) -> Row:
    return _row(benchmark, _nothing(benchmark, note), predictor, "missing", {}, [])


def _row(
    benchmark: Benchmark,
    score: Score,
    predictor: Predictor,
    status: str,
    totals: Mapping[str, int],
    roots: Sequence[Path],
) -> Row:
    metric = benchmark.metric(score.metric)
    return {
        "benchmark": benchmark.name,
        "column": benchmark.title,
        "metric": metric.name,
        "title": metric.title,
        "primary": metric is benchmark.metrics[0],
        "direction": metric.direction,
        "unit": "percent",
        "status": status,
        "value": finite_or_none(score.value),
        "low": finite_or_none(score.low),
        "high": finite_or_none(score.high),
        "interval": score.interval,
        "n": score.n,
        "note": score.note,
        **{key: totals.get(key, 0) for key in _COUNTS},
        "dataset": [root.name for root in roots],
        **provenance(predictor),
    }


_COUNTS = (
    *("num_bad", "num_left_out", "num_labels", "num_labels_used", "num_turned", "num_resized"),
    "num_forwards",
)
