"""What must hold in the rows of a tagging log, and what can be odd about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.checks.lint import Broken, KindChecks, Rule, Window, beyond, decreases
from luab_data.checks.rows import any_in
from luab_data.columns.coco import HISTORY, Tagged
from luab_data.columns.icons import Icons, codes, final_action, group_icons
from luab_data.ragged import Bools, Ints, Ragged, bounds_of, is_true, one_array
from luab_data.raw.coco import ACTIONS
from luab_data.tools import BOARD_HEIGHT, BORDER_PX, TAGGING_PAGES, Vocabulary

if TYPE_CHECKING:
    from luab_data.kinds import Tagging

_CLOCKS = (
    *("action_histories_time_at_ms", "category_histories_time_at_ms"),
    "mouse_tracking_time_at_ms",
)
_FROM, _TO = "action_histories_point_from", "action_histories_point_to"
_LEFT_OPEN_MS = 30 * 60 * 1000
_ROUNDING = 1e-9
_ADD, _MOVE, _REMOVE = range(len(ACTIONS))


class Pages(Window):
    """Images, and the pages on which each was tagged; one of COCO-AB has one record.

    Args:
        images, records, bounds: as of Window.
        vocabulary: the classes of the log.
    """

    def __init__(
        self, images: pa.Table, records: pa.Table, bounds: Ints, *, vocabulary: Vocabulary
    ) -> None:
        super().__init__(images, records, bounds)
        self.vocabulary = vocabulary
        self.last = len(vocabulary.superclasses) - 1

    def places(self, name: str, known: tuple[str, ...]) -> Ragged:
        """A list column of names as their places in `known`; -1 for any other name."""
        return Ragged(codes(self.records[name], known), bounds_of(self.records[name]))

    @cached_property
    def action(self) -> Ragged:
        """Places in ACTIONS of the logged actions; -1 for an unknown one."""
        return self.places("action_histories_action_type", ACTIONS)

    @cached_property
    def label(self) -> Ragged:
        """Classes of their icons; -1 for an unknown one."""
        return self.places("action_histories_icon_type", self.vocabulary.names)

    def logged(self, name: str) -> Bools:
        """(num_actions,) which logged actions have a coordinate."""
        lost: Bools = np.isnan(self.lists(name).values)
        return ~lost

    @cached_property
    def icons(self) -> Icons:
        """The actions grouped by icon."""
        return group_icons(self.vocabulary.names, *(self.records[name] for name in HISTORY))

    @cached_property
    def present(self) -> Bools:
        """(num_actions,) of `icons`: whether the icon was on the image just before the action."""
        present = np.zeros(len(self.icons.action), np.bool_)
        present[1:] = self.icons.action[:-1] != _REMOVE
        present[self.icons.bounds[:-1]] = False
        return present

    def of_icons(self, flags: Bools) -> Bools:
        """(num_records,) whether any action of `icons` is flagged (num_actions,)."""
        odd = Ragged(flags, self.icons.bounds).any(flags)
        return Ragged(odd, self.icons.images).any(odd)

    @cached_property
    def category(self) -> Ragged:
        """Superclasses that came on show."""
        return self.lists("category_histories_category_index")


def _moved_from_elsewhere(p: Pages) -> Bools:
    away = np.zeros(len(p.icons.action), np.bool_)
    for axis, end in (("x", p.icons.to_x), ("y", p.icons.to_y)):
        start = p.lists(f"{_FROM}_{axis}").values[p.icons.order]
        away[1:] |= np.abs(start[1:] - end[:-1]) > _ROUNDING  # NaN, not logged, is not away
    return p.of_icons(away & p.present & (p.icons.action != _ADD))


def _icons_on_one_point(p: Pages) -> Bools:
    last = final_action(p.icons)
    there = last >= 0
    row = p.icons.image[there]
    x, y = (to[last[there]] for to in (p.icons.to_x, p.icons.to_y))
    order = np.lexsort((y, x, row))
    row, x, y = row[order], x[order], y[order]
    same = (row[1:] == row[:-1]) & (x[1:] == x[:-1]) & (y[1:] == y[:-1])
    found = np.zeros(len(p.records), np.bool_)
    found[row[1:][same]] = True
    return found


def _beyond_border(p: Pages) -> Bools:
    height = np.where(p.sizes[1] > 0, p.sizes[1], BOARD_HEIGHT)
    width = height * p.of_image("width") / p.of_image("height")
    width = np.where(np.isfinite(width) & (width > 0), width, BOARD_HEIGHT)
    found = np.zeros(len(p.records), np.bool_)
    for prefix in (_TO, "mouse_tracking"):
        for axis, size in (("x", width), ("y", height)):
            at = p.lists(f"{prefix}_{axis}")
            margin = (BORDER_PX / size + _ROUNDING)[at.rows]
            found |= at.any((at.values < -margin) | (at.values > 1 + margin))
    return found


def _category_jump(p: Pages) -> Bools:
    values, before = p.category.values.astype(np.int64), p.category.before(0)
    return p.category.any(np.abs(values - before) != 1)


def _category_name(p: Pages) -> Bools:
    names = p.places("category_histories_category_name", tuple(p.vocabulary.superclasses)).values
    return p.category.any((names < 0) | (names != p.category.values))


def _icon_not_shown(p: Pages) -> Bools:
    groups = [*p.vocabulary.superclasses]
    of_class = [groups.index(p.vocabulary.group_of(name)) for name in p.vocabulary.names]
    group = np.array([*of_class, -1])[p.label.values]
    # In the millisecond of a change either superclass will do.
    before, after = (_shown_at_actions(p, ties) for ties in (False, True))
    added = p.action.values == _ADD
    return p.label.any(added & (group >= 0) & (group != before) & (group != after))


def _shown_at_actions(p: Pages, ties: bool) -> Ints:
    """(num_actions,) superclass on show just before (or after, with ties) each action."""
    changes = p.lists("category_histories_time_at_ms")
    actions = p.lists("action_histories_time_at_ms")
    # Of each image its start (superclass 0), its changes and its actions, in order of time.
    start, num = np.arange(len(p.records)), len(p.records) + len(changes.values)
    row = np.concatenate([start, changes.rows, actions.rows])
    time = np.concatenate(
        [np.full(len(start), np.iinfo(np.int64).min), changes.values, actions.values]
    )
    rank = np.repeat([0, 1, 2 if ties else 0], [len(start), num - len(start), len(row) - num])
    order = np.lexsort((rank, time, row))
    value = np.concatenate([np.zeros(len(start), np.int64), p.category.values])
    latest = np.maximum.accumulate(np.where(order < num, np.arange(len(order)), -1))
    shown = np.empty(len(order), np.int64)
    shown[order] = value[order[latest]]
    return shown[num:]


_RULES = (
    ("move-without-add", "error", "docs/formats.md#icon-history",
     "An icon is moved that is not on the image.",
     lambda p: p.of_icons((p.icons.action == _MOVE) & ~p.present)),
    ("remove-without-add", "error", "docs/formats.md#icon-history",
     "An icon is removed that is not on the image.",
     lambda p: p.of_icons((p.icons.action == _REMOVE) & ~p.present)),
    ("double-add", "warning", "docs/formats.md#image-reload",
     "An icon is added that is on the image already. The picture was loaded again, which empties"
     " the board without a record.",
     lambda p: p.of_icons((p.icons.action == _ADD) & p.present)),
    ("moved-from-elsewhere", "error", "docs/formats.md#icon-history",
     "A move or remove starts where the icon was not.",
     _moved_from_elsewhere),
    ("icons-on-one-point", "warning", "docs/formats.md#drop-on-an-icon",
     "Two icons end on the very same point. A drop on an icon deletes the dropped one, so that"
     " cannot be.",
     _icons_on_one_point),
    ("unknown-name", "error", "docs/formats.md#coco-ab-log",
     "An icon is none of the 80 classes, or an action none of add, move, remove.",
     lambda p: p.label.any(p.label.values < 0) | p.action.any(p.action.values < 0)),
    ("missing-point", "error", "docs/formats.md#zero-sizes",
     "An add or move without a point: a coordinate was divided by zero in the browser.",
     lambda p: p.action.any(
         (p.action.values != _REMOVE) & ~(p.logged(f"{_TO}_x") & p.logged(f"{_TO}_y")))),
    ("unexpected-point", "warning", "docs/formats.md#null-points",
     "An add that comes from a point, or a remove that goes to one.",
     lambda p: p.action.any(
         (p.action.values == _ADD) & p.logged(f"{_FROM}_x")
         | (p.action.values == _REMOVE) & p.logged(f"{_TO}_x"))),
    ("point-outside", "info", "docs/formats.md#border",
     "An icon was put off the picture, be it by its 2 px border.",
     lambda p: p.points_outside(_TO)),
    ("trace-outside", "info", "docs/formats.md#border",
     "A trace record is off the picture, be it by its 2 px border.",
     lambda p: p.points_outside("mouse_tracking")),
    ("beyond-border", "warning", "docs/formats.md#border",
     "An icon or a trace record lies beyond the 2 px border, where the tool hears nothing.",
     _beyond_border),
    ("time-backwards", "error", "docs/formats.md#page-clock",
     "Action, category or trace times decrease.",
     lambda p: p.any_list(_CLOCKS, decreases)),
    ("time-before-page", "error", "docs/formats.md#page-clock",
     "Something was logged before the page began.",
     lambda p: p.any_list(_CLOCKS, lambda t: t.any(t.values < 0))),
    ("time-after-page", "error", "docs/formats.md#page-clock",
     "Something was logged later than the time spent on the page.",
     lambda p: p.any_list(_CLOCKS, lambda t: t.any(t.values > p.number("time_spent_ms")[t.rows]))),
    ("page-left-open", "info", "docs/formats.md#page-clock",
     "More than half an hour on one page. Use medians.",
     lambda p: p.number("time_spent_ms") > _LEFT_OPEN_MS),
    ("zero-size", "warning", "docs/formats.md#zero-sizes",
     "A size as logged is 0, negative or missing.",
     lambda p: p.size_missing),
    ("size-disagrees", "warning", "docs/formats.md#zero-sizes",
     "The original size as logged is not that of COCO, nor that swapped.",
     lambda p: p.size_is_known & ~p.size_agrees & ~p.size_is_swapped),
    ("size-swapped", "warning", "docs/formats.md#exif-orientation",
     "The original size as logged is that of COCO with width and height swapped. The browser"
     " turned the picture by its EXIF orientation.",
     lambda p: p.size_is_known & p.size_is_swapped),
    ("width-copies-height", "info", "docs/formats.md#coco-width",
     "The width on the page equals the height though the picture is not square. Do not use"
     " `image_width`.",
     lambda p: p.copies_height(p.of_image("width"), p.of_image("height"))),
    ("page-height", "info", "docs/formats.md#page-height",
     "The height on the page is neither 450 nor, of a zoomed browser, 449 or 451.",
     lambda p: (p.sizes[1] > 0) & (np.abs(p.sizes[1] - BOARD_HEIGHT) > 1)),
    ("short-category-history", "warning", "docs/formats.md#superclass-steps",
     "Fewer category records than it takes to see every superclass.",
     lambda p: p.category.lengths < p.last),
    ("last-category-unseen", "warning", "docs/formats.md#superclass-steps",
     "The last superclass was never shown, without which the tool does not submit.",
     lambda p: ~p.category.any(p.category.values == p.last)),
    ("category-jump", "warning", "docs/formats.md#superclass-steps",
     "The superclass shown did not change by one, counted from the first one.",
     _category_jump),
    ("category-name", "error", "docs/formats.md#superclasses",
     "A category record's name is not that of its index.",
     _category_name),
    ("icon-not-shown", "warning", "docs/formats.md#superclass-steps",
     "An icon was added while another superclass was shown.",
     _icon_not_shown),
    ("trace-missing", "info", "docs/formats.md#drags",
     "There are actions, but the trace is empty.",
     lambda p: (p.action.lengths > 0) & (p.lists("mouse_tracking_x").lengths == 0)),
    ("no-actions", "info", "docs/definitions.md#coverage",
     "No icon was ever put on the image.",
     lambda p: p.action.lengths == 0),
    ("page-range", "warning", "docs/formats.md#coco-ab-log",
     "The page does not exist. Pages are 0..19.",
     lambda p: beyond(p.number("page_id"), TAGGING_PAGES)),
)  # fmt: skip


def _tagging_images(
    names: tuple[str, ...], table: pa.Table, classes: Sequence[str] | None
) -> Iterator[Broken]:
    """Labels are classes, those of icons the places of their names."""
    label, name = (one_array(table[c]) for c in ("icon_label", "icon_name"))
    place = pc.index_in(name.flatten(), value_set=pa.array(names, pa.string()))
    odd = ~is_true(pc.equal(place, label.flatten()))
    expected = f"its position in the {len(names)} classes"
    yield from any_in(label, odd, "classes", "icon_label is not its name's", expected)
    labels = one_array(table["labels"])
    values = labels.flatten().to_numpy(zero_copy_only=False)
    odd = ~((values >= 0) & (values < len(names)))
    expected = f"0..{len(names) - 1}"
    yield from any_in(labels, odd, "classes", "labels outside the classes", expected)


def checks(kind: Tagging) -> KindChecks:
    """Of COCO-AB: an image has one record."""
    tagged = Tagged(kind.derivation.registry, kind.vocabulary.names)

    def stored(
        images: pa.Table, actions: pa.Table, names: Sequence[str], classes: Sequence[str] | None
    ) -> Mapping[str, Any]:
        return tagged.sources(actions, np.arange(len(actions) + 1), None, names)

    return KindChecks(
        not_null={
            **dict.fromkeys(("default", "actions"), ("image_id",)),
            "annotators": ("worker_id",),
        },
        full=(
            *("action_histories_action_type", "action_histories_icon_type"),
            *("category_histories_category_index", "category_histories_category_name"),
            *("category_histories_using_keyboard", *_CLOCKS),
            *("boxes", "icon_label", "icon_name"),
        ),
        of_images=partial(_tagging_images, kind.vocabulary.names),
        of_records=lambda actions: iter(()),
        num_records=lambda images: np.ones(len(images), np.int64),
        sources=stored,
        rules=tuple(Rule("actions", *rule) for rule in _RULES),
        window=partial(Pages, vocabulary=kind.vocabulary),
    )
