"""Somebody's own data, or another project's, in words: what was said of them, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from luab_data.hub.about import About, hub_licence

LACKS: Mapping[str, tuple[str, str]] = {
    "has_path": (
        "path",
        "Where the pointer went is not known there, only where it acted: what is derived from"
        " traces is null.",
    ),
    "has_time": ("times", "How long anything took is not known there: durations are null."),
    "has_clock": (
        "clock",
        "Times there count from the start of a view or session: when it was, and in which order"
        " sessions were, is not known.",
    ),
    "has_layout": (
        "layout",
        "Where and how large the picture was on the page is not known there, so a fraction of the"
        " picture cannot be turned into a distance on the screen.",
    ),
    "has_annotator": (
        "annotators",
        "Whose these views are is not known: `annotators` and what is told of people leave them"
        " out.",
    ),
}
"""Flag of the manifest's `fidelity` -> (what a view has then, what follows where it has not)."""


def own_about(manifest: Mapping[str, Any], asked: str, config: str) -> About:
    """A dataset with a `collection` in words.

    Args:
        manifest: its `collection`, as About.as_collection makes it, `fidelity` and `num_rows`.
        asked: what annotators of this kind of log were asked, one sentence.
        config: of the table that has one row a view.

    Raises:
        DatasetError: the collection is not of that form.
    """
    about = About.of_collection(manifest["collection"])
    by = [f"Collected by {about.collected_by}."] if about.collected_by else []
    told = about.collection or (f"{asked} No more was said of how it was collected.",)
    if rule := manifest.get("deciding"):
        told += (
            f"Of an image that several people saw, `default` has what the rule `{rule}` says.",
        )
    limits = _limits(manifest.get("fidelity", {}), manifest["num_rows"][config])
    return replace(
        about,
        title=" ".join(about.title.split()),
        description=about.description or asked,
        collection=(*by, *told),
        annotators=about.annotators or "Nothing is known of them here.",
        limits=(*about.limits, *limits),
        terms=about.terms or _terms(about.license),
    )


def _limits(fidelity: Mapping[str, int], num_views: int) -> Iterator[tuple[str, str]]:
    """What some or all views lack."""
    for flag, (has, follows) in LACKS.items():
        count = fidelity.get(flag, num_views)
        if count < num_views:
            name = f"{has.capitalize()} of some views only" if count else f"No {has}"
            yield name, f"`{flag}`: {count:,} of {num_views:,} views. {follows}"


def _terms(licence: str) -> str:
    given = "Whoever collected the data gave no licence: ask before you use or pass them on."
    if hub_licence(licence)["license"] != "unknown":
        given = f"Whoever collected the data gives them under: {licence}."
    return f"{given} The pictures are not included; their own terms apply."
