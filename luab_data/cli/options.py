"""Arguments and options that several verbs have.

A verb hands its options to the function of its name in `luab_data` as they are, so the two have the
same words and the same defaults; heavy imports wait in there, so that --help answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Any], Any]

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)
NEW = click.Path(path_type=Path)


def with_options(*options: Decorator) -> Decorator:
    """Several options, in the order of --help."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def dataset(metavar: str | None = None) -> Decorator:
    """A dataset folder, or a name under $LUAB_DATA_HOME."""
    return click.argument("dataset", metavar=metavar, type=str)


def as_json(help: str = "One JSON object instead of a table.") -> Decorator:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help=help)


def force(help: str = "Replace an earlier --out with other content.") -> Decorator:
    """--force: see luab_data.files for what is replaced."""
    return click.option("--force", is_flag=True, help=help)


def table(help: str) -> Decorator:
    """--out and --force of a verb that can write its numbers as one table."""
    return with_options(click.option("--out", type=NEW_FILE, help=help), force())


def images(help: str, **more: Any) -> Decorator:
    """--images: the pictures of a dataset."""
    help = f"Folder of the image files, at any depth.{help}"
    return click.option("--images", type=FOLDER, help=help, **more)


def listed(names: str | None) -> list[str] | None:
    """`A, B` as a list; None stays None."""
    return None if names is None else [name.strip() for name in names.split(",")]
