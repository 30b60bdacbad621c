from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from luab_train.data.boxes import Boxes
from luab_train.metrics.places import Predictions, Sums, add_up, score

# Five images of 100 x 50 px; the crop sees the middle 50 x 50.
BOXES = Boxes.of(
    [
        [[40, 20, 60, 30]],  # holds the centre
        [[30, 0, 40, 10]],  # off-centre
        [[30, 0, 40, 10], [60, 40, 70, 50]],  # off-centre, two boxes
        [[0, 0, 10, 10]],  # left out by the crop
        None,
    ]
)
POINTS = np.array([[50, 25], [35, 10], [65, 45], [5, 5], [50, 25]], float)


def predictions(points: np.ndarray = POINTS, keep: slice = slice(None)) -> Predictions:
    n = len(points)
    return Predictions(
        label=np.array([0, 1, 2, 0, 1])[keep],
        label_loss=np.array([0.1, 0.2, 0.3, 0.4, 1.0])[keep],
        point_px=points[keep],
        size_wh=np.tile([100, 50], (n, 1))[keep],
        region_px=np.tile([25.0, 0, 75, 50], (n, 1))[keep],
    )


TRUTH = np.array([0, 1, 1, 1, 1])


def test_every_metric_of_a_split_drawn_by_hand():
    got = score(predictions(), label=TRUTH, boxes=BOXES)
    assert got == {
        "num_images": 5,
        "label_loss": pytest.approx(0.4),
        "accuracy": pytest.approx(3 / 5),
        "boxed": 3,
        "localisation": 1.0,
        "centre_localisation": pytest.approx(1 / 3),
        # (50, 25) is its box's centre; (35, 10) is 5 px of 50 below; (65, 45) is the second's.
        "point_error": pytest.approx((0 + 0.1 + 0) / 3),
        "off_centre": 2,
        "localisation_off_centre": 1.0,
    }


def test_always_answering_the_centre_scores_the_baseline_and_nothing_off_centre():
    got = score(predictions(np.tile([50.0, 25], (5, 1))), label=TRUTH, boxes=BOXES)
    assert got["localisation"] == got["centre_localisation"] == pytest.approx(1 / 3)
    assert got["localisation_off_centre"] == 0


def test_without_boxes_localisation_is_unknown_and_not_zero():
    got = score(predictions(), label=TRUTH, boxes=Boxes.of([None] * 5))
    assert got["boxed"] == got["off_centre"] == 0
    for key in ("localisation", "localisation_off_centre", "centre_localisation", "point_error"):
        assert math.isnan(got[key])
    assert got["accuracy"] == pytest.approx(3 / 5)


def test_without_off_centre_images_only_their_share_is_unknown():
    got = score(predictions(keep=slice(0, 1)), label=TRUTH[:1], boxes=BOXES.take(np.array([0])))
    assert got["localisation"] == 1 and math.isnan(got["localisation_off_centre"])


def test_sums_of_parts_are_the_sum_of_the_whole():
    values = np.random.default_rng(0).random(100)
    keep = values > 0.3
    whole = add_up(values, keep)
    parts = [add_up(values[i : i + 7], keep[i : i + 7]) for i in range(0, 100, 7)]
    together = sum(parts[1:], parts[0])
    assert together.count == whole.count
    assert together.mean() == pytest.approx(whole.mean())
    assert math.isnan(Sums(0.0, 0).mean())
    assert add_up(np.array([True, False])) == Sums(1.0, 2)


def test_accuracy_agrees_with_torchmetrics():
    rng = np.random.default_rng(0)
    logits, truth = torch.from_numpy(rng.random((300, 7))), rng.integers(0, 7, 300)
    guess = logits.argmax(1).numpy()
    ours = add_up(guess == truth).mean()
    theirs = multiclass_accuracy(logits, torch.from_numpy(truth), num_classes=7, average="micro")
    assert ours == pytest.approx(theirs.item())


def test_a_model_that_names_no_place_has_no_localisation():
    result = score(predictions(np.full_like(POINTS, np.nan)), label=TRUTH, boxes=BOXES)
    for key in ("localisation", "localisation_off_centre", "point_error"):
        assert math.isnan(result[key]), key
    assert result["accuracy"] == 0.6 and result["boxed"] == 3
