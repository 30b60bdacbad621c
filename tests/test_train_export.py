from __future__ import annotations

import json

import pytest
import timm
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from train_world import make_world, small_recipe

from luab_data.errors import OptionError, OutputError
from luab_train import load_model, override, train
from luab_train.cli import main
from luab_train.train.export import export_backbone

IMAGES = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
POOLED = {"model.point_head": "attention", "model.attentive_pooling": True}


def run_of(tmp_path, **changes):
    world = make_world(tmp_path)
    recipe = override(small_recipe(epochs=1), changes)
    train(recipe, data=world.data, images=world.images, out=tmp_path / "run", shown=False)
    return tmp_path / "run"


@pytest.mark.parametrize(
    "changes",
    [{}, {"model.name": "test_vit", "model.patch_size": 8, "model.drop_path_rate": 0.1}, POOLED],
    ids=["cnn", "vit", "attentive"],
)
def test_a_plain_timm_model_loads_what_was_exported(tmp_path, changes):
    run, out = run_of(tmp_path, **changes), tmp_path / "plain.safetensors"
    found = CliRunner().invoke(main, ["export", str(run), "--out", str(out)])
    assert found.exit_code == 0, found.output
    with safe_open(out, "pt") as file:
        facts = json.loads(file.metadata()["luab"])
    assert facts["classes"] == ["n00000001", "n00000002"] and facts["image_size"] == 32
    plain = timm.create_model(facts["model"], **facts["options"]).eval()
    plain.load_state_dict(load_file(out), strict=True)
    ours = load_model(run)
    with torch.inference_mode():
        expected, theirs = ours(IMAGES).logits_BC, plain(ours.normalise(IMAGES))
    pooled = "model.attentive_pooling" in changes
    assert facts["same_labels"] != pooled and ("attention map" in found.output) == pooled
    if not pooled:
        torch.testing.assert_close(theirs, expected, rtol=1e-4, atol=1e-5)


def test_a_file_that_is_there_is_kept_and_an_unfinished_run_refused(tmp_path):
    run, out = run_of(tmp_path), tmp_path / "plain.safetensors"
    out.write_text("mine")
    with pytest.raises(OutputError, match="this verb did not write it"):
        export_backbone(run, out, force=True)
    assert out.read_text() == "mine"
    out.unlink()
    assert not export_backbone(run, out)["is_same"] and export_backbone(run, out)["is_same"]
    save_file({"a": torch.zeros(1)}, out, metadata={"luab": "{}"})  # of another run of ours
    with pytest.raises(OutputError, match="other content; replace it with --force"):
        export_backbone(run, out)
    assert not export_backbone(run, out, force=True)["is_same"]
    (run / "model.safetensors").unlink()
    with pytest.raises(OptionError, match="expected a complete run"):
        export_backbone(run, tmp_path / "other.safetensors")
