from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simulated
from calibration_world import biased, centres, clicked
from logs import SHARED, luab
from planted import draw_boxes

import luab_data
from luab_data.calibration import calibrate
from luab_data.calibration.calibrate import cross_fit
from luab_data.calibration.held_out import ARMS, CONTRASTS, rank_reliability
from luab_data.calibration.model import BEHAVIOURS, Points, boxed_clicks
from luab_data.errors import DatasetError, OptionError
from luab_data.ragged import Floats, Ints
from luab_data.statistics.estimate import draw_workers

SPLITS = ("worker", "image")


@pytest.mark.parametrize("split_by", SPLITS)
def test_a_planted_bias_is_gone_on_held_out_clicks(split_by: calibrate.SplitBy):
    images, _ = biased(0, bias=(0.12, -0.09), spread=0.02)
    found = calibrate.evaluate(images, split_by=split_by)
    bias, accuracy = found.changes["bias"], found.changes["click_accuracy"]
    assert found.values["bias"].value[0] == pytest.approx(0.15, abs=0.02)
    assert found.values["bias"].value[1] < 0.02
    assert bias.high[0] < 0
    assert accuracy.low[0] > 0.1
    assert found.changes["distance"].high[0] < 0
    assert found.changes["distance_box_sizes"].high[0] < 0
    assert found.sentences[0].startswith("Calibration helps here")


@pytest.mark.parametrize("split_by", SPLITS)
def test_nothing_changes_where_no_bias_is_planted(split_by: calibrate.SplitBy):
    found = calibrate.evaluate(biased(1)[0], split_by=split_by)
    for name in ("bias", "click_accuracy", "off_centre_accuracy", "distance"):
        assert found.changes[name].low[0] <= 0 <= found.changes[name].high[0], name
    assert found.sentences[0].startswith("Calibration makes no difference")


def test_known_workers_are_calibrated_better_than_by_one_shift():
    found = calibrate.evaluate(biased(2, spread=0.06)[0], split_by="image")
    place = CONTRASTS.index((ARMS.index("calibrated"), ARMS.index("global_shift")))
    assert found.changes["distance"].high[place] < 0
    assert found.changes["click_accuracy"].low[place] > 0


def test_workers_who_differ_but_are_new_cannot_be_calibrated_one_by_one():
    found = calibrate.evaluate(biased(2, spread=0.06)[0], split_by="worker")
    place = CONTRASTS.index((ARMS.index("calibrated"), ARMS.index("global_shift")))
    change = found.changes["distance"]
    assert change.low[place] <= 0 <= change.high[place]


def test_the_pull_to_the_centre_helps_centred_images_and_ruins_the_others():
    rng = np.random.default_rng(3)
    boxes = np.concatenate([np.tile([0.3, 0.3, 0.7, 0.7], (1500, 1)), draw_boxes(rng, 500)])
    worker = rng.integers(0, 20, len(boxes))
    click = centres(boxes) + rng.normal(0, 0.12, (len(boxes), 2))
    found = calibrate.evaluate(clicked(click, boxes, worker))
    place = CONTRASTS.index((ARMS.index("pull_to_centre"), 0))
    assert found.changes["on_centre_accuracy"].low[place] > 0
    assert found.changes["off_centre_accuracy"].high[place] < -0.05
    assert found.changes["distance"].high[place] < 0  # what a mean distance does not tell


def test_words_follow_from_numbers_where_calibration_does_harm():
    """Bias in large boxes only: one shift for all moves clicks out of the small ones."""
    rng = np.random.default_rng(4)
    large = rng.random(3000) < 0.7
    size = np.where(large, 0.8, 0.04)[:, None]
    corner = rng.random((3000, 2)) * (1 - size)
    boxes = np.concatenate([corner, corner + size], axis=1)
    click = centres(boxes) + np.where(large, 0.1, 0)[:, None] + rng.normal(0, 0.01, (3000, 2))
    found = calibrate.evaluate(clicked(click, boxes, rng.integers(0, 30, 3000)))
    assert found.changes["bias"].high[0] < 0
    assert found.changes["click_accuracy"].high[0] < 0
    assert found.sentences[0].startswith("Calibration does not help here")


