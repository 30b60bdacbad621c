"""Our recipes: each is listed, explains itself, is held against the paper, and trains."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from luab_train.cli import main
from luab_train.data.loader import Batch
from luab_train.models.classifier import build_recipe_model
from luab_train.recipe import Recipe, from_json
from luab_train.recipes import find_recipe, listing, paper, recipe_functions
from luab_train.recipes.paper import COCO, DEIT, ON, PRIMITIVE, RESNET, builds_on, statements_of
from luab_train.recipes.variants import arm, variant
from luab_train.settings import differences, flatten, override, to_json
from luab_train.train.device import make_accelerator
from luab_train.train.optim import make_optimizer
from luab_train.train.step import ROW, Trainer

MODULES = ("coco_ab", "debug", "finetune", "imagenet_ab")

# What docs/definitions.md#published-recipes counts as a run of the paper, and ours beside them.
IMAGENET = [
    *("resnet18", "resnet18_click", "resnet50", "resnet50_click", "resnet50_random"),
    *("resnet101", "resnet101_click", "resnet152", "resnet152_click"),
    *("resnet50_click_beta_0_1", "resnet50_click_beta_0_01", "resnet50_click_mse"),
    *(f"resnet50_click_lambda_{value}" for value in (1, 5, 50, 100)),
    *("resnet18_attentive", "resnet50_attentive"),
    *("vit_ti", "vit_ti_click", "vit_s", "vit_s_click", "vit_b", "vit_b_click"),
    *("vit_ti_click_95", "vit_ti_click_90", "vit_ti_click_80"),
    *("vit_ti_primitive", "vit_ti_primitive_click", "vit_ti_primitive_random"),
    *("vit_s_primitive", "vit_s_primitive_click", "vit_s_primitive_random"),
    *("vit_b_primitive", "vit_b_primitive_click"),
]
COCO_BACKBONES = ["resnet18", "resnet50", "resnet152", "vit_ti", "vit_s", "vit_b"]


def _functions() -> dict[str, object]:
    found = {}
    for module_name in MODULES:
        module = importlib.import_module(f"luab_train.recipes.{module_name}")
        found |= {f"{module_name}:{n}": f for n, f in recipe_functions(module).items()}
    return found


FUNCTIONS = _functions()
NAMES = list(FUNCTIONS)


def _sections(name: str) -> dict[str, str]:
    """The docstring by its headings, `Here` joined."""
    found: dict[str, str] = {}
    heading = "Summary"
    for line in inspect.cleandoc(FUNCTIONS[name].__doc__).splitlines():
        if match := re.match(r"([A-Z0-9][A-Za-z ]*): +(.*)", line):
            heading, line = match.groups()
        found[heading] = " ".join([found.get(heading, ""), line.strip()]).strip()
    return found


def test_every_run_has_a_name():
    expected = {f"imagenet_ab:{name}" for name in IMAGENET}
    expected |= {f"coco_ab:{b}{arm}" for b in COCO_BACKBONES for arm in ("", "_random", "_click")}
    expected |= {"debug:tiny", "debug:tiny_vit", "debug:tiny_paste", "debug:tiny_grounding"}
    expected |= {f"debug:tiny_{loss}" for loss in ("rrr", "gradmask", "harmonizer", "robustvit")}
    expected |= {"debug:digits", "debug:coco_tiny", "finetune:vit_s_robustvit"}
    assert set(NAMES) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_carries_its_name_and_comes_back_from_json(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    assert from_json(to_json(recipe)) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_says_where_it_is_from_what_is_ours_and_what_to_expect(name):
    sections = _sections(name)
    needed = {"Summary", "Run", "Expect", "Source"}
    if not name.startswith("debug"):
        needed |= {"8 GPUs", "Paper", "Ours"}
        assert sections["Expect"] == "not run by us yet."
    assert needed <= set(sections)
    assert sections["Summary"].endswith(".")


def _command(text: str) -> list[str]:
    """The arguments after `luab-train` or `-m luab_train`; a remark in brackets is cut off."""
    words = shlex.split(text.partition(" (")[0])
    launcher = {"luab-train": 1, "torchrun": 5}[words[0]]
    if launcher == 5:
        assert words[:5] == ["torchrun", "--nproc-per-node", "8", "-m", "luab_train"]
    return words[launcher:]


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_in_a_docstring_parse(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("imagenet-ab", "coco-ab", "ILSVRC/train", "ILSVRC/val", "TRAIN", "VAL",
                   "ILSVRC/Annotations/CLS-LOC/val", "coco/train2014", "coco/val2014",
                   "coco/annotations"):  # fmt: skip
        Path(folder).mkdir(parents=True)
    Path("coco/annotations/instances_val2014.json").touch()
    sections = _sections(name)
    commands = [_command(sections[part]) for part in ("Run", "8 GPUs") if part in sections]
    for verb, *arguments in commands:
        assert verb == "run"
        context = main.get_command(click.Context(main), verb).make_context(verb, arguments)
        assert context.params["recipe"] == name
        assert str(context.params["out"]).startswith("runs/")
    assert len({str(c) for c in map(tuple, commands)}) == 1, "both commands run the same"
    settings = re.findall(r"--set (\S+)", FUNCTIONS[name].__doc__)
    override(find_recipe(name), dict(setting.split("=", 1) for setting in settings))


def test_no_two_recipes_write_into_the_same_folder():
    commands = [_command(_sections(name)["Run"]) for name in NAMES]
    folders = [words[words.index("--out") + 1] for words in commands]
    assert len(set(folders)) == len(folders)


def test_a_name_of_an_arm_is_its_target():
    for name in NAMES:
        target = find_recipe(name).target
        if name.startswith(("debug", "finetune")) or name.endswith("_attentive"):
            assert target == "click"
        else:
            words = re.split("[:_]", name)
            assert target == next((t for t in ("click", "random") if t in words), "none")


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith(("_click", "_random"))])
def test_an_arm_differs_from_its_control_in_the_target_alone(name):
    control = find_recipe(name.removesuffix("_click").removesuffix("_random"))
    assert set(differences(control, find_recipe(name))) == {"name", "target"}


@pytest.mark.parametrize(
    ("name", "base", "changes"),
    [
        ("resnet18", "resnet50", {"model.name": "resnet18"}),
        ("resnet101", "resnet50", {"model.name": "resnet101"}),
        ("resnet152", "resnet50", {"model.name": "resnet152"}),
        ("resnet50_click_beta_0_1", "resnet50_click", {"loss.beta": 0.1}),
        ("resnet50_click_beta_0_01", "resnet50_click", {"loss.beta": 0.01}),
        ("resnet50_click_mse", "resnet50_click", {"loss.regression": "mse"}),
        ("resnet50_click_lambda_1", "resnet50_click", {"loss.lambda_reg": 1.0}),
        ("resnet50_click_lambda_100", "resnet50_click", {"loss.lambda_reg": 100.0}),
        ("vit_s", "vit_ti", {"model.name": "vit_small_patch16_224"}),
        ("vit_b", "vit_ti", {"model.name": "vit_base_patch16_224"}),
        ("vit_ti_click_90", "vit_ti_click", {"data.fraction": 0.9}),
        ("vit_b_primitive", "vit_ti_primitive", {"model.name": "vit_base_patch16_224"}),
        (
            "resnet50_attentive",
            "resnet50_click",
            {"model.point_head": "attention", "model.attentive_pooling": True},
        ),
    ],
)
def test_a_row_of_a_table_differs_from_its_base_in_what_it_says(name, base, changes):
    found = differences(find_recipe(f"imagenet_ab:{base}"), find_recipe(f"imagenet_ab:{name}"))
    assert {key: ours for key, (_, ours) in found.items() if key != "name"} == changes


# Copied by hand from docs/definitions.md#objective; docs/definitions.md#published-recipes;
# docs/definitions.md#coco-recipe: the keys it marks as stated, and nothing else.
STATED_ON_ALL = {"loss.regression": "smooth_l1", "model.point_head": "regression"}
STATED = {
    "imagenet_ab:resnet50": STATED_ON_ALL
    | {
        "data.dataset": "imagenet-ab",
        "loss.classification": "ce",
        "epochs": 100,
        "data.crop_scale": ON,
        "data.flip": ON,
        "data.color_jitter": ON,
    },
    "imagenet_ab:vit_ti": STATED_ON_ALL
    | {
        "data.dataset": "imagenet-ab",
        "loss.classification": "ce",
        "epochs": 300,
        "optim.warmup_epochs": 5,
        "batch_size": 1024,
        "optim.name": "adamw",
        "optim.lr": 5e-4 * 1024 / 512,
        "optim.warmup_lr": 1e-6,
        "optim.min_lr": 1e-5,
        "optim.weight_decay": 0.05,
        "optim.clip_grad": None,
        "optim.ema": None,
        "loss.label_smoothing": 0.1,
        "model.drop_path_rate": 0.1,
        "data.auto_augment": "rand-m9-mstd0.5-inc1",
        "data.random_erase": 0.25,
        "data.repeats": 3,
        "data.interpolation": "bicubic",
        "data.image_size": 224,
        "data.eval_resize": 224 / 0.875,
        "data.crop_scale": ON,
        "data.flip": ON,
        "data.color_jitter": ON,
        "mix.mixup": 0.8,
        "mix.cutmix": 1.0,
        "mix.prob": 1.0,
        "mix.switch": 0.5,
    },
    "imagenet_ab:vit_ti_primitive": STATED_ON_ALL
    | {
        "data.dataset": "imagenet-ab",
        "loss.classification": "ce",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.3,
        "data.auto_augment": None,
        "model.drop_path_rate": 0,
        "data.random_erase": 0,
        "mix.mixup": 0,
        "mix.cutmix": 0,
    },
    "coco_ab:resnet50": STATED_ON_ALL
    | {
        "data.dataset": "coco-ab",
        "loss.classification": "bce",
        "epochs": 100,
        "optim.warmup_epochs": 5,
        "batch_size": 128,
        "data.image_size": 224,
        "optim.name": "adamp",
        "data.flip": ON,
        "data.color_jitter": 0.4,
        "data.random_erase": ON,
    },
    "imagenet_ab:resnet50_click_mse": STATED_ON_ALL
    | {
        "loss.regression": "mse",
        "data.dataset": "imagenet-ab",
        "loss.classification": "ce",
        "epochs": 100,
        "data.crop_scale": ON,
        "data.flip": ON,
        "data.color_jitter": ON,
    },
}


@pytest.mark.parametrize("name", STATED)
def test_the_statements_are_those_of_the_sheet_and_no_more(name):
    said = statements_of(name).said
    found = {key: one.value for key, one in said.items() if one.evidence in ("P", "C")}
    assert found == STATED[name]


def test_what_is_read_in_code_is_not_passed_off_as_the_papers_words():
    in_code = {key for key, one in DEIT.said.items() if one.evidence == "C"}
    assert in_code == {
        *("data.auto_augment", "data.image_size", "data.eval_resize", "data.interpolation"),
        *("data.crop_scale", "data.flip", "mix.prob", "mix.switch"),
        *("optim.warmup_lr", "optim.clip_grad", "optim.ema"),
    }
    for statements in (RESNET, PRIMITIVE, COCO):
        assert all(one.evidence in ("P", "U") for one in statements.said.values())


def test_what_is_unknown_has_no_number():
    for statements in (RESNET, DEIT, PRIMITIVE, COCO, paper.ATTENTIVE):
        for key in ("loss.lambda_reg", "loss.beta"):
            assert statements.said[key].evidence == "U"
        for one in statements.said.values():
            assert one.where and one.evidence in ("P", "C", "U")
            assert one.evidence != "U" or isinstance(one.value, str)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("imagenet_ab:vit")])
def test_deit_departs_in_the_jitter_alone_and_the_primitive_recipe_nowhere(name):
    found = listing.compare(find_recipe(name), statements_of(name))
    departures = [] if "primitive" in name else ["data.color_jitter"]
    assert [row.key for row in found.departures] == departures
    assert all(row.why for row in found.departures)


@pytest.mark.parametrize("name", NAMES)
def test_statements_are_keys_of_recipes_and_each_choice_of_ours_has_a_reason(name):
    statements, recipe = statements_of(name), find_recipe(name)
    assert {*statements.said, *statements.why} <= set(flatten(recipe))
    if statements is paper.NONE:
        return
    found = listing.compare(recipe, statements)
    assert not [row.key for row in found.silent if row.why == "a choice of this recipe"]
    if not name.startswith("imagenet_ab:vit"):
        assert not found.departures


def test_coco_weighs_points_less_for_the_two_small_networks():
    weights = {b: find_recipe(f"coco_ab:{b}_click").loss.lambda_reg for b in COCO_BACKBONES}
    small = {weights.pop("resnet18"), weights.pop("vit_ti")}
    assert max(small) < min(weights.values())


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("coco_ab")])
def test_coco_starts_from_plain_imagenet_weights_in_every_arm(name):
    import timm

    recipe = find_recipe(name)
    config = timm.get_pretrained_cfg(recipe.model.name)
    assert recipe.model.pretrained and recipe.model.checkpoint is None
    # Labels of ImageNet-1k, not 21k, under the mean and deviation that the recipe has.
    assert config.tag in ("tv_in1k", "fb_in1k")
    assert (config.mean, config.std) == (recipe.data.mean, recipe.data.std)
    assert config.interpolation == recipe.data.interpolation


def test_values_of_tiny_are_those_its_numbers_were_measured_with():
    flat = flatten(find_recipe("debug:tiny"))
    expected = {
        "data.image_size": 64, "data.crop_scale": (0.5, 1.0), "data.color_jitter": 0.2,
        "model.name": "test_resnet", "loss.lambda_reg": 100.0, "optim.name": "adamw",
        "optim.lr": 6e-3, "optim.weight_decay": 0.05, "optim.warmup_epochs": 1.0,
        "epochs": 15, "batch_size": 64,
    }  # fmt: skip
    assert {key: flat[key] for key in expected} == expected


@pytest.mark.parametrize("name", NAMES)
def test_diff_prints_a_table_of_at_most_100_columns(name):
    result = CliRunner().invoke(main, ["recipes", name, "--diff"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert name in lines[0]
    if statements_of(name) is not paper.NONE:
        assert max(map(len, lines)) <= 100
        assert any(line.split()[:3] == ["key", "the", "paper"] for line in lines)


def test_diff_shows_departures_before_what_the_paper_leaves_open():
    output = CliRunner().invoke(main, ["recipes", "imagenet_ab:vit_ti_click", "--diff"]).output
    assert "Departs in 1 of the 27 keys" in output
    order = [output.index(text) for text in ("data.color_jitter", "no value:", "loss.lambda_reg")]
    assert order == sorted(order)
    # A head that is never asked has no weight, no loss and no output to explain.
    alone = CliRunner().invoke(main, ["recipes", "imagenet_ab:vit_ti", "--diff"]).output
    assert "loss.lambda_reg" not in alone and "point_output" not in alone


def test_every_key_that_can_change_the_result_is_in_one_place_of_a_comparison():
    recipe = find_recipe("imagenet_ab:vit_ti_click")
    found = listing.compare(recipe, DEIT)
    keys = [row.key for row in found.departures + found.silent] + found.agreeing + found.defaults
    assert len(set(keys)) == len(keys)
    without_effect = {
        key
        for key in flatten(recipe)
        if key.startswith("engine.") or key in ("name", "seed", "target", "model.name")
    } | {
        *("model.checkpoint", "model.attentive_pooling", "model.attention_sigma"),
        *("data.num_workers", "data.cache", "data.notebook_labels"),
        *("mix.paste_labels", "mix.paste_share", "mix.paste_size"),
        *("loss.lambda_attention", "loss.map_sigma"),
        *("loss.point_mean", "optim.momentum"),
    }
    assert set(keys) | without_effect == set(flatten(recipe))


def test_a_change_of_ones_own_is_a_departure():
    recipe = override(find_recipe("imagenet_ab:vit_ti_click"), {"epochs": 30, "data.repeats": 1})
    found = listing.compare(recipe, DEIT)
    rows = {row.key: row for row in found.departures}
    assert set(rows) == {"data.color_jitter", "data.repeats", "epochs"}
    assert (rows["epochs"].paper, rows["epochs"].ours) == ("300 (appendix F, P)", "30")
    # Jitter that is there agrees with a paper that gives no strength.
    jitter = override(recipe, {"data.color_jitter": 0.4})
    assert "data.color_jitter" not in [row.key for row in listing.compare(jitter, DEIT).departures]


def test_a_recipe_of_the_users_own_names_what_it_builds_on(tmp_path, monkeypatch):
    (tmp_path / "own_runs.py").write_text(
        "from dataclasses import replace\n"
        "from luab_train import Recipe, find_recipe\n"
        "from luab_train.recipes.paper import DEIT, builds_on\n"
        "@builds_on(DEIT)\n"
        "def short() -> Recipe:\n"
        "    return replace(find_recipe('imagenet_ab:vit_s_click'), name='short', epochs=20)\n"
        "def unsaid() -> Recipe:\n"
        "    return replace(find_recipe('debug:tiny'), name='unsaid')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    result = CliRunner().invoke(main, ["recipes", "own_runs:short", "--diff"])
    assert result.exit_code == 0 and "Departs in 2 of the 27 keys" in result.output
    assert re.search(r"epochs +300 \(appendix F, P\) +20 +a choice of this recipe", result.output)
    result = CliRunner().invoke(main, ["recipes", "own_runs:unsaid", "--diff"])
    assert result.exit_code == 1 and "@builds_on(DEIT)" in result.output
    sys.modules.pop("own_runs")


def test_diff_without_a_recipe_says_what_is_missing():
    result = CliRunner().invoke(main, ["recipes", "--diff"])
    assert result.exit_code == 1 and "luab-train recipes NAME --diff" in result.output


def test_a_variant_keeps_its_base_as_it_is_and_explains_itself():
    def base() -> Recipe:
        """A base, labels alone.

        Run:     luab-train run mine:base --out runs/base_0
        Source:  nowhere; compare with base itself.
        """
        return replace(find_recipe("debug:tiny"), name="mine:base", target="none")

    base.__module__, base.__qualname__ = "a_package.mine", "base"
    base = builds_on(DEIT)(base)
    clicked = arm(base, "click")
    slow = variant(clicked, "base_slow", "A slow one.", {"epochs": 99}, note="Takes long.")
    assert clicked.__name__ == "base_click" and clicked.__module__ == "a_package.mine"
    assert clicked() == replace(base(), name="mine:base_click", target="click")
    assert slow() == replace(clicked(), name="mine:base_slow", epochs=99)
    assert slow.__doc__.splitlines() == [
        "A slow one.",
        "",
        "Run:     luab-train run mine:base_slow --out runs/base_slow_0",
        "Source:  nowhere; compare with base itself.",
        "Here:    target=click.",
        "Here:    epochs=99. Takes long.",
    ]
    assert clicked.__doc__.splitlines()[0] == "A base, labels and clicks."
    assert statements_of("a_package.mine:base_slow").said == DEIT.said


def test_the_list_names_all_and_each_family_fits_a_screen():
    result = CliRunner().invoke(main, ["recipes"])
    families = [block.splitlines() for block in result.output.split("\n\n")]
    listed = [line.split()[0] for family in families for line in family[1:]]
    assert sorted(listed) == sorted(NAMES)
    assert max(len(family) for family in families) <= 24
    assert max(len(line) for family in families for line in family) <= 100


def test_the_list_and_a_diff_answer_at_once_and_import_no_torch():
    for arguments in (["recipes"], ["recipes", "coco_ab:vit_b_click", "--diff"]):
        code = f"""
