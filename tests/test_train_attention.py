"""The attention map: what it says, what it learns from, and what it pools."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from luab_data.errors import OptionError
from luab_train.models.attention import AttentionMap, attended, cell_targets, mean_position
from luab_train.models.classifier import LuabModel, build_model
from luab_train.models.weights import load_state_from_file, split_state_dict, state_dict_for_file
from luab_train.sections import Data, Model

DATA = Data(image_size=64, eval_resize=64)
IMAGES = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8,
                       generator=torch.Generator().manual_seed(0))  # fmt: skip
KINDS = ("test_resnet", "test_vit", "test_convnext", "mobilenetv3_small_050", "test_vit3")


def build(name: str = "test_resnet", *, pooled: bool = True, seed: int = 0, **changes):
    torch.manual_seed(seed)
    model = Model(name=name, point_head="attention", attentive_pooling=pooled, **changes)
    return build_model(model, DATA, num_classes=5).eval()


def test_the_mean_position_of_a_map_drawn_by_hand():
    # 2 rows, 4 columns: a quarter in the top left cell, three quarters in the bottom right one.
    chances = torch.zeros(1, 2, 4)
    chances[0, 0, 0], chances[0, 1, 3] = 0.25, 0.75
    found = mean_position(chances.log())
    torch.testing.assert_close(found, torch.tensor([[0.25 / 8 + 0.75 * 7 / 8, 0.0625 + 0.5625]]))


def test_features_are_weighed_by_the_map():
    cells = torch.tensor([[[[1.0, 10.0], [2.0, 20.0]]]])
    chances = torch.tensor([[[0.25, 0.75]]])
    torch.testing.assert_close(attended(cells, chances.log()), torch.tensor([[1.75, 17.5]]))


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 6), st.integers(1, 6))
def test_the_target_of_a_narrow_gaussian_is_the_cell_that_holds_the_point(x, y, rows, columns):
    target = cell_targets(torch.tensor([[[x, y]]]), torch.ones(1, 1), (rows, columns), 1e-3)
    assert target.sum().item() == pytest.approx(1)
    # On the line between two cells either will do.
    at = torch.nonzero(target[0] > 0.4)
    for row, column in at.tolist():
        assert abs((row + 0.5) / rows - y) <= 0.5 / rows + 1e-3
        assert abs((column + 0.5) / columns - x) <= 0.5 / columns + 1e-3


def test_a_target_map_against_the_formula_written_out():
    point, sigma = torch.tensor([[[0.3, 0.8], [0.9, 0.1], [9.0, torch.nan]]]), 0.25
    weight = torch.tensor([[1.0, 3.0, 0.0]])
    expected = torch.zeros(3, 4)
    for (x, y), share in zip([(0.3, 0.8), (0.9, 0.1)], (0.25, 0.75), strict=True):
        each = torch.zeros(3, 4)
        for row in range(3):
            for column in range(4):
                away = ((column + 0.5) / 4 - x) ** 2 + ((row + 0.5) / 3 - y) ** 2
                each[row, column] = math.exp(-away / 2 / sigma**2)
        expected += share * each / each.sum()
    torch.testing.assert_close(cell_targets(point, weight, (3, 4), sigma)[0], expected)


@pytest.mark.parametrize("name", KINDS)
def test_an_untrained_map_is_even_and_pools_what_the_mean_of_cells_pools(name):
    model = build(name)
    with torch.inference_mode():
        outputs = model(IMAGES)
        features = model.backbone.forward_features(model.normalise(IMAGES))
    assert outputs.attention_BHW.exp().flatten(1).std(dim=1).max() < 1e-6
    torch.testing.assert_close(outputs.point_B2, torch.full((3, 2), 0.5))
    if features.ndim == 4:  # a CNN's own pooling is that mean: the logits are the plain model's
        plain = timm.create_model(name, num_classes=5).eval()
        plain.load_state_dict(split_state_dict(state_dict_for_file(model))[0])
        with torch.inference_mode():
            expected = plain(model.normalise(IMAGES))
        torch.testing.assert_close(outputs.logits_BC, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS[:-1])  # the last pools by a layer of its own
def test_all_attention_on_one_cell_classifies_by_that_cell_alone(name):
    model = build(name)

    class Only(AttentionMap):
        def forward(self, cells_BHWD):
            chances = torch.zeros(cells_BHWD.shape[:3])
            chances[:, -1, 0] = 1
            return chances.log()

    width = model.point_head.score.in_features
    model.point_head = Only(width)
    with torch.inference_mode():
        outputs = model(IMAGES)
        features = model.backbone.forward_features(model.normalise(IMAGES))
        backbone = model.backbone
        if features.ndim == 4:
            one = features[:, :, -1:, :1]
            expected = backbone.forward_head(one)
        else:
            rows, columns = backbone.patch_embed.grid_size
            token = features[:, backbone.num_prefix_tokens + (rows - 1) * columns]
            expected = backbone.get_classifier()(backbone.fc_norm(token))
    torch.testing.assert_close(outputs.logits_BC, expected, rtol=1e-4, atol=1e-5)
    rows, columns = outputs.attention_BHW.shape[1:]
    expected_point = torch.tensor([0.5 / columns, 1 - 0.5 / rows]).expand(3, 2)
    torch.testing.assert_close(outputs.point_B2, expected_point)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_without_pooling_the_labels_are_the_plain_models_whatever_the_map_says(name):
    model = build(name, pooled=False)
    torch.nn.init.normal_(model.point_head.score.weight)
    size = {"img_size": 64} if name == "test_vit" else {}
    plain = timm.create_model(name, num_classes=5, **size).eval()
    plain.load_state_dict(split_state_dict(state_dict_for_file(model))[0], strict=True)
    with torch.inference_mode():
        found, expected = model(IMAGES).logits_BC, plain(model.normalise(IMAGES))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_map_learns_where_a_bright_square_is_and_the_label_term_reaches_it():
    model = build("test_resnet", output_stride=8).train()
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        images = torch.zeros(16, 3, 64, 64, dtype=torch.uint8)
        at = torch.randint(0, 48, (16, 2), generator=generator)
        for image, (x, y) in zip(images, at.tolist(), strict=True):
            image[:, y : y + 16, x : x + 16] = 255
        point = (at + 8) / 64
        outputs = model(images)
        target = cell_targets(point[:, None], torch.ones(16, 1), (8, 8), 0.1)
        loss = -(target * outputs.attention_BHW).sum(dim=(1, 2)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (outputs.point_B2 - point).norm(dim=1).mean() < 0.12  # the centre would be .27 away
    model.zero_grad()
    model(images).logits_BC.square().sum().backward()
    assert model.point_head.score.weight.grad.abs().sum() > 0


def test_a_saved_map_comes_back_bit_for_bit(tmp_path):
    model, other = build(seed=1), build(seed=2)
    torch.nn.init.normal_(model.point_head.score.weight)
    save_file(state_dict_for_file(model), tmp_path / "model.safetensors")
    load_state_from_file(other, load_file(tmp_path / "model.safetensors"))
    with torch.inference_mode():
        for a, b in zip(model(IMAGES)[:3], other(IMAGES)[:3], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("coat_tiny", 64, r"CoaT gives features of shape several maps; expected a map"),
        ("test_resnet", 32, r"single cell .*image_size=32.*--set model.output_stride=8 or 16"),
        ("pit_ti_distilled_224", 224, "single cell"),  # its class tokens are all it gives
        ("test_resnet", 8, "cannot answer an image of data.image_size=8|single cell"),
    ],
)
def test_a_model_without_cells_is_refused_before_it_is_trained(name, size, message):
    model = Model(name=name, point_head="attention")
    with pytest.raises(OptionError, match=message):
        build_model(model, Data(image_size=size, eval_resize=size), num_classes=5)


def test_a_mistake_of_the_code_is_not_blamed_on_the_options(monkeypatch):
    def broken(self, image):
        return image.no_such_thing

    monkeypatch.setattr(LuabModel, "forward", broken)
    with pytest.raises(AttributeError, match="no_such_thing"):
        build()
