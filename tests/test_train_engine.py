"""What a run is driven by: parts, averages, precision, layouts, and what stops it."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate.utils import set_seed
from engine_runs import (
    Signal,
    arguments,
    changed,
    close_run,
    environment,
    launch,
    one_sided,
    run_here,
    same_run,
    without_seconds,
)
from safetensors.torch import load_file
from torch import Tensor
from train_world import World, make_world, metrics_lines, small_recipe

from luab_data.errors import ImagesError, LuabError, OptionError
from luab_train.data.augment import TrainCrop
from luab_train.data.dataset import training_data
from luab_train.data.loader import Batch, EpochOrder, Samples, collate
from luab_train.evaluate.folder import evaluate
from luab_train.models.classifier import build_recipe_model
from luab_train.models.weights import state_dict_for_file
from luab_train.recipe import Recipe
from luab_train.sections import Model
from luab_train.train.checkpoints import last_position
from luab_train.train.device import make_accelerator
from luab_train.train.run_folder import read_recipe
from luab_train.train.setup import set_up


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def plain_recipe(**changes: Any) -> Recipe:
    """One epoch of plain SGD, w <- w - lr * gradient, of a network that draws nothing."""
    recipe = small_recipe(epochs=1, model=Model(name="test_vit"), **changes)
    optim = {"name": "momentum", "momentum": 0.0, "lr": 0.1, "weight_decay": 0.0}
    return changed(recipe, optim={**optim, "warmup_epochs": 0.0})


def samples_of(recipe: Recipe, world: World) -> Samples:
    found = training_data(recipe, data=world.data, images=world.images)
    return Samples(
        found.split, TrainCrop(recipe.data), target=found.points.values, seed=recipe.seed
    )


def epoch_of(recipe: Recipe, world: World, epoch: int = 1) -> Iterator[Batch]:
    """The batches of an epoch, by hand."""
    samples = samples_of(recipe, world)
    order = EpochOrder(
        len(samples),
        seed=recipe.seed,
        shuffle=True,
        repeats=recipe.data.repeats,
        update=recipe.batch_size,
    )
    order.epoch = epoch
    keys = list(order)
    for start in range(0, len(keys), recipe.batch_size):
        yield collate([samples[key] for key in keys[start : start + recipe.batch_size]])


def by_hand(
    recipe: Recipe, world: World, leave_out: frozenset[int] = frozenset()
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """(weights, losses of the images) after each update of `plain_recipe`, without our engine."""
    set_seed(recipe.seed)
    model = build_recipe_model(recipe, num_classes=2).train()
    batches = list(epoch_of(recipe, world))
    for update, batch in enumerate(batches):
        keep = torch.tensor([index not in leave_out for index in batch.index_B.tolist()])
        seen = (batch.weight_BK[:, 0] > 0) & keep
        outputs = model(batch.image_BCHW)
        label_B = F.cross_entropy(outputs.logits_BC, batch.label, reduction="none")[keep]
        point = F.smooth_l1_loss(outputs.point_BKD[seen], batch.point_BKD[seen])
        loss = label_B.mean() + recipe.loss.lambda_reg * point
        lr = recipe.optim.lr * (1 + math.cos(math.pi * update / len(batches))) / 2
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        if recipe.optim.clip_grad is not None:
            norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
            assert norm > recipe.optim.clip_grad, "nothing to clip"
            lr *= recipe.optim.clip_grad / norm.item()
        with torch.no_grad():
            for value, gradient in zip(model.parameters(), gradients, strict=True):
                value -= lr * gradient
        yield {k: v.clone() for k, v in state_dict_for_file(model).items()}, label_B.detach()


def assert_weights(run: Path, expected: dict[str, Tensor]) -> None:
    found = load_file(run / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("clip_grad", [None, 0.5])
def test_updates_are_those_of_a_loop_written_by_hand(world, tmp_path, clip_grad):
    recipe = changed(plain_recipe(batch_size=16), optim={"clip_grad": clip_grad})
    *_, (weights, _) = by_hand(recipe, world)
    assert_weights(run_here(recipe, world, tmp_path / "run", val=False), weights)


def test_the_average_of_weights_is_what_is_validated_and_saved(world, tmp_path):
    """The decay warms up as timm's: of few updates the average is no mixture of first weights."""
    recipe = changed(plain_recipe(batch_size=16), optim={"ema": 0.9999})
    (one, _), (two, _) = by_hand(recipe, world)
    decay = 1 - 2 ** (-2 / 3)  # of the second update; of the first it is 0
    expected = {k: decay * one[k] + (1 - decay) * two[k] for k in one}
    run = run_here(recipe, world, tmp_path / "run")
    assert_weights(run, expected)
    last = metrics_lines(run)[-1]
    again = evaluate(run, images=world.val, shown=False)
    assert again["label_loss"] == pytest.approx(last["val_label_loss"], rel=1e-6)
    assert again["point_error"] == pytest.approx(last["val_point_error"], rel=1e-6)