import sys, time
start = time.process_time()
from luab_train.cli import main
main({arguments}, standalone_mode=False)
print(time.process_time() - start, file=sys.stderr)
assert not {{"torch", "timm", "torchvision"}} & set(sys.modules)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert float(done.stderr) < 2


def test_json_is_what_a_name_alone_prints():
    result = CliRunner().invoke(main, ["recipes", "coco_ab:vit_b_click"])
    assert json.loads(result.output)["model"]["name"] == "deit_base_patch16_224.fb_in1k"


SIZE = 64


def _small(recipe: Recipe) -> Recipe:
    """At 64 px, with fresh weights: neither changes a layer of the network."""
    changes = {"data.image_size": SIZE, "data.eval_resize": SIZE, "model.pretrained": False}
    return override(recipe, changes | {"optim.precision": "no"})


def _what_decides_a_step(recipe: Recipe) -> tuple[object, ...]:
    """Equal for recipes whose network, objective and optimiser run the same code."""
    loss, data = recipe.loss, recipe.data
    return (
        replace(recipe.model, name=recipe.model.name.partition(".")[0]),
        recipe.mix,
        (loss.classification, loss.regression, loss.attention, data.dataset, data.random_erase),
        (recipe.optim.name, recipe.optim.clip_grad),
    )


