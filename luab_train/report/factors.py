"""SI-Score and backgrounds by what was varied: where, how large, at what angle.     [I/O]

SI-Score's `metadata.csv` says of each image where its object was put, how large and how turned, the
Backgrounds Challenge has masks; they lie beside the images, so these figures need --root.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from luab_data.errors import ImagesError
from luab_data.figures.maps import add_colour_bar, draw_map
from luab_data.figures.style import drawing, new_figure
from luab_train.evaluate.measures import right as is_right
from luab_train.evaluate.stored import predictions, table
from luab_train.metrics.intervals import count, newcombe, wilson
from luab_train.report.arms import Arm
from luab_train.report.draw import Curve, Look, band_of, panels_figure
from luab_train.report.figures import Planned
from luab_train.report.samples import folder_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METADATA = "metadata.csv"
SIZE_STEP = 0.05
"""Width of a bin of areas; the set has a hundred areas."""
ANGLE_STEP = 20.0
GRID = 21
"""Places a side, 0, 0.05 ... 1."""
THIRDS = 3
MOST_ARMS = 4
"""Arms with a panel each."""


class Factors(NamedTuple):
    """What was varied, (N,) each, in the order of the images; NaN where the file does not say.

    Args:
        x, y: centre of the object, fractions of the image. area: its share. rotation: degrees.
    """

    x: np.ndarray
    y: np.ndarray
    area: np.ndarray
    rotation: np.ndarray


Told = Mapping[str, Sequence[tuple[Factors, np.ndarray]]]
"""Arm -> of each model the factors of its images, and which answers are right."""


def plan_factors(arms: Sequence[Arm], looks: Mapping[str, Look], root: Path) -> Iterator[Planned]:
    """Every figure for which predictions were kept and `root` has what it needs."""
    bands = "Bands go from the lowest seed to the highest."
    if all(len(arm.models) == 1 for arm in arms):
        bands = "Bands are 95 % intervals over images."
    elif any(len(arm.models) == 1 for arm in arms):
        bands = "Bands go from the lowest seed to the highest; of one model, 95 % intervals."
    for name, factor, step, label, ticks in (
        ("si-size", "area", SIZE_STEP, "object's share of the image", None),
        ("si-rot", "rotation", ANGLE_STEP, "rotation, degrees", range(0, 361, 60)),
    ):
        curves = {
            arm: curve_by([getattr(f, factor) for f, _ in kept], [r for _, r in kept], step)
            for arm, kept in _told(arms, name, root).items()
        }
        if curves:
            yield Planned(
                key=name,
                title=f"SI-Score by {factor}",
                caption=bands,
                draw=partial(
                    panels_figure,
                    {"": curves},
                    looks,
                    xlabel=label,
                    ylabel="top-1, %",
                    xticks=ticks,
                ),
            )  # fmt: skip
    if told := dict([*_told(arms, "si-loc", root).items()][:MOST_ARMS]):
        less = " Below, each arm minus the first one." if len(told) > 1 else ""
        yield Planned(
            key="si-loc",
            title="SI-Score by position",
            caption="Accuracy by where the object's middle is, 21 x 21 places; hatched where there"
            f" is no image.{less}",
            draw=partial(_position_figure, told),
        )
    if curves := _gap_curves(arms, root):
        yield Planned(
            key="bgc-gap",
            title="BGC-gap by how far off the object is",
            caption="Thirds of the foregrounds by the distance of their mask's middle from the"
            f" image's. Lower is better. {bands}",
            draw=partial(
                panels_figure, {"": curves}, looks, ylabel="BGC-gap, points",
                xlabel="foreground's distance from the centre, image sides",
            ),
        )  # fmt: skip


def _told(arms: Sequence[Arm], name: str, root: Path) -> Told:
    folder = folder_of(name, root)
    found: dict[str, list[tuple[Factors, np.ndarray]]] = {}
    if folder is None:
        return found
    for arm in arms:
        for model in arm.models:
            kept = predictions(model.folder, name)
            factors = None if kept is None else read_factors(folder, kept.image_id.tolist())
            if kept is not None and factors is not None:
                found.setdefault(arm.name, []).append((factors, is_right(kept)))
    return found


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
    mean, low, high = band_of(np.array([[c.percent() for c in of_model] for of_model in counts]))
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


def _position_figure(told: Told) -> Figure:
    names, maps = [*told], []
    for kept in told.values():
        hits, n = np.sum([position_map(f, right) for f, right in kept], axis=0)
        maps.append(np.divide(hits, n, out=np.full(n.shape, np.nan), where=n > 0))
    rows = 2 if len(maps) > 1 else 1
    width = 1.0 + 1.55 * len(maps) if len(maps) > 1 else 2.6
    figure, axes = new_figure(rows, len(maps), height=0.35 + 1.6 * rows, width=width)

    def draw(ax: Any, title: str, shares: np.ndarray, limits: tuple[float, float]) -> Any:
        half_step = 0.5 / (GRID - 1)
        image = draw_map(ax, shares, span=(-half_step, 1 + half_step), limits=limits)
        ax.set_title(title, fontsize=7.5)
        ax.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        return image

    with drawing():
        limits = (100 * float(np.nanmin(maps)), 100 * float(np.nanmax(maps)))
        images = [draw(*one, limits) for one in zip(axes[0], names, maps, strict=True)]
        add_colour_bar([*axes[0]], images[-1], "top-1, %")
        if rows == 2:
            axes[1, 0].set_axis_off()
            gains = [values - maps[0] for values in maps[1:]]
            largest = 100 * max(float(np.nanmax(np.abs(gains))), 1e-3)
            for ax, name, values in zip(axes[1, 1:], names[1:], gains, strict=True):
                image = draw(ax, f"{name} − {names[0]}", values, (-largest, largest))
                image.set_cmap("PuOr")
            add_colour_bar([*axes[1]], image, "points, purple is better")
    return figure


def _gap_curves(arms: Sequence[Arm], root: Path) -> dict[str, Curve]:
    folder = folder_of("bgc-gap", root)
    curves: dict[str, Curve] = {}
    if folder is None:
        return curves
    for arm in arms:
        kept = [t for m in arm.models if (t := table(m.folder, "bgc-gap", "gap")) is not None]
        # Of each variant in turn: how far off the foregrounds are, and which answers are right.
        models = [
            [(foreground_distance(folder, t.cells[name].image_id.tolist()), t.cells[name].value)
             for name in ("mixed_same", "mixed_rand")]
            for t in kept
        ]  # fmt: skip
        curve = gap_by_distance([(*same, *rand) for same, rand in models]) if models else None
        if curve is not None:
            curves[arm.name] = curve
    return curves


def foreground_distance(folder: Path, image_id: Sequence[str]) -> np.ndarray:
    """(N,) distance of each foreground's middle from the image's, in image sides; NaN: no mask.

    Args:
        folder: of the Backgrounds Challenge, with fg_mask/val/<class>/<name>.npy.
        image_id: of mixed_same or mixed_rand, `<class>/<name>.JPEG`, where name may stand between
            `fg_` and `_bg_`.
    """
    found: dict[str, float] = {}
    for name in image_id:
        key = _foreground(name)
        if key not in found:
            found[key] = _distance(folder / "fg_mask" / "val" / f"{key}.npy")
    return np.array([found[_foreground(name)] for name in image_id], np.float64)


def _foreground(image_id: str) -> str:
    path = PurePosixPath(image_id)
    return f"{path.parent}/{path.stem.removeprefix('fg_').partition('_bg_')[0]}"


def _distance(file: Path) -> float:
    if not file.is_file():
        return np.nan
    mask = np.load(file, allow_pickle=False)
    mask = mask.reshape(-1, *mask.shape[-2:])[0] if mask.ndim > 2 else mask
    y, x = np.nonzero(mask)
    if not len(y):
        return np.nan
    height, width = mask.shape
    return float(np.hypot((x.mean() + 0.5) / width - 0.5, (y.mean() + 0.5) / height - 0.5))


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
    counts = []
    for same, same_right, rand, rand_right in models:
        thirds = [np.where(np.isfinite(d), np.digitize(d, edges), -1) for d in (same, rand)]
        counts.append(
            [(count(same_right[thirds[0] == k]), count(rand_right[thirds[1] == k]))
             for k in range(THIRDS)]
        )  # fmt: skip
    mean, low, high = band_of(
        np.array([[a.percent() - b.percent() for a, b in model] for model in counts])
    )
    if len(counts) == 1:
        low, high = np.array([newcombe(*pair) for pair in counts[0]]).T
    at = np.digitize(every, edges)
    x = np.array([every[at == k].mean() if (at == k).any() else np.nan for k in range(THIRDS)])
    return Curve(x=x, mean=mean, low=low, high=high)
