"""Which function gives which derived column of `default`, and from what.

The schema says what a column is, this file how it is made: with the raw columns, its names are
exactly those of the schema (a test compares them both ways). To add a column, declare it in
schema.py, write a pure function and name both here.

A function's parameters are named after what it reads. A source is

    raw.NAME      a column of `default` that the log gave
    round.NAME    a column of each image's deciding round (ImageNet-AB)
    rounds.NAME   a column of all metadata blocks, ordered (ImageNet-AB)
    bounds        (num_images + 1,) image i has the blocks, or views, bounds[i]:bounds[i + 1]
    actions.NAME  a column of `actions`, of each image's deciding view (tagging)
    traces.NAME   a column of `traces` (tracing)
    wnids         the sorted class names of the dataset (ImageNet-AB)
    classes       the class names of the dataset, by label (tagging)
    truth         the instances file (tagging)
    NAME          a derived column, or a step that several columns share
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from luab_data import own_tables
from luab_data.columns import events, ground_truth, icons, page_size, regions, rounds, traces
from luab_data.columns import loader_compat as notebooks
from luab_data.errors import OptionError
from luab_data.own_tables import OWN_ACTIONS, OWN_BROWSED, OWN_TAGGED
from luab_data.ragged import ArrowColumn
from luab_data.schema import (
    COCO_ACTIONS,
    COCO_IMAGES,
    IMAGENET_IMAGES,
    IMAGENET_ROUNDS,
    Table,
)
from luab_data.table import columns_of
from luab_data.words import did_you_mean


class Derived(NamedTuple):
    """A pure function, the columns it gives, in order, and the sources of its arguments."""

    names: tuple[str, ...]
    function: Callable[..., Any]
    reads: tuple[str, ...]


class Step(NamedTuple):
    """A pure function whose result several columns share."""

    function: Callable[..., Any]
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Registry:
    """The derived columns of one table.

    Args:
        table: the table; its `optional` columns are derived only on demand.
        derived: every derived column, once.
        steps: what they share, by name.
    """

    table: Table
    derived: tuple[Derived, ...]
    steps: Mapping[str, Step]

    def names(self, *, optional: bool = True) -> tuple[str, ...]:
        """All derived columns; without the optional ones those that every dataset has."""
        extra = set() if optional else {column.name for column in self.table.optional}
        return tuple(n for d in self.derived for n in d.names if n not in extra)

    @cached_property
    def _by_name(self) -> dict[str, Derived]:
        return {name: derived for derived in self.derived for name in derived.names}

    def of(self, name: str) -> Derived:
        """What gives a column.

        Raises:
            OptionError: it is not a derived column; lists the ones there are.
        """
        if name not in self._by_name:
            raise OptionError(
                f"{name!r} is no derived column of this dataset{did_you_mean(name, self._by_name)}"
            )
        return self._by_name[name]

    def sources(self, names: Iterable[str]) -> tuple[str, ...]:
        """What has to be given to compute some columns, sorted: steps and columns resolved."""
        given: set[str] = set()
        waiting, done = list(names), set()
        while waiting:
            source = waiting.pop()
            if source in done:
                continue
            done.add(source)
            if "." in source or source in _GIVEN:
                given.add(source)
            else:
                waiting += (self.steps.get(source) or self.of(source)).reads
        return tuple(sorted(given))

    def logged(self, names: Iterable[str], rows: pa.Table) -> dict[str, pa.ChunkedArray]:
        """Those sources of some columns that are columns of the log's own table, `rows`."""
        wanted = [source.partition(".") for source in self.sources(names)]
        return {f"{table}.{name}": rows[name] for table, _, name in wanted if name}

    def compute(self, names: Iterable[str], given: Mapping[str, Any]) -> dict[str, ArrowColumn]:
        """Some derived columns from their sources; pure.

        Args:
            names: derived columns.
            given: source -> value, all of sources(names). A derived column that is given is used
                as it is.
        """
        found: dict[str, Any] = dict(given)
        return {name: self._value(name, found) for name in names}

    def page(self) -> str:
        """A Markdown table of how the columns are made."""
        extra = {column.name for column in self.table.optional}
        lines = ["| columns | function | made from |", "|---|---|---|"]
        for derived in self.derived:
            names = ", ".join(f"`{name}`" for name in derived.names)
            names += " (optional)" if derived.names[0] in extra else ""
            module = derived.function.__module__.rpartition(".")[2]
            sources = ", ".join(f"`{source}`" for source in self.sources(derived.names))
            lines.append(f"| {names} | `{module}.{derived.function.__name__}` | {sources} |")
        return "\n".join(lines)

    # A method, not a function inside compute: that one would hold itself, and with it all arrays,
    # until the garbage collector comes by.
    def _value(self, source: str, found: dict[str, Any]) -> Any:
        """One column or step, computed into `found` with all it needs."""
        if source not in found:
            if step := self.steps.get(source):
                found[source] = step.function(*(self._value(read, found) for read in step.reads))
            else:
                derived = self.of(source)
                given = (self._value(read, found) for read in derived.reads)
                result = derived.function(*given)
                results = result if len(derived.names) > 1 else (result,)
                found.update(zip(derived.names, results, strict=True))
        return found[source]


