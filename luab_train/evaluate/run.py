"""The driver: find the datasets, predict what is not there yet, score, write the rows.     [I/O]

    OUT/<benchmark>/<part>.parquet   predictions, see `predictions`
    OUT/results.jsonl                one row a metric, see `stored`

One process, or all that torchrun started. A benchmark that fails does not end the others: its row
says why. A killed run repeats one part; the same command goes on from there.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from luab_data.errors import LuabError, OptionError, OutputError
from luab_data.tools import COCO
from luab_train.evaluate import processes
from luab_train.evaluate.benchmark import Benchmark, Result, nothing
from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.classify import classify, fed
from luab_train.evaluate.layouts import Dataset, Missing, locate, scan_folders
from luab_train.evaluate.predictor import Predictor, load_predictor
from luab_train.evaluate.settings import Settings
from luab_train.evaluate.stored import Row, read_rows, replace_rows
from luab_train.train.device import versions
from luab_train.train.run_folder import finite_or_none


def evaluate_model(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str],
    names: Sequence[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    arch: str | None = None,
    pretrained: bool = False,
    precision: str = "no",
    preprocessing: str = "paper",
    random_weights: bool = False,
    weights_key: str | None = None,
    settings: Settings | None = None,
) -> tuple[list[Row], Path]:
    """Evaluate whatever `source` names on benchmarks; the rows, and the folder they are in.

    Args:
        source, arch, pretrained, random_weights, weights_key, precision, preprocessing: see
            `load_predictor`.
        root, names, settings: see `evaluate_benchmarks`.
        out: folder of the results; None is RUN/evaluation for a run, else evaluation/<name> here.
    """
    processes.join()
    path, asked = Path(source), [*(names or ["all"])]
    choose(asked)
    if preprocessing != "paper" and asked == ["coco"]:
        raise OptionError(
            f"--preprocessing {preprocessing}: COCO has views of its own; leave it out"
        )
    options: dict[str, Any] = {
        "arch": arch,
        "pretrained": pretrained,
        "random_weights": random_weights,
        "weights_key": weights_key,
        "precision": precision,
        "preprocessing": preprocessing,
    }
    # One process may have to fetch timm's weights; the others then find them in its cache.
    processes.first(lambda: _loaded(source, asked, options) and None)
    predictor = _loaded(source, asked, options)
    if processes.rank() == 0:
        for note in predictor.notes:
            click.echo(note, err=True)
    folder = Path(out) if out is not None else _default_folder(path, predictor)
    rows = evaluate_benchmarks(
        predictor, root=Path(root), out=folder, names=asked, settings=settings
    )
    return rows, folder


def _loaded(
    source: str | os.PathLike[str], asked: Sequence[str], options: Mapping[str, Any]
) -> Predictor:
    """The model; a file of weights that does not say its classes has ImageNet's, or COCO's where
    these are asked for.
    """
    if asked == ["coco"]:
        return load_predictor(source, classes=COCO.names, **options)
    try:
        return load_predictor(source, **options)
    except OptionError as error:
        if "coco" not in asked:
            raise
        try:
            return load_predictor(source, classes=COCO.names, **options)
        except OptionError:
            raise error from None


def _default_folder(source: Path, predictor: Predictor) -> Path:
    if source.is_dir():
        return source / "evaluation"
    return Path("evaluation") / re.sub(r"[^A-Za-z0-9.-]+", "-", predictor.name).strip("-")


def evaluate_benchmarks(
    predictor: Predictor,
    *,
    root: Path,
    out: Path,
    names: Sequence[str] | None = None,
    settings: Settings | None = None,
) -> list[Row]:
    """Evaluate a model on benchmarks and write predictions and results.

    Args:
        predictor: the model.
        root: the folder that holds the datasets.
        out: folder of the results; other benchmarks' files in it stay.
        names: which benchmarks; None or `all` for those of Table 1.
        settings: how; None takes the defaults.
    Returns: the rows of these benchmarks, in order. Where a benchmark failed, or could not be
        written, `status` is failed, or `unwritten` says why; the others are done all the same.
    """
    chosen, settings = choose(names), settings or Settings()
    folders = processes.first(lambda: scan_folders(root))
    rows: list[Row] = []
    for benchmark in chosen:
        found, roots = _evaluate(predictor, benchmark, root, folders, out, settings)
        mine = processes.first(lambda: _written(out, predictor, benchmark, found, roots))  # noqa: B023
        rows += mine
    return rows


def choose(names: Sequence[str] | None) -> list[Benchmark]:
    """Benchmarks by name, in the order of `BY_NAME`; None or `all` for those of Table 1."""
    asked = {*names} if names is not None else {"all"}
    if unknown := [name for name in names or () if name not in {*BY_NAME, "all"}]:
        raise OptionError(
            f"unknown benchmark {', '.join(unknown)}; expected all, or some of {', '.join(BY_NAME)}"
        )
    return [b for b in BY_NAME.values() if b.name in asked or ("all" in asked and b.in_all)]


def _check_classes(benchmark: Benchmark, predictor: Predictor) -> None:
    """Whether the model can be asked for it at all."""
    is_coco = tuple(predictor.classes) == COCO.names
    is_imagenet = not is_coco and not predictor.multi_label
    if is_coco if benchmark.classes == "COCO" else is_imagenet:
        return
    wanted = "those of ImageNet, one an image"
    if benchmark.classes == "COCO":
        wanted = "the 80 of COCO, of a run on coco-ab or a file of weights with 80 outputs"
    own = ""
    if predictor.multi_label and not is_coco:
        own = "; its own are evaluated by --images FOLDER --boxes INSTANCES"
    raise OptionError(
        f"{benchmark.name}: the model has {len(predictor.classes)} classes"
        f" ({', '.join(predictor.classes[:2])}, ...); expected {wanted}{own}"
    )


def find(benchmark: Benchmark, root: Path, folders: Sequence[str]) -> list[Path | Missing]:
    """The folders of its datasets, or where to put them."""
    datasets: dict[str, Dataset] = {d.name: d for d in benchmark.datasets}
    return [locate(dataset, root, folders) for dataset in datasets.values()]


def _evaluate(
    predictor: Predictor,
    benchmark: Benchmark,
    root: Path,
    folders: Sequence[str],
    out: Path,
    settings: Settings,
) -> tuple[Result, list[Path]]:
    """What came of it, whatever came of it."""
    try:
        _check_classes(benchmark, predictor)
        places = processes.first(lambda: find(benchmark, root, folders))
        lacks = [str(place) for place in places if isinstance(place, Missing)]
        lacks += [f"missing: {need}" for need in [benchmark.needs()] if need is not None]
        if lacks:
            return nothing(benchmark, lacks[0], "missing"), []
        roots = [place for place in places if isinstance(place, Path)]
        if benchmark.evaluate is not None:
            return benchmark.evaluate(predictor, roots, out, settings), roots
        return classify(predictor, benchmark, roots, out / benchmark.folder, settings), roots
    except LuabError as error:
        return nothing(benchmark, str(error), "failed"), []


def _written(
    out: Path, predictor: Predictor, benchmark: Benchmark, result: Result, roots: Sequence[Path]
) -> list[Row]:
    """Its rows, in results.jsonl too; if the disk refuses, they say so."""
    made_with = {
        "model": predictor.name,
        "weights": predictor.digest,
        **fed(predictor),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    rows = [_row(benchmark, name, result, roots) | made_with for name in result.estimates]
    if any(row["value"] is not None for row in rows):
        _tell_of_others(out, benchmark.name, {"weights": predictor.digest, **fed(predictor)})
    try:
        kept = replace_rows(out, benchmark.name, rows)
    except OutputError as error:
        result = result._replace(unwritten=result.unwritten or str(error))
        kept = True
    if not kept:
        rows[0]["note"] += "; the numbers of an earlier evaluation stay in results.jsonl"
    return [{**row, "unwritten": result.unwritten} if result.unwritten else row for row in rows]


def _tell_of_others(out: Path, benchmark: str, how: Mapping[str, Any]) -> None:
    """Say that numbers of other weights, or of another input or precision, are replaced."""
    for row in read_rows(out):
        if row["benchmark"] == benchmark and row["value"] is not None:
            changed = [key for key in how if key in row and row[key] != how[key]]
            if changed:
                told = ", ".join(
                    f"{key} {str(row[key])[:12]}, now {str(how[key])[:12]}" for key in changed
                )
                click.echo(
                    f"{benchmark}: replaces an earlier result in {out} ({told}); to keep both, take"
                    " another --out",
                    err=True,
                )
            return


def _row(benchmark: Benchmark, name: str, result: Result, roots: Sequence[Path]) -> Row:
    metric, found = benchmark.metric(name), result.estimates[name]
    assert metric is not None
    status = "done" if math.isfinite(found.value) else "incomplete"
    keys = ("num_images", "num_published", *_COUNTS)
    return {
        "benchmark": benchmark.name,
        "column": benchmark.title,
        "metric": name,
        "title": metric.title,
        "primary": metric is benchmark.metrics[0],
        "direction": metric.direction,
        "unit": metric.unit,
        "status": result.status.get(name, status),
        "value": finite_or_none(found.value),
        "low": finite_or_none(found.low),
        "high": finite_or_none(found.high),
        "interval": found.method,
        "n": found.n,
        "note": "; ".join(filter(None, (result.notes.get(name, ""), found.why_none))),
        "partial": result.partial.get(name, ""),
        **{key: result.counts.get(key, 0) for key in keys},
        "dataset": [root.name for root in roots],
    }


_COUNTS = (
    *("num_bad", "num_left_out", "num_labels", "num_labels_used", "num_turned", "num_resized"),
    "num_forwards",
)
