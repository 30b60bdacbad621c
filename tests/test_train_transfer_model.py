"""A trained ResNet under Mask R-CNN: the same weights, the same features, or a clear refusal."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from safetensors.torch import load_file
from torchvision.ops import FrozenBatchNorm2d
from transfer_world import make_run, small_transfer

from luab_data.errors import OptionError
from luab_train.train.run_folder import load_model
from luab_train.transfer.model import (
    PLAIN_RESNETS,
    build_mask_rcnn,
    match_backbone,
    read_backbone,
)
from luab_train.transfer.recipe import DetectionData, DetectionModel


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("source") / "run")


def test_the_backbone_holds_the_weights_of_the_run_and_answers_as_it_does(run):
    trained = load_model(run).backbone
    model = build_mask_rcnn(read_backbone(run, small_transfer()), small_transfer(), num_classes=2)
    own = model.backbone.body.state_dict()
    theirs = trained.state_dict()
    kept = {k for k in theirs if not k.startswith("fc.") and not k.endswith("batches_tracked")}
    assert set(own) == kept
    assert all(torch.equal(own[name], theirs[name]) for name in kept)
    assert not torch.equal(own["bn1.running_mean"], torch.zeros(64))  # the run had moved it
    model.train()  # frozen batch norm is the same in training
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features = model.backbone.body(image)
        torch.testing.assert_close(features["3"], trained.forward_features(image))
    assert [tuple(f.shape[2:]) for f in features.values()] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_bottlenecks_answer_as_timms(name):
    torch.manual_seed(0)
    trained = timm.create_model(name, num_classes=3).eval()
    backbone = match_backbone(trained.state_dict(), where=name)
    assert backbone.name == name
    body = build_mask_rcnn(backbone, small_transfer(), num_classes=2).backbone.body
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(body(image)["3"], trained.forward_features(image))


@pytest.mark.parametrize("name", PLAIN_RESNETS)
def test_each_plain_resnet_is_known_by_its_names_and_shapes(name):
    with torch.device("meta"):
        weights = timm.create_model(name, num_classes=7).state_dict()
    assert match_backbone(weights, where="x").name == name


@pytest.mark.parametrize(("layers", "first"), [
    (3, "layer2"), pytest.param(0, None, marks=pytest.mark.slow),
    pytest.param(5, "conv1", marks=pytest.mark.slow),
])  # fmt: skip
def test_as_many_stages_are_trained_as_asked(run, layers, first):
    recipe = small_transfer(model=DetectionModel(trainable_layers=layers))
    body = build_mask_rcnn(read_backbone(run, recipe), recipe, num_classes=2).backbone.body
    trained = [name for name, p in body.named_parameters() if p.requires_grad]
    assert (trained[0].split(".")[0] if trained else None) == first
    norms = [m for m in body.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(norms) == 20 and not any(list(m.parameters()) for m in norms)


def test_a_file_of_weights_is_as_good_as_the_run(run, tmp_path):
    expected = read_backbone(run, small_transfer())
    assert read_backbone(run / "model.safetensors", small_transfer()).sha256() == expected.sha256()
    weights = load_file(run / "model.safetensors")
    wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}
    torch.save({"state_dict": wrapped}, tmp_path / "plain.pth")
    assert read_backbone(tmp_path / "plain.pth", small_transfer()).sha256() == expected.sha256()


def test_the_fingerprint_of_a_backbone_is_that_of_its_weights(run):
    expected = read_backbone(run, small_transfer()).sha256()
    weights = changed(run, lambda w: w.update({"fc.bias": torch.ones(3)}))
    assert match_backbone(weights, where="x").sha256() == expected  # no part of it
    weights["layer3.0.conv1.weight"][0] += 1
    assert match_backbone(weights, where="x").sha256() != expected


def changed(run, change) -> dict[str, torch.Tensor]:
    weights = {
        name: tensor
        for name, tensor in load_file(run / "model.safetensors").items()
        if not name.startswith("point_head.")
    }
    change(weights)
    return weights


@pytest.mark.parametrize(("change", "message"), [
    (lambda w: w.pop("layer2.0.bn1.bias"), "of resnet18, 1 are missing ['layer2.0.bn1.bias']"),
    (lambda w: w.update(head=torch.zeros(1)), "0 are missing [], 1 unknown ['head']"),
    (lambda w: w.update({"conv1.weight": torch.zeros(64, 3, 3, 3)}),
     "1 of another shape ['conv1.weight']"),
])  # fmt: skip
def test_a_weight_too_many_too_few_or_of_another_shape_is_refused(run, change, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        match_backbone(changed(run, change), where="x")


@pytest.mark.parametrize("name", ["resnet50d", "vit_tiny_patch16_224", "seresnet50", "resnet50_gn"])
def test_weights_of_other_networks_are_refused(name):
    with torch.device("meta"):
        weights = timm.create_model(name, num_classes=7).state_dict()
    with pytest.raises(OptionError, match="not weights of a plain ResNet"):
        match_backbone(weights, where="x")


def test_runs_whose_network_sees_otherwise_are_refused(run, tmp_path):
    vit = make_run(tmp_path / "vit", "test_vit", patch_size=None)
    with pytest.raises(OptionError, match="a run of test_vit; Mask R-CNN is made of"):
        read_backbone(vit, small_transfer())
    dense = make_run(tmp_path / "dense", output_stride=16)
    with pytest.raises(OptionError, match="output_stride=16, and the feature pyramid needs 32"):
        read_backbone(dense, small_transfer())
    read_backbone(dense / "model.safetensors", small_transfer())  # what the message advises
    half = small_transfer(data=DetectionData(mean=(0.5, 0.5, 0.5)))
    with pytest.raises(OptionError, match=r"--set data.mean=0.485,0.456,0.406"):
        read_backbone(run, half)
    with pytest.raises(OptionError, match="not found"):
        read_backbone(tmp_path, small_transfer())
