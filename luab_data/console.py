"""What both command lines share: errors as one clear line, progress, and where to install from."""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import click
from tqdm import tqdm

from luab_data.errors import LuabError

_BAR_AFTER_S = 1.0
_LINE_EVERY_S = 10.0


class LuabGroup(click.Group):
    """A Click group whose commands end with one sentence, whatever ends them.

    Exit codes: 1 (or what the error asks for) on a LuabError and on output that nobody takes, 130
    on Ctrl-C, 143 on SIGTERM. Anything else is a bug of ours and shows its traceback. NO_COLOR is
    respected.
    """

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the process; output that cannot be written ends it with a sentence."""
        try:
            return super().main(*args, **options)
        except OSError as error:
            if not _came_from_echo(error):
                raise
            click.echo(f"Error: standard output cannot be written ({error.strerror})", err=True)
            # Else the interpreter complains about what is left in the buffer.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except LuabError as error:
            raise _Shown(str(error), getattr(error, "exit_code", 1)) from error
        except KeyboardInterrupt as error:
            by, code = ("SIGTERM", 143) if isinstance(error, Terminated) else ("Ctrl-C", 130)
            raise _Shown(f"stopped by {by}; what was not finished is not there", code) from None


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the work is tidied up and left, as on Ctrl-C."""


def terminate(*_: object) -> None:
    """The handler of SIGTERM."""
    raise Terminated


def _came_from_echo(error: OSError) -> bool:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return bool(frame.f_globals["__name__"] == "click.utils")


class _Shown(click.ClickException):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # Click itself reads it from the instance


class _Lines(tqdm):  # type: ignore[type-arg]
    """Off a terminal: one plain line every ten seconds, none for what takes less."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print where it stands."""
        if msg is None:
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def clear(self, nolock: bool = False) -> None:
        """Nothing is taken back."""

    def close(self) -> None:
        """Nothing is left to say."""
        if not self.disable:
            self.disable = True
            self._decr_instances(self)  # type: ignore[attr-defined]


def progress(
    items: Iterable[Any] | None = None,
    *,
    what: str,
    total: float | None = None,
    unit: str = "it",
    unit_scale: bool = False,
    shown: bool | None = None,
) -> tqdm[Any]:
    """How far some work is, on stderr, once it takes longer than a moment.

    Args:
        items: what is worked on; None for a bar that is moved by `update`.
        what: a word before it.
        total: of items, where `items` does not tell.
        unit, unit_scale: as tqdm's.
        shown: False for nothing; None or True for a bar on a terminal, else a line every ten
            seconds.
    """
    on_terminal = sys.stderr.isatty()
    options: dict[str, Any] = {"delay": _BAR_AFTER_S}
    if not on_terminal:
        options = {"delay": _LINE_EVERY_S, "mininterval": _LINE_EVERY_S, "miniters": 1}
        options["bar_format"] = "{desc}: {n_fmt} of {total_fmt}, {elapsed}, {rate_fmt}{postfix}"
    return (tqdm if on_terminal else _Lines)(
        items,
        desc=what,
        total=total,
        unit=unit,
        unit_scale=unit_scale,
        disable=shown is False,
        leave=False,
        **options,
    )


def terminal_width() -> int | None:
    """Characters of a line of the terminal that stdout is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def install_command(extra: str) -> str:
    """The command that adds an optional part, from where this luab was installed.

    Args:
        extra: of pyproject.toml, e.g. `report`.
    """
    with suppress(PackageNotFoundError, ValueError):
        origin = json.loads(distribution("luab").read_text("direct_url.json") or "{}")
        url = urlsplit(origin.get("url", ""))
        if url.scheme == "file":
            folder = unquote(url.path)
            place = "." if os.path.realpath(folder) == os.path.realpath(os.getcwd()) else folder
            editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
            return f'pip install {editable}"{place}[{extra}]"'
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").exists():  # run from there, installed nowhere
        place = "." if checkout == Path.cwd() else str(checkout)
        return f'pip install "{place}[{extra}]"'
    return f'pip install "luab[{extra}]"'
