"""The registry of lint rules: every rule once, with its meaning, its source and its function.

`docs/rules.md` is written from here, and the tests go through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from luab_data.checks import coco_rules as coco
from luab_data.checks import imagenet_rules as imagenet
from luab_data.checks.masks import SIZES
from luab_data.checks.rule import SEVERITIES, Rule, Severity
from luab_data.errors import OptionError
from luab_data.ragged import Bools

_CLICK_TIMES = "selected_record_time_ms"
_TRACE_TIMES = "mouse_tracking_time_ms"
_HOVERED = ("hovered_record_action", "hovered_record_time_ms")
_IMAGE_SIZE = ("image.width", "image.height")


def _rule(dataset: str, config: str) -> Callable[..., Rule]:
    """Short for Rule of one table; the first line of the function's docstring is its meaning."""

    def make(
        id: str,
        severity: Severity,
        find: Callable[[pa.Table], Bools],
        source: str,
        *columns: str,
        why: str = "",
    ) -> Rule:
        doc = (find.__doc__ or "").partition("\n")[0].removeprefix("Images: ")
        return Rule(
            id=id,
            dataset=dataset,
            config=config,
            severity=severity,
            doc=f"{doc[:1].upper()}{doc[1:]} {why}".strip(),
            source=source,
            columns=columns,
            find=find,
        )

    return make


_round = _rule("imagenet-ab", "rounds")
_image = _rule("imagenet-ab", "default")
_action = _rule("coco-ab", "actions")

