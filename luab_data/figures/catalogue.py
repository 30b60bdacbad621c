"""Every figure by name: what it needs, what it shows, the function that draws it.

To add one, write the function that draws on an Axes, the one here that makes its Figure, and an
entry of FIGURES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from luab_data.analysis.estimate import Estimate
from luab_data.figures import annotators, bars, curves, icons, maps, pictures
from luab_data.figures.page import draw_page, page_path
from luab_data.figures.pictures import Row
from luab_data.figures.style import (
    BLUE,
    COLUMN_INCH,
    VERMILION,
    counts,
    drawing,
    legend_below,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Estimates: TypeAlias = Mapping[str, Estimate]
"""Name of the measure -> its estimate, as `measure.take` gives them."""
Tables: TypeAlias = Mapping[str, pa.Table]
"""`sequences` (see icons.draw_sequences), `workers` (see annotators)."""

_SIDES = ("left", "right", "top", "bottom")


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
    """The figures of a dataset for which everything needed is there, in order."""
    return {
        key: figure
        for key, figure in FIGURES.items()
        if figure.dataset == dataset
        and all(name in estimates for name in figure.needs)
        and all(name in tables for name in figure.tables)
    }


def box_centres_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Density of box centres. Fig. C left."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.7)
        maps.draw_density(ax, estimates["box_centre_density"])
        ax.set_title(counts(estimates["box_centre_density"].n))
    return figure


def random_clicks_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Accuracy of random clicks. Fig. C right."""
    with drawing():
        figure, ((ax,),) = new_figure()
        curve = estimates["random_click_curve"]
        curves.draw_random_clicks(
            ax, curve, estimates.get("click_accuracy"), estimates.get("centre_accuracy")
        )
        ax.set_title(counts(curve.n))
    return figure


def accuracy_maps_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Accuracy and density by box centre and by click. Fig. D."""
    with drawing():
        figure, grid = new_figure(2, 2, height=3.3)
        for (left, right), accuracy, density, name in (
            (grid[0], "accuracy_by_box_centre", "box_centre_density", "box centre"),
            (grid[1], "accuracy_by_click", "click_density", "click"),
        ):
            maps.draw_accuracy_map(left, estimates[accuracy])
            left.set_title(f"by {name}: accuracy")
            maps.draw_density(right, estimates[density], mark_centre=False)
            right.set_title("density")
    return figure


def last_n_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Accuracy of the N-th record before the click. Fig. E."""
    with drawing():
        figure, ((ax,),) = new_figure()
        curves.draw_last_n(ax, estimates["last_n_accuracy"])
    return figure


def quantiles_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Accuracy along the trace. Fig. E."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.4)
        trace = estimates["trace_quantile_accuracy"]
        curves.draw_quantiles(ax, trace, estimates["time_quantile_accuracy"])
        ax.set_title(counts(trace.n))
        legend_below(figure, ax)
    return figure


def click_offset_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Clicks relative to their box. Fig. F."""
    return _offset_figure(estimates["click_offset_density"], estimates["click_offset"])


def icon_offset_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Icons relative to the box of their object. Fig. H."""
    return _offset_figure(estimates["icon_offset_density"], estimates["icon_offset"])


def _offset_figure(density: Estimate, mean: Estimate) -> Figure:
    with drawing():
        figure, ((ax,),) = new_figure(height=3.1)
        maps.draw_offset(ax, density, mean)
        ax.set_title(counts(mean.n))
        legend_below(figure, ax, columns=3)
    return figure


def rounds_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Share of pictures selected by round."""
    with drawing():
        figure, ((ax,),) = new_figure(height=1.7)
        estimate = estimates["selected_share_by_round"]
        names = [f"round {k + 1}\n{counts(estimate.n[k : k + 1])}" for k in range(2)]
        bars.draw_bars(ax, names, estimate, thickness=0.5)
        ax.set(ylabel="selected, %", xlim=(-0.7, 1.7))
    return figure


def slots_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Selection and accuracy by slot of the page."""
    return _places_figure(estimates, "slot", "slot on the page")


