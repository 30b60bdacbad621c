"""Right and wrong, and the units of the robustness benchmarks. Pure.

Definitions: docs/definitions.md#imagenet-benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

C15 = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
"""Corruptions of ImageNet-C's main table."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four that make C19."""
SEVERITIES = (1, 2, 3, 4, 5)

ALEXNET_ERROR = dict(
    zip(
        C15,
        (
            0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816,
            0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500,
        ),
        strict=True,
    )
)  # fmt: skip
"""Mean error of AlexNet over the severities, the unit of mCE. Source: easyrobust, imagenet_c.py."""


def cells(names: Sequence[str]) -> dict[str, float]:
    """Weight 1 for each severity of some corruptions."""
    return {f"{name}-{severity}": 1.0 for name in names for severity in SEVERITIES}


def mce_cells() -> dict[str, float]:
    """Weights of mCE: errors over AlexNet's."""
    return {f"{name}-{s}": -1 / ALEXNET_ERROR[name] for name in C15 for s in SEVERITIES}


MCE_OFFSET = float(np.mean([100 / error for error in ALEXNET_ERROR.values()]))
"""mCE of a model that is always wrong."""


def is_accepted(
    top1: Sequence[str] | np.ndarray,
    label: Sequence[str] | np.ndarray,
    accepted: Mapping[str, Sequence[str]],
    *,
    first_only: bool = False,
) -> np.ndarray:
    """(N,) bool: the predicted class is among those that are right for the label.

    Args:
        top1: (N,) predicted class.
        label: (N,) label.
        accepted: label -> classes that are right.
        first_only: only the first of them is.
    """
    if not len(label):
        return np.zeros(0, dtype=bool)
    classes, predicted = np.unique(np.asarray(top1), return_inverse=True)
    labels, true = np.unique(np.asarray(label), return_inverse=True)
    right = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, name in enumerate(labels.tolist()):
        good = accepted[name][:1] if first_only else accepted[name]
        right[row] = np.isin(classes, np.array(list(good), dtype=str))
    found: np.ndarray = right[true, predicted]
    return found


NUM_BINS = 15
"""Of equal width, of the calibration error. Source: Guo et al., On calibration of modern neural
networks, ICML 2017."""


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """(N,) int64 bin of each confidence; one on an edge belongs to the lower bin."""
    found: np.ndarray = np.searchsorted(np.linspace(0, 1, NUM_BINS + 1)[1:-1], confidence)
    return found


def calibration_error(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
    """(R,) expected calibration error, percent, from the sums of confidence less right of each bin.

    Args:
        sums, n: (R, NUM_BINS).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * np.abs(sums).sum(axis=-1) / n.sum(axis=-1))


def worst_group(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
    """(R,) accuracy of the group that is worst off, percent; NaN where none was seen.

    Groups without an image in a resample take no part in it.

    Source: Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020.

    Args:
        sums: (R, G) right answers in each group.
        n: (R, G) images of each group.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(n > 0, 100 * sums / n, np.inf)
    worst = share.min(axis=-1)
    return np.where(np.isfinite(worst), worst, np.nan)
