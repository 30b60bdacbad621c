from __future__ import annotations

import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from train_world import make_world, metrics_lines

from luab_data.console import install_command
from luab_train.cli import _TrainGroup, main
from luab_train.train.run_folder import read_recipe

OPTIONS = {
    "run": ["--batch-size", "--calibrated", "--data", "--epochs", "--help", "--images",
            "--keep", "--lr", "--out", "--points", "--resume", "--seed", "--set", "--target",
            "--val", "--val-boxes"],
    "eval": ["--arch", "--batch-size", "--benchmarks", "--box-convention", "--boxes", "--data",
             "--erase-below", "--erase-dilation", "--help", "--images", "--list", "--name",
             "--on-bad", "--out", "--precision", "--preprocessing", "--pretrained",
             "--random-weights", "--root", "--weights-key", "--workers"],
    "recipes": ["--diff", "--help"],
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def arguments(world, out) -> list[str]:
    return [
        "run", "debug:tiny", "--data", str(world.data), "--images", str(world.images),
        "--val", str(world.val), "--out", str(out), "--epochs", "1", "--batch-size", "8",
        "--lr", "0.001", "--seed", "4", "--target", "random", "--set", "optim.warmup_epochs=0",
        "--set", "data.image_size=32", "--set", "optim.precision=no",
    ]  # fmt: skip


def test_run_then_eval(world, tmp_path):
    out = tmp_path / "run"
    result = CliRunner().invoke(main, arguments(world, out))
    assert result.exit_code == 0, result.output
    begun, epoch = result.stderr.splitlines()
    assert begun.startswith("debug:tiny, target random, seed 4: 32 images of 2 classes, 28 with a")
    assert "; cpu, float32; 1 epoch of 4 updates of 8 images; memory of an update about" in begun
    assert begun.endswith(f"; to {out}")
    numbers = r"loss \S+, label loss \S+, accuracy \S+%, validation: label loss \S+, accuracy \S+%"
    speed = r"localisation \S+%, \S+ images/s, \d+% waiting for images, \S+ s"
    assert re.fullmatch(f"epoch 1/1: {numbers}, {speed}", epoch)
    lines = result.stdout.splitlines()
    assert lines[0] == f"{out}: debug:tiny, target random, seed 4, 1 epochs"
    table = dict(zip(lines[1].split(), lines[2].split(), strict=True))
    assert table["images"] == "10" and 0 <= float(table["accuracy"]) <= 1
    recipe = read_recipe(out)
    assert (recipe.epochs, recipe.batch_size, recipe.optim.lr) == (1, 8, 0.001)
    assert (recipe.seed, recipe.target, recipe.data.image_size) == (4, "random", 32)

    result = CliRunner().invoke(
        main, ["eval", str(out), "--images", str(world.val), "--name", "v2"]
    )
    assert result.exit_code == 0, result.output
    assert "localisation_off_centre" in result.output
    assert metrics_lines(out)[-1]["name"] == "v2"

    result = CliRunner().invoke(main, arguments(world, out))
    assert result.exit_code == 0
    said = f"{out}: complete already, nothing was trained; delete it to train again\n"
    assert (result.stderr, result.stdout.splitlines()) == (said, lines)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--set", "optim.lrr=5"], "unknown key 'optim.lrr'"),
        (["--set", "optim.momentum"], "--set optim.momentum: expected KEY=VALUE"),
        (["--set", "optim.lr=5"], "--set optim.lr=5: optim.lr is given twice"),
        (["--set", "data.flip=1", "--set", "data.flip=0"], "data.flip is given twice"),
        (["--seed", "-3"], "seed is -3; expected a whole number, from 0 to"),
    ],
)
def test_settings_that_make_no_sense_end_in_one_clear_line(world, tmp_path, extra, message):
    result = CliRunner().invoke(main, [*arguments(world, tmp_path / "run"), *extra])
    assert result.exit_code == 1
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "run").exists()


def test_an_unknown_recipe_lists_where_to_look(world, tmp_path):
    args = arguments(world, tmp_path / "run")
    args[1] = "debug:huge"
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 1 and "it has tiny" in result.output


