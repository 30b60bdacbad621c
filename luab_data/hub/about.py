"""A dataset in words, and what follows of them: its licence's names, BibTeX, CITATION.cff.

The two releases are in releases.py; owners of other data, and importers, fill an About of theirs,
which the manifest keeps as `collection`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import yaml

from luab_data.errors import DatasetError

RELEASE = "release"
"""`source` of the two releases."""


@dataclass(frozen=True, kw_only=True)
class About:
    """A dataset in words. All but the title may be left out: the card then says that it is unknown.

    Args:
        title: its name.
        description: what it is, one paragraph.
        source: `own`, or the name of the importer; `release`.
        url: where it is published, or for own data the page of its owner.
        paper, tool: addresses of what describes it, and of the page or tool they annotated with.
        repository: address of the publisher's own code that reads it.
        collected_by: people or institution; empty takes the authors of `citation`.
        collection: how it was collected, paragraphs.
        biases: what the annotators' behaviour makes unrepresentative: (name, explanation).
        annotators: who they were, as far as is known.
        platforms: where and with what they annotated.
        consent: what is known of what they agreed to.
        limits: what is not logged or is logged wrongly: (name, explanation).
        license: id as the Hub has it (`cc-by-4.0`; SPDX ids are understood), else its name or URL.
        terms: what the licence covers and what it does not.
        citation: BibTeX of what to cite for the data.
        please_cite: what is asked of those who use the data.
        source_datasets, keywords: as the Hub's card metadata has them.
        creators: who annotated, as the Hub's card metadata has it; empty if that is not known.
    """

    title: str
    description: str = ""
    source: str = "own"
    url: str = ""
    paper: str = ""
    tool: str = ""
    repository: str = ""
    collected_by: str = ""
    collection: tuple[str, ...] = ()
    biases: tuple[tuple[str, str], ...] = ()
    annotators: str = ""
    platforms: tuple[str, ...] = ()
    consent: str = "What the annotators were told of the recording is not known here."
    limits: tuple[tuple[str, str], ...] = ()
    license: str = ""
    terms: str = ""
    citation: str = ""
    please_cite: str = "Please cite the work below when you use these data."
    source_datasets: tuple[str, ...] = ("original",)
    keywords: tuple[str, ...] = ("annotation-byproducts",)
    creators: str = ""

    @property
    def is_own(self) -> bool:
        """Whether nobody published the data before; what a tool exports are its users' own."""
        return self.source != RELEASE and (self.source == "own" or bool(self.tool))

    @property
    def links(self) -> dict[str, str]:
        """Word -> address of the pages that are known."""
        home = "Home page" if self.is_own else "Release" if self.source == RELEASE else "Source"
        links = {"Paper": self.paper, home: self.url, "Annotation tool": self.tool}
        return {word: url for word, url in links.items() if url}

    def as_collection(self) -> dict[str, Any]:
        """The manifest's `collection` of a dataset that is no release: what was said, as JSON."""
        said = asdict(self)
        unsaid = asdict(About(title=""))
        return {key: said[key] for key in said if said[key] != unsaid[key] or key == "source"}

    @classmethod
    def of_collection(cls, collection: Mapping[str, Any]) -> About:
        """Of the manifest's `collection`; keys that this luab does not know are left aside.

        Raises:
            DatasetError: an entry is of another type.
        """
        try:
            return msgspec.convert(collection, cls)
        except msgspec.ValidationError as error:
            raise DatasetError(
                f"manifest.json: collection: {error}; expected what `luab-data convert` writes"
            ) from None

    def simulated(self) -> About:
        """The same of a log that `luab-data simulate` wrote."""
        words = [word for word in self.keywords if word != "crowdsourcing"]
        known = (
            "; what is known of the release's biases and limits is below." if self.biases else "."
        )
        return replace(
            self,
            title=f"{self.title}, simulated",
            description=f"Simulated: nobody annotated anything. {self.description}".strip(),
            collection=(
                "Nothing was collected. `luab-data simulate` wrote the log from pictures and their"
                " true boxes or masks: pages, mouse paths, clicks, times and workers are drawn at"
                " random from a model of what the release looks like. It says nothing about"
                f" people{known}",
            ),
            annotators="Nobody: the workers are drawn at random.",
            platforms=(),
            keywords=(*words, "simulated"),
            creators="machine-generated",
        )


