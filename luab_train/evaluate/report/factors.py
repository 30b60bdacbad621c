"""SI-Score and backgrounds by what was varied: where, how large, at what angle.     [I/O]

SI-Score's `metadata.csv` says of each image where its object was put, how large and how turned; it
lies beside the images, so these need --root.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from luab_data.errors import ImagesError
from luab_train.evaluate.report.draw_results import Curve, band_of
from luab_train.metrics.intervals import Count, count, newcombe, wilson

METADATA = "metadata.csv"
SIZE_STEP = 0.05
"""Width of a bin of areas; the set has a hundred areas."""
GRID = 21
"""Places a side, 0, 0.05 ... 1."""
THIRDS = 3


class Factors(NamedTuple):
    """What was varied, (N,) each, in the order of the images; NaN where the file does not say.

    Args:
        x, y: centre of the object, fractions of the image. area: its share. rotation: degrees.
    """

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    rotation: np.ndarray


def read_factors(folder: Path, image_id: Sequence[str]) -> Factors | None:
    """Factors of images of a SI-Score set; None without its metadata.csv.

    Source: google-research/si-score, dataset_generator.py.
    """
    file = folder / METADATA
    if not file.is_file():
        return None
    needed = ("image_id", "x_coord", "y_coord", "area", "rotation")
    found: dict[str, tuple[float, ...]] = {}
    try:
        with open(file, newline="", encoding="utf-8") as text:
            for line in csv.DictReader(text):
                found[line[needed[0]]] = tuple(float(line[key]) for key in needed[1:])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImagesError(
            f"{file}: cannot be read ({error!r}); expected lines with {', '.join(needed)}, as"
            " SI-Score's archive has it. Without the file the report leaves out its figures"
        ) from error
    nothing = (np.nan,) * 4
    stems = [PurePosixPath(name).stem for name in image_id]
    values = np.array([found.get(stem, nothing) for stem in stems], np.float64).reshape(-1, 4)
    return Factors(*values.T)


def curve_by(value: Sequence[np.ndarray], right: Sequence[np.ndarray], step: float) -> Curve:
    """Accuracy against a factor, in bins; of one model with its Wilson interval, else the band.

    Args:
        value, right: of each model, (N,) the factor and whether the answer is right.
        step: width of a bin; values on an upper edge belong to the bin.
    """
    bins = [np.ceil(np.round(v / step, 6)) for v in value]
    places = np.unique(np.concatenate([b[np.isfinite(b)] for b in bins]))
    counts = [[count(r[b == place]) for place in places] for b, r in zip(bins, right, strict=True)]
    percent = np.array([[c.percent() for c in of_model] for of_model in counts])
    mean, low, high = band_of(percent)
    if len(counts) == 1:
        low, high = np.array([wilson(c) for c in counts[0]]).reshape(-1, 2).T
    # The middle of what lies in the bin: of SI-Score's angles that is the angle itself.
    middle = [np.concatenate([v[b == place] for v, b in zip(value, bins, strict=True)]).mean()
              for place in places]  # fmt: skip
    return Curve(x=np.array(middle), mean=mean, low=low, high=high)


def position_map(factors: Factors, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hits, n), (GRID, GRID) each, rows by y downwards, columns by x."""
    hits, n = np.zeros((GRID, GRID)), np.zeros((GRID, GRID))
    known = np.isfinite(factors.x) & np.isfinite(factors.y)
    cells = tuple(
        np.clip(np.round(v[known] * (GRID - 1)), 0, GRID - 1).astype(np.int64)
        for v in (factors.y, factors.x)
    )
    np.add.at(n, cells, 1)
    np.add.at(hits, cells, right[known])
    return hits, n


def foreground_distance(folder: Path, image_id: Sequence[str]) -> np.ndarray:
    """(N,) distance of each foreground's middle from the image's, in image sides; NaN: no mask.

    Args:
        folder: of the Backgrounds Challenge, with fg_mask/val/<class>/<name>.npy.
        image_id: of mixed_same or mixed_rand, `<class>/<name>.JPEG`, where name may stand between
            `fg_` and `_bg_`.
    """
    found: dict[str, float] = {}
    return np.array([_distance(folder, name, found) for name in image_id], np.float64)


def _distance(folder: Path, image_id: str, found: dict[str, float]) -> float:
    path = PurePosixPath(image_id)
    stem = path.stem.removeprefix("fg_").partition("_bg_")[0]
    key = f"{path.parent}/{stem}"
    if key not in found:
        file = folder / "fg_mask" / "val" / f"{key}.npy"
        found[key] = np.nan
        if file.is_file():
            mask = np.load(file, allow_pickle=False)
            mask = mask.reshape(-1, *mask.shape[-2:])[0] if mask.ndim > 2 else mask
            y, x = np.nonzero(mask)
            if len(y):
                height, width = mask.shape
                found[key] = float(
                    np.hypot((x.mean() + 0.5) / width - 0.5, (y.mean() + 0.5) / height - 0.5)
                )
    return found[key]


def gap_by_distance(
    models: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
) -> Curve | None:
    """BGC-gap in thirds of the foregrounds by distance from the middle; None if all are alike.

    Args:
        models: of each (distance, right) of mixed_same, then of mixed_rand, (N,) each.
    """
    every = np.concatenate([d for same, _, rand, _ in models for d in (same, rand)])
    every = every[np.isfinite(every)]
    edges = np.unique(np.quantile(every, np.arange(1, THIRDS) / THIRDS)) if len(every) else every
    if len(edges) < THIRDS - 1 or every.min() == every.max():
        return None
    counts: list[list[tuple[Count, Count]]] = []
    for same, same_right, rand, rand_right in models:
        thirds = [np.where(np.isfinite(d), np.digitize(d, edges), -1) for d in (same, rand)]
        counts.append(
            [(count(same_right[thirds[0] == k]), count(rand_right[thirds[1] == k]))
             for k in range(THIRDS)]
        )  # fmt: skip
    values = np.array(
        [[pair[0].percent() - pair[1].percent() for pair in of_model] for of_model in counts]
    )
    mean, low, high = band_of(values)
    if len(counts) == 1:
        low, high = np.array([newcombe(*pair) for pair in counts[0]]).T
    at = np.digitize(every, edges)
    x = np.array([every[at == k].mean() if (at == k).any() else np.nan for k in range(THIRDS)])
    return Curve(x=x, mean=mean, low=low, high=high)
