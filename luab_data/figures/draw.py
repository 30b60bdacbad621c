"""[I/O] One figure of the catalogue, from a dataset folder into the user's Axes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from luab_data.errors import OptionError
from luab_data.figures.style import AxesGrid
from luab_data.figures.workers import overview
from luab_data.kinds import kind_of
from luab_data.statistics.dataset import stats
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import did_you_mean
from luab_data.workers.annotators import annotators

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(
    name: str, dataset: str | os.PathLike[str], ax: Axes | AxesGrid | None = None
) -> Axes | AxesGrid:
    """Draw one figure of a dataset's report.

    Most figures have one panel; `accuracy_maps` has 2 x 2, `slots`, `pages` and the `annotators` of
    a browsing log have two. These take an array of so many Axes, as `plt.subplots` gives it.

    Args:
        name: of the figure, such as `last_n` or `class_recall`; a wrong one lists all.
        dataset: a folder, or a name under $LUAB_DATA_HOME.
        ax: where to draw, with your own settings (`layout="constrained"` keeps panels apart); None
            is a new figure in ours, one column wide.

    Returns: the Axes, or the array of them, `.figure` or `[0, 0].figure` to save.

    Raises:
        OptionError: no such figure of this kind of dataset, not as many Axes as it has panels, or
            nothing in the dataset to draw.
    """
    folder = find_dataset(dataset)
    kind = kind_of(read_manifest(folder))
    if name not in kind.figures:
        raise OptionError(f"no figure {name!r} of {kind.title}{did_you_mean(name, kind.figures)}")
    planned = kind.figures[name]
    rows, columns = planned.panels
    axes = np.array([] if ax is None else ax, dtype=object)
    if ax is not None and axes.size != rows * columns:
        raise OptionError(
            f"figure {name!r} has {rows} x {columns} panels, found {axes.size} Axes; give those of"
            f' plt.subplots({rows}, {columns}, layout="constrained"), or none'
        )
    wanted = [*planned.needs, *planned.uses]
    taken = stats(folder, wanted or None)
    found = taken.estimates if wanted else {}
    tables = {"workers": overview(annotators(folder))} if planned.tables else {}
    if not planned.is_drawable(found, tables):
        raise OptionError(
            f"{folder}: nothing to draw in {name!r}: {planned.caption.partition('.')[0]}. The"
            " dataset holds no such values"
        )
    if ax is None:
        axes = np.array(planned.draw(found, tables).axes[: rows * columns], dtype=object)
        return axes[0] if axes.size == 1 else axes.reshape(rows, columns)
    axes = axes.reshape(rows, columns)
    planned.on(axes, found, tables)
    if planned.legend and axes[0, 0].get_legend_handles_labels()[0]:
        axes[0, 0].legend(frameon=False)
    return ax
