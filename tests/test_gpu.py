"""What only a CUDA device can show: `make test-gpu`, one command of a few minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_runs import arguments, changed, environment, run_here, same_run, without_seconds
from safetensors.torch import load_file
from torch import Tensor
from train_world import World, make_world, metrics_lines, small_recipe

from luab_train import evaluate
from luab_train.recipe import Recipe
from luab_train.sections import Model
from luab_train.train.device import make_accelerator
from luab_train.train.optim import make_optimizer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def recipe(**groups: dict[str, Any]) -> Recipe:
    """Two epochs of a ResNet, the same numbers each time."""
    base = small_recipe(model=Model(name="test_resnet"))
    engine = {"deterministic": True, **groups.pop("engine", {})}
    return changed(base, engine=engine, **groups)


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model.safetensors")


def close(a: Path, b: Path, *, tolerance: float) -> None:
    """The largest difference of a weight, beside the largest weight of its tensor."""
    for name, value in weights(a).items():
        scale = value.abs().max().clamp(min=1e-3)
        assert ((value - weights(b)[name]).abs().max() / scale) < tolerance, name


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_each_precision_trains_and_says_so(world: World, tmp_path: Path, precision: str):
    run = run_here(recipe(optim={"precision": precision}), world, tmp_path / "run")
    machine = environment(run)["machine"]
    assert machine["mixed_precision"] == precision
    assert machine["device"] == torch.cuda.get_device_name()
    losses = [line["train_loss"] for line in metrics_lines(run)]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(value.dtype != torch.float16 for value in weights(run).values())


def test_auto_takes_what_the_device_computes_in():
    native = torch.cuda.get_device_capability()[0] >= 8
    assert make_accelerator("auto").mixed_precision == ("bf16" if native else "fp16")
    assert (make_accelerator("fp16").scaler is not None) and make_accelerator("bf16").scaler is None


def test_a_gpu_and_a_cpu_agree_in_full_precision(world: World, tmp_path: Path):
    one = recipe(optim={"precision": "no"})
    here = run_here(one, world, tmp_path / "gpu")
    command = [sys.executable, "-m", "luab_train", *arguments(one, world, tmp_path / "cpu")]
    subprocess.run(command, check=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    first, other = (metrics_lines(run)[0] for run in (here, tmp_path / "cpu"))
    assert first["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)
    close(here, tmp_path / "cpu", tolerance=0.05)


@pytest.mark.parametrize("engine", [{"channels_last": True}, {"compile": True}])
def test_layout_and_compiler_change_no_more_than_rounding(
    world: World, tmp_path: Path, engine: dict[str, Any]
):
    plain = run_here(recipe(engine={"deterministic": False}), world, tmp_path / "plain")
    other = run_here(recipe(engine={"deterministic": False, **engine}), world, tmp_path / "other")
    assert weights(plain).keys() == weights(other).keys()
    for a, b in zip(metrics_lines(plain), metrics_lines(other), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.02)
    close(plain, other, tolerance=0.1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_resumed_run_ends_with_the_same_bits(
    world: World, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
):
    from luab_train.train.step import Trainer

    one = recipe(optim={"precision": precision}, engine={"checkpoint_every": 1})
    straight = run_here(one, world, tmp_path / "straight")
    real, count = Trainer.update, 0

    def failing(self: Trainer, *args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == 6:  # in the second epoch
            raise KeyError("cut")
        return real(self, *args, **options)

    monkeypatch.setattr(Trainer, "update", failing)
    with pytest.raises(KeyError, match="cut"):
        run_here(one, world, tmp_path / "resumed")
    monkeypatch.undo()
    same_run(straight, run_here(one, world, tmp_path / "resumed"))


def test_one_gpu_over_nccl_is_that_gpu_alone(world: World, tmp_path: Path):
    one = recipe(optim={"precision": "bf16"})
    alone = run_here(one, world, tmp_path / "alone")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    command += ["-m", "luab_train", *arguments(one, world, tmp_path / "nccl")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    assert without_seconds(alone)[-1]["val_accuracy"] == pytest.approx(
        without_seconds(tmp_path / "nccl")[-1]["val_accuracy"], abs=0.11
    )
    close(alone, tmp_path / "nccl", tolerance=1e-3)


def test_an_evaluation_says_what_the_cpu_says(world: World, tmp_path: Path):
    run = run_here(recipe(), world, tmp_path / "run")
    there = evaluate(run, images=world.val, name="gpu", precision="no")
    command = [sys.executable, "-m", "luab_train", "eval", str(run), "--images", str(world.val)]
    command += ["--name", "cpu", "--precision", "no"]
    subprocess.run(command, check=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    here = metrics_lines(run)[-1]
    for key in ("accuracy", "label_loss", "point_error"):
        assert there[key] == pytest.approx(here[key], rel=1e-3), key


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_optimiser_is_fused_and_steps_as_the_plain_one(name: str):
    torch.manual_seed(0)
    plain, fused = (torch.nn.Linear(8, 4).cuda() for _ in range(2))
    fused.load_state_dict(plain.state_dict())
    optim = changed(small_recipe(), optim={"name": name, "lr": 0.1}).optim
    optimizers = [
        make_optimizer(plain, optim, fused=False), make_optimizer(fused, optim, fused=True)
    ]  # fmt: skip
    assert [bool(o.defaults["fused"]) for o in optimizers] == [False, True]
    image = torch.randn(16, 8, device="cuda")
    for model, optimizer in zip((plain, fused), optimizers, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            model(image).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(plain.weight, fused.weight, rtol=1e-5, atol=1e-6)


def test_the_point_head_takes_no_memory_that_shows():
    """Peak of one update of a ResNet-50 at 64 images with the head, beside that without."""
    import timm

    from luab_train.models.classifier import build_recipe_model

    def peak(model: torch.nn.Module, *, has_points: bool) -> int:
        model.cuda().train()
        torch.cuda.reset_peak_memory_stats()
        image = torch.zeros(64, 3, 224, 224, dtype=torch.uint8, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            if has_points:
                outputs = model(image)
                loss = outputs.logits_BC.float().square().mean() + outputs.point_BKD.square().mean()
            else:
                loss = model(image.float() / 255).float().square().mean()
        loss.backward()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()

    with_head = build_recipe_model(
        changed(small_recipe(model=Model(name="resnet50")), data={"image_size": 224}),
        num_classes=1000,
    )
    ours = peak(with_head, has_points=True)
    del with_head
    torch.cuda.empty_cache()
    bare = peak(timm.create_model("resnet50"), has_points=False)
    assert ours < 1.02 * bare
