"""What must hold in the rows of a browsing log of somebody's own, and what is odd about them.

Sessions and times may be unknown, and nothing is known of the page. So the rules of the release
stay that hold on any page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from luab_data.checks.imagenet import CHECKS, Rounds
from luab_data.checks.lint import KindChecks, Rule
from luab_data.columns.imagenet import stored_sources
from luab_data.ragged import Bools, bounds_of

if TYPE_CHECKING:
    from luab_data.kinds import OwnBrowsing

_KEPT: Mapping[str, str] = {
    "click-outside": "",
    "trace-outside": "",
    "time-backwards": "",
    "enter-leave-order": "",
    "submit-before-activity": "Something was logged after the page was submitted (whole seconds).",
    "size-disagrees": "",
    "size-swapped": "",
    "duplicate-assignment": "Another view of the image is of the same session.",
    "box-outside-image": "",
    "box-reversed": "",
}
"""Rules of the release that hold whatever page was used -> their sentence, if it is another."""


def _nothing_logged(r: Rounds) -> Bools:
    names = ("hovered_record_action", "mouse_tracking_x", "selected_record_x")
    counts = r.number("selected_count")
    found: Bools = ~(counts > 0)
    for name in names:
        bounds = bounds_of(r.records[name])
        found &= bounds[1:] == bounds[:-1]
    return found


_RULES = (
    Rule("rounds", "no-interaction", "info", "docs/definitions.md#coverage",
         "Nothing was logged of the view: no entry, move or click. Being shown is not being looked"
         " at.", _nothing_logged),
    Rule("rounds", "same-annotator", "warning", "docs/log-format.md#deciding",
         "Another view of the image is of the same annotator: rules that count views count both.",
         lambda r: r.shares("worker_id")),
    Rule("rounds", "no-size", "info", "docs/log-format.md#browsing",
         "The size of the file was not logged. A click cannot be compared with boxes then.",
         lambda r: ~((r.number("original_image_width") > 0)
                     & (r.number("original_image_height") > 0))),
)  # fmt: skip


def own_checks(kind: OwnBrowsing) -> KindChecks:
    """Of a browsing log of somebody's own."""
    kept = [rule for rule in CHECKS.rules if rule.id in _KEPT]
    return replace(
        CHECKS,
        not_null={
            **CHECKS.not_null,
            "default": (*CHECKS.not_null["default"], "num_selected"),
            "rounds": tuple(c for c in CHECKS.not_null["rounds"] if c != "assignment_id"),
        },
        full=tuple(column for column in CHECKS.full if not column.endswith("_time_ms")),
        sources=partial(stored_sources, deciding=kind.deciding, registry=kind.derivation.registry),
        rules=(*(replace(rule, doc=_KEPT[rule.id] or rule.doc) for rule in kept), *_RULES),
    )