def pages_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Selection and accuracy by page of the HIT."""
    return _places_figure(estimates, "page", "page of the HIT")


def _places_figure(estimates: Estimates, place: str, xlabel: str) -> Figure:
    with drawing():
        figure, ((upper,), (lower,)) = new_figure(2, height=2.8, sharex=True)
        for ax, name, ylabel, colour in (
            (upper, "selected_share", "selected, %", BLUE),
            (lower, "accuracy", "in a box, %", VERMILION),
        ):
            estimate = estimates[f"{name}_by_{place}"]
            curves.draw_places(ax, estimate, xlabel="", ylabel=ylabel, colour=colour)
            ax.set_title(counts(estimate.n))
        lower.set_xlabel(xlabel)
        figure.align_ylabels()
    return figure


def sides_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Sides of the picture at which the mouse enters and leaves."""
    with drawing():
        figure, ((ax,),) = new_figure()
        for place, name, label, colour in (
            (-0.2, "entry_side", "enters", BLUE),
            (0.2, "exit_side", "leaves", VERMILION),
        ):
            null_label = "all sides alike" if name == "exit_side" else None
            bars.draw_bars(
                ax, _SIDES, estimates[name], colour=colour, place=place, thickness=0.36,
                label=label, null_label=null_label,
            )  # fmt: skip
        ax.set(ylabel="share of visits, %")
        legend_below(figure, ax, columns=3)
    return figure


def sequences_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Sequences of actions on icons. Fig. J."""
    with drawing():
        figure, ((ax,),) = new_figure()
        icons.draw_sequences(ax, tables["sequences"])
    return figure


def class_recall_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Recall of classes against their size. Fig. K."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.6)
        icons.draw_class_recall(
            ax,
            estimates["class_recall"],
            estimates["class_size"],
            estimates.get("recall_size_correlation"),
        )
    return figure


def recall_by_size_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Recall against the area of the class."""
    with drawing():
        figure, ((ax,),) = new_figure()
        curves.draw_recall_by_size(ax, estimates["recall_by_size"])
    return figure


