"""COCO-AB: how annotators went through the superclasses of a page."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from coco_world import action_table, page
from hypothesis import given, settings
from planted import taken

from luab_data.kinds import TAGGING
from luab_data.statistics.estimate import Estimate

NAMES = ("superclass_revisit_share", "keyboard_share", "forward_step_share",
         "superclass_time_share", "superclass_visits")  # fmt: skip


def measure(tables: list[pa.Table], **options: Any) -> dict[str, Estimate]:
    return taken(TAGGING.statistics, {"actions": tables}, *NAMES, **options)


def straight(times: list[int] | None = None, keyboard: bool = False) -> list[tuple[int, int, bool]]:
    return [(k, 90 * k if times is None else times[k - 1], keyboard) for k in range(1, 11)]


def test_a_page_that_goes_straight_through_visits_each_superclass_once():
    found = measure([action_table([page(straight(), 990)])])
    assert found["superclass_revisit_share"].value == 0
    assert (found["forward_step_share"].value, found["forward_step_share"].n) == (1, 10)
    assert found["superclass_visits"].value.tolist() == [1.0] * 11
    assert found["superclass_time_share"].value == pytest.approx(np.full(11, 1 / 11))


def test_the_first_superclass_is_shown_unlogged_until_one_returns_to_it():
    steps = [(1, 100, False), (0, 300, True), (1, 400, True)]
    found = measure([action_table([page(steps, 1000), page([(1, 500, False)], 1000)])])
    assert found["superclass_revisit_share"].value == 0.5
    assert found["keyboard_share"].value == 0.5 and found["keyboard_share"].n == 4
    assert found["forward_step_share"].value == 0.75
    assert found["superclass_visits"].value[:2].tolist() == [1.5, 1.5]
    shares = found["superclass_time_share"].value
    assert shares[:2] == pytest.approx([(0.2 + 0.5) / 2, (0.8 + 0.5) / 2])
    assert shares[2:].sum() == 0


def test_every_page_weighs_alike_however_long_it_was_left_open():
    table = action_table([page([(1, 500, False)], 1000), page([(1, 10, False)], 8_260_000)])
    assert measure([table])["superclass_time_share"].value[0] == pytest.approx(0.25, abs=1e-5)


def test_pages_without_records_or_time_are_left_out():
    empty = page([], 1000)
    timeless = [page(straight(), None), page(straight(), 0)]
    found = measure([action_table([empty, *timeless])])
    assert np.isnan(found["superclass_time_share"].value).all()
    assert found["superclass_visits"].n.tolist() == [2] * 11
    nothing = measure([action_table([empty])])
    assert all(np.isnan(e.value).all() for e in nothing.values())


def test_a_record_of_what_is_shown_already_is_no_step():
    steps = [(0, 5, False), (1, 100, False), (1, 200, True), (2, 400, True)]
    found = measure([action_table([page(steps, 1000)])])
    assert found["superclass_revisit_share"].value == 0
    assert found["keyboard_share"].value == 0.5
    assert found["superclass_time_share"].value[:3] == pytest.approx([0.1, 0.3, 0.6])


def test_times_out_of_order_or_after_the_end_do_not_make_time():
    found = measure([action_table([page([(1, 600, False), (2, 200, False), (3, 5000, False)])])])
    shares = found["superclass_time_share"].value
    assert shares[:4] == pytest.approx([0.6, 0.0, 0.4, 0.0]) and shares.sum() == pytest.approx(1)


def test_unknown_superclasses_and_lost_values_are_passed_over():
    row = page([(1, 100, True), (2, 200, True), (3, 300, True)], 400)
    row["category_histories_category_index"][1] = None
    row["category_histories_using_keyboard"][2] = None
    other = page([(1, 100, True), (11, 200, False), (2, 300, False)], 400)
    other["category_histories_time_at_ms"][2] = None
    found = measure([action_table([row, other])])
    assert found["keyboard_share"].n == 3
    assert found["superclass_visits"].value[:4].tolist() == [1.0, 1.0, 0.5, 0.5]
    assert found["superclass_time_share"].n[0] == 1  # the time of a step of the other is lost
    assert found["superclass_time_share"].value[:4] == pytest.approx([0.25, 0.5, 0.0, 0.25])


# --- the slow reference ---------------------------------------------------------------------------

step = st.tuples(st.integers(-1, 11), st.integers(0, 120), st.booleans())
pages = st.lists(
    st.tuples(st.lists(step, max_size=6), st.sampled_from([None, 0, 50, 100])), max_size=6
)


def slow(rows: list[dict[str, Any]]) -> dict[str, Any]:
    revisits, keyboard, forward, visits, shares = [], [], [], [], []
    for row in rows:
        now, since, seen, again, stepped = 0, 0, {0}, False, False
        count, spent = [1, *[0] * 10], [0.0] * 11
        end = row["time_spent_ms"]
        for index, time, key in zip(
            row["category_histories_category_index"], row["category_histories_time_at_ms"],
            row["category_histories_using_keyboard"], strict=True,
        ):  # fmt: skip
            if not 0 <= index <= 10 or index == now:
                continue
            stepped = True
            keyboard.append(key)
            forward.append(index > now)
            again |= index in seen
            seen.add(index)
            count[index] += 1
            if end:
                time = max(since, min(time, end))
                spent[now] += time - since
                since = time
            now = index
        if stepped:
            revisits.append(again)
            visits.append(count)
        if stepped and end:
            spent[now] += end - since
            shares.append([s / end for s in spent])

    def mean(values: list[Any]) -> Any:
        return np.mean(np.array(values, float), axis=0) if values else np.nan

    numbers = (revisits, keyboard, forward, shares, visits)
    return {name: mean(values) for name, values in zip(NAMES, numbers, strict=True)}


@settings(max_examples=80, deadline=None)
@given(pages, st.integers(0, 6))
def test_browsing_equals_the_slow_reference_on_batches_and_slices(drawn: Any, cut: int):
    rows = [page(steps, ms) for steps, ms in drawn]
    expected = slow(rows)
    padded = action_table([page(straight(), 7), *rows]).slice(1)
    chunked = pa.concat_tables([padded.slice(0, cut), padded.slice(cut)])
    for tables in ([padded], [padded.slice(0, cut), padded.slice(cut)], [chunked]):
        found = measure(tables, resamples=2)
        for name, value in expected.items():
            wanted = np.broadcast_to(value, found[name].value.shape)
            np.testing.assert_allclose(found[name].value, wanted, atol=1e-9, err_msg=name)


# --- planted behaviour ----------------------------------------------------------------------------


def browse(seed: int, num_workers: int = 50, each: int = 20) -> pa.Table:
    """A fifth of the pages goes back once; .3 of the steps is by keyboard, more with some workers.

    A third of each page's time goes to superclass 0, the rest evenly to the others.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for worker in range(num_workers):
        back, key = rng.uniform(0, 0.4), rng.uniform(0, 0.6)
        for _ in range(each):
            order = [*range(1, 11)]
            if rng.random() < back:
                k = int(rng.integers(1, 10))
                order = [*range(1, k + 1), k - 1, *range(k, 11)]
            times = 3000 + np.sort(rng.uniform(0, 6000, len(order))).astype(int)
            times[0] = 3000
            steps = [
                (s, int(t), bool(rng.random() < key)) for s, t in zip(order, times, strict=True)
            ]
            rows.append(page(steps, 9000, f"w{worker}"))
    return action_table(rows)


def test_planted_browsing_is_in_its_intervals():
    found = measure([browse(0)])
    for name, planted in (("superclass_revisit_share", 0.2), ("keyboard_share", 0.3)):
        estimate = found[name]
        assert estimate.low <= planted <= estimate.high, (name, estimate)
        assert estimate.num_workers == 50
    first = found["superclass_time_share"]
    assert 1 / 3 <= first.value[0] <= 0.4  # a few pages return to it
    # One step back to k - 1 and one forward again, k from 1 to 9: of 10 or 12 steps one is back.
    forward = found["forward_step_share"]
    assert forward.low <= 1 - 0.2 / (10 + 2 * 0.2) <= forward.high
