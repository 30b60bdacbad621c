"""What a run keeps, and what it does where the disk, or another process, is in its way."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from engine_runs import Signal, arguments, changed, launch, run_here, same_run
from safetensors import safe_open
from safetensors.torch import load_file
from train_world import World, make_world, metrics_lines, small_recipe, write_dataset

from luab_data.errors import OptionError, OutputError
from luab_train.train import checkpoints, run_folder, setup
from luab_train.train.checkpoints import Position, last_position, positions
from luab_train.train.loop import train
from luab_train.train.signals import Stop, Terminated
from luab_train.train.step import ROW
from luab_train.train.sums import EpochSums


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory) -> Path:
    """Three epochs of four updates, never interrupted."""
    return run_here(small_recipe(epochs=3), world, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def halfway(world, tmp_path) -> Path:
    """The same, killed in its third epoch."""
    args = arguments(small_recipe(epochs=3), world, tmp_path / "run")
    assert launch(args, tmp_path / "log", signal_at=Signal(10)).codes == [-signal.SIGKILL]
    assert positions(tmp_path / "run") == [Position(1), Position(2)]
    return tmp_path / "run"


def checkpoint_names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoint").iterdir())


def test_as_many_checkpoints_stay_as_asked_for(world, tmp_path):
    for keep in (1, 3):
        out = tmp_path / str(keep)
        train(small_recipe(epochs=3), **folders(world), out=out, keep=keep, shown=False)
        assert checkpoint_names(out) == [f"epoch-{n}" for n in (1, 2, 3)][-keep:]
    with pytest.raises(OptionError, match="keep is 0"):
        train(small_recipe(), **folders(world), out=tmp_path / "0", keep=0)


def folders(world: World) -> dict[str, str]:
    """As text: every public function takes it."""
    return {"data": str(world.data), "images": str(world.images), "val": str(world.val)}


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(world, tmp_path, monkeypatch):
    seen: list[tuple[str, Path]] = []
    real_flush, real_rename = checkpoints.flush, Path.rename

    def rename(self, target):
        seen.append(("rename", self))
        return real_rename(self, target)

    monkeypatch.setattr(checkpoints, "flush", lambda p: (seen.append(("flush", p)), real_flush(p)))
    monkeypatch.setattr(Path, "rename", rename)
    run_here(small_recipe(epochs=1), world, tmp_path / "run")
    (at,) = [n for n, (what, path) in enumerate(seen) if path.name == "partial-epoch-1"]
    flushed = {path.name for what, path in seen[:at] if what == "flush"}
    files = {p.name for p in (tmp_path / "run" / "checkpoint" / "epoch-1").iterdir()}
    assert files - flushed == {"files.json"}  # which is written by luab_data's door to the disk
    assert ("flush", tmp_path / "run" / "checkpoint") in seen[at:]


def test_where_the_newest_checkpoint_is_damaged_the_older_serves(halfway, whole, world, capsys):
    file = halfway / "checkpoint" / "epoch-2" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    assert last_position(halfway) == Position(1)
    run_here(small_recipe(epochs=3), world, halfway)
    said = f"{halfway}: checkpoint epoch-2 is damaged; going on from epoch-1\n"
    assert capsys.readouterr().err == said
    same_run(whole, halfway)
    assert checkpoint_names(halfway) == ["epoch-2", "epoch-3"]


def test_where_all_are_damaged_the_run_says_so_and_begins_again_if_asked(halfway, whole, world):
    for folder in (halfway / "checkpoint").iterdir():
        (folder / "optimizer.bin").unlink()
    with pytest.raises(OptionError, match=r"epoch-2 is damaged and no other .*no-resume"):
        run_here(small_recipe(epochs=3), world, halfway)
    train(small_recipe(epochs=3), **folders(world), out=halfway, resume=False, shown=False)
    same_run(whole, halfway)


def test_a_checkpoint_that_cannot_be_read_is_one_sentence(halfway, world):
    file = halfway / "checkpoint" / "epoch-2" / "model.safetensors"
    file.write_bytes(os.urandom(file.stat().st_size))
    with pytest.raises(OptionError, match=r"epoch-2: cannot be read .* the one before"):
        run_here(small_recipe(epochs=3), world, halfway)


def full_disk(args: list[str]) -> None:
    """The command on a disk that takes files of 100 kB."""
    from luab_train.cli import main

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    main(args, prog_name="luab-train")


class Full:
    """A function that can be pickled."""

    def __init__(self, args: list[str]) -> None:
        self.args = args

    def __call__(self) -> None:
        full_disk(self.args)


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(halfway, whole, world):
    args = arguments(small_recipe(epochs=3), world, halfway)
    ended = launch(Full(args), halfway.with_name("log"))
    assert ended.codes == [1]
    last = ended.text.splitlines()[-1]
    assert last.startswith(f"Error: {halfway / 'checkpoint' / 'epoch-3'}: cannot be written (")
    assert "earlier checkpoints are kept" in last and "Traceback" not in ended.text
    assert checkpoint_names(halfway) == ["epoch-1", "epoch-2"]
    run_here(small_recipe(epochs=3), world, halfway)
    same_run(whole, halfway)


def test_a_folder_that_cannot_be_written_is_one_sentence(halfway, world, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for owner, name, out in (
        (run_folder, "locked", tmp_path / "new"),
        (Path, "mkdir", tmp_path / "new"),
        (Path, "mkdir", halfway),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse)
            with pytest.raises(OutputError, match=r"cannot be written \(Read-only file system\)"):
                run_here(small_recipe(epochs=3), world, out)


def test_of_two_commands_with_one_folder_the_second_is_refused(whole, world, tmp_path):
    out = tmp_path / "runs" / "run"
    with run_folder.held(out):
        ended = launch(arguments(small_recipe(), world, out), tmp_path / "log")
        assert ended.codes == [1]
        assert ended.text == (f"Error: {out}: another process is writing it; wait for it to end\n")
    assert not out.parent.exists()
    # What a killed process leaves holds nothing.
    out.parent.mkdir()
    (out.parent / ".run.lock").touch()
    same_run(whole, run_here(small_recipe(epochs=3), world, out))


def test_asked_to_stop_while_it_validates_a_run_loses_no_update(
    whole, world, tmp_path, monkeypatch
):
    real = setup.validate

    def signalled(*args, stop, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, stop=stop, **options)

    with monkeypatch.context() as patch, pytest.raises(Terminated, match="epoch-0-update-4") as end:
        patch.setattr(setup, "validate", signalled)
        run_here(small_recipe(epochs=3), world, tmp_path / "run")
    assert end.value.exit_code == 128 + signal.SIGTERM
    assert last_position(tmp_path / "run") == Position(0, 4)
    torch.rand(3)
    same_run(whole, run_here(small_recipe(epochs=3), world, tmp_path / "run"))


def test_a_second_ctrl_c_leaves_at_once_and_the_handlers_go_with_the_run():
    class Alone:
        num_processes = 1

    before = signal.getsignal(signal.SIGINT)
    with Stop(Alone()) as stop:  # type: ignore[arg-type]
        assert stop(1) == 0
        os.kill(os.getpid(), signal.SIGINT)
        assert stop(2) == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_the_best_epoch_is_kept_beside_the_last(whole, world, tmp_path):
    for key, best in (("val_label_loss", min), ("val_accuracy", max)):
        recipe = changed(small_recipe(epochs=3), engine={"keep_best": key})
        run = tmp_path / key
        train(recipe, **folders(world), out=run, keep=3, shown=False)
        same_run(whole, run)
        values = [line[key] for line in metrics_lines(run)]
        epoch = values.index(best(values)) + 1
        with safe_open(run / "best.safetensors", framework="pt") as file:
            assert file.metadata() == {
                "format": "pt", key: str(values[epoch - 1]), "epoch": str(epoch),
            }  # fmt: skip
        weights = load_file(run / "checkpoint" / f"epoch-{epoch}" / "model.safetensors")
        found = load_file(run / "best.safetensors")
        assert len(found) == len(weights)
        for name, value in weights.items():
            assert torch.equal(found[name.removeprefix("backbone.")], value), name


@pytest.mark.parametrize(
    ("key", "val", "message"),
    [
        ("val_map", True, "engine.keep_best=val_map: not of imagenet-ab; expected val_accuracy"),
        ("val_accuracy", False, "engine.keep_best=val_accuracy without --val"),
    ],
)
def test_a_best_epoch_that_nothing_judges_is_refused(world, tmp_path, key, val, message):
    recipe = changed(small_recipe(), engine={"keep_best": key})
    with pytest.raises(OptionError, match=message):
        run_here(recipe, world, tmp_path / "run", val=val)
    assert not (tmp_path / "run").exists()


def without_progress(world: World, run: Path) -> Path:
    """A run that was killed before its first checkpoint."""
    args = arguments(small_recipe(epochs=3), world, run)
    assert launch(args, run.with_name("log"), signal_at=Signal(2)).codes == [-signal.SIGKILL]
    assert (run / "recipe.json").exists() and not positions(run)
    return run


def test_before_any_progress_a_run_takes_another_recipe(whole, world, tmp_path):
    run = without_progress(world, tmp_path / "run")
    recipe = changed(small_recipe(epochs=3), optim={"lr": 1e-3})
    run_here(recipe, world, run)
    assert run_folder.read_recipe(run) == recipe


def test_folders_of_other_names_with_the_same_content_go_on(halfway, whole, world, tmp_path):
    data = shutil.copytree(world.data, tmp_path / "first")
    files = [str(path.relative_to(data)) for path in data.rglob("*.parquet")]
    manifest = {"dataset": "imagenet-ab", "version": "1", "files": dict.fromkeys(files, "")}
    (data / "manifest.json").write_text(json.dumps(manifest | {"content_digest": "sha256:1"}))
    seen = World(data, world.images, world.val)
    run = tmp_path / "other"
    args = arguments(small_recipe(epochs=3), seen, run)
    assert launch(args, tmp_path / "log", signal_at=Signal(10)).codes == [-signal.SIGKILL]
    renamed = World(
        data.rename(tmp_path / "second"), world.images, shutil.copytree(world.val, tmp_path / "v")
    )
    run_here(small_recipe(epochs=3), renamed, run)
    same_run(whole, run)
    # And a complete run of another content is not called the same.
    (renamed.data / "manifest.json").write_text(
        json.dumps(manifest | {"content_digest": "sha256:2"})
    )
    with pytest.raises(OptionError, match="complete, of a dataset with the digest sha256:1"):
        run_here(small_recipe(epochs=3), renamed, run)


def test_other_validation_images_are_told_by_what_differs(halfway, world, tmp_path):
    val = shutil.copytree(world.val, tmp_path / "val")
    next(val.glob("*/*.png")).unlink()
    with pytest.raises(OptionError, match=r"another val \(.*num_images: 10 there, 9 now") as error:
        run_here(small_recipe(epochs=3), World(world.data, world.images, val), halfway)
    assert "name" not in str(error.value)


def test_sums_of_an_older_version_are_taken_up():
    class Alone:
        is_main_process = True
        num_processes = 1

    sums = EpochSums(Alone(), None, Path())  # type: ignore[arg-type]
    sums.load_state_dict({"sums": torch.arange(7.0), "updates": 2, "unreadable": []})
    assert sums.sums.tolist() == [*range(7), 0.0, 0.0, 0.0] and len(ROW) == 10


def test_a_run_without_any_point_is_refused_and_labels_alone_are_not(world, tmp_path):
    import pyarrow.parquet as pq

    (file,) = (world.data / "data").glob("*.parquet")
    rows = pq.read_table(file).to_pylist()
    for row in rows:
        row |= {"selected": False, "final_click_x": None, "final_click_y": None, "boxes": []}
    bare = World(write_dataset(tmp_path / "imagenet-ab", rows), world.images, world.val)
    for target in ("click", "oracle", "random"):
        with pytest.raises(OptionError, match=f"target {target}: none of the 32 images"):
            run_here(small_recipe(target=target), bare, tmp_path / target)
        assert not (tmp_path / target).exists()
    run_here(small_recipe(target="none", epochs=1), bare, tmp_path / "none")
    assert metrics_lines(tmp_path / "none")[0]["train_points"] == 0
