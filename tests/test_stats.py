from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulated

from luab_data import LabelledImage, convert_imagenet, simulate_imagenet
from luab_data.errors import DatasetError
from luab_data.statistics.dataset import measured, measures_of, sequences, stats
from luab_data.statistics.imagenet.measures import IMAGENET_MEASURES
from luab_data.statistics.paper import PRINTED, compare, in_words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated dataset of 300 images by 12 workers."""
    corner = tmp_path_factory.mktemp("stats")
    rng = np.random.default_rng(0)
    images = []
    for number in range(300):
        x, y = rng.uniform(0, 100, 2)
        box = [x, y, x + rng.uniform(50, 100), y + rng.uniform(50, 100)]
        wnid = f"n0000000{1 + number % 3}"
        images.append(
            LabelledImage(
                image_id=f"{wnid}_{number}", wnid=wnid, width=200, height=200, boxes=[box]
            )
        )
    raw = corner / "raw.tar.gz"
    simulate_imagenet(images, raw, truth=corner / "t.jsonl", boxed_fraction=0.8, num_workers=12)
    convert_imagenet(raw, corner / "imagenet-ab")
    return corner / "imagenet-ab"


def command(*words: str) -> str:
    found = subprocess.run(
        [sys.executable, "-m", "luab_data", *words], capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command("stats", str(folder), "--json"))
    return found


def test_the_counts_stay_where_they_were_and_statistics_stand_beside_them(
    folder: Path, printed: dict[str, Any]
):
    counts = stats(folder)
    assert [*printed] == [*counts, "statistics"]
    assert {name: printed[name] for name in counts} == counts
    assert [*printed["statistics"]] == [m.name for m in measures_of(folder)]


@pytest.mark.parametrize(
    ("measure", "count"),
    [
        ("click_accuracy", "click_accuracy"),
        ("centre_accuracy", "centre_accuracy"),
        ("off_centre_share", "off_centre_fraction"),
        ("off_centre_click_accuracy", "off_centre_click_accuracy"),
    ],
)
def test_both_ways_of_counting_agree(printed: dict[str, Any], measure: str, count: str):
    assert printed["statistics"][measure]["value"] == pytest.approx(printed[count])


def test_the_laws_of_the_published_numbers_hold_here_too(printed: dict[str, Any]):
    found = printed["statistics"]
    by_round = found["decided_by_round"]["value"]
    assert sum(by_round) == pytest.approx(found["selected_share"]["value"])
    assert found["selected_share"]["value"] == pytest.approx(
        printed["num_selected"] / printed["num_images"]
    )
    curve = found["random_click_curve"]["value"]
    assert curve[0] == pytest.approx(found["centre_accuracy"]["value"])
    assert found["last_n_accuracy"]["value"][0] == pytest.approx(found["click_accuracy"]["value"])
    assert np.nansum(found["click_density"]["value"]) == pytest.approx(1)


def test_every_statistic_says_how_sure_it_is_and_what_it_means(printed: dict[str, Any]):
    for name, entry in printed["statistics"].items():
        assert entry["doc"]
        assert entry["source"]
        shape = np.shape(entry["value"])
        for key in ("low", "high", "n", "null"):
            assert np.shape(entry[key]) == shape, name
        has_null = any(v is not None for v in np.ravel(np.array(entry["null"], object)))
        assert has_null == bool(entry["null_doc"]), name
        low, value, high = (np.array(entry[k], float) for k in ("low", "value", "high"))
        seen = ~np.isnan(low + value + high)
        assert (low[seen] <= high[seen]).all(), name


def test_the_table_shows_numbers_intervals_and_nulls(folder: Path):
    text = command("stats", str(folder))
    (line,) = [line for line in text.splitlines() if line.startswith("click_accuracy   ")][1:]
    _, value, low, high, n, null = line.split()
    assert float(low.strip("[,")) <= float(value) <= float(high.strip("]"))
    assert float(null) < float(value)
    assert int(n.replace(",", "")) == stats(folder)["num_evaluated"]
    assert "click_density" not in text  # maps are for --json and the report


def test_equal_seeds_give_equal_intervals_and_others_differ(folder: Path):
    one, same, other = (measured(folder, seed=seed, resamples=100) for seed in (1, 1, 2))
    assert one["click_accuracy"].low == same["click_accuracy"].low
    assert one["click_accuracy"].low != other["click_accuracy"].low
    assert one["click_accuracy"].value == other["click_accuracy"].value


def test_no_worker_id_is_printed(folder: Path, printed: dict[str, Any]):
    from luab_data import read_table

    workers = {w for w in read_table(folder, columns=["worker_id"])["worker_id"].to_pylist() if w}
    assert workers
    assert not any(worker in json.dumps(printed) for worker in workers)


def test_what_the_paper_prints_stands_beside_what_was_measured(folder: Path):
    measures, found = measures_of(folder), measured(folder, resamples=100)
    rows = compare("imagenet-ab", measures, found)
    assert len(rows) == len(PRINTED["imagenet-ab"])
    (row,) = compare("imagenet-ab", measures, found, ["click_accuracy"])
    assert row.paper == "82.9 %"
    assert row.this_dataset.startswith(f"{100 * float(found['click_accuracy'].value):.1f} % [")
    assert "metrics 4.3" in row.how_computed


def test_every_printed_number_belongs_to_a_measure_and_a_place_on_its_axis():
    of_name = {m.name: m for m in IMAGENET_MEASURES}
    for entry in PRINTED["imagenet-ab"]:
        axes = of_name[entry.measure].axes
        assert entry.label is None if not axes else entry.label in axes[0][1], entry


def test_times_are_told_in_the_papers_units(folder: Path):
    found = measured(folder, resamples=100)
    of_name = {m.name: m for m in measures_of(folder)}
    assert " min [" in in_words(of_name["hit_time_ms"], found["hit_time_ms"])
    assert " s [" in in_words(of_name["dwell_time_ms"], found["dwell_time_ms"])


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated.coco_ab(tmp_path_factory.mktemp("coco"), num_images=120)


def test_coco_statistics_agree_with_the_counts(coco: Path):
    counts, found = stats(coco), measured(coco, resamples=100)
    for name in ("icon_precision", "recall", "recall_hit_mean"):
        assert float(found[name].value) == pytest.approx(counts[name])
    assert int(found["icon_precision"].n) == counts["num_placed"]
    table = sequences(coco, resamples=100)
    pairs = zip(table["sequence"].to_pylist(), table["count"].to_pylist(), strict=True)
    assert dict(pairs) == counts["action_sequences"]


def test_the_papers_numbers_of_coco_stand_beside_ours(coco: Path):
    rows = compare("coco-ab", measures_of(coco), measured(coco, resamples=100))
    assert [row.paper for row in rows][:2] == ["92.3 %", "61.9 %"]
    of_name = {m.name for m in measures_of(coco)}
    assert {entry.measure for entry in PRINTED["coco-ab"]} <= of_name


def test_the_command_prints_coco_too(coco: Path):
    text = command("stats", str(coco))
    assert "\nrecall_hit_sd" in text
    assert "class_recall" not in text  # 80 classes: --json and the report


def test_a_folder_of_an_older_luab_says_what_to_do(coco: Path, tmp_path: Path):
    old = tmp_path / "coco-ab"
    shutil.copytree(coco, old)
    manifest = json.loads((old / "manifest.json").read_text())
    del manifest["schemas"]["default"]["boxes"]
    (old / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=r"has no boxes; .*convert the raw log again"):
        measured(old)


def test_sequences_are_of_coco_alone(folder: Path):
    with pytest.raises(DatasetError, match="imagenet-ab, which has no icons"):
        sequences(folder)
