"""Every module of timm: our labels are timm's, every weight learns, maps lie as images do.

The smallest network of each module, and those with heads or tokens of their own kind; a few always,
all of them with -m slow.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from luab_data.errors import OptionError
from luab_train.models.attention import cells_of
from luab_train.models.classifier import build_model, linear_layers
from luab_train.models.weight_files import unwrapped
from luab_train.sections import Data, Model

TRAIN_PAGE = Path(__file__).parents[1] / "docs" / "train.md"
FAMILIES = {
    "beit": "beit_base_patch16_224",
    "byoanet": "eca_botnext26ts_256",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_atto_rms",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "efficientnet_lite0",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "maxvit_pico_rw_256",
    "metaformer": "caformer_s18",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_004_tv",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
"""Module of timm -> its smallest network; but for deepseek_vit, whose smallest has 412 million
weights.
"""
OTHERS = (
    "deit_tiny_distilled_patch16_224",
    "efficientvim_m1_dist",
    "levit_conv_128s",
    "mvitv2_small_cls",
    "pit_ti_distilled_224",
    "resnetv2_50x1_bit",
    "vit_little_patch16_reg1_gap_256",
)
NO_MAP = {
    "coat_tiny": "several maps",
    "crossvit_tiny_240": "several maps",
    "efficientvim_m1": "several maps",
    "efficientvim_m1_dist": "several maps",
    "pit_ti_224": "single cell",
    "pit_ti_distilled_224": "single cell",
}
"""Networks without a place for an attention head -> what is said of them."""
QUICK = (
    "test_byobnet", "crossvit_tiny_240", "deit_tiny_distilled_patch16_224", "dla46x_c",
    "edgenext_xx_small", "efficientvit_m0", "levit_128s", "test_mambaout", "test_nfnet",
    "pit_ti_distilled_224", "repvit_m1", "shvit_s1", "swiftformer_xs", "volo_d1_224",
    "test_vit_relpos",
)  # fmt: skip
NAMES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in (*FAMILIES.values(), *OTHERS)
]
SIZES = {
    "crossvit_tiny_240": 240,
    "efficientformer_l1": 224,
    **dict.fromkeys(("inception_v3", "inception_v4", "inception_resnet_v2", "csatv2"), 128),
    **dict.fromkeys(("efficientvit_m0", "levit_128s", "levit_conv_128s", "selecsls42"), 128),
    "shvit_s1": 128,
}


def build(name: str, **options):
    if not timm.is_model(name):
        pytest.skip(f"not in timm {timm.__version__}")
    torch.manual_seed(0)
    size = SIZES.get(name, 64)
    model = build_model(
        Model(name=name, **options), Data(image_size=size, eval_resize=size), num_classes=5
    )
    return model, torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)


def learns(model, images):
    """Every weight has a gradient: DDP waits for each."""
    outputs = model.train()(images)
    loss = outputs.logits_BC.square().sum() + outputs.point_BKD.square().sum()
    if outputs.attention_BHW is not None:
        loss = loss + outputs.attention_BHW.square().sum()
    loss.backward()
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def stirred(model):
    """Norms and layer scales that begin at 0 or 1 would hide what is left out."""
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_timms_and_every_weight_learns(name):
    model, images = build(name)
    stirred(model)
    with torch.inference_mode():
        outputs, expected = model(images), model.backbone(model.normalise(images))
    assert torch.equal(outputs.logits_BC, expected) and outputs.logits_BC.shape == (2, 5)
    assert outputs.point_BKD.shape == (2, 1, 2)
    assert learns(model, images) == []
    # The point head saw what the logits are made of: a step of it moves the features, not them.
    assert model.point_head.in_features == sum(
        layer.weight.shape[1] for layer in linear_layers(model.backbone)
    )
    # A network's own names are no wrapper's (volo has a `network`).
    own = model.backbone.state_dict()
    wrapped = {f"module._orig_mod.model.{key}": value for key, value in own.items()}
    assert unwrapped(wrapped, own, Path("x")).keys() == own.keys()


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_maps_lie_as_images_do(name, pooled):
    options = {"point_head": "attention", "attentive_pooling": pooled}
    if name in NO_MAP:
        with pytest.raises(OptionError, match=f"point_head=attention: .*{NO_MAP[name]}"):
            build(name, **options)
        return
    model, images = build(name, **options)
    model.eval()
    with torch.inference_mode():
        features = model.backbone.forward_features(model.normalise(images))
        outputs = model(images)
        expected = model.backbone(model.normalise(images))
    assert pooled or torch.equal(outputs.logits_BC, expected)
    assert outputs.attention_BHW.shape[1:].numel() > 1
    if features.ndim == 3 and "levit" not in name:  # a levit sees all alike until it is trained
        assert [_loudest(model, *corner) for corner in ((0, 0), (0, 1), (1, 0), (1, 1))] == [
            True
        ] * 4
    assert learns(model, images) == []


@torch.inference_mode()
def _loudest(model, bottom: int, right: int) -> bool:
    """Whether noise in one quarter of an image changes the cells of that quarter most."""
    size = SIZES.get(model.backbone.pretrained_cfg["architecture"], 64)
    plain = torch.randn(8, 3, size, size) / 2
    noisy, quarter = plain.clone(), size // 4
    top, left = (size * at // 2 + size // 8 for at in (bottom, right))
    noisy[..., top : top + quarter, left : left + quarter] += 2 * torch.randn(
        8, 3, quarter, quarter
    )
    before, after = (
        cells_of(model.backbone, model.backbone.forward_features(image)) for image in (plain, noisy)
    )
    change = (after - before).norm(dim=-1).mean(dim=0)
    halves = [torch.tensor_split(row, 2, dim=1) for row in torch.tensor_split(change, 2)]
    mean = torch.tensor([[part.mean() for part in row] for row in halves])
    return int(mean.argmax()) == 2 * bottom + right


def test_the_page_says_what_is_tested():
    page = " ".join(TRAIN_PAGE.read_text().split())
    unmapped = sorted(module for module, name in FAMILIES.items() if name in NO_MAP)
    assert f"of {len(FAMILIES)} of timm's modules, all but deepseek_vit" in page
    heads = "no head of cells (`attention`, `grounding`)"
    assert f"{heads} on {', '.join(unmapped[:-1])} and {unmapped[-1]}" in page
