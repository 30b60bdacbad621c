"""Images with what the models say of them: class maps, predicted points, worst failures.     [I/O]

Points and maps are in fractions of the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luab_data.errors import ImagesError, LuabError
from luab_data.figures.style import (
    GREEN,
    GREY,
    LIGHT,
    PAGE_INCH,
    SEQUENTIAL,
    VERMILION,
    YELLOW,
    drawing,
    new_figure,
    outlined,
)
from luab_data.words import in_words
from luab_train.data.inputs import decode_rgb
from luab_train.evaluate.benchmarks import BY_NAME
from luab_train.evaluate.layouts import Missing, locate, scan_folders
from luab_train.evaluate.measures import right as is_right
from luab_train.evaluate.predictions import Predicted
from luab_train.evaluate.stored import predictions
from luab_train.report.arms import Arm, Model
from luab_train.report.figures import Planned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLES = 6
FAILURES = 12
BENCHMARKS = ("in-1k", "in-v2", "in-a", "in-r", "sketch", "objectnet")
"""Where samples come from: the first of these that is there."""
_MOST_ARMS = 4
"""Arms with a sheet of failures each."""
_LONGEST_SIDE = 320


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One image.

    Args:
        pixels: (H, W, 3) uint8; None if the file is not there.
        truth, answer: class names for people.
        is_right: whether the answer is.
        probability: of the answer.
        point: predicted x, y; None without a trained head.
        cam: (h, w) map of the predicted class, any scale; None without.
    """

    pixels: np.ndarray | None
    truth: str
    answer: str
    is_right: bool
    probability: float
    point: tuple[float, float] | None = None
    cam: np.ndarray | None = None


def plan_samples(arms: Sequence[Arm], root: Path) -> Iterator[Planned]:
    """The same images for all arms, and the worst failures of each; none without their files."""
    rows = sample_rows(arms[: _MOST_ARMS + 2], root)
    samples = [sample for of_arm in rows.values() for sample in of_arm]
    if any(sample.pixels is not None for sample in samples):
        has = {
            "On grey images the class map of the answer, bright where it looks.": any(
                s.cam is not None for s in samples
            ),
            "The cross is the predicted point.": any(s.point is not None for s in samples),
        }
        yield Planned(
            key="samples",
            title="Where the models look",
            caption="Images drawn at random, named above; below each the answer, green if right. "
            + " ".join(text for text, told in has.items() if told),
            draw=partial(_samples_figure, rows),
        )
    for number, arm in enumerate(arms[:_MOST_ARMS], start=1):
        failures = worst_failures(arm.models[0], root)
        if any(sample.pixels is not None for sample in failures):
            point = " The cross is the predicted point." * any(s.point for s in failures)
            seed = f", seed {arm.models[0].seed}" if len(arm.models) > 1 else ""
            yield Planned(
                key=f"failures-{number}",
                title=f"Worst failures of {arm.name}{seed}",
                caption="Wrong answers with the largest margin: above what it is, below the answer"
                f" with its probability.{point}",
                draw=partial(_failures_figure, failures),
            )


def folder_of(benchmark: str, root: Path) -> Path | None:
    """Folder that the image ids of a benchmark of one part are relative to; None if missing."""
    entry = BY_NAME[benchmark]
    place = locate(entry.datasets[0], root, scan_folders(root))
    if isinstance(place, Missing):
        return None
    return place / "images" if benchmark == "objectnet" else place


def sample_rows(arms: Sequence[Arm], root: Path, *, seed: int = 0) -> dict[str, list[Sample]]:
    """Arm -> the same images for all, drawn at random from what all were asked.

    Class maps are of models that are runs, of the class they answer.
    """
    for benchmark in BENCHMARKS:
        found = [
            (arm, kept)
            for arm in arms
            if (kept := predictions(arm.models[0].folder, benchmark)) is not None
        ]
        folder = folder_of(benchmark, root) if found else None
        if folder is None:
            continue
        ids = set.intersection(*(set(kept.image_id.tolist()) for _, kept in found))
        if not ids:
            continue
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(np.array(sorted(ids)))[:SAMPLES].tolist()
        return {arm.name: _with_maps(arm.models[0], kept, chosen, folder) for arm, kept in found}
    return {}


def worst_failures(model: Model, root: Path) -> list[Sample]:
    """The wrong answers that the model was surest of, by margin; empty without images."""
    for benchmark in BENCHMARKS:
        kept = predictions(model.folder, benchmark)
        folder = None if kept is None else folder_of(benchmark, root)
        if kept is None or folder is None:
            continue
        right = is_right(kept)
        margin = np.where(right, -np.inf, kept.table["margin"].to_numpy())
        worst = [int(row) for row in np.argsort(-margin, kind="stable")[:FAILURES]]
        return [_sample(kept, row, bool(right[row]), folder) for row in worst if not right[row]]
    return []


def _with_maps(model: Model, kept: Predicted, chosen: Sequence[str], folder: Path) -> list[Sample]:
    row_of = {name: row for row, name in enumerate(kept.image_id.tolist())}
    right = is_right(kept)
    rows = [row_of[name] for name in chosen]
    samples = [_sample(kept, row, bool(right[row]), folder) for row in rows]
    maps = _maps(model, [folder / name for name in chosen], kept.top1[rows].tolist())
    return [replace(s, cam=cam) for s, cam in zip(samples, maps, strict=True)]