def test_fewer_points_off_the_centre_are_harm_whatever_the_others_do():
    found = calibrate.evaluate(biased(1, bias=(0.0, 0.0), num_images=300)[0])
    worse = replace(
        found.changes["off_centre_accuracy"], low=np.full(5, -0.2), high=np.full(5, -0.1)
    )
    unsure = {
        name: replace(change, low=np.full(5, -0.1), high=np.full(5, 0.1))
        for name, change in found.changes.items()
    }
    assert replace(found, changes=unsure).sentences[0].startswith("Calibration makes no difference")
    harm = replace(found, changes={**unsure, "off_centre_accuracy": worse})
    assert harm.sentences[0] == "Calibration does harm here. Keep the clicks."


def test_each_fold_is_moved_by_what_the_others_taught():
    rng = np.random.default_rng(5)
    images, _ = biased(5, bias=(0.1, 0.0), num_images=60, num_workers=6)
    worker, fold = rng.integers(0, 6, 60), rng.integers(0, 3, 60)
    clicks = boxed_clicks(images, worker)
    points = cross_fit(clicks, np.zeros((60, len(BEHAVIOURS))), fold, 6)
    for row in range(60):
        others = [k for k in range(60) if fold[k] != fold[row]]
        shift = [math.fsum(clicks.offset[k, a] for k in others) / len(others) for a in (0, 1)]
        np.testing.assert_allclose(points.arms[2, row], clicks.point[row] - shift)
        up = math.fsum((clicks.point[k, a] - 0.5) * (clicks.centre[k, a] - 0.5)
                       for k in others for a in (0, 1))  # fmt: skip
        down = math.fsum((clicks.point[k, a] - 0.5) ** 2 for k in others for a in (0, 1))
        np.testing.assert_allclose(points.arms[3, row], 0.5 + up / down * (clicks.point[row] - 0.5))


def test_values_agree_with_sums_by_hand():
    images, _ = biased(6, bias=(0.05, 0.0), num_images=200, num_workers=8)
    found = calibrate.evaluate(images, split_by="image")
    clicks = boxed_clicks(images, np.zeros(200, np.int64))
    x, y = clicks.offset.T
    assert found.values["bias_x"].value[0] == pytest.approx(x.mean())
    assert found.values["bias"].value[0] == pytest.approx(math.hypot(x.mean(), y.mean()))
    assert found.values["distance"].value[0] == pytest.approx(math.sqrt((x**2 + y**2).mean()))
    u = clicks.offset / clicks.size
    assert found.values["distance_box_sizes"].value[0] == pytest.approx(
        math.sqrt((u**2).sum(1).mean())
    )
    inside = (np.abs(u) <= 0.5).all(1)
    assert found.values["click_accuracy"].value[0] == pytest.approx(inside.mean())
    for name, change in found.changes.items():
        value = found.values[name].value
        np.testing.assert_allclose(change.value, [value[i] - value[j] for i, j in CONTRASTS])


def test_a_box_without_area_has_no_size_to_measure_by():
    boxes = np.array([[0.4, 0.4, 0.4, 0.6], [0.2, 0.2, 0.6, 0.6], [0.2, 0.2, 0.6, 0.6]])
    images = clicked(np.full((3, 2), 0.5), boxes, [0, 1, 2])
    found = calibrate.evaluate(images, split_by="image")
    assert found.values["distance"].n[0] == 3
    assert found.values["distance_box_sizes"].n[0] == 2
    assert np.isfinite(found.values["distance_box_sizes"].value).all()


def test_folds_are_even_and_do_not_follow_the_order_of_rows():
    ids = pa.chunked_array([[f"w{k % 23}" for k in range(230)]])
    fold = calibrate._deal(ids, 0, "worker")
    of_worker = {w: set(fold[np.array(ids.to_pylist()) == w]) for w in set(ids.to_pylist())}
    assert all(len(found) == 1 for found in of_worker.values())
    sizes = np.bincount([found.pop() for found in of_worker.values()])
    assert sorted(sizes) == [4, 4, 5, 5, 5]
    backwards = calibrate._deal(ids.take(pa.array(np.arange(230)[::-1])), 0, "worker")
    assert (backwards[::-1] == fold).all()
    assert (calibrate._deal(ids, 1, "worker") != fold).any()


def test_the_same_seed_gives_the_same_report_in_any_order_of_rows():
    images, _ = biased(7, num_images=200)
    other = images.take(pa.array(np.arange(200)[::-1]))
    one, two = calibrate.evaluate(images), calibrate.evaluate(other)
    for name in one.values:
        np.testing.assert_allclose(one.values[name].low, two.values[name].low)


