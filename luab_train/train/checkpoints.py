"""A run's checkpoints: all that is needed to go on as if nothing had happened.     [I/O]

    RUN/checkpoint/epoch-N              after epoch N, or `epoch-N-update-M` within the next
    RUN/checkpoint/epoch-N/files.json   the sizes of its files

A checkpoint is flushed to the disk before it gets its name in one rename. The last ones are kept,
so that an older one serves where the newest is damaged.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator
from safetensors import SafetensorError

from luab_data.errors import OptionError, OutputError
from luab_data.files import flush, write_whole

KEEP = 2
"""Checkpoints of a run, if nothing else is said."""

_FOLDER, _FILES = "checkpoint", "files.json"
_ARCHIVE_WRITER = "PytorchStreamWriter|inline_container"
_NAME = re.compile(r"epoch-(\d+)(?:-update-(\d+))?")


class Position(NamedTuple):
    """How far a run is."""

    epoch: int = 0
    """Epochs done."""
    update: int = 0
    """Updates done of the next one."""

    @property
    def name(self) -> str:
        """Of its checkpoint's folder."""
        return f"epoch-{self.epoch}" + (f"-update-{self.update}" if self.update else "")


def positions(run: Path) -> list[Position]:
    """Of all its checkpoints, damaged ones too, in order."""
    folder = run / _FOLDER
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = [match for match in map(_NAME.fullmatch, names) if match]
    return sorted(Position(int(m[1]), int(m[2] or 0)) for m in found)


def last_position(run: Path) -> Position:
    """Where the run can go on: its newest whole checkpoint, the beginning if it has none."""
    return max((p for p in positions(run) if _is_whole(run, p)), default=Position())


def _is_whole(run: Path, position: Position) -> bool:
    folder = run / _FOLDER / position.name
    if not (folder / _FILES).exists():
        return True  # written before there was such a file
    try:
        sizes: dict[str, int] = json.loads((folder / _FILES).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def save_checkpoint(
    accelerator: Accelerator, run: Path, position: Position, *, keep: int = KEEP
) -> None:
    """Save weights, optimiser, scaler, sums and random states at `position`; of all checkpoints,
    the last `keep` stay.

    Raises: OutputError if the disk refuses; those before it are whole.
    """
    final = run / _FOLDER / position.name
    partial = final.with_name(f"partial-{position.name}")
    try:
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            if final.exists() and _is_whole(run, position):  # the same state
                shutil.rmtree(partial)
            else:
                _publish(partial, final)
            newest = [p for p in positions(run) if p <= position and _is_whole(run, p)][-keep:]
            for path in (run / _FOLDER).iterdir():
                if path.name not in {p.name for p in newest}:
                    shutil.rmtree(path, ignore_errors=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        # On a full disk torch.save raises a RuntimeError of its archive's writer.
        if isinstance(error, RuntimeError) and not re.search(_ARCHIVE_WRITER, str(error)):
            raise
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(
            f"{final}: cannot be written ({reason}); earlier checkpoints are kept. Make room, and"
            " the same command goes on from the last of them"
        ) from error
    accelerator.wait_for_everyone()


def _publish(partial: Path, final: Path) -> None:
    files = [path for path in partial.rglob("*") if path.is_file()]
    sizes = {str(path.relative_to(partial)): path.stat().st_size for path in files}
    for path in files:
        flush(path)
    write_whole(partial / _FILES, (json.dumps(sizes, indent=2) + "\n").encode())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    with suppress(OSError):  # not every system flushes the names in a folder
        flush(final.parent)


def load_checkpoint(accelerator: Accelerator, run: Path, position: Position) -> None:
    """Go back to the state at `position`, in objects prepared in the same order."""
    folder = run / _FOLDER / position.name
    try:
        accelerator.load_state(str(folder))
    except Exception as error:  # of damaged files, their readers raise whatever they trip over
        raise OptionError(
            f"{folder}: cannot be read ({type(error).__name__}: {str(error).splitlines()[0]});"
            " if it is damaged, delete it: the same command goes on from the one before it"
        ) from error


def choose_position(run: Path) -> tuple[Position, list[Position]]:
    """Where to go on, and later checkpoints that are damaged.

    Raises: OptionError if there are checkpoints and none is whole.
    """
    position = last_position(run)
    damaged = [p for p in positions(run) if p > position]
    if damaged and position == Position():
        raise OptionError(
            f"{run / _FOLDER}: {damaged[-1].name} is damaged and no other is there; start the run"
            " again with --no-resume"
        )
    return position, damaged