_GIVEN = ("bounds", "wnids", "classes", "truth")


def _both(name: str) -> tuple[str, str]:
    return f"{name}_x", f"{name}_y"


def _logged(where: str, *names: str) -> tuple[Derived, ...]:
    return tuple(Derived((name,), rounds.as_logged, (f"{where}.{name}",)) for name in names)


_RECORD = ("round.selected_record_x", "round.selected_record_y")
_RECORD_MS, _SELECTED = "round.selected_record_time_ms", "round.selected"
_TRACE_MS = "round.mouse_tracking_time_ms"
_HOVERED = ("round.hovered_record_action", "round.hovered_record_time_ms")
_ROUND_CLICKS = ("rounds.selected_record_x", "rounds.selected_record_y", "rounds.selected")
_RECORDS = (
    *("rounds.hovered_record_time_ms", "rounds.mouse_tracking_time_ms"),
    "rounds.selected_record_time_ms",
)

IMAGENET = Registry(
    table=IMAGENET_IMAGES,
    derived=(
        Derived(("label",), regions.label, ("raw.wnid", "wnids")),
        Derived(
            ("width", "height"),
            regions.size,
            (
                *("raw.width", "raw.height"),
                *("round.original_image_width", "round.original_image_height"),
            ),
        ),
        Derived(("has_boxes",), regions.has_boxes, ("raw.boxes",)),
        Derived(("num_rounds",), rounds.num_rounds, ("bounds",)),
        Derived(("has_interaction",), rounds.has_interaction, (*_RECORDS, "bounds")),
        Derived(("selected",), rounds.is_selected, (_SELECTED,)),
        Derived(("selected_round",), rounds.selected_round, (_SELECTED, "round.round")),
        Derived(_both("final_click"), events.final_click, (*_RECORD, _SELECTED)),
        Derived(_both("first_click"), events.first_click, (*_RECORD, _SELECTED)),
        Derived(("num_clicks",), events.num_clicks, (_RECORD_MS, _SELECTED)),
        Derived(("parity_disagrees",), events.parity_disagrees, (_RECORD_MS, _SELECTED)),
        *_logged("round", "estimate_time_ms"),
        Derived(("dwell_time_ms",), traces.dwell_time_ms, (*_HOVERED, _TRACE_MS, _RECORD_MS)),
        Derived(("trace_length",), traces.trace_length, (_TRACE_MS, _SELECTED)),
        Derived(_both("trace_quantile"), traces.trace_quantile, ("visit",)),
        Derived(_both("time_quantile"), traces.time_quantile, ("visit",)),
        Derived(_both("last_n"), traces.last_n, ("points",)),
        Derived((*_both("hull"), "hull_area"), regions.hulls, ("points",)),
        Derived(
            ("click_in_box",),
            regions.click_in_box,
            (
                *(*_both("final_click"), "width", "height", "raw.boxes"),
                *("round.original_image_width", "round.original_image_height"),
            ),
        ),
        *_logged("round", "worker_id", "assignment_id", "hit_id", "page_idx", "image_idx"),
        Derived(_both("notebook_point"), notebooks.imagenet_point, (*_ROUND_CLICKS, "bounds")),
    ),
    steps={
        "visit": Step(
            traces.approach,
            (
                *_HOVERED,
                *(_TRACE_MS, "round.mouse_tracking_x", "round.mouse_tracking_y"),
                *(_RECORD_MS, *_RECORD, _SELECTED),
            ),
        ),
        "points": Step(traces.last_n_points, ("visit",)),
    },
)
"""Derived columns of `default` of ImageNet-AB."""

_INTERACTED = (*_RECORDS[:2], "rounds.selected_count")
_COUNTED = ("round.selected_count", _SELECTED)
_OTHERWISE = {"notebook_point_x", "has_interaction", "num_clicks", "parity_disagrees"}
OWN_BROWSING = Registry(
    table=OWN_BROWSED,
    derived=(
        *(d for d in IMAGENET.derived if d.names[0] not in _OTHERWISE),
        Derived(("has_interaction",), rounds.has_logged_interaction, (*_INTERACTED, "bounds")),
        Derived(("num_selected",), rounds.num_selected, ("rounds.selected", "bounds")),
        Derived(("image_file",), rounds.as_logged, ("round.image_id_raw",)),
        Derived(("num_clicks",), events.num_logged_clicks, _COUNTED),
        Derived(("parity_disagrees",), events.count_disagrees, _COUNTED),
    ),
    steps=IMAGENET.steps,
)
"""Likewise of a browsing log of somebody's own."""

