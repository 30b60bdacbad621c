from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from luab_data.errors import OptionError
from luab_train.models.classifier import build_model, foreign_normalisation
from luab_train.models.weight_files import read_facts, read_weights
from luab_train.models.weights import load_state_from_file, split_state_dict, state_dict_for_file
from luab_train.recipes import find_recipe
from luab_train.sections import Data, Model
from luab_train.settings import override

DATA = Data(image_size=64, eval_resize=64)
IMAGES = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)


def build(name: str = "test_resnet", num_classes: int = 5, seed: int = 0, **changes):
    torch.manual_seed(seed)
    return build_model(Model(name=name, **changes), DATA, num_classes=num_classes).eval()


@pytest.mark.parametrize(
    "name",
    [
        "test_resnet",
        "test_vit",
        "test_convnext",
        "test_efficientnet",
        "test_byobnet",
        "mobilenetv3_small_050",
    ],
)
def test_logits_are_those_of_the_plain_timm_model_and_points_lie_in_the_crop(name):
    model = build(name)
    weights, head = split_state_dict(state_dict_for_file(model))
    size = {"img_size": 64} if name == "test_vit" else {}
    plain = timm.create_model(name, num_classes=5, **size).eval()
    plain.load_state_dict(weights, strict=True)
    assert set(head) == {"point_head.weight", "point_head.bias"}
    mean, std = torch.tensor(DATA.mean).view(3, 1, 1), torch.tensor(DATA.std).view(3, 1, 1)
    with torch.inference_mode():
        outputs = model(IMAGES)
        expected = plain((IMAGES / 255 - mean) / std)
    point = outputs.point_B2
    torch.testing.assert_close(outputs.logits_BC, expected, rtol=1e-4, atol=1e-5)
    assert point.shape == (3, 2) and (0 < point).all() and (point < 1).all()


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
def test_the_head_starts_at_the_centre(output):
    with torch.inference_mode():
        point = build(point_output=output)(IMAGES).point_B2
    assert (point - 0.5).abs().max() < 0.2
    assert not torch.equal(point[0], point[1])


def test_a_linear_head_is_not_bounded():
    model = build(point_output="linear")
    torch.nn.init.constant_(model.point_head.bias, 3.0)
    with torch.inference_mode():
        assert (model(IMAGES).point_B2 > 1).all()


def test_a_point_a_class_and_a_number_that_is_no_place():
    torch.manual_seed(0)
    many = build_model(Model(name="test_resnet"), DATA, num_classes=5, num_points=5).eval()
    one = build_model(Model(name="test_resnet"), DATA, num_classes=5, num_coordinates=1).eval()
    with torch.inference_mode():
        points, number = many(IMAGES).point_BKD, one(IMAGES).point_BKD
        torch.nn.init.constant_(one.point_head.bias, -7.0)
        assert (one(IMAGES).point_BKD < -5).all()
    assert points.shape == (3, 5, 2) and number.shape == (3, 1, 1)
    # x and y of each class in turn.
    assert len(many.point_head.bias) == 10
    torch.nn.init.zeros_(many.point_head.weight)
    with torch.no_grad():
        many.point_head.bias.copy_(torch.arange(10.0) - 5)
    expected = (torch.arange(10.0) - 5).sigmoid().view(5, 2)
    torch.testing.assert_close(many(IMAGES).point_BKD[0], expected)


def test_images_that_are_normalised_already_are_not_normalised_again():
    model = build()
    with torch.inference_mode():
        torch.testing.assert_close(model(IMAGES), model(model.normalise(IMAGES)))


def test_the_same_seed_draws_the_same_weights():
    same, again, other = build(seed=1), build(seed=1), build(seed=2)
    for name, value in same.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(same.point_head.weight, other.point_head.weight)


def test_a_copy_sees_its_own_features_and_not_the_first_ones():
    model = build()
    copied = copy.deepcopy(model)  # as a moving average of the weights is made
    torch.nn.init.zeros_(copied.backbone.conv1[0].weight)
    with torch.inference_mode():
        first, other, again = model(IMAGES), copied(IMAGES), model(IMAGES)
    assert torch.equal(first.point_BKD, again.point_BKD)
    assert not torch.equal(first.point_BKD, other.point_BKD)


def test_points_and_labels_both_train_the_backbone():
    for term in ("logits_BC", "point_B2"):
        model = build().train()
        getattr(model(IMAGES), term).pow(2).sum().backward()
        stem = next(model.backbone.parameters())
        assert stem.grad is not None and stem.grad.abs().sum() > 0


