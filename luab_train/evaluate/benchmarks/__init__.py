"""Every benchmark, one entry each: the columns of the paper's Table 1, then those by name alone."""

from __future__ import annotations

from luab_train.evaluate.benchmark import Benchmark
from luab_train.evaluate.benchmarks.calibration import calibrations
from luab_train.evaluate.benchmarks.imagenet import IMAGENET
from luab_train.evaluate.benchmarks.imagenet_w import IMAGENET_W
from luab_train.evaluate.benchmarks.imagenet_x import IMAGENET_X
from luab_train.evaluate.benchmarks.localisation import LOCALISATION
from luab_train.evaluate.benchmarks.robustness import ROBUSTNESS

_ENTRIES = (*IMAGENET, *ROBUSTNESS)
_TABLE_1 = (
    *("in-1k", "in-v2", "in-real", "in-a", "in-c", "in-o", "sketch", "in-r", "cocc", "objectnet"),
    *("si-size", "si-loc", "si-rot", "bgc-gap", "bgc-acc"),
)
BENCHMARKS: tuple[Benchmark, ...] = tuple(
    sorted(_ENTRIES, key=lambda entry: _TABLE_1.index(entry.name))
)
"""The columns of Table 1, which `all` means."""

_BY_NAME_ALONE = (*LOCALISATION, *calibrations(BENCHMARKS), IMAGENET_X, IMAGENET_W)
BY_NAME = {entry.name: entry for entry in (*BENCHMARKS, *_BY_NAME_ALONE)}
"""All of them."""
