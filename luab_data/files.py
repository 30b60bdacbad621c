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

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from luab_data.errors import LuabError, OutputError

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
MARKER = ".luab.json"
"""In a folder that is no dataset: the verb that wrote it, its settings, its files and their
SHA-256."""

ALREADY = "is there already, with the same content; nothing was written"
"""What a verb says after the path of an output if `Target.same`."""

_BLOCK = 2**20
_MARKED = 2**16  # bytes at each end of a file that are searched for its mark
_NOISE = re.compile(
    r"(.*/)?("
    r"\._[^/]*|\.DS_Store|\.localized|Icon\r|__MACOSX/.*"  # macOS
    r"|Thumbs\.db|ehthumbs\.db|desktop\.ini|\.directory"  # Windows, KDE
    r"|\.ipynb_checkpoints/.*|\.nfs[0-9a-f]+"
    r")|\.gitattributes|\.gitignore|\.cache/.*|\.git/.*"  # what git and the Hub's client add
).fullmatch


@dataclass
class Target:
    """An output that is being made.

    Attributes:
        path: where to write it, until the block ends; then it is at its own place.
        same: what is at its place is the same, so nothing is or was written.
    """

    path: Path
    same: bool = False


# --- what is in a folder --------------------------------------------------------------------------


def is_noise(name: str) -> bool:
    """Whether a path in a folder, `/` between its names, is left by a desktop, git or the Hub.

    Noise is neither data nor foreign: no verb reads, counts, publishes or complains of it.
    """
    return bool(_NOISE(name))


def files_in(folder: Path) -> list[str]:
    """Everything in a folder but folders and noise, by its path with `/`, sorted.

    A link to a folder is listed and not followed.
    """
    found = (p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    names = (p.relative_to(folder).as_posix() for p in found)
    return sorted(name for name in names if not is_noise(name) or name == MARKER)


def foreign_files(folder: Path, ours: Collection[str]) -> list[str]:
    """What is in the folder and neither ours nor noise."""
    return [name for name in files_in(folder) if name not in ours]


def written_files(folder: Path) -> tuple[str, Mapping[str, str], Any] | None:
    """What luab wrote in a folder; None if it did not.

    Returns: the verb's word (`dataset` for a dataset folder), path -> SHA-256 of its files, and
        the settings that were given to new_folder.
    """
    for name in (MANIFEST, MARKER):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            files = dict(found["files"])
            if name == MARKER:
                return str(found["written_by"]), {**files, MARKER: ""}, found["settings"]
            if found["dataset"] and found["version"]:
                return "dataset", {**files, MANIFEST: "", CHECKSUMS: ""}, {"job": found.get("job")}
    return None


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            if told != settings or not _is_intact(place, files):
                raise OutputError(_other(place))
            target.same = True
        _remove(target.path)
        target.path.mkdir()
        try:
            yield target
            if target.same:
                return
            if by != "dataset":
                _mark_folder(target.path, by, settings)
            for name in files_in(target.path):
                if not _is_link(target.path / name):
                    flush(target.path / name)
            if earlier:
                target.same = _is_same(target.path, place)
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


def _mark_folder(folder: Path, by: str, settings: Any) -> None:
    paths = {name: folder / name for name in files_in(folder)}
    files = {name: "" if _is_link(path) else sha256_of(path) for name, path in paths.items()}
    text = json.dumps({"written_by": by, "settings": settings, "files": files}, indent=1)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def _is_intact(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether every file is there as it was written."""
    return all(
        (folder / name).is_file() and (not digest or sha256_of(folder / name) == digest)
        for name, digest in files.items()
    )


def _is_same(new: Path, old: Path) -> bool:
    """Whether two folders hold the same files; noise does not count."""
    names = files_in(new)
    return names == files_in(old) and all(
        (old / name).is_file()
        and (
            os.path.samefile(new / name, old / name)
            or sha256_of(new / name) == sha256_of(old / name)
        )
        for name in names
    )


def _is_link(path: Path) -> bool:
    """A hard link is somebody else's file too, e.g. a picture: on disk already, often large."""
    return path.stat().st_nlink > 1


# --- renames --------------------------------------------------------------------------------------


def _finish_swap(place: Path, old: Path) -> None:
    """After a kill between the two renames the old folder waits beside its place."""
    if old.exists() and not place.exists():
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
    """Have a file on disk, not only in memory."""
    # Windows flushes only what is open for writing; elsewhere a file may be read-only.
    with path.open("r+b" if os.name == "nt" else "rb") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Have the names in a folder on disk, where the system lets one ask for that."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
