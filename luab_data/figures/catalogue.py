"""Every figure by name: what it needs, what it shows, how it is laid out.

To add one, write the function that draws on an Axes, and an entry here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from luab_data.errors import OptionError
from luab_data.figures import charts, maps, scatter
from luab_data.figures.style import AxesGrid, Draw, Found, drawing, legend_below, new_figure
from luab_data.kinds import kind_of
from luab_data.ragged import floats
from luab_data.statistics.dataset import stats
from luab_data.store.folder import read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import did_you_mean
from luab_data.workers.annotators import annotators

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from luab_data.kinds import OwnTagging


@dataclass(frozen=True, kw_only=True)
class PlannedFigure:
    """One figure of a kind of dataset.

    Attributes:
        title: a few words, to stand above it.
        caption: what is drawn, to stand below it.
        needs: estimates without which it cannot be drawn, or `workers`, the table of annotators.
        uses: estimates that are drawn too if they are there.
        on: draws it, see style.Draw.
        panels: (rows, columns) of Axes.
        shares_axes: whether rows share x and columns share y.
        height: of the figure, inch; it is one column of a paper wide.
        legend: columns of the legend below it; 0 is no legend.
    """

    title: str
    caption: str
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    on: Draw
    panels: tuple[int, int] = (1, 1)
    shares_axes: bool = True
    height: float = 2.2
    legend: int = 0

    def draw(self, found: Found) -> Figure:
        """A figure of its own, in our style."""
        with drawing():
            figure, axes = new_figure(
                *self.panels, height=self.height, sharex=self.shares_axes,
                sharey=self.shares_axes and self.panels[1] > 1,
            )  # fmt: skip
            self.on_axes(axes, found)
            figure.align_ylabels()
            if self.legend:
                legend_below(figure, axes[0, 0], columns=self.legend)
        return figure

    def on_axes(self, axes: AxesGrid, found: Found) -> None:
        """Draw it on an array of Axes of the shape `panels`."""
        self.on(axes if axes.size > 1 else axes[0, 0], found)

    def is_drawable(self, found: Found) -> bool:
        """Whether everything needed is there and has a value."""
        needed = [found.get(name) for name in self.needs]
        return all(
            bool(np.isfinite(floats(have["raw"])).any()) if isinstance(have, pa.Table)
            else have is not None and bool(np.isfinite(have.value).any())
            for have in needed
        )  # fmt: skip


POOLED = (
    "each worker, own and shrunk towards the crowd; a dot's area grows with the {n}, the line to"
    " the diagonal is the shrinkage"
)

BROWSING_FIGURES: Mapping[str, PlannedFigure] = {
    "box_centres": PlannedFigure(
        title="Where objects are", on=maps.draw_box_centres, height=2.7,
        needs=("box_centre_density",),
        caption="Share of boxes whose centre lies in each of 11 x 11 cells of the image; the"
        " central cell is framed. Colours go by the square root.",
    ),
    "random_clicks": PlannedFigure(
        title="What random clicks score", on=charts.draw_random_clicks,
        needs=("random_click_curve",),
        uses=("click_accuracy", "centre_accuracy"),
        caption="Chance that a point drawn evenly from the centred square of side t lies in a box,"
        " exact, with its 95 % interval; the lines are the workers' final clicks and the image's"
        " centre, on the same images.",
    ),
    "accuracy_maps": PlannedFigure(
        title="Accuracy by place", on=maps.draw_accuracy_maps, panels=(2, 2), height=4.1,
        needs=("accuracy_by_box_centre", "accuracy_by_click", "box_centre_density",
               "click_density"),
        caption="Share of final clicks in a box, by the place of the box's centre (above) and of"
        " the click (below), with the density of each. Hatched cells hold none, dotted ones fewer"
        f" than {maps.FEW}.",
    ),
    "last_n": PlannedFigure(
        title="The last records before the click", needs=("last_n_accuracy",), height=2.4, legend=2,
        on=charts.draw_last_n,
        caption="Share in a box of the N-th trace record before the final click (N = 0 is the"
        " click), with 95 % interval and the number of visits that are long enough; dashed: the"
        " same points dealt to the images at random.",
    ),
    "quantiles": PlannedFigure(
        title="From entry to click", on=charts.draw_quantiles, height=2.4, legend=3,
        needs=("trace_quantile_accuracy", "time_quantile_accuracy"),
        caption="Share in a box along the visit that ends in the final click, by the share of its"
        " records and of its time, with 95 % intervals; dashed: the same points dealt to the images"
        " at random.",
    ),
    "click_offset": PlannedFigure(
        title="Clicks relative to the box", on=maps.draw_offset("click_offset"), height=3.1,
        legend=3,
        needs=("click_offset_density", "click_offset"),
        caption="Density of final clicks around the box, in its widths and heights, y down, with"
        " the fullest cell and the mean with its 95 % interval. Colours go by the square root.",
    ),
    "rounds": PlannedFigure(
        title="Selection by round", on=charts.draw_rounds, height=1.7,
        needs=("selected_share_by_round",),
        caption="Share of the pictures shown that were selected, with 95 % intervals.",
    ),
    "slots": PlannedFigure(
        title="The place on the page", on=charts.draw_by("slot", "slot on the page"), panels=(2, 1),
        height=2.8, needs=("selected_share_by_slot", "accuracy_by_slot"),
        caption="Share of pictures selected and of clicks in a box by slot on the page, with 95 %"
        " intervals.",
    ),
    "pages": PlannedFigure(
        title="The pages of a HIT", on=charts.draw_by("page", "page of the HIT"), panels=(2, 1),
        height=2.8, needs=("selected_share_by_page", "accuracy_by_page"),
        caption="Share of pictures selected and of clicks in a box by page of the HIT, with 95 %"
        " intervals.",
    ),
    "sides": PlannedFigure(
        title="Entry and exit", on=charts.draw_sides, needs=("entry_side", "exit_side"), legend=3,
        caption="Side of the picture nearest to the first and to the last record, with 95 %"
        " intervals; dashed: all sides alike.",
    ),
    "annotators": PlannedFigure(
        title="Annotators", on=scatter.draw_annotators, panels=(2, 1), shares_axes=False,
        height=5.4, legend=2,
        needs=("workers",),
        caption=f"Above: click accuracy of {POOLED.format(n='clicks')}. Below: mean offset"
        " of the worker's clicks from the box's centre. Suspects are orange; the busiest"
        " of them are named.",
    ),
}  # fmt: skip

_OF_RELEASE = {"rounds", "slots", "pages", "annotators"}
OWN_BROWSING_FIGURES: Mapping[str, PlannedFigure] = {
    **{name: planned for name, planned in BROWSING_FIGURES.items() if name not in _OF_RELEASE},
    "slots": PlannedFigure(
        title="The place on the page", on=charts.draw_selected_by("slot", "slot on the page"),
        height=1.8, needs=("selected_share_by_slot",),
        caption="Share of pictures selected by slot on the page, with 95 % intervals.",
    ),
    "pages": PlannedFigure(
        title="The pages of a task", on=charts.draw_selected_by("page", "page of the task"),
        height=1.8, needs=("selected_share_by_page",),
        caption="Share of pictures selected by page of the task, with 95 % intervals.",
    ),
    "annotators": PlannedFigure(
        title="Annotators", on=scatter.draw_annotators, height=2.9, legend=2, needs=("workers",),
        caption="Agreement with others who saw the same images, of"
        f" {POOLED.format(n='number of views')}. Suspects are orange.",
    ),
}  # fmt: skip

TAGGING_FIGURES: Mapping[str, PlannedFigure] = {
    "box_centres": PlannedFigure(
        title="Where objects are", on=maps.draw_box_centres, height=2.7,
        needs=("box_centre_density",),
        caption="Share of objects whose box centre lies in each of 11 x 11 cells of the image; the"
        " central cell is framed. Colours go by the square root.",
    ),
    "icon_offset": PlannedFigure(
        title="Icons relative to the box", on=maps.draw_offset("icon_offset"), height=3.1, legend=3,
        needs=("icon_offset_density", "icon_offset"),
        caption="Density of final icons around the box of their object, in its widths and heights,"
        " y down, with the fullest cell and the mean with its 95 % interval. Colours go by the"
        " square root.",
    ),
    "sequences": PlannedFigure(
        title="Actions on an icon", needs=("action_sequences",), on=charts.draw_sequences,
        caption="How often each sequence of actions occurs among the icons present at the"
        " end, with 95 % intervals; orange: the tool does not allow it.",
    ),
    "class_recall": PlannedFigure(
        title="Recall and size of a class", on=scatter.draw_class_recall, height=2.6,
        needs=("class_recall", "class_size"), uses=("recall_size_correlation",),
        caption="Recall of each class against the size of its objects; a dot's area grows with the"
        " number of images, and is hollow where that is too few for the line of least squares."
        " Named: the classes farthest from the line that the others give.",
    ),
    "recall_by_size": PlannedFigure(
        title="Recall by size", needs=("recall_by_size",),
        on=charts.draw_recall_by_size,
        caption="Recall of classes by the area of their largest box in the image, with 95 %"
        " interval and the number of occurrences.",
    ),
    "superclasses": PlannedFigure(
        title="Browsing the icons", on=charts.draw_superclasses, height=2.5,
        needs=("superclass_time_share",), uses=("superclass_visits",),
        caption="Share of the time on a page that each superclass of icons is shown, with 95 %"
        " intervals, and how often a page visits it.",
    ),
    "annotators": PlannedFigure(
        title="Annotators", on=scatter.draw_annotators, height=2.9, legend=2, needs=("workers",),
        caption=f"Score of {POOLED.format(n='number of icons')}. Suspects are orange.",
    ),
}  # fmt: skip


def own_tagging(kind: OwnTagging) -> Mapping[str, PlannedFigure]:
    """Of a tagging log of somebody's own: those of which it has the numbers."""
    known = {m.name for m in (*kind.statistics.measures, *kind.statistics.labelled)}
    return {
        name: planned
        for name, planned in TAGGING_FIGURES.items()
        if known.union(["workers"]).issuperset(planned.needs)
    }


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
    if wanted == ["workers"]:
        found: Found = {"workers": scatter.overview(annotators(folder), kind.score)}
    else:
        found = stats(folder, wanted).estimates
    if not planned.is_drawable(found):
        raise OptionError(
            f"{folder}: nothing to draw in {name!r}: {planned.caption.partition('.')[0]}. The"
            " dataset holds no such values"
        )
    if ax is None:
        axes = np.array(planned.draw(found).axes[: rows * columns], dtype=object)
        return axes[0] if axes.size == 1 else axes.reshape(rows, columns)
    axes = axes.reshape(rows, columns)
    planned.on_axes(axes, found)
    if planned.legend and axes[0, 0].get_legend_handles_labels()[0]:
        axes[0, 0].legend(frameon=False)
    return ax
