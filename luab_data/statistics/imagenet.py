"""Every statistic and count of a browsing log: name, title, meaning, where it is defined, function.

To add one, name it here; what takes more than a line stands in imagenet_clicks or imagenet_pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from luab_data.ragged import above_0, bounds_of
from luab_data.schema import LAST_N, QUANTILES
from luab_data.statistics import imagenet_clicks as clicks
from luab_data.statistics import imagenet_pages as pages
from luab_data.statistics import maps
from luab_data.statistics.estimate import by_place, grid_terms, less, mean_of, share
from luab_data.statistics.measure import (
    Count,
    Measure,
    Printed,
    Source,
    Statistics,
    fraction,
    hits,
    trials,
    workers,
)
from luab_data.tools import BROWSING_PAGES, SLOTS

_SOURCES = (
    Source(
        "images", "default", clicks.ImageBatch,
        counted=("worker_id", "has_interaction", "has_boxes", "selected", "width", "height",
                 "boxes", "click_in_box", "final_click_x", "final_click_y"),
    ),
    Source(
        "rounds", "rounds", pages.RoundBatch,
        counted=("worker_id", "round", "selected", "mouse_tracking_time_ms"),
        slim=pages.slim_rounds,
        whole={"pages": pages.page_spans, "hits": pages.hit_spans, "steps": pages.steps},
    ),
)  # fmt: skip

_DEFINED = "docs/definitions.md#"
_FORMATS = "docs/formats.md#"
_ALIKE = "every row is read alike"
_QUANTILES = (("quantile", QUANTILES),)
_ROUNDS = (("round", (1, 2)),)
_SLOTS = (("slot", tuple(range(SLOTS))),)
_PAGES = (("page", tuple(range(BROWSING_PAGES))),)
_SIDES = (("side", pages.SIDES_OF_PICTURE),)

_images, _rounds, _steps = (partial(Measure, over=over) for over in ("images", "rounds", "steps"))
_dealt = partial(_images, null_doc="the same points dealt to the images at random")
_differing = partial(_images, unit="difference of shares", null=0.0, num_cells=2)
_offset = partial(_images, unit="box sizes", axes=maps.XY, null=0.0,
                  null_doc="clicks scatter evenly about the centre")  # fmt: skip
_time = partial(Measure, unit="ms")
_side = partial(_rounds, axes=_SIDES, finish=share, null=0.25, null_doc="all sides alike")

IMAGENET_MEASURES: tuple[Measure, ...] = (
    _images("coverage", "images with any interaction",
            "images with a hovered, tracking or selected record, over all images",
            _DEFINED + "coverage", lambda b: mean_of(b.floats("has_interaction"))),
    _images("selected_share", "re-selected images",
            "images that any round ended with selected, over all images",
            _DEFINED + "selected-share", lambda b: mean_of(b.floats("selected"))),
    _images("decided_by_round", "images selected by round",
            "images whose selecting round is 1 or 2, over all images",
            _DEFINED + "selected-share", axes=_ROUNDS,
            terms=lambda b: grid_terms(b.floats("selected_round")[:, None] == [1, 2])),
    _rounds("selected_share_by_round", "pictures selected when shown",
            "pictures selected over pictures shown, in round 1 and in round 2",
            _DEFINED + "selected-share", axes=_ROUNDS,
            terms=lambda b: by_place(b.selected, b.floats("round") - 1, 2)),
    _differing("selected_second_less_first", "round 2 less round 1",
               "share selected in round 2 less that in round 1",
               _DEFINED + "selected-share", over="rounds", finish=less(1, 0),
               terms=lambda b: by_place(b.selected, b.floats("round") - 1, 2),
               null_doc="a second showing is selected as often as a first"),
    _images("parity_disagrees", "odd-length rule wrong",
            "images whose `selected` is not what an odd number of selecting clicks would say",
            _FORMATS + "deselection", lambda b: mean_of(b.floats("parity_disagrees"))),
    _dealt("click_accuracy", "click accuracy",
           "final clicks in any box, over selected images with boxes",
           _DEFINED + "click-accuracy", clicks.click_accuracy),
    _dealt("first_click_accuracy", "first-click accuracy",
           "first selecting clicks of the deciding round in any box, over the same images",
           _DEFINED + "which-click", lambda b: clicks.click_accuracy(b, "first_click")),
    _images("centre_accuracy", "centre-click accuracy",
            "the picture's centre in any box, over the same images",
            _DEFINED + "centre-accuracy", lambda b: mean_of(b.centre_right, where=b.evaluated)),
    _images("boxed_centre_accuracy", "centre-click accuracy, all boxed",
            "the picture's centre in any box, over all images with boxes",
            _DEFINED + "centre-accuracy",
            lambda b: mean_of(b.centre_right,
                              where=(b.floats("has_boxes") > 0) & ~np.isnan(b.size[0]))),
    _differing("click_less_centre", "click less centre accuracy",
               "click accuracy less centre accuracy",
               _DEFINED + "centre-accuracy", clicks.click_and_centre, finish=less(0, 1),
               null_doc="a click is right as often as the centre"),
    _images("off_centre_share", "off-centre images",
            "selected images with boxes none of which holds the centre, over those with boxes",
            _DEFINED + "off-centre-accuracy",
            lambda b: mean_of(~b.centre_right, where=b.evaluated)),
    _images("off_centre_click_accuracy", "off-centre click accuracy",
            "click accuracy on images none of whose boxes holds the centre",
            _DEFINED + "off-centre-accuracy", lambda b: mean_of(b.right, where=~b.centre_right)),
    _images("on_centre_click_accuracy", "on-centre click accuracy",
            "click accuracy on images of which a box holds the centre",
            _DEFINED + "click-accuracy", lambda b: mean_of(b.right, where=b.centre_right)),
    _images("random_click_curve", "random clicks",
            "chance that a point of the centred square of side t is in a box; t = 0 is the centre",
            _DEFINED + "random-click-curve", clicks.random_click_curve,
            axes=(("side t", clicks.SIDES),)),
    _images("box_centre_density", "where box centres are",
            "box instances by the cell of their centre, over all instances",
            _DEFINED + "central-cell", maps.box_centre_density, axes=maps.PICTURE, finish=share),
    _images("central_cell_share", "box centres in the central cell",
            "box instances whose centre is in the central of 11 x 11 cells",
            _DEFINED + "central-cell", maps.central_cell, null=1 / maps.MAP_CELLS**2,
            null_doc="centres spread evenly"),
    _images("click_density", "where clicks are",
            "final clicks by cell, over all selected images",
            _DEFINED + "location-maps", lambda b: clicks.by_click(b, np.ones(len(b))),
            axes=maps.PICTURE, finish=share),
    _images("accuracy_by_box_centre", "accuracy by box centre",
            "click accuracy by the cell of the box's centre, once a box",
            _DEFINED + "location-maps", clicks.accuracy_by_box_centre, axes=maps.PICTURE),
    _images("accuracy_by_click", "accuracy by click",
            "click accuracy by the cell of the click",
            _DEFINED + "location-maps", lambda b: clicks.by_click(b, b.right), axes=maps.PICTURE),
    _dealt("last_n_accuracy", "N records before the click",
           "the N-th trace record before the click in a box; shorter visits are left out",
           _DEFINED + "trace-curves", lambda b: clicks.accuracy(b, *b.points("last_n", LAST_N)),
           axes=(("N", tuple(range(LAST_N))),)),
    _dealt("trace_quantile_accuracy", "along the trace, by record",
           "the trace record at quantile q of its visit's records in a box",
           _DEFINED + "trace-curves", axes=_QUANTILES,
           terms=lambda b: clicks.accuracy(b, *b.points("trace_quantile", len(QUANTILES)))),
    _dealt("time_quantile_accuracy", "along the trace, by time",
           "the trace record at quantile q of its visit's time in a box",
           _DEFINED + "trace-curves", axes=_QUANTILES,
           terms=lambda b: clicks.accuracy(b, *b.points("time_quantile", len(QUANTILES)))),
    _offset("click_offset", "click from box centre",
            "mean offset of the click from the centre of its box, in box sizes, y down",
            _DEFINED + "click-offset", maps.mean_offset),
    _offset("click_offset_inside", "same, of clicks in the box",
            "likewise of clicks that lie in their box, which no far click can move",
            _DEFINED + "click-offset", maps.mean_offset_inside),
    _images("click_offset_density", "clicks about the box",
            "clicks by their offset from the box's centre, among those within 1.05 box sizes",
            _DEFINED + "click-offset", maps.offset_density, axes=maps.OFFSETS, finish=share),
    _time("estimate_time_ms", "time on a picture, tool",
          "median of the tool's estimate over pictures that have one above 0",
          _FORMATS + "estimated-time", over="rounds",
          values=lambda b: above_0(b.floats("estimate_time_ms"))),
    _time("dwell_time_ms", "time on a picture, dwell",
          "median time between enter and leave over deciding rounds the cursor was in",
          _FORMATS + "visits", over="images", values=lambda b: b.floats("dwell_time_ms")),
    _rounds("trace_records", "trace records of a picture",
            "median number of trace records over pictures the cursor was on",
            _FORMATS + "throttle", unit="records",
            values=lambda b: np.where(b.enters > 0, b.trace[0].lengths, np.nan)),
    _time("page_time_ms", "time on a page",
          "median time from the first to the last record of a page's logged pictures",
          _DEFINED + "browsing-pages", over="pages", values=lambda b: b.floats("time_ms")),
    _time("hit_time_ms", "time for a HIT",
          "median time from an assignment's first record to its submission",
          _DEFINED + "cost", over="hits", values=lambda b: b.floats("time_ms")),
    _rounds("revisited_share", "pictures entered again",
            "pictures entered more than once, over pictures entered",
            _DEFINED + "browsing-pages", lambda b: mean_of(b.enters > 1, where=b.enters > 0)),
    _rounds("passed_over_share", "unselected, but looked at",
            "unselected pictures that the cursor had entered, over unselected ones",
            _DEFINED + "browsing-pages", lambda b: mean_of(b.enters > 0, where=~b.selected)),
    _steps("serpentine_forward", "forward in serpentines",
           "steps to the next picture that go forward when every second row is read leftwards",
           _DEFINED + "browsing-pages", pages.serpentine_forward, null=0.5,
           null_doc="random order"),
    _steps("reading_forward", "forward in reading order",
           "steps to the next picture that go forward when every row is read rightwards",
           _DEFINED + "browsing-pages", lambda b: b.forward(b.start, b.end), null=0.5,
           null_doc="random order"),
    _differing("leftward_odd_less_even", "serpentine rows",
               "of steps within a row, the share going left in odd rows less that in even rows",
               _DEFINED + "browsing-pages", pages.leftward_by_row, over="steps",
               finish=less(0, 1), null_doc=_ALIKE),
    _side("entry_side", "side of entry",
          "side of the picture that the trace's first record is nearest to",
          _DEFINED + "browsing-pages", pages.entry_side),
    _side("exit_side", "side of exit",
          "side nearest to the last record where the cursor left an unselected picture",
          _DEFINED + "browsing-pages", pages.exit_side),
    _rounds("selected_share_by_slot", "selected by slot",
            "pictures selected over shown, by slot on the page", _DEFINED + "browsing-pages",
            lambda b: by_place(b.selected, b.floats("image_idx"), SLOTS), axes=_SLOTS),
    _images("accuracy_by_slot", "click accuracy by slot",
            "click accuracy by slot on the page", _DEFINED + "browsing-pages",
            lambda b: by_place(b.right, b.floats("image_idx"), SLOTS), axes=_SLOTS),
    _rounds("selected_share_by_page", "selected by page",
            "pictures selected over shown, by page of the HIT", _DEFINED + "browsing-pages",
            lambda b: by_place(b.selected, b.floats("page_idx"), BROWSING_PAGES), axes=_PAGES),
    _images("accuracy_by_page", "click accuracy by page",
            "click accuracy by page of the HIT", _DEFINED + "browsing-pages",
            lambda b: by_place(b.right, b.floats("page_idx"), BROWSING_PAGES), axes=_PAGES),
)  # fmt: skip

_taken = {m.name: m for m in IMAGENET_MEASURES}
_boxed = _images("boxed_share", "images with boxes", "images with boxes, over all images",
                 _FORMATS + "boxes", lambda b: mean_of(b.floats("has_boxes")))  # fmt: skip
_traced = _rounds("trace_length", "trace records",
                  "mean number of trace records of a picture shown", _FORMATS + "throttle",
                  unit="records",
                  terms=lambda b: mean_of(np.diff(bounds_of(b.table["mouse_tracking_time_ms"]))),
                  )  # fmt: skip

_COUNTS: Mapping[str, Count] = {
    "num_images": Count("images", _taken["coverage"], trials),
    "num_rounds": Count("metadata blocks: an image shown to a worker", _traced, trials),
    "num_with_interaction": Count("images with any hovered, tracking or selected record",
                                  _taken["coverage"], hits),
    "num_with_boxes": Count("images with ILSVRC boxes", _boxed, hits),
    "num_selected": Count("images that a round ended with selected",
                          _taken["selected_share"], hits),
    "num_selected_round1": Count("images that round 1 ended with selected",
                                 _taken["selected_share_by_round"], hits),
    "num_evaluated": Count("selected images with boxes, a final click and a size: the set S",
                           _taken["click_accuracy"], trials),
    "click_accuracy": fraction("share of S whose final click lies in a box",
                               _taken["click_accuracy"]),
    "centre_accuracy": fraction("share of S whose centre lies in a box",
                                _taken["centre_accuracy"]),
    "off_centre_fraction": fraction("share of S whose boxes all miss the centre",
                                    _taken["off_centre_share"]),
    "off_centre_click_accuracy": fraction("of those, the share whose final click lies in a box",
                                          _taken["off_centre_click_accuracy"]),
    "num_workers": Count("workers", _traced, workers),
    "num_trace_points": Count("mouse positions", _traced, hits),
}  # fmt: skip

_PRINTED: Printed = {
    ("coverage", None): "99.3 %",
    ("selected_share", None): "86.7 %",
    ("decided_by_round", 1): "71.8 %",
    ("decided_by_round", 2): "14.9 %",
    ("selected_share_by_round", 2): "52.8 %",
    ("click_accuracy", None): "82.9 %",
    ("centre_accuracy", None): "83.9 %",
    ("off_centre_share", None): "16.1 %",
    ("off_centre_click_accuracy", None): "56.5 %",
    ("random_click_curve", 0.0): "83.9 %",
    ("random_click_curve", 1.0): "48.2 %",
    ("central_cell_share", None): "> 30 %",
    ("trace_quantile_accuracy", 0.0): "39.3 %",
    ("trace_quantile_accuracy", 1.0): "82.9 %",
    ("time_quantile_accuracy", 0.0): "39.3 %",
    ("hit_time_ms", None): "9.0 min",
}
"""What the paper prints, with what it says of its precision; never a value of ours. What stands
only inside a figure is unknown and not here."""

IMAGENET_STATISTICS = Statistics(
    counts=_COUNTS, measures=IMAGENET_MEASURES, sources=_SOURCES, printed=_PRINTED
)
