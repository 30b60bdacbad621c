"""How derived values of an image follow from its raw ones, a function a kind of log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from luab_data.columns.rounds import order_rounds

Values = dict[str, Any]


def explain_rounds(image: pa.Table, records: pa.Table) -> Values:
    """What can be said of an image of a browsing log, one row, and its rounds in order.

    Returns: `decision`: which round decided, and why. `visit`: which part of the trace led to the
        final click; None without one.
    """
    decision = _decision(image, records)
    return {"decision": decision, "visit": _visit(records.to_pylist(), decision)}


def explain_icons(image: pa.Table, records: pa.Table) -> Values:
    """What can be said of an image of a tagging log, one row, and its row of actions.

    Returns: `icons`: each icon's actions, and which of them `last_add` and `final` come from.
    """
    return {"icons": _icons(records.to_pylist())}


def _decision(image: pa.Table, records: pa.Table) -> Values:
    """Which round decides, by the rule of order_rounds, and why in words."""
    count = len(records)
    if not count:
        return {"round": None, "why": "no round: the image was never shown"}
    rounds = order_rounds(image["image_id"], records.drop_columns(["round"]))
    place = int(rounds.deciding[0])
    submitted = records["hit_submit_time"].to_pylist()
    selected = records["selected"].to_pylist()
    if selected[place]:
        why = "the last one, by hit_submit_time, that ended with the image selected"
    else:
        why = "no round ended with the image selected, so the last one by hit_submit_time"
    if count == 1:
        why = "the only one"
    ties = count - len(set(submitted))
    why += "; rounds with equal submit times stand in the order of the file" if ties else ""
    return {"round": place + 1, "of": count, "why": why}


def _visit(records: Sequence[Values], decision: Values) -> Values | None:
    """The visit that ends in the final click: the trace records that quantiles are taken of.

    Returns: `enter_ms` (None if the log has no enter before the click, then the visit starts with
        the trace), `visit` of `num_visits`, `click_ms`, `first_record` and `last_record` (from 0
        among the round's trace records, None without any) and `num_records`; None without a final
        click. Source: docs/definitions.md#trace-curves
    """
    if decision["round"] is None:
        return None
    row = records[decision["round"] - 1]
    if not row["selected"] or not row["selected_record_time_ms"]:
        return None
    click = row["selected_record_time_ms"][-1]
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


def _icons(records: Sequence[Values]) -> list[Values]:
    """Each icon's actions, and which of them (from 0 in the log) give `last_add` and `final`."""
    if not records:
        return []
    row = records[0]
    of_icon: dict[str, list[int]] = {}
    for number, name in enumerate(row["action_histories_icon_type"]):
        of_icon.setdefault(name, []).append(number)
    kinds = row["action_histories_action_type"]
    found = []
    for name, actions in of_icon.items():
        adds = [number for number in actions if kinds[number] == "add"]
        ended = actions[-1] if kinds[actions[-1]] != "remove" else None
        last_add = adds[-1] if adds else None
        found.append({"icon": name, "actions": actions, "last_add": last_add, "final": ended})
    return found
