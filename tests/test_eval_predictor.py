"""Models from runs, from timm and from files are the same thing to the suite."""

from __future__ import annotations

import pytest
import timm
import torch
from miniatures.palette import CLASSES
from miniatures.run import make_run
from safetensors.torch import save_file

from luab_data.errors import OptionError
from luab_train.evaluate.predictor import (
    Network,
    imagenet_classes,
    load_predictor,
)
from luab_train.models.weights import weights_digest
from luab_train.train.run_folder import load_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


def images(size: int, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def normalised(predictor, image: torch.Tensor) -> torch.Tensor:
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in (predictor.data.mean, predictor.data.std)
    )
    return (image.float() / 255 - mean) / std


def test_a_run_is_its_model_with_its_classes(run):
    predictor = load_predictor(run, device="cpu")
    assert predictor.classes == CLASSES and predictor.point_trained
    assert (predictor.name, predictor.data.image_size) == ("run", 32)
    assert isinstance(predictor.model, Network) and not predictor.model.training
    outputs, expected = predictor(images(32)), load_model(run)(images(32))
    assert torch.equal(outputs.logits_BC, expected.logits_BC)
    assert torch.equal(outputs.point_B2, expected.point_B2)


def test_normalised_images_give_the_same_answer(run):
    for predictor in (
        load_predictor(run, device="cpu"),
        load_predictor("test_resnet", random_weights=True, device="cpu"),
    ):
        image = images(predictor.data.image_size)
        found = predictor.forward_normalised(normalised(predictor, image))
        expected = predictor(image)
        assert torch.allclose(found.logits_BC, expected.logits_BC, atol=1e-4)
        assert torch.allclose(found.point_B2, expected.point_B2, atol=1e-5, equal_nan=True)


def test_a_timm_model_has_random_weights_unless_asked(monkeypatch):
    predictor = load_predictor("test_resnet", random_weights=True, device="cpu")
    assert predictor.name == "test_resnet (random weights)"
    assert predictor.classes == imagenet_classes() and not predictor.point_trained
    assert predictor(images(160)).logits_BC.shape == (3, 1000)
    assert predictor(images(160)).point_B2.isnan().all()
    assert (
        load_predictor("test_resnet", random_weights=True, device="cpu").digest == predictor.digest
    )
    before = torch.rand(())
    torch.manual_seed(3)
    expected = torch.rand(2)[1]
    torch.manual_seed(3)
    torch.rand(())
    load_predictor("test_resnet", random_weights=True, device="cpu")
    assert torch.rand(()) == expected != before  # nobody else's draws are disturbed


def test_pretrained_weights_that_cannot_be_had_are_explained(monkeypatch):
    def no_network(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(OptionError, match=r"pretrained=True.*no route to host.*Offline, download"):
        load_predictor("test_resnet", pretrained=True)


def test_the_crop_is_the_papers_and_the_rest_timms():
    data = load_predictor("test_resnet", random_weights=True, device="cpu").data
    assert (data.image_size, data.eval_resize) == (160, int(160 / 0.875))
    from luab_train.evaluate.predictor import timm_data

    deit = timm_data("deit_tiny_patch16_224")
    assert (deit.image_size, deit.eval_resize, deit.interpolation) == (224, 256, "bicubic")
    assert timm_data("vit_tiny_patch16_224").mean == (0.5, 0.5, 0.5)


def test_a_file_of_timm_weights_is_that_model(tmp_path):
    model = timm.create_model("test_resnet", num_classes=1000)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "model.pth")
    found = [
        load_predictor(tmp_path / name, arch="test_resnet", device="cpu")
        for name in ("model.safetensors", "model.pth")
    ]
    assert found[0].digest == found[1].digest
    assert found[0].model.point_head is None and not found[0].point_trained
    image = images(160)
    expected = model.eval()(normalised(found[0], image))
    assert torch.allclose(found[1](image).logits_BC, expected, atol=1e-4)


def test_a_digest_changes_with_any_weight_and_with_nothing_else():
    weights = {"a": torch.arange(3.0), "b": torch.tensor(2)}
    digest = weights_digest(weights)
    assert weights_digest({f"backbone.{k}": v.clone() for k, v in weights.items()}) == digest
    assert weights_digest(dict(reversed(weights.items()))) == digest
    for changed in (
        {**weights, "a": torch.tensor([0.0, 1.0, 2.0001])},
        {**weights, "a": torch.arange(3.0).view(3, 1)},
        {**weights, "a": torch.arange(3.0).double()},
        {"c": weights["a"], "b": weights["b"]},
    ):
        assert weights_digest(changed) != digest


def test_the_precision_changes_little(run):
    exact = load_predictor(run, device="cpu")(images(32))
    rough = load_predictor(run, device="cpu", precision="bf16")(images(32))
    assert rough.logits_BC.dtype == torch.float32
    assert 0 < (rough.logits_BC - exact.logits_BC).abs().max() < 0.1


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("resnet5", {}, "timm has no such model; .*did you mean .resnet50"),
        ("runs/nothing", {}, "found no such folder or file"),
        ("test_resnet", {}, "test_resnet: which weights.*--pretrained.*--random-weights"),
        ("test_resnet", {"arch": "test_vit"}, "is a timm model, where --arch has no meaning"),
        ("FILE", {}, "expected --arch"),
        ("FILE", {"arch": "test_resnet", "pretrained": True}, "--pretrained has no meaning"),
        ("FILE", {"arch": "nope"}, "nope: found no such"),
        ("FILE", {"arch": "test_resnet"}, "its head has 7 classes, 1,000 expected"),
        ("FILE", {"arch": "test_vit"}, "not weights of this model"),
        ("FOLDER", {}, "expected a complete run"),
        ("FOLDER", {"arch": "test_vit"}, "is a run's folder, where --arch has no meaning"),
    ],
)
def test_what_cannot_be_a_model_is_explained(tmp_path, source, options, message):
    file = tmp_path / "model.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), file)
    source = {"FILE": file, "FOLDER": tmp_path}.get(source, source)
    if source == tmp_path:
        file.unlink()
    with pytest.raises(OptionError, match=message):
        load_predictor(source, device="cpu", **options)
