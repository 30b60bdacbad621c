"""Two processes over gloo train as one does with the same global batch.

Without dropout, whose draws belong to a process; without batch norms, whose statistics do (DDP
takes those of the first process, over its share of the batch); and by plain SGD: Adam makes steps
of full size out of gradients that are zero but for rounding, as that of a ViT's key bias is.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from engine_runs import (
    Signal,
    arguments,
    calibrated,
    changed,
    close_run,
    environment,
    launch,
    one_sided,
    run_here,
    same_run,
    without_seconds,
)
from train_world import World, make_world, metrics_lines, small_recipe

from luab_data.errors import LuabError
from luab_train.data.augment import TrainCrop
from luab_train.data.dataset import training_data
from luab_train.data.loader import Samples, collate
from luab_train.evaluate.folder import evaluate
from luab_train.recipe import Recipe
from luab_train.sections import Model
from luab_train.train.checkpoints import Position, last_position
from luab_train.train.device import make_accelerator
from luab_train.train.step import ROW
from luab_train.train.sums import EpochSums


def exact_recipe(**groups) -> Recipe:
    recipe = small_recipe(epochs=2, batch_size=8, model=Model(name="test_vit"))
    recipe = changed(recipe, optim={"name": "sgd", "lr": 0.05})
    top = {k: groups.pop(k) for k in list(groups) if not isinstance(groups[k], dict)}
    return changed(small_recipe(**{**vars(recipe), **top}), **groups)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """All clicks but one go to the first process in the first epoch."""
    made = make_world(tmp_path_factory.mktemp("world"), num_val=5)
    one_sided(made, part=4)
    return made


@pytest.mark.parametrize(
    ("changes", "processes"),
    [
        pytest.param({}, 2, id="unequal numbers of points"),
        pytest.param({"target": "none"}, 2, id="a head that learns nothing"),
        pytest.param(
            {"loss": {"reliability_weights": True}}, 2, id="weights", marks=pytest.mark.slow
        ),
        pytest.param(
            {"optim": {"accumulate": 2, "clip_grad": 0.5}}, 2, id="parts", marks=pytest.mark.slow
        ),
        pytest.param(
            {"model": {"point_head": "attention", "attentive_pooling": True}, "target": "none"},
            2,
            id="a map that learns nothing",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"loss": {"attention": "gradmask"}}, 2, id="a loss on gradients", marks=pytest.mark.slow
        ),
        pytest.param(
            {"loss": {"attention": "robustvit"}, "model": {"point_head": "grounding"}},
            2,
            id="a loss on relevance",
            marks=pytest.mark.slow,
        ),
        pytest.param({"model": {"point_head": "attention"}}, 4, id="four", marks=pytest.mark.slow),
    ],
)
def test_processes_train_as_one(world, tmp_path, changes, processes):
    recipe = exact_recipe(**changes)
    more = []
    if recipe.loss.reliability_weights:
        more = ["--calibrated", str(calibrated(world, tmp_path / "calibrated.parquet"))]
    args = arguments(recipe, world, tmp_path / "many", *more)
    ended = launch(args, tmp_path / "log", processes=processes)
    assert ended.codes == [0] * processes, ended.text
    assert environment(tmp_path / "many")["machine"]["num_processes"] == processes
    if more:
        one = arguments(recipe, world, tmp_path / "one", *more)
        assert launch(one, tmp_path / "one.log").codes == [0]
    else:
        run_here(recipe, world, tmp_path / "one")
    close_run(tmp_path / "many", tmp_path / "one")
    if recipe.target == "click":
        assert 4 <= metrics_lines(tmp_path / "one")[0]["train_points"] <= 17


@pytest.mark.slow
def test_what_is_validated_is_what_is_saved_also_where_processes_have_their_own_statistics(
    world, tmp_path
):
    recipe = exact_recipe(model={"name": "test_resnet"}, optim={"ema": 0.6})
    args = arguments(recipe, world, tmp_path / "run")
    assert launch(args, tmp_path / "log", processes=2).codes == [0, 0]
    last = without_seconds(tmp_path / "run")[-1]
    again = evaluate(tmp_path / "run", images=world.val, shown=False)
    assert again["label_loss"] == pytest.approx(last["val_label_loss"], rel=1e-5)
    assert again["point_error"] == pytest.approx(last["val_point_error"], rel=1e-5)


@dataclass(frozen=True)
class _Blind:
    """A command whose second process cannot list checkpoints: the first tells it which."""

    arguments: list[str]

    def __call__(self) -> None:
        from luab_train.cli import main
        from luab_train.train import checkpoints, run_folder

        if os.environ["RANK"] == "1":
            checkpoints.last_position = run_folder.choose_position = None  # type: ignore
        main(self.arguments, prog_name="luab-train")


@pytest.mark.slow
def test_killed_within_an_epoch_two_processes_go_on_as_if_nothing_had_happened(tmp_path):
    world = make_world(tmp_path / "world")
    for number in (1, 3, 5, 7):  # some for each process
        for path in world.images.glob(f"*/*_{number}.png"):
            path.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    recipe = changed(small_recipe(), optim={"ema": 0.8}, data={"corrupt_images": "skip"})
    recipe = changed(recipe, mix={"mixup": 0.8, "cutmix": 1.0}, engine={"checkpoint_every": 3})
    whole = launch(arguments(recipe, world, tmp_path / "whole"), tmp_path / "log", processes=2)
    args = arguments(recipe, world, tmp_path / "killed")
    ended = launch(args, tmp_path / "killed.log", processes=2, signal_at=Signal(8, rank=1))
    assert ended.codes[1] == -signal.SIGKILL
    assert last_position(tmp_path / "killed") == Position(1, 3)
    again = launch(_Blind(args), tmp_path / "again.log", processes=2)
    assert again.codes == [0, 0], again.text
    same_run(tmp_path / "whole", tmp_path / "killed")
    # Of the epoch that was cut in two, all images are counted, and named by one process once.
    said = [line for line in whole.text.splitlines() if "epoch 2: 8 images could not" in line]
    assert len(said) == 1 and said[0] in again.text.splitlines()


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_both_processes_with_one_line_each(world, tmp_path):
    recipe = exact_recipe(optim={"lr": 1e30, "warmup_epochs": 0.0})
    ended = launch(arguments(recipe, world, tmp_path / "run"), tmp_path / "log", processes=2)
    assert ended.codes == [1, 1]
    lines = [line for line in ended.text.splitlines() if line.startswith("Error")]
    assert len(lines) == 2 and all(line.startswith("Error: loss is") for line in lines), lines
    # Each the part of the same update that it had.
    batches = [
        torch.load(tmp_path / "run" / f"bad_batch_{rank}.pt", weights_only=True) for rank in (0, 1)
    ]
    assert batches[0]["update"] == batches[1]["update"]
    assert not set(batches[0]["image_id"]) & set(batches[1]["image_id"])


def poisoned(world: World, run: Path) -> None:
    """Rows of three updates: fine, no number in the second process, no number in both."""
    accelerator = make_accelerator("no")
    rank = accelerator.process_index
    recipe = small_recipe()
    split = training_data(recipe, data=world.data, images=world.images).split
    samples = Samples(split, TrainCrop(recipe.data))
    sums = EpochSums(accelerator, samples, run)
    sums.epoch = 1
    for update, bad in enumerate((False, rank == 1, True)):
        batch = collate([samples[1, 4 * update + 2 * rank + i, 0] for i in range(2)])
        sums.add(update, [torch.full((len(ROW),), torch.nan if bad else 1.0)], [batch])
    with pytest.raises(LuabError) as error:
        sums.look()
    print(error.value)


@pytest.mark.slow
def test_the_process_that_had_the_bad_batch_keeps_it_and_the_others_stop_too(world, tmp_path):
    work = functools.partial(poisoned, world, tmp_path)
    ended = launch(work, tmp_path / "log", processes=2)
    assert ended.codes == [0, 0], ended.text
    first, second = ended.text.splitlines()
    assert first.startswith("loss is not finite in another process at epoch 1, update 2.")
    assert second.startswith("loss is nan at epoch 1, update 2; its batch is in ")
    assert [path.name for path in tmp_path.glob("*.pt")] == ["bad_batch_1.pt"]
    assert torch.load(tmp_path / "bad_batch_1.pt", weights_only=True)["index_B"].tolist() == [6, 7]


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both(tmp_path):
    world = make_world(tmp_path / "world", per_class=44)  # 22 updates
    recipe = changed(small_recipe(batch_size=4, epochs=1), data={"num_workers": 1})
    args = arguments(recipe, world, tmp_path / "run")
    at = Signal(3, signal.SIGTERM, rank=1, group=True)
    ended = launch(args, tmp_path / "log", processes=2, signal_at=at)
    assert ended.codes == [143, 143], ended.text
    lines = [line for line in ended.text.splitlines() if line.startswith("Error")]
    assert len(lines) == 2 and all("saved as checkpoint/epoch-0-update-20" in x for x in lines)
    assert launch(args, tmp_path / "log", processes=2).codes == [0, 0]
    recipe = changed(recipe, data={"num_workers": 0})
    whole = arguments(recipe, world, tmp_path / "b")
    assert launch(whole, tmp_path / "b.log", processes=2).codes == [0, 0]
    same_run(tmp_path / "run", tmp_path / "b")


@pytest.mark.slow
def test_torchrun_is_asked_to_stop_and_goes_on(tmp_path):
    world = make_world(tmp_path / "world")
    recipe = small_recipe(batch_size=4, epochs=8)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out: Path) -> subprocess.Popen[str]:
        args = [*torchrun, "-m", "luab_train", *arguments(recipe, world, out)]
        return subprocess.Popen(args, env=env, stderr=subprocess.PIPE, text=True)

    run = start(tmp_path / "run")
    deadline = time.monotonic() + 240
    while last_position(tmp_path / "run").epoch < 1 and time.monotonic() < deadline:
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.01)
    run.terminate()
    _, text = run.communicate(timeout=120)
    assert run.returncode != 0
    assert text.count("asked to stop by SIGTERM; saved as checkpoint/epoch-") == 2
    assert 1 <= last_position(tmp_path / "run").epoch < 8
    assert not (tmp_path / "run" / "model.safetensors").exists()
    again, whole = start(tmp_path / "run"), start(tmp_path / "whole")
    for process in (again, whole):
        assert (process.communicate(timeout=400), process.returncode)[1] == 0
    assert len(environment(tmp_path / "run")["resumed_after"]) == 1
    same_run(tmp_path / "run", tmp_path / "whole")
