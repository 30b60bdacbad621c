"""Where the arms point: on the pictures, for your eyes, and without them, to be kept.     [I/O]

    python results/tiny-imagenet/points.py --work WORK

WORK/points-<model>.png shows test images with their box and the points of several arms; it stays in
WORK, for the images may not be passed on. Beside this file, points-<model>.png shows boxes and
points of the same images in unit squares, density.png where each arm points in all images. The
images are the first by a hash among those whose box misses the image's centre; nobody picked them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from experiments import MODELS
from PIL import Image

from luab_data import read_boxes
from luab_data.boxes import read_frame
from luab_data.figures.style import (
    DENSITY,
    GREY,
    SMALL,
    drawing,
    legend_below,
    new_figure,
    outlined,
    png,
)
from luab_train.data.targets import uniform
from luab_train.evaluate.probes.probe import Probed, load_probed
from luab_train.report.draw import ARM_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ARMS = ("random", "centre", "shuffled", "click", "oracle")
MARKERS = dict(zip(ARMS, "xs^oD", strict=True))
ROWS, COLUMNS = 4, 8
OUT = Path(__file__).parent


def load_arms(work: Path, model: str, seed: int) -> dict[str, Probed]:
    """Answers of the arms that were probed."""
    files = {arm: work / "probes" / f"arms-{model}-{arm}-s{seed}.npz" for arm in ARMS}
    return {arm: load_probed(file) for arm, file in files.items() if file.exists()}


def choose(probed: Probed, count: int) -> np.ndarray:
    """Indices of images whose box misses the centre, the first `count` by a hash of their ids."""
    there = np.flatnonzero(probed.boxed & ~probed.centred)
    order = np.argsort(uniform(probed.image_id[there], 0, stream="shown"), kind="stable")
    return there[order[:count]]


def draw_image(
    ax: Axes, box: np.ndarray, arms: dict[str, Probed], index: int, pixels: np.ndarray | None
) -> None:
    """One unit square: the box, a point an arm, and the image if it is given.

    Args:
        ax: where.
        box: xyxy, fractions of the image.
        arms: answers.
        index: of the image among them.
        pixels: (H, W, 3) uint8, or None.
    """
    from matplotlib.patches import Rectangle

    if pixels is not None:
        ax.imshow(pixels, extent=(0, 1, 1, 0))
    colour = "white" if pixels is not None else GREY
    size = box[2:] - box[:2]
    ax.add_patch(Rectangle((box[0], box[1]), *size, fill=False, edgecolor=colour, linewidth=1.2))
    for arm, probed in arms.items():
        x, y = probed.point[index, 0]
        ax.plot(
            x,
            y,
            MARKERS[arm],
            color=ARM_COLOURS[arm],
            markersize=4,
            label=arm,
            path_effects=outlined(1.5) if pixels is not None else None,
        )
    ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")
    ax.spines[["top", "right"]].set_visible(True)
    ax.grid(False)


def draw_squares(arms: dict[str, Probed], work: Path, *, pictures: bool) -> bytes:
    """The chosen images, with or without their pixels."""
    first = next(iter(arms.values()))
    boxes = read_boxes(work / "test")
    figure, axes = new_figure(ROWS, COLUMNS, height=4.0, width=6.9)
    for ax, index in zip(axes.flat, choose(first, ROWS * COLUMNS), strict=False):
        name = str(first.image_id[index])
        file = work / "test" / name.partition("_")[0] / f"{name}.JPEG"
        box = boxes[name].mean(axis=0) / np.tile(read_frame(file)[:2], 2)
        pixels = np.asarray(Image.open(file).convert("RGB")) if pictures else None
        draw_image(ax, box, arms, int(index), pixels)
    legend_below(figure, axes[0, 0], columns=len(arms))
    return png(figure)


def draw_density(models: dict[str, dict[str, Probed]]) -> bytes:
    """Where each arm points over all test images: a model a row, an arm a column."""
    figure, axes = new_figure(len(models), len(ARMS), height=0.4 + 1.45 * len(models), width=6.9)
    for (model, arms), line in zip(models.items(), axes, strict=True):
        for arm, ax in zip(ARMS, line, strict=True):
            ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[0, 1], yticks=[0, 1], aspect="equal")
            ax.grid(False)
            ax.set_title(f"{model}, {arm}", fontsize=SMALL)
            if arm in arms:
                x, y = arms[arm].point[:, 0].T
                ax.hist2d(x, y, bins=24, range=[[0, 1], [0, 1]], cmap=DENSITY)
    return png(figure)


@click.command()
@click.option(
    "--work",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Folder that probe_runs.py filled.",
)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="Of what may be kept.")
@click.option("--seed", default=0, help="Which runs.")
def main(work: Path, out: Path, seed: int) -> None:
    """Draw the points of the arms."""
    with drawing():
        draw_all(work, out, seed)


def draw_all(work: Path, out: Path, seed: int) -> None:
    """Write all figures."""
    data = work if (work / "test").exists() else work.parent
    models = {m: arms for m in MODELS if (arms := load_arms(work, m, seed))}
    for model, arms in models.items():
        drawn = draw_squares(arms, data, pictures=True)
        (work / f"points-{model}.png").write_bytes(drawn)
        (out / f"points-{model}.png").write_bytes(draw_squares(arms, data, pictures=False))
    (out / "density.png").write_bytes(draw_density(models))


if __name__ == "__main__":
    main()
