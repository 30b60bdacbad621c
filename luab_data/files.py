"""[I/O] The one door to the disk: outputs that are whole or not there, and whose they are.

An output is written beside its place, flushed, and gets its name by a rename. Killed at any moment,
its place holds what it held before, or the whole output; the next run clears what was left. The
policy of every verb (docs/decisions.md, "What is replaced, and when"):

- nothing is there, or an empty folder or file: written;
- the same is there already: nothing is written, and the verb says so (`Target.same`);
- another output of the same verb is there: replaced with `force` only;
- anything else is there, or anything of somebody else's in the folder: refused, with `force` too.

Ours is a folder that lists the files we wrote in it, `manifest.json` of a dataset or MARKER of
other folders, and a file that bears the mark of its verb near its start or its end.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from luab_data.errors import LuabError, OutputError
from luab_data.ours import CHECKSUMS as CHECKSUMS
from luab_data.ours import MANIFEST as MANIFEST
from luab_data.ours import MARKER as MARKER
from luab_data.ours import files_in as files_in
from luab_data.ours import foreign_files as foreign_files
from luab_data.ours import is_intact, is_link, is_same, mark_folder
from luab_data.ours import is_noise as is_noise
from luab_data.ours import sha256_of as sha256_of
from luab_data.ours import written_files as written_files

ALREADY = "is there already, with the same content; nothing was written"
"""What a verb says after the path of an output if `Target.same`."""

_MARKED = 2**16  # bytes at each end of a file that are searched for its mark


@dataclass
class Target:
    """An output that is being made.

    Attributes:
        path: where to write it, until the block ends; then it is at its own place.
        same: what is at its place is the same, so nothing is or was written.
    """

    path: Path
    same: bool = False


# --- outputs --------------------------------------------------------------------------------------


@contextmanager
def new_file(
    out: str | os.PathLike[str], *, mark: bytes | None, force: bool = False
) -> Iterator[Target]:
    """A file to write at `Target.path`; takes its name when the block ends well.

    Args:
        out: the file.
        mark: bytes that every file of this verb has in its first or last 64 KiB, e.g. the header of
            a CSV file or the name of a metadata key. None: an earlier one is never replaced.
        force: replace an earlier file with other content.

    Raises:
        OutputError: not ours to replace, in a dataset, being written, or the disk refuses. What was
            there is untouched.
    """
    place = _place(out)
    with _making(place):
        if place.exists():
            _check_file(place, mark)
        target = Target(_beside(place, "partial"))
        _remove(target.path)
        try:
            yield target
            flush(target.path)
            if place.exists() and place.stat().st_size:
                target.same = sha256_of(target.path) == sha256_of(place)
                if not target.same and (not force or mark is None):
                    raise OutputError(_other(place, can_force=mark is not None))
            if not target.same:
                os.replace(target.path, place)
                _flush_folder(place.parent)
        finally:
            _remove(target.path)


@contextmanager
def new_folder(
    out: str | os.PathLike[str],
    *,
    by: str,
    settings: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Iterator[Target]:
    """An empty folder to fill at `Target.path`; becomes `out` when the block ends well.

    Args:
        out: the folder.
        by: one word for what is written, e.g. `report`. `dataset` has a manifest, others get
            MARKER.
        settings: JSON of all that the content depends on. If given and `out` was written with the
            same, `Target.same` is set before the block, which then has nothing to do; if with
            others, `out` is refused at once. Otherwise the new content is compared with the old.
        force: replace an earlier folder of the same word.

    Raises:
        OutputError: as new_file.
    """
    place = _place(out)
    settings = json.loads(json.dumps(settings))
    with _making(place):
        old = _beside(place, "old")
        _finish_swap(place, old)
        earlier = _check_folder(place, by)
        target = Target(_beside(place, "partial"))
        if earlier and settings is not None and not force:
            files, told = earlier
            if told != settings or not is_intact(place, files):
                raise OutputError(_other(place))
            target.same = True
        _remove(target.path)
        target.path.mkdir()
        try:
            yield target
            if target.same:
                return
            if by != "dataset":
                mark_folder(target.path, by, settings)
            for name in files_in(target.path):
                if not is_link(target.path / name):
                    flush(target.path / name)
            if earlier:
                target.same = is_same(target.path, place)
                if not target.same and not force:
                    raise OutputError(_other(place))
            if not target.same:
                _swap(target.path, place, old)
        finally:
            _remove(target.path)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file of a folder that is ours, e.g. of a run: it is the old or the new one.

    Raises:
        OutputError: the disk refuses.
    """
    partial = _beside(path, "partial")
    try:
        partial.write_bytes(content)
        flush(partial)
        os.replace(partial, path)
        _flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from writing a target; OutputError if one is at it."""
    # Beside the target: every job that can write the target sees it, whatever its temporary folder.
    lock = FileLock(_beside(out, "lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        try:  # FileLock also waits in vain where no file can be made
            Path(lock.lock_file).touch()
        except OSError as error:
            said = f"cannot be written ({error.strerror or error}); choose another place"
            raise OutputError(f"{out}: {said}") from error
        raise OutputError(f"{out}: another process is writing it; wait for it to end") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")


def _place(out: str | os.PathLike[str]) -> Path:
    """Where an output goes: a link stays a link, its target is replaced."""
    place = Path(os.path.realpath(out))
    if not place.name or place == Path.cwd() or place in Path.cwd().parents:
        raise OutputError(f"{place}: cannot be replaced as a whole; choose another --out")
    return place


@contextmanager
def _making(place: Path) -> Iterator[None]:
    """The parents of an output, its lock, and the disk's refusals as OutputError."""
    _check_not_inside(place)
    made = [parent for parent in place.parents if not parent.exists()]
    done = False
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked(place):
            yield
        done = True
    except LuabError:
        raise
    except OSError as error:
        raise OutputError(
            f"{place}: cannot be written ({error.strerror or error}). Nothing was changed; make"
            " room or choose another --out"
        ) from error
    finally:
        for parent in made if not done else []:
            with suppress(OSError):  # somebody else may use it meanwhile
                parent.rmdir()


