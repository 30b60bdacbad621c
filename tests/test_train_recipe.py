from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luab_data.errors import OptionError
from luab_train import recipes
from luab_train.recipe import Recipe, from_json
from luab_train.recipes import find_recipe, recipe_functions
from luab_train.sections import OUTLINES, TARGETS, Model, Optim
from luab_train.settings import differences, flatten, override, to_json

TINY = find_recipe("debug:tiny")


def ours() -> list[str]:
    names = []
    for info in pkgutil.iter_modules(recipes.__path__):
        module = importlib.import_module(f"luab_train.recipes.{info.name}")
        names += [f"{info.name}:{name}" for name in recipe_functions(module)]
    return names


@pytest.mark.parametrize("name", ours())
def test_our_recipes_are_found_by_the_name_they_carry_and_explain_themselves(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    module, function = name.split(":")
    doc = getattr(importlib.import_module(f"luab_train.recipes.{module}"), function).__doc__
    for part in ("Run: ", "Expect: ", "Source: "):
        assert part in doc
    assert f"luab-train run {name}" in " ".join(doc.split())


def test_the_recipes_of_this_issue_exist():
    assert {"imagenet_ab:resnet50", "imagenet_ab:resnet50_click", "debug:tiny"} <= set(ours())


def test_the_control_differs_in_the_target_alone():
    changed = differences(
        find_recipe("imagenet_ab:resnet50"), find_recipe("imagenet_ab:resnet50_click")
    )
    assert set(changed) == {"name", "target"}
    assert changed["target"] == ("none", "click")


def test_the_hundred_epoch_settings_are_those_of_the_usual_reading():
    flat = flatten(find_recipe("imagenet_ab:resnet50_click"))
    expected = {
        "epochs": 100,
        "batch_size": 256,
        "optim.name": "momentum",
        "optim.lr": 0.1,
        "optim.momentum": 0.9,
        "optim.weight_decay": 1e-4,
        "data.image_size": 224,
        "data.eval_resize": 256,
        "loss.beta": 1.0,
    }
    assert {key: flat[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("optim.lr", "0.05", 0.05),
        ("optim.lr", "1e-3", 1e-3),
        ("epochs", "7", 7),
        ("target", "none", "none"),
        ("data.crop_scale", "0.3,0.9", (0.3, 0.9)),
        ("data.crop_scale", "(0.3, 0.9)", (0.3, 0.9)),
        ("optim.clip_grad", "1", 1.0),
        ("model.output_stride", "16", 16),
        ("model.output_stride", "none", None),
        ("optim.clip_grad", "none", None),
        ("optim.decay_all", "true", True),
        ("model.checkpoint", "a/b.safetensors", "a/b.safetensors"),
        ("model.point_output", "linear", "linear"),
        ("data.cache", "none", "none"),
    ],
)
def test_text_is_converted_to_the_type_of_the_field(key, text, value):
    got = flatten(override(TINY, {key: text}))[key]
    assert got == value and type(got) is type(value)


def test_an_override_changes_its_keys_and_no_other():
    changed = override(TINY, {"optim.lr": "0.5", "seed": 3, "data.flip": 0})
    assert set(differences(TINY, changed)) == {"optim.lr", "seed", "data.flip"}
    assert override(TINY, {}) == TINY
    assert TINY == find_recipe("debug:tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lrr": "5"}, "unknown key 'lrr'; did you mean 'optim.lr'"),
        ({"lr": "5"}, r"unknown key 'lr'; did you mean 'optim.lr' or"),
        ({"loss.point_head": "5"}, r"did you mean 'model.point_head'"),
        ({"optim.lrr": "5"}, r"unknown key 'optim.lrr'; did you mean 'optim.lr'"),
        ({"optim": "5"}, "unknown key 'optim'; expected one of optim.name, optim.lr, .*precision$"),
        ({"epochs": "1.5"}, "epochs is '1.5'; expected a whole number"),
        ({"epochs": True}, "epochs is True; expected a whole number"),
        ({"epochs": "0"}, "epochs is '0'; expected a whole number, at least 1"),
        ({"optim.lr": "fast"}, "optim.lr is 'fast'; expected a finite number"),
        ({"optim.lr": "nan"}, "optim.lr is 'nan'; expected a finite number"),
        ({"optim.lr": "-1"}, "optim.lr is '-1'; expected a finite number, at least 0"),
        ({"optim.decay_all": "maybe"}, "optim.decay_all is 'maybe'; expected true or false"),
        ({"target": "clicks"}, "target is 'clicks'; expected one of none, random, centre"),
        ({"data.crop_scale": "0.5"}, "data.crop_scale is '0.5'; expected 2 numbers"),
        ({"data.crop_scale": "0.9,0.5"}, "data.crop_scale is 0.9,0.5; expected"),
        ({"data.crop_scale": "0.5,1.5"}, "data.crop_scale is 0.5,1.5; expected"),
        ({"data.std": "0,1,1"}, "data.std"),
        ({"data.eval_resize": "32"}, "data.eval_resize is 32, less than data.image_size 64"),
        ({"optim.warmup_epochs": "15"}, "optim.warmup_epochs is 15 of 15 epochs"),
        (
            {"optim.clip_grad": "0"},
            "optim.clip_grad is '0'; expected a finite number, at least",
        ),
        ({"optim.min_lr": "1"}, "optim.min_lr 1 is above optim.lr"),
        ({"optim.warmup_lr": "1"}, "optim.warmup_lr 1 is above optim.lr"),
        ({"target": "trace"}, "target trace is a map"),
        ({"target": "dwell_time", "data.point_noise": "0.1"}, "target dwell_time is none"),
        ({"model.attentive_pooling": "true"}, "needs model.point_head=attention"),
        ({"data.dataset": "coco-ab"}, "expected loss.classification=bce"),
        ({"model.pretrained": "true", "model.checkpoint": "x.pth"}, "both say where weights come"),
        ({"loss.reliability_weights": "true", "target": "none"}, "weighs clicks of ImageNet-AB"),
        ({"optim.accumulate": "7"}, "in optim.accumulate 7 parts"),
        ({"seed": "-1"}, "seed is '-1'; expected a whole number, from 0 to 2147483647"),
        ({"model.output_stride": "12"}, "model.output_stride is '12'; expected one of 8, 16, 32"),
        ({"loss.lambda_reg": "inf"}, "loss.lambda_reg is 'inf'"),
        ({"model.name": 5}, "model.name is 5; expected text"),
        ({"data.mean": "0.5,nan,0.5"}, "data.mean is '0.5,nan,0.5'; expected 3 numbers"),
        ({"targt": "click"}, "unknown key 'targt'; did you mean 'target'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(changes, message):
    with pytest.raises(OptionError, match=message):
        override(TINY, changes)


def _with_what_fits(changes):
    """A trace is a map, an outline for where a network looks; others do with what TINY has."""
    outline = {"loss.attention": "rrr", "loss.lambda_reg": 0.0}
    wanted = {"trace": {"model.point_head": "attention"}, **dict.fromkeys(OUTLINES, outline)}
    return changes | wanted.get(changes.get("target"), {})


_changes = st.fixed_dictionaries(
    {},
    optional={
        "optim.lr": st.floats(1e-3, 1),
        "optim.clip_grad": st.none() | st.floats(1e-3, 9),
        "target": st.sampled_from(TARGETS),
        "data.crop_scale": st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1)),
        "seed": st.integers(0, 1000),
        "model.pretrained": st.booleans(),
    },
).map(_with_what_fits)