def _representatives() -> list[str]:
    """One recipe for all that would do the same; one with points, where there is one."""
    found: dict[tuple[object, ...], str] = {}
    for name in sorted(NAMES, key=lambda name: find_recipe(name).target == "none"):
        found.setdefault(_what_decides_a_step(find_recipe(name)), name)
    return sorted(found.values())


def _batch(recipe: Recipe, num_classes: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    coco = recipe.data.dataset == "coco-ab"
    num_points = num_classes if coco else 1
    return Batch(
        image_BCHW=torch.randint(
            0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator
        ),
        label=torch.eye(num_classes)[:2] if coco else torch.tensor([1, 3]),
        valid_B=torch.ones(2, dtype=torch.bool),
        index_B=torch.arange(2),
        view_B=torch.zeros(2, dtype=torch.int64),
        point_BKD=torch.rand((2, num_points, 2), generator=generator),
        weight_BK=torch.ones(2, num_points),
        size_B2=torch.full((2, 2), SIZE),
    )


@pytest.mark.parametrize("name", _representatives())
def test_a_recipe_builds_its_network_and_takes_a_step(name):
    recipe = _small(find_recipe(name))
    num_classes = 4
    torch.manual_seed(0)
    model = build_recipe_model(recipe, num_classes=num_classes).train()
    parameters = list(model.parameters())
    # Adam keeps two more copies of the weights; smaller networks of a family show that it works.
    large = sum(p.numel() for p in parameters) > 30e6
    optimizer = (
        torch.optim.SGD(parameters, lr=0.1) if large else make_optimizer(model, recipe.optim)
    )
    watched = {"stem": parameters[0]}
    if recipe.loss.lambda_reg:  # else points serve something else
        watched["head"] = next(model.point_head.parameters())
    before = {key: parameter.detach().clone() for key, parameter in watched.items()}
    gradients = {}
    for key, parameter in watched.items():
        parameter.register_post_accumulate_grad_hook(
            lambda p, key=key: gradients.update({key: float(p.grad.abs().sum())})
        )
    trainer = Trainer(make_accelerator("no"), model, optimizer, recipe, num_classes)
    (row,) = trainer.update([_batch(recipe, num_classes)], epoch=1, update=0)
    sums = dict(zip(ROW, row.tolist(), strict=True))
    assert torch.isfinite(row).all() and sums["label"] > 0 and sums["point"] > 0
    for key, parameter in watched.items():
        assert gradients[key] > 0 and not torch.equal(before[key], parameter)


def test_the_steps_are_of_every_network_and_learn_points():
    assert all(find_recipe(name).target != "none" for name in _representatives())
    models = {find_recipe(name).model.name for name in NAMES}
    assert {find_recipe(name).model.name for name in _representatives()} == models
