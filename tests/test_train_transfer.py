"""Mask R-CNN from a run: what it writes, what it repeats, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from logs import SHARED
from safetensors.torch import load_file
from train_world import metrics_lines
from transfer_world import Scenery, make_run, make_scenery, small_transfer

from luab_data.errors import ImagesError, LuabError, OptionError, OutputError
from luab_train.cli import main
from luab_train.settings import flatten, parse_json
from luab_train.train import checkpoints, loop, run_folder
from luab_train.train.signals import Terminated
from luab_train.transfer import task as task_module
from luab_train.transfer.model import read_backbone
from luab_train.transfer.objects import read_objects
from luab_train.transfer.recipe import DetectionData, DetectionModel, Transfer
from luab_train.transfer.task import TERMS, Detection, set_up, transfer

COCO = SHARED / "data" / "coco"
RATES = ("seconds", "images_per_second", "data_wait")
PRECISIONS = {
    f"val_{kind}_{name}"
    for kind in ("bbox", "segm")
    for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
}


@pytest.fixture(scope="module")
def scenery(tmp_path_factory) -> Scenery:
    return make_scenery(tmp_path_factory.mktemp("scenery"))


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("source") / "run")


@pytest.fixture(scope="module")
def finished(scenery, source, tmp_path_factory):
    """An uninterrupted transfer, by the command line."""
    out = tmp_path_factory.mktemp("finished") / "out"
    command = [*arguments(scenery, source, out), *settings(small_transfer())]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"{out}: Mask R-CNN, 2 epochs, lr 0.002 for 1 images, seed 0"
    assert re.fullmatch(r"bbox  ap \d+\.\d  ap50 .*  ap_large -", lines[1])
    assert lines[2].startswith("segm  ap ") and len(lines) == 3
    yield out
    shutil.rmtree(out)  # a tenth of a gigabyte


def arguments(scenery: Scenery, source: Path, out: Path) -> list[str]:
    return [
        *("transfer", str(source), "--images", str(scenery.images), "--out", str(out)),
        *("--annotations", str(scenery.annotations), "--val", str(scenery.images)),
        *("--val-annotations", str(scenery.annotations)),
    ]


def settings(recipe: Transfer) -> list[str]:
    """What makes `recipe` of the one there is."""
    wanted, usual = flatten(recipe), flatten(Transfer())
    pairs = [
        f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for key, value in wanted.items()
        if value != usual[key]
    ]
    return [text for pair in pairs for text in ("--set", pair)]


def run(recipe: Transfer, scenery: Scenery, source: Path, out: Path):
    return transfer(
        recipe, source=source, images=scenery.images, annotations=scenery.annotations,
        val=scenery.images, val_annotations=scenery.annotations, out=out, shown=False,
    )  # fmt: skip


def without_seconds(out: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in RATES} for line in metrics_lines(out)]


def test_a_transfer_writes_recipe_environment_metrics_and_weights(finished, source):
    assert {path.name for path in finished.iterdir()} == {
        "recipe.json", "environment.json", "metrics.jsonl", "model.safetensors",
    }  # fmt: skip
    text = (finished / "recipe.json").read_text()
    assert parse_json(Transfer, text, where="") == small_transfer()
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["backbone"]["name"] == "resnet18"
    assert environment["backbone"]["sha256"] == read_backbone(source, small_transfer()).sha256()
    assert environment["dataset"]["num_images"] == 4
    assert environment["dataset"]["num_images_used"] == 2  # neither the empty nor the crowded one
    assert environment["dataset"]["num_crowds"] == 1
    assert environment["classes"] == ["rectangle", "triangle"]
    first, second = metrics_lines(finished)
    always = {"event", "epoch", "lr", "train_images", "train_loss", *RATES}
    always |= {f"train_{name}" for name in TERMS}
    assert set(first) == always and set(second) == always | PRECISIONS  # evaluate_every=2
    assert first["train_images"] == 2
    # Updates 0 to 3: two of warm-up, then the full rate, which falls after epoch 1.
    assert first["lr"] == pytest.approx(0.002 * (0.001 + 0.999 / 2))
    assert second["lr"] == pytest.approx(0.0002)
    assert second["val_bbox_ap_large"] is None  # no object is that large
    assert first["train_loss"] == pytest.approx(sum(first[f"train_{name}"] for name in TERMS))


def test_stem_first_stage_and_batch_norm_stay_the_backbones_and_the_rest_is_trained(
    finished, source
):
    before = read_backbone(source, small_transfer()).weights
    after = load_file(finished / "model.safetensors")
    for name, tensor in before.items():
        same = torch.equal(after[f"backbone.body.{name}"], tensor)
        frozen = name.startswith(("conv1", "layer1")) or "bn" in name or "downsample.1" in name
        assert same == frozen, name


class Interrupted(Exception):
    pass


def interrupted(monkeypatch, function: str, at: int) -> None:
    """Raise in the `at`-th call of a function of the loop, of a run's folder or of the task."""
    owners = (checkpoints, run_folder, loop, task_module)
    owner = next(module for module in owners if hasattr(module, function))
    real = getattr(owner, function)
    calls = iter(range(1, 100))

    def broken(*args, **options):
        if next(calls) == at:
            raise Interrupted
        return real(*args, **options)

    monkeypatch.setattr(owner, function, broken)