RULES: tuple[Rule, ...] = (
    _round("click-outside", "warning", imagenet.click_outside, "metrics 6.1-6", _CLICK_TIMES,
           "selected_record_x", "selected_record_y"),
    _round("trace-outside", "info", imagenet.trace_outside, "raw-formats; metrics 6.1-6",
           "mouse_tracking_x", "mouse_tracking_y"),
    _round("time-backwards", "error", imagenet.time_backwards, "metrics 6.1-4, 6.1-5",
           *imagenet.CLOCKS),
    _round("click-without-enter", "info", imagenet.click_without_enter, "metrics 6.1-5, 6.1-10",
           *_HOVERED, _CLICK_TIMES, why="So do touch screens."),
    _round("trace-without-enter", "warning", imagenet.trace_without_enter, "metrics 4.7, 6.1-5",
           *_HOVERED, _TRACE_TIMES, why="Its visits cannot be told apart."),
    _round("enter-leave-order", "warning", imagenet.enter_leave_order, "metrics 6.1-5",
           "hovered_record_action", why="A last leave may be missing."),
    _round("trace-after-click", "error", imagenet.trace_after_click, "raw-formats; metrics 6.1-3",
           "selected", _CLICK_TIMES, _TRACE_TIMES,
           why="The tool does not track a selected picture."),
    _round("parity", "info", imagenet.parity, "raw-formats; metrics 6.1-1", "selected",
           _CLICK_TIMES, why="Deselecting clicks are not logged, so `selected` is right."),
    _round("selected-without-click", "error", imagenet.selected_without_click,
           "metrics 6.1-1, 6.3b", "selected", _CLICK_TIMES),
    _round("click-count", "error", imagenet.click_count, "metrics 6.1-1", "selected_count",
           _CLICK_TIMES),
    _round("hover-count", "warning", imagenet.hover_count, "raw-formats; metrics 6.1-5",
           "hovered_count", "hovered_record_action"),
    _round("click-without-trace", "info", imagenet.click_without_trace, "metrics 6.1-10",
           _CLICK_TIMES, _TRACE_TIMES, why="Touch and pen leave none."),
    _round("no-interaction", "info", imagenet.no_interaction, "metrics 4.1, 4.2",
           *imagenet.CLOCKS, why="Being shown is not being looked at."),
    _round("negative-estimate", "warning", imagenet.negative_estimate, "metrics 6.1-9",
           "estimate_time_ms"),
    _round("estimate-too-long", "warning", imagenet.estimate_too_long, "metrics 6.1-9",
           "estimate_time_ms", *imagenet.CLOCKS),
    _round("submit-before-activity", "error", imagenet.submit_before_activity, "raw-formats",
           "hit_submit_time", *imagenet.CLOCKS),
    _round("time-far-from-submit", "error", imagenet.time_far_from_submit,
           "raw-formats; metrics 6.1-5", "hit_submit_time", *imagenet.CLOCKS),
    _round("zero-size", "error", imagenet.zero_size, "metrics 6.1-7", *SIZES,
           why="The picture never loaded."),
    _round("size-disagrees", "error", imagenet.size_disagrees, "metrics 4, 6.1-14",
           *SIZES[2:], "image.has_boxes", *_IMAGE_SIZE,
           why="Click and boxes may be of two different files."),
    _round("size-swapped", "warning", imagenet.size_swapped, "metrics 6.1-14",
           *SIZES[2:], "image.has_boxes", *_IMAGE_SIZE,
           why="The browser turned the picture by its EXIF orientation: clicks are in that frame."),
    _round("size-on-page", "info", imagenet.size_on_page, "metrics 6.1-6", *SIZES),
    _round("width-copies-height", "warning", imagenet.width_copies_height, "metrics 6.1-8",
           *SIZES, why="Do not use `image_width`."),
    _round("equal-submit-times", "warning", imagenet.equal_submit_times, "raw-formats",
           "image_id", "hit_submit_time"),
    _round("duplicate-assignment", "warning", imagenet.duplicate_assignment, "metrics 6.1-12",
           "image_id", "assignment_id"),
    _round("shown-after-selected", "info", imagenet.shown_after_selected,
           "raw-formats; metrics 6.1-12", "image_id", "selected",
           why="HITs that were posted again do that."),
    _round("slot-range", "warning", imagenet.slot_range, "raw-formats", "page_idx", "image_idx",
           why="Pages are 0..9, slots 0..47."),
    _round("image-id-differs", "error", imagenet.image_id_differs, "raw-formats", "image_id",
           "wnid", "image_id_raw"),
    _image("wnid-differs", "warning", imagenet.wnid_differs, "raw-formats", "image_id", "wnid"),
    _image("not-shown", "info", imagenet.not_shown, "raw-formats; metrics 4.1", "num_rounds"),
    _image("box-outside-image", "warning", imagenet.box_outside_image, "metrics 4", "boxes",
           "width", "height"),
    _action("move-without-add", "error", coco.move_without_add, "raw-formats; metrics 4.11",
            "action_histories_action_type", "action_histories_icon_type"),
    _action("remove-without-add", "error", coco.remove_without_add, "raw-formats; metrics 4.11",
            "action_histories_action_type", "action_histories_icon_type"),
    _action("double-add", "warning", coco.double_add, "metrics 4.11, 6.2-10",
            "action_histories_action_type", "action_histories_icon_type",
            why="The picture was loaded again, which empties the board without a record."),
    _action("moved-from-elsewhere", "error", coco.moved_from_elsewhere, "raw-formats",
            "action_histories_action_type", "action_histories_icon_type",
            *(f"{point}_{axis}" for point in coco.POINTS for axis in "xy")),
    _action("icons-on-one-point", "warning", coco.icons_on_one_point, "metrics 6.2-7",
            "action_histories_action_type", "action_histories_icon_type",
            *(f"{coco.POINTS[1]}_{axis}" for axis in "xy"),
            why="A drop on an icon deletes the dropped one, so that cannot be."),
    _action("unknown-name", "error", coco.unknown_name, "raw-formats",
            "action_histories_action_type", "action_histories_icon_type"),
    _action("missing-point", "error", coco.missing_point, "metrics 6.2-3",
            "action_histories_action_type", *(f"{coco.POINTS[1]}_{axis}" for axis in "xy")),
    _action("unexpected-point", "warning", coco.unexpected_point, "metrics 6.2-9",
            "action_histories_action_type", *(f"{point}_x" for point in coco.POINTS)),
    _action("point-outside", "info", coco.point_outside, "raw-formats; metrics 6.2-1",
            *(f"{coco.POINTS[1]}_{axis}" for axis in "xy")),
    _action("trace-outside", "info", coco.trace_outside, "raw-formats; metrics 6.2-1",
            "mouse_tracking_x", "mouse_tracking_y"),
    _action("beyond-border", "warning", coco.beyond_border, "metrics 6.2-1", "image_height",
            *(f"{coco.POINTS[1]}_{axis}" for axis in "xy"), "mouse_tracking_x",
            "mouse_tracking_y", *_IMAGE_SIZE),
    _action("time-backwards", "error", coco.time_backwards, "metrics 6.2-4", *coco.CLOCKS),
    _action("time-before-page", "error", coco.time_before_page, "metrics 6.2-4", *coco.CLOCKS),
    _action("time-after-page", "error", coco.time_after_page, "metrics 6.2-4", "time_spent_ms",
            *coco.CLOCKS),
    _action("page-left-open", "info", coco.page_left_open, "metrics 6.2-4", "time_spent_ms",
            why="Use medians."),
    _action("zero-size", "warning", coco.zero_size, "raw-formats; metrics 6.2-3", *SIZES),
    _action("size-disagrees", "warning", coco.size_disagrees, "metrics 6.2-3", *SIZES[2:],
            *_IMAGE_SIZE),
    _action("size-swapped", "warning", coco.size_swapped, "metrics 6.1-14", *SIZES[2:],
            *_IMAGE_SIZE, why="The browser turned the picture by its EXIF orientation."),
    _action("width-copies-height", "info", coco.width_copies_height, "metrics 6.2-2",
            "image_width", "image_height", *_IMAGE_SIZE, why="Do not use `image_width`."),
    _action("page-height", "info", coco.page_height, "metrics 6.2-11", "image_height"),
    _action("short-category-history", "warning", coco.short_category_history, "metrics 6.2-5",
            "category_histories_category_index"),
    _action("last-category-unseen", "warning", coco.last_category_unseen, "metrics 6.2-5",
            "category_histories_category_index"),
    _action("category-jump", "warning", coco.category_jump, "raw-formats; metrics 6.2-5",
            "category_histories_category_index"),
    _action("category-name", "error", coco.category_name, "raw-formats",
            "category_histories_category_index", "category_histories_category_name"),
    _action("icon-not-shown", "warning", coco.icon_not_shown, "raw-formats; metrics 6.2-5",
            "action_histories_action_type", "action_histories_icon_type",
            "action_histories_time_at_ms", "category_histories_category_index",
            "category_histories_time_at_ms"),
    _action("trace-missing", "info", coco.trace_missing, "raw-formats; metrics 6.2-6",
            "action_histories_action_type", "mouse_tracking_x"),
    _action("no-actions", "info", coco.no_actions, "metrics 4.2",
            "action_histories_action_type"),
    _action("page-range", "warning", coco.page_range, "raw-formats", "page_id",
            why="Pages are 0..19."),
)  # fmt: skip
"""Every rule, in the order of a report within a severity."""


