"""What must hold in the rows of a tagging log of somebody's own, and what can be odd about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from luab_data.checks import coco
from luab_data.checks.lint import Broken, KindChecks
from luab_data.checks.rows import first
from luab_data.columns.coco import Tagged, views_of
from luab_data.ragged import one_array

if TYPE_CHECKING:
    from luab_data.kinds import OwnTagging

_OWN_RULES: Mapping[str, str] = {
    "move-without-add": "", "remove-without-add": "", "moved-from-elsewhere": "",
    "double-add": "An icon is added that is on the image already: only its last place counts.",
    "unknown-name": "An icon is none of the classes, or an action none of add, move, remove.",
    "missing-point": "An add or move without a point.",
    "unexpected-point": "",
    "point-outside": "An icon was put off the picture.",
    "trace-outside": "A trace record is off the picture.",
    "time-backwards": "", "time-before-page": "", "time-after-page": "", "page-left-open": "",
    "size-disagrees": "The original size as logged is not that of the instances, nor that swapped.",
    "size-swapped": "The original size as logged is that of the instances with width and height"
    " swapped: the picture was turned by its EXIF orientation.",
    "category-name": "", "trace-missing": "", "no-actions": "",
}  # fmt: skip
"""Rules that hold whatever page was used -> what they mean there, if in other words."""


def _own_views(actions: pa.Table) -> Iterator[Broken]:
    """Views are numbered 1, 2, ..."""
    ids = one_array(actions["image_id"]).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    first_row = np.flatnonzero(np.diff(ids, prepend=-1))
    number = np.arange(len(ids)) - np.repeat(first_row, np.diff(first_row, append=len(ids))) + 1
    wrong = number != actions["view"].to_numpy()
    yield from first(wrong, "values", "views are not numbered in order", "1, 2, ...")


def checks(kind: OwnTagging) -> KindChecks:
    """Of a tagging log of somebody's own: as many records as views; times may be unknown."""
    of_coco = coco.checks(kind)
    tagged = Tagged(kind.derivation.registry, kind.vocabulary.names, kind.deciding)
    left_out = set() if kind.vocabulary.superclasses else {"category-name"}
    kept = [rule for rule in of_coco.rules if rule.id in _OWN_RULES.keys() - left_out]

    def stored(
        images: pa.Table, actions: pa.Table, names: Sequence[str], classes: Sequence[str] | None
    ) -> Mapping[str, Any]:
        return tagged.sources(actions, views_of(images, actions), None, names)

    return replace(
        of_coco,
        full=("action_histories_action_type", "action_histories_icon_type",
              "boxes", "icon_label", "icon_name"),
        num_records=lambda images: np.maximum(images["num_views"].to_numpy().astype(np.int64), 0),
        not_null={
            "default": ("image_id", "num_views", "view"), "actions": ("image_id", "view"),
            "annotators": ("worker_id",),
        },
        of_images=lambda images, classes: (
            of_coco.of_images(images, classes) if classes is not None else iter(())
        ),
        of_records=_own_views,
        sources=stored,
        rules=tuple(replace(rule, doc=_OWN_RULES[rule.id] or rule.doc) for rule in kept),
    )  # fmt: skip
