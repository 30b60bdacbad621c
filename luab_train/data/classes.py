"""ImageNet's classes as timm's files list them, read without importing timm, which takes seconds.

[I/O]
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

from luab_data.console import install_command
from luab_data.errors import OptionError


def package_file(package: str, *parts: str) -> Path | None:
    """A file of an installed package, which is not imported; None if there is no such file."""
    found = importlib.util.find_spec(package)
    folders = [] if found is None else [*(found.submodule_search_locations or ())]
    files = [Path(folder).joinpath(*parts) for folder in folders]
    return next((file for file in files if file.is_file()), None)


def timm_file(name: str) -> str:
    """The text of a file of timm's data, e.g. `imagenet_a_synsets.txt`."""
    file = package_file("timm", "data", "_info", name)
    if file is None:
        raise OptionError(
            f"timm has no {name}, which says what ImageNet's classes are; expected timm 1.0 or"
            f" later: {install_command('train')}"
        )
    return file.read_text()


@functools.cache
def timm_synsets(name: str) -> tuple[str, ...]:
    """A list of wnids that timm ships, e.g. `imagenet_a_synsets.txt`: 200, sorted."""
    return tuple(timm_file(name).split())


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 wnids of ImageNet-1k in label order, from timm's own file."""
    return timm_synsets("imagenet_synsets.txt")
