"""A run from nothing to its evaluation: what it writes, what it repeats, and what it refuses."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from train_world import SIZE, TIMES, WNIDS, World, make_world, metrics_lines, small_recipe

from luab_data.errors import DatasetError, ImagesError, LuabError, OptionError, OutputError
from luab_train.evaluate.folder import evaluate
from luab_train.models.classifier import build_model
from luab_train.models.weights import split_state_dict, weights_digest
from luab_train.recipe import Recipe, from_json
from luab_train.sections import Data, Loss, Model, Optim
from luab_train.train import checkpoints, run_folder, setup, step
from luab_train.train import loop as train_module
from luab_train.train.loop import train
from luab_train.train.optim import make_optimizer, make_schedule
from luab_train.train.run_folder import load_model

EPOCH_KEYS = TIMES | {
    "event", "epoch", "lr", "train_accuracy", "train_images", "train_points", "train_label_loss",
    "train_point_loss", "train_loss", "val_images", "val_label_loss", "val_accuracy", "val_boxed",
    "val_localisation", "val_off_centre", "val_localisation_off_centre", "val_centre_localisation",
    "val_point_error",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory) -> Path:
    """An uninterrupted run of three epochs."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run(small_recipe(epochs=3), world, out)
    return out


def run(recipe: Recipe, world: World, out: Path, **changes):
    return train(
        recipe, data=world.data, images=world.images, val=world.val, out=out, shown=False, **changes
    )


def without_seconds(path: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in TIMES} for line in metrics_lines(path)]


def same_run(a: Path, b: Path) -> None:
    assert without_seconds(a) == without_seconds(b)
    one, other = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_run_writes_what_it_promises(finished, world):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "recipe.json",
        "environment.json",
        "metrics.jsonl",
        "checkpoint",
        "model.safetensors",
    }
    assert from_json((finished / "recipe.json").read_text()) == small_recipe(epochs=3)
    lines = metrics_lines(finished)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert set(line) == EPOCH_KEYS
        assert line["event"] == "epoch"
        assert (line["train_images"], line["val_images"], line["val_boxed"]) == (32, 10, 10)
        # 28 clicks, of which a crop of half the image may lose some.
        assert 14 <= line["train_points"] <= 28
        expected = line["train_label_loss"] + 10 * line["train_point_loss"]
        assert line["train_loss"] == pytest.approx(expected, rel=0.2)
    kept = sorted(p.name for p in (finished / "checkpoint").iterdir())
    assert kept == ["epoch-2", "epoch-3"]


def test_the_environment_tells_the_story_and_no_secrets(finished, world):
    text = (finished / "environment.json").read_text()
    content = json.loads(text)
    val_ids = [path.stem for path in world.val.glob("*/*.png")]
    assert content["classes"] == list(WNIDS[:2])
    assert content["dataset"] == {
        "name": "imagenet-ab", "digest": None, "version": None, "num_rows": 32, "num_train": 32,
        "num_rows_without_image": 0, "num_images_without_row": 0, "num_clicks": 28,
        "num_points": 28, "calibrated_sha256": None,
    }  # fmt: skip
    assert content["val"] == {
        "name": "val", "num_images": 10, "num_with_boxes": 10,
        "digest": hashlib.sha256("\n".join(sorted(val_ids)).encode()).hexdigest(),
    }  # fmt: skip
    assert (
        content["versions"]["torch"] == torch.__version__.split("+")[0]
        or content["versions"]["torch"]
    )
    assert content["machine"]["torch_threads"] == torch.get_num_threads()
    torch.manual_seed(small_recipe().seed)
    drawn = timm.create_model(small_recipe().model.name, num_classes=2, img_size=SIZE)
    assert content["initial_backbone"] == weights_digest(drawn.state_dict())
    assert content["resumed_after"] == []
    # Neither where the user keeps things nor who the user is.
    for private in (str(world.data.parent), os.path.expanduser("~"), os.uname().nodename):
        assert private not in text


