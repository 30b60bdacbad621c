"""The workers of datasets converted from drawn logs: the table `annotators`, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from derive_world import coco_dataset, imagenet_dataset, instances_file
from logs import KEY, action, archive, block, coco_log, coco_record, luab, xml

import luab_data
from luab_data.errors import OptionError


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


def run(*words: object, code: int = 0, columns: int = 80) -> Result:
    done = luab("annotators", *words, columns=columns)
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imagenet_dataset(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    return coco_dataset(folder, instances_file(folder / "instances.json"))


def test_the_table_has_a_line_for_each_worker_and_says_the_rules(imagenet: Path):
    lines = run(imagenet).stdout.splitlines()
    assert lines[0].startswith("imagenet-ab, 5 workers; flagged")
    assert max(map(len, lines)) <= 80
    assert any("centre_clicking_by_behaviour: clicks near" in line for line in lines)
    start = next(k for k, line in enumerate(lines) if line.startswith("crowd"))
    ids = luab_data.read_table(imagenet, "annotators")["worker_id"].to_pylist()
    shown = [line.split()[0] for line in lines[start + 1 :] if line[0] != " "]
    assert sorted(shown) == sorted(worker[:8] for worker in ids)


def test_json_has_every_trait_with_raw_pooled_interval_and_weight(imagenet: Path):
    found = json.loads(run(imagenet, "--json").stdout)
    published = luab_data.read_table(imagenet, "annotators").to_pylist()
    assert len(found["workers"]) == len(published) == 5
    by_id = {row["worker_id"]: row for row in found["workers"]}
    for theirs in published:
        ours = by_id[theirs["worker_id"]]
        for name in ("num_rounds", "num_selected", "num_assignments", "num_evaluated"):
            assert ours[name] == theirs[name], name
        for name, published_name in (  # one definition, so one number
            ("click_accuracy", "click_accuracy"),
            ("offset_x", "click_bias_x"),
            ("offset_y", "click_bias_y"),
            ("estimate_time_ms", "median_estimate_time_ms"),
        ):
            assert ours[name] == pytest.approx(theirs[published_name]), name
        for name in found["traits"]:
            raw, weight = ours[name], ours[f"{name}_weight"]
            if raw is None:
                assert weight is None
                continue
            assert 0 <= weight <= 1
            assert ours[f"{name}_low"] <= ours[f"{name}_pooled"] <= ours[f"{name}_high"]


def test_limit_and_sort(imagenet: Path):
    found = json.loads(run(imagenet, "--json", "--limit", 2, "--sort", "num_rounds").stdout)
    rounds = [row["num_rounds"] for row in found["workers"]]
    everybody = [
        row["num_rounds"] for row in luab_data.read_table(imagenet, "annotators").to_pylist()
    ]
    assert rounds == sorted(everybody, reverse=True)[:2]
    lines = run(imagenet, "--limit", 2).stdout.splitlines()
    assert lines[-1].startswith("and 3 more")


def test_the_result_is_one_line_or_a_table(imagenet: Path):
    found = luab_data.annotators(imagenet, sort="num_rounds", shown=False)
    assert repr(found) == "Annotators(imagenet-ab: 5 workers, 0 flagged)"
    frame = found.to_frame()
    assert frame["num_rounds"].is_monotonic_decreasing
    assert "click_accuracy_pooled" in found._repr_html_()
    with pytest.raises(OptionError, match="did you mean 'num_rounds'"):
        luab_data.annotators(imagenet, sort="num_round")


def test_a_wide_terminal_shows_more_traits(imagenet: Path):
    lines = run(imagenet, columns=120).stdout.splitlines()
    assert 96 < max(map(len, lines)) <= 120
    assert any("selected_rate" in line for line in lines)


def test_a_column_to_sort_by_that_is_none_gets_one_clear_line(imagenet: Path):
    unknown = run(imagenet, "--sort", "speed", code=1).stderr
    assert "no column 'speed'" in unknown and "click_accuracy" in unknown


def test_coco_with_and_without_ground_truth(coco: Path, tmp_path: Path):
    found = json.loads(run(coco, "--json").stdout)
    published = {r["worker_id"]: r for r in luab_data.read_table(coco, "annotators").to_pylist()}
    assert len(found["workers"]) == 3
    for ours in found["workers"]:
        theirs = published[ours["worker_id"]]
        for name in ("num_hits", "num_images", "num_placed", "num_evaluated"):
            assert ours[name] == theirs[name], name
        for name in ("icon_precision", "recall"):
            assert ours[name] == pytest.approx(theirs[name]), name
        assert ours["page_time_ms"] == pytest.approx(theirs["median_time_spent_ms"])
    bare = coco_dataset(tmp_path, None)
    found = json.loads(run(bare, "--json").stdout)
    assert {row["recall"] for row in found["workers"]} == {None}
    assert not any(row["hasty_by_truth"] for row in found["workers"])
    assert run(bare).stdout.startswith("coco-ab, 3 workers")


def test_a_log_without_any_block_has_no_workers(tmp_path: Path):
    raw = archive(tmp_path / "raw.tar.gz", {"n00000001_1": xml("n00000001_1", [], [(1, 1, 9, 9)])})
    luab_data.convert_imagenet(raw, tmp_path / "out", worker_key=KEY)
    assert run(tmp_path / "out").stdout.startswith("imagenet-ab, 0 workers")
    assert json.loads(run(tmp_path / "out", "--json").stdout)["workers"] == []


def test_one_worker_alone_is_the_crowd(tmp_path: Path):
    raw = archive(tmp_path / "raw.tar.gz", {"n00000001_1": xml(boxes=[(1, 1, 150, 90)])})
    luab_data.convert_imagenet(raw, tmp_path / "out", worker_key=KEY)
    (only,) = json.loads(run(tmp_path / "out", "--json").stdout)["workers"]
    assert only["click_accuracy"] == only["click_accuracy_pooled"] == 1
    assert only["click_accuracy_weight"] == 0 and only["reasons"] == []
