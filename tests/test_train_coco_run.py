"""A run on COCO-AB, from the log to its mAP: several labels an image and a point for each."""

from __future__ import annotations

import json
import math
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from logs import KEY, SHARED, action, coco_log, coco_record
from PIL import Image
from train_world import TIMES, metrics_lines, small_recipe

from luab_data.convert import convert_coco
from luab_data.errors import ImagesError, OptionError
from luab_data.schema import COCO_CATEGORIES, COCO_CLASSES
from luab_train.cli import main
from luab_train.data.dataset import training_data
from luab_train.recipe import Recipe
from luab_train.sections import COCO_TARGETS, Loss
from luab_train.settings import override
from luab_train.train.loop import train
from luab_train.train.multi_label import Scores, score_labels

SIDE = 32
SQUARES = [COCO_CLASSES.index(name) for name in ("person", "dog", "cup")]  # red, green, blue


class CocoWorld(NamedTuple):
    data: Path
    images: Path
    val: Path
    instances: Path


def make_coco_world(root: Path, *, num_train: int = 32, num_val: int = 8) -> CocoWorld:
    """Squares of some of three colours, an icon in the middle of most."""
    rng = np.random.default_rng(0)
    records = []
    for part, count in (("train", num_train), ("val", num_val)):
        (root / part).mkdir(parents=True)
        content: dict = {"images": [], "annotations": []}
        for image_id in range(1, count + 1):
            pixels = rng.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
            actions = []
            for colour, label in enumerate(SQUARES):
                if rng.random() < 0.5:
                    continue
                x, y = rng.integers(0, SIDE - 10, 2).tolist()
                pixels[y : y + 10, x : x + 10, colour] = 250
                outline = [x, y, x + 10, y, x + 10, y + 10, x, y + 10]
                content["annotations"].append(
                    {
                        **{"image_id": image_id, "category_id": list(COCO_CATEGORIES)[label]},
                        **{"segmentation": [outline], "bbox": [x, y, 10, 10], "iscrowd": 0},
                    }
                )
                if rng.random() < 0.8:
                    centre = (x + 5) / SIDE, (y + 5) / SIDE
                    actions.append(action("add", COCO_CLASSES[label], centre))
            Image.fromarray(pixels).save(root / part / f"{image_id:012}.png")
            content["images"].append({"id": image_id, "width": SIDE, "height": SIDE})
            if part == "train":
                records.append(coco_record(image_id, actions))
        (root / f"instances_{part}.json").write_text(json.dumps(content))
    convert_coco(
        coco_log(root / "log.json", records),
        root / "coco-ab",
        instances=root / "instances_train.json",
        worker_key=KEY,
        shown=False,
    )
    return CocoWorld(root / "coco-ab", root / "train", root / "val", root / "instances_val.json")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> CocoWorld:
    return make_coco_world(tmp_path_factory.mktemp("coco"))


def coco_recipe(**data) -> Recipe:
    recipe = small_recipe(loss=Loss(classification="bce"), target="click")
    found = replace(recipe.data, dataset="coco-ab", random_erase=0.25, **data)
    return replace(recipe, data=found)


def run(world: CocoWorld, out: Path, recipe: Recipe, **changes) -> list[dict]:
    folders = {"data": world.data, "images": world.images, "val": world.val}
    train(recipe, **{**folders, "val_boxes": world.instances, "out": out, **changes}, shown=False)
    return metrics_lines(out)


def without_time(lines: list[dict]) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def test_a_run_trains_labels_and_points_and_measures_map(world, tmp_path):
    lines = run(world, tmp_path / "run", coco_recipe())
    assert [line["epoch"] for line in lines] == [1, 2]
    for line in lines:
        assert line["train_images"] == 32 and 0 < line["train_points"] < 60
        assert line["val_images"] == 8 and line["val_num_classes"] == 3
        assert 0 < line["val_map"] <= 1
        assert math.isfinite(line["train_point_loss"])
    assert lines[1]["train_label_loss"] < lines[0]["train_label_loss"]
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["classes"] == list(COCO_CLASSES)
    facts = environment["dataset"]
    assert facts["num_train"] == 32 and facts["num_points"] == facts["num_clicks"] > 20


def test_the_images_may_lie_in_shards(world, tmp_path):
    reference = run(world, tmp_path / "files", coco_recipe())
    shards = tmp_path / "shards"
    shards.mkdir()
    files = sorted(world.images.iterdir())
    for number in range(2):
        with tarfile.open(shards / f"{number}.tar", "w") as tar:
            for file in files[number::2]:
                tar.add(file, file.name)
    lines = run(world, tmp_path / "tars", coco_recipe(num_workers=2), images=shards)
    assert without_time(lines) == without_time(reference)


@pytest.mark.parametrize("target", COCO_TARGETS)
def test_every_arm_sees_the_same_images_labels_and_number_of_points(world, target):
    found = training_data(
        replace(coco_recipe(), target=target), data=world.data, images=world.images
    )
    click = training_data(coco_recipe(), data=world.data, images=world.images)
    assert found.split.image_id.tolist() == click.split.image_id.tolist()
    assert np.array_equal(found.split.label, click.split.label)
    values = found.points.values
    assert values.shape == (32, 80, 2)
    expected = 0 if target == "none" else np.isfinite(click.points.values).sum()
    assert np.isfinite(values).sum() == expected
    if target == "oracle":  # the icons are in the middle of their boxes
        np.testing.assert_allclose(values, click.points.values, atol=1e-9)


