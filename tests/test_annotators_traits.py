from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from planted import boxed

from luab_data.schema import COCO_ACTIONS, COCO_IMAGES, IMAGENET_ROUNDS
from luab_data.workers import coco
from luab_data.workers.imagenet import ROUND_COLUMNS, image_row, pages_of, round_row
from luab_data.workers.observations import Collector, Observations
from luab_data.workers.traits import (
    components,
    few_rows,
    log_median,
    mean_of,
    share_of,
    slope_of,
    squared_spread,
)

A, B, C, D = (0.2, 0.2, 0.8, 0.8), (0, 0, 0.4, 0.4), (0.6, 0.6, 1, 1), (0.4, 0, 1, 1)


def some_rows(seed: int, num: int = 200) -> tuple[Observations, np.ndarray]:
    """Workers 0..5, of whom 4 has one row and 5 none; HITs are not nested by number."""
    rng = np.random.default_rng(seed)
    worker = rng.integers(0, 4, num)
    worker[0] = 4
    hit = worker * 3 + rng.integers(0, 3, num)
    return Observations(worker, hit, 6), rng.lognormal(0, 1, num)


def slow_components(values: list[float], rows: Observations) -> tuple[float, float]:
    """Mean squares of a nested analysis of variance, group by group."""
    groups: dict[tuple[int, int], list[float]] = {}
    for worker, hit, value in zip(rows.worker, rows.hit, values, strict=True):
        groups.setdefault((int(worker), int(hit)), []).append(value)
    of_worker: dict[int, list[float]] = {}
    for (worker, _), members in groups.items():
        of_worker.setdefault(worker, []).extend(members)
    within = sum((v - statistics.fmean(g)) ** 2 for g in groups.values() for v in g)
    among = sum(
        len(g) * (statistics.fmean(g) - statistics.fmean(of_worker[w])) ** 2
        for (w, _), g in groups.items()
    )
    num, num_groups, num_workers = len(values), len(groups), len(of_worker)
    of_row = within / (num - num_groups)
    lost = sum(len(g) ** 2 / len(of_worker[w]) for (w, _), g in groups.items())
    return of_row, max(0.0, (among - (num_groups - num_workers) * of_row) / (num - lost))


@pytest.mark.parametrize("seed", range(4))
def test_traits_against_slow_references(seed: int):
    rows, values = some_rows(seed)
    assert components(values, rows) == pytest.approx(slow_components(values.tolist(), rows))
    mean, median = mean_of(values, rows), log_median(values, rows)
    assert mean.own is not None and median.own is not None
    spread = squared_spread(values, -values, rows)
    assert spread.own is not None
    x = np.arange(len(values)) % 7.0
    slope = slope_of((values, -values), (x, -x), rows)
    for worker in range(6):
        own = values[rows.worker == worker]
        assert mean.n[worker] == len(own)
        if not len(own):
            assert np.isnan([mean.value[worker], median.value[worker]]).all()
            continue
        assert mean.own[worker] == pytest.approx(statistics.fmean(own))
        assert median.own[worker] == pytest.approx(math.log(statistics.median(own)))
        clipped = np.clip(own, *np.quantile(values, [0.01, 0.99]))
        assert mean.value[worker] == pytest.approx(statistics.fmean(clipped))
        if len(own) == 1:
            assert np.isnan([spread.value[worker], slope.value[worker]]).all()
            continue
        assert spread.own[worker] == pytest.approx(statistics.variance(own))
        fit = np.polyfit(x[rows.worker == worker], own, 1)
        assert slope.value[worker] == pytest.approx(fit[0])


def test_variances_of_rows_and_hits_are_recovered():
    rng = np.random.default_rng(0)
    num_workers, per_hit = 300, 15
    num_hits = rng.integers(1, 6, num_workers)
    worker = np.repeat(np.arange(num_workers), num_hits * per_hit)
    hit = np.repeat(np.arange(num_hits.sum()), per_hit)
    values = rng.normal(0, 0.5, num_hits.sum())[hit] + rng.normal(0, 1, len(hit))
    rows = Observations(worker, hit, num_workers)
    of_row, of_hit = components(values, rows)
    assert of_row == pytest.approx(1, abs=0.05)
    assert of_hit == pytest.approx(0.25, abs=0.04)
    # So the variance of means is known: they are as far from 0 as it says.
    found = mean_of(values, rows)
    assert (found.value**2 / found.variance).mean() == pytest.approx(1, abs=0.2)


