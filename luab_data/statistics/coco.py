"""Every statistic and count of a tagging log: name, title, meaning, where it is defined, function.

To add one, name it here; a function of more than a line stands in coco_icons or coco_pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from luab_data.ragged import above_0
from luab_data.statistics import coco_icons as icons
from luab_data.statistics import coco_pages as pages
from luab_data.statistics import maps
from luab_data.statistics.estimate import Terms, mean_of, ratio, share
from luab_data.statistics.measure import (
    Count,
    Measure,
    Printed,
    Source,
    Statistics,
    fraction,
    hits,
    labelled,
    trials,
)

if TYPE_CHECKING:
    from luab_data.kinds import OwnTagging, Tagging

_DEFINED = "docs/definitions.md#"
_BY_CLASS: tuple[tuple[str, tuple[Any, ...]], ...] = (("class", ()),)
_BY_SUPERCLASS: tuple[tuple[str, tuple[Any, ...]], ...] = (("superclass", ()),)
"""Axes whose places are those of the vocabulary."""
_TWO_A_CLASS = -1
"""Cells of a sum: one, and two for each class of the vocabulary."""
_SIZES = (("bin of area", tuple(range(icons.NUM_SIZES))),)

_images, _hits, _pages = (partial(Measure, over=over) for over in ("images", "hits", "actions"))
_spread = partial(_hits, num_cells=2, finish=pages.spread,
                  null_doc="every HIT alike: the spread that chance alone gives")  # fmt: skip
_offset = partial(_images, unit="box sizes", axes=maps.XY, null=0.0,
                  null_doc="icons scatter evenly about the centre")  # fmt: skip


def _of_icons(images: icons.IconBatch, name: str, over: str = "") -> Terms:
    """Sum of a column of lists over that of another, or over its elements that are known."""
    part = mean_of(images.elements(name), row=images.icons.rows)
    if not over:
        return part
    return part._replace(whole=images.elements(over)[~np.isnan(images.elements(name))])


MEASURES: tuple[Measure, ...] = (
    _images("icon_precision", "icon precision",
            "final points of icons on a mask of their class, over icons present at the end",
            _DEFINED + "icon-precision", lambda b: _of_icons(b, "is_on_object")),
    _images("icon_precision_last_add", "icon precision, last add",
            "last adds on a mask, over icons ever added, moved or removed later or not",
            _DEFINED + "icon-precision", lambda b: _of_icons(b, "is_last_add_on_object")),
    _images("icon_precision_all_adds", "icon precision, all adds",
            "adds on a mask, over all adds",
            _DEFINED + "icon-precision", lambda b: _of_icons(b, "num_adds_on_object", "num_adds")),
    _hits("precision_hit_mean", "icon precision of a HIT",
          "mean over HITs of their icon precision",
          _DEFINED + "icon-precision", lambda b: mean_of(b.floats("precision"))),
    _spread("precision_hit_sd", "its spread over HITs",
            "standard deviation over HITs of their icon precision",
            _DEFINED + "icon-precision",
            lambda b: pages.moments(b, "precision")),
    _images("recall", "class recall",
            "classes of the ground truth with an icon at the end, over all (image, class)",
            _DEFINED + "recall", lambda b: mean_of(b.occurrences[1], row=b.occurrences[0].rows)),
    _images("recall_image_mean", "class recall of an image",
            "mean over images with any class of the share of classes with an icon",
            _DEFINED + "recall", lambda b: mean_of(ratio(*icons.retrieved_classes(b.table)))),
    _hits("recall_hit_mean", "class recall of a HIT",
          "mean over HITs of the mean over their images",
          _DEFINED + "recall", lambda b: mean_of(b.floats("recall"))),
    _spread("recall_hit_sd", "its spread over HITs",
            "standard deviation over HITs of the mean recall of their images",
            _DEFINED + "recall", lambda b: pages.moments(b, "recall")),
    _images("class_recall", "recall by class",
            "images with an icon of the class, over images that have the class",
            _DEFINED + "recall-and-size", icons.class_recall, axes=_BY_CLASS),
    _images("class_size", "size of a class",
            "mean bin, 0 to 9, of the share of the image that a box covers; 1e-4 to 1 in log",
            _DEFINED + "recall-and-size; " + _DEFINED + "unknowns", icons.class_size,
            unit="bin", axes=_BY_CLASS),
    _images("recall_by_size", "recall by size",
            "recall of classes by the bin of their largest box in the image",
            _DEFINED + "recall-and-size", icons.recall_by_size, axes=_SIZES),
    _images("recall_size_correlation", "recall against size",
            f"Pearson's r over classes that {icons.MIN_OCCURRENCES} images or more have",
            _DEFINED + "recall-and-size", icons.recall_and_size, unit="correlation",
            num_cells=_TWO_A_CLASS, finish=icons.size_correlation, null=0.0,
            null_doc="size does not matter"),
    _offset("icon_offset", "icon from box centre",
            "mean offset of the final point from the centre of its box, in box sizes, y down",
            _DEFINED + "click-offset", maps.mean_offset),
    _offset("icon_offset_inside", "same, of icons in the box",
            "likewise of icons that lie in their box, which no far icon can move",
            _DEFINED + "click-offset", maps.mean_offset_inside),
    _images("icon_offset_density", "icons about the box",
            "icons by their offset from the box's centre, among those within 1.05 box sizes",
            _DEFINED + "click-offset", maps.offset_density, axes=maps.OFFSETS, finish=share),
    _images("box_centre_density", "where box centres are",
            "box instances by the cell of their centre, over all instances but crowds",
            _DEFINED + "central-cell", maps.box_centre_density, axes=maps.PICTURE, finish=share),
    _images("central_cell_share", "box centres in the central cell",
            "box instances whose centre is in the central of 11 x 11 cells",
            _DEFINED + "central-cell", maps.central_cell, null=1 / maps.MAP_CELLS**2,
            null_doc="centres spread evenly"),
    _images("sequence_violation_share", "impossible sequences",
            "icons present at the end whose actions the tool does not allow, such as add-add",
            _DEFINED + "action-sequences", icons.violations),
    _images("time_page_ms", "time on a page",
            "median of the time on a page; the clock of a HIT's first page starts before its load",
            "docs/formats.md#page-clock", unit="ms",
            values=lambda b: above_0(b.floats("time_spent_ms"))),
    _hits("time_hit_ms", "time for a HIT",
          "median of the sum of the times of a HIT's pages, as many as are there",
          _DEFINED + "cost", unit="ms", values=lambda b: b.floats("time_ms")),
    _pages("superclass_revisit_share", "pages that go back",
           "pages that return to an earlier superclass, over pages with any step",
           _DEFINED + "browsing-classes", pages.revisited),
    _pages("keyboard_share", "steps by keyboard",
           "steps to another superclass by keyboard, over all steps",
           _DEFINED + "browsing-classes", lambda b: mean_of(b.by_keyboard, row=b.steps.rows)),
    _pages("forward_step_share", "steps forward",
           "steps to a later superclass, over all steps", _DEFINED + "browsing-classes",
           lambda b: mean_of(b.steps.values > b.origin, row=b.steps.rows)),
    _pages("superclass_time_share", "time on a superclass",
           "mean over pages of the share of the page's time that the superclass was shown",
           _DEFINED + "browsing-classes", pages.time_share, axes=_BY_SUPERCLASS),
    _pages("superclass_visits", "visits to a superclass",
           "mean visits of a page to the superclass, the first one's at the start included",
           _DEFINED + "browsing-classes", pages.visits, unit="visits", axes=_BY_SUPERCLASS),
)  # fmt: skip

_taken = {m.name: m for m in MEASURES}
_placed = _images("icons_per_image", "icons on an image", "mean number of icons present at the end",
                  _DEFINED + "icon-precision", unit="icons",
                  terms=lambda b: mean_of(np.bincount(b.icons.rows, b.is_present, len(b))),
                  )  # fmt: skip
_SEQUENCES = _images("action_sequences", "actions on an icon",
                    "icons present at the end by the actions on them, over all of them",
                    _DEFINED + "action-sequences", labels=icons.sequences,
                    axes=(("actions", ()),))  # fmt: skip

_COUNTS: Mapping[str, Count] = {
    "num_records": Count("images", _placed, trials),
    "num_placed": Count("icons present at the end", _placed, hits),
    "num_present": Count("classes in the ground truth, summed over images",
                         _taken["recall"], trials),
    "icon_precision": fraction("share of the evaluated icons that lie on a mask of their class",
                               _taken["icon_precision"]),
    "recall": fraction("share of the classes present that have an icon at the end",
                       _taken["recall"]),
    "recall_hit_mean": fraction("mean over HITs of the mean over their images of that share",
                                _taken["recall_hit_mean"]),
    "action_sequences": Count("how an icon that is present at the end came there",
                              _SEQUENCES, labelled),
}  # fmt: skip

_PRINTED: Printed = {
    ("icon_precision", None): "92.3 %",
    ("recall_hit_mean", None): "61.9 %",
    ("precision_hit_sd", None): '"0.057 %p", read as 5.7 points',
    ("recall_hit_sd", None): '"0.118 %p", read as 11.8 points',
    ("central_cell_share", None): "< 4 %",
    ("time_hit_ms", None): "12.1 min",
}
"""What the paper prints, with what it says of its precision; never a value of ours. What stands
only inside a figure is unknown and not here."""


def statistics(kind: Tagging) -> Statistics:
    """Of COCO-AB."""
    places: dict[str, tuple[str, ...]] = {
        "class": kind.vocabulary.names, "superclass": tuple(kind.vocabulary.superclasses),
    }  # fmt: skip

    class Pages(pages.BrowsingBatch):
        num_superclasses = len(kind.vocabulary.superclasses)

    def bound(m: Measure) -> Measure:
        axes = tuple((axis, places.get(axis, labels)) for axis, labels in m.axes)
        of_classes = 1 + 2 * len(kind.vocabulary.names)
        cells = of_classes if m.num_cells == _TWO_A_CLASS else m.num_cells
        return replace(m, axes=axes, num_cells=cells)

    images = Source(
        "images", "default", icons.IconBatch,
        counted=("worker_id", "hit_id", "time_spent_ms", "labels", "icon_label",
                 "is_present_at_end", "is_on_object", "action_sequence"),
        slim=pages.slim_images, whole={"hits": pages.hits},
    )  # fmt: skip
    return Statistics(
        counts=_COUNTS, measures=tuple(map(bound, MEASURES)), printed=_PRINTED,
        sources=(images, Source("actions", "actions", Pages, counted=())), labelled=(_SEQUENCES,),
    )  # fmt: skip


_TOLD_OTHERWISE: Mapping[str, tuple[str, str]] = {
    "time_page_ms": ("time on a page", "median of the time on a page"),
    "sequence_violation_share": (
        "sequences that contradict themselves",
        "icons present at the end whose actions cannot follow each other, such as add-add",
    ),
}


def own_statistics(kind: OwnTagging) -> Statistics:
    """Of a tagging log of somebody's own: of images by their deciding view, of pages by all views.

    Nothing is told of HITs, of which only the deciding views are in `default`, nor of superclasses
    where the vocabulary has none; and no paper prints a number of it.
    """
    of_coco = statistics(kind)
    has_steps = len(kind.vocabulary.superclasses) > 1
    measures = []
    for m in of_coco.measures:
        if m.over == "hits" or (m.over == "actions" and not has_steps):
            continue
        title, doc = _TOLD_OTHERWISE.get(m.name, (m.title, m.doc))
        over = "actions" if m.name == "time_page_ms" else m.over
        measures.append(replace(m, title=title, doc=doc, over=over))
    counts = {name: c for name, c in of_coco.counts.items() if c.measure.over != "hits"}
    return replace(of_coco, counts=counts, measures=tuple(measures), printed={}, may_lack=True)
