"""What both command lines share: a LuabError is one clear line, no terminal means no bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click
from tqdm import tqdm

from luab_data.errors import LuabError


class LuabGroup(click.Group):
    """A Click group whose commands end with one message on a LuabError, and exit code 1 or what
    the error asks for.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a LuabError is the user's to read, anything else is our bug."""
        try:
            return super().invoke(ctx)
        except LuabError as error:
            raise _Shown(str(error), getattr(error, "exit_code", 1)) from error


class _Shown(click.ClickException):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # Click itself reads it from the instance


def progress(
    items: Iterable[Any] | None = None,
    *,
    what: str,
    total: float | None = None,
    unit: str = "it",
    unit_scale: bool = False,
    shown: bool | None = None,
) -> tqdm[Any]:
    """A tqdm bar on stderr; `shown=None` shows it only on a terminal."""
    hidden = not (sys.stderr.isatty() if shown is None else shown)
    return tqdm(
        items, desc=what, total=total, unit=unit, unit_scale=unit_scale, disable=hidden, leave=False
    )
