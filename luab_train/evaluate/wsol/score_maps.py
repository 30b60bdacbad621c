"""Score maps at the size of the evaluation, 224 x 224, and in [0, 1]. Pure NumPy and OpenCV.

`N` maps, `h` x `w` as the network makes them, `S` px a side after resizing. Pixels are continuous:
the map spans [0, S] x [0, S], the centre of its first pixel is (.5, .5).
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from luab_data.console import install_command
from luab_data.errors import OptionError

SIZE = 224
"""px a side at which maps, boxes and masks are compared
(docs/definitions.md#class-activation-maps)."""


def opencv() -> ModuleType:
    """The module cv2, of the `[eval]` extra, or the error that says how to get it."""
    try:
        import cv2
    except ImportError as error:
        raise OptionError(
            f"cv2 cannot be imported ({error}); expected OpenCV, which resizes score maps and finds"
            f" their contours. Install it: {install_command('eval')}"
        ) from error
    return cv2


def score_map(activation_hw: np.ndarray, *, size: int = SIZE) -> np.ndarray:
    """(h, w) activations -> (size, size) float64 in [0, 1]: cubic resize, then min-max.

    All zeros if the activations are constant or not finite, as there is nothing to localise.
    Source: clovaai/wsolevaluation, inference.py, which refuses infinities.
    """
    cv2 = opencv()
    if not np.isfinite(activation_hw).all():
        return np.zeros((size, size))
    resized = cv2.resize(
        activation_hw.astype(np.float64), (size, size), interpolation=cv2.INTER_CUBIC
    )
    return normalise(resized)


def normalise(scores: np.ndarray) -> np.ndarray:
    """(H, W) float64 -> its minimum at 0 and its maximum at 1; zeros if constant or not finite."""
    low, high = scores.min(), scores.max()
    # A range beyond float64, like a NaN or an infinity, has no finite width.
    with np.errstate(over="ignore", invalid="ignore"):
        width = high - low
    if not np.isfinite(width) or width == 0:
        return np.zeros_like(scores)
    scaled: np.ndarray = (scores - low) / width
    return scaled


def is_flat(scores: np.ndarray) -> bool:
    """Whether a normalised map says nothing."""
    return not scores.any()


def peak(scores: np.ndarray) -> np.ndarray:
    """(2,) xy fractions of the centre of the highest pixel, the first of equals; NaN if flat."""
    if is_flat(scores):
        return np.full(2, np.nan)
    height, width = scores.shape
    y, x = divmod(int(scores.argmax()), width)
    return np.array([(x + 0.5) / width, (y + 0.5) / height])


def quantise(scores: np.ndarray) -> np.ndarray:
    """(H, W) scores in [0, 1] -> uint8, truncated: the only values that a threshold ever sees."""
    # Written so that NaN fails.
    if not (scores.min() >= 0 and scores.max() <= 1):
        raise OptionError(
            f"a score map has values from {scores.min()} to {scores.max()}; expected 0 to 1. Pass"
            " it through normalise() first"
        )
    quantised: np.ndarray = (scores * 255).astype(np.uint8)
    return quantised


def thresholds(interval: float = 0.001) -> np.ndarray:
    """(T,) float64: 0, interval, ... below 1; clovaai's code trains with 0.001
    (docs/definitions.md#boxes-from-maps).
    """
    if not 0 < interval < 1:
        raise OptionError(f"threshold interval {interval}; expected a number between 0 and 1")
    taus = np.arange(0, 1, interval)
    # Rounding can make arange reach its end, e.g. at 1/49.
    return taus[taus < 1]


def levels_of(taus: np.ndarray, highest: int | np.ndarray) -> np.ndarray:
    """(T,) int64: the grey value t that each threshold stands for; a pixel is in if above t.

    A threshold is a share of the map's highest value, truncated; (N, 1) of these give (N, T).
    """
    levels: np.ndarray = (taus * highest).astype(np.int64)
    return levels
