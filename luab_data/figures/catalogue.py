"""Every figure by name: what it needs, what it shows, the function that draws it.

To add one, write the function that draws on an Axes, the one in `whole` that makes a Figure of it,
and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from luab_data.figures import maps, whole
from luab_data.figures.whole import Estimates, Tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class PlannedFigure:
    """One figure of a dataset.

    Attributes:
        dataset: `imagenet-ab` or `coco-ab`.
        title: a few words, to stand above it.
        caption: what is drawn, to stand below it.
        needs: estimates without which it cannot be drawn; others are drawn if they are there.
        tables: tables without which it cannot be drawn.
        draw: (estimates, tables) -> Figure.
    """

    dataset: str
    title: str
    caption: str
    needs: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    draw: Callable[[Estimates, Tables], Figure]


def drawable(dataset: str, estimates: Estimates, tables: Tables) -> dict[str, PlannedFigure]:
    """The figures of a dataset for which everything needed is there and has a value, in order."""
    return {
        key: figure
        for key, figure in FIGURES.items()
        if figure.dataset == dataset
        and all(_has_value(estimates, name) for name in figure.needs)
        and all(name in tables and tables[name].num_rows for name in figure.tables)
    }


def _has_value(estimates: Estimates, name: str) -> bool:
    return name in estimates and bool(np.isfinite(estimates[name].value).any())


FIGURES: dict[str, PlannedFigure] = {
    "box_centres": PlannedFigure(
        dataset="imagenet-ab", title="Where objects are", draw=whole.box_centres_figure,
        caption="Share of boxes whose centre lies in each of 11 x 11 cells of the image; the"
        " central cell is framed. Colours go by the square root.",
        needs=("box_centre_density",),
    ),
    "random_clicks": PlannedFigure(
        dataset="imagenet-ab", title="What random clicks score", draw=whole.random_clicks_figure,
        caption="Chance that a point drawn evenly from the centred square of side t lies in a box,"
        " exact, with its 95 % interval; the lines are the workers' final clicks and the image's"
        " centre, on the same images.",
        needs=("random_click_curve",),
    ),
    "accuracy_maps": PlannedFigure(
        dataset="imagenet-ab", title="Accuracy by place", draw=whole.accuracy_maps_figure,
        caption="Share of final clicks in a box, by the place of the box's centre (above) and of"
        " the click (below), with the density of each. Hatched cells hold none, dotted ones fewer"
        f" than {maps.FEW}.",
        needs=("accuracy_by_box_centre", "accuracy_by_click", "box_centre_density",
               "click_density"),
    ),
    "last_n": PlannedFigure(
        dataset="imagenet-ab", title="The last records before the click", draw=whole.last_n_figure,
        caption="Share in a box of the N-th trace record before the final click (N = 0 is the"
        " click), with 95 % interval and the number of visits that are long enough; dashed: the"
        " same points dealt to the images at random.",
        needs=("last_n_accuracy",),
    ),
    "quantiles": PlannedFigure(
        dataset="imagenet-ab", title="From entry to click", draw=whole.quantiles_figure,
        caption="Share in a box along the visit that ends in the final click, by the share of its"
        " records and of its time, with 95 % intervals; dashed: the same points dealt to the images"
        " at random.",
        needs=("trace_quantile_accuracy", "time_quantile_accuracy"),
    ),
    "click_offset": PlannedFigure(
        dataset="imagenet-ab", title="Clicks relative to the box", draw=whole.click_offset_figure,
        caption="Density of final clicks around the box, in its widths and heights, y down, with"
        " the fullest cell and the mean with its 95 % interval. Colours go by the square root.",
        needs=("click_offset_density", "click_offset"),
    ),
    "rounds": PlannedFigure(
        dataset="imagenet-ab", title="Selection by round", draw=whole.rounds_figure,
        caption="Share of the pictures shown that were selected, with 95 % intervals.",
        needs=("selected_share_by_round",),
    ),
    "slots": PlannedFigure(
        dataset="imagenet-ab", title="The place on the page", draw=whole.slots_figure,
        caption="Share of pictures selected and of clicks in a box by slot on the page, with 95 %"
        " intervals.",
        needs=("selected_share_by_slot", "accuracy_by_slot"),
    ),
    "pages": PlannedFigure(
        dataset="imagenet-ab", title="The pages of a HIT", draw=whole.pages_figure,
        caption="Share of pictures selected and of clicks in a box by page of the HIT, with 95 %"
        " intervals.",
        needs=("selected_share_by_page", "accuracy_by_page"),
    ),
    "sides": PlannedFigure(
        dataset="imagenet-ab", title="Entry and exit", draw=whole.sides_figure,
        caption="Side of the picture nearest to the first and to the last record, with 95 %"
        " intervals; dashed: all sides alike.",
        needs=("entry_side", "exit_side"),
    ),
    "annotators": PlannedFigure(
        dataset="imagenet-ab", title="Annotators", draw=whole.annotators_figure,
        caption="Above: click accuracy of each worker, own and shrunk towards the crowd; a dot's"
        " area grows with the clicks, the line to the diagonal is the shrinkage. Below: mean offset"
        " of the worker's clicks from the box's centre. Suspects are orange; the busiest"
        " are named.",
        tables=("workers",),
    ),
    "coco_box_centres": PlannedFigure(
        dataset="coco-ab", title="Where objects are", draw=whole.box_centres_figure,
        caption="Share of objects whose box centre lies in each of 11 x 11 cells of the image; the"
        " central cell is framed. Colours go by the square root.",
        needs=("box_centre_density",),
    ),
    "icon_offset": PlannedFigure(
        dataset="coco-ab", title="Icons relative to the box", draw=whole.icon_offset_figure,
        caption="Density of final icons around the box of their object, in its widths and heights,"
        " y down, with the fullest cell and the mean with its 95 % interval. Colours go by the"
        " square root.",
        needs=("icon_offset_density", "icon_offset"),
    ),
    "sequences": PlannedFigure(
        dataset="coco-ab", title="Actions on an icon", draw=whole.sequences_figure,
        caption="How often each sequence of actions occurs among the icons present at the"
        " end, with 95 % intervals; orange: the tool does not allow it.",
        tables=("sequences",),
    ),
    "class_recall": PlannedFigure(
        dataset="coco-ab", title="Recall and size of a class", draw=whole.class_recall_figure,
        caption="Recall of each class against the size of its objects; a dot's area grows with the"
        " number of images, and is hollow where that is too few for the line of least squares."
        " Named: the classes farthest from it for their number of images.",
        needs=("class_recall", "class_size"),
    ),
    "recall_by_size": PlannedFigure(
        dataset="coco-ab", title="Recall by size", draw=whole.recall_by_size_figure,
        caption="Recall of classes by the area of their largest box in the image, with 95 %"
        " interval and the number of occurrences.",
        needs=("recall_by_size",),
    ),
    "superclasses": PlannedFigure(
        dataset="coco-ab", title="Browsing the icons", draw=whole.superclasses_figure,
        caption="Share of the time on a page that each superclass of icons is shown, with 95 %"
        " intervals, and how often a page visits it.",
        needs=("superclass_time_share",),
    ),
    "coco_annotators": PlannedFigure(
        dataset="coco-ab", title="Annotators", draw=whole.annotators_figure,
        caption="Score of each worker, own and shrunk towards the crowd; a dot's area grows with"
        " the number of icons, the line to the diagonal is the shrinkage. Suspects are orange.",
        tables=("workers",),
    ),
}  # fmt: skip
