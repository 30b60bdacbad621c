"""Tables of somebody's own data: those of the releases, but that ids are text and labels their own.

What the columns mean that are not named here is in schema.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from luab_data.schema import (
    COCO_ACTIONS,
    COCO_ANNOTATORS,
    COCO_IMAGES,
    IMAGENET_ANNOTATORS,
    IMAGENET_IMAGES,
    IMAGENET_ROUNDS,
)
from luab_data.schema_views import VIEWS
from luab_data.table import Column, Table

_WHEN = "When, by the session's clock where the log has no time of day; null elements if not logged"
_OF_VISIT = {
    column.name: f"{column.doc}; null too where a record has no time"
    for column in IMAGENET_IMAGES.columns
    if column.group in ("trace_quantile", "time_quantile", "last_n", "hull")
}
_OWN_DOCS = {
    "image_id": "Name of the picture's file without extension, or the log's own id of it",
    "original_image_width": "Width of the file as logged; null if not logged",
    "original_image_height": "Height of the file as logged; null if not logged",
    "image_width": "Width on the page; null if not logged",
    "image_height": "Height on the page; null if not logged",
    "page_width": "Width on the page, of image_width; null if that is not above 0",
    "page_height": "Height on the page, likewise",
    "time_spent_ms": "Time on the page; null if not logged",
    "action_histories_time_at_ms": "When, from the page's start; null if not logged",
    "category_histories_category_index": "Superclass shown, its place in the manifest's"
    " `superclasses`",
    "wnid": "Class that was asked for",
    "width": "Width of the picture as logged in the deciding view; null if not logged",
    "height": "Height of the picture, likewise",
    "depth": "Null: of the XML files of ImageNet-AB",
    "database": "Null: of the XML files of ImageNet-AB",
    "segmented": "Null: of the XML files of ImageNet-AB",
    "has_boxes": "Whether boxes of the image were given",
    "boxes": "[xmin, ymin, xmax, ymax] of each instance of the class, as given; empty without",
    "box_name": "Null: the names of boxes are not kept",
    "box_pose": "Null: of the XML files of ImageNet-AB",
    "box_truncated": "Null: of the XML files of ImageNet-AB",
    "box_difficult": "Null: of the XML files of ImageNet-AB",
    "has_interaction": "Whether any view has an entry, a move or a click that selected",
    "final_click_x": "Last click that selected the picture in the deciding view; null if it ended"
    " unselected or the click has no place; x",
    "final_click_y": "Likewise; y",
    "first_click_x": "First click that selected it, likewise; x",
    "first_click_y": "Likewise; y",
    "num_clicks": "Clicks of the deciding view, those by key and those that took the selection back"
    " included: 2 selected_count - selected; null where it ended selected without one",
    "parity_disagrees": "Whether `selected` is not what an odd number of selecting clicks says;"
    " null where it ended selected without one",
    "dwell_time_ms": "Time between enter and leave over all visits; null if never entered, or if a"
    " record has no time",
    "hovered_record_time_ms": _WHEN,
    "mouse_tracking_time_ms": _WHEN,
    "selected_record_time_ms": _WHEN,
    "image_position_x": "Left edge of the picture on the page; null if not logged",
    "image_position_y": "Top edge of the picture on the page; null if not logged",
    "label": "Index over the sorted names of the classes",
    "round": "Views of the image in their order: by hit_submit_time if each has one, else as in the"
    " log",
    "assignment_id": "One annotator's session; null if not logged",
    "estimate_time_ms": "Null: an estimate that only the tool of ImageNet-AB makes",
    "hit_submit_time": "When the page was submitted; null if not logged",
    "hovered_count": "Entries",
    "image_id_raw": "The file's name as the tool had it; null if not logged",
    "image_idx": "Place on the page, from 0; null if not logged",
    "imagenet_hit_id": "Null: an id of the tool of ImageNet-AB",
    "page_idx": "Page of the task, from 0; null if not logged",
    "selected_count": "Clicks that selected the picture, those made by key included",
    "selected_record_x": "Clicks that selected the picture; x",
    "num_rounds": "Views of the image",
    "selected": "Whether the image is selected, by the rule `deciding` of the manifest; of a view:"
    " whether it ended selected",
    "selected_round": "View that decided, if it selected the image; null otherwise",
    "page_id": "Page of the session; null if not logged",
    "hit_id": "Task, HIT or batch of the annotator; null if not logged",
    "last_add_x": "Where the icon was last added, even if moved or removed later; null if never"
    " added; x",
    "last_add_y": "Where the icon was last added, even if moved or removed later; null if never"
    " added; y",
}

_OF_TAGGING = {
    **_OWN_DOCS,
    "width": "Width of the picture: of the instances file when given, else as logged; null if"
    " neither says it",
    "height": "Height of the picture, likewise",
    "boxes": COCO_IMAGES["boxes"].doc,
    "hit_id": "Session of the annotator, else their task; null if not logged",
    "category_histories_time_at_ms": "When, from the page's start; null if not logged",
    "category_histories_using_keyboard": "Whether reached by keyboard; null if not logged",
    "mouse_tracking_time_at_ms": "When, from the page's start; null if not logged",
}
"""Where a column of a tagging log means something else."""

_OWN_BROWSERS = {
    "num_assignments": "Sessions", "num_rounds": "Views",
    "num_selected": "Of those, that ended with the picture selected",
    "median_estimate_time_ms": "Null: an estimate that only the tool of ImageNet-AB makes",
}  # fmt: skip
_OWN_TAGGERS = {
    "num_hits": "Sessions", "num_images": "Views",
    "num_placed": "Icons present at the end of them",
    "num_evaluated": "Icons present at the end of views that decide, of images of the instances",
    "num_present": "Class occurrences in the ground truth of images whose deciding view it is",
}  # fmt: skip


def _of_own(table: Table, row: str, *more: Column, docs: Mapping[str, str] = _OWN_DOCS) -> Table:
    """A table of the release for data of others: ids are text, labels follow the manifest."""
    columns = [
        replace(
            column,
            doc=docs.get(column.name, column.doc),
            type=pa.string() if column.name == "image_id" else column.type,
            classes=column.classes and "own",
        )
        for column in table.columns
    ]
    return replace(table, columns=(columns[0], *more, *columns[1:]), row=row, optional=())


_ARM = Column(name="arm", type=pa.string(), doc="Arm of the experiment that the view is of; null if"
              " there is none")  # fmt: skip
_SPENT = tuple(
    replace(VIEWS[name], doc=f"{VIEWS[name].doc}; null if not logged")
    for name in ("page_wall_ms", "page_visible_ms", "page_active_ms")
)
OWN_ROUNDS = _of_own(IMAGENET_ROUNDS, "view: one image shown once to one annotator", _ARM, *_SPENT)
OWN_BROWSERS = _of_own(
    IMAGENET_ANNOTATORS, "annotator",
    Column(name="num_compared", type=pa.int64(), doc="Views of images that others saw too"),
    Column(name="agreement", type=pa.float64(), doc="Mean share of those others' views that ended"
           " alike; null if nobody else saw the same images"),
    docs=_OWN_BROWSERS,
)  # fmt: skip
OWN_BROWSED = _of_own(
    IMAGENET_IMAGES, "image; byproducts of its deciding view",
    Column(name="image_file", type=pa.string(), doc="The picture's file as the tool had it, of the"
           " deciding view; null if not logged"),
    Column(name="num_selected", type=pa.int16(), doc="Views that ended with the image selected"),
    docs={**_OWN_DOCS, **_OF_VISIT},
)  # fmt: skip
"""Of a browsing log of somebody's own, as IMAGENET_ROUNDS, _ANNOTATORS and _IMAGES."""