# --- whose it is ----------------------------------------------------------------------------------


def _check_not_inside(place: Path) -> None:
    """An output in a folder of ours would be a stranger there, and go when that is replaced."""
    for parent in place.parents:
        if found := written_files(parent):
            raise OutputError(f"{place}: lies inside the {found[0]} {parent}; choose another --out")


def _check_file(place: Path, mark: bytes | None) -> None:
    """The file that is there is empty, ours, or may turn out to be the same."""
    if place.is_dir():
        raise OutputError(f"{place}: is a folder; expected the name of a file to write")
    if not place.is_file():  # os.replace would put a file in the place of /dev/stdout
        raise OutputError(f"{place}: is no plain file; expected the name of a file to write")
    if mark is None or not place.stat().st_size:
        return
    with place.open("rb") as file:
        head = file.read(_MARKED)
        file.seek(max(0, place.stat().st_size - _MARKED))
        if mark not in head and mark not in file.read(_MARKED):
            raise OutputError(
                f"{place}: is there, and this verb did not write it; choose another --out"
            )


def _check_folder(place: Path, by: str) -> tuple[Mapping[str, str], Any] | None:
    """Files and settings of the folder of ours that is there; None if there is nothing."""
    if not place.exists():
        return None
    if not place.is_dir():
        raise OutputError(f"{place}: is a file; expected a folder to make or replace")
    if not any(place.iterdir()):
        return None
    found = written_files(place)
    if found is None:
        marker = MANIFEST if by == "dataset" else MARKER
        raise OutputError(
            f"{place}: holds files but no {marker}, so luab did not write it; choose another --out"
            " or remove the folder"
        )
    word, files, settings = found
    if word != by:
        raise OutputError(f"{place}: holds a {word}, no {by}; choose another --out")
    strangers = foreign_files(place, files)
    strangers += [".git"] if (place / ".git").exists() else []  # its history would go with it
    if strangers:
        raise OutputError(
            f"{place}: replacing it would delete files that luab did not write:"
            f" {', '.join(strangers[:5])}. Move them away or choose another --out"
        )
    return files, settings


def _other(place: Path, *, can_force: bool = True) -> str:
    advice = "replace it with --force, or choose another --out"
    if not can_force:
        advice = "remove it or choose another --out"
    return f"{place}: is there already, with other content; {advice}"


# --- renames --------------------------------------------------------------------------------------


def _finish_swap(place: Path, old: Path) -> None:
    """After a kill between the two renames the old folder waits beside its place."""
    if written_files(old):  # a folder of that name that is not ours stays, and stops the swap
        if not place.exists():
            old.rename(place)
        shutil.rmtree(old, ignore_errors=True)


def _swap(new: Path, place: Path, old: Path) -> None:
    if place.exists():
        place.rename(old)
    try:
        new.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
    _flush_folder(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, on disk and not only in memory."""
    # Windows flushes only what is open for writing; elsewhere a file may be read-only.
    number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _flush_folder(folder: Path) -> None:
    with suppress(OSError):  # where the system lets one ask for that
        flush(folder)
