"""results/tiny-imagenet: what is run, how it is compared, and whether its intervals hold."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "results" / "tiny-imagenet"
sys.path.insert(0, str(FOLDER))

from experiments import (  # noqa: E402
    ARM_SEEDS,
    ARMS,
    DECAYS,
    MODELS,
    NOISES,
    RATES,
    in_order,
    tuned_recipe,
)
from hits import BITS, POINTED, gather, read_hits  # noqa: E402
from measures import BY_NAME, difference, level, seeds_of  # noqa: E402
from paired import estimate  # noqa: E402
from prepare import halves  # noqa: E402

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
    assert gather(tmp_path / "probes", *files) == 4
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
