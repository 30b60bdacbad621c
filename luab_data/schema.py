"""Every column of every table: name, key in the raw log, Arrow type, unit, meaning.

The parsers, the Parquet schema, the dataset card and the README table follow from this file.
Points are `(x, y)` fractions of the picture, float64, raw values kept even outside [0, 1]; boxes
are `xyxy` pixels as published; times in milliseconds end in `_ms`. Null is "not there", never 0.
"""

from __future__ import annotations

import pyarrow as pa

from luab_data.table import Column as Column
from luab_data.table import Table as Table
from luab_data.tools import COCO_CATEGORIES as COCO_CATEGORIES
from luab_data.tools import COCO_CLASSES as COCO_CLASSES
from luab_data.tools import COCO_SUPERCLASSES as COCO_SUPERCLASSES

QUANTILES = tuple(k / 10 for k in range(11))
"""Where `trace_quantile_*` and `time_quantile_*` are taken: 0, .1, ... 1."""

LAST_N = 9
"""Length of `last_n_*`: the click (N = 0) and the 8 trace records before it."""


_S, _B = pa.string(), pa.bool_()
_I16, _I32, _I64, _F = pa.int16(), pa.int32(), pa.int64(), pa.float64()


def _c(name: str, type: pa.DataType, doc: str, unit: str = "", raw: str | None = None) -> Column:
    # Lists of one element of the log, e.g. mouseTracking/x and mouseTracking/time.
    group = raw.partition("/")[0] if raw and pa.types.is_list(type) else ""
    return Column(name=name, type=type, doc=doc, unit=unit, raw=raw, group=group)


def _icon(name: str, type: pa.DataType, doc: str, unit: str = "") -> Column:
    return Column(name=name, type=pa.list_(type), doc=doc, unit=unit, group="icon")


def _xy(name: str, doc: str, *, group: str = "") -> tuple[Column, Column]:
    """The two columns `name_x`, `name_y` of a point, or of parallel lists of points in a group."""
    kind = pa.list_(_F) if group else _F
    return (
        Column(name=f"{name}_x", type=kind, doc=f"{doc}; x", unit="fraction", group=group),
        Column(name=f"{name}_y", type=kind, doc=f"{doc}; y", unit="fraction", group=group),
    )


IMAGENET_ROUNDS = Table(
    config="rounds",
    folder="rounds",
    row="metadata block: one image shown to one worker in one round",
    columns=(
        _c("image_id", _S, "File name without extension; `<class>_<name>` where an image of another"
           " class before has the same name", raw="filename"),
        _c("wnid", _S, "WordNet id of the class asked for", raw="folder"),
        _c("round", _I16, "1 for the image's earliest block by hit_submit_time, then 2, ...;"
           " in the order of the log where one of its blocks has no such time"),
        _c("assignment_id", _S, "One worker's answer to one HIT", raw="assignment_id"),
        _c("estimate_time_ms", _I64, "Time the cursor was over the unselected image, as the tool"
           " summed it", "ms", "estimateTime"),
        _c("hit_id", _S, "MTurk HIT", raw="hit_id"),
        _c("hit_submit_time", _I64, "When the HIT was submitted; null if not logged", "epoch s",
           "hit_submit_time"),
        _c("hovered_count", _I32, "The tool's count of entries", raw="hoveredCount"),
        _c("hovered_record_action", pa.list_(_S), "enter or leave", raw="hoveredRecord/action"),
        _c("hovered_record_time_ms", pa.list_(_I64), "When", "epoch ms", "hoveredRecord/time"),
        _c("image_height", _I32, "Height of the picture on the page", "px", "imageHeight"),
        _c("image_width", _I32, "Width of the picture on the page", "px", "imageWidth"),
        _c("image_id_raw", _S, "The tool's id, wnid/image_id", raw="imageID"),
        _c("image_position_x", _F, "Left edge of the picture on the page", "px", "imagePosition/x"),
        _c("image_position_y", _F, "Top edge of the picture on the page", "px", "imagePosition/y"),
        _c("image_idx", _I16, "Slot on the page, 0..47", raw="image_idx"),
        _c("imagenet_hit_id", _S, "The task's own id of the HIT", raw="imagenet_hit_id"),
        _c("mouse_tracking_time_ms", pa.list_(_I64), "When", "epoch ms", "mouseTracking/time"),
        _c("mouse_tracking_x", pa.list_(_F), "Mouse trace while unselected; x", "fraction",
           "mouseTracking/x"),
        _c("mouse_tracking_y", pa.list_(_F), "Mouse trace while unselected; y", "fraction",
           "mouseTracking/y"),
        _c("original_image_height", _I32, "Height of the file", "px", "originalImageHeight"),
        _c("original_image_width", _I32, "Width of the file", "px", "originalImageWidth"),
        _c("page_width", _I32, "Width of the picture on the page by the tool's rule (image_width"
           " copies the height in the release); null where the log contradicts it", "px"),
        _c("page_height", _I32, "Height of the picture on the page, likewise", "px"),
        _c("page_idx", _I16, "Page of the HIT, 0..9", raw="page_idx"),
        _c("selected", _B, "Whether the image was selected when the page was submitted",
           raw="selected"),
        _c("selected_count", _I32, "The tool's count of selecting clicks", raw="selectedCount"),
        _c("selected_record_time_ms", pa.list_(_I64), "When", "epoch ms", "selectedRecord/time"),
        _c("selected_record_x", pa.list_(_F), "Clicks that selected the image (deselecting clicks"
           " are not logged); x", "fraction", "selectedRecord/x"),
        _c("selected_record_y", pa.list_(_F), "Clicks that selected the image; y", "fraction",
           "selectedRecord/y"),
        _c("worker_id", _S, "Keyed hash of the worker's id; null if it was empty", raw="worker_id"),
    ),
)  # fmt: skip

