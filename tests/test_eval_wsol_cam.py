from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from luab_data.errors import ImagesError, OptionError
from luab_train.data.boxes import Boxes
from luab_train.evaluate.predictor import Predictor
from luab_train.evaluate.wsol.boxes import map_overlap, true_boxes
from luab_train.evaluate.wsol.cam import Mapper
from luab_train.evaluate.wsol.localise import localise
from luab_train.evaluate.wsol.metadata import Metadata
from luab_train.evaluate.wsol.score_maps import score_map
from luab_train.models.classifier import LuabModel, Outputs
from luab_train.sections import Data

CLASSES = ("n00000001", "n00000002", "n00000003")
STATS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def predictor_of(model: nn.Module, *, size: int = 64, **changes) -> Predictor:
    options = {
        "model": model.eval(),
        "classes": CLASSES,
        "data": Data(image_size=size, eval_resize=size),
        "point_trained": False,
        "name": "tiny",
        "digest": "0" * 64,
    }
    return Predictor(**{**options, **changes})


def tiny(name: str, *, size: int = 64, **options) -> Predictor:
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=3, **options)
    # A fresh head is so small that every logit is nearly its bias.
    nn.init.normal_(backbone.get_classifier().weight)
    nn.init.normal_(backbone.get_classifier().bias)
    return predictor_of(LuabModel(backbone, **STATS), size=size)


def pictures(count: int = 2, size: int = 64) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8))


