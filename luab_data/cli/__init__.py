"""The `luab-data` command: each verb parses, calls one function, prints."""

from __future__ import annotations

import ctypes
import gc
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder

import click

from luab_data.cli import collect, convert, datasets, numbers, people, quality, simulate
from luab_data.console import LuabGroup, terminate


@click.group(cls=LuabGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="luab")
def main() -> None:
    """Annotation byproducts: raw logs in, datasets out."""


for _command in (
    quality.accept,
    people.agreement,
    numbers.annotators,
    quality.calibrate,
    datasets.check,
    collect.collect,
    people.consensus,
    convert.convert,
    datasets.derive,
    people.difficulty,
    datasets.export,
    datasets.publish,
    datasets.report,
    numbers.stats,
    datasets.trace,
    datasets.where,
    simulate.simulate,
    convert.validate,
):
    main.add_command(_command)


def run() -> None:
    """The entry point of the process: what is main, and a process that suits it."""
    signal.signal(signal.SIGTERM, terminate)
    if sys.argv[1:2] == ["convert"]:
        suit_conversion()
    main()


# --- a process that does nothing but convert -----------------------------------------------------


class _NoPandas(MetaPathFinder):
    """Pandas is not there.

    Before its first array pyarrow imports pandas, a quarter of a second in every process, to know a
    Series when it sees one. A conversion has none.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        """Refuse pandas; everything else is for the other finders."""
        if name == "pandas":
            raise ModuleNotFoundError("luab-data convert runs without pandas", name=name)


def suit_conversion() -> None:
    """Start without pandas, keep the memory of freed arrays, collect garbage less often.

    glibc returns blocks of more than 128 KiB to the system and asks for them again for the next
    array of that size, which the kernel clears page by page: a tenth of a conversion's time.
    """
    sys.meta_path.insert(0, _NoPandas())
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 * 2**20)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
