"""Rules over windows of a dataset: counts, shares and first examples, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from luab_data.checks.report import Finding
from luab_data.checks.rule import IMAGE, Rule
from luab_data.ragged import Bools, Ints


class Window(NamedTuple):
    """Some images with all their rounds (or their actions).

    `images` are rows of `default`, `records` rows of the second config; image i has the records
    bounds[i]:bounds[i + 1].
    """

    images: pa.Table
    records: pa.Table
    bounds: Ints


def broken(rule: Rule, window: Window) -> tuple[pa.Table, Bools]:
    """The rows that a rule looks at, and (num_rows,) which of them break it."""
    table = window.images if rule.config == "default" else window.records
    columns: dict[str, Any] = {}
    for name in rule.columns:
        if name.startswith(IMAGE):
            owner = np.repeat(np.arange(len(window.images)), np.diff(window.bounds))
            columns[name] = window.images[name.removeprefix(IMAGE)].take(pa.array(owner))
        else:
            columns[name] = table[name]
    return table, rule.find(pa.table(columns))


class Lint:
    """Adds up what rules find, window by window.

    Args:
        rules: the rules to apply.
        examples: how many rows to name per rule.
    """

    def __init__(self, rules: Sequence[Rule], examples: int) -> None:
        self._rules = rules
        self._max_examples = examples
        self._counts = [0] * len(rules)
        self._rows = [0] * len(rules)
        self._examples: list[list[dict[str, Any]]] = [[] for _ in rules]
        self.num_images = 0

    def see(self, window: Window) -> None:
        """Apply every rule to the window."""
        self.num_images += len(window.images)
        for number, rule in enumerate(self._rules):
            table, odd = broken(rule, window)
            self._rows[number] += len(table)
            count = int(odd.sum())
            self._counts[number] += count
            examples = self._examples[number]
            if count and len(examples) < self._max_examples:
                rows = np.flatnonzero(odd)[: self._max_examples - len(examples)]
                names = [name for name in ("image_id", "round") if name in table.column_names]
                examples.extend(table.select(names).take(pa.array(rows)).to_pylist())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One a rule, in the order of the rules."""
        parts = zip(self._rules, self._counts, self._rows, self._examples, strict=True)
        return tuple(
            Finding(rule=rule, count=count, rows=rows, examples=tuple(examples))
            for rule, count, rows, examples in parts
        )
