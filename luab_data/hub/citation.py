"""How to cite: BibTeX for the card, CITATION.cff for GitHub and the Hub."""

from __future__ import annotations

from typing import Any

import yaml

from luab_data.hub.about import LOADERS, PAPER, About

TITLE = "Neglected Free Lunch - Learning Image Classifiers Using Annotation Byproducts"
VENUE = "Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)"
AUTHORS = (
    ("Dongyoon", "Han"),
    ("Junsuk", "Choe"),
    ("Seonghyeok", "Chun"),
    ("John Joon Young", "Chung"),
    ("Minsuk", "Chang"),
    ("Sangdoo", "Yun"),
    ("Jean Y.", "Song"),
    ("Seong Joon", "Oh"),
)
"""(given names, family name) of the paper's authors, in its order."""


def bibtex() -> str:
    """The BibTeX entry of the paper, as the CVF has it."""
    authors = " and ".join(f"{family}, {given}" for given, family in AUTHORS)
    return f"""@InProceedings{{Han_2023_ICCV,
  author    = {{{authors}}},
  title     = {{{TITLE}}},
  booktitle = {{{VENUE}}},
  month     = {{October}},
  year      = {{2023}},
  pages     = {{20200-20212}}
}}"""


def _people() -> list[dict[str, str]]:
    # Made anew for each use: YAML would write a second mention as an alias of the first.
    return [{"family-names": family, "given-names": given} for given, family in AUTHORS]


def citation_cff(about: About, *, version: str, url: str) -> str:
    """CITATION.cff 1.2.0 of a published dataset: cite the paper, and say which version was used.

    Args:
        about: the release.
        version, url: of the published dataset.
    """
    paper: dict[str, Any] = {
        "type": "conference-paper",
        "title": TITLE,
        "authors": _people(),
        "collection-title": VENUE,
        "year": 2023,
        "month": 10,
        "start": "20200",
        "end": "20212",
        "url": PAPER,
    }
    cff = {
        "cff-version": "1.2.0",
        "message": "Please cite the paper that collected the data.",
        "type": "dataset",
        "title": f"{about.title}, converted by luab",
        "version": version,
        "license": "Apache-2.0",
        "url": url,
        "repository": LOADERS,
        "authors": _people(),
        "preferred-citation": paper,
    }
    return str(yaml.safe_dump(cff, sort_keys=False, allow_unicode=True, width=100))