_LOGGED_SIZE = ("actions.original_image_width", "actions.original_image_height")
_OF_ICONS = (
    *(("is_present_at_end", icons.is_present_at_end), ("action_sequence", icons.action_sequence)),
    *(("num_actions", icons.num_actions), ("num_adds", icons.num_adds)),
)
_AGAINST_MASKS = (
    ("is_on_object", icons.is_on_object),
    ("is_last_add_on_object", icons.is_last_add_on_object),
    ("num_adds_on_object", icons.num_adds_on_object),
)

COCO = Registry(
    table=COCO_IMAGES,
    derived=(
        Derived(("width", "height"), ground_truth.size, ("known", *_LOGGED_SIZE)),
        Derived(("labels",), ground_truth.labels, ("known",)),
        Derived(("boxes",), ground_truth.boxes, ("known",)),
        Derived(("box_label",), ground_truth.box_label, ("known",)),
        Derived(("icon_label",), icons.icon_label, ("icons",)),
        Derived(("icon_name",), icons.icon_name, ("icons", "classes")),
        *(Derived((name,), function, ("icons",)) for name, function in _OF_ICONS),
        Derived(_both("last_add"), icons.last_add, ("icons",)),
        Derived(_both("final"), icons.final, ("icons",)),
        *(Derived((name,), function, ("icons", "masks")) for name, function in _AGAINST_MASKS),
        *_logged("actions", "time_spent_ms", "worker_id", "hit_id", "page_id"),
        Derived(_both("notebook_point"), notebooks.coco_point, ("icons", "labels", *_LOGGED_SIZE)),
    ),
    steps={
        "icons": Step(
            icons.group_icons,
            (
                "classes",
                *("actions.action_histories_action_type", "actions.action_histories_icon_type"),
                *("actions.action_histories_point_to_x", "actions.action_histories_point_to_y"),
            ),
        ),
        "known": Step(ground_truth.known_images, ("raw.image_id", "truth")),
        "masks": Step(regions.as_shown, ("known", *_LOGGED_SIZE)),
    },
)
"""Derived columns of `default` of COCO-AB."""

OWN = Registry(
    table=OWN_TAGGED,
    derived=(
        *(d for d in COCO.derived if d.function is not notebooks.coco_point),
        Derived(("num_views",), rounds.num_rounds, ("bounds",)),
        *_logged("actions", "view", "image_file", "arm"),
    ),
    steps={
        **COCO.steps,
        "known": Step(ground_truth.known_files, ("raw.image_id", "actions.image_file", "truth")),
    },
)
"""Likewise of a tagging log of somebody's own, of each image's deciding view."""
_PAGE_SIZE = ("original_image_width", "original_image_height", "image_height")


def _page_size(events: str, function: Callable[..., Any], *points: str) -> tuple[Derived, ...]:
    names = (*_PAGE_SIZE, *(axis for point in points for axis in _both(point)))
    sources = tuple(f"{events}.{name}" for name in names)
    return (Derived(("page_width", "page_height"), function, sources),)


ROUNDS = Registry(
    IMAGENET_ROUNDS,
    _page_size("rounds", page_size.browsing, "mouse_tracking", "selected_record"),
    {},
)
"""Derived columns of `rounds` of ImageNet-AB, beside `round` that order_rounds gives."""

_DRAGS = ("action_histories_point_from", "action_histories_point_to")
ACTIONS = Registry(
    COCO_ACTIONS, _page_size("actions", page_size.tagging, "mouse_tracking", *_DRAGS), {}
)
"""Derived columns of `actions` of COCO-AB."""


def _as_logged(table: Table, events: str) -> Registry:
    sizes = (f"{events}.image_width", f"{events}.image_height")
    return Registry(
        table, (Derived(("page_width", "page_height"), page_size.as_logged, sizes),), {}
    )


OWN_ROUNDS = _as_logged(own_tables.OWN_ROUNDS, "rounds")
OWN_VIEWS = _as_logged(OWN_ACTIONS, "actions")
"""The same of somebody's own logs: a picture is as large on the page as the log says."""


def with_derived(raw: pa.Table, registry: Registry) -> pa.Table:
    """A table of raw columns with all derived ones that are made from those alone.

    Args:
        raw: columns of the registry's table, in its order.
        registry: ROUNDS or ACTIONS.
    """
    names = registry.names()
    computed = registry.compute(names, registry.logged(names, raw))
    return registry.table.of({**columns_of(raw), **computed})