def test_rows_that_forget_their_hit_would_look_too_sure():
    """Two HITs of 50 equal rows are two observations, not a hundred."""
    rows = Observations(np.repeat([0, 0, 1, 1], 50), np.repeat([0, 1, 2, 3], 50), 2)
    values = np.repeat([0.0, 1.0, 0.0, 1.0], 50)
    found = mean_of(values, rows)
    np.testing.assert_allclose(found.variance, 0.25)  # (1/2) / 2 HITs, and no part of rows


def test_the_variances_of_the_other_traits_are_as_large_as_they_say():
    rng = np.random.default_rng(1)
    num_workers, per = 3000, 20
    rows = Observations(
        np.repeat(np.arange(num_workers), per), np.zeros(num_workers * per, int), 3000
    )
    x, y = rng.normal(0, 1, (2, num_workers * per))
    for found, true in (
        (log_median(np.exp(x), rows), 0.0),
        (squared_spread(x, y, rows), 1.0),
        (slope_of((x + y,), (y,), rows), 1.0),
        (share_of((x > 0).astype(float), rows), 0.5),
        (mean_of(x, rows), 0.0),
    ):
        z2 = (found.value - true) ** 2 / found.variance * 19 / 17  # few rows, see below
        assert z2.mean() == pytest.approx(1, abs=0.13)


def test_unknown_variances_are_infinite():
    lonely = Observations(np.arange(3), np.arange(3), 3)
    assert np.isinf(mean_of(np.array([1.0, 2, 3]), lonely).variance).all()
    nothing = mean_of(np.full(3, np.nan), lonely)
    assert np.isnan(nothing.value).all() and nothing.n.tolist() == [0, 0, 0]
    flat = slope_of((np.array([1.0, 2, 3, 4]),), (np.ones(4),), _one(4))
    assert np.isnan(flat.value).all()


def _one(num: int) -> Observations:
    return Observations(np.zeros(num, np.int64), np.zeros(num, np.int64), 1)


def test_drift_is_taken_within_hits():
    """Accuracy falls by .1 a page in both HITs; the second HIT was easier."""
    page = np.tile(np.arange(4.0), 2)
    easier = np.repeat([0.0, 0.4], 4)
    rows = Observations(np.zeros(8, np.int64), np.repeat([0, 1], 4), 1)
    assert slope_of(
        (0.5 - 0.1 * page + easier,), (page + 10 * easier,), rows, within_hits=True
    ).value == pytest.approx(-0.1)


def rounds_table(given: list[dict[str, Any]]) -> pa.Table:
    fields = {f.name: f for f in IMAGENET_ROUNDS.schema()}
    return pa.table(
        {
            name: pa.array([row.get(name) for row in given], fields[name].type)
            for name in ROUND_COLUMNS
        }
    )


def test_a_picture_hand_drawn():
    row = {
        "page_idx": 2, "image_idx": 5, "selected": True, "estimate_time_ms": 300,
        "hovered_record_action": ["enter", "leave", "enter"],
        "hovered_record_time_ms": [100, 200, 400], "mouse_tracking_time_ms": [110, 420],
        "selected_record_time_ms": [150, 450], "selected_record_x": [0.1, 0.6],
        "selected_record_y": [0.2, 0.7],
    }  # fmt: skip
    unselected = {**row, "selected": False, "hovered_record_action": ["enter", "leave", "leave"]}
    found = round_row(rounds_table([row, unselected, {"selected": False, "page_idx": 0}]))
    assert found["enters"].tolist() == [2, 1, 0]
    assert (found["x"][0], found["y"][0]) == (0.6, 0.7)  # the last click
    np.testing.assert_array_equal(found["approach_ms"], [50, np.nan, np.nan])
    np.testing.assert_array_equal(found["estimate_ms"], [300, 300, np.nan])
    np.testing.assert_array_equal(found["first_ms"], [100, 100, np.nan])
    np.testing.assert_array_equal(found["last_ms"], [450, 450, np.nan])