def rules_of(dataset: str, only: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules of a dataset, most severe first; all of them, or those named.

    Raises:
        OptionError: a name is none of the dataset's rules.
    """
    rules = sorted(
        (rule for rule in RULES if rule.dataset == dataset),
        key=lambda rule: SEVERITIES.index(rule.severity),
    )
    wanted = set(only)
    if unknown := sorted(wanted - {rule.id for rule in rules}):
        raise OptionError(
            f"no lint rule {', '.join(map(repr, unknown))} for {dataset}; there are"
            f" {', '.join(rule.id for rule in rules)}"
        )
    return tuple(rule for rule in rules if not wanted or rule.id in wanted)


def rules_page() -> str:
    """docs/rules.md: every rule, by dataset, as Markdown tables."""
    parts = [
        "# Lint rules of `luab-data check`\n\nWritten from `luab_data/checks/rules.py`. A finding"
        " is information: it never makes a dataset bad, only a row worth a look. `error`: the row"
        " contradicts itself; `warning`: the tool should not have written it; `info`: a known habit"
        " of the tool. Sources are the sections of the project's design notes on the raw logs.\n"
    ]
    for dataset in dict.fromkeys(rule.dataset for rule in RULES):
        parts.append(f"## `{dataset}`\n")
        parts.append(_table(rules_of(dataset)) + "\n")
    return "\n".join(parts)


def _table(rules: Sequence[Rule]) -> str:
    lines = ["| rule | severity | rows of | meaning | source |", "|---|---|---|---|---|"]
    for rule in rules:
        lines.append(
            f"| `{rule.id}` | {rule.severity} | `{rule.config}` | {rule.doc} | {rule.source} |"
        )
    return "\n".join(lines)