def superclasses_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Time and visits of superclasses."""
    with drawing():
        figure, ((ax,),) = new_figure(height=2.5)
        icons.draw_superclasses(
            ax, estimates["superclass_time_share"], estimates.get("superclass_visits")
        )
    return figure


def annotators_figure(estimates: Estimates, tables: Tables) -> Figure:
    """Shrinkage and click offsets of workers; the second only if `offset_x` is there."""
    workers = tables["workers"]
    panels: list[Callable[[Axes, pa.Table], Axes]] = [annotators.draw_shrinkage]
    if "offset_x" in workers.column_names:
        panels.append(annotators.draw_worker_offsets)
    with drawing():
        figure, grid = new_figure(len(panels), height=0.4 + 2.5 * len(panels))
        for (ax,), draw in zip(grid, panels, strict=True):
            draw(ax, workers)
        legend_below(figure, grid[0, 0])
    return figure


def image_figure(image: Any | None, row: Row, round_row: Row | None = None) -> Figure:
    """One ImageNet picture with its legend; arguments as of `pictures.draw_image`."""
    with drawing():
        figure, ((ax,),) = new_figure(height=3.2)
        pictures.draw_image(ax, image, row, round_row)
        legend_below(figure, ax)
    return figure


def coco_image_figure(image: Any | None, row: Row, actions: Row | None = None) -> Figure:
    """One COCO picture with its legend; arguments as of `pictures.draw_coco_image`."""
    with drawing():
        figure, ((ax,),) = new_figure(height=3.2)
        pictures.draw_coco_image(ax, image, row, actions)
        legend_below(figure, ax)
    return figure


def page_figure(page: pa.Table, images: Mapping[str, Any] | None = None) -> Figure:
    """The replay of one page with its legend; arguments as of `page.draw_page`."""
    left, top, right, bottom = page_path(page).extent
    with drawing():
        height = 0.4 + COLUMN_INCH * min(max((bottom - top) / (right - left), 0.3), 2.6)
        figure, ((ax,),) = new_figure(height=height)
        draw_page(ax, page, images)
        legend_below(figure, ax)
    return figure


FIGURES: dict[str, PlannedFigure] = {
    "box_centres": PlannedFigure(
        dataset="imagenet-ab", title="Where objects are", draw=box_centres_figure,
        caption="Share of boxes whose centre lies in each of 11 x 11 cells of the image; the"
        " central cell is framed. Colours go by the square root; hatched cells hold none.",
        needs=("box_centre_density",),
    ),
    "random_clicks": PlannedFigure(
        dataset="imagenet-ab", title="What random clicks would score", draw=random_clicks_figure,
        caption="Chance that a point drawn evenly from the centred square of side t lies in a box,"
        " exact, with its 95 % interval; the lines are the workers' final clicks and the image's"
        " centre, on the same images.",
        needs=("random_click_curve",),
    ),
    "accuracy_maps": PlannedFigure(
        dataset="imagenet-ab", title="Accuracy by place", draw=accuracy_maps_figure,
        caption="Share of final clicks in a box, by the place of the box's centre (above) and of"
        " the click (below), with the density of each. Hatched cells hold none, dotted ones fewer"
        f" than {maps.FEW}.",
        needs=("accuracy_by_box_centre", "accuracy_by_click", "box_centre_density",
               "click_density"),
    ),
    "last_n": PlannedFigure(
        dataset="imagenet-ab", title="The last records before the click", draw=last_n_figure,
        caption="Share in a box of the N-th trace record before the final click (N = 0 is the"
        " click), with 95 % interval and the number of visits that are long enough; dashed: the"
        " same points dealt to the images at random.",
        needs=("last_n_accuracy",),
    ),
    "quantiles": PlannedFigure(
        dataset="imagenet-ab", title="From entry to click", draw=quantiles_figure,
        caption="Share in a box along the visit that ends in the final click, by the share of its"
        " records and of its time, with 95 % intervals; dashed: the same points dealt to the images"
        " at random.",
        needs=("trace_quantile_accuracy", "time_quantile_accuracy"),
    ),
    "click_offset": PlannedFigure(
        dataset="imagenet-ab", title="Clicks relative to the box", draw=click_offset_figure,
        caption="Density of final clicks around the box, in its widths and heights, y down, with"
        " the fullest cell and the mean with its 95 % interval. Colours go by the square root.",
        needs=("click_offset_density", "click_offset"),
    ),
    "rounds": PlannedFigure(
        dataset="imagenet-ab", title="Selection by round", draw=rounds_figure,
        caption="Share of the pictures shown that were selected, with 95 % intervals.",
        needs=("selected_share_by_round",),
    ),
    "slots": PlannedFigure(
        dataset="imagenet-ab", title="The place on the page", draw=slots_figure,
        caption="Share of pictures selected and of clicks in a box by slot on the page, with 95 %"
        " intervals.",
        needs=("selected_share_by_slot", "accuracy_by_slot"),
    ),
    "pages": PlannedFigure(
        dataset="imagenet-ab", title="The pages of a HIT", draw=pages_figure,
        caption="Share of pictures selected and of clicks in a box by page of the HIT, with 95 %"
        " intervals.",
        needs=("selected_share_by_page", "accuracy_by_page"),
    ),
    "sides": PlannedFigure(
        dataset="imagenet-ab", title="Entry and exit", draw=sides_figure,
        caption="Side of the picture nearest to the first and to the last record, with 95 %"
        " intervals; dashed: all sides alike.",
        needs=("entry_side", "exit_side"),
    ),
    "annotators": PlannedFigure(
        dataset="imagenet-ab", title="Annotators", draw=annotators_figure,
        caption="Above: click accuracy of each worker, own and shrunk towards the crowd; a dot's"
        " area grows with the clicks, the line to the diagonal is the shrinkage. Below: mean offset"
        " of the worker's clicks from the box's centre. Suspects are red, the busiest are named.",
        tables=("workers",),
    ),
    "coco_box_centres": PlannedFigure(
        dataset="coco-ab", title="Where objects are", draw=box_centres_figure,
        caption="Share of objects whose box centre lies in each of 11 x 11 cells of the image; the"
        " central cell is framed. Colours go by the square root; hatched cells hold none.",
        needs=("box_centre_density",),
    ),
    "icon_offset": PlannedFigure(
        dataset="coco-ab", title="Icons relative to the box", draw=icon_offset_figure,
        caption="Density of final icons around the box of their object, in its widths and heights,"
        " y down, with the fullest cell and the mean with its 95 % interval. Colours go by the"
        " square root.",
        needs=("icon_offset_density", "icon_offset"),
    ),
    "sequences": PlannedFigure(
        dataset="coco-ab", title="Actions on an icon", draw=sequences_figure,
        caption="How often each sequence of actions occurs among the icons present at the end.",
        tables=("sequences",),
    ),
    "class_recall": PlannedFigure(
        dataset="coco-ab", title="Recall and size of a class", draw=class_recall_figure,
        caption="Recall of each class against the size of its objects; a dot's area grows with the"
        " number of images. Line: least squares. Named: the classes farthest from it for their"
        " number of images.",
        needs=("class_recall", "class_size"),
    ),
    "recall_by_size": PlannedFigure(
        dataset="coco-ab", title="Recall by size", draw=recall_by_size_figure,
        caption="Recall of class occurrences by the area of their masks, with 95 % interval.",
        needs=("recall_by_size",),
    ),
    "superclasses": PlannedFigure(
        dataset="coco-ab", title="Browsing the icons", draw=superclasses_figure,
        caption="Share of the time on a page that each superclass of icons is shown, with 95 %"
        " intervals, and how often a page visits it.",
        needs=("superclass_time_share",),
    ),
    "coco_annotators": PlannedFigure(
        dataset="coco-ab", title="Annotators", draw=annotators_figure,
        caption="Score of each worker, own and shrunk towards the crowd; a dot's area grows with"
        " the number of icons, the line to the diagonal is the shrinkage. Suspects are red.",
        tables=("workers",),
    ),
}  # fmt: skip