@pytest.mark.parametrize("seed", range(3))
def test_round_rows_against_a_slow_reference_sliced_and_in_chunks(seed: int):
    rng = np.random.default_rng(seed)
    given: list[dict[str, Any]] = []
    for _ in range(40):
        hovered = sorted(rng.integers(0, 100, rng.integers(0, 5)).tolist())
        clicks = sorted(rng.integers(0, 100, rng.integers(0, 3)).tolist())
        given.append(
            {
                "selected": bool(rng.random() < 0.6) if rng.random() < 0.9 else None,
                "hovered_record_action": rng.choice(["enter", "leave"], len(hovered)).tolist(),
                "hovered_record_time_ms": hovered,
                "mouse_tracking_time_ms": sorted(rng.integers(0, 100, 3).tolist()),
                "selected_record_time_ms": clicks if clicks else None,
                **{f"selected_record_{a}": rng.random(len(clicks)).tolist() for a in "xy"},
            }
        )
    table = rounds_table(given)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    for found in (round_row(chunked), round_row(table)):
        for k, row in enumerate(given):
            clicks, slow = row["selected_record_time_ms"], np.nan
            if row["selected"] and clicks:
                before = [
                    t
                    for t, kind in zip(
                        row["hovered_record_time_ms"], row["hovered_record_action"], strict=True
                    )
                    if kind == "enter" and t <= clicks[-1]
                ]
                slow = clicks[-1] - before[-1] if before else np.nan
                assert found["x"][k] == row["selected_record_x"][-1]
            np.testing.assert_array_equal(found["approach_ms"][k], slow)
    sliced = round_row(table.slice(5, 9))
    for name, values in round_row(table).items():
        np.testing.assert_array_equal(sliced[name], values[5:14], err_msg=name)


def test_the_worked_example_of_click_accuracy_for_one_worker():
    """docs/definitions.md#click-accuracy: 50 % in all, and of the two off the centre."""
    images = boxed([(0.5, 0.5), (0.3, 0.3), (0.5, 0.9), (0.2, 0.5)], [[A], [B], [C], [D]])
    found = image_row(images.table)
    assert found["right"].tolist() == [1, 1, 0, 0]
    np.testing.assert_array_equal(found["right_off_centre"], [np.nan, 1, 0, np.nan])
    np.testing.assert_allclose(found["centre_x"], [0.5, 0.2, 0.8, 0.7])
    np.testing.assert_allclose(found["offset_x"], [0, 0.25, -0.75, -0.5 / 0.6])


def test_offsets_have_no_end_and_several_boxes_have_no_centre():
    images = boxed([(0.9, 0.5), (0.5, 0.5)], [[(0, 0, 0.1, 1)], [A, B]])
    found = image_row(images.table)
    assert found["offset_x"][0] == pytest.approx(8.5)
    assert np.isnan(found["centre_x"][1]) and found["right"][1] == 1


def test_the_time_a_picture_does_not_depend_on_how_many_were_logged():
    """Twelve slots at 500 ms each: all of them, or only the second and the last one."""
    slots, hits = [*range(12), 1, 11], ["H0"] * 12 + ["H1"] * 2
    given = {
        "page": np.zeros(14), "slot": np.array(slots, float),
        "first_ms": 500.0 * np.array(slots), "last_ms": 500.0 * np.array(slots) + 500,
    }  # fmt: skip
    found = Collector()
    found.add("rounds", pa.array(["w"] * 14), given, pa.array(hits))
    _, rows = found.collected()
    assert pages_of(rows["rounds"])["time_ms"].tolist() == [500, 500]


def test_rows_without_a_worker_are_left_out_and_workers_are_sorted():
    found = Collector()
    for names in (["b", None, "a", ""], ["a"]):
        found.add("rows", pa.array(names, pa.string()), {"v": np.arange(float(len(names)))})
    names, rows = found.collected()
    assert names == ["a", "b"]
    assert rows["rows"].mean(rows["rows"]["v"]).tolist() == [1, 0]
    assert rows["rows"].num_hits().tolist() == [0, 0]


