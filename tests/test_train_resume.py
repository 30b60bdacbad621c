"""A run that was killed, or asked to stop, ends as one that was left alone: bit for bit."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from engine_runs import Signal, arguments, changed, environment, launch, run_here, same_run
from train_world import World, make_world, metrics_lines, small_recipe

from luab_data.errors import OptionError
from luab_train.recipe import Recipe
from luab_train.train.checkpoints import Position, last_position


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


def everything() -> Recipe:
    """All that draws numbers or keeps a state."""
    return changed(
        small_recipe(epochs=2, batch_size=8),
        model={"drop_rate": 0.1, "drop_path_rate": 0.2},
        data={"repeats": 3, "random_erase": 0.5, "auto_augment": "rand-m9-mstd0.5-inc1"},
        mix={"mixup": 0.8, "cutmix": 1.0},
        loss={"label_smoothing": 0.1},
        optim={"ema": 0.8, "accumulate": 2, "clip_grad": 1.0},
    )


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Path:
    """Four updates an epoch, never interrupted, without loader processes."""
    return run_here(everything(), world, tmp_path_factory.mktemp("whole") / "run")


SPLIT = {"data": {"num_workers": 2}, "engine": {"checkpoint_every": 2}}


def test_killed_within_an_epoch_a_run_goes_on_as_if_nothing_had_happened(whole, world, tmp_path):
    args = arguments(changed(everything(), **SPLIT), world, tmp_path / "run")
    # In epoch 2, one update after the checkpoint that follows its second.
    ended = launch(args, tmp_path / "log", signal_at=Signal(8, signal.SIGKILL))
    assert ended.codes == [-signal.SIGKILL]
    assert last_position(tmp_path / "run") == Position(1, 2)
    torch.rand(7)  # whatever happened in between
    run_here(everything(), world, tmp_path / "run")
    same_run(whole, tmp_path / "run")
    assert environment(tmp_path / "run")["resumed_after"] == [[1, 2]]
    assert [line["train_images"] for line in metrics_lines(tmp_path / "run")] == [32, 32]


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")]
)
def test_asked_to_stop_a_run_saves_itself_and_says_so_in_one_line(
    whole, world, tmp_path, number, name
):
    """The signal goes to the loader's processes too, as a cluster sends it."""
    recipe = changed(everything(), data={"num_workers": 1})
    args = arguments(recipe, world, tmp_path / "run")
    at = Signal(3, number, group=True)
    ended = launch(args, tmp_path / "log", signal_at=at)
    assert ended.codes == [128 + number]
    said = ended.text.splitlines()
    assert said[0].startswith(
        "small, target click, seed 0: 32 images of 2 classes, 28 with a point"
    )
    assert said[1:] == [
        f"Error: {tmp_path / 'run'}: asked to stop by {name}; saved as"
        " checkpoint/epoch-0-update-3. The same command goes on from there"
    ]
    again = launch(args, tmp_path / "log")
    assert again.codes == [0], again.text
    same_run(whole, tmp_path / "run")
    assert environment(tmp_path / "run")["resumed_after"] == [[0, 3]]
    assert (
        environment(tmp_path / "run")["initial_backbone"] == environment(whole)["initial_backbone"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("update", [1, 2, 4, 5, 6, 7])
def test_killed_at_any_update(whole, world, tmp_path, update):
    args = arguments(changed(everything(), **SPLIT), world, tmp_path / "run")
    at = Signal(update, signal.SIGKILL)
    assert launch(args, tmp_path / "log", signal_at=at).codes == [-signal.SIGKILL]
    done = (update - 1) // 2 * 2
    assert last_position(tmp_path / "run") == Position(*divmod(done, 4))
    assert launch(args, tmp_path / "log").codes == [0]
    same_run(whole, tmp_path / "run")


def test_half_a_checkpoint_is_ignored_and_removed(whole, world, tmp_path):
    args = arguments(changed(everything(), **SPLIT), world, tmp_path / "run")
    assert launch(args, tmp_path / "log", signal_at=Signal(4)).codes == [-signal.SIGKILL]
    checkpoints = tmp_path / "run" / "checkpoint"
    (checkpoints / "partial-epoch-1").mkdir()
    (checkpoints / "partial-epoch-1" / "model.safetensors").write_bytes(b"\x00")
    assert last_position(tmp_path / "run") == Position(0, 2)
    run_here(everything(), world, tmp_path / "run")
    same_run(whole, tmp_path / "run")
    assert sorted(path.name for path in checkpoints.iterdir()) == ["epoch-1", "epoch-2"]


def test_the_furthest_checkpoint_is_taken(tmp_path):
    names = ("epoch-9", "epoch-10", "epoch-10-update-2", "epoch-10-update-10", "partial-epoch-11")
    for name in names:
        (tmp_path / "checkpoint" / name).mkdir(parents=True)
    assert last_position(tmp_path) == Position(10, 10)


def test_a_run_that_was_cut_within_an_epoch_refuses_another_recipe_or_starts_anew(world, tmp_path):
    recipe = changed(small_recipe(epochs=1), engine={"checkpoint_every": 1})
    args = arguments(recipe, world, tmp_path / "run")
    assert launch(args, tmp_path / "log", signal_at=Signal(3)).codes == [-signal.SIGKILL]
    with pytest.raises(OptionError, match=r"unfinished run of another recipe \(optim\.lr: 0\.002"):
        run_here(changed(recipe, optim={"lr": 1e-3}), world, tmp_path / "run")
    assert launch([*args, "--no-resume"], tmp_path / "log").codes == [0]
    run_here(recipe, world, tmp_path / "other")
    same_run(tmp_path / "run", tmp_path / "other")
    assert environment(tmp_path / "run")["resumed_after"] == []
