"""Facts, rules, decisions and cost as pure functions; the examples of docs/definitions.md."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luab_data import kinds
from luab_data.acceptance import facts as logged
from luab_data.acceptance import rules
from luab_data.acceptance.accept import Cost
from luab_data.acceptance.codes import CODES
from luab_data.errors import OptionError
from luab_data.schema import COCO_IMAGES, IMAGENET_ROUNDS

COLUMNS = {name: kind.acceptance.columns for name, kind in kinds.KINDS.items()}


def decide(facts: pa.Table, dataset: str, **options: Any) -> tuple[pa.Table, Any]:
    return rules.decide(facts, kinds.KINDS[dataset].acceptance, **options)


def imagenet_facts(**changes: Any) -> pa.Table:
    """One whole HIT, in which 80 of the 120 originals are selected."""
    row = {"assignment_id": "3A", "num_shown": 120, "num_selected": 80, "num_pages": 10}
    row |= {"max_on_page": 12, "num_without_page": 0, "duration_ms": 540_000.0}
    return pa.Table.from_pylist([{**row, **changes}], logged.IMAGENET_FACTS)


def coco_facts(**changes: Any) -> pa.Table:
    row = {"assignment_id": "a", "num_pages": 20, "num_without_truth": 0, "num_scored": 20}
    row |= {"recall": 0.6, "num_judged": 40, "num_on_object": 38, "duration_ms": 726_000.0}
    return pa.Table.from_pylist([{**row, **changes}], logged.COCO_FACTS)


def codes(*rows: tuple[str, bool | None, bool | None]) -> pa.Table:
    names = CODES.names[:3]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], CODES)


def decision(facts: pa.Table, dataset: str = "imagenet-ab", **options: Any) -> str:
    """`accepted`, or the decision with the rules behind it."""
    (row,) = decide(facts, dataset, **options)[0].to_pylist()
    names = row["failed"] if row["decision"] == "rejected" else row["undecided"]
    assert (row["reason"] is None) == (row["decision"] == "accepted")
    return " ".join([row["decision"], *names])


# --- ImageNet-AB: the worked examples -----------------------------------------------------------


def test_a_missing_page_counts_among_the_assigned_originals():
    facts = imagenet_facts(num_pages=9, num_shown=108, num_selected=40)
    assert decision(facts) == "accepted"
    assert decide(facts, "imagenet-ab")[0]["num_assigned"].to_pylist() == [120]
    assert decision(imagenet_facts(num_pages=8, num_shown=96)) == "rejected pages"
    assert decision(imagenet_facts(num_pages=9, num_shown=108, num_selected=39)) == (
        "rejected recall"
    )


def test_a_hit_that_ends_a_class_is_measured_by_the_originals_it_had():
    short = {"num_shown": 20, "max_on_page": 2, "num_selected": 14}
    assert decision(imagenet_facts(**short)) == "undecided selections"
    assert decision(imagenet_facts(**short), assigned=120) == "rejected recall"
    facts = imagenet_facts(**{**short, "num_shown": 18, "num_pages": 9})
    assert decide(facts, "imagenet-ab")[0]["num_assigned"].to_pylist() == [20]


def test_selections_are_a_lower_bound_that_can_pass_but_not_fail():
    short = {"num_shown": 80, "max_on_page": 8}
    assert decision(imagenet_facts(**short, num_selected=30)) == "accepted"
    assert decision(imagenet_facts(**short, num_selected=29)) == "undecided selections"


@pytest.mark.parametrize(("given", "expected"), [(29, "rejected selections"), (30, "accepted")])
def test_30_selections_pass_and_29_do_not_where_the_number_is_given(given: int, expected: str):
    listed = pa.table({**_nulls(), "assignment_id": ["3A"], "num_selections": [given]}, CODES)
    facts = imagenet_facts(num_shown=80, max_on_page=8, num_selected=27)
    assert decision(facts, codes=listed) == expected


def _nulls() -> dict[str, list[None]]:
    return {name: [None] for name in CODES.names}


def test_40_of_120_originals_pass_recall_and_are_enough_selections():
    for num_selected in range(121):
        found = decision(imagenet_facts(num_selected=num_selected))
        assert found == ("accepted" if num_selected >= 40 else "rejected recall")


@pytest.mark.parametrize(
    ("recorded", "right", "expected"),
    [
        (False, True, "accepted"),
        (False, False, "rejected code"),
        (True, False, "accepted"),
        (True, True, "accepted"),
        (False, None, "undecided code"),
        (None, False, "undecided code"),
        (None, True, "accepted"),
        (None, None, "accepted"),
    ],
)
@pytest.mark.parametrize("dataset", ["imagenet-ab", "coco-ab"])
def test_a_missing_record_is_forgiven_with_the_right_code(
    dataset: str, recorded: bool | None, right: bool | None, expected: str
):
    name, facts = ("3A", imagenet_facts()) if dataset == "imagenet-ab" else ("a", coco_facts())
    assert decision(facts, dataset, codes=codes((name, recorded, right))) == expected


def test_an_assignment_without_any_record_is_decided_by_its_code_alone():
    listed = codes(
        ("3B", False, True), ("3C", False, False), ("3D", True, True), ("3E", None, None)
    )
    table, applied = decide(imagenet_facts(), "imagenet-ab", codes=listed)
    rows = {row["assignment_id"]: row for row in table.to_pylist()}
    assert {name: row["decision"] for name, row in rows.items()} == {
        "3A": "accepted", "3B": "accepted", "3C": "rejected",
    }  # fmt: skip
    assert rows["3C"]["failed"] == ["code"]
    assert rows["3B"]["num_shown"] is None and rows["3B"]["recall"] is None
    by_name = {a.rule.name: a for a in applied}
    assert by_name["recall"].num_not_applied == 2 and by_name["code"].num_not_applied == 1


def test_pages_that_are_not_known_leave_recall_and_pages_undecided():
    facts = imagenet_facts(num_pages=8, num_without_page=3)
    assert decision(facts) == "undecided recall pages"
    assert decision(facts, assigned=120) == "undecided pages"
    assert decision(imagenet_facts(num_pages=10, num_without_page=3)) == "accepted"


def test_every_rule_that_fails_is_named_with_what_was_measured():
    facts = imagenet_facts(num_shown=84, num_pages=7, num_selected=9)
    (row,) = decide(facts, "imagenet-ab", codes=codes(("3A", False, False)))[0].to_pylist()
    assert row["failed"] == ["recall", "pages", "code"]
    assert row["undecided"] == ["selections"]
    assert row["reason"] == (
        "recall 0.075 < 0.333; pages 7 < 9; record missing and survey code wrong"
    )


def test_numbers_that_contradict_the_log_are_refused():
    with pytest.raises(OptionError, match=r"assigned is 100, but 1 .* 3A has 120"):
        decide(imagenet_facts(), "imagenet-ab", assigned=100)
    for number in (79, 481):
        listed = pa.table({**_nulls(), "assignment_id": ["3A"], "num_selections": [number]}, CODES)
        with pytest.raises(OptionError, match=f"3A has {number} and 80 selected"):
            decide(imagenet_facts(), "imagenet-ab", codes=listed)


# --- COCO-AB -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"recall": 0.333}, "accepted"),
        ({"recall": 0.3329}, "rejected recall"),
        ({"num_on_object": 30}, "accepted"),  # .75 exactly
        ({"num_on_object": 29}, "rejected icon_accuracy"),
        ({"num_pages": 16}, "accepted"),
        ({"num_pages": 15}, "rejected pages"),
        ({"recall": 0.0, "num_judged": 0, "num_on_object": 0}, "rejected recall"),
        ({"recall": None, "num_scored": 0}, "undecided recall"),
        ({"num_judged": 0, "num_on_object": 0}, "undecided icon_accuracy"),
    ],
)
def test_coco_rules_are_strict(changes: dict[str, Any], expected: str):
    assert decision(coco_facts(**changes), "coco-ab") == expected


def test_the_example_of_recall_and_precision():
    """Present {a,b},{a}, placed {a},{a,c}: recall .75; right, right, wrong: 2/3."""
    rows = [
        {"labels": [0, 1], "icon_label": [0], "is_on_object": [True]},
        {"labels": [0], "icon_label": [0, 2], "is_on_object": [True, False]},
    ]
    facts = logged.collect_images([coco_images(rows)])
    (row,) = decide(facts, "coco-ab")[0].to_pylist()
    assert row["recall"] == 0.75
    assert row["icon_accuracy"] == 2 / 3
    assert row["duration_ms"] == 2000


def coco_images(rows: list[dict[str, Any]]) -> pa.Table:
    full = [
        {"hit_id": "a", "page_id": page, "time_spent_ms": 1000,
         "is_present_at_end": [True] * len(row["icon_label"]), **row}
        for page, row in enumerate(rows)
    ]  # fmt: skip
    schema = pa.schema([COCO_IMAGES[name].field for name in COLUMNS["coco-ab"]])
    return pa.Table.from_pylist(full, schema)


# --- the facts, against a slow reference ---------------------------------------------------------


def imagenet_rows(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    def times(some: int) -> list[int]:
        return (1_640_000_000_000 + rng.integers(0, 10**6, rng.integers(0, some))).tolist()

    return [
        {
            "assignment_id": f"3{rng.integers(0, 9)}",
            "page_idx": [None, -1, 10, *range(10)][rng.integers(0, 13)],
            "selected": bool(rng.random() < 0.4),
            "hit_submit_time": 1_640_000_000 + int(rng.integers(-500, 1500)),
            "hovered_record_time_ms": times(3),
            "mouse_tracking_time_ms": times(6),
            "selected_record_time_ms": times(2) if rng.random() < 0.9 else None,
        }
        for _ in range(count)
    ]


def slow_imagenet(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["assignment_id"]].append(row)
    found = {}
    for name, group in groups.items():
        pages = [r["page_idx"] for r in group if r["page_idx"] in range(10)]
        events = [t for r in group for c in logged.EVENT_TIMES for t in r[c] or []]
        ends = [*events, *(1000 * r["hit_submit_time"] for r in group)]
        found[name] = {
            "assignment_id": name,
            "num_shown": len(group),
            "num_selected": sum(r["selected"] for r in group),
            "num_pages": len(set(pages)),
            "max_on_page": max((pages.count(p) for p in pages), default=0),
            "num_without_page": len(group) - len(pages),
            "duration_ms": float(max(ends) - min(events)) if events else None,
        }
    return found


def coco_rows(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    rows = []
    for _ in range(count):
        icons = np.flatnonzero(rng.random(5) < 0.5)
        here = rng.random(len(icons)) < 0.7
        labels = None if rng.random() < 0.2 else np.flatnonzero(rng.random(5) < 0.3).tolist()
        right = [None if labels is None or not h else bool(rng.random() < 0.8) for h in here]
        rows.append(
            {
                "hit_id": None if rng.random() < 0.1 else f"h{rng.integers(0, 6)}",
                "page_id": [None, *range(20)][rng.integers(0, 21)],
                "time_spent_ms": None if rng.random() < 0.2 else int(rng.integers(0, 99_999)),
                "labels": labels,
                "icon_label": icons.tolist(),
                "is_present_at_end": here.tolist(),
                "is_on_object": right,
            }
        )
    return rows


def slow_coco(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["hit_id"] is not None:
            groups[row["hit_id"]].append(row)
    found = {}
    for name, group in groups.items():
        pages = [r["page_id"] for r in group]
        placed = [{c for c, h in zip(r["icon_label"], r["is_present_at_end"], strict=True) if h}
                  for r in group]  # fmt: skip
        recalls = [Fraction(len(p & set(r["labels"])), len(r["labels"]))
                   for r, p in zip(group, placed, strict=True) if r["labels"]]  # fmt: skip
        right = [flag for r in group for flag in r["is_on_object"] if flag is not None]
        times = [r["time_spent_ms"] for r in group if r["time_spent_ms"] is not None]
        found[name] = {
            "assignment_id": name,
            "num_pages": len(set(pages) - {None}) + pages.count(None),
            "num_without_truth": sum(r["labels"] is None for r in group),
            "num_scored": len(recalls),
            "recall": float(sum(recalls) / len(recalls)) if recalls else None,
            "num_judged": len(right),
            "num_on_object": sum(right),
            "duration_ms": float(sum(times)) if times else None,
        }
    return found


def slow_failures(dataset: str, row: dict[str, Any]) -> list[str]:
    """The rules as one would say them; only for rows in which everything is known."""
    if dataset == "coco-ab":
        accuracy = Fraction(row["num_on_object"], row["num_judged"])
        failed = {"recall": row["recall"] < 0.333, "icon_accuracy": accuracy < Fraction(3, 4),
                  "pages": row["num_pages"] < 16}  # fmt: skip
    else:
        assigned = row["num_shown"] + row["max_on_page"] * (10 - row["num_pages"])
        recall = Fraction(row["num_selected"], assigned)
        failed = {"recall": recall < Fraction(333, 1000), "pages": row["num_pages"] < 9}
    return [name for name, fails in failed.items() if fails]


KINDS = {
    "imagenet-ab": (imagenet_rows, slow_imagenet, logged.collect_rounds, IMAGENET_ROUNDS),
    "coco-ab": (coco_rows, slow_coco, logged.collect_images, COCO_IMAGES),
}


def table_of(dataset: str, rows: list[dict[str, Any]]) -> pa.Table:
    table = KINDS[dataset][3]
    schema = pa.schema([table[name].field for name in COLUMNS[dataset]])
    return pa.Table.from_pylist(rows, schema)


@pytest.mark.parametrize("dataset", KINDS)
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 120), cut=st.integers(1, 50))
def test_the_facts_are_those_of_a_slow_reference(dataset: str, seed: int, count: int, cut: int):
    draw, slow, fast, _ = KINDS[dataset]
    rows = draw(np.random.default_rng(seed), count)
    table = table_of(dataset, [*rows[:2], *rows])  # a slice, since that hides its first rows
    batches = [
        table.slice(len(rows[:2]) + k, cut).slice(0, count - k) for k in range(0, count, cut)
    ]
    chunked = [pa.concat_tables([b.slice(0, 3), b.slice(3)]) for b in batches]
    expected = [row for _, row in sorted(slow(rows).items())]
    if not rows:
        return
    for found in (fast(chunked).to_pylist(), fast(iter(batches)).to_pylist()):
        assert [r["assignment_id"] for r in found] == [r["assignment_id"] for r in expected]
        for left, right in zip(found, expected, strict=True):
            close = {k: pytest.approx(v) for k, v in right.items() if isinstance(v, float)}
            assert left == {**right, **close}


@pytest.mark.parametrize("dataset", KINDS)
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_decisions_are_those_of_the_rules_one_by_one(dataset: str, seed: int):
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(40):
        if dataset == "coco-ab":
            judged = int(rng.integers(1, 9))
            row = coco_facts(
                num_pages=int(rng.integers(13, 21)),
                recall=float(rng.integers(300, 370) / 1000),
                num_judged=judged,
                num_on_object=int(rng.integers(judged // 2, judged + 1)),
            )
        else:
            pages = int(rng.integers(7, 11))
            selected = int(rng.integers(30, 50))
            row = imagenet_facts(num_pages=pages, num_shown=12 * pages, num_selected=selected)
        rows.append({**row.to_pylist()[0], "assignment_id": f"{k:02d}"})
    facts = pa.Table.from_pylist(rows, KINDS_FACTS[dataset])
    table, _ = decide(facts, dataset)
    for row, made in zip(rows, table.to_pylist(), strict=True):
        assert made["failed"] == slow_failures(dataset, row)
        assert made["decision"] == ("rejected" if made["failed"] else "accepted")


KINDS_FACTS = {"imagenet-ab": logged.IMAGENET_FACTS, "coco-ab": logged.COCO_FACTS}


@given(st.integers(1, 10), st.integers(1, 12), st.data())
def test_one_more_selection_never_harms(pages: int, per_page: int, data: st.DataObject):
    shown = pages * per_page
    selected = data.draw(st.integers(0, shown - 1))
    order = {"rejected": 0, "undecided": 1, "accepted": 2}
    made = {"num_pages": pages, "num_shown": shown, "max_on_page": per_page}
    one, two = (
        decision(imagenet_facts(**made, num_selected=n)).split()[0]
        for n in (selected, selected + 1)
    )
    assert order[one] <= order[two]


@pytest.mark.parametrize("dataset", KINDS)
def test_no_assignments_give_no_decisions(dataset: str):
    facts = KINDS[dataset][2]([table_of(dataset, [])])
    assert facts.schema == KINDS_FACTS[dataset] and len(facts) == 0
    table, _ = decide(facts, dataset)
    assert len(table) == 0
    only, _ = decide(facts, dataset, codes=codes(("x", False, False)))
    assert only["decision"].to_pylist() == ["rejected"]


# --- cost: the paper's numbers -------------------------------------------------------------------


def test_imagenet_cost_24364_80_usd():
    found = Cost(
        num_accepted=14_681 - 1_145, num_rejected=1_145, reward_usd=logged.IMAGENET_RULES.reward_usd
    )
    assert found.as_dict()["num_submitted"] == 14_681
    assert found.as_dict()["rewards_usd"] == 20_304
    assert found.as_dict()["fees_usd"] == pytest.approx(4_060.8)
    assert found.total_usd == pytest.approx(24_364.8)
    assert round(100 * (found.as_dict()["rejected_of_submitted"] or 0), 1) == 7.8


def test_coco_cost_9936_usd_and_its_rejection_rate_is_of_the_accepted():
    found = Cost(num_accepted=4_140, num_rejected=365, reward_usd=logged.COCO_RULES.reward_usd)
    assert (found.as_dict()["rewards_usd"], found.as_dict()["fees_usd"]) == (8_280, 1_656)
    assert found.total_usd == pytest.approx(9_936)
    assert found.as_dict()["num_submitted"] == 4_505
    assert round(100 * (found.as_dict()["rejected_of_accepted"] or 0), 1) == 8.8
    assert round(100 * (found.as_dict()["rejected_of_submitted"] or 0), 1) == 8.1


@pytest.mark.parametrize(("reward", "minutes", "wage"), [(1.5, 9.0, 10.0), (2.0, 12.1, 9.92)])
def test_hourly_wages(reward: float, minutes: float, wage: float):
    found = Cost(num_accepted=1, num_rejected=0, reward_usd=reward, median_hit_ms=minutes * 60_000)
    assert found.hourly_wage_usd == pytest.approx(wage, abs=0.005)
    assert replace(found, median_hit_ms=0.0).hourly_wage_usd is None


def test_nothing_accepted_has_no_rate_of_the_accepted_and_undecided_ones_cost_extra():
    found = Cost(num_accepted=0, num_rejected=1, num_undecided=3, reward_usd=2.0)
    assert (
        found.as_dict()["rejected_of_accepted"] is None
        and found.as_dict()["rejected_of_submitted"] == 0.25
    )
    assert found.total_usd == 0 and found.as_dict()["undecided_usd"] == pytest.approx(7.2)
    nothing = Cost(num_accepted=0, num_rejected=0, reward_usd=2.0)
    assert nothing.as_dict()["rejected_of_submitted"] is None and nothing.hourly_wage_usd is None
