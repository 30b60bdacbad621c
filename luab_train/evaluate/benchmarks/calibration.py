"""Calibration of any benchmark that is one accuracy, from its stored predictions: no new images.

`in-1k-calibration` is that of `in-1k`, and so on (docs/definitions.md#without-new-images).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luab_train.evaluate import measures
from luab_train.evaluate.benchmark import Benchmark
from luab_train.metrics.robustness import calibration_error
from luab_train.metrics.sums import ALL, Metric

CALIBRATION = (
    Metric(
        name="ece", title="calibration error, 15 bins", direction="down",
        measure=measures.overconfidence, weights=dict.fromkeys(measures.BINS, 1.0),
        finish=calibration_error, own_cells=True,
    ),
    Metric(
        name="nll", title="log loss", direction="down", measure=measures.surprise, scale=1.0,
        unit="nats",
    ),
)  # fmt: skip
"""Guo et al., On calibration of modern neural networks, ICML 2017."""


def calibrations(benchmarks: Sequence[Benchmark]) -> tuple[Benchmark, ...]:
    """Of those whose first metric is one accuracy of one part."""
    return tuple(
        replace(
            of,
            name=f"{of.name}-calibration",
            title=f"{of.title} calibration",
            metrics=CALIBRATION,
            stored_as=of.folder,
            in_all=False,
            quoted={},
        )
        for of in benchmarks
        if of.metrics[0].measure is measures.correct and [*of.metrics[0].weights] == [ALL]
    )
