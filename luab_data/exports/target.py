"""[I/O] A new folder or file that is either whole or not there.

An export never replaces anything: it is written beside its place under another name and gets its
own by one rename. Killed at any moment, the target is not there; the next run clears what was left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from luab_data.errors import LuabError, OutputError
from luab_data.files import locked


@contextmanager
def new_target(out: Path) -> Iterator[Path]:
    """The path to make a folder or a file at; becomes `out` when the block ends well.

    Raises:
        OutputError: `out` is there (an empty folder may be), another process is writing it, or the
            disk refuses. Nothing is left behind then.
    """
    out = Path(os.path.abspath(out))
    partial = out.with_name(f".{out.name}.partial")
    made = [parent for parent in out.parents if not parent.exists()]
    done = False
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out):
            _check_new(out)
            _remove(partial)  # of a run that was killed
            try:
                yield partial
                if out.is_dir():  # empty, or this fails
                    out.rmdir()
                partial.rename(out)
                done = True
            finally:
                _remove(partial)
    except LuabError:
        raise
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}). Nothing was kept; make room or"
            " choose another --out"
        ) from error
    finally:
        for parent in made if not done else []:
            with suppress(OSError):  # somebody else may use it meanwhile
                parent.rmdir()


def _check_new(out: Path) -> None:
    if out.is_dir() and not out.is_symlink():
        if any(out.iterdir()):
            raise OutputError(
                f"{out}: is there and not empty; an export replaces nothing. Remove it or choose"
                " another --out"
            )
    elif os.path.lexists(out):
        raise OutputError(f"{out}: is there; an export replaces nothing. Choose another --out")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