def test_three_workers_are_three_folds_and_one_is_nothing_to_hold_out():
    images, _ = biased(8, num_images=20, num_workers=3)
    assert calibrate.evaluate(images).folds == 3
    alone, _ = biased(8, num_images=20, num_workers=1)
    with pytest.raises(DatasetError, match="of 1 worker; expected at least 2"):
        calibrate.evaluate(alone)
    assert calibrate.evaluate(alone, split_by="image").folds == 5


def test_options_that_make_no_sense_are_refused():
    images, _ = biased(8, num_images=20, num_workers=3)
    with pytest.raises(OptionError, match="split_by 'class': expected worker or image"):
        calibrate.evaluate(images, split_by="class")  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="no column 'image_id'"):
        calibrate.evaluate(images.drop_columns(["image_id"]))


def test_one_worker_has_no_intervals_and_the_words_do_not_claim_any():
    images, _ = biased(9, bias=(0.1, 0.1), num_images=50, num_workers=1)
    found = calibrate.evaluate(images, split_by="image")
    assert np.isnan(found.changes["bias"].low).all()
    assert found.sentences[0].startswith("Calibration makes no difference here that can be told")
    json.dumps(found.as_dict(), allow_nan=False)


def careless(seed: int, *, slope: float = 0.0) -> pa.Table:
    """Workers whose noise differs threefold; slow clicks are better by exp(-slope log time)."""
    rng = np.random.default_rng(seed)
    boxes, worker = draw_boxes(rng, 3000), rng.integers(0, 30, 3000)
    time = rng.lognormal(6, 0.5, 3000)
    noise = 0.08 * np.exp(rng.normal(0, 0.4, 30))[worker] * (time / 400) ** -slope
    click = centres(boxes) + rng.normal(size=(3000, 2)) * noise[:, None]
    return clicked(click, boxes, worker, dwell_time_ms=time.round().astype(int).tolist())


def test_careless_workers_are_weighed_less_on_new_images():
    found = calibrate.evaluate(careless(0), split_by="image").ranking
    assert found["rank_correlation"].low > 0.2
    assert found["top_less_bottom"].low > 0.1
    assert found["weighting_gain"].low > 0
    assert (np.diff(found["quarter_accuracy"].value) > 0).all()


def test_nothing_but_behaviour_is_known_of_new_workers():
    known = calibrate.evaluate(careless(1, slope=1.0), split_by="worker").ranking
    assert known["rank_correlation"].low > 0.1
    assert known["top_less_bottom"].low > 0
    nothing = calibrate.evaluate(careless(1), split_by="worker")
    for name in ("rank_correlation", "top_less_bottom"):
        found = nothing.ranking[name]
        assert found.low <= found.null <= found.high
    assert nothing.sentences[-1].startswith("Reliability does not tell good clicks from bad ones")


def test_clicks_dealt_to_other_workers_tell_nothing_of_reliability():
    images = careless(2)
    rng = np.random.default_rng(2)
    place = images.column_names.index("worker_id")
    dealt = images["worker_id"].take(pa.array(rng.permutation(len(images))))
    images = images.set_column(place, "worker_id", dealt)
    found = calibrate.evaluate(images, split_by="image").ranking["rank_correlation"]
    assert found.low <= 0 <= found.high


def test_the_rank_correlation_is_that_of_spearman():
    from scipy.stats import spearmanr

    points, hit = some_points(0, folds=1)
    found = rank_reliability(points, hit, draw_workers(5))
    squares = (points.clicks.offset**2).sum(1)
    assert found["rank_correlation"].value == pytest.approx(
        spearmanr(points.expected, squares).statistic
    )
    weight = points.reliability
    assert found["weighting_gain"].value == pytest.approx(
        (weight * hit).sum() / weight.sum() - hit.mean()
    )
    assert (found["quarter_accuracy"].n == 20).all()


def test_ranks_are_taken_within_folds():
    from scipy.stats import rankdata

    points, hit = some_points(1, folds=3)
    squares = (points.clicks.offset**2).sum(1)
    own = [points.fold == k for k in range(3)]
    ranks = [
        np.concatenate([(rankdata(v[k]) - 0.5) / k.sum() for k in own])
        for v in (points.expected, squares)
    ]
    found = rank_reliability(points, hit, draw_workers(5))
    assert found["rank_correlation"].value == pytest.approx(np.corrcoef(*ranks)[0, 1])
    # Expected errors that only tell the folds apart tell nothing.
    flat = replace(points, expected=1.0 * points.fold, reliability=1 / (1.0 + points.fold))
    found = rank_reliability(flat, hit, draw_workers(5))
    assert np.isnan(found["rank_correlation"].value)
    assert found["weighting_gain"].value == pytest.approx(0)


