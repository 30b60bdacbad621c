"""What both command lines share: a LuabError is one clear line, no terminal means no bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click
from tqdm import tqdm

from luab_data.errors import LuabError


class LuabGroup(click.Group):
    """A Click group whose commands end with exit code 1 and one message on a LuabError."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a LuabError is the user's to read, anything else is our bug."""
        try:
            return super().invoke(ctx)
        except LuabError as error:
            raise click.ClickException(str(error)) from error


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