IMAGENET_IMAGES = Table(
    config="default",
    folder="data",
    row="image; byproducts of its deciding round",
    columns=(
        _c("image_id", _S, "File name without extension; `<class>_<name>` where an image of another"
           " class before has the same name", raw="filename"),
        _c("wnid", _S, "WordNet id of the class asked for", raw="folder"),
        Column(name="label", type=_I64, classes="wnid", doc="Index over the sorted wnids"),
        _c("width", _I32, "Width of the original: `size` of the boxes, else"
           " original_image_width; null if neither is there", "px", "size/width"),
        _c("height", _I32, "Height of the original, likewise", "px", "size/height"),
        _c("depth", _I16, "Channels; null without boxes", raw="size/depth"),
        _c("database", _S, "Source of the boxes; null without boxes", raw="source/database"),
        _c("segmented", _I16, "Pascal VOC flag; null without boxes", raw="segmented"),
        _c("has_boxes", _B, "Whether ILSVRC published boxes of the image"),
        _c("boxes", pa.list_(pa.list_(_F)), "[xmin, ymin, xmax, ymax] of each instance, the"
           " numbers as published; empty without boxes", "px", "object/bndbox"),
        _c("box_name", pa.list_(_S), "wnid of each box", raw="object/name"),
        _c("box_pose", pa.list_(_S), "Pascal VOC pose of each box", raw="object/pose"),
        _c("box_truncated", pa.list_(_I16), "Pascal VOC flag of each box", raw="object/truncated"),
        _c("box_difficult", pa.list_(_I16), "Pascal VOC flag of each box", raw="object/difficult"),
        _c("num_rounds", _I16, "Metadata blocks of the image"),
        _c("has_interaction", _B, "Whether any round has a hovered, tracking or selected record"),
        _c("selected", _B, "Whether any round ended with the image selected"),
        _c("selected_round", _I16, "Round that decided, if it selected the image; null otherwise"),
        *_xy("final_click", "Last selecting click of the deciding round; null if not selected"),
        *_xy("first_click", "First selecting click of the deciding round; null if not selected"),
        _c("num_clicks", _I32, "Clicks of the deciding round, the unlogged deselecting ones"
           " included: 2 len(selected_record) - selected; null if that is negative"),
        _c("parity_disagrees", _B, "Whether `selected` differs from the paper's rule (odd number of"
           " selected_record); null without rounds"),
        _c("estimate_time_ms", _I64, "The tool's estimate in the deciding round", "ms"),
        _c("dwell_time_ms", _I64, "Time between enter and leave over all visits; a visit that lost"
           " its leave ends with its last trace or click record; null if never entered", "ms"),
        _c("trace_length", _I32, "Trace records of the deciding round; null without rounds"),
        *_xy("trace_quantile", "Trace of the visit that ends in the final click, at record"
             " floor(q (m - 1)) for q = 0, .1, ... 1; null without such records",
             group="trace_quantile"),
        *_xy("time_quantile", "Same trace at its last record at or before t0 + q (t_click - t0)",
             group="time_quantile"),
        *_xy("last_n", "N-th record before the final click in its visit, N = 0..8 (0 is the click);"
             " null elements where the visit is shorter; null if not selected", group="last_n"),
        *_xy("hull", "Convex hull of the points of last_n, counter-clockwise on screen from its"
             " leftmost point, not closed; 1 or 2 points if degenerate; null if not selected",
             group="hull"),
        _c("hull_area", _F, "Area of that hull; 0 if degenerate; null if not selected",
           "fraction of the picture's area"),
        _c("click_in_box", _B, "Whether the final click lies in any box, borders included; null"
           " without click, boxes or size, and where the browser turned the picture (the log's size"
           " is that of the boxes, swapped)"),
        _c("worker_id", _S, "Keyed hash of the worker of the deciding round; null if the id was"
           " empty"),
        _c("assignment_id", _S, "Assignment of the deciding round"),
        _c("hit_id", _S, "HIT of the deciding round"),
        _c("page_idx", _I16, "Page of the deciding round"),
        _c("image_idx", _I16, "Slot of the deciding round"),
    ),
    optional=(
        *_xy("notebook_point", "What the notebook published with the release trains on: mean of the"
             " first selecting clicks of all rounds that ended selected; null if there is none or"
             " if one of them has no click (the notebook stops there)"),
    ),
)  # fmt: skip