def test_noise_and_a_fraction_of_the_images(world):
    click = training_data(coco_recipe(), data=world.data, images=world.images)
    noisy = training_data(coco_recipe(point_noise=0.1), data=world.data, images=world.images)
    moved = (noisy.points.values - click.points.values)[np.isfinite(click.points.values)]
    assert 0.06 < moved.std() < 0.14
    half = training_data(coco_recipe(fraction=0.5), data=world.data, images=world.images)
    assert len(half.split) == 16 == half.facts["num_train"]
    rows = [click.split.image_id.tolist().index(i) for i in half.split.image_id.tolist()]
    assert np.array_equal(half.points.values, click.points.values[rows], equal_nan=True)
    assert np.array_equal(half.split.label, click.split.label[rows])
    for row, number in enumerate(rows):
        assert np.array_equal(half.split.load(row), click.split.load(number))


def test_the_notebooks_labels_are_fewer(world, tmp_path):
    usual = run(world, tmp_path / "usual", coco_recipe())
    fewer = run(world, tmp_path / "notebook", coco_recipe(notebook_labels=True))
    assert fewer[0]["train_points"] == usual[0]["train_points"]
    assert fewer[0]["train_label_loss"] != usual[0]["train_label_loss"]


def test_a_corrupt_image_is_an_error_or_left_out(world, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(world.images, images)
    (images / "000000000005.png").write_bytes(b"cut")
    with pytest.raises(ImagesError, match=r"000000000005\.png: cannot be decoded"):
        run(world, tmp_path / "raise", coco_recipe(), images=images)
    lines = run(world, tmp_path / "skip", coco_recipe(corrupt_images="skip"), images=images)
    assert lines[0]["train_images"] == 31
    (images / "000000000005.png").unlink()
    lines = run(world, tmp_path / "lost", coco_recipe(missing_images="skip"), images=images)
    assert lines[0]["train_images"] == 24  # whole batches of 31


def test_what_validation_needs_is_said_before_anything_is_written(world, tmp_path):
    with pytest.raises(OptionError, match=r"expected --val-boxes annotations/instances_val2014"):
        run(world, tmp_path / "run", coco_recipe(), val_boxes=None)
    with pytest.raises(OptionError, match=r"expected --val-boxes"):
        run(world, tmp_path / "run", coco_recipe(), val_boxes=world.val)
    with pytest.raises(ImagesError, match="an mAP over fewer images is another number"):
        run(
            world, tmp_path / "run", coco_recipe(),
            val_boxes=world.instances.with_name("instances_train.json"),
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_map_of_the_worked_example():
    # docs/definitions.md#mean-average-precision: a class without positives is no part of the mean
    logits = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], np.float32)
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], np.float32)
    found = score_labels(Scores(logits, np.ones(4)), label_NC=labels)
    assert found == {
        "num_images": 4,
        "label_loss": 1.0,
        "map": pytest.approx(5 / 6),
        "num_classes": 1,
    }


def test_map_over_nothing_is_not_a_number():
    scores = Scores(np.zeros((2, 3), np.float32), np.ones(2))
    found = score_labels(scores, label_NC=np.zeros((2, 3), np.float32))
    assert math.isnan(found["map"]) and found["num_classes"] == 0
    bad = Scores(np.full((2, 3), np.nan, np.float32), np.ones(2))
    assert math.isnan(score_labels(bad, label_NC=np.ones((2, 3), np.float32))["map"])


@pytest.mark.parametrize("head", ["regression", "grounding"])
def test_the_evaluation_finds_the_map_that_the_run_wrote(world, tmp_path, head):
    pytest.importorskip("pycocotools")
    recipe = override(coco_recipe(), {"model.point_head": head})
    lines = run(world, tmp_path / "run", recipe)
    assert lines[1]["train_point_loss"] < lines[0]["train_point_loss"]
    from coco_scenes import Coco, evaluate

    from luab_train.evaluate.predictor import load_predictor

    predictor = load_predictor(tmp_path / "run")
    found = evaluate(predictor, Coco(world.val, world.instances), erasing=False)
    assert float(found.precision.mean.value) == pytest.approx(lines[-1]["val_map"], rel=1e-5)
    assert found.rates["on_mask"].num_images > 0


@pytest.mark.skipif(not (SHARED / "data/coco").is_dir(), reason="needs ../shared/data")
def test_the_coco_recipe_runs_on_real_images(tmp_path):
    root = SHARED / "data/coco"
    convert_coco(
        SHARED / "data/raw/coco_ab_tiny.json",
        tmp_path / "coco-ab",
        instances=root / "annotations/instances_train.json",
        worker_key=KEY,
        shown=False,
    )
    settings = {
        "model.name": "test_resnet", "model.pretrained": "false", "data.image_size": 32,
        "data.eval_resize": 36, "data.num_workers": 0, "optim.warmup_epochs": 0,
    }  # fmt: skip
    changes = [part for item in settings.items() for part in ("--set", "{}={}".format(*item))]
    result = CliRunner().invoke(
        main,
        ["run", "coco_ab:resnet50_click", "--data", str(tmp_path / "coco-ab"),
         "--images", str(root / "images/train"), "--val", str(root / "images/val"),
         "--val-boxes", str(root / "annotations/instances_val.json"),
         "--out", str(tmp_path / "run"), "--epochs", "2", "--batch-size", "32", *changes],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = metrics_lines(tmp_path / "run")
    assert len(lines) == 2 and lines[1]["train_images"] == 96
    assert lines[1]["val_images"] == 50 and lines[1]["val_num_classes"] == 59
    assert "map" in result.output