@given(_changes)
def test_json_brings_an_equal_recipe_back(changes):
    recipe = override(TINY, changes)
    assert from_json(to_json(recipe)) == recipe


@given(_changes)
def test_flattened_and_put_back_key_by_key_nothing_is_lost(changes):
    recipe = override(TINY, changes)
    assert override(find_recipe("imagenet_ab:resnet50"), flatten(recipe)) == recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(lrr=5), "unknown keys lrr"),
        (lambda c: c["optim"].update(lrr=5), "unknown keys optim.lrr"),
        (lambda c: c.update(optim=5), "optim. is int, expected an object"),
        (lambda c: c["optim"].update(lr="0.1"), "optim.lr is '0.1'; expected a finite number"),
        (lambda c: c.pop("epochs"), "epochs"),
    ],
)
def test_a_recipe_file_that_is_not_ours_is_refused(change, message):
    content = json.loads(to_json(TINY))
    change(content)
    with pytest.raises(OptionError, match=message):
        from_json(json.dumps(content), where="run/recipe.json")


def test_a_field_added_later_takes_its_default_in_an_older_file():
    content = json.loads(to_json(TINY))
    del content["optim"]["clip_grad"]
    assert from_json(json.dumps(content)) == TINY


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_broken_json_is_an_option_error_that_names_the_file(text):
    with pytest.raises(OptionError, match=r"run/recipe\.json"):
        from_json(text, where="run/recipe.json")


def test_loader_settings_do_not_count_as_differences():
    assert differences(TINY, override(TINY, {"data.num_workers": 3, "data.cache": "none"})) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny", "expected module:function"),
        ("debug:", "expected module:function"),
        ("debug:huge", "it has tiny"),
        ("debug:Recipe", "no such recipe"),
        ("nowhere:tiny", "recipe module 'nowhere' not found"),
        ("a.b.c:tiny", "recipe module 'a.b.c' not found"),
    ],
)
def test_a_recipe_that_does_not_exist(name, message):
    with pytest.raises(OptionError, match=message):
        find_recipe(name)


def test_a_recipe_of_the_users_own_module(tmp_path, monkeypatch):
    (tmp_path / "my_recipes.py").write_text(
        "from dataclasses import replace\n"
        "from luab_train import Recipe, find_recipe\n"
        "def mine() -> Recipe:\n    return replace(find_recipe('debug:tiny'), name='mine')\n"
        "def wrong() -> Recipe:\n    return 5\n"
        "def other() -> int:\n    return 5\n"
    )
    (tmp_path / "needs_more.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_recipe("my_recipes:mine").name == "mine"
    with pytest.raises(OptionError, match=r"returned int, expected a luab_train\.Recipe"):
        find_recipe("my_recipes:wrong")
    with pytest.raises(OptionError, match="it has mine, wrong"):
        find_recipe("my_recipes:other")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        find_recipe("needs_more:tiny")
    sys.modules.pop("my_recipes")


def test_recipes_are_frozen_and_checked_when_made():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.epochs = 3  # type: ignore[misc]
    with pytest.raises(OptionError, match=r"data.crop_scale is \[0.5, 1\]; expected 2 numbers"):
        dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, crop_scale=[0.5, 1]))
    with pytest.raises(OptionError, match="batch_size is 0"):
        Recipe(
            name="x",
            model=Model(name="resnet50"),
            optim=Optim(lr=0.1, weight_decay=0),
            epochs=10,
            batch_size=0,
        )