def test_quarters_go_by_reliability():
    points, _ = some_points(2, folds=1)
    reliability = np.random.default_rng(0).permutation(80) / 80
    points = replace(points, reliability=reliability)
    found = rank_reliability(points, (reliability >= 0.75).astype(np.float64), draw_workers(5))
    assert found["quarter_accuracy"].value.tolist() == [0, 0, 0, 1]
    assert found["top_less_bottom"].value == 1


def some_points(seed: int, folds: int) -> tuple[Points, Floats]:
    rng = np.random.default_rng(seed)
    images, _ = biased(seed, num_images=80, num_workers=5)
    worker: Ints = rng.integers(0, 5, 80)
    clicks = boxed_clicks(images, worker)
    expected = rng.integers(0, 9, 80) / 9  # with ties
    points = Points(
        clicks=clicks,
        arms=np.zeros((4, 80, 2)),
        fold=rng.integers(0, folds, 80),
        expected=expected,
        reliability=1 / (1 + expected),
    )
    return points, (rng.random(80) < 0.5).astype(np.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated.imagenet_ab(tmp_path_factory.mktemp("calibrate"), num_images=300)


command = partial(luab, "calibrate")


def test_the_command_prints_the_held_out_table_and_writes_the_points(folder: Path, tmp_path: Path):
    out = tmp_path / "new" / "points.parquet"
    done = command(folder, "--split", "image", "--out", out)
    assert done.exit_code == 0, done.stderr
    images = calibrate.read_images(folder)
    report = calibrate.evaluate(images, split_by="image")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(done.stdout.split()).endswith(" ".join(report.sentences))
    (row,) = [line for line in lines if line.startswith("in any box")]
    assert row.split()[-len(ARMS) :] == [f"{v:.4f}" for v in report.values["click_accuracy"].value]
    (row,) = [line for line in lines if line.startswith("clicks in any box")]
    quarters = report.ranking["quarter_accuracy"].value
    assert row.split()[-len(quarters) :] == [f"{value:.4f}" for value in quarters]
    written = pq.read_table(out)
    expected = calibrate.apply(calibrate.fit(images), images)
    assert written.column_names == [
        *("image_id", "calibrated_click_x", "calibrated_click_y", "click_reliability"),
    ]
    assert written.equals(expected.select(written.column_names))
    assert written["calibrated_click_x"].null_count == images["final_click_x"].null_count
    assert [path.name for path in out.parent.iterdir()] == ["points.parquet"]
    again = command(folder, "--out", out)
    assert again.exit_code == 0, "the same points"
    assert luab_data.calibrate(folder, split="image").sentences == report.sentences


def test_the_command_prints_json(folder: Path):
    done = command(folder, "--json")
    found = json.loads(done.stdout)
    assert found["split_by"] == "worker"
    assert found["arms"] == list(ARMS)
    assert len(found["outcomes"]["click_accuracy"]["values"]["value"]) == len(ARMS)
    assert found == json.loads(json.dumps(calibrate.evaluate(
        calibrate.read_images(folder)).as_dict()))  # fmt: skip


def test_the_result_is_one_line_or_a_table(folder: Path):
    found = luab_data.calibrate(folder, shown=False)
    assert repr(found).startswith(f"HeldOut({found.num_clicks:,} clicks by worker: Calibration")
    frame = found.to_frame().set_index(["criterion", "arm"])
    value = found.values["distance"].value
    assert frame.loc[("distance", "calibrated"), "value"] == value[1]
    assert frame.loc[("distance", "calibrated - click"), "value"] == pytest.approx(
        value[1] - value[0]
    )
    assert "<table>" in found._repr_html_()


@pytest.mark.skipif(not (SHARED / "data/raw").is_dir(), reason="no shared data")
def test_the_shared_log_can_be_calibrated(tiny: Path):
    found = calibrate.evaluate(calibrate.read_images(tiny))
    assert found.changes["bias"].high[0] < 0
