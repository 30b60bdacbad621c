"""What a lint rule is: an id, what it means, where that is known from, and a mask over rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from luab_data.ragged import Bools

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""error: the row contradicts itself, do not trust what is derived from it; warning: the tool should
not have written it; info: a known habit of the tool, good to know before counting."""

IMAGE = "image."
"""Prefix of the columns of an image that stand beside each of its rounds or its actions."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that can be odd about a row.

    Args:
        id: kebab-case name, unique within a dataset.
        dataset: `imagenet-ab` or `coco-ab`.
        config: whose rows are looked at: `default`, `rounds` or `actions`.
        severity: as in SEVERITIES.
        doc: what it means, one sentence.
        source: the section that the expectation comes from; `raw-formats` and `metrics` are the
            design notes of the raw logs.
        columns: columns that `find` reads; `image.NAME` is that column of the row's image.
        find: table of those columns -> (num_rows,) bool, true where the rule is broken. Pure, and
            never null. All rounds of an image are in one table, side by side, by submit time.
    """

    id: str
    dataset: str
    config: str
    severity: Severity
    doc: str
    source: str
    columns: tuple[str, ...]
    find: Callable[[pa.Table], Bools]