class Bright(nn.Module):
    """A timm-like network whose features are the brightness of red, green and blue places."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.num_classes = nn.Linear(3, 3), 3
        with torch.no_grad():
            self.fc.weight.copy_(torch.eye(3))
            self.fc.bias.copy_(torch.tensor([0.0, 0.01, -0.01]))

    def get_classifier(self) -> nn.Linear:
        return self.fc

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x, 8)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = x.mean((2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def bright(*, trained: bool = False) -> Predictor:
    backbone = Bright()
    if not trained:
        return predictor_of(LuabModel(backbone, mean=(0.0,) * 3, std=(1.0,) * 3))
    torch.manual_seed(0)
    model = LuabModel(backbone, head=nn.Linear(3, 2), mean=(0.0,) * 3, std=(1.0,) * 3)
    return predictor_of(model, point_trained=True)


# Maps.

AVERAGED = {"global_pool": "avg", "img_size": 64}
ATTENTIVE = {"global_pool": "map", "class_token": False, "img_size": 64}


@pytest.mark.parametrize(
    ("name", "options", "size", "label"),
    [
        ("test_resnet", {}, 64, "CAM"),
        ("test_efficientnet", {}, 64, "CAM"),
        ("test_convnext", {}, 64, "CAM through the head's LayerNorm (not in the paper)"),
        ("test_vit", AVERAGED, 64, "patch tokens x head weights (not in the paper)"),
    ],
)
def test_a_map_averages_to_its_logit(name, options, size, label):
    predictor = tiny(name, **options)
    mapper = Mapper.of(predictor)
    assert mapper.method.label == label
    forward = mapper(pictures(size=size))
    assert torch.equal(forward.logits_BC, predictor(pictures(size=size)).logits_BC)
    image, klass = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 2])
    # The identity is checked inside; shifted logits must be noticed.
    maps = mapper.maps(forward, image, klass)
    assert maps.shape == (4, *forward.places_BKhw.shape[2:])
    assert maps.std(dim=(1, 2)).min() > 0
    with pytest.raises(OptionError, match="mean plus bias"):
        mapper.maps(forward._replace(logits_BC=forward.logits_BC + 1), image, klass)


def test_a_cam_is_the_weighted_sum_of_feature_maps_without_bias_or_relu():
    predictor = tiny("test_resnet")
    backbone = predictor.model.backbone
    mean, std = predictor.model.mean, predictor.model.std
    with torch.no_grad():
        features = backbone.forward_features((pictures().float() - mean) / std)
    mapper = Mapper.of(predictor)
    maps = mapper.maps(mapper(pictures()), torch.tensor([1, 1, 1]), torch.tensor([0, 1, 2]))
    for weight, got in zip(backbone.fc.weight.detach(), maps, strict=True):
        expected = sum(weight[k] * features[1, k] for k in range(features.shape[1]))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert maps.min() < 0 < maps.max()


def test_running_a_mapper_leaves_no_trace_on_the_model():
    for predictor in (tiny("test_resnet"), tiny("test_vit", img_size=64)):
        backbone = predictor.model.backbone
        before = predictor(pictures()).logits_BC
        Mapper.of(predictor)(pictures())
        assert "forward_features" not in vars(backbone)
        assert torch.equal(predictor(pictures()).logits_BC, before)
        for block in getattr(backbone, "blocks", []):
            assert block.attn.fused_attn
            assert not block.attn.attn_drop._forward_pre_hooks


@torch.inference_mode()
def test_attention_rollout_multiplies_the_layers_and_is_marked_as_ours():
    predictor = tiny("test_vit", img_size=64)
    mapper = Mapper.of(predictor)
    assert mapper.method.label == "attention rollout, the same for every class (not in the paper)"
    forward = mapper(pictures())
    backbone = predictor.model.backbone
    inputs = []
    handles = [
        block.attn.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        for block in backbone.blocks
    ]
    predictor(pictures())
    [handle.remove() for handle in handles]
    joint = torch.eye(17)
    for block, tokens in zip(backbone.blocks, inputs, strict=True):
        attn = block.attn
        q, k, _ = attn.qkv(tokens).reshape(2, 17, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * attn.scale).softmax(dim=-1).mean(1)
        joint = (weights + torch.eye(17)) / 2 @ joint
    got = mapper.maps(forward, torch.tensor([0, 1]), torch.tensor([0, 0]))
    torch.testing.assert_close(got.flatten(1), joint[:, 0, 1:].detach(), rtol=1e-4, atol=1e-6)
    again = mapper.maps(forward, torch.tensor([0, 1]), torch.tensor([2, 1]))
    assert torch.equal(got, again)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("test_vit", ATTENTIVE, "average pooling or a class token"),
        ("test_resnet", {"global_pool": "max"}, "average pooling"),
        ("mobilenetv3_small_050", {}, "leave the last feature map"),
    ],
)
def test_a_head_that_has_no_map_is_refused(name, options, said):
    with pytest.raises(OptionError, match=said):
        mapper = Mapper.of(tiny(name, **options))
        mapper.maps(mapper(pictures()), torch.tensor([0]), torch.tensor([0]))


def test_a_model_without_a_timm_backbone_is_refused():
    class Other(nn.Module):
        def forward(self, image: torch.Tensor) -> Outputs:
            return Outputs(image, image)

    with pytest.raises(OptionError, match="no timm backbone"):
        Mapper.of(predictor_of(Other()))


def test_half_precision_passes_the_check_of_the_head():
    predictor = tiny("test_resnet")
    half = Predictor(**{**vars(predictor), "precision": "bf16"})
    mapper = Mapper.of(half)
    maps = mapper.maps(mapper(pictures()), torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert maps.dtype == torch.float32


# The driver.


def square_world(num_images: int = 6) -> tuple[list, Metadata, dict]:
    """A coloured square somewhere on black, wide images; its colour is the class, mostly."""
    rng = np.random.default_rng(3)
    images, labels, boxes, clicks = [], [], [], {}
    for i in range(num_images):
        x, y = int(rng.integers(0, 9)) * 16, int(rng.integers(0, 5)) * 8
        pixels = np.zeros((64, 192, 3), np.uint8)
        pixels[y : y + 24, x : x + 48, i % 3] = 255
        images.append((f"val/{i}.png", Image.fromarray(pixels)))
        # The last image shows one colour and is labelled another.
        labels.append(i % 3 if i < num_images - 1 else (i + 1) % 3)
        boxes.append([[x, y, x + 48, y + 24]])
        clicks[f"val/{i}.png"] = ((x + 24) / 192, (y + 12) / 64)
    metadata = Metadata(
        image_id=tuple(name for name, _ in images),
        label=np.array(labels),
        size_wh=np.full((num_images, 2), (192, 64)),
        boxes=Boxes.of(boxes),
    )
    return images, metadata, clicks


def test_the_driver_finds_the_squares_it_was_drawn_for():
    images, metadata, clicks = square_world()
    result = localise(bright(), images, metadata, clicks=clicks, batch_size=4, num_threads=2)
    metrics, rows = result.metrics(), result.rows.to_pylist()
    assert metrics["num_images"] == 6
    assert metrics["accuracy"] == pytest.approx(metrics["top1_loc"]) == pytest.approx(5 / 6)
    # The mislabelled image has nothing of its class: a flat map, the box [0, 0, 0, 0], a miss.
    assert metrics["max_box_acc"] == pytest.approx(5 / 6)
    assert metrics["num_flat_maps"] == 1
    assert (metrics["peak_in_box"], metrics["peak_in_box_n"]) == (pytest.approx(5 / 6), 6)
    assert metrics["peak_with_click"] == pytest.approx(5 / 6)
    assert metrics["peak_to_click"] < 0.2
    assert metrics["point_in_box_n"] == 0
    assert math.isnan(metrics["point_in_box"])
    assert metrics["map_method"] == "CAM"
    assert metrics["map_in_paper"] is True
    assert (metrics["map_size"], metrics["input_size"]) == ("8x8", 64)
    assert [row["image_id"] for row in rows] == [name for name, _ in images]
    assert rows[0]["predicted"] == rows[0]["label"] == 0
    assert rows[5]["peak_x"] is None
    assert rows[5]["peak_in_box"] is None
    assert all(row["point_x"] is None for row in rows)


@pytest.mark.parametrize("convention", ["wsolevaluation", "continuous"])
def test_rows_say_the_overlap_at_the_best_and_at_the_fixed_threshold(convention):
    images, metadata, _ = square_world()
    result = localise(bright(), images, metadata, box_convention=convention, interval=0.01)
    metrics, rows = result.metrics(), result.rows
    right = np.array(rows["predicted"]) == np.array(rows["label"])
    assert ((np.array(rows["iou"]) >= 0.5) & right).mean() == metrics["top1_loc"]
    assert (np.array(rows["iou_fixed"]) >= 0.5).mean() == metrics["gt_known_fixed"]
    assert metrics["box_convention"] == convention


def test_rows_are_the_overlaps_of_each_map_alone():
    images, metadata, _ = square_world()
    predictor = tiny("test_resnet")
    result = localise(predictor, images, metadata)
    taus = np.array([result.metrics()["top1_loc_tau"], 0.2])
    mapper = Mapper.of(predictor)
    for i, (_, image) in enumerate(images):
        pixels = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        forward = mapper(torch.tensor(pixels[None]))
        (activation,) = mapper.maps(forward, torch.tensor([0]), torch.tensor([metadata.label[i]]))
        truth = true_boxes(metadata.boxes.values[i : i + 1], metadata.size_wh[i], (224, 224))
        expected = map_overlap(score_map(activation.numpy()), truth, taus).at(taus)[0]
        row = result.rows.slice(i, 1).to_pylist()[0]
        assert [row["iou"], row["iou_fixed"]] == pytest.approx(expected.tolist(), abs=1e-6)
    assert result.rows["iou"].to_pylist() != result.rows["iou_fixed"].to_pylist()


def test_batches_and_threads_change_nothing():
    images, metadata, clicks = square_world()
    whole = localise(bright(trained=True), images, metadata, clicks=clicks, batch_size=6)
    small = localise(
        bright(trained=True), images, metadata, clicks=clicks, batch_size=1, num_threads=1
    )
    assert small.metrics() == pytest.approx(whole.metrics(), nan_ok=True)
    assert small.rows.equals(whole.rows)


def test_a_trained_point_is_judged_as_a_fraction_of_the_whole_image():
    images, metadata, _ = square_world()
    predictor = bright(trained=True)
    head = predictor.model.point_head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.logit(torch.tensor([0.25, 0.5])))
    result = localise(predictor, images, metadata)
    rows = result.rows.to_pylist()
    assert rows[0]["point_x"] == pytest.approx(0.25, abs=1e-6)
    corners = metadata.boxes.values
    inside = (corners[:, 0] <= 48) & (48 <= corners[:, 2])
    inside &= (corners[:, 1] <= 32) & (32 <= corners[:, 3])
    assert [row["point_in_box"] for row in rows] == inside.tolist()
    assert result.metrics()["point_in_box"] == pytest.approx(inside.mean())


def test_the_driver_reads_files_and_takes_timm_models(tmp_path: Path):
    images, metadata, _ = square_world(3)
    (tmp_path / "val").mkdir()
    for name, image in images:
        image.save(tmp_path / name)
    for predictor in (tiny("test_resnet"), tiny("test_vit", img_size=64)):
        from_files = localise(predictor, metadata.files(tmp_path), metadata)
        in_memory = localise(predictor, images, metadata)
        assert from_files.rows.equals(in_memory.rows)
    assert from_files.metrics()["map_in_paper"] is False
    assert "not in the paper" in from_files.metrics()["map_method"]


def test_nan_weights_give_flat_maps_and_no_crash():
    images, metadata, _ = square_world(3)
    predictor = bright()
    with torch.no_grad():
        predictor.model.backbone.fc.weight.fill_(math.nan)
    metrics = localise(predictor, images, metadata).metrics()
    assert metrics["num_flat_maps"] == 3
    assert metrics["max_box_acc"] == 0


def test_images_that_cannot_be_read_are_an_error_or_counted(tmp_path: Path):
    images, metadata, _ = square_world(3)
    (tmp_path / "val").mkdir()
    for name, image in images:
        image.save(tmp_path / name)
    (tmp_path / images[1][0]).write_bytes(b"cut off")
    with pytest.raises(ImagesError, match=r"cannot be decoded.*--on-bad skip"):
        localise(bright(), metadata.files(tmp_path), metadata)
    few = localise(bright(), metadata.files(tmp_path), metadata, on_bad="skip", batch_size=1)
    whole = localise(bright(), images, metadata)
    assert (few.num_bad, few.metrics()["num_images"]) == (1, 2)
    assert few.rows["image_id"].to_pylist() == [images[0][0], images[2][0]]
    assert few.rows["iou_fixed"].to_pylist() == whole.rows["iou_fixed"].to_pylist()[::2]
    for name, _ in images:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ImagesError, match="none of 3 images can be read"):
        localise(bright(), metadata.files(tmp_path), metadata, on_bad="skip")


def test_wrong_inputs_of_the_driver_say_what_was_found(tmp_path: Path):
    images, metadata, _ = square_world(3)
    with pytest.raises(ImagesError, match="1 of 3 images of the metadata were not given"):
        localise(bright(), images[:2], metadata)
    with pytest.raises(ImagesError, match="'other' is not in the metadata"):
        localise(bright(), [("other", images[0][1])], metadata)
    with pytest.raises(ImagesError, match="came twice"):
        localise(bright(), [images[0], images[0]], metadata, batch_size=1)
    with pytest.raises(ImagesError, match=r"is 64 x 192 px, the metadata says 192 x 64"):
        turned = images[0][1].transpose(Image.Transpose.ROTATE_90)
        localise(bright(), [("val/0.png", turned), *images[1:]], metadata)
    (tmp_path / "bad.png").write_bytes(b"not an image")
    with pytest.raises(ImagesError, match=r"bad.png: cannot be decoded"):
        localise(bright(), [("val/0.png", tmp_path / "bad.png"), *images[1:]], metadata)
    few, (images, metadata, _) = predictor_of(bright().model, classes=CLASSES[:2]), square_world()
    with pytest.raises(OptionError, match="knows 2 classes, the metadata has labels 0 to 2"):
        localise(few, images, metadata)


def test_overlaps_beyond_the_memory_limit_go_to_a_file_and_come_back(monkeypatch):
    images, metadata, _ = square_world()
    expected = localise(bright(), images, metadata).rows
    monkeypatch.setattr(sys.modules["luab_train.evaluate.wsol.localise"], "_IN_MEMORY", 1)
    assert localise(bright(), images, metadata, batch_size=2).rows.equals(expected)