def test_the_digest_of_the_dataset_travels_with_the_run(world, tmp_path):
    data = shutil.copytree(world.data, tmp_path / "imagenet-ab")
    manifest = {"dataset": "imagenet-ab", "content_digest": "sha256:9f", "version": "1.0.2"}
    files = [str(path.relative_to(data)) for path in data.rglob("*.parquet")]
    text = json.dumps({**manifest, "files": dict.fromkeys(files, "")})
    (data / "manifest.json").write_text(text)
    train(small_recipe(epochs=1), data=data, images=world.images, out=tmp_path / "run", shown=False)
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())["dataset"]
    assert (facts["digest"], facts["version"]) == ("sha256:9f", "1.0.2")


def test_the_model_is_a_plain_timm_model_once_the_head_is_dropped(finished):
    backbone, head = split_state_dict(load_file(finished / "model.safetensors"))
    plain = timm.create_model("test_vit", num_classes=2, img_size=SIZE)
    plain.load_state_dict(backbone, strict=True)
    assert set(head) == {"point_head.weight", "point_head.bias"}


def test_a_rerun_repeats_every_number(finished, world, tmp_path):
    run(small_recipe(epochs=3), world, tmp_path / "again")
    same_run(finished, tmp_path / "again")


def test_validation_does_not_disturb_training(finished, world, tmp_path):
    train(
        small_recipe(epochs=3),
        data=world.data,
        images=world.images,
        out=tmp_path / "r",
        shown=False,
    )
    one, other = (load_file(p / "model.safetensors") for p in (finished, tmp_path / "r"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert set(metrics_lines(tmp_path / "r")[0]) == {
        k for k in EPOCH_KEYS if not k.startswith("val_")
    }


def test_loader_processes_and_the_cache_change_no_number(finished, world, tmp_path):
    recipe = small_recipe(epochs=3)
    recipe = replace(recipe, data=replace(recipe.data, num_workers=2, cache="memory"))
    run(recipe, world, tmp_path / "run")
    same_run(finished, tmp_path / "run")


class Interrupted(Exception):
    pass


def interrupted(monkeypatch, function: str, at: int) -> None:
    """Raise in the `at`-th call of a function of luab_train.train.loop, or of its steps."""
    module = next(m for m in (train_module, setup, step) if hasattr(m, function))
    real = getattr(module, function)
    calls = iter(range(1, 100))

    def broken(*args, **options):
        if next(calls) == at:
            raise Interrupted
        return real(*args, **options)

    monkeypatch.setattr(module, function, broken)


@pytest.mark.parametrize(("function", "at", "epochs_done"), [
    ("train_epoch", 1, 0), ("train_epoch", 3, 2), ("validate", 2, 1),
    ("label_term", 10, 2),  # in the middle of epoch 3, four steps an epoch
])  # fmt: skip
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(
    finished, world, tmp_path, monkeypatch, function, at, epochs_done
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupted(patch, function, at)
        run(small_recipe(epochs=3), world, out)
    assert not (out / "model.safetensors").exists()
    assert checkpoints.last_position(out) == (epochs_done, 0)
    torch.rand(7)  # whatever happened in between
    run(small_recipe(epochs=3), world, out)
    same_run(finished, out)
    resumed = json.loads((out / "environment.json").read_text())["resumed_after"]
    assert resumed == ([[epochs_done, 0]] if epochs_done else [])


def test_interrupted_between_metrics_and_checkpoint_no_epoch_is_reported_twice(
    finished, world, tmp_path, monkeypatch
):
    out = tmp_path / "run"

    def broken(accelerator, folder, position, *, keep):
        if position.epoch == 2:
            (folder / "checkpoint" / "partial-epoch-2").mkdir()  # half a checkpoint
            raise Interrupted
        real(accelerator, folder, position, keep=keep)

    real = checkpoints.save_checkpoint
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(checkpoints, "save_checkpoint", broken)
        run(small_recipe(epochs=3), world, out)
    assert [line["epoch"] for line in metrics_lines(out)] == [1, 2]
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"event": "epoch", "epo')  # and a line that was cut off
    run(small_recipe(epochs=3), world, out)
    same_run(finished, out)


def test_interrupted_after_the_last_epoch_only_the_model_is_written(
    finished, world, tmp_path, monkeypatch
):
    def broken(weights, folder):
        raise Interrupted

    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(run_folder, "save_weights", broken)
        run(small_recipe(epochs=3), world, out)
    result = run(small_recipe(epochs=3), world, out)
    same_run(finished, out)
    assert {**result.metrics, **dict.fromkeys(TIMES)} == {
        **metrics_lines(finished)[-1],
        **dict.fromkeys(TIMES),
    }


def test_killed_from_outside_and_started_again(finished, world, tmp_path):
    out = tmp_path / "run"
    script = (
        "import sys; from pathlib import Path\n"
        "from train_world import *\n"
        "from luab_train.train.loop import train\n"
        "data, images, val, out = map(Path, sys.argv[1:])\n"
        "train(small_recipe(epochs=3), data=data, images=images, val=val, out=out, shown=False)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, world), str(out)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    deadline = time.monotonic() + 60
    while (
        checkpoints.last_position(out).epoch < 1
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (out / "model.safetensors").exists():
        pytest.skip("the run was over before it could be killed")
    assert checkpoints.last_position(out).epoch >= 1
    run(small_recipe(epochs=3), world, out)
    same_run(finished, out)


def test_a_complete_run_is_never_touched_again(finished, world):
    before = {p: p.read_bytes() for p in finished.iterdir() if p.is_file()}
    assert run(small_recipe(epochs=3), world, finished).metrics == metrics_lines(finished)[-1]
    with pytest.raises(OptionError, match="already complete; choose another --out"):
        run(small_recipe(epochs=3), world, finished, resume=False)
    with pytest.raises(OptionError, match=r"another recipe \(epochs: 3 there, 4 asked\)"):
        run(small_recipe(epochs=4), world, finished)
    assert before == {p: p.read_bytes() for p in finished.iterdir() if p.is_file()}


@pytest.fixture
def unfinished(world, tmp_path, monkeypatch) -> Path:
    """A run of three epochs stopped after the first."""
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupted(patch, "train_epoch", 2)
        run(small_recipe(epochs=3), world, tmp_path / "unfinished")
    return tmp_path / "unfinished"


def test_an_unfinished_run_of_another_recipe_names_the_keys_that_differ(unfinished, world):
    recipe = small_recipe(epochs=3, seed=5, loss=Loss(lambda_reg=1.0))
    with pytest.raises(OptionError) as raised:
        run(recipe, world, unfinished)
    assert "loss.lambda_reg: 10.0 there, 1.0 asked, seed: 0 there, 5 asked" in str(raised.value)


def test_an_unfinished_run_refuses_other_data(unfinished, tmp_path):
    other = make_world(tmp_path / "other", per_class=12)
    with pytest.raises(OptionError, match=r"at epoch-1 and saw another dataset"):
        run(small_recipe(epochs=3), other, unfinished)


def test_without_resume_an_unfinished_run_starts_again(finished, unfinished, world):
    run(small_recipe(epochs=3), world, unfinished, resume=False)
    same_run(finished, unfinished)


def test_evaluation_needs_a_complete_run(unfinished, world, tmp_path):
    with pytest.raises(OptionError, match=r"no model\.safetensors; expected a complete run"):
        evaluate(unfinished, images=world.val)
    with pytest.raises(OptionError, match=r"recipe\.json: not found"):
        evaluate(tmp_path, images=world.val)


def test_a_folder_of_something_else_is_left_alone(world, tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(OutputError, match="not empty and no run of ours"):
        run(small_recipe(), world, tmp_path)
    with pytest.raises(OutputError, match="cannot be a run's folder"):
        run(small_recipe(), world, tmp_path / "thesis.tex")
    with pytest.raises(OutputError, match=r"run: cannot be written \(a file is in the way\)"):
        run(small_recipe(), world, tmp_path / "thesis.tex" / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_killed_before_its_recipe_was_in_place_starts_anew(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.json.partial").write_text("{")
    assert run_folder.check_run(tmp_path / "run", small_recipe()) is False


def test_evaluation_repeats_the_last_validation_and_is_recorded(finished, world, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    result = evaluate(copy, images=world.val, batch_size=3, name="again", shown=False)
    last = metrics_lines(finished)[-1]
    for key, value in result.items():
        expected = last["val_images" if key == "num_images" else f"val_{key}"]
        assert value == pytest.approx(expected, rel=1e-5), key
    recorded = metrics_lines(copy)[-1]
    assert recorded == {"event": "evaluation", "name": "again", "images": "val", **result}


def test_boxes_come_from_the_dataset_when_it_is_named(finished, world, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    result = evaluate(
        str(copy), images=str(world.images), data=str(world.data), name="train", shown=False
    )
    assert (result["num_images"], result["boxed"]) == (32, 32)
    without = evaluate(copy, images=world.images, name="train", shown=False)
    assert without["boxed"] == 0
    assert without["localisation"] is None and without["point_error"] is None
    assert without["accuracy"] == result["accuracy"]


def test_boxes_come_from_a_file_when_it_is_named(finished, world, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "boxes.csv").write_text("image_id,xmin,ymin,xmax,ymax\nval_0_0,0,0,32,32\n")
    result = evaluate(copy, images=world.val, boxes=tmp_path / "boxes.csv", shown=False)
    assert (result["boxed"], result["localisation"], result["off_centre"]) == (1, 1.0, 0)
    (tmp_path / "boxes.csv").write_text("image_id,xmin,ymin,xmax,ymax\nother,0,0,32,32\n")
    with pytest.raises(ImagesError, match=r"has boxes of 1 images, e\.g\. other, but of none in"):
        evaluate(copy, images=world.val, boxes=tmp_path / "boxes.csv", shown=False)


def test_evaluation_refuses_what_it_does_not_know(finished, world, tmp_path):
    with pytest.raises(OptionError, match="--data and --boxes"):
        evaluate(finished, images=world.val, data=world.data, boxes=world.val)
    with pytest.raises(OptionError, match="batch size 0"):
        evaluate(finished, images=world.val, batch_size=0)
    other = make_world(tmp_path / "other", num_classes=3)
    with pytest.raises(ImagesError, match="1 of its 3 classes are not classes of the run"):
        evaluate(finished, images=other.val)


def test_a_loaded_model_sees_what_the_run_saw(finished, world):
    model = load_model(finished)
    assert not model.training
    from PIL import Image

    path = next((world.val / WNIDS[0]).glob("*.png"))
    pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None]
    with torch.inference_mode():
        outputs = model(pixels)
    assert outputs.logits_BC.shape == (1, 2) and outputs.point_B2.shape == (1, 2)


def first_steps(monkeypatch, world, out, target: str) -> dict[str, list[torch.Tensor]]:
    """Initial weights and the pictures and labels of an arm's first epoch."""
    seen: dict[str, list[torch.Tensor]] = {"weights": [], "images": [], "labels": [], "points": []}
    real_build, real_term = setup.build_recipe_model, step.label_term

    def build(*args, **options):
        model = real_build(*args, **options)
        seen["weights"] = [p.detach().clone() for p in model.parameters()]
        model.register_forward_pre_hook(remember)
        return model

    def remember(model, inputs):
        if model.training and inputs[0].device.type != "meta":
            seen["images"].append(inputs[0].clone())

    def term(logits, targets, loss):
        seen["labels"].append(targets.label)
        seen["points"].append(targets.weight_TBK.flatten())
        return real_term(logits, targets, loss)

    with monkeypatch.context() as patch:
        patch.setattr(setup, "build_recipe_model", build)
        patch.setattr(step, "label_term", term)
        run(small_recipe(epochs=1, target=target), world, out)
    return seen


def test_arms_share_weights_order_crops_and_labels_and_differ_in_the_points(
    world, tmp_path, monkeypatch
):
    seen = {
        t: first_steps(monkeypatch, world, tmp_path / t, t) for t in ("none", "random", "click")
    }
    for target in ("random", "click"):
        for key in ("weights", "images", "labels"):
            assert len(seen[target][key]) > 0
            for a, b in zip(seen["none"][key], seen[target][key], strict=True):
                assert torch.equal(a, b), (target, key)
    assert not torch.cat(seen["none"]["points"]).any()
    assert torch.cat(seen["click"]["points"]).sum() > 10


def test_without_points_their_loss_is_unknown_and_the_rest_is_trained(world, tmp_path):
    run(small_recipe(target="none"), world, tmp_path / "run")
    line = metrics_lines(tmp_path / "run")[-1]
    assert line["train_points"] == 0 and line["train_point_loss"] is None
    assert line["train_loss"] == pytest.approx(line["train_label_loss"])


def test_a_network_learns_the_class_in_every_arm_and_the_place_from_clicks_alone(tmp_path):
    world = make_world(tmp_path / "world", per_class=48, num_val=20)
    recipe = small_recipe(
        epochs=8,
        batch_size=16,
        model=Model(name="test_resnet", output_stride=16),
        loss=Loss(lambda_reg=100.0),
        optim=Optim(name="adamw", lr=6e-3, weight_decay=0.0, warmup_epochs=1, precision="no"),
    )
    last = {}
    for target in ("click", "random"):
        run(replace(recipe, target=target), world, tmp_path / target)
        lines = metrics_lines(tmp_path / target)
        assert lines[-1]["train_loss"] < lines[0]["train_loss"]
        assert lines[-1]["val_accuracy"] > 0.9
        last[target] = lines[-1]
    assert last["click"]["val_localisation_off_centre"] > 0.8
    assert last["random"]["val_localisation_off_centre"] < 0.4
    assert last["click"]["val_point_error"] < 0.3 * last["random"]["val_point_error"]


@pytest.mark.slow
def test_mixed_precision_keeps_losses_finite(world, tmp_path):
    # A fresh process: accelerate fixes the precision of a process at its first use.
    script = (
        "import sys; from dataclasses import replace; from pathlib import Path\n"
        "from train_world import *\n"
        "from luab_train.train.loop import train\n"
        "data, images, val, out = map(Path, sys.argv[1:]); r = small_recipe()\n"
        "r = replace(r, optim=replace(r.optim, precision='bf16'))\n"
        "train(r, data=data, images=images, val=val, out=out, shown=False)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, *map(str, world), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        check=True,
    )
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["machine"]["mixed_precision"] == "bf16"
    assert all(line["train_loss"] > 0 for line in metrics_lines(tmp_path / "run"))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(world, tmp_path, monkeypatch):
    real = step.label_term
    calls = iter(range(1, 100))

    def poisoned(*args, **options):
        return real(*args, **options) * (torch.nan if next(calls) == 7 else 1)

    monkeypatch.setattr(step, "label_term", poisoned)
    with pytest.raises(
        LuabError, match=r"loss is nan at epoch 2, update 3; its batch is in .*bad_batch_0\.pt"
    ):
        run(small_recipe(epochs=3), world, tmp_path / "run")
    assert checkpoints.last_position(tmp_path / "run") == (1, 0)


def test_gradients_are_clipped_when_asked(world, tmp_path, monkeypatch):
    from accelerate import Accelerator

    norms = []
    real = Accelerator.clip_grad_norm_

    def spy(self, parameters, max_norm, **options):
        norms.append(max_norm)
        return real(self, parameters, max_norm, **options)

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", spy)
    recipe = small_recipe(epochs=1)
    run(recipe, world, tmp_path / "plain")
    assert norms == []
    run(replace(recipe, optim=replace(recipe.optim, clip_grad=0.5)), world, tmp_path / "clipped")
    assert norms == [0.5] * 4


def test_missing_images_stop_the_run_unless_they_may_be_skipped(tmp_path):
    world = make_world(tmp_path / "world")
    (world.images / WNIDS[0] / f"{WNIDS[0]}_3.png").unlink()
    with pytest.raises(ImagesError, match=r"1 of 32 rows .* data\.missing_images=skip"):
        run(small_recipe(), world, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    recipe = small_recipe(epochs=1)
    run(replace(recipe, data=replace(recipe.data, missing_images="skip")), world, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())["dataset"]
    assert (facts["num_train"], facts["num_rows_without_image"]) == (31, 1)


def test_what_cannot_be_trained_is_refused_before_anything_is_written(world, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(OptionError, match="batch_size is 64 and there are 32 training images"):
        run(small_recipe(batch_size=64), world, out)
    with pytest.raises(DatasetError, match=r"no data/train-\*\.parquet"):
        run(small_recipe(), world._replace(data=world.images), out)
    with pytest.raises(OptionError, match="timm has no such model"):
        run(small_recipe(model=Model(name="test_vitt")), world, out)
    with pytest.raises(OptionError, match="--val-boxes without --val"):
        train(small_recipe(), data=world.data, images=world.images, out=out, val_boxes=world.val)
    assert not out.exists()


def test_the_rate_warms_up_and_follows_the_cosine():
    model = torch.nn.Linear(2, 2)
    optim = Optim(name="sgd", lr=0.8, weight_decay=0.1, warmup_epochs=1, warmup_lr=0.0, min_lr=0.0)
    optimizer = make_optimizer(model, optim)
    schedule = make_schedule(optimizer, optim, epochs=5, updates=4)
    rates = []
    for update in range(20):
        schedule.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(
        rates[:5], [0, 0.2, 0.4, 0.6, 0.8 * (1 + np.cos(np.pi * 4 / 20)) / 2]
    )
    np.testing.assert_allclose(rates[10], 0.4)
    assert all(a > b for a, b in itertools.pairwise(rates[4:])) and rates[-1] < 0.01


def test_biases_and_norms_are_decayed_only_when_asked():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))

    def decayed(decay_all: bool) -> int:
        optim = Optim(name="momentum", lr=0.1, weight_decay=0.1, decay_all=decay_all)
        groups = make_optimizer(model, optim).param_groups
        return sum(p.numel() for g in groups if g["weight_decay"] for p in g["params"])

    assert (decayed(False), decayed(True)) == (4, 10)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "vit_tiny_patch16_224"])
def test_what_is_decayed_of_a_network_is_what_timm_decays(name):
    plain = timm.create_model(name, num_classes=2)
    ours = build_model(Model(name=name), Data(), num_classes=2)

    def decayed(model) -> set[str]:
        optimizer = make_optimizer(model, Optim(name="adamw", lr=0.1, weight_decay=0.1))
        kept = [p for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]]
        ids = {id(p) for p in kept}
        return {n.removeprefix("backbone.") for n, p in model.named_parameters() if id(p) in ids}

    assert decayed(ours) == decayed(plain) | {"point_head.weight"}
    assert not decayed(ours) & {"pos_embed", "cls_token"}


def test_momentum_is_the_plain_one_and_sgd_is_nesterov():
    model = torch.nn.Linear(2, 2)
    for name, nesterov in (("momentum", False), ("sgd", True)):
        optimizer = make_optimizer(model, Optim(name=name, lr=0.1, weight_decay=0, momentum=0.7))
        assert optimizer.defaults["nesterov"] is nesterov and optimizer.defaults["momentum"] == 0.7


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(OptionError, match=r"optim\.name=sdg"):
        make_optimizer(torch.nn.Linear(2, 2), Optim(name="sdg", lr=0.1, weight_decay=0))


@pytest.mark.slow
def test_two_processes_train_as_one(world, tmp_path):
    """Same global batch, same losses: data order, masks and the normaliser of the point loss."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from dataclasses import replace; from pathlib import Path\n"
        "from train_world import *\n"
        "import torch; torch.set_num_threads(1)\n"
        "from luab_train.train.loop import train\n"
        "data, images, val, out = map(Path, sys.argv[1:]); r = small_recipe()\n"
        # No dropout: its draws belong to a process. ViT: a batch norm's statistics do too.
        "r = replace(r, model=replace(r.model, drop_rate=0.0))\n"
        "train(r, data=data, images=images, val=val, out=out, shown=False)\n"
    )
    env = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": "1",
    }
    args = [str(script), *map(str, world)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([sys.executable, *args, str(tmp_path / "one")], env=env, check=True)
    subprocess.run([sys.executable, *launch, *args, str(tmp_path / "two")], env=env, check=True)
    environment = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert environment["machine"]["num_processes"] == 2
    for one, two in zip(
        without_seconds(tmp_path / "one"), without_seconds(tmp_path / "two"), strict=True
    ):
        assert one.keys() == two.keys()
        for key, value in one.items():
            expected = value if key == "event" else pytest.approx(value, rel=1e-4, abs=1e-6)
            assert two[key] == expected, key
