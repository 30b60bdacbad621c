"""How the derived values of one image follow from its records: a function a kind of log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.rounds import Deciding, order_rounds

if TYPE_CHECKING:
    from luab_data.kinds import OwnBrowsing, OwnTagging

Values = dict[str, Any]


def of_rounds(image: pa.Table, records: pa.Table, deciding: Deciding = "any") -> Values:
    """What can be said of an image of a browsing log, one row, and its rounds in order.

    Args:
        image, records: the rows.
        deciding: the rule by which a round decides.

    Returns: `decision`: which round decided, and why. `visit`: which part of the trace led to the
        final click; None without one.
    """
    decision = _decision(image, records, deciding)
    return {"decision": decision, "visit": _visit(records.to_pylist(), decision)}


def of_own_rounds(kind: OwnBrowsing) -> Callable[[pa.Table, pa.Table], Values]:
    """Of a browsing log of somebody's own, by its rule."""
    return partial(of_rounds, deciding=kind.deciding)


def of_icons(image: pa.Table, records: pa.Table) -> Values:
    """What can be said of an image of a tagging log, one row, and its row of actions.

    Returns: `icons`: each icon's actions, and which of them (from 0 in the log) `last_add` and
        `final` come from.
    """
    found: list[Values] = []
    for row in records.to_pylist()[:1]:
        of_icon: dict[str, list[int]] = {}
        for number, name in enumerate(row["action_histories_icon_type"]):
            of_icon.setdefault(name, []).append(number)
        kinds = row["action_histories_action_type"]
        for name, actions in of_icon.items():
            last_add = max((number for number in actions if kinds[number] == "add"), default=None)
            ended = actions[-1] if kinds[actions[-1]] != "remove" else None
            found.append({"icon": name, "actions": actions, "last_add": last_add, "final": ended})
    return {"icons": found}


def of_views(kind: OwnTagging) -> Callable[[pa.Table, pa.Table], Values]:
    """The same of somebody's own log, with `decision`: which view decides, and why."""
    why = {
        "last": "the last one",
        "majority": "the one whose classes agree most with those of the others; of equals the last",
    }

    def explain(image: pa.Table, records: pa.Table) -> Values:
        view, count = image["view"][0].as_py(), len(records)
        reason = why[kind.deciding] if count > 1 else "the only one"
        deciding = records.filter(pc.equal(records["view"], view))
        decision = {"round": view, "of": count, "why": reason}
        return {"decision": decision, **of_icons(image, deciding)}

    return explain


def of_traces(image: pa.Table, records: pa.Table) -> Values:
    """What can be said of an image of a tracing dataset, a row a view, and its traces.

    Returns: `views`: the rows of `default`.
    """
    return {"views": image.to_pylist()}


def _decision(image: pa.Table, records: pa.Table, deciding: Deciding) -> Values:
    """Which round decides, by the rule of order_rounds, and why in words."""
    count = len(records)
    if not count:
        return {"round": None, "why": "no round: the image was never shown"}
    rounds = order_rounds(image["image_id"], records.drop_columns(["round"]), deciding)
    place = int(rounds.deciding[0])
    submitted = records["hit_submit_time"].to_pylist()
    selected = records["selected"].to_pylist()
    if deciding != "any":
        ended = f"{sum(selected)} of {count} views ended with the image selected"
        state = "selected" if selected[place] else "not selected"
        why = f"{ended}; by the rule `{deciding}` it is {state}, and this is the last such view"
    elif selected[place]:
        why = "the last one, by hit_submit_time, that ended with the image selected"
    else:
        why = "no round ended with the image selected, so the last one by hit_submit_time"
    if count == 1:
        why = "the only one"
    if None in submitted and count > 1:
        why += "; views stand in the order of the log, which does not say when all were submitted"
    elif count > len(set(submitted)):
        why += "; rounds with equal submit times stand in the order of the file"
    return {"round": place + 1, "of": count, "why": why}


def _visit(records: Sequence[Values], decision: Values) -> Values | None:
    """The visit that ends in the final click: the trace records that quantiles are taken of.

    Returns: `enter_ms` (None if the log has no enter before the click, then the visit starts with
        the trace), `visit` of `num_visits`, `click_ms`, `first_record` and `last_record` (from 0
        among the round's trace records, None without any) and `num_records`; all None where a
        record has no time; None without a final click. Source: docs/definitions.md#trace-curves
    """
    if decision["round"] is None:
        return None
    row = records[decision["round"] - 1]
    if not row["selected"] or not row["selected_record_time_ms"]:
        return None
    click = row["selected_record_time_ms"][-1]
    if None in (
        *row["selected_record_time_ms"],
        *row["hovered_record_time_ms"],
        *row["mouse_tracking_time_ms"],
    ):
        names = ("enter_ms", "visit", "num_visits", "click_ms", "first_record", "last_record")
        return {**dict.fromkeys(names), "num_records": None}
    hovered = zip(row["hovered_record_action"], row["hovered_record_time_ms"], strict=True)
    enters = [time for action, time in hovered if action == "enter"]
    before = [time for time in enters if time <= click]
    start = max(before, default=None)
    used = [
        number
        for number, time in enumerate(row["mouse_tracking_time_ms"])
        if (start is None or time >= start) and time <= click
    ]
    return {
        "enter_ms": start,
        "visit": None if start is None else enters.index(start) + 1,
        "num_visits": len(enters),
        "click_ms": click,
        "first_record": used[0] if used else None,
        "last_record": used[-1] if used else None,
        "num_records": len(used),
    }