@pytest.mark.parametrize("parts", [2, 4])
def test_an_update_in_parts_is_the_update_as_a_whole(tmp_path, parts):
    world = make_world(tmp_path / "world")
    # In the first epoch one part of each update has all the points; but for one.
    one_sided(world, part=16 // parts)
    recipe = changed(plain_recipe(batch_size=16), optim={"clip_grad": 0.5})
    run_here(recipe, world, tmp_path / "whole")
    run_here(changed(recipe, optim={"accumulate": parts}), world, tmp_path / "parts")
    close_run(tmp_path / "whole", tmp_path / "parts")
    assert 0 < metrics_lines(tmp_path / "whole")[0]["train_points"] <= 17


def test_what_is_not_finite_stops_a_run_and_its_batch_is_kept(world, tmp_path):
    recipe = changed(
        small_recipe(epochs=1), optim={"lr": 1e30, "warmup_epochs": 0.5, "warmup_lr": 1e-3}
    )
    recipe = changed(recipe, engine={"checkpoint_every": 1})
    run = tmp_path / "run"
    with pytest.raises(LuabError, match=r"loss is (nan|inf) at epoch 1, update (\d); its batch is"):
        run_here(recipe, world, run)
    bad = torch.load(run / "bad_batch_0.pt", weights_only=True)
    wanted = list(epoch_of(recipe, world))[bad["update"] - 1]
    for key in ("image_BCHW", "label", "index_B", "point_BKD", "weight_BK"):
        torch.testing.assert_close(bad[key], getattr(wanted, key), equal_nan=True, rtol=0, atol=0)
    split = samples_of(recipe, world).split
    assert bad["image_id"] == [str(split.image_id[i]) for i in bad["index_B"]]
    assert not math.isfinite(bad["sums"]["loss"]) and bad["epoch"] == 1
    # What is kept can be gone on from.
    position = last_position(run)
    assert 0 < position.update < bad["update"]
    kept = load_file(run / "checkpoint" / position.name / "model.safetensors")
    assert all(value.isfinite().all() for value in kept.values())
    with pytest.raises(OptionError, match=r"another recipe \(optim\.lr: 1e\+30 there"):
        run_here(changed(recipe, optim={"lr": 1e-3}), world, run)


@pytest.mark.parametrize("every", [None, 1])
def test_weights_ruined_by_the_last_update_are_not_saved(world, tmp_path, every):
    recipe = changed(plain_recipe(batch_size=32), optim={"lr": 1e38, "weight_decay": 1e6})
    recipe = changed(recipe, engine={"checkpoint_every": every})
    with pytest.raises(LuabError, match=r"\d+ weights are not finite after the last update"):
        run_here(recipe, world, tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.fixture
def spoiled(tmp_path) -> World:
    """An image to train on is cut off, and one to validate on is none."""
    made = make_world(tmp_path / "spoiled")
    path = next(made.images.glob("*/*_3.png"))
    path.write_bytes(path.read_bytes()[:400])
    next(made.val.glob("*/val_1_2.png")).write_text("no image")
    return made


def test_an_image_that_cannot_be_decoded_stops_a_run_in_one_line(spoiled, tmp_path):
    recipe = small_recipe(epochs=1)
    with pytest.raises(ImagesError, match=r"n00000001_3\.png: cannot be decoded") as error:
        run_here(recipe, spoiled, tmp_path / "run")
    file = spoiled.images / "n00000001" / "n00000001_3.png"
    args = arguments(changed(recipe, data={"num_workers": 1}), spoiled, tmp_path / "run")
    # From a loader process it is the same line.
    ended = launch(args, tmp_path / "log")
    assert ended.codes == [1] and ended.text.endswith(f"\nError: {error.value}\n")
    assert str(error.value).endswith("or train without it: --set data.corrupt_images=skip")
    shutil.copy(file.with_name("n00000001_4.png"), file)
    ended = launch(args, tmp_path / "log")
    assert ended.codes == [1]
    last = ended.text.splitlines()[-1]
    assert re.fullmatch(r"Error: .*/val_1_2\.png: cannot be decoded .*corrupt_images=skip", last)
    # The same folder goes on with the option: a run that stopped at the first had met none.
    skipping = changed(recipe, data={"corrupt_images": "skip"})
    run_here(skipping, spoiled, tmp_path / "run")
    assert metrics_lines(tmp_path / "run")[-1]["val_unreadable"] == 1
    assert read_recipe(tmp_path / "run") == skipping


def test_images_that_cannot_be_decoded_are_left_out_counted_and_named(
    spoiled, world, tmp_path, capsys
):
    recipe = changed(plain_recipe(batch_size=16), data={"corrupt_images": "skip"})
    run = run_here(recipe, spoiled, tmp_path / "run")
    index = 3
    assert samples_of(recipe, world).split.image_id[index] == "n00000001_3"
    hand = list(by_hand(recipe, world, frozenset({index})))
    assert_weights(run, hand[-1][0])
    (line,) = metrics_lines(run)
    assert (line["train_images"], line["train_unreadable"]) == (31, 1)
    losses = torch.cat([losses for _, losses in hand])
    assert line["train_label_loss"] == pytest.approx(losses.mean().item(), rel=1e-5)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1: 1 images could not be decoded and were left out: n00000001_3",
        "validation: 1 images could not be decoded and were left out: val_1_2",
    ]
    # Validation is that of the others.
    assert (line["val_images"], line["val_unreadable"]) == (9, 1)
    next(spoiled.val.glob("*/val_1_2.png")).unlink()
    again = evaluate(run, images=spoiled.val, shown=False)
    for key in ("label_loss", "accuracy", "boxed", "point_error", "localisation"):
        assert again[key] == pytest.approx(line[f"val_{key}"], rel=1e-6), key


def test_numbers_go_to_tensorboard(world, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = changed(small_recipe(epochs=2), engine={"tracker": "tensorboard"})
    run = run_here(recipe, world, tmp_path / "run")
    (file,) = run.glob("tracker/events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    for key in (
        "train_loss",
        "train_accuracy",
        "images_per_second",
        "data_wait",
        "lr",
        "val_accuracy",
    ):
        points = {event.step: event.value for event in events.Scalars(key)}
        assert points == {
            line["epoch"]: pytest.approx(line[key], rel=1e-6) for line in metrics_lines(run)
        }


def test_a_tracker_that_is_not_there_is_refused(world, tmp_path):
    for name, match in (
        ("tensorbord", "^engine.tracker=tensorbord: expected one of .*tensorboard"),
        ("comet_ml", "^engine.tracker=comet_ml: it is not installed; pip install comet_ml"),
    ):
        with pytest.raises(OptionError, match=match):
            run_here(changed(small_recipe(), engine={"tracker": name}), world, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
def test_the_layout_of_memory_changes_no_result(world, tmp_path, model):
    recipe = changed(small_recipe(epochs=1, model=Model(name=model)), optim={"name": "sgd"})
    run_here(recipe, world, tmp_path / "first")
    run_here(changed(recipe, engine={"channels_last": True}), world, tmp_path / "last")
    close_run(tmp_path / "first", tmp_path / "last")


def test_deterministic_kernels_are_asked_for_by_the_recipe_alone():
    before = torch.are_deterministic_algorithms_enabled()
    try:
        engine = changed(small_recipe(), engine={"deterministic": True}).engine
        make_accelerator("no", engine=engine)
        assert torch.are_deterministic_algorithms_enabled()
        make_accelerator("no")
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)


def test_half_precision_trains_and_goes_on_and_the_next_run_is_free_to_choose(world, tmp_path):
    recipe = changed(small_recipe(epochs=1), optim={"precision": "bf16"})
    args = arguments(changed(recipe, engine={"checkpoint_every": 2}), world, tmp_path / "cut")
    assert launch(args, tmp_path / "log", signal_at=Signal(4)).codes == [-9]
    for name in ("cut", "whole"):
        run_here(recipe, world, tmp_path / name)
        assert environment(tmp_path / name)["machine"]["mixed_precision"] == "bf16"
    same_run(tmp_path / "cut", tmp_path / "whole")
    full = changed(recipe, optim={"precision": "no"})
    run_here(full, world, tmp_path / "full")
    assert environment(tmp_path / "full")["machine"]["mixed_precision"] == "no"
    one, other = metrics_lines(tmp_path / "full")[0], metrics_lines(tmp_path / "whole")[0]
    assert 0 < abs(one["train_loss"] - other["train_loss"]) < 0.02 * one["train_loss"]


@pytest.mark.slow
def test_a_compiled_network_trains_goes_on_and_loads(world, tmp_path):
    recipe = changed(plain_recipe(batch_size=8), engine={"checkpoint_every": 2})
    run_here(recipe, world, tmp_path / "plain")
    fast = changed(recipe, engine={"compile": True})
    args = arguments(fast, world, tmp_path / "cut")
    ended = launch(args, tmp_path / "log", signal_at=Signal(4), seconds=900)
    assert ended.codes == [-9], ended.text
    ended = launch(args, tmp_path / "log", seconds=900)
    assert ended.codes == [0], ended.text
    assert environment(tmp_path / "cut")["resumed_after"] == [[0, 2]]
    close_run(tmp_path / "plain", tmp_path / "cut", tolerance=1e-4)
    last = without_seconds(tmp_path / "cut")[-1]
    again = evaluate(tmp_path / "cut", images=world.val, shown=False)
    assert again["label_loss"] == pytest.approx(last["val_label_loss"], rel=1e-4)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_network_is_compiled_in_place_only_if_the_recipe_asks(world, tmp_path, compiled):
    recipe = changed(small_recipe(), engine={"compile": compiled})
    task = set_up(recipe, data=world.data, images=world.images, out=tmp_path / "run")
    assert (task.trainer.network._compiled_call_impl is not None) is compiled
    assert not any("_orig_mod" in name for name in task.weights())


def test_views_of_an_image_share_an_update_and_differ(world):
    recipe = changed(small_recipe(batch_size=6), data={"repeats": 3})
    batch = next(epoch_of(recipe, world))
    assert batch.index_B.tolist() == 3 * batch.index_B[:2].tolist()
    assert len(set(batch.index_B.tolist())) == 2
    assert batch.view_B.tolist() == [0, 0, 1, 1, 2, 2]
    for a, b in ((0, 2), (2, 4), (0, 4)):
        assert not torch.equal(batch.image_BCHW[a], batch.image_BCHW[b])
    # The first view is that of an epoch without repeats, so that arms can be compared.
    once = epoch_of(changed(recipe, data={"repeats": 1}), world)
    views = {int(i): image for b in once for i, image in zip(b.index_B, b.image_BCHW, strict=True)}
    assert torch.equal(batch.image_BCHW[0], views[int(batch.index_B[0])])


def test_an_epoch_of_repeated_views_keeps_its_length_and_its_last_image_its_share():
    for length in (32, 31, 2):
        order = EpochOrder(length, seed=0, shuffle=True, repeats=3, update=8)
        epochs = []
        for order.epoch in range(1, 4):
            keys = list(order)
            assert len(keys) == len(order) == length
            epochs.append(tuple(index for _, index, _ in keys))
            images, counts = np.unique(epochs[-1], return_counts=True)
            assert len(images) == math.ceil(length / 3)
            assert sorted(counts)[1:] == [3] * (len(images) - 1)
            order.start = 2
            assert list(order) == keys[2:]
            order.start = 0
        assert length == 2 or len(set(epochs)) == 3


def test_targets_of_a_run_are_moved_by_the_noise_it_asks_for(tmp_path):
    world = make_world(tmp_path / "world", per_class=200, num_val=1)
    plain, noisy = (
        training_data(changed(small_recipe(), data={"point_noise": sigma}), **folders(world))
        for sigma in (0.0, 0.05)
    )
    moved = (noisy.points.values - plain.points.values)[:, 0]
    moved = moved[np.isfinite(moved).all(axis=1)]
    assert len(moved) == 350
    assert np.abs(moved.mean(axis=0)).max() < 4 * 0.05 / math.sqrt(350)
    assert np.abs(moved.std(axis=0) - 0.05).max() < 4 * 0.05 / math.sqrt(2 * 350)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.2


def folders(world: World) -> dict[str, Path]:
    return {"data": world.data, "images": world.images}


def test_a_run_on_a_share_of_the_images_says_so(world, tmp_path):
    recipe = changed(small_recipe(epochs=1), data={"fraction": 0.5})
    run = run_here(recipe, world, tmp_path / "run")
    facts = json.loads((run / "environment.json").read_text())["dataset"]
    assert (facts["num_rows"], facts["num_train"]) == (32, 16)
    assert metrics_lines(run)[0]["train_images"] == 16