def test_a_saved_model_comes_back_bit_for_bit(tmp_path):
    model, other = build(seed=1), build(seed=2)
    save_file(state_dict_for_file(model), tmp_path / "model.safetensors")
    load_state_from_file(other, load_file(tmp_path / "model.safetensors"))
    with torch.inference_mode():
        for a, b in zip(model(IMAGES)[:2], other(IMAGES)[:2], strict=True):
            assert torch.equal(a, b)


def test_one_of_our_models_is_a_start_too_and_its_head_stays_behind(tmp_path):
    first = build(seed=1)
    save_file(state_dict_for_file(first), tmp_path / "model.safetensors")
    second = build(seed=2, checkpoint=str(tmp_path / "model.safetensors"))
    assert torch.equal(first.backbone.fc.weight, second.backbone.fc.weight)
    assert not torch.equal(first.point_head.weight, second.point_head.weight)


def test_weights_of_another_model_are_refused(tmp_path):
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(OptionError, match=r"not weights of this model: \d+ missing"):
        build(checkpoint=str(tmp_path / "vit.safetensors"))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_files_that_hold_no_weights_are_refused(tmp_path, suffix, content):
    file = tmp_path / f"x.{suffix}"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OptionError, match="cannot be read as weights"):
        read_weights(file)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "before 1.6"])
@pytest.mark.parametrize("kept", [0, 5, 300, 0.5, -1], ids=str)
def test_a_file_that_was_cut_short_is_called_that_with_its_size(tmp_path, kind, kept):
    file = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.pth")
    weights = {"a.weight": torch.zeros(50, 50), "b": torch.zeros(3)}
    if kind == "safetensors":
        save_file(weights, file, metadata={"luab": "{}"})
    else:
        torch.save(weights, file, _use_new_zipfile_serialization=kind == "zip")
    content = file.read_bytes()
    content = content[: int(kept * len(content)) if isinstance(kept, float) else kept]
    file.write_bytes(content)
    said = f"x.*: cannot be read as weights: the file is cut short, at {len(content):,} bytes"
    with pytest.raises(OptionError, match=said):
        read_weights(file)
    if kind == "safetensors":
        with pytest.raises(OptionError, match=said):
            read_facts(file)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_text_is_not_called_cut_short(tmp_path, suffix):
    file = tmp_path / f"x.{suffix}"
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n" * 3)
    with pytest.raises(OptionError, match=r"cannot be read as weights(?!.*cut short)"):
        read_weights(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "timm has no such model; did you mean .*resnet50"),
        ("tf_nothing_at_all", "no such model"),
    ],
)
def test_an_unknown_model_is_answered_with_close_ones(name, message):
    with pytest.raises(OptionError, match=message):
        build(name)


def test_a_finer_last_map_keeps_the_weights_and_is_finer():
    coarse, fine = build(), build(output_stride=8)
    assert coarse.state_dict().keys() == fine.state_dict().keys()
    images = IMAGES.float()
    assert coarse.backbone.forward_features(images).shape[2:] == (2, 2)
    assert fine.backbone.forward_features(images).shape[2:] == (8, 8)
    with pytest.raises(OptionError, match="output_stride"):
        build("test_vit", output_stride=8)


def test_an_option_that_the_model_does_not_have():
    with pytest.raises(OptionError, match=r"timm could not make it with .*drop_path_rate"):
        build("vgg11", drop_path_rate=0.1)


def test_pretrained_weights_that_cannot_be_fetched(monkeypatch):
    def offline(*args: object, **options: object) -> None:
        raise OSError("cannot reach the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        OptionError, match=r"pretrained=True .*cannot reach the hub.*Offline, download"
    ):
        build("test_resnet", pretrained=True)


def test_images_unlike_those_of_pretrained_weights_are_told_of():
    half = (0.5, 0.5, 0.5)
    trained_on_half = Model(name="vit_tiny_patch16_224.augreg_in21k_ft_in1k", pretrained=True)
    assert foreign_normalisation(trained_on_half, Data(mean=half, std=half)) is None
    note = foreign_normalisation(trained_on_half, Data())
    assert note.endswith("--set data.mean=0.5,0.5,0.5 --set data.std=0.5,0.5,0.5")
    given = [text.split("=", 1) for text in note.split("--set ")[1:]]
    followed = override(find_recipe("debug:tiny"), {key: value.strip() for key, value in given})
    assert (followed.data.mean, followed.data.std) == (half, half)
    assert foreign_normalisation(replace(trained_on_half, pretrained=False), Data()) is None
    assert (
        foreign_normalisation(Model(name="deit_tiny_patch16_224", pretrained=True), Data()) is None
    )
