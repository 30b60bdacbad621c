"""[I/O] What an interrupted conversion had finished, so that the next one goes on from there.

The journal lies in the staging folder. Its first line says what is converted and how; each further
line commits a shard: which files are whole, and where the log stood. A line is written after its
files are on disk, so what it lists is there; everything else in the folder is thrown away.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

HIDDEN = ".luab-"
"""Names of a build's own files in the staging folder begin so; none of them is published."""

JOURNAL = f"{HIDDEN}journal.jsonl"

Commit = dict[str, Any]


class Journal:
    """Opens the journal of a staging folder and cleans the folder of what it does not list.

    Args:
        folder: the staging folder.
        identity: what has to be equal for the commits to hold: input, options, versions. If it
            differs from the journal's, the folder is emptied and the journal begins anew.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder = folder
        self._path = folder / JOURNAL
        self._identity = identity
        self.commits = self._read()
        self._clean()
        lines = [self._identity, *self.commits]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def _read(self) -> list[Commit]:
        """The commits that hold."""
        if not self._path.is_file():
            return []
        commits: list[Commit] = []
        try:
            first, *rest = self._path.read_text(encoding="utf-8").splitlines()
            if json.loads(first) != json.loads(json.dumps(self._identity)):
                return []
            for line in rest:
                commit = json.loads(line)
                if any(_size(self._folder / name) < size for name, size in commit["files"].items()):
                    break
                commits.append(commit)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # the last line was cut by the kill: those before it hold
        return commits

    def _clean(self) -> None:
        """Leave what the commits list, each file as long as it was at the last commit."""
        sizes: dict[str, int] = {}
        for commit in self.commits:
            sizes.update(commit["files"])
        for path in sorted(self._folder.rglob("*"), reverse=True):
            name = path.relative_to(self._folder).as_posix()
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif name not in sizes:
                path.unlink()
            elif path.stat().st_size > sizes[name]:
                os.truncate(path, sizes[name])

    def restart(self) -> None:
        """Forget everything: the log is not the one that the commits are of."""
        self.commits = []
        shutil.rmtree(self._folder)
        self._folder.mkdir()
        self._path.write_text(json.dumps(self._identity) + "\n", encoding="utf-8")

    def commit(self, files: list[Path], state: dict[str, Any]) -> None:
        """Note that these files are whole and that the work stands at `state`."""
        for path in files:
            flush(path)
        sizes = {f.relative_to(self._folder).as_posix(): f.stat().st_size for f in files}
        entry: Commit = {**state, "files": sizes}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.commits.append(entry)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def flush(path: Path) -> None:
    """Have a file on disk, not only in memory."""
    # Windows flushes only what is open for writing; elsewhere a file may be read-only.
    with path.open("r+b" if os.name == "nt" else "rb") as file:
        os.fsync(file.fileno())
