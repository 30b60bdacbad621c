"""The `annotators` table of a dataset: one row a worker, hand-drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from logs import KEY, action, archive, block, coco_log, coco_record, xml

import luab_data


def test_medians_counts_and_offsets_of_two_workers(tmp_path: Path):
    boxes = [(50, 25, 150, 75)]
    shown = [
        block(estimateTime=100, clicks=[(9, 0.5, 0.5)], trace=[(1, 0.1, 0.1)], hit_id="H1"),
        block(estimateTime=200, clicks=[(9, 0.75, 0.5)], assignment_id="3B"),
        block(estimateTime=400, clicks=[(9, 0.5, 0.9)], assignment_id="3B"),
        block(estimateTime="None", selected=False, clicks=[]),
        block(estimateTime=7, selected=False, clicks=[], worker="00AA3B5E81"),
        block(estimateTime=500, clicks=[(9, 0.1, 0.1)]),
    ]
    names = [f"n1_{k}" for k in range(len(shown))]
    files = {
        n: xml(n, [s], boxes if n != "n1_5" else []) for n, s in zip(names, shown, strict=True)
    }
    done = luab_data.convert_imagenet(archive(tmp_path / "raw.tar.gz", files), tmp_path / "ab",
                                      worker_key=KEY)  # fmt: skip
    found = luab_data.read_table(done.out, "annotators").sort_by("num_rounds").to_pylist()
    one, five = found
    assert (one["num_rounds"], one["num_selected"], one["num_evaluated"]) == (1, 0, 0)
    assert one["median_estimate_time_ms"] == 7
    for name in ("mean_click_x", "click_accuracy", "click_bias_x"):
        assert one[name] is None
    assert (five["num_assignments"], five["num_rounds"], five["num_selected"]) == (2, 5, 4)
    assert five["median_estimate_time_ms"] == 300  # of 100, 200, 400, 500
    assert five["median_trace_length"] == 0
    assert (five["num_evaluated"], five["num_in_box"]) == (3, 2)
    assert five["click_accuracy"] == pytest.approx(2 / 3)
    assert five["mean_click_x"] == pytest.approx((0.5 + 0.75 + 0.5 + 0.1) / 4)
    assert five["click_bias_x"] == pytest.approx(0.5 / 3)
    assert five["click_bias_y"] == pytest.approx(0.8 / 3)


def test_coco_workers_without_hit_or_ground_truth(tmp_path: Path):
    times = [10, 20, 50, 60]
    hits = ["a", "a", "b", None]
    records = [
        coco_record(k, [action("add", "dog", (0.5, 0.5))], timeSpent=time, hit_id=hit)
        for k, (time, hit) in enumerate(zip(times, hits, strict=True), 1)
    ]
    done = luab_data.convert_coco(coco_log(tmp_path / "raw.json", records), tmp_path / "ab",
                                  worker_key=KEY)  # fmt: skip
    (row,) = luab_data.read_table(done.out, "annotators").to_pylist()
    assert (row["num_hits"], row["num_images"], row["num_placed"]) == (2, 4, 4)
    assert row["median_time_spent_ms"] == 35
    assert (row["num_evaluated"], row["icon_precision"], row["recall"]) == (0, None, None)