PRIVACY = """\
**What is hashed.** `worker_id` is HMAC-SHA256 of the id in the log, cut to 16 hex digits, with a
secret key that is not part of this dataset. Without the key an id can neither be computed from a
worker's id nor be matched with other logs of the platform. {source}

**What stays linkable.** One worker's rows share one id, here and in every dataset made with the
same key (fingerprint `{key}`). {ids}, page positions and times are
as logged: whoever holds the raw log or the platform's own records can match rows by them, and then
knows the worker's id there. Mouse paths and timing are behaviour, and behaviour can tell people
apart. This is pseudonymous data, not anonymous data.

**Consent.** {consent} Do not try to
find out who a worker is, do not rank or contact workers, and do not join these rows with other logs
of the platform. If a removal is asked for, leave the
worker's records out of the log, convert with the same key and publish again."""
"""Filled with a sentence on the ids before hashing, the key's fingerprint, ids left as they are."""


# --- licences ------------------------------------------------------------------------------------

_CC = ("by-2.0", "by-2.5", "by-3.0", "by-4.0", "by-sa-3.0", "by-sa-4.0", "by-nc-2.0", "by-nc-3.0",
       "by-nc-4.0", "by-nd-4.0", "by-nc-nd-3.0", "by-nc-nd-4.0", "by-nc-sa-2.0", "by-nc-sa-3.0",
       "by-nc-sa-4.0")  # fmt: skip

