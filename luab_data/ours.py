"""[I/O] What is in a folder, and whose it is: ours, noise of a desktop, or somebody else's."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
MARKER = ".luab.json"
"""In a folder that is no dataset: the verb that wrote it, its settings, its files and their
SHA-256."""

_NOISE = re.compile(
    r"(.*/)?("
    r"\._[^/]*|\.DS_Store|\.localized|Icon\r|__MACOSX/.*"  # macOS
    r"|Thumbs\.db|ehthumbs\.db|desktop\.ini|\.directory"  # Windows, KDE
    r"|\.ipynb_checkpoints/.*|\.nfs[0-9a-f]+"
    r")|\.gitattributes|\.gitignore|\.cache/.*|\.git/.*"  # what git and the Hub's client add
).fullmatch


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
        the settings that were given to new_folder; of a dataset, the digest of its job.
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


def mark_folder(folder: Path, by: str, settings: Any) -> None:
    """Write MARKER: which verb wrote the folder, with which settings, and all that is in it."""
    paths = {name: folder / name for name in files_in(folder)}
    files = {name: "" if is_link(path) else sha256_of(path) for name, path in paths.items()}
    text = json.dumps({"written_by": by, "settings": settings, "files": files}, indent=1)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def is_intact(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether every file is there as it was written."""
    return all(
        (folder / name).is_file() and (not digest or sha256_of(folder / name) == digest)
        for name, digest in files.items()
    )


def is_same(new: Path, old: Path) -> bool:
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


def is_link(path: Path) -> bool:
    """A hard link is somebody else's file too, e.g. a picture: on disk already, often large."""
    return path.stat().st_nlink > 1
