"""[I/O] Files of another project -> a dataset folder: an importer's views, and what it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Unpack

from luab_data.conversion import AnyPath, Converted
from luab_data.errors import OptionError
from luab_data.importers import importer
from luab_data.views.convert import Options, ViewsJob, origin_of
from luab_data.words import did_you_mean


def convert_from(
    source: str,
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    reading: Mapping[str, str] = MappingProxyType({}),
    **options: Unpack[Options],
) -> Converted:
    """Convert another project's record of attention to a dataset folder; docs/importers.md.

    Args:
        source: name of the importer, e.g. `salicon`.
        paths: its files, or folders in the publisher's layout.
        out: the dataset folder.
        reading: options of the importer.
        options: see Options; where they say nothing, the card has what is known of the source.

    Raises:
        RecordError, ArchiveError, OutputError, OptionError: nothing was changed then.
    """
    found = importer(source)
    for name in set(reading) - set(found.options):
        raise OptionError(f"{source} has no option {name!r}{did_you_mean(name, found.options)}")
    files = [Path(p) for p in ([paths] if isinstance(paths, (str, PathLike)) else paths)]
    job = ViewsJob(found.kind, None, {"reading": dict(reading)}, said=found.about.as_collection())
    read = partial(found.read, files, **reading)
    return job.convert(read, origin_of(files), out, options)