COCO_ACTIONS = Table(
    config="actions",
    folder="actions",
    row="image; every raw field of its record",
    columns=(
        _c("image_id", _I64, "COCO id", raw="image_id"),
        _c("original_image_width", _I32, "Width of the file as logged, can be 0", "px",
           "originalImageWidth"),
        _c("original_image_height", _I32, "Height of the file as logged, can be 0", "px",
           "originalImageHeight"),
        _c("image_width", _I32, "Width on the page (the release copies the height)", "px",
           "imageWidth"),
        _c("image_height", _I32, "Height on the page", "px", "imageHeight"),
        _c("page_width", _I32, "Width on the page by the tool's rule; null where the log"
           " contradicts it", "px"),
        _c("page_height", _I32, "Height on the page, likewise", "px"),
        _c("time_spent_ms", _I64, "Time on the page", "ms", "timeSpent"),
        _c("action_histories_action_type", pa.list_(_S), "add, move or remove",
           raw="actionHistories/actionType"),
        _c("action_histories_icon_type", pa.list_(_S), "Class name of the icon",
           raw="actionHistories/iconType"),
        _c("action_histories_point_from_x", pa.list_(_F), "Where it was; null for add; x",
           "fraction", "actionHistories/pointFrom/x"),
        _c("action_histories_point_from_y", pa.list_(_F), "Where it was; null for add; y",
           "fraction", "actionHistories/pointFrom/y"),
        _c("action_histories_point_to_x", pa.list_(_F), "Where it went; null for remove; x",
           "fraction", "actionHistories/pointTo/x"),
        _c("action_histories_point_to_y", pa.list_(_F), "Where it went; null for remove; y",
           "fraction", "actionHistories/pointTo/y"),
        _c("action_histories_time_at_ms", pa.list_(_I64), "When, from the page's start", "ms",
           "actionHistories/timeAt"),
        _c("category_histories_category_index", pa.list_(_I16), "Superclass shown, 0..10",
           raw="categoryHistories/categoryIndex"),
        _c("category_histories_category_name", pa.list_(_S), "Its name",
           raw="categoryHistories/categoryName"),
        _c("category_histories_time_at_ms", pa.list_(_I64), "When, from the page's start", "ms",
           "categoryHistories/timeAt"),
        _c("category_histories_using_keyboard", pa.list_(_B), "Whether reached by keyboard",
           raw="categoryHistories/usingKeyboard"),
        _c("mouse_tracking_x", pa.list_(_F), "Mouse trace outside drags; x", "fraction",
           "mouseTracking/x"),
        _c("mouse_tracking_y", pa.list_(_F), "Mouse trace outside drags; y", "fraction",
           "mouseTracking/y"),
        _c("mouse_tracking_time_at_ms", pa.list_(_I64), "When, from the page's start", "ms",
           "mouseTracking/timeAt"),
        _c("page_id", _I16, "Page of the HIT, 0..19 (also page_idx); null if not logged",
           raw="page_id"),
        _c("hit_id", _S, "HIT (also assignment_id); null if not logged", raw="hit_id"),
        _c("worker_id", _S, "Keyed hash of the worker's id; null if it was empty", raw="worker_id"),
    ),
)  # fmt: skip

