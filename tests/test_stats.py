from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simulated
from logs import luab

from luab_data import LabelledImage, convert_imagenet, simulate_imagenet
from luab_data.console import progress
from luab_data.errors import DatasetError, OptionError
from luab_data.kinds import KINDS, Kind
from luab_data.statistics.dataset import compare, in_words, stats
from luab_data.statistics.long_form import SCHEMA


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


def command(*words: object, columns: int = 80) -> str:
    found = luab(*words, columns=columns)
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command("stats", str(folder), "--json"))
    return found


def test_the_counts_stay_where_they_were_and_statistics_stand_beside_them(
    folder: Path, printed: dict[str, Any]
):
    found = stats(folder)
    assert [*printed] == [*found.counts, "statistics"]
    assert {name: printed[name] for name in found.counts} == found.counts
    assert [*printed["statistics"]] == [m.name for m in found.measures]


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
    assert int(n.replace(",", "")) == stats(folder).counts["num_evaluated"]
    assert "click_density" not in text  # maps are for --json and the report


def test_equal_seeds_give_equal_intervals_and_others_differ(folder: Path):
    one, same, other = (
        stats(folder, ["click_accuracy"], seed=seed, resamples=100).estimates["click_accuracy"]
        for seed in (1, 1, 2)
    )
    assert one.low == same.low != other.low
    assert one.value == other.value


def test_a_number_is_had_by_its_name_and_nothing_is_measured_for_a_count(folder: Path):
    found = stats(folder)
    assert isinstance(found["click_accuracy"], float)
    assert found["num_images"] == 300
    assert "estimates" not in vars(found)
    assert repr(found) == f"Stats({str(folder)!r}: ImageNet-AB, 13 counts, 42 statistics)"
    assert found["click_density"].shape == (11, 11)
    assert {*found} == {*found.counts, *found.estimates} and len(found) == len({*found})
    with pytest.raises(KeyError, match="did you mean 'click_accuracy'"):
        found["clik_accuracy"]


def test_only_the_names_asked_for_are_taken(folder: Path):
    found = stats(folder, ["num_images", "click_accuracy", "entry_side"])
    assert [*found.counts] == ["num_images", "click_accuracy"]
    assert [*found.estimates] == ["click_accuracy", "entry_side"]
    whole = stats(folder)
    assert found.estimates["entry_side"].low.tolist() != []
    assert found["click_accuracy"] == whole["click_accuracy"]
    with pytest.raises(OptionError, match="no statistic 'click_acuracy'; did you mean"):
        stats(folder, ["click_acuracy"])
    with pytest.raises(OptionError, match="expected a list of names"):
        stats(folder, "click_accuracy")


def test_the_table_has_a_row_a_number_and_curves_in_long_form(folder: Path):
    found = stats(folder)
    table = found.to_table()
    assert table.schema.equals(SCHEMA)
    of_name: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        of_name.setdefault(row["name"], []).append(row)
    (images,), (accuracy,) = of_name["num_images"], of_name["click_accuracy"]
    assert (images["value"], images["low"], images["unit"]) == (300, None, "count")
    assert accuracy["low"] < accuracy["value"] < accuracy["high"] and accuracy["null"] is not None
    assert [row["place"] for row in of_name["entry_side"]] == ["left", "right", "top", "bottom"]
    density = of_name["click_density"]
    assert len(density) == 121 and density[12]["place"] == density[12]["place_2"] == "1"
    assert sum(row["value"] for row in density) == pytest.approx(1)
    curve = found.curve("random_click_curve")
    assert curve.column_names[:2] == ["side t", "value"] and curve["side t"][20].as_py() == 1.0
    assert len(found.to_frame()) == len(table)
    assert "<table>" in found._repr_html_()


def test_no_worker_id_is_printed(folder: Path, printed: dict[str, Any]):
    from luab_data import read_table

    workers = {w for w in read_table(folder, columns=["worker_id"])["worker_id"].to_pylist() if w}
    assert workers
    assert not any(worker in json.dumps(printed) for worker in workers)


def test_what_the_paper_prints_stands_beside_what_was_measured(folder: Path):
    found = stats(folder, resamples=100)
    assert len(compare(found)) == len(found.kind.statistics.printed)
    (row,) = compare(found, ["click_accuracy"])
    assert row.paper == "82.9 %"
    assert row.this_dataset.startswith(f"{100 * found['click_accuracy']:.1f} % [")
    assert "docs/definitions.md#click-accuracy" in row.how_computed
    of_name = {m.name: m for m in found.measures}
    for name, unit in (("hit_time_ms", " min ["), ("dwell_time_ms", " s [")):
        assert unit in in_words(of_name[name], found.estimates[name])


@pytest.mark.parametrize("kind", KINDS.values(), ids=str)
def test_every_printed_number_belongs_to_a_measure_and_a_place_on_its_axis(kind: Kind):
    of_name = {m.name: m for m in kind.statistics.measures}
    for name, label in kind.statistics.printed:
        axes = of_name[name].axes
        assert label is None if not axes else label in axes[0][1], name


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated.coco_ab(tmp_path_factory.mktemp("coco"), num_images=120)


def test_coco_statistics_agree_with_the_counts(coco: Path):
    found = stats(coco, resamples=100)
    for name in ("icon_precision", "recall", "recall_hit_mean"):
        assert float(found.estimates[name].value) == found.counts[name]
    assert int(found.estimates["icon_precision"].n) == found.counts["num_placed"]
    table = found.curve("action_sequences")
    numbers = {row["actions"]: round(row["value"] * row["n"]) for row in table.to_pylist()}
    assert numbers == found.counts["action_sequences"]
    assert [row.paper for row in compare(found)][:2] == ["92.3 %", "61.9 %"]


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
        stats(old)["class_size"]


@pytest.mark.parametrize(
    ("width", "last"), [(70, "n"), (60, "interval"), (45, "value"), (160, "null")]
)
def test_the_table_is_as_wide_as_the_terminal(folder: Path, width: int, last: str):
    text = command("stats", folder, "--only", "coverage,click_accuracy", columns=width)
    lines = text.splitlines()
    assert max(map(len, lines[2:-3])) <= width
    assert lines[2].endswith(last)
    assert lines[3].endswith("over all images") == (width == 160)


def test_only_and_out_of_the_command_line(folder: Path, tmp_path: Path):
    out = tmp_path / "numbers.csv"
    text = command("stats", str(folder), "--only", "num_images, coverage", "--out", str(out))
    assert "num_images  300" in text and "click_accuracy" not in text
    assert [line.split(",")[0] for line in out.read_text().splitlines()] == [
        '"name"', '"num_images"', '"coverage"',
    ]  # fmt: skip


def test_reading_and_resampling_say_how_far_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch):
    bars = []

    def recorded(items: Any = None, **options: Any) -> Any:
        bars.append((progress(items, **options, shown=False), options["what"]))
        return bars[-1][0]

    monkeypatch.setattr("luab_data.statistics.dataset.progress", recorded)
    assert stats(folder, ["click_accuracy", "entry_side"], resamples=10).estimates
    assert [what for _, what in bars] == ["stats", "intervals"]
    assert bars[0][0].total > 600  # rows of both configs