OWN_ACTIONS = _of_own(
    COCO_ACTIONS, "view: one image shown once to one annotator; every raw field",
    Column(name="view", type=pa.int16(), doc="1 for the first view of the image, then 2, ..."),
    Column(name="image_file", type=pa.string(), doc="The picture's file as the tool had it; null if"
           " not logged"),
    _ARM,
    *_SPENT,
    docs=_OF_TAGGING,
)  # fmt: skip
OWN_TAGGED = _of_own(
    COCO_IMAGES, "image; the icons of its deciding view as parallel lists, ordered by label",
    Column(name="num_views", type=pa.int16(), doc="Views of the image"),
    Column(name="view", type=pa.int16(), doc="The view that decides, from 1: icons, time and"
           " worker are of that one"),
    Column(name="image_file", type=pa.string(), doc="The picture's file as the tool had it, of the"
           " deciding view; null if not logged"),
    replace(_ARM, doc="Arm of the experiment that the deciding view is of; null if there is none"),
    docs=_OF_TAGGING,
)  # fmt: skip
OWN_TAGGERS = _of_own(
    COCO_ANNOTATORS, "annotator; every view counts, deciding or not", docs=_OWN_TAGGERS
)
"""Of a tagging log of somebody's own, as COCO_ACTIONS, COCO_IMAGES and COCO_ANNOTATORS."""
