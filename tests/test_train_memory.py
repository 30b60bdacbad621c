"""What an update needs is known before it is tried, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch
from engine_runs import run_here
from train_world import make_world, small_recipe

from luab_data.errors import OptionError
from luab_data.words import counted
from luab_train.data.soft_maps import SoftMap
from luab_train.models.classifier import build_recipe_model
from luab_train.recipes import find_recipe
from luab_train.settings import override
from luab_train.train import memory, setup
from luab_train.train.device import make_accelerator
from luab_train.train.guidance import guided
from luab_train.train.memory import Cost, check_memory, cost_of_an_image, slow_on_cpu


@pytest.mark.parametrize(
    ("name", "head"),
    [
        *(("tiny", "regression"), ("tiny_vit", "regression"), ("tiny", "attention")),
        *(("tiny_gradmask", "regression"), ("tiny_robustvit", "regression")),
    ],
)
def test_what_is_kept_for_the_backward_pass_is_what_autograd_keeps(name, head):
    recipe = override(find_recipe(f"debug:{name}"), {"model.point_head": head})
    size, images = recipe.data.image_size, 4
    network = build_recipe_model(recipe, num_classes=10).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = cost_of_an_image(network, size)
    assert found is not None
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    image, attention = (
        torch.zeros((images, 3, size, size), dtype=torch.uint8),
        recipe.loss.attention,
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        if attention is None:
            outputs = network(image)
        else:
            seen = SoftMap(torch.rand(images, size, size), torch.ones(images))
            label = torch.zeros(images, dtype=torch.int64)
            outputs, _ = guided(network, network, image, label, seen, loss=recipe.loss)
    assert outputs.logits_BC.requires_grad
    real = sum(storage.nbytes() for storage in kept.values()) / images
    times = memory.KEPT_TIMES.get(attention, 2.2)
    assert times * found.activations == pytest.approx(real, rel=0.15)


def test_operations_of_a_resnet50_are_those_that_are_published():
    """4.1 billion multiplications and additions (He et al., 2016), two operations each."""
    network = build_recipe_model(find_recipe("imagenet_ab:resnet50"), num_classes=1000)
    found = cost_of_an_image(network, 224)
    assert found is not None and found.flops == pytest.approx(8.2e9, rel=0.02)


def test_an_update_that_does_not_fit_is_refused_with_what_would(monkeypatch):
    recipe = override(find_recipe("imagenet_ab:resnet50"), {"optim.precision": "no"})
    network = build_recipe_model(override(recipe, {"model.name": "test_resnet"}), num_classes=10)
    accelerator = make_accelerator("no")
    cost = Cost(activations=80 * 2**20, flops=8e9)
    monkeypatch.setattr(memory, "free_memory", lambda device: 12 * 2**30)
    with pytest.raises(OptionError) as error:
        check_memory(accelerator, recipe, network, cost, batch=256)
    assert "an update about 20.2 GiB" in str(error.value) and "12.0 GiB are free" in str(
        error.value
    )
    assert "--set optim.accumulate=2 trains on 128 images at a time" in str(error.value)
    told = check_memory(accelerator, recipe, network, cost, batch=128)
    assert told.startswith("memory of an update about 10.1 GiB (weights, gradients and optimiser")
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**20)
    with pytest.raises(OptionError, match="no batch fits: expected a smaller model"):
        check_memory(accelerator, recipe, network, cost, batch=256)
    # A network that cannot be looked at without content: what is known is told, and what is not.
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**40)
    assert "which is not known" in check_memory(accelerator, recipe, network, None, batch=8)


def test_a_run_that_does_not_fit_leaves_nothing_behind(tmp_path, monkeypatch):
    world = make_world(tmp_path / "world")
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**20)
    with pytest.raises(OptionError, match=r"small: memory of an update about .* GiB are free"):
        run_here(small_recipe(), world, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_for_gpus_is_told_to_be_slow_on_a_cpu(tmp_path, monkeypatch, capsys):
    accelerator = make_accelerator("no")
    recipe = find_recipe("imagenet_ab:resnet50")
    threads = torch.get_num_threads()
    note = slow_on_cpu(accelerator, recipe, Cost(8e7, 8e9), num_images=threads * 10_000_000)
    assert note is not None and note.startswith(
        "imagenet_ab:resnet50 is a recipe for GPUs and torch sees none here: an epoch of"
    )
    # 3 passes of 8e9 operations, 3e10 a second: 0.8 s an image and thread.
    assert f"takes about 93 days on {counted(threads, 'thread')}" in note and "debug:tiny" in note
    assert slow_on_cpu(accelerator, recipe, Cost(1e6, 3e7), num_images=10**9) is None
    world = make_world(tmp_path / "world")
    monkeypatch.setattr(setup, "cost_of_an_image", lambda network, size: Cost(1e6, 8e9))
    run_here(small_recipe(epochs=1), world, tmp_path / "run")
    assert "small is a recipe for GPUs" in capsys.readouterr().err


def test_free_memory_is_what_the_machine_has():
    free = memory.free_memory(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50