def test_recipes_are_listed_and_shown():
    listed = CliRunner().invoke(main, ["recipes"])
    assert listed.exit_code == 0
    for name in ("debug:tiny", "imagenet_ab:resnet50", "imagenet_ab:resnet50_click"):
        assert any(line.split()[:1] == [name] for line in listed.output.splitlines())
    shown = CliRunner().invoke(main, ["recipes", "debug:tiny"])
    assert '"image_size": 64' in shown.output


def test_what_is_not_installed_is_named_with_its_extra():
    @click.command()
    @click.argument("name")
    def need(name):
        raise ModuleNotFoundError(name=name)

    group = _TrainGroup(commands={"need": need})
    for package, extra in (("timm", "train"), ("torch.nn", "train"), ("sklearn", "eval")):
        result = CliRunner().invoke(group, ["need", package])
        assert result.exit_code == 1
        assert result.output == (
            f"Error: luab-train needs {package.split('.')[0]}, not installed here:"
            f" {install_command(extra)}\n"
        )
    assert isinstance(CliRunner().invoke(group, ["need", "ours"]).exception, ModuleNotFoundError)


def test_the_help_of_a_run_fits_one_screen():
    shown = CliRunner().invoke(main, ["run", "--help"], terminal_width=80).output
    assert len(shown.splitlines()) <= 32 and max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_the_options_are_frozen_and_each_has_help(name):
    command = main.get_command(click.Context(main), name)
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert all(option.help for option in options)
    names = sorted([*(option.opts[0] for option in options), "--help"])
    assert names == OPTIONS[name]
    assert command.help


def test_help_of_run_fits_one_screen():
    result = CliRunner().invoke(main, ["run", "--help"], terminal_width=80)
    assert len(result.output.splitlines()) <= 40


@pytest.mark.parametrize(
    "code",
    [
        "import luab_train.cli",
        "import luab_train; luab_train.find_recipe('debug:tiny')",
        "from luab_train.cli import main; main(['run', '--help'], standalone_mode=False)",
        "from luab_train.cli import main; main(['recipes'], standalone_mode=False)",
        "from luab_train.cli import main; main(['-h'], standalone_mode=False)",
        "from luab_train.cli import main; main(['eval', '--list'], standalone_mode=False)",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    heavy = "{'torch', 'torchvision', 'timm', 'datasets', 'pandas', 'matplotlib', 'scipy'}"
    script = (
        f"import sys, time\n{code}\nassert not {heavy} & set(sys.modules), set(sys.modules)\n"
        "print(time.process_time(), file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):  # the machine may have other things to do
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stderr))
        if seconds[-1] < 0.5:
            break
    assert min(seconds) < 0.5


def test_help_needs_no_extra_and_a_command_that_does_says_which():
    """As where luab was installed without extras; the summaries in the list are the commands'."""
    script = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'accelerate', 'safetensors', 'PIL'):\n"
        "    sys.modules[name] = None\n"
        "from luab_train.cli import main; main()"
    )
    told, missing = (
        subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
        for arguments in (["-h"], ["demo"])
    )
    assert told.returncode == 0, told.stderr
    for name in main.list_commands(None):
        summary = main.get_command(None, name).get_short_help_str(50).removesuffix("...")
        assert re.search(rf"^  {name} +{re.escape(summary[:40])}", told.stdout, re.MULTILINE)
    assert missing.returncode == 1
    assert missing.stderr == (
        f"Error: luab-train needs PIL, not installed here: {install_command('train')}\n"
    )


def test_the_public_names_are_few_and_all_there():
    import luab_train

    assert len(luab_train.__all__) <= 15
    assert luab_train.__all__ == sorted(luab_train.__all__)
    for name in luab_train.__all__:
        assert getattr(luab_train, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        luab_train.nothing  # noqa: B018


def test_a_subpackage_of_a_verbs_name_does_not_hide_the_verb():
    code = "import luab_train.evaluate.stored\nassert callable(luab_train.evaluate)"
    subprocess.run([sys.executable, "-c", code], check=True)
