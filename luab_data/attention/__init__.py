"""[I/O] `luab-data agreement`: the same images, looked at in several ways.

Datasets of any kinds are joined by the ids of their images: icons that were placed, clicks, mouse
traces, eye movements. Each source's map of an image is asked how well it predicts the points of
every other source, of another person of its own source (what can be reached), and of another image
(what is had for nothing, since people look at the middle).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.attention.points import Attention, image_keys, join_attention
from luab_data.attention.saliency import METRICS, blurred, cells_of, compare, counts_of
from luab_data.console import progress
from luab_data.conversion import AnyPath
from luab_data.errors import OptionError
from luab_data.figures.style import DENSITY, SMALL, drawing, new_figure, png
from luab_data.files import new_file
from luab_data.ragged import Bools, Floats, Ints, Ragged, one_array, ragged
from luab_data.raw.instances import read_instances
from luab_data.results import Tabular, new_table
from luab_data.statistics.estimate import (
    NUMBERS,
    Estimate,
    WorkerSums,
    draw_workers,
    grid_terms,
    ratio,
)
from luab_data.truth import (
    Instances,
    TrueImage,
    contains_many,
    from_segmentation,
    num_pixels,
    union,
)
from luab_data.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ON_OBJECT = "on_object"
"""Share of points on any object, beside METRICS where there is an instances file."""

IMAGES = 2000
"""Images that are compared, at most: drawn by seed where the sources share more."""

_VERB = "luab-data agreement"

SPLITS = 5
"""Ways in which the people of a source are cut in two halves, of which the mean is taken."""


@dataclass(frozen=True, eq=False)
class Agreement(Tabular):
    """How well each source predicts each other one, over images.

    `to_table()` has a row for a metric, a source whose map predicts, and one that is predicted:
    `value`, `low` and `high`, the 95 % interval over images, `n`, the images of both, and `null`,
    the same with the map of another image. Where both are one source, one half of its people
    predicts the other half: what can be reached.

    Attributes:
        attention: what was compared.
        estimates: (metric, predicting source, predicted source) -> Estimate. Of `on_object` both
            are one, and the null is the share of the picture that objects cover.
    """

    attention: Attention
    estimates: dict[tuple[str, str, str], Estimate] = field(repr=False)

    def __repr__(self) -> str:
        shared = counted(len(self.attention.images), "image")
        return f"<Agreement of {', '.join(self.attention.sources)} on {shared}>"

    def to_table(self) -> pa.Table:
        """A row a metric and pair."""
        rows = [
            {
                **dict(zip(("metric", "predicts", "predicted"), key, strict=True)),
                **{name: float(getattr(estimate, name)) for name in NUMBERS},
            }
            for key, estimate in self.estimates.items()
        ]
        table = pa.Table.from_pylist(rows)
        for name in NUMBERS:
            values = pa.array(table[name].to_pylist(), from_pandas=True)
            table = table.set_column(table.column_names.index(name), name, values)
        return table

    def figure(self) -> Figure:
        """A table of numbers for each metric: rows predict, columns are predicted."""
        names, metrics = self.attention.sources, {key[0]: None for key in self.estimates}
        between = [metric for metric in metrics if metric != ON_OBJECT]
        size = 0.9 + 0.55 * len(names)
        figure, axes = new_figure(
            1, len(between), width=len(between) * size + 0.6, height=size + 0.5
        )
        with drawing():
            for ax, metric in zip(axes[0], between, strict=True):
                values = np.array(
                    [[float(self.estimates[metric, a, b].value) for b in names] for a in names]
                )
                ax.imshow(
                    values, cmap=DENSITY, alpha=0.6, vmin=min(0, np.nanmin(values, initial=0))
                )
                for (row, column), value in np.ndenumerate(values):
                    text = "-" if np.isnan(value) else f"{value:.2f}"
                    ax.text(column, row, text, ha="center", va="center", size=SMALL)
                ax.set_title(metric)
                ax.set_xlabel("predicted")
                ax.grid(visible=False)
                ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
                ax.set_yticks(range(len(names)), names if ax is axes[0, 0] else [""] * len(names))
            axes[0, 0].set_ylabel("predicts")
        return figure

    def save_figure(self, out: AnyPath, *, force: bool = False) -> None:
        """Write the figure as PNG; OutputError where it may not."""
        if Path(out).suffix != ".png":
            raise OptionError(f"{out}: ends in {Path(out).suffix!r}; expected .png")
        with new_file(out, mark=_VERB.encode(), force=force) as target:
            target.path.write_bytes(png(self.figure(), by=_VERB))


def agreement(
    datasets: Sequence[AnyPath] | Attention,
    *,
    instances: AnyPath | None = None,
    images: int | None = IMAGES,
    seed: int = 0,
    out: AnyPath | None = None,
    force: bool = False,
    shown: bool | None = None,
) -> Agreement:
    """How well people who looked at images in different ways agree where to look.

    Args:
        datasets: folders or names, two at least, or what join_attention gave.
        instances: COCO-style annotations of the images: adds how often points lie on objects.
        images: at most so many, drawn by seed; None is all.
        seed: of that draw, of the halves of people, and of the bootstrap over images.
        out: a .csv, .json or .parquet file to write the table to.
        force: replace an earlier one.
        shown: progress bars; None shows them on a terminal.

    Raises:
        DatasetError, OptionError, ImagesError, OutputError: as join_attention; of the file.
    """
    with new_table(out, verb=_VERB, first="metric", force=force) as write:
        if not isinstance(datasets, Attention):
            datasets = join_attention(datasets, images=images, seed=seed, shown=shown)
        found = Agreement(datasets, _compared(datasets, seed, shown))
        if instances is not None:
            truth = read_instances(Path(instances), vocabulary=None)
            found.estimates.update(_on_objects(datasets, truth, seed))
        write(found.to_table())
    return found


class _Source:
    """The views of one source, as cells of maps.

    Args:
        attention: of all sources.
        name: of this one.
    """

    def __init__(self, attention: Attention, name: str) -> None:
        table = attention.table.filter(pc.equal(attention.table["source"], name))
        image = pc.index_in(table["image_id"], value_set=pa.array(attention.images))
        self.image: Ints = image.to_numpy().astype(np.int64)
        x, y = ragged(table["x"]), ragged(table["y"])
        self.x, self.y, self.view = x.values, y.values, x.rows
        self.cells = cells_of(x.values, y.values)
        worker = one_array(table["worker_id"]).dictionary_encode().indices
        # A view of nobody known is of somebody else than any other view.
        unknown = np.arange(len(table)) + len(table)
        self.worker: Ints = np.where(worker.is_null(), unknown, worker.fill_null(0))
        self.num_images = len(attention.images)

    def counts(self, views: Bools | None = None) -> Floats:
        """(num_images, CELLS, CELLS) points of some views, or of all."""
        there = self.cells >= 0
        if views is not None:
            there &= views[self.view]
        image = self.image[self.view[there]]
        order = np.argsort(image, kind="stable")
        bounds = np.searchsorted(image[order], np.arange(self.num_images + 1))
        return counts_of(Ragged(self.cells[there][order], bounds))

    def half(self, rng: np.random.Generator) -> Bools:
        """(num_views,) one of two halves of the people of each image, drawn anew; of a single
        person's image none.
        """
        key = self.image * (2 * len(self.worker) + 1) + self.worker
        person, own = np.unique(key, return_inverse=True)
        place = rng.random(len(person))
        image = person // (2 * len(self.worker) + 1)
        order = np.lexsort((place, image))
        first = np.searchsorted(image[order], image[order])
        size = np.bincount(image, minlength=self.num_images)[image[order]]
        is_first = np.empty(len(person), np.bool_)
        is_first[order] = np.arange(len(person)) - first < size // 2
        found: Bools = is_first[own]
        return found


def _compared(
    attention: Attention, seed: int, shown: bool | None
) -> dict[tuple[str, str, str], Estimate]:
    """All pairs of sources, and each with itself."""
    rng = np.random.default_rng(seed)
    sources = {name: _Source(attention, name) for name in attention.sources}
    counts = {name: source.counts() for name, source in sources.items()}
    maps = {name: blurred(values) for name, values in counts.items()}
    found: dict[tuple[str, str, str], Estimate] = {}
    pairs = [(one, other) for one in sources for other in sources]
    for one, other in progress(pairs, what="compare", unit="pair", shown=shown):
        if one == other:
            values, null = _halves(sources[one], rng)
        else:
            values = compare(maps[one], counts[other], maps[other])
            null = compare(_of_others(maps[one], rng), counts[other], maps[other])
        for metric, estimate in zip(METRICS, _over_images(values, null, seed), strict=True):
            found[metric, one, other] = estimate
    return {key: found[key] for key in sorted(found, key=lambda key: METRICS.index(key[0]))}


def _halves(source: _Source, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """One half of the people of each image against the other half, and against those of another."""
    found = []
    for _ in range(SPLITS):
        first = source.half(rng)
        one, other = source.counts(first), source.counts(~first)
        maps = blurred(one), blurred(other)
        found.append((compare(maps[0], other, maps[1]),
                      compare(_of_others(maps[0], rng), other, maps[1])))  # fmt: skip
    values, null = np.array(found).mean(axis=0)
    return values, null


def _of_others(maps: Floats, rng: np.random.Generator) -> Floats:
    """The map of another image for each one; NaN if there is no other."""
    known = np.flatnonzero(np.isfinite(maps).all(axis=(1, 2)))
    found = np.full_like(maps, np.nan)
    if len(known) > 1:
        order = rng.permutation(known)
        found[order] = maps[np.roll(order, 1)]
    return found


def _over_images(values: Floats, null: Floats, seed: int) -> list[Estimate]:
    """The mean of each column (num_images, num_columns), and the mean of its null."""
    weights = draw_workers(len(values), seed=seed)
    found = []
    for own, expected in zip(values.T, null.T, strict=True):
        known, sums = np.isfinite(own), WorkerSums()
        part, whole, without = (np.where(known, v, 0)[:, None] for v in (own, known, expected))
        sums.add(grid_terms(part, whole.astype(float), without), np.arange(len(values)))
        found.append(sums.estimate(weights))
    return found


def _on_objects(
    attention: Attention, truth: Instances, seed: int
) -> Iterator[tuple[tuple[str, str, str], Estimate]]:
    """How often the points of each source lie on any object; the null is the objects' area."""
    ids = pa.chunked_array([pa.array([*map(str, truth)], pa.string())])
    known = dict(zip(image_keys(ids).to_pylist(), truth.values(), strict=True))
    images = [_one_object(known[key]) if key in known else None for key in attention.images]
    area = np.array([np.nan if image is None else _area(image) for image in images])
    for name in attention.sources:
        source = _Source(attention, name)
        image = source.image[source.view]
        there = np.flatnonzero(np.isfinite(area[image]))
        asked = [i for i in (images[place] for place in image[there].tolist()) if i is not None]
        right = contains_many(asked, np.zeros(len(asked), int), source.x[there], source.y[there])
        total = np.bincount(image[there], minlength=len(images))
        share = ratio(np.bincount(image[there], right, len(images)), total)
        (estimate,) = _over_images(share[:, None], area[:, None], seed)
        yield (ON_OBJECT, name, name), estimate


def _one_object(image: TrueImage) -> TrueImage:
    """The image with all that is in it as one object of class 0."""
    masks = [*image.masks.values()] or [from_segmentation([], image.width, image.height)]
    whole = union(masks, image.width, image.height)
    return TrueImage(image.width, image.height, masks={0: whole})


def _area(image: TrueImage) -> float:
    """Share of the picture that class 0 covers."""
    return num_pixels(image.masks[0], image.width, image.height) / (image.width * image.height)
