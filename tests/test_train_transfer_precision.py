"""COCO's average precision on hand-made detections, and the schedule of the 1x recipe."""

from __future__ import annotations

import contextlib
import io
import json
import math

import numpy as np
import pytest
import torch
from pycocotools.cocoeval import COCOeval
from transfer_world import HEIGHT, WIDTH, annotation, crowd, document

from luab_data.errors import OptionError
from luab_train.settings import override, parse_json, to_json
from luab_train.transfer.average_precision import average_precision, detections
from luab_train.transfer.objects import read_truth
from luab_train.transfer.recipe import Transfer, rate

CATEGORY_ID = np.array([3, 7])
TRUE = [
    annotation(1, 1, 3, (10, 10, 20, 20)),
    annotation(2, 2, 7, (10, 10, 60, 50)),
    annotation(3, 2, 3, (0, 0, 8, 8)),
    crowd(4, 3, 3),
]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    path = tmp_path_factory.mktemp("truth") / "instances.json"
    path.write_text(json.dumps(document(3, TRUE)))
    return read_truth(path)


def found(truth, one, *, score=0.9, box=None, mask=None, image_id=None):
    """One detection as the network gives it, at an annotation or moved from it."""
    x, y, w, h = box or one["bbox"]
    drawn = truth.annToMask(one) if mask is None else mask
    output = {
        "boxes": torch.tensor([[x, y, x + w, y + h]]),
        "labels": torch.tensor([1 + CATEGORY_ID.tolist().index(one["category_id"])]),
        "scores": torch.tensor([score]),
        "masks": torch.from_numpy(drawn).float()[None, None],
    }
    return detections(
        output, image_id=one["image_id"] if image_id is None else image_id, category_id=CATEGORY_ID
    )


def test_perfect_detections_have_precision_one_and_a_detected_crowd_costs_nothing(truth):
    result = average_precision(truth, [d for one in TRUE for d in found(truth, one)])
    for kind in ("bbox", "segm"):
        for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium"):
            assert result[f"{kind}_{name}"] == pytest.approx(1.0), (kind, name)
        assert math.isnan(result[f"{kind}_ap_large"])  # nothing is that large


def test_nothing_found_is_zero(truth, capsys):
    result = average_precision(truth, [])
    assert result["bbox_ap"] == result["segm_ap"] == 0.0
    assert math.isnan(result["bbox_ap_large"])
    assert capsys.readouterr().out == ""  # pycocotools is kept quiet


def test_the_found_are_in_cocos_format(truth):
    (one,) = found(truth, TRUE[1], score=0.5)
    assert one["image_id"] == 2 and one["category_id"] == 7 and one["score"] == 0.5
    assert one["bbox"] == [10, 10, 60, 50]
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "scores": torch.zeros(0)}
    nothing["masks"] = torch.zeros(0, 1, HEIGHT, WIDTH)
    assert detections(nothing, image_id=1, category_id=CATEGORY_ID) == []


def test_boxes_and_masks_are_judged_each_by_itself(truth):
    nowhere = np.zeros((HEIGHT, WIDTH), np.uint8)
    nowhere[60:, 75:] = 1
    boxes_right = [d for one in TRUE[:3] for d in found(truth, one, mask=nowhere)]
    result = average_precision(truth, boxes_right)
    assert result["bbox_ap"] == pytest.approx(1.0) and result["segm_ap"] == 0.0
    masks_right = [d for one in TRUE[:3] for d in found(truth, one, box=(75, 60, 5, 4))]
    result = average_precision(truth, masks_right)
    assert result["bbox_ap"] == 0.0 and result["segm_ap"] == pytest.approx(1.0)


