"""Files of weights, ours and of others: what they hold is found, and said where it is missing."""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from pathlib import Path, PosixPath

import numpy as np
import pytest
import timm
import torch
from miniatures.run import make_run
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from luab_data.errors import OptionError
from luab_train.evaluate.predictor import load_predictor
from luab_train.models.classifier import build_model, timm_config
from luab_train.models.weight_files import read_weights
from luab_train.models.weights import head_classes, load_backbone, weights_digest
from luab_train.sections import Data, Model
from luab_train.train.export import export_backbone

NAME = "test_resnet"


def network(seed: int, name: str = NAME, num_classes: int = 1000) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=num_classes)


RAW, AVERAGE = network(1), network(2)
OWN, EMA = RAW.state_dict(), AVERAGE.state_dict()


class Settings(dict):
    """As Lightning's hyperparameters: a class that is nowhere to be imported from."""


class Metric(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


class Lightning(nn.Module):
    """A network, its average and a loss with weights in one module."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.ema_model, self.criterion = RAW, AVERAGE, Metric()


def prefixed(*prefixes: str, weights=OWN):
    return {"".join(f"{prefix}." for prefix in prefixes) + key: v for key, v in weights.items()}


def averaged() -> AveragedModel:
    model = AveragedModel(RAW, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    model.module.load_state_dict(OWN)
    return model


def hyper() -> Settings:
    settings = Settings(lr=0.1)
    settings.extra = {"a": 1}
    return settings


ARGS = argparse.Namespace(lr=0.1, path=PosixPath("/data"), data={"a": np.float64(0.5)})
CHECKPOINTS = {
    "plain": OWN,
    "parameters": dict(RAW.named_parameters()) | dict(RAW.named_buffers()),
    "timm": {"epoch": 3, "arch": NAME, "state_dict": OWN, "optimizer": {"state": {0: OWN}},
             "args": ARGS, "metric": np.float64(0.7), "state_dict_ema": EMA},
    "deit": {"model": OWN, "optimizer": {}, "args": ARGS, "model_ema": EMA, "scaler": {}},
    "torchvision": {"model": OWN, "args": ARGS, "model_ema": averaged().state_dict(),
                    "lr_scheduler": {"best": np.float32(1), "counts": np.arange(3)}},
    "compile": prefixed("_orig_mod"),
    "ddp of compile": {"state_dict": prefixed("module", "_orig_mod")},
    "compile of ddp": {"model": prefixed("_orig_mod", "module")},
    "four wrappers": prefixed("model", "_orig_mod", "module", "backbone"),
    "lightning": {"state_dict": Lightning().state_dict(), "hyper_parameters": hyper(),
                  "callbacks": defaultdict(list, {"best": [np.float64(0.1)]}), "loops": {}},
    "swa": averaged().state_dict(),
    "ema only": {"state_dict_ema": OWN, "epoch": 1},
    "nested": {"checkpoint": 1, "model": {"state_dict": OWN}},
    "with our head": {**prefixed("backbone"), "point_head.weight": torch.zeros(2, 64),
                      "point_head.bias": torch.zeros(2)},
    "own head beside a wrapped body": {
        ("" if key.startswith("fc.") else "backbone.") + key: v for key, v in OWN.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_checkpoints_of_others_are_read_as_the_network_in_them(tmp_path, kind, legacy):
    if legacy and kind == "lightning":
        pytest.skip("a format that does not list its classes")
    file = tmp_path / "x.pth"
    torch.save(CHECKPOINTS[kind], file, _use_new_zipfile_serialization=not legacy)
    model = network(3)
    load_backbone(model, file)
    assert all(torch.equal(value, OWN[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["timm", "deit", "lightning"])
def test_the_average_is_chosen_by_name(tmp_path, kind):
    file = tmp_path / "x.pth"
    torch.save(CHECKPOINTS[kind], file)
    found = read_weights(file, key="ema", names=OWN)
    assert all(torch.equal(value, EMA[key]) for key, value in found.items())
    key = {"timm": "state_dict_ema", "deit": "model_ema"}.get(kind)
    if key:
        assert torch.equal(read_weights(file, key=key)["fc.weight"], EMA["fc.weight"])
    raw, ema = (
        load_predictor(file, arch=NAME, weights_key=name, device="cpu") for name in (None, "ema")
    )
    assert torch.equal(raw.model.backbone.fc.weight, OWN["fc.weight"])
    assert torch.equal(ema.model.backbone.fc.weight, EMA["fc.weight"])


def test_a_key_that_is_not_there_is_told_from_those_that_are(tmp_path):
    file = tmp_path / "x.pth"
    torch.save(CHECKPOINTS["compile of ddp"], file)
    for key in ("ema", "teacher"):
        with pytest.raises(OptionError, match=f"holds no weights called {key}; found model"):
            read_weights(file, key=key)
    torch.save(OWN, file)
    with pytest.raises(OptionError, match="found one state dict"):
        read_weights(file, key="ema")


class Bomb:
    def __reduce__(self):
        return (shutil.copyfile, ("x.pth", "bomb"))


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": OWN, "args": Bomb()}, tmp_path / "x.pth")
    assert read_weights(tmp_path / "x.pth").keys() == OWN.keys()
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(
    "content",
    [RAW, [1, 2], {"epoch": 3}, {"optimizer": {"state": {0: OWN}}}, {"a": print}, {"a": Path.open}],
)
def test_what_holds_no_weights_is_one_sentence(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(OptionError) as caught:
        read_weights(tmp_path / "x.pth")
    assert "x.pth: " in str(caught.value) and "state_dict" in str(caught.value)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_two_networks_in_one_file_are_refused(tmp_path):
    torch.save({**prefixed("model"), **prefixed("module")}, tmp_path / "x.pth")
    with pytest.raises(OptionError, match=r"one name under two wrappers \(model, module\)"):
        read_weights(tmp_path / "x.pth")


# Heads.

HEADS = (
    "crossvit_tiny_240", "efficientformer_l1", "levit_128s", "pit_ti_distilled_224", "repvit_m1",
    "swiftformer_xs", "volo_d1_224", "deit_tiny_distilled_patch16_224", "dla46x_c", "test_vit",
    "test_convnext", NAME,
)  # fmt: skip


SIZES = {"crossvit_tiny_240": 240, "test_vit": 160}


@pytest.mark.parametrize("name", HEADS)
def test_heads_of_other_classes_are_counted_whatever_they_are_called(tmp_path, name):
    model, other = network(0, name, 6), network(1, name, 4)
    own, weights = model.state_dict(), other.state_dict()
    assert head_classes(own, weights, 6) == 4 and head_classes(own, own, 6) is None
    save_file(weights, tmp_path / "x.safetensors")
    start = build_model(
        Model(name=name, checkpoint=str(tmp_path / "x.safetensors")),
        Data(image_size=SIZES.get(name, 224)),
        num_classes=6,
    )
    loaded = start.backbone.state_dict()
    assert all(
        torch.equal(loaded[key], weights[key]) == (weights[key].shape == own[key].shape)
        for key in own
    )


@pytest.mark.parametrize("name", [NAME, "levit_128s"])
def test_a_file_with_another_head_is_not_scored_with_a_random_one(tmp_path, name):
    save_file(network(0, name, 100).state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(OptionError, match="its head has 100 classes, 1,000 expected"):
        load_predictor(tmp_path / "x.safetensors", arch=name, device="cpu")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vit_tiny_patch16_224.augreg_in21k", "21,843"),
        ("vit_base_patch16_clip_224.openai", "512"),
        ("vit_small_patch16_224.dino", "0"),
        ("convnext_tiny.in12k", "11,821"),
    ],
)
def test_a_published_head_of_another_size_is_refused_before_it_is_loaded(name, count, monkeypatch):
    monkeypatch.setattr(timm, "create_model", None)
    with pytest.raises(OptionError, match=f"its head has {count} classes, 1,000 expected; choose"):
        load_predictor(name, pretrained=True)


# Networks with heads or names of their own.


@pytest.mark.parametrize(
    "name", ["deit_tiny_distilled_patch16_224", "levit_128s", "pit_ti_distilled_224", "dla46x_c"]
)
def test_a_file_is_evaluated_as_timm_does(tmp_path, name):
    model = network(0, name)
    torch.save({"model": model.state_dict(), "args": ARGS}, tmp_path / "x.pth")
    predictor = load_predictor(tmp_path / "x.pth", arch=name, device="cpu")
    image = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model.eval()(predictor.model.normalise(image))
    assert torch.equal(predictor(image).logits_BC, expected)


def test_names_of_a_networks_authors_are_timms_to_translate(tmp_path):
    own = network(0, "levit_128s").state_dict()
    theirs = {
        key: v[:, :, 0, 0] if v.ndim == 4 and v.shape[2:] == (1, 1) else v for key, v in own.items()
    }
    theirs["blocks.0.attention_bias_idxs"] = torch.zeros(2, 2)
    torch.save(theirs, tmp_path / "x.pth")
    model = network(1, "levit_128s")
    load_backbone(model, tmp_path / "x.pth")
    assert all(torch.equal(value, own[key]) for key, value in model.state_dict().items())


def test_weights_for_another_image_size_are_not_resampled(tmp_path):
    torch.save(timm.create_model("test_vit", img_size=96).state_dict(), tmp_path / "x.pth")
    with pytest.raises(OptionError, match=r"not weights of this model: .*pos_embed"):
        load_predictor(tmp_path / "x.pth", arch="test_vit", device="cpu")


# The Hub.


def hub_folder(root: Path, num_classes: int = 1000) -> str:
    """A model as timm publishes it, in a folder: read by the code that reads the Hub's."""
    (root / "net").mkdir()
    model = network(4, num_classes=num_classes)
    save_file(model.state_dict(), root / "net" / "model.safetensors")
    config = dict(model.pretrained_cfg, mean=[0.1, 0.2, 0.3], input_size=[3, 96, 96])
    text = {"architecture": NAME, "num_classes": num_classes, "pretrained_cfg": config}
    (root / "net" / "config.json").write_text(json.dumps(text))
    return f"local-dir:{root / 'net'}"


def test_a_name_with_a_source_is_a_timm_model(tmp_path):
    name = hub_folder(tmp_path)
    predictor = load_predictor(name, pretrained=True, device="cpu")
    assert predictor.data.mean == (0.1, 0.2, 0.3) and predictor.data.image_size == 96
    assert torch.equal(predictor.model.backbone.fc.weight, network(4).fc.weight)
    model = build_model(Model(name=name, pretrained=True), Data(image_size=64), num_classes=5)
    assert torch.equal(model.backbone.conv1[0].weight, network(4).conv1[0].weight)


def test_a_source_says_what_it_holds_too(tmp_path):
    with pytest.raises(OptionError, match="its head has 7 classes, 1,000 expected"):
        load_predictor(hub_folder(tmp_path, num_classes=7), pretrained=True)


def test_the_hub_is_asked_and_what_it_says_is_one_sentence(monkeypatch):
    asked = []

    def nowhere(repo_id, *_: object, **__: object):
        asked.append(repo_id)
        raise ConnectionError("no route to host\nmany lines of advice")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", nowhere)
    timm_config.cache_clear()
    for name in ("hf-hub:timm/resnet18.a1_in1k", "hf_hub:timm/resnet18.a1_in1k"):
        with pytest.raises(OptionError, match=r"no route to host\). Offline, download it where"):
            load_predictor(name, pretrained=True)
        with pytest.raises(OptionError, match=r"no route to host\). Offline, download it where"):
            build_model(Model(name=name), Data(), num_classes=5)
    assert set(asked) == {"timm/resnet18.a1_in1k"}


# What an exported file says of itself.


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    changes = {"data.mean": (0.5, 0.5, 0.5), "data.std": (0.4, 0.5, 0.6), "data.eval_resize": 40}
    changes |= {"data.interpolation": "bilinear", "model.name": "test_vit", "model.patch_size": 8}
    run = make_run(root, changes=changes)
    export_backbone(str(run), str(root / "x.safetensors"))
    return run, root / "x.safetensors"


def test_an_exported_file_is_opened_as_its_run(exported):
    run, file = exported
    image = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    expected = load_predictor(run, device="cpu")
    for arch in (None, "test_vit"):
        found = load_predictor(file, arch=arch, device="cpu")
        assert found.classes == expected.classes and not found.point_trained
        fed = ("image_size", "eval_resize", "eval_fit", "interpolation", "mean", "std")
        assert all(getattr(found.data, key) == getattr(expected.data, key) for key in fed)
        assert found.notes == ()
        torch.testing.assert_close(found(image).logits_BC, expected(image).logits_BC)


def test_weights_in_a_runs_folder_are_opened_as_the_run(exported):
    run, _ = exported
    weights = load_file(run / "model.safetensors")
    weights["head.bias"] += 1
    save_file(weights, run / "best.safetensors")
    last, best, expected = (
        load_predictor(path, device="cpu")
        for path in (run / "model.safetensors", run / "best.safetensors", run)
    )
    assert (last.data, last.classes, last.digest) == (
        expected.data, expected.classes, expected.digest
    )  # fmt: skip
    assert (best.data, best.classes, best.name) == (last.data, last.classes, "run (best)")
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    torch.testing.assert_close(best(image).logits_BC, expected(image).logits_BC + 1)
    with pytest.raises(OptionError, match="is of a run, where --arch has no meaning"):
        load_predictor(run / "best.safetensors", arch="test_vit")


def test_an_exported_file_contradicts_what_it_does_not_hold(exported):
    _, file = exported
    with pytest.raises(OptionError, match=r"exported from a run of test_vit; --arch test_resnet"):
        load_predictor(file, arch="test_resnet")
    with pytest.raises(OptionError, match="says itself how its network is fed"):
        load_predictor(file, preprocessing="timm")


def test_a_file_that_says_nothing_says_what_was_assumed(exported, tmp_path):
    save_file(network(0).state_dict(), tmp_path / "x.safetensors")
    (note,) = load_predictor(tmp_path / "x.safetensors", arch=NAME, device="cpu").notes
    assert "assumed image_size 160, eval_resize 182, eval_fit crop, interpolation bilinear" in note
    assert "mean 0.5, 0.5, 0.5, std 0.5, 0.5, 0.5;" in note
    assert "the classes of ImageNet-1k in their usual order" in note
    # An export of before says some of it: only the rest is assumed.
    facts = {"model": NAME, "options": {"num_classes": 3}, "classes": ["a", "b", "c"],
             "mean": [0.5] * 3, "std": [0.5] * 3, "image_size": 64}  # fmt: skip
    weights = network(0, num_classes=3).state_dict()
    save_file(weights, tmp_path / "old.safetensors", metadata={"luab": json.dumps(facts)})
    old = load_predictor(tmp_path / "old.safetensors", device="cpu")
    assert old.classes == ("a", "b", "c") and old.data.mean == (0.5, 0.5, 0.5)
    assert (old.data.image_size, old.data.eval_resize) == (64, 72)
    (note,) = old.notes
    assert note.endswith("assumed eval_resize 72, eval_fit crop, interpolation bilinear")


def test_an_export_without_the_suffix_is_refused(exported):
    run, _ = exported
    with pytest.raises(OptionError, match=r"expected --out plain.safetensors"):
        export_backbone(run, run / "plain.pth")


@pytest.mark.parametrize("head", ["regression", "attention", "grounding"])
def test_a_file_with_a_point_head_has_points(tmp_path, head):
    half = Data(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    model = build_model(Model(name=NAME, point_head=head), half, num_classes=1000).eval()
    torch.save(model.state_dict(), tmp_path / "x.pth")
    predictor = load_predictor(tmp_path / "x.pth", arch=NAME, device="cpu")
    assert predictor.digest == weights_digest(model.state_dict())
    found = predictor(IMAGE)
    assert predictor.point_trained and (found.attention_BHW is not None) == (head == "attention")
    assert (found.grounding is not None) == (head == "grounding")
    with torch.inference_mode():
        assert torch.equal(predictor(IMAGE).point_BKD, model(IMAGE).point_BKD)


IMAGE = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
