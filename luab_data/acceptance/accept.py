"""[I/O] A dataset folder -> which assignments to accept, and what they cost.

Money in USD, times in ms, shares in [0, 1]. The paper's two rejection rates have different
denominators (ImageNet-AB: of the submitted, COCO-AB: of the accepted), so both are given.

Source: docs/definitions.md#acceptance, docs/definitions.md#cost.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.acceptance.codes import read_codes
from luab_data.acceptance.rules import (
    ACCEPTED,
    REJECTED,
    UNDECIDED,
    AcceptanceRules,
    Applied,
    decide,
)
from luab_data.console import progress
from luab_data.errors import OptionError
from luab_data.kinds import Kind, kind_of
from luab_data.ragged import floats
from luab_data.results import Tabular, new_table
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset

FEE = 0.2
"""What MTurk takes of every reward on top."""

_MS_PER_HOUR = 3_600_000


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What HITs of one reward cost.

    Args:
        reward_usd, fee: of one HIT, and the share on top.
        num_accepted, num_rejected, num_undecided: the accepted ones are paid.
        median_hit_ms: over the `num_timed` HITs whose duration is known; None if none is.
    """

    reward_usd: float
    num_accepted: int
    num_rejected: int
    num_undecided: int = 0
    fee: float = FEE
    median_hit_ms: float | None = None
    num_timed: int = 0

    @property
    def total_usd(self) -> float:
        """Rewards and fees of the accepted ones."""
        return self.num_accepted * self.reward_usd * (1 + self.fee)

    @property
    def hourly_wage_usd(self) -> float | None:
        """Reward of a HIT of the median duration; None if that is unknown or 0."""
        return self.reward_usd / (self.median_hit_ms / _MS_PER_HOUR) if self.median_hit_ms else None

    def as_dict(self) -> dict[str, float | None]:
        """All numbers: also `undecided_usd`, what the undecided ones would add to the total if all
        were accepted, and rates of rejection, None where there is nothing to divide by.
        """
        num_submitted = self.num_accepted + self.num_rejected + self.num_undecided
        rewards = self.num_accepted * self.reward_usd
        return {
            "reward_usd": self.reward_usd,
            "fee": self.fee,
            "num_submitted": num_submitted,
            "num_accepted": self.num_accepted,
            "num_rejected": self.num_rejected,
            "num_undecided": self.num_undecided,
            "rewards_usd": rewards,
            "fees_usd": rewards * self.fee,
            "total_usd": self.total_usd,
            "undecided_usd": self.num_undecided * self.reward_usd * (1 + self.fee),
            "num_timed": self.num_timed,
            "median_hit_ms": self.median_hit_ms,
            "hourly_wage_usd": self.hourly_wage_usd,
            "rejected_of_submitted": self.num_rejected / num_submitted if num_submitted else None,
            "rejected_of_accepted": (
                self.num_rejected / self.num_accepted if self.num_accepted else None
            ),
        }


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Acceptance(Tabular):
    """Decisions on all assignments of a dataset.

    Attributes:
        dataset: name of the kind of log.
        table: one row an assignment; see rules.decide.
        rules: each rule and how many assignments it rejects, leaves undecided, was not applied to.
        cost: of the accepted ones.
        assigned: originals of every ImageNet HIT as given; None if those logged were taken.
        has_originals: whether such a HIT has any.
        codes: how a list of codes and the log go together; None without a list, and then the rule
            of codes was not applied.
        num_without_assignment: rows without an assignment, left out.
    """

    dataset: str
    table: pa.Table
    rules: tuple[Applied, ...]
    cost: Cost
    assigned: int | None
    has_originals: bool
    codes: CodesInLog | None
    num_without_assignment: int

    def __repr__(self) -> str:
        c = self.cost
        counts = f"{c.num_accepted:,} accepted, {c.num_rejected:,} rejected"
        return (
            f"Acceptance({self.dataset}: {len(self.table):,} assignments, {counts},"
            f" {c.num_undecided:,} undecided, {c.total_usd:,.2f} USD)"
        )

    def to_table(self) -> pa.Table:
        """One row an assignment."""
        return self.table

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counts, rules, cost, and one entry an assignment; None where not known."""
        return {
            "dataset": self.dataset,
            "num_assignments": len(self.table),
            **{f"num_{d}": getattr(self.cost, f"num_{d}") for d in (ACCEPTED, REJECTED, UNDECIDED)},
            "rules": [
                {
                    "name": a.rule.name,
                    "title": a.rule.title,
                    "rejects_below": a.rule.minimum,
                    "num_failed": a.num_failed,
                    "num_undecided": a.num_unknown,
                    "num_not_applied": a.num_not_applied,
                }
                for a in self.rules
            ],
            "cost": self.cost.as_dict(),
            "assigned": self.assigned,
            "codes_given": self.codes is not None,
            "num_codes": self.codes.num_listed if self.codes else 0,
            "num_codes_in_log": self.codes.num_in_log if self.codes else 0,
            "num_not_in_log": self.codes.num_left_out if self.codes else 0,
            "num_without_assignment": self.num_without_assignment,
            "assignments": self.table.to_pylist(),
        }


@dataclass(frozen=True, kw_only=True)
class CodesInLog:
    """How a list of codes and the log go together.

    Attributes:
        num_listed: assignments of the list.
        num_in_log: of those, in the log.
        num_left_out: neither in the log nor said to be missing there.
        num_but_for_case: not in the log, but with other capitals they would be.
    """

    num_listed: int
    num_in_log: int
    num_left_out: int
    num_but_for_case: int


def accept(
    dataset: str | os.PathLike[str],
    *,
    codes: str | os.PathLike[str] | None = None,
    assigned: int | None = None,
    reward: float | None = None,
    fee: float = FEE,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    shown: bool | None = None,
) -> Acceptance:
    """Apply the paper's rules to every assignment: an `assignment_id`, for COCO-AB a `hit_id`.

    Args:
        dataset: a folder, or its name under $LUAB_DATA_HOME.
        codes: CSV of what the log does not tell, ours or MTurk's results file; see read_codes.
        assigned: originals of every ImageNet HIT; None takes those logged, and for each missing
            page as many as on the fullest logged one.
        reward: USD a HIT; None takes the paper's, 1.5 for ImageNet-AB and 2 for COCO-AB, and 0 for
            own data.
        fee: share on top of every reward.
        out: a .csv, .json or .parquet file to write the table to.
        force: replace an earlier such file with other content.
        shown: False for no progress.

    Raises:
        DatasetError: not there or not whole; a raw log, which has to be converted first.
        OptionError: an option that the dataset has no use for, no rule for it, a bad list of codes,
            or one that shares no assignment with the log. OutputError: `out` cannot be written.
    """
    for name, value in (("reward", reward or 0), ("fee", fee)):
        if not 0 <= value < math.inf:
            raise OptionError(f"{name} is {value}; expected a number that is not negative")
    if Path(dataset).expanduser().is_file():
        raise OptionError(
            f"{dataset}: is a file; expected a dataset folder. Convert a raw log first: `luab-data"
            " convert`"
        )
    with new_table(out, verb="luab-data accept", first="assignment_id", force=force) as write:
        listed = None if codes is None else read_codes(codes)
        folder = find_dataset(dataset)
        kind = kind_of(read_manifest(folder))
        _check_options(kind, listed, assigned)
        facts, num_without = _facts(folder, kind, shown)
        compared = None
        if listed is not None:
            listed, compared = _compare(facts, listed, kind.acceptance)
        table, rules = decide(facts, kind.acceptance, codes=listed, assigned=assigned)
        found = Acceptance(
            dataset=kind.dataset,
            table=table,
            rules=rules,
            cost=_cost(table, kind.acceptance.reward_usd if reward is None else reward, fee),
            assigned=assigned,
            has_originals=kind.acceptance.has_originals,
            codes=compared,
            num_without_assignment=num_without,
        )
        write(found.table)
    return found


def _facts(folder: Path, kind: Kind, shown: bool | None) -> tuple[pa.Table, int]:
    """What the log tells of each assignment, and how many rows have none."""
    rules, num_without = kind.acceptance, 0

    def batches() -> Iterator[pa.Table]:
        nonlocal num_without
        table = kind.events if rules.in_events else kind.images
        found = read_columns(folder, table, list(rules.columns))
        for batch in progress(found, what="accept", unit=" batches", shown=shown):
            ids = batch[rules.assignment]
            num_without += ids.null_count + (pc.sum(pc.equal(ids, "")).as_py() or 0)
            yield batch

    return rules.collect(batches()), num_without


def _check_options(kind: Kind, codes: pa.Table | None, assigned: int | None) -> None:
    if codes is None and all(rule.minimum is None for rule in kind.acceptance.rules):
        raise OptionError(
            f"no rule accepts or rejects work on {kind.title}: the paper's rules are of the pages"
            " and pictures of its own HITs. A list of survey codes can decide: --codes FILE"
        )
    if kind.acceptance.has_originals:
        return
    if assigned is not None:
        raise OptionError(
            f"assigned has no effect on {kind.title}: its HITs have no originals among other"
            " pictures"
        )
    if codes is not None and codes["num_selections"].null_count < len(codes):
        raise OptionError(
            f"codes: num_selections has no effect on {kind.title}; leave that column out"
        )


def _compare(
    facts: pa.Table, codes: pa.Table, rules: AcceptanceRules
) -> tuple[pa.Table, CodesInLog]:
    """The codes that can be used, and how the list and the log go together.

    What would be in the log with other capitals is left out: it is no assignment of its own, though
    the list may say that it was never recorded, and would be paid twice.

    Raises:
        OptionError: not at all.
    """
    logged, listed = (table["assignment_id"].combine_chunks() for table in (facts, codes))
    is_in = pc.is_in(listed, value_set=logged)
    is_folded = pc.is_in(pc.utf8_lower(listed), value_set=pc.utf8_lower(logged))
    by_case = pc.and_(is_folded, pc.invert(is_in))
    is_expected = pc.and_(pc.fill_null(codes["is_recorded"], True), codes["mturk_status"].is_null())
    is_left_out = pc.or_(by_case, pc.and_(pc.invert(is_in), is_expected.combine_chunks()))
    found = CodesInLog(
        num_listed=len(listed),
        num_in_log=_num(is_in),
        num_left_out=_num(is_left_out),
        num_but_for_case=_num(by_case),
    )
    if len(listed) and not found.num_in_log:
        hint = (
            f"{found.num_but_for_case} would be with other capitals (upper or lower case): write"
            " the ids as the log has them"
            if found.num_but_for_case
            else f"expected a list of {rules.assignment} of this log"
        )
        raise OptionError(f"codes: none of the {len(listed)} assignments is in the log; {hint}")
    return codes.filter(pc.invert(is_left_out)), found


def _num(flags: pa.Array) -> int:
    return int(pc.sum(flags).as_py() or 0)


def _cost(decided: pa.Table, reward_usd: float, fee: float) -> Cost:
    durations = floats(decided["duration_ms"])
    durations = durations[~np.isnan(durations)]
    num = {d: _num(pc.equal(decided["decision"], d)) for d in (ACCEPTED, REJECTED, UNDECIDED)}
    return Cost(
        num_accepted=num[ACCEPTED],
        num_rejected=num[REJECTED],
        num_undecided=num[UNDECIDED],
        reward_usd=reward_usd,
        fee=fee,
        median_hit_ms=float(np.median(durations)) if len(durations) else None,
        num_timed=len(durations),
    )