@pytest.mark.parametrize(("function", "at", "every", "resumed_after"), [
    ("save_checkpoint", 4, 1, [1, 1]),  # the line of epoch 2 is there already
    pytest.param("rate", 4, None, [1, 0], marks=pytest.mark.slow),  # within epoch 2
    pytest.param("rate", 2, 1, [0, 1], marks=pytest.mark.slow),
    pytest.param("train_epoch", 1, None, None, marks=pytest.mark.slow),
    pytest.param("save_weights", 1, None, [2, 0], marks=pytest.mark.slow),
])  # fmt: skip
def test_an_interrupted_transfer_goes_on_as_if_nothing_had_happened(
    finished, scenery, source, tmp_path, monkeypatch, function, at, every, resumed_after
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupted(patch, function, at)
        run(small_transfer(checkpoint_every=every), scenery, source, out)
    assert not (out / "model.safetensors").exists()
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"event": "epoch", "epo')  # and a line that was cut off
    torch.rand(7)  # whatever happened in between
    if resumed_after:  # else there is no progress to lose
        with pytest.raises(OptionError, match="seed: 0 there, 1 asked"):
            run(small_transfer(seed=1), scenery, source, out)
    run(small_transfer(), scenery, source, out)
    assert without_seconds(out) == without_seconds(finished)
    ours, theirs = load_file(out / "model.safetensors"), load_file(finished / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs | ours)
    resumed = json.loads((out / "environment.json").read_text())["resumed_after"]
    assert resumed == ([resumed_after] if resumed_after else [])
    shutil.rmtree(out)


def test_sigterm_saves_within_an_epoch_and_the_rest_is_as_if_it_had_not_come(
    finished, scenery, source, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    real = Detection._pass

    def signalled(*args, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    with (
        monkeypatch.context() as patch,
        pytest.raises(Terminated, match="epoch-0-update-1"),
    ):
        patch.setattr(Detection, "_pass", signalled)
        run(small_transfer(), scenery, source, out)
    run(small_transfer(), scenery, source, out)
    assert without_seconds(out) == without_seconds(finished)
    ours, theirs = load_file(out / "model.safetensors"), load_file(finished / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs | ours)
    shutil.rmtree(out)


def test_with_another_backbone_an_unfinished_transfer_does_not_go_on(
    scenery, source, tmp_path, monkeypatch
):
    out, other = tmp_path / "out", tmp_path / "other.pth"
    weights = load_file(source / "model.safetensors")
    weights["conv1.weight"] = weights["conv1.weight"] + 1
    torch.save(weights, other)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupted(patch, "train_epoch", 2)
        run(small_transfer(), scenery, source, out)
    with pytest.raises(OptionError, match="saw another backbone"):
        run(small_transfer(), scenery, other, out)


def test_an_image_is_learned_by_heart(scenery, source):
    optim = replace(small_transfer().optim, lr=0.003, warmup_updates=0, steps=(50, 50))
    model = replace(small_transfer().model, sampled_boxes=8)
    task = set_up(
        small_transfer(model=model, optim=optim), source=source,
        seen=read_objects(scenery.annotations, scenery.images),
        held_out=read_objects(scenery.annotations, scenery.images), truth=scenery.annotations,
    )  # fmt: skip
    batch = next(task.begin(1, 0))
    losses = []
    for epoch in range(1, 8):
        task.begin(epoch, 0)
        losses.append(task.update([batch], epoch=epoch, update=0)["train_loss"])
    assert losses[-1] < 0.6 * losses[0], losses


def test_a_loss_that_is_no_number_stops_before_a_weight_moves(scenery, tmp_path, source):
    weights = load_file(source / "model.safetensors")
    weights["layer4.1.bn2.bias"][0] = float("nan")
    torch.save(weights, tmp_path / "nan.pth")
    with pytest.raises(LuabError, match=r"loss_\w+ is nan at epoch 1, update 1; the last"):
        run(small_transfer(), scenery, tmp_path / "nan.pth", tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(scenery, source, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(OptionError, match="batch_size is 3 and there are 2 training images"):
        run(small_transfer(batch_size=3), scenery, source, out)
    late = replace(small_transfer().optim, warmup_updates=4)
    with pytest.raises(OptionError, match="warmup_updates is 4 of 4 updates"):
        run(small_transfer(optim=late), scenery, source, out)
    content = json.loads(scenery.annotations.read_text())
    content["categories"][0]["name"] = "circle"
    renamed = tmp_path / "renamed.json"
    renamed.write_text(json.dumps(content))
    with pytest.raises(ImagesError, match=r"categories differ .* e.g. \[\(7, 'circle'\)"):
        transfer(
            small_transfer(), source=source, images=scenery.images,
            annotations=scenery.annotations, val=scenery.images, val_annotations=renamed, out=out,
        )  # fmt: skip
    assert not out.exists()
    with pytest.raises(OutputError, match="not empty and no run of ours"):
        run(small_transfer(), scenery, source, scenery.images)


def test_a_complete_transfer_is_left_alone(finished, scenery, source):
    before = {p: p.stat().st_mtime_ns for p in finished.iterdir()}
    result = run(small_transfer(), scenery, source, finished)
    assert result.metrics == metrics_lines(finished)[-1]
    assert before == {p: p.stat().st_mtime_ns for p in finished.iterdir()}


def part_of_coco(root: Path, *, num_images: int) -> Scenery:
    content = json.loads((COCO / "annotations" / "instances_train.json").read_text())
    content["images"] = content["images"][:num_images]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    (root / "part.json").write_text(json.dumps(content))
    return Scenery(COCO / "images" / "train", root / "part.json")


@pytest.mark.slow
@pytest.mark.skipif(not COCO.exists(), reason="no COCO images here")
def test_real_images_are_trained_on_and_scored(source, tmp_path):
    real, out = part_of_coco(tmp_path, num_images=8), tmp_path / "out"
    data = DetectionData(min_size=96, max_size=128, num_workers=1)
    model = DetectionModel(proposals=(50, 20), sampled_boxes=16, detections=5)
    recipe = small_transfer(data=data, model=model, epochs=2, batch_size=2)
    run(recipe, real, source, out)
    first, second = metrics_lines(out)
    assert first["train_images"] == 8 and second["train_loss"] < first["train_loss"] < 20
    assert 0 <= second["val_segm_ap"] <= 1
    shutil.rmtree(out)


def test_a_setting_that_makes_no_sense_ends_in_one_clear_line(scenery, source, tmp_path):
    wrong = [*arguments(scenery, source, tmp_path / "out"), "--set", "optim.lrr=1"]
    result = CliRunner().invoke(main, wrong)
    assert result.exit_code == 1 and "unknown key 'optim.lrr'" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_gradients_are_accumulated_over_passes(scenery, source, tmp_path):
    recipe = small_transfer(epochs=1, batch_size=2)
    recipe = replace(recipe, optim=replace(recipe.optim, accumulate=2, warmup_updates=0))
    run(recipe, scenery, source, tmp_path / "out")
    (line,) = metrics_lines(tmp_path / "out")
    assert line["train_images"] == 2 and line["lr"] == 0.002  # one update


@pytest.mark.slow
def test_two_processes_share_the_images_and_report_once(scenery, source, tmp_path):
    out, optim = tmp_path / "out", replace(small_transfer().optim, warmup_updates=0)
    recipe = small_transfer(epochs=1, batch_size=2, optim=optim)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "luab_train", *arguments(scenery, source, out), *settings(recipe)]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=500,
        env={**os.environ, "ACCELERATE_USE_CPU": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Mask R-CNN, 1 epochs") == 1
    environment = json.loads((out / "environment.json").read_text())
    assert environment["machine"]["num_processes"] == 2
    (line,) = metrics_lines(out)
    assert line["train_images"] == 2 and np.isfinite(line["train_loss"])
    assert PRECISIONS <= set(line)