def _sample(kept: Predicted, row: int, is_right: bool, folder: Path) -> Sample:
    x, y = (kept.table[name][row].as_py() for name in ("point_x", "point_y"))
    return Sample(
        pixels=_pixels(folder / str(kept.image_id[row])),
        truth=in_words(str(kept.label[row])),
        answer=in_words(str(kept.top1[row])),
        is_right=is_right,
        probability=float(kept.max_probability[row]),
        point=None if x is None or y is None else (x, y),
    )


def _pixels(file: Path) -> np.ndarray | None:
    try:
        picture = decode_rgb(file, str(file))
    except ImagesError:
        return None
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return np.asarray(picture)


def _maps(
    model: Model, files: Sequence[Path], answers: Sequence[str]
) -> Sequence[np.ndarray | None]:
    """Class maps of the answers; None for a model that is no run, or has no map."""
    if model.run is None or not all(file.is_file() for file in files):
        return [None] * len(files)
    import torch

    from luab_train.evaluate.predictor import load_predictor
    from luab_train.evaluate.wsol.cam import Mapper
    from luab_train.evaluate.wsol.squash import squash

    try:
        predictor = load_predictor(model.run.path)
        mapper = Mapper.of(predictor)
        size = predictor.data.image_size
        pixels = np.stack([squash(file, size)[0] for file in files]).transpose(0, 3, 1, 2)
        classes = torch.tensor([predictor.classes.index(answer) for answer in answers])
        with torch.no_grad():
            forward = mapper(torch.from_numpy(np.ascontiguousarray(pixels)))
            maps = mapper.maps(forward, torch.arange(len(files)), classes).cpu().numpy()
    except (LuabError, OSError, ValueError):
        # Not every network has maps, and a report is no place to fail for want of a picture.
        return [None] * len(files)
    return list(maps)


# --- drawing --------------------------------------------------------------------------------------


def _samples_figure(rows: Mapping[str, Sequence[Sample]]) -> Figure:
    columns = max(map(len, rows.values()))
    figure, axes = new_figure(len(rows), columns, height=0.15 + 1.3 * len(rows), width=PAGE_INCH)
    with drawing():
        for number, (name, samples) in enumerate(rows.items()):
            for ax, sample in zip(axes[number], samples, strict=False):
                draw_sample(ax, sample, title="" if number else sample.truth)
            for ax in axes[number, len(samples) :]:
                ax.set_axis_off()
            axes[number, 0].set_ylabel(name, fontsize=7.5)
    return figure


def _failures_figure(failures: Sequence[Sample]) -> Figure:
    lines = -(-len(failures) // 6)
    figure, axes = new_figure(lines, 6, height=0.1 + 1.4 * lines, width=PAGE_INCH)
    with drawing():
        for ax, sample in zip(axes.flat, failures, strict=False):
            draw_sample(ax, sample, title=sample.truth)
        for ax in [*axes.flat][len(failures) :]:
            ax.set_axis_off()
    return figure


def draw_sample(ax: Axes, sample: Sample, *, title: str = "") -> Axes:
    """The image with map, point and, below it, the answer: green is right, red wrong."""
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import NullLocator

    ax.grid(False)
    ax.xaxis.set_major_locator(NullLocator())
    ax.yaxis.set_major_locator(NullLocator())
    for spine in ax.spines.values():
        spine.set_visible(False)
    height, width = (1, 1) if sample.pixels is None else sample.pixels.shape[:2]
    extent = (0.0, float(width), float(height), 0.0)
    colour = GREEN if sample.is_right else VERMILION
    ax.add_patch(
        Rectangle((0, 0), width, height, fill=sample.pixels is None, facecolor=LIGHT,
                  edgecolor=colour, linewidth=2.4, clip_on=False, zorder=0)
    )  # fmt: skip
    if sample.pixels is None:
        ax.text(0.5, 0.5, "no such file", ha="center", va="center", fontsize=7, color=GREY)
    else:
        # Under a map the image is grey: two colours on top of each other say nothing.
        shown = sample.pixels if sample.cam is None else _grey(sample.pixels)
        ax.imshow(shown, extent=extent, interpolation="bilinear", zorder=1)
    if sample.pixels is not None and sample.cam is not None:
        ax.imshow(
            _unit(sample.cam), extent=extent, cmap=SEQUENTIAL, alpha=0.55, vmin=0, vmax=1,
            interpolation="bicubic", zorder=2,
        )  # fmt: skip
    if sample.pixels is not None and sample.point is not None:
        ax.plot(
            sample.point[0] * width, sample.point[1] * height, "+", color=YELLOW, markersize=8,
            markeredgewidth=1.6, path_effects=outlined(3.2, "black"), zorder=3, clip_on=False,
        )  # fmt: skip
    # Every image in the middle of an equal square, so that rows and columns line up.
    half = 0.5 * max(width, height)
    ax.set(xlim=(width / 2 - half, width / 2 + half), ylim=(height / 2 + half, height / 2 - half))
    ax.set_aspect("equal")
    if title:
        ax.set_title(_shortened(title), fontsize=6.5, pad=3, loc="center")
    answer = f"{_shortened(sample.answer, 15)} {100 * sample.probability:.0f} %"
    ax.set_xlabel(answer, fontsize=6.5, color=colour, labelpad=3)
    return ax


def _grey(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) of the same lightness."""
    light = pixels @ np.array([0.299, 0.587, 0.114])
    return np.repeat(light.astype(np.uint8)[..., None], 3, axis=2)


def _unit(cam: np.ndarray) -> np.ndarray:
    spread = cam.max() - cam.min()
    return (cam - cam.min()) / spread if np.isfinite(spread) and spread > 0 else np.zeros_like(cam)


def _shortened(text: str, most: int = 18) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
