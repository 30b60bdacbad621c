"""One benchmark of classification: predict the parts that are not there yet, and score them.

[I/O]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from luab_data.errors import ImagesError
from luab_data.words import counted
from luab_train.data.inputs import EvalCrop
from luab_train.evaluate import processes
from luab_train.evaluate.backgrounds import challenge
from luab_train.evaluate.benchmark import Benchmark, Result, nothing
from luab_train.evaluate.parts import ForegroundPart, Part
from luab_train.evaluate.predict import predict_part
from luab_train.evaluate.predictions import (
    PAIRS_SCHEMA,
    SCHEMA,
    Predicted,
    is_current,
    keep,
    of_table,
    read_about,
    read_predictions,
)
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.settings import Settings
from luab_train.metrics.intervals import Estimate
from luab_train.metrics.sums import Measure, Metric, Table, estimates, lacking, table_of


def classify(
    predictor: Predictor, benchmark: Benchmark, roots: list[Path], folder: Path, settings: Settings
) -> Result:
    """Predict the parts that are not there yet, and score them all."""
    names: list[str] = []
    held: dict[str, Predicted] = {}
    labels: set[str] = set()
    counts = dict.fromkeys(("num_left_out", "num_labels"), 0)
    sizes: dict[str, _Size] = {}
    short: list[str] = []
    unwritten = ""
    for part in benchmark.parts(roots, predictor.classes):
        listed = len(part) + part.num_left_out
        # Two views of the same images are no more images.
        images = part.name if isinstance(part, ForegroundPart) else str(part.root)
        sizes[part.name] = _Size(images, listed, part.num_published)
        counts["num_left_out"] += part.num_left_out
        counts["num_labels"] = max(counts["num_labels"], part.num_labels)
        if part.num_published not in (0, listed):
            short.append(f"{part.name} holds {listed:,} of {part.num_published:,} images")
        if not len(part):
            continue
        file = folder / f"{part.name}.parquet"
        about = _about(predictor, part)
        columns = (PAIRS_SCHEMA if isinstance(part, ForegroundPart) else SCHEMA).names
        if not processes.first(lambda: _may_stay(file, about, columns, settings)):  # noqa: B023
            what = f"{benchmark.title} {part.name}"
            table, about = _predict(predictor, part, about, settings, what=what)
            said = processes.first(lambda: keep(file, table, about))  # noqa: B023
            if said:
                held[part.name], unwritten = of_table(part.name, table, about), said
        names.append(part.name)
        labels |= set(part.accepted)
        told = about if part.name in held else read_about(file)
        for key, value in told["counts"].items():
            counts[key] = counts.get(key, 0) + value
    counts["num_labels_used"] = len(labels)
    counts["num_images"], counts["num_published"] = _of_published(sizes.values())
    if not names:
        lacks = "none of its classes is among the model's"
        return nothing(benchmark, lacks, "no class")._replace(counts=counts)

    def parts() -> Iterator[Predicted]:
        for name in names:
            yield held.get(name) or read_predictions(folder / f"{name}.parquet")

    found, notes = processes.first(lambda: score(benchmark, parts))
    if forwards := counts.get("num_forwards"):
        _add_note(notes, benchmark, f"{forwards:,} forward passes")
    if short:
        more = f" (short as well: {counted(len(short) - 1, 'other part')})" if short[1:] else ""
        _add_note(notes, benchmark, f"{short[0]} of the published set{more}")
    partial = {name: _partial(benchmark.metric(name), sizes, counts) for name in found}
    return Result(found, notes, counts, partial, unwritten=unwritten)


class _Size(NamedTuple):
    """Of a part: which images, how many of them there are, and how many as published."""

    images: str
    num: int
    num_published: int


def _of_published(sizes: Iterable[_Size]) -> tuple[int, int]:
    """How many images of how many, each counted once."""
    once = {size.images: size for size in sizes}.values()
    return sum(size.num for size in once), sum(size.num_published for size in once)


def _partial(metric: Metric | None, sizes: Mapping[str, _Size], counts: Mapping[str, int]) -> str:
    """Which part of the published images and classes a metric is of; empty if all."""
    mine = [sizes[name] for name in metric.weights if name in sizes] if metric is not None else []
    mine = mine or [*sizes.values()]
    told = []
    if any(size.num_published not in (0, size.num) for size in mine):
        told.append("{:,} of {:,} images".format(*_of_published(mine)))
    if counts["num_labels_used"] < counts["num_labels"]:
        told.append(f"{counts['num_labels_used']:,} of {counts['num_labels']:,} classes")
    return ", ".join(told)


def score(
    benchmark: Benchmark, parts: Callable[[], Iterable[Predicted]]
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Metric -> its number, and what is lacking for it, from stored predictions alone.

    Args:
        benchmark: whose metrics.
        parts: reads all predictions, one after another; called once a measure.
    """
    tables: dict[Measure, Table] = {}

    def read(measure: Measure) -> Table:
        if measure not in tables:
            tables[measure] = table_of(measure, parts())
        return tables[measure]

    there = [m for m in benchmark.metrics if not (m.detail and lacking(m, read(m.measure)))]
    found, notes = estimates(there, read), {}
    for metric in there:
        if lacks := lacking(metric, read(metric.measure)):
            more = ", ..." if len(lacks) > 3 else ""
            notes[metric.name] = (
                f"missing {len(lacks)} of {len(metric.weights)} parts: {', '.join(lacks[:3])}{more}"
            )
    return found, notes


def _add_note(notes: dict[str, str], benchmark: Benchmark, told: str) -> None:
    name = benchmark.metrics[0].name
    notes[name] = "; ".join(filter(None, (notes.get(name, ""), told)))


def _predict(
    predictor: Predictor, part: Part, about: dict[str, Any], settings: Settings, *, what: str
) -> tuple[pa.Table, dict[str, Any]]:
    if isinstance(part, ForegroundPart):
        table, counts = challenge(predictor, part, settings, what=what)
    else:
        table, counts = predict_part(predictor, part, settings, what=what)
    num_bad = len(table) - table["error"].null_count
    if num_bad == len(table):
        raise ImagesError(
            f"{part.root}: none of its {num_bad} images can be read, e.g."
            f" {table['error'][0].as_py()}; unpack the archive again"
        )
    counts["num_bad"] = num_bad + counts.pop("num_bad_backgrounds", 0)
    return table, {**about, "counts": counts}


def _may_stay(
    file: Path, about: Mapping[str, Any], columns: Sequence[str], settings: Settings
) -> bool:
    """Whether a finished part may be used: one with skipped images only where they may be."""
    if not is_current(file, about, columns):
        return False
    return settings.on_bad == "skip" or not read_about(file)["counts"]["num_bad"]


def _about(predictor: Predictor, part: Part) -> dict[str, Any]:
    """What decides a part's predictions."""
    return {
        "weights": predictor.digest,
        "part": part.digest,
        "settings": {
            "prepared": part.prepared,
            "view": part.view,
            "num_masked_classes": None if part.mask is None else len(part.mask),
            **fed(predictor),
            "point_trained": predictor.point_trained,
        },
        "accepted": {label: list(wnids) for label, wnids in part.accepted.items()},
        "model": predictor.name,
    }


def fed(predictor: Predictor) -> dict[str, Any]:
    """How images reach the network, for results."""
    return {**EvalCrop(predictor.data).describe(), "precision": predictor.precision}
