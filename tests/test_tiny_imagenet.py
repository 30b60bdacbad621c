"""results/tiny-imagenet: what is run, how it is compared, and whether its intervals hold."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

FOLDER = Path(__file__).parents[1] / "results" / "tiny-imagenet"
sys.path.insert(0, str(FOLDER))

from claims import LEVELS, compared, paying, write  # noqa: E402
from cost import ratios, turn  # noqa: E402
from experiments import (  # noqa: E402
    ARM_SEEDS,
    ARMS,
    DECAYS,
    MODELS,
    NOISES,
    OFF,
    RATES,
    in_order,
    tuned_recipe,
)
from hits import BITS, POINTED, Hits, gather, read_hits  # noqa: E402
from measures import BY_NAME, difference, level, seeds_of  # noqa: E402
from off_middle import (  # noqa: E402
    SIDE,
    clicks,
    cut_box,
    middles,
    moved_clicks,
    window,
    windows,
)
from paired import estimate, holm  # noqa: E402
from prepare import halves  # noqa: E402

from luab_data.errors import LuabError  # noqa: E402
from luab_train.evaluate.probes.probe import Probed  # noqa: E402
from luab_train.evaluate.probes.views import VARIANTS  # noqa: E402
from luab_train.settings import differences  # noqa: E402


def all_rows(accuracy) -> list[dict[str, object]]:
    """Rows of every experiment, added as they can be named; `accuracy` takes an experiment."""
    rows: list[dict[str, object]] = []
    while left := [e for e in in_order(rows) if e.key not in {row["key"] for row in rows}]:
        rows += [{"key": e.key, "val_accuracy": accuracy(e)} for e in left]
    return rows


def test_tuning_comes_first_and_chooses_the_best_mean_of_its_seeds():
    assert {e.group for e in in_order([])} == {"tune"}

    def accuracy(experiment):
        optim, model = experiment.recipe.optim, experiment.model
        best = optim.lr == RATES[model][-1], optim.weight_decay == DECAYS[model][-1]
        return 0.5 + 0.1 * best[0] + 0.01 * best[1]

    rows = all_rows(accuracy)
    for model in MODELS:
        assert tuned_recipe(model, rows[:3]) is None
        optim = tuned_recipe(model, rows).optim
        assert (optim.lr, optim.weight_decay) == (RATES[model][-1], DECAYS[model][-1])


def test_keys_are_unique_and_runs_of_one_key_differ_from_the_arm_in_what_they_say():
    rows = all_rows(lambda e: 0.5)
    experiments = {e.key: e.recipe for e in in_order(rows)}
    assert len(experiments) == len(in_order(rows)) == len(rows)
    none = experiments["arms-cnn-none-s0"]
    for arm in ARMS[1:]:
        assert set(differences(none, experiments[f"arms-cnn-{arm}-s0"])) == {"target"}
    click = experiments["arms-cnn-click-s1"]
    for key, changed in {
        f"noise-cnn-click-{NOISES[0]:g}-s1": {"data.point_noise"},
        "lambda-cnn-click-30-s1": {"loss.lambda_reg"},
        "fraction-cnn-click-0.5-s1": {"data.fraction"},
        "pooling-cnn-click-attentive-s1": {
            "model.point_head",
            "model.attentive_pooling",
            "loss.lambda_reg",
        },
    }.items():
        assert set(differences(click, experiments[key])) == changed


def test_the_most_important_runs_come_first():
    keys = [e.key for e in in_order(all_rows(lambda e: 0.5)) if e.group != "tune"]
    seeds = [f"s{seed}" for seed in ARM_SEEDS for _ in ARMS]
    assert [key[-2:] for key in keys[:35]] == seeds
    assert all(key.startswith("arms-cnn") for key in keys[:35])
    assert sum(key.startswith("arms-vit") for key in keys) == 35


def test_halves_are_disjoint_equal_and_depend_on_no_order():
    names = [f"n1_{i}" for i in range(500)]
    train, test = halves(names)
    assert len(train) == len(test) == 250 and not set(train) & set(test)
    again, _ = halves(names[::-1])
    assert set(again) == set(train)


def test_an_interval_over_seeds_and_images_worked_by_hand():
    # Seed means 0 and 1, image means 0 and 1; no rest. Variances of the means .25 each, of 1
    # degree of freedom each: .5 in all, .25 / (.0625 + .0625) = 2 degrees, t = 4.3027.
    found = estimate(np.array([[-0.5, 0.5], [0.5, 1.5]]))
    assert found.mean == 0.5
    assert found.high - found.mean == pytest.approx(4.302653 * np.sqrt(0.5), rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert found.seeds_high - found.mean == pytest.approx(12.7062 * 0.5, rel=1e-4)


def test_one_seed_has_no_interval_and_none_has_no_mean():
    assert np.isnan(estimate(np.ones((1, 9))).low) and estimate(np.ones((1, 9))).mean == 1
    assert np.isnan(estimate(np.zeros((0, 0))).mean)
    same = estimate(np.full((3, 9), 0.25))
    assert (same.low, same.mean, same.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(("seed_sd", "image_sd"), [(0.0, 0.3), (0.02, 0.3), (0.05, 0.1)])
def test_intervals_hold_what_was_planted_nineteen_times_in_twenty(seed_sd, image_sd):
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        values = 0.02 + rng.normal(0, seed_sd, (3, 1)) + rng.normal(0, image_sd, (1, 300))
        found = estimate(values + rng.normal(0, 0.5, (3, 300)))
        held.append(found.low <= 0.02 <= found.high)
    # 300 draws of .95 have a standard deviation of .013; a little wide is allowed, narrow is not.
    assert 0.92 <= np.mean(held) <= 0.995


def made_up(seed: int, right: float, num_images: int = 19) -> Probed:
    """Answers of two classes; image 0 has no variants, and 19 bits do not fill their bytes."""
    rng = np.random.default_rng(seed)
    label = np.arange(num_images) % 2
    there = np.ones((num_images, len(VARIANTS)), bool)
    there[0, 1:] = False
    correct = rng.random(there.shape) < right
    probability = np.zeros((*there.shape, 2), np.float32)
    chosen = np.where(correct, label[:, None], 1 - label[:, None])
    np.put_along_axis(probability, chosen[:, :, None], 1, axis=2)
    return Probed(
        image_id=np.array([f"i{n}" for n in range(num_images)]),
        label=label,
        shown=there,
        probability=np.where(there[:, :, None], probability, np.nan),
        point=np.zeros((*there.shape, 2), np.float32),
        in_box=rng.random(there.shape) < 0.5,
        boxed=np.arange(num_images) != 1,
        centred=np.arange(num_images) % 3 == 0,
        donor_label=np.where(there[:, 2], 1 - label, -1),
    )


def test_bits_give_back_what_the_runs_answered(tmp_path):
    (tmp_path / "probes").mkdir()
    probed = {f"arms-cnn-{a}-s{s}": made_up(s, p) for a, p in (("click", 0.9), ("none", 0.4))
              for s in (0, 1)}  # fmt: skip
    for key, found in probed.items():
        found.save(tmp_path / "probes" / f"{key}.npz")
    files = tmp_path / "hits.parquet", tmp_path / "images.parquet"
    assert gather(sorted((tmp_path / "probes").iterdir()), *files) == 4
    hits = read_hits(*files)
    assert len(hits.bits) == 4 * len(BITS)
    for key, found in probed.items():
        for i, name in enumerate(VARIANTS):
            np.testing.assert_array_equal(hits.bits[key, name], found.correct[:, i])
        np.testing.assert_array_equal(hits.bits[key, POINTED], found.in_box[:, 0] & found.boxed)
    assert seeds_of(hits, "arms-cnn-click") == [0, 1]
    mean = np.mean([probed[f"arms-cnn-click-s{s}"].correct[:, 0].mean() for s in (0, 1)])
    assert level(hits, "arms-cnn-click", BY_NAME["accuracy"]).mean == pytest.approx(mean)
    gap = [
        p.correct[1:, 1].mean() - p.correct[1:, 2].mean() for k, p in probed.items() if "none" in k
    ]
    found = level(hits, "arms-cnn-none", BY_NAME["gap"])
    assert found.mean == pytest.approx(np.mean(gap)) and found.num_images == 18
    off = difference(hits, "arms-cnn-click", "arms-cnn-none", BY_NAME["off_centre"])
    # Same seeds, same points: no difference. Of 19 images 12 are off centre, one has no box.
    assert (off.mean, off.low, off.high, off.num_images) == (0, 0, 0, 11)


def test_off_holds_one_probability_and_one_seed_of_all_arms_before_the_next():
    made = {e.key: e.recipe for e in in_order(all_rows(lambda e: 0.5)) if e.group == "off"}
    keys = [key for key in made if "cnn" in key]
    assert [key[-2:] for key in keys] == [f"s{seed}" for seed in ARM_SEEDS for _ in OFF]
    none = made["off-cnn-none-s0"]
    for key, changed in {
        "off-cnn-cutmix-s0": {"mix.cutmix", "mix.prob"},
        "off-cnn-shift-centre-s0": {"mix.paste", "mix.prob", "target"},
        "off-cnn-crop-oracle-s0": {"data.crop_keep", "target"},
        "off-cnn-eq1-click-s0": {"loss.lambda_reg", "target"},
    }.items():
        found = differences(none, made[key])
        assert set(found) == changed
        assert 0.5 in [made[key].mix.prob, made[key].data.crop_keep] or "eq1" in key


def test_ground_holds_one_weight_and_differs_in_what_the_head_learns():
    made = {e.key: e.recipe for e in in_order(all_rows(lambda e: 0.5)) if e.group == "ground"}
    none = made["ground-vit-none-s0"]
    assert none.model.point_head == "grounding" and none.loss.lambda_reg == 1
    for target in ("click", "centre", "random", "shuffled", "oracle"):
        assert set(differences(none, made[f"ground-vit-ground-{target}-s0"])) == {"target"}
    assert len(made) == len(MODELS) * len(ARM_SEEDS) * len(LEVELS["ground"])


def test_guide_makes_clicks_and_boxes_before_controls_and_points_serve_nothing_else():
    made = {e.key: e.recipe for e in in_order(all_rows(lambda e: 0.5)) if e.group == "guide"}
    first = [key.split("-")[-2] for key in made][: 9 * len(ARM_SEEDS)]
    assert set(first) == {"none", "click", "box"} and len(made) == 21 * len(ARM_SEEDS)
    found = differences(made["guide-vit-none-s0"], made["guide-vit-rrr-box-s0"])
    assert set(found) == {"loss.attention", "loss.lambda_attention", "target"}
    assert all(recipe.loss.lambda_reg == 0 for recipe in made.values())


def test_controls_are_missed_only_of_a_loss_that_is_above_none(tmp_path):
    hits = planted("guide", {"rrr-click": 0.0}, models=("vit",))
    rows = compared(hits, "guide")
    assert len(rows) == 32 and {r.found.num_seeds for r in rows} == {0, len(ARM_SEEDS)}
    assert "ViT: by the protocol no use of clicks pays." in write(hits, "guide", tmp_path)
    hits = planted("guide", {"rrr-click": 0.05}, models=("vit",))
    assert "ViT: runs are missing" in write(hits, "guide", tmp_path)


def test_a_window_keeps_small_objects_whole_and_half_of_large_ones_off_the_middle():
    for draw in (0.0, 0.4, 0.999):
        # 10 x 10 px in the middle: whole, at the edge of the window along both sides.
        left, top = window(np.array([27, 27, 36, 36]), draw)
        assert {left, top} <= {0, 1, 15, 16}
        np.testing.assert_array_equal(
            cut_box(np.array([27, 27, 36, 36]), (left, top)),
            [27 - left, 27 - top, 36 - left, 36 - top],
        )
        # The left 34 px: 18 are shown with their centre 15 px off the middle, or 21 at 13.5.
        left, top = window(np.array([0, 0, 33, 63]), draw)
        assert 13 <= left <= 16
    assert window(np.array([0, 0, 63, 63]), 0.0) == (0, 0)  # nothing can be done
    corners = windows({f"i{n}": np.array([[27, 27, 36, 36]]) for n in range(40)})
    assert corners == windows({f"i{n}": np.array([[27, 27, 36, 36]]) for n in range(39, -1, -1)})
    assert len(set(corners.values())) > 3  # each corner has its turn


def test_clicks_move_with_the_window_and_are_none_where_they_were_cut_off():
    ids = ["kept", "lost", "no click"]
    table = pa.table(
        {
            "image_id": ids,
            **{f"{point}_{axis}": [0.5, 0.1, None] for axis in "xy"
               for point in ("final_click", "first_click")},
            "width": pa.array([64] * 3, pa.int32()),
            "height": pa.array([64] * 3, pa.int32()),
            "hull_x": [[0.5]] * 3,
            "boxes": [[[10.0, 10.0, 24.0, 24.0]]] * 3,
        }
    )  # fmt: skip
    moved = moved_clicks(table, dict.fromkeys(ids, (16, 8)))
    # Click at 32 px, 16 and 8 px of it cut off, of 48.
    assert moved["final_click_x"].to_pylist() == [pytest.approx(16 / 48), None, None]
    assert moved["first_click_y"].to_pylist() == [pytest.approx(24 / 48), None, None]
    assert moved["width"].to_pylist() == [SIDE] * 3 and "hull_x" not in moved.column_names
    assert clicks(moved) == {"clicks": 1, "click_in_box": 1.0}
    assert clicks(table) == {"clicks": 2, "click_in_box": 0.0}
    boxes = {"over": np.array([[10, 10, 24, 24]]), "beside": np.array([[0, 0, 9, 47]])}
    assert middles(boxes, SIDE) == 0.5


def test_holm_worked_by_hand_counts_what_was_not_tested():
    found = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02])
    found = holm(np.array([0.01, np.nan, np.nan]))
    np.testing.assert_allclose(found, [0.03, 1.0, 1.0])


def test_the_p_value_is_below_a_twentieth_where_the_interval_leaves_out_0():
    rng = np.random.default_rng(0)
    for mean in (0.0, 0.02, 0.05, 0.1):
        found = estimate(mean + rng.normal(0, 0.5, (5, 300)))
        assert (found.p_value < 0.05) == found.clear
    # t = .5 / sqrt(.5) at 2 degrees of freedom: p = 1 - t / sqrt(2 + t^2).
    found = estimate(np.array([[-0.5, 0.5], [0.5, 1.5]]))
    assert found.p_value == pytest.approx(1 - np.sqrt(0.5 / 2.5))


def planted(group: str, gains: dict[str, float], models=("cnn",), num_images: int = 4000) -> Hits:
    """Bits of all arms; an arm of `gains` is right on so many more of the images than `none`."""
    images = np.arange(num_images)
    bits = {}
    for model in models:
        for arm in LEVELS[group]:
            for seed in ARM_SEEDS:
                # Which images are right, and the two in a hundred that vary, turn with the seed.
                turn = np.roll(images, 7 * seed)
                right = turn < (0.5 + gains.get(arm, 0.0)) * num_images
                for name in BITS:
                    bits[f"{group}-{model}-{arm}-s{seed}", name] = right
    everywhere = np.ones(num_images, bool)
    return Hits(bits=bits, shown=dict.fromkeys(BITS, everywhere), centred=everywhere)


def test_an_arm_pays_that_beats_no_points_and_all_its_controls(tmp_path):
    hits = planted("off", {"crop-click": 0.05, "shift-click": 0.05, "shift-random": 0.05})
    rows = compared(hits, "off")
    assert len(rows) == 2 * 2 * 10
    found = {(r.model, r.measure, r.arm, r.versus): r for r in rows}
    gain = found["cnn", "accuracy", "crop-click", "none"]
    assert gain.found.mean == pytest.approx(0.05) and gain.significant
    assert not found["cnn", "accuracy", "shift-click", "shift-random"].significant
    assert not found["cnn", "accuracy", "eq1-click", "none"].significant
    missing = found["vit", "accuracy", "crop-click", "none"]
    assert np.isnan(missing.found.mean) and missing.p_holm == 1
    # The same bits are answers to both measures.
    assert set(paying(rows)) == {("cnn", "crop-click", m) for m in ("accuracy", "other")}
    said = write(hits, "off", tmp_path)
    assert "ResNet: by the protocol these uses of clicks pay: crop-click (accuracy)" in said
    assert "ViT: runs are missing" in said
    made = json.loads((tmp_path / "claims-off.json").read_text())
    assert len(made["comparisons"]) == 40 and made["says"] == said
    of_crop = {(r["arm"], r["measure"]): r["mean"] for r in made["levels"]}
    assert of_crop["crop-click", "accuracy"] == pytest.approx(0.55)
    assert len((tmp_path / "claims-off.csv").read_text().splitlines()) == 41
    assert (tmp_path / "claims-off.png").read_bytes().startswith(b"\x89PNG")


def test_a_head_that_points_better_is_compared_in_pointing_too(tmp_path):
    hits = planted("ground", {"ground-click": 0.05})
    hits = Hits(bits=hits.bits, shown=hits.shown, centred=~hits.centred)
    rows = compared(hits, "ground")
    assert len(rows) == 2 * 3 * 5
    assert {m for _, _, m in paying(rows)} == {"accuracy", "other", "off_centre"}
    assert "ground-click (point in box, off centre)" in write(hits, "ground", tmp_path)


def test_an_arm_that_loses_on_the_other_measure_or_has_no_place_controls_does_not_pay():
    hits = planted("use", {"crop-click": 0.05, "paste-click": 0.05})
    assert ("cnn", "crop-click", "accuracy") in paying(compared(hits, "use"))
    assert not any(arm == "paste-click" for _, arm, _ in paying(compared(hits, "use")))
    for seed in ARM_SEEDS:
        worse = hits.bits[f"use-cnn-none-s{seed}", "other_background"].copy()
        worse[np.flatnonzero(worse)[:100]] = False
        hits.bits[f"use-cnn-crop-click-s{seed}", "other_background"] = worse
    assert not paying(compared(hits, "use"))


def test_nothing_is_said_of_a_model_before_all_seeds_are_there():
    hits = planted("use", {"crop-click": 0.05})
    short = {key: bits for key, bits in hits.bits.items() if key[0] != "use-cnn-crop-oracle-s4"}
    rows = compared(replace(hits, bits=short), "use")
    assert len(rows) == 44 and all(r.p_holm == 1 and not r.found.num_seeds for r in rows)


def test_gathering_adds_runs_and_refuses_other_images(tmp_path):
    files = tmp_path / "hits.parquet", tmp_path / "images.parquet"
    for key in ("arms-cnn-click-s0", "use-cnn-none-s0"):
        made_up(0, 0.5).save(tmp_path / f"{key}.npz")
        assert gather([tmp_path / f"{key}.npz"], *files) == 1
    assert {key for key, _ in read_hits(*files).bits} == {"arms-cnn-click-s0", "use-cnn-none-s0"}
    made_up(0, 0.5, num_images=20).save(tmp_path / "use-cnn-none-s1.npz")
    with pytest.raises(LuabError, match="other images"):
        gather([tmp_path / "use-cnn-none-s1.npz"], *files)


def test_the_cost_of_a_step_is_taken_turn_by_turn():
    # The machine is twice as slow in every other turn; the second arm always costs a tenth more.
    none = np.tile([0.1, 0.2], 10)
    found = [*ratios(np.stack([none, 1.1 * none]))]
    assert found[0] == {"ms": pytest.approx(150), "ratio": 1, "low": 1, "high": 1}
    assert [found[1][name] for name in ("ratio", "low", "high")] == [pytest.approx(1.1)] * 3


def test_every_other_turn_begins_with_the_last_arm():
    ran = []
    timed = [iter(lambda at=at: ran.append(at) or 0.1 * at, None) for at in range(3)]
    assert turn(timed, backwards=False) == turn(timed, backwards=True) == [0.0, 0.1, 0.2]
    assert ran == [0, 1, 2, 2, 1, 0]