def coco_tables(images: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    tables = []
    for table in (COCO_IMAGES, COCO_ACTIONS):
        tables.append(
            pa.table(
                {
                    f.name: pa.array([row.get(f.name) for row in images], f.type)
                    for f in table.schema()
                }
            )
        )
    return tables[0], tables[1]


def coco_image(labels: list[int] | None, icons: list[int], right: list[bool]) -> dict[str, Any]:
    return {
        "worker_id": "w", "hit_id": "H", "page_id": 0, "time_spent_ms": 1000, "labels": labels,
        "icon_label": icons, "is_present_at_end": [True] * len(icons),
        "is_on_object": [None if labels is None else r for r in right],
        "action_sequence": ["add"] * len(icons),
        "category_histories_using_keyboard": [True, False],
    }  # fmt: skip


def coco_values(images: list[dict[str, Any]]) -> dict[str, float]:
    default, actions = coco_tables(images)
    _, rows = coco.collect([default.slice(0, 1), default.slice(1)], [actions])
    assert coco.counts(rows)["num_images"].tolist() == [len(images)]
    found = {}
    for trait in coco.TRAITS:
        raw = trait.pooled(rows[trait.over])[0].raw
        found[trait.name] = float(raw[0])
    return found


def test_the_worked_example_of_recall_for_one_worker():
    """docs/definitions.md#recall: micro recall 2/3 and icon precision 2/3."""
    a, b, c = 3, 7, 9
    found = coco_values([coco_image([a, b], [a], [True]), coco_image([a], [a, c], [True, False])])
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["icon_precision"] == pytest.approx(2 / 3)
    assert found["icons_per_page"] == 1.5
    assert found["keyboard_share"] == 0.5
    assert found["page_time_ms"] == pytest.approx(1000)
    assert found["removed_share"] == 0


def test_without_ground_truth_coco_workers_have_behaviour_only():
    found = coco_values([coco_image(None, [3], [True])])
    assert math.isnan(found["recall"]) and math.isnan(found["icon_precision"])
    assert found["icons_per_page"] == 1


def test_a_removed_icon_counts_as_removed_even_if_it_came_back():
    image = coco_image([3], [3, 7], [True, True])
    image["action_sequence"] = ["add-remove-add", "add"]
    assert coco_values([image])["removed_share"] == 0.5


def test_some_of_the_rows_keep_their_columns():
    rows = _one(3).adding({"v": np.arange(3.0)}).where(np.array([True, False, True]))
    assert rows["v"].tolist() == [0, 2] and len(rows) == 2


def test_nan_counts_nowhere():
    rows, values = (
        Observations(np.array([0, 0, 0, 2]), np.full(4, -1), 3),
        np.array([3.0, 5, np.nan, 1]),
    )
    assert rows.count().tolist() == [3, 0, 1]
    assert rows.count(values).tolist() == [2, 0, 1]
    assert rows.sum(values).tolist() == [8, 0, 1]
    np.testing.assert_array_equal(rows.mean(values), [4, np.nan, 1])
    np.testing.assert_array_equal(rows.median(values), [4, np.nan, 1])


def test_a_stray_row_is_shown_but_not_pooled():
    """Of 300 rows around 100 ms one says 1 ms, and it is all that its worker has."""
    times = np.append(np.random.default_rng(0).lognormal(np.log(100), 0.2, 300), 1.0)
    worker = np.append(np.repeat(np.arange(10), 30), 10)
    found = log_median(times, Observations(worker, np.zeros(301, np.int64), 11))
    assert found.own is not None and found.own[10] == 0  # log 1
    assert found.value[10] == pytest.approx(np.quantile(np.log(times), 0.01))


def test_winsorising_leaves_shares_alone():
    """One 0 in a thousand is beyond the 1st percentile, and it counts."""
    values = np.append(np.ones(999), 0.0)
    assert share_of(values, _one(1000)).value[0] == 0.999


def test_up_to_three_rows_tell_nothing_and_many_nearly_all():
    n = np.array([0, 1, 2, 3, 4, 5, 103])
    assert few_rows(n).tolist() == [np.inf] * 4 + [3, 2, 1.02]
    rows = Observations(np.repeat([0, 1], [3, 50]), np.zeros(53, np.int64), 2)
    found = mean_of(np.random.default_rng(0).random(53), rows)
    assert np.isinf(found.variance[0]) and np.isfinite(found.variance[1])
