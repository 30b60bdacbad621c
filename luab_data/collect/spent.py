"""How long somebody was on a page, from what happened on it: docs/definitions.md#time-on-a-page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from luab_data.views.log import Spent

IDLE_MS = 10_000
"""So long after an event somebody is taken to be at work still."""


def spent_on(events: Sequence[Mapping[str, Any]]) -> Spent | None:
    """Wall, visible and active time of a page.

    Args:
        events: of one page, in the order of their times: `type`, and `t` in ms.

    Returns: None where nothing happened.
    """
    if not events:
        return None
    visible = active = 0.0
    is_seen = True
    for event, following in pairwise(events):
        if event["type"] in ("blur", "focus"):
            is_seen = event["type"] == "focus"
        if is_seen:
            lasted = following["t"] - event["t"]
            visible += lasted
            active += min(lasted, IDLE_MS)
    return Spent(wall=events[-1]["t"] - events[0]["t"], visible=visible, active=active)
