"""The paper's rules for accepting an assignment: facts -> decisions.

An assignment is rejected if any rule fails, by a strict "<": 40 of 120 originals pass .333, 39 do
not. It is undecided if none fails but one cannot be decided from what is known, and accepted else.

What a released log cannot tell, and what is done about it:

- Selections among all 480 pictures. The log has the 120 originals, so their selections are a lower
  bound: enough of them pass, fewer leave the rule undecided unless a list gives the true number. In
  a whole HIT this is rare: whoever passes recall has selected 40 originals.
- How many originals were assigned. The paper's denominator is unknown when pages are missing. By
  default it is the originals logged, selected or not, and for every missing page as many as on the
  fullest logged one: 120 in a whole HIT, where that is 12, and fewer in a HIT that ends a class,
  which a constant would take for a poor one. A constant can be given instead.
- Pages without originals. The last HIT of all may have such, and is then rejected for its pages.
- Survey codes. The release has none, and the tool's hash is masked
  (docs/definitions.md#acceptance). The rule is applied to assignments of a list of codes only.
- Whom the authors rejected themselves: a release may hold accepted assignments only.

Source: docs/definitions.md#acceptance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.acceptance.codes import CODES
from luab_data.ragged import Bools, Floats

ACCEPTED, REJECTED, UNDECIDED = "accepted", "rejected", "undecided"
_PASSES, _FAILS, _UNKNOWN, _NOT_APPLIED = range(4)
_Outcome = npt.NDArray[np.int8]
_nullable = partial(pa.array, from_pandas=True)  # NaN is null


class Rule(NamedTuple):
    """One rule. Rejects if what is measured is less than the minimum.

    Args:
        name: key in JSON and tables.
        title: what is measured, in words.
        minimum: None for the rule of the survey code, which measures nothing.
        unknown: why it may be undecided.
    """

    name: str
    title: str
    minimum: float | None
    unknown: str


CODE = Rule("code", "record missing and survey code wrong", None, "the list of codes does not say")


class Measured(NamedTuple):
    """What a rule is about: (num_assignments,) values, NaN unknown; inexact ones may be higher."""

    value: Floats
    is_exact: Bools | bool = True


@dataclass(frozen=True, kw_only=True)
class AcceptanceRules:
    """How assignments of one kind of log are judged.

    Attributes:
        assignment: column with the id of an assignment.
        columns: what `collect` reads.
        in_events: whether of the table of events; else of `default`.
        reward_usd: the paper's, for a HIT; 0 where it is not known.
        rules: in the order in which they are told.
        collect: batches -> facts, sorted by assignment_id; rows without an assignment left out.
        measure: facts with the columns of CODES, and originals assigned -> what each rule is about,
            and a column `num_assigned` if the kind has originals.
        has_originals: whether a HIT shows pictures that are not logged, beside originals.
    """

    assignment: str
    columns: tuple[str, ...]
    in_events: bool
    reward_usd: float
    rules: tuple[Rule, ...]
    collect: Callable[[Iterable[pa.Table]], pa.Table]
    measure: Callable[[pa.Table, int | None], tuple[dict[str, Measured], Floats | None]]
    has_originals: bool


class Applied(NamedTuple):
    """A rule and what became of it.

    Args:
        rule: the rule.
        num_failed: assignments it rejects.
        num_unknown: assignments it cannot decide.
        num_not_applied: assignments it was not applied to.
    """

    rule: Rule
    num_failed: int
    num_unknown: int
    num_not_applied: int


def decide(
    facts: pa.Table,
    kind: AcceptanceRules,
    *,
    codes: pa.Table | None = None,
    assigned: int | None = None,
) -> tuple[pa.Table, tuple[Applied, ...]]:
    """Apply the rules.

    Args:
        facts: of `kind.collect`.
        kind: whose rules.
        codes: CODES, one row an assignment; those that are neither in the log nor recorded are
            decided by their code alone, those that should be in the log and are not are left out.
        assigned: originals of every ImageNet HIT; None takes those logged, and for each missing
            page as many as on the fullest logged one.

    Returns: one row an assignment, sorted by assignment_id: the facts and `decision`, `failed` and
        `undecided` (lists of rule names), `reason` (for people; null if accepted), what was
        measured (null if not known), and the columns of CODES; then what became of each rule.

    Raises:
        OptionError: `assigned` or a num_selections contradicts the log.
    """
    table = _with_codes(facts, codes)
    in_log = table["num_pages"].is_valid().to_numpy()
    measured, num_assigned = kind.measure(table, assigned)
    if num_assigned is not None:
        table = table.append_column("num_assigned", _nullable(num_assigned).cast(pa.int64()))
    rules = kind.rules
    outcomes = []
    for rule in rules:
        if rule.minimum is None:
            outcomes.append(_code_outcome(table))
            continue
        outcome = _outcome(rule.minimum, measured[rule.name])
        outcomes.append(np.where(in_log, outcome, np.int8(_NOT_APPLIED)))
    grid: _Outcome = np.array(outcomes, np.int8).reshape(len(rules), len(table))
    for name, column in _columns(rules, grid, measured).items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, column)
    applied = tuple(
        Applied(rule, *(int((row == o).sum()) for o in (_FAILS, _UNKNOWN, _NOT_APPLIED)))
        for rule, row in zip(rules, grid, strict=True)
    )
    if table["mturk_status"].null_count == len(table):
        table = table.drop_columns(["mturk_status"])
    leading = ["assignment_id", "decision", "failed", "undecided", "reason"]
    rest = [name for name in table.column_names if name not in leading]
    return table.select([*leading, *rest]).sort_by("assignment_id"), applied


def _with_codes(facts: pa.Table, codes: pa.Table | None) -> pa.Table:
    """The facts with the columns of CODES, and a row of nulls for what was never recorded.

    MTurk lists what was submitted: of that, what is not in the log is what was never recorded.
    """
    codes = CODES.empty_table() if codes is None else codes.cast(CODES)
    ids = facts["assignment_id"]
    is_known = pc.is_in(codes["assignment_id"], value_set=ids.combine_chunks())
    told = pc.if_else(codes["mturk_status"].is_valid(), is_known, pa.scalar(None, pa.bool_()))
    place = codes.column_names.index("is_recorded")
    recorded = pc.coalesce(codes["is_recorded"], told)
    codes = codes.set_column(place, "is_recorded", recorded)
    at = pc.index_in(ids, value_set=codes["assignment_id"].combine_chunks())
    for name in CODES.names[1:]:
        facts = facts.append_column(name, codes[name].combine_chunks().take(at))
    unrecorded = pc.and_(pc.invert(is_known), pc.equal(codes["is_recorded"], False))
    rows = codes.filter(pc.fill_null(unrecorded, False))
    missing = {
        f.name: rows[f.name] if f.name in rows.column_names else pa.nulls(len(rows), f.type)
        for f in facts.schema
    }
    return pa.concat_tables([facts, pa.table(missing, facts.schema)]).combine_chunks()


def _outcome(minimum: float, measured: Measured) -> _Outcome:
    """Strictly less than the minimum fails; a lower bound that is less decides nothing."""
    below = measured.value < minimum
    cases = [np.isnan(measured.value), below & np.logical_not(measured.is_exact), below]
    return np.select(cases, [_UNKNOWN, _UNKNOWN, _FAILS], _PASSES).astype(np.int8)


def _code_outcome(table: pa.Table) -> _Outcome:
    """Fails if not recorded and wrong; a null decides nothing unless the other one passes."""
    recorded, right = table["is_recorded"], table["is_code_right"]
    passes = pc.or_kleene(recorded, right)
    silent = pc.and_(recorded.is_null(), right.is_null()).to_numpy()
    ways = [silent, passes.is_null().to_numpy(), ~pc.fill_null(passes, True).to_numpy()]
    return np.select(ways, [_NOT_APPLIED, _UNKNOWN, _FAILS], _PASSES).astype(np.int8)


def _columns(
    rules: tuple[Rule, ...], grid: _Outcome, measured: dict[str, Measured]
) -> dict[str, pa.Array]:
    fails, unknown = grid == _FAILS, grid == _UNKNOWN
    decision = np.where(fails.any(0), REJECTED, np.where(unknown.any(0), UNDECIDED, ACCEPTED))
    names = np.array([rule.name for rule in rules])
    values: dict[str, pa.Array] = {}
    for name, (value, is_exact) in measured.items():
        if name == "selections":
            given = np.where(is_exact, value, np.nan)
            values["num_selections"] = _nullable(given).cast(pa.int64())
        elif name != "pages":
            values[name] = _nullable(value)
    told = np.where(fails.any(axis=0), fails, unknown)  # a rejection needs no more reasons
    reason = [
        "; ".join(_reason(rules[k], grid[k, i], measured, i) for k in np.flatnonzero(told[:, i]))
        for i in range(grid.shape[1])
    ]
    return {
        "decision": pa.array(decision.astype(object), pa.string()),
        "failed": _lists(fails, names),
        "undecided": _lists(unknown, names),
        "reason": pa.array(reason, pa.string(), mask=~told.any(axis=0)),
        **values,
    }


def _reason(rule: Rule, outcome: int, measured: dict[str, Measured], row: int) -> str:
    if rule.minimum is None:
        return rule.title if outcome == _FAILS else f"{rule.name}: {rule.unknown}"
    value = measured[rule.name].value[row]
    if outcome == _FAILS:
        return f"{rule.name} {value:.6g} < {rule.minimum:g}"
    bound = "" if np.isnan(value) else f" (at least {value:g}, needed {rule.minimum:g})"
    return f"{rule.name}: {rule.unknown}{bound}"


def _lists(flags: Bools, names: np.ndarray) -> pa.ListArray:
    """(num_rules, num_assignments) -> (num_assignments,) lists of the rules that are flagged."""
    _, rule = np.nonzero(flags.T)
    offsets = np.concatenate([[0], np.cumsum(flags.sum(axis=0))])
    values = pa.array(names[rule].astype(object), pa.string())
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
