"""Other public records of attention -> views: a small module each, found by name.

A module defines IMPORTER. To add one, write the module, name it in MODULES, and write the test of
its trap: one asymmetric dot that lands elsewhere if axes, origin, units or clock are wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol

from luab_data.errors import OptionError
from luab_data.hub.about import About
from luab_data.views import Reading
from luab_data.words import did_you_mean


class Read(Protocol):
    """A reader of files of one format."""

    def __call__(
        self,
        paths: Sequence[Path],
        unknown: Counter[str],
        on_read: Callable[[int], object],
        /,
        **options: str,
    ) -> Iterator[Reading]:
        """The views of some files, in their order, some at a time; memory is bounded.

        Args:
            paths: files, or folders that are understood as the publisher's layout of them.
            unknown: field that the reader does not know -> how often it was there; added to.
            on_read: called with numbers of bytes as they are read, for a progress bar.
            options: of Importer.options, those that were given.

        Raises:
            ArchiveError: a file is of another format; says what it is and what was expected.
            OptionError: an option is missing or makes no sense.
        """


@dataclass(frozen=True, kw_only=True)
class Importer:
    """One format, and the data that are published in it.

    Args:
        name: on the command line: `luab-data convert NAME`.
        title: of the data, or of the tool whose exports are read.
        kind: of the views: what they become a dataset of.
        files: what is read, in words.
        read: the reader.
        options: name -> help, of what the files do not say, e.g. a selector of the picture.
        license: id of the Hub of the published data; empty where the data are the user's own.
        citation: BibTeX of the published data; empty likewise.
        url: where data or tool are described.
        description: what the data are, one paragraph for the card.
        limits: what the format does not have or has wrongly: (name, explanation), for the card.
    """

    name: str
    title: str
    kind: Literal["browsing", "tagging", "tracing"]
    files: str
    read: Read
    options: Mapping[str, str] = field(default_factory=dict)
    license: str = ""
    citation: str = ""
    url: str = ""
    description: str = ""
    limits: tuple[tuple[str, str], ...] = ()

    @property
    def about(self) -> About:
        """The data in words; without a title where they are not published, but made with a tool."""
        of_data: dict[str, Any] = {"title": self.title, "url": self.url}
        of_tool = {"title": "", "tool": self.url, "platforms": (self.title,)}
        return About(
            **(of_data if self.citation else of_tool),
            source=self.name,
            description=self.description,
            license=self.license,
            citation=self.citation,
            limits=self.limits,
        )


MODULES: Mapping[str, str] = {
    "bubbleview": "bubbleview",
    "cifar10h": "cifar10h",
    "clickme": "clickme",
    "coco-search18": "coco_search18",
    "cvat": "cvat",
    "cvat-events": "cvat_events",
    "jspsych": "jspsych",
    "label-studio": "label_studio",
    "localized-narratives": "localized_narratives",
    "open-images": "open_images",
    "pixmo-points": "pixmo_points",
    "rrweb": "rrweb",
    "salicon": "salicon",
}
"""Name of an importer -> its module in here."""


def importer(name: str) -> Importer:
    """The importer of that name.

    Raises:
        OptionError: there is none.
    """
    if name not in MODULES:
        raise OptionError(f"no importer {name!r}{did_you_mean(name, MODULES)}")
    found: Importer = import_module(f"luab_data.importers.{MODULES[name]}").IMPORTER
    return found