def test_a_false_mask_counts_where_its_own_area_says(truth):
    # A ring of 236 px in a box of 60 x 60: small as a mask, medium as a box.
    ring = np.zeros((HEIGHT, WIDTH), np.uint8)
    ring[2:62, 10:70] = 1
    ring[3:61, 11:69] = 0
    # In image 1, above the one small rectangle there; the other is in image 2.
    false = found(truth, TRUE[0], score=0.99, box=(10, 2, 60, 60), mask=ring)
    result = average_precision(truth, [d for one in TRUE for d in found(truth, one)] + false)
    # Of three found rectangles the first is false: precision is 2/3 at every recall.
    assert result["segm_ap_small"] == pytest.approx(2 / 3, abs=0.01)
    assert result["bbox_ap_small"] == pytest.approx(1.0)


def test_imprecise_detections_score_as_pycocotools_scores_them(truth, tmp_path):
    rng = np.random.default_rng(0)
    moved = []
    for one in TRUE[:3] * 3:
        box = (np.array(one["bbox"]) + rng.uniform(-2, 2, 4)).tolist()
        mask = np.roll(truth.annToMask(one), int(rng.integers(-2, 3)), axis=1)
        moved += found(truth, one, score=float(rng.random()), box=box, mask=mask)
    result = average_precision(truth, moved)
    assert 0 < result["bbox_ap"] < 1 and 0 < result["segm_ap"] < 1
    for kind, other in (("bbox", "segmentation"), ("segm", "bbox")):
        content = [{k: v for k, v in one.items() if k != other} for one in moved]
        for one in content:
            if kind == "segm":
                counts = one["segmentation"]["counts"].decode()
                one["segmentation"] = {**one["segmentation"], "counts": counts}
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps(content))
        with contextlib.redirect_stdout(io.StringIO()):
            reference = COCOeval(truth, truth.loadRes(str(path)), kind)
            reference.evaluate()
            reference.accumulate()
            reference.summarize()
        assert result[f"{kind}_ap"] == reference.stats[0]
        assert result[f"{kind}_ap75"] == reference.stats[2]


# --- the recipe ----------------------------------------------------------------------------------


def test_the_rate_of_the_1x_schedule():
    optim, updates = Transfer().optim, 7329
    at = lambda update: rate(update, updates=updates, optim=optim)  # noqa: E731
    assert at(0) == pytest.approx(0.00002)
    assert at(500) == pytest.approx(0.02 * 0.5005)
    assert at(1000) == at(8 * updates - 1) == 0.02
    assert at(8 * updates) == at(11 * updates - 1) == pytest.approx(0.002)
    assert at(11 * updates) == at(12 * updates - 1) == pytest.approx(0.0002)


def test_the_rate_is_that_of_torchs_schedulers():
    recipe = override(Transfer(), {"optim.warmup_updates": 7, "optim.steps": "2,3"})
    updates = 5
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.optim.lr)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.001, total_iters=7)
    falling = torch.optim.lr_scheduler.MultiStepLR(optimizer, [10, 15], gamma=0.1)
    for update in range(20):
        ours = rate(update, updates=updates, optim=recipe.optim)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), update
        optimizer.step()
        warm.step()
        falling.step()


def test_the_rate_never_follows_the_batch_size():
    assert override(Transfer(), {"batch_size": "8"}).optim.lr == Transfer().optim.lr == 0.02


def test_a_recipe_is_read_back_as_it_was_written():
    recipe = override(Transfer(), {"model.proposals": "50,20", "optim.precision": "bf16"})
    assert parse_json(Transfer, to_json(recipe), where="") == recipe


@pytest.mark.parametrize(("key", "value", "message"), [
    ("optim.steps", "11,8", "two epochs in order"),
    ("optim.steps", "8", "expected 2 numbers"),
    ("data.max_size", "700", "less than data.min_size"),
    ("data.std", "0,1,1", "three numbers above 0"),
    ("model.trainable_layers", "6", "from 0 to 5"),
    ("model.proposals", "0,5", "two above 0"),
    ("optim.accumulate", "3", "expected a multiple"),
    ("optim.precision", "int8", "one of auto, no"),
    ("evaluate_every", "0", "at least 1"),
    ("lr", "0.1", "unknown key 'lr'"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(key, value, message):
    with pytest.raises(OptionError, match=message):
        override(Transfer(), {key: value})