COCO_IMAGES = Table(
    config="default",
    folder="data",
    row="image; its icons as parallel lists, ordered by label",
    columns=(
        _c("image_id", _I64, "COCO id", raw="image_id"),
        _c("width", _I32, "Width of the original: of the instances file when given, else as logged;"
           " null if 0", "px"),
        _c("height", _I32, "Height of the original, likewise", "px"),
        Column(name="labels", type=pa.list_(_I64), classes="coco", doc="Classes with any instance"
               " in the ground truth, ascending; null if the instances file lacks the image"),
        Column(name="boxes", type=pa.list_(pa.list_(_F)), group="box", unit="px", doc="[xmin, ymin,"
               " xmax, ymax] of each instance that is no crowd, in the file's order; null if the"
               " instances file lacks the image"),
        Column(name="box_label", type=pa.list_(_I64), classes="coco", group="box", doc="Class of"
               " each box; null if the instances file lacks the image"),
        Column(name="icon_label", type=pa.list_(_I64), classes="coco", group="icon",
               doc="Class of each icon that was ever handled"),
        _icon("icon_name", _S, "Its name"),
        *_xy("last_add", "Where the icon was last added (the paper's point), even if moved or"
             " removed later; null if never added", group="icon"),
        *_xy("final", "Where the icon was at the end; null if it ended removed", group="icon"),
        _icon("is_present_at_end", _B, "Whether the icon was on the image at the end"),
        _icon("is_on_object", _B, "Whether the final point lies on a mask of the class; null"
           " if removed at the end or if the instances file lacks the image"),
        _icon("is_last_add_on_object", _B, "Whether the last add lies on a mask of the"
           " class, even if moved or removed later; null if never added or if the instances file"
           " lacks the image"),
        _icon("action_sequence", _S, "Its actions in order, e.g. add-move"),
        _icon("num_actions", _I32, "Their number"),
        _icon("num_adds", _I32, "Of those, adds"),
        _icon("num_adds_on_object", _I32, "Of the adds, those on a mask of the class; null"
           " if the instances file lacks the image"),
        _c("time_spent_ms", _I64, "Time on the page", "ms"),
        _c("worker_id", _S, "Keyed hash of the worker's id; null if it was empty"),
        _c("hit_id", _S, "HIT; null if not logged"),
        _c("page_id", _I16, "Page of the HIT; null if not logged"),
    ),
    optional=(
        _icon("notebook_point_x", _I64, "What the notebook published with the release trains"
           " on, before its crop: the last add of each icon, removed icons included, in whole"
           " pixels of the logged size (0 if that is 0); null if never added, if the size was not"
           " logged, or if `labels` lacks the class; x", "px"),
        _icon("notebook_point_y", _I64, "Likewise; y", "px"),
    ),
)  # fmt: skip

IMAGENET_ANNOTATORS = Table(
    config="annotators",
    folder="annotators",
    row="worker",
    columns=(
        _c("worker_id", _S, "Keyed hash of the worker's id"),
        _c("num_assignments", _I32, "HITs answered"),
        _c("num_rounds", _I64, "Images shown, counted once a round"),
        _c("num_selected", _I64, "Of those, selected"),
        _c("median_estimate_time_ms", _F, "Median of the estimate times above 0; 0 is what the"
           " tool logs of an image the cursor was never over; null without any", "ms"),
        _c("median_trace_length", _F, "Median trace records of an image"),
        _c("mean_click_x", _F, "Mean final click; null without clicks; x", "fraction"),
        _c("mean_click_y", _F, "Mean final click; null without clicks; y", "fraction"),
        _c("num_evaluated", _I64, "Final clicks on images with boxes"),
        _c("num_in_box", _I64, "Of those, in any box"),
        _c("click_accuracy", _F, "num_in_box / num_evaluated; null without evaluated clicks"),
        _c("click_bias_x", _F, "Mean offset of the click from the centre of its box (the one that"
           " holds it, else the nearest), in box widths; null without evaluated clicks; x",
           "box widths"),
        _c("click_bias_y", _F, "Likewise in box heights, positive downwards; y", "box heights"),
    ),
)  # fmt: skip

COCO_ANNOTATORS = Table(
    config="annotators",
    folder="annotators",
    row="worker",
    columns=(
        _c("worker_id", _S, "Keyed hash of the worker's id"),
        _c("num_hits", _I32, "HITs answered"),
        _c("num_images", _I64, "Images annotated"),
        _c("median_time_spent_ms", _F, "Median time on a page, of those above 0", "ms"),
        _c("num_placed", _I64, "Icons present at the end"),
        _c("num_evaluated", _I64, "Of those, on images of the instances file"),
        _c("num_on_object", _I64, "Of those, on a mask of their class"),
        _c("icon_precision", _F, "num_on_object / num_evaluated; null without evaluated icons"),
        _c("num_present", _I64, "Class occurrences in the ground truth of their images"),
        _c("num_retrieved", _I64, "Of those, with an icon at the end"),
        _c("recall", _F, "num_retrieved / num_present; null without ground truth"),
    ),
)  # fmt: skip