LICENCES: Mapping[str, str] = {
    **{f"cc-{name}": f"CC-{name.upper()}" for name in _CC},
    **{"cc0-1.0": "CC0-1.0", "odc-by": "ODC-By-1.0", "odbl": "ODbL-1.0", "pddl": "PDDL-1.0"},
    **{"cdla-sharing-1.0": "CDLA-Sharing-1.0", "cdla-permissive-1.0": "CDLA-Permissive-1.0"},
    **{"cdla-permissive-2.0": "CDLA-Permissive-2.0", "c-uda": "C-UDA-1.0"},
    **{"apache-2.0": "Apache-2.0", "mit": "MIT", "isc": "ISC", "unlicense": "Unlicense"},
    **{"bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "etalab-2.0": "etalab-2.0"},
    **{"gpl-2.0": "GPL-2.0-only", "gpl-3.0": "GPL-3.0-only", "agpl-3.0": "AGPL-3.0-only"},
    **{"lgpl-2.1": "LGPL-2.1-only", "lgpl-3.0": "LGPL-3.0-only", "mpl-2.0": "MPL-2.0"},
    **{"artistic-2.0": "Artistic-2.0", "wtfpl": "WTFPL", "eupl-1.1": "EUPL-1.1"},
}
"""What the Hub calls a licence -> its SPDX id: those that data come under.

Source: https://huggingface.co/docs/hub/repositories-licenses, https://spdx.org/licenses.
"""

_HUB_IDS = {spdx.lower(): name for name, spdx in LICENCES.items()} | {x: x for x in LICENCES}


def hub_licence(licence: str) -> dict[str, str]:
    """A licence as the front matter of a card has it.

    Args:
        licence: an id of the Hub or of SPDX, in any case; else the name or URL of another one;
            empty if none was given.

    Returns: `license`, an id that the Hub knows: `unknown` if none was given, and `other` with
        `license_name` and for a URL `license_link` if the Hub has no id for it.
    """
    if licence.lower() in ("", "unknown"):
        return {"license": "unknown"}
    if known := _HUB_IDS.get(licence.lower()):
        return {"license": known}
    name = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-")
    link = {"license_link": licence} if is_url(licence) else {}
    return {"license": "other", "license_name": name, **link}


def spdx_id(licence: str) -> str:
    """Its SPDX id; empty if we know of none."""
    return LICENCES.get(_HUB_IDS.get(licence.lower(), ""), "")


def licence_url(licence: str) -> str:
    """Its page at SPDX if it has one, else the licence as it was given."""
    spdx = spdx_id(licence)
    return f"https://spdx.org/licenses/{spdx}.html" if spdx else licence


def is_url(text: str) -> bool:
    """Whether it is the address of a page."""
    return text.startswith(("https://", "http://")) and " " not in text


# --- BibTeX --------------------------------------------------------------------------------------

_ENTRY = re.compile(r"@(\w+)\s*\{[^,]*,")
_FIELD = re.compile(r"\s*,?\s*(\w+)\s*=\s*")
_BARE = re.compile(r"[^,}\s]*")


def bibtex_fields(text: str) -> dict[str, str]:
    """The fields of the first entry of a BibTeX text, and its `type`; names in lower case.

    Values lose their outer braces or quotes and inner line breaks, nothing else: `author` is
    `Han, Dongyoon and {A Group}`. Without an entry there are no fields.
    """
    entry = _ENTRY.search(text)
    if not entry:
        return {}
    fields, place = {"type": entry[1].lower()}, entry.end()
    while field := _FIELD.match(text, place):
        end = _end_of_value(text, field.end())
        value = text[field.end() : end]
        value = value[1:-1] if value[:1] in ("{", '"') else value
        fields[field[1].lower()] = " ".join(value.split())
        place = end
    return fields


def _end_of_value(text: str, start: int) -> int:
    """Where a value ends: {with {braces} in it}, "quoted", or bare."""
    if text[start : start + 1] == '"':
        return (text.find('"', start + 1) + 1) or len(text)
    if text[start : start + 1] != "{":
        bare = _BARE.match(text, start)
        return bare.end() if bare else start
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return place + 1
    return len(text)


def authors(fields: Mapping[str, str]) -> list[dict[str, str]]:
    """Who wrote what an entry is of, as CITATION.cff has it: persons, or `name` of a group."""
    names = [name.strip() for name in re.split(r"\sand\s", fields.get("author", ""))]
    return [_author(name) for name in names if name and name != "others"]


def _unbraced(text: str) -> str:
    return text.replace("{", "").replace("}", "")


def _author(name: str) -> dict[str, str]:
    is_group = name.startswith("{") and name.endswith("}")
    name = _unbraced(name)
    if is_group:
        return {"name": name}
    family, comma, given = name.partition(",")
    if not comma:
        given, _, family = name.rpartition(" ")
    person = {"family-names": family.strip(), "given-names": given.strip()}
    return person if person["given-names"] else {"name": person["family-names"]}


# --- CITATION.cff --------------------------------------------------------------------------------

_CFF_TYPES = {
    **{"inproceedings": "conference-paper", "conference": "conference-paper"},
    **{"article": "article", "book": "book", "phdthesis": "thesis", "mastersthesis": "thesis"},
    **{"techreport": "report", "dataset": "data", "software": "software"},
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def creators(about: About) -> list[dict[str, str]]:
    """Whose dataset it is, as CITATION.cff has it: who collected it, else who wrote of it."""
    if about.collected_by:
        return [{"name": about.collected_by}]
    return authors(bibtex_fields(about.citation))


def citation_cff(about: About, *, version: str, url: str) -> str | None:
    """CITATION.cff 1.2.0 of a published dataset: what to cite, and which version was used.

    Args:
        about: the dataset in words.
        version, url: of the published dataset.

    Returns: its text; None if it names nobody, since the format asks for authors.
    """
    if not (people := creators(about)):
        return None
    work = _work(about)
    licence = spdx_id(about.license)
    cff = {
        "cff-version": "1.2.0",
        "message": about.please_cite if work else "Please cite the dataset as below.",
        "type": "dataset",
        "title": about.title if about.is_own else f"{about.title}, converted by luab",
        "version": version,
        **({"license": licence} if licence else {}),
        **({"license-url": about.license} if is_url(about.license) else {}),
        "url": url,
        **({"repository": about.repository} if about.repository else {}),
        "authors": people,
        **({"preferred-citation": work} if work else {}),
    }
    return str(yaml.dump(cff, Dumper=_NoAliases, sort_keys=False, allow_unicode=True, width=100))


class _NoAliases(yaml.SafeDumper):
    """YAML would write a second mention as an alias of the first; readers of CFF know none."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _work(about: About) -> dict[str, Any] | None:
    """What the BibTeX entry is of, as a reference of CITATION.cff; None without its title."""
    fields = bibtex_fields(about.citation)
    title = _unbraced(fields.get("title", ""))
    if not (title and (people := authors(fields))):
        return None
    year, month = fields.get("year", ""), fields.get("month", "").lower()
    start, _, end = fields.get("pages", "").replace("--", "-").partition("-")
    named = [k for k, name in enumerate(_MONTHS, 1) if month.startswith(name) or month == str(k)]
    found: dict[str, Any] = {
        "type": _CFF_TYPES.get(fields["type"], "generic"),
        "title": title,
        "authors": people,
        "collection-title": fields.get("booktitle"),
        "journal": fields.get("journal"),
        "year": int(year) if year.isdecimal() else None,
        "month": named[0] if named else None,
        "start": start.strip(),
        "end": end.strip(),
        "doi": fields.get("doi"),
        "url": fields.get("url") or about.paper,
    }
    return {key: value for key, value in found.items() if value}
