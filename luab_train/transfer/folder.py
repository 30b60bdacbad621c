"""The folder of a transfer, and how it is resumed.     [I/O]

    OUT/recipe.json         the resolved recipe
    OUT/environment.json    versions, machine, backbone, data, class names
    OUT/metrics.jsonl       one line an epoch
    OUT/checkpoint.pt       everything needed to go on after the last finished epoch
    OUT/model.safetensors   weights of the Mask R-CNN; written last: the transfer is complete

Every file appears under its name in one rename. The checkpoint goes when the model is there.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from pickle import PickleError
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save as save_tensors
from torch import nn

from luab_data.errors import OptionError, OutputError
from luab_train.recipe import differences, parse_json, to_json
from luab_train.training.checkpoint import keep_metrics, write_atomically
from luab_train.transfer.recipe import Transfer

_SAME = ("backbone", "train", "val", "classes")


def check_out(out: Path, recipe: Transfer) -> bool:
    """Whether `out` is an unfinished transfer of `recipe`; False if it is yet to be made.

    Raises: OptionError if it is complete, or of another recipe; OutputError if it is something
        else.
    """
    try:
        there = {path.name for path in out.iterdir() if not path.name.endswith(".partial")}
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"{out}: cannot be a folder of results ({error.strerror})") from error
    if not there:
        return False
    if "recipe.json" not in there:
        raise OutputError(f"{out}: not empty and no transfer; choose a new folder for --out")
    where = out / "recipe.json"
    changed = differences(parse_json(Transfer, where.read_text(), where=str(where)), recipe)
    listed = ", ".join(f"{k}: {old} there, {new} asked" for k, (old, new) in changed.items())
    if "model.safetensors" in there:
        raise OptionError(
            f"{out}: already complete{f', with another recipe ({listed})' if changed else ''};"
            " choose another --out, or delete the folder to train again"
        )
    if changed:
        raise OptionError(
            f"{out}: an unfinished transfer of another recipe ({listed}); choose another --out"
        )
    return True


def open_out(out: Path, recipe: Transfer, environment: dict[str, Any]) -> None:
    """Make `out` ready: a new folder, or an unfinished one of the same recipe, backbone and data.

    Raises: as `check_out`; OptionError if backbone or data are not what it began with.
    """
    resumed: list[int] = []
    if check_out(out, recipe):
        where = out / "environment.json"
        before = json.loads(where.read_text()) if where.exists() else environment
        for key in _SAME:
            if before.get(key) != environment[key]:
                raise OptionError(
                    f"{out}: begun with another {key}: {before.get(key)}, now {environment[key]};"
                    " resume with what it began with, or choose another --out"
                )
        done = _finished_epochs(out)
        resumed = [*before.get("resumed_after_epochs", []), *([done] if done else [])]
        keep_metrics(out, done)
    else:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{out}: cannot be made ({error.strerror})") from error
        write_atomically(out / "recipe.json", to_json(recipe).encode())
    text = json.dumps({**environment, "resumed_after_epochs": resumed}, indent=2)
    write_atomically(out / "environment.json", (text + "\n").encode())


def _finished_epochs(out: Path) -> int:
    if not (out / "checkpoint.pt").exists():
        return 0
    return int(_read_checkpoint(out, mmap=True)["epoch"])


def save_checkpoint(
    accelerator: Accelerator,
    out: Path,
    epoch: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Weights, optimiser and loss scale after `epoch`. Random states are set anew every epoch."""
    if accelerator.is_main_process:
        content = io.BytesIO()
        scaler = accelerator.scaler
        state = {
            "epoch": epoch,
            "model": accelerator.unwrap_model(model).state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        torch.save(state, content)
        write_atomically(out / "checkpoint.pt", content.getvalue())
    accelerator.wait_for_everyone()


def load_checkpoint(
    accelerator: Accelerator, out: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Go back to the state of the checkpoint; the epochs that were finished, 0 without one."""
    if not (out / "checkpoint.pt").exists():
        return 0
    state = _read_checkpoint(out)
    accelerator.unwrap_model(model).load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if accelerator.scaler is not None and state["scaler"] is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    return int(state["epoch"])


def _read_checkpoint(out: Path, *, mmap: bool = False) -> dict[str, Any]:
    path = out / "checkpoint.pt"
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (OSError, RuntimeError, ValueError, EOFError, PickleError) as error:
        raise OptionError(
            f"{path}: cannot be read ({error}); delete the folder to train again"
        ) from error
    return state


def save_model(out: Path, model: nn.Module) -> None:
    """Write model.safetensors and drop the checkpoint: the transfer is complete from here on."""
    weights = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    write_atomically(out / "model.safetensors", save_tensors(weights, metadata={"format": "pt"}))
    (out / "checkpoint.pt").unlink(missing_ok=True)
