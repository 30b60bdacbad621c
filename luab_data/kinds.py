"""What each kind of log has at each stage: the only module that tells kinds of logs apart.

A *browsing* log (ImageNet-AB) shows pages of pictures and asks which are of a class; a *tagging*
log (COCO-AB) shows one picture and asks to drag an icon onto each object. To add a kind, write one
class here and one module for each stage it takes part in; those modules never import this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Self

from luab_data.errors import DatasetError, OptionError
from luab_data.kind import Kind as Kind
from luab_data.kind import OwnData
from luab_data.own_tables import (
    OWN_ACTIONS,
    OWN_BROWSED,
    OWN_BROWSERS,
    OWN_ROUNDS,
    OWN_TAGGED,
    OWN_TAGGERS,
)
from luab_data.schema import (
    COCO_ACTIONS,
    COCO_ANNOTATORS,
    COCO_IMAGES,
    IMAGENET_ANNOTATORS,
    IMAGENET_IMAGES,
    IMAGENET_ROUNDS,
    Table,
)
from luab_data.schema_views import TRACING_ANNOTATORS, TRACING_TRACES, TRACING_VIEWS
from luab_data.tools import COCO, Vocabulary

if TYPE_CHECKING:
    from luab_data.columns.rounds import Deciding
    from luab_data.hub.about import About


class Browsing(Kind):
    """Pages of pictures: which are of a class? Logged as XML by imagenet-annotation-tool.

    Attributes:
        label_is_known: whether an image is of its class though nobody selected it.
    """

    label_is_known = True
    dataset = "imagenet-ab"
    title = "ImageNet-AB"
    images = IMAGENET_IMAGES
    events = IMAGENET_ROUNDS
    annotators = IMAGENET_ANNOTATORS
    key = ("image_id",)
    images_per_shard = 32_768
    several_labels = False
    all_views_count = False
    class_columns = ("label", "wnid")
    classes = "sorted"
    score = "click_accuracy"
    log_format = "a tar of XML files, or a folder of them"
    log_begins = re.compile(rb".{257}ustar|\s*<(\?xml|annotation)", re.DOTALL)
    member = "{wnid}/{image_id}.xml"
    asked = "Pictures were shown under the name of a class, to be selected if they show it."
    task_category = "image-classification"
    task_ids = ("multi-class-image-classification",)
    stages: ClassVar[Mapping[str, str]] = {
        "derivation": "derivation.shard:BROWSING",
        "checks": "checks.imagenet:CHECKS",
        "statistics": "statistics.imagenet:IMAGENET_STATISTICS",
        "workers": "workers.imagenet:WORKERS",
        "acceptance": "acceptance.facts:IMAGENET_RULES",
        "figures": "figures.catalogue:BROWSING_FIGURES",
        "pages": "reports.browsing:PAGES",
        "points": "exports.keypoints:BROWSING",
        "explain": "explanations:of_rounds",
        "attention": "attention.points:of_rounds",
        "behaviour": "behaviour.views:of_rounds",
        "about": "hub.releases:IMAGENET",
    }


class Tagging(Kind):
    """One picture, icons to drag onto its objects. Logged as JSON by coco-annotation-tool.

    Attributes:
        vocabulary: its classes, and the groups they are shown in.
        deciding: which view of an image `default` is about: `last` or `majority`.
        view_key: columns that tell a row of `actions` from all others.
        icons_are_labels: whether the icons that are there at the end say what is in an image that
            no ground truth tells of.
    """

    vocabulary = COCO
    icons_are_labels = False
    deciding = "last"
    view_key: ClassVar[tuple[str, ...]] = ("image_id",)
    dataset = "coco-ab"
    title = "COCO-AB"
    images = COCO_IMAGES
    events = COCO_ACTIONS
    annotators = COCO_ANNOTATORS
    key = ("image_id",)
    images_per_shard = 8_192
    several_labels = True
    class_columns = ("icon_label", "icon_name")
    classes = "listed"
    score = "icon_precision"
    log_format = "JSON, one array or an object a line"
    log_begins = re.compile(rb"(\xef\xbb\xbf)?\s*[\[{]")
    asked = "A picture was shown, and icons of classes to put on what it shows."
    task_category = "image-classification"
    task_ids = ("multi-label-image-classification",)
    stages: ClassVar[Mapping[str, str]] = {
        "derivation": "derivation.shard:tagging()",
        "checks": "checks.coco:checks()",
        "statistics": "statistics.coco:statistics()",
        "workers": "workers.coco:WORKERS",
        "acceptance": "acceptance.facts:COCO_RULES",
        "figures": "figures.catalogue:TAGGING_FIGURES",
        "pages": "reports.tagging:TaggingPages()",
        "points": "exports.keypoints:tagging()",
        "explain": "explanations:of_icons",
        "attention": "attention.points:of_icons",
        "behaviour": "behaviour.views:of_actions",
        "about": "hub.releases:COCO",
    }


class OwnBrowsing(OwnData, Browsing):
    """Somebody's own pictures and classes, selected on somebody's own pages.

    Attributes:
        deciding: which view of an image `default` is about, a rule of columns.rounds.Deciding.
        class_names: names of its classes, by label.
        num_pages, num_slots: that the log numbers; 0 if it numbers none.
        has_entries, has_moves: whether it tells when the pointer came over a picture, and moved.
    """

    label_is_known = False
    dataset = "browsing"
    title = "own browsing data"
    images = OWN_BROWSED
    events = OWN_ROUNDS
    annotators = OWN_BROWSERS
    member = ""
    score = "agreement"
    all_views_count = True
    deciding: Deciding = "majority"
    class_names: tuple[str, ...] = ()
    num_pages = num_slots = 0
    has_entries = has_moves = False
    stages: ClassVar[Mapping[str, str]] = {
        **Browsing.stages,
        "derivation": "derivation.shard:own_browsing()",
        "from_views": "views.browsing:BROWSING",
        "checks": "checks.own_browsing:own_checks()",
        "statistics": "statistics.own_browsing:own_statistics()",
        "workers": "workers.own_browsing:WORKERS",
        "acceptance": "acceptance.facts:own_browsing_rules()",
        "figures": "figures.catalogue:OWN_BROWSING_FIGURES",
        "pages": "reports.own_browsing:PAGES",
        "explain": "explanations:of_own_rounds()",
    }

    def bound(self, manifest: Mapping[str, Any]) -> Self:
        """With its classes too, and what is known of its pages."""
        kind, layout = super().bound(manifest), manifest.get("layout", {})
        kind.class_names = tuple(manifest.get("classes", ()))
        kind.num_pages, kind.num_slots = (layout.get(f"num_{n}", 0) for n in ("pages", "slots"))
        kind.has_entries, kind.has_moves = (
            layout.get(name, 0) > 0 for name in ("num_entered", "num_moved")
        )
        return kind


class OwnTagging(OwnData, Tagging):
    """Somebody's own pictures and labels, tagged on somebody's own page.

    Its vocabulary is the manifest's `classes`, in their order, and `superclasses`.
    """

    dataset = "tagging"
    title = "own tagging data"
    images = OWN_TAGGED
    events = OWN_ACTIONS
    annotators = OWN_TAGGERS
    view_key = ("image_id", "view")
    vocabulary = Vocabulary(())
    icons_are_labels = True
    stages: ClassVar[Mapping[str, str]] = {
        **Tagging.stages,
        "derivation": "derivation.shard:own_tagging()",
        "from_views": "views.tagging:TAGGING",
        "checks": "checks.own_tagging:checks()",
        "statistics": "statistics.coco:own_statistics()",
        "workers": "workers.own_tagging:workers()",
        "figures": "figures.catalogue:own_tagging()",
        "acceptance": "acceptance.facts:OWN_TAGGING_RULES",
        "pages": "reports.tagging:OwnTaggingPages()",
        "explain": "explanations:of_views()",
    }

    def bound(self, manifest: Mapping[str, Any]) -> Self:
        """Raises DatasetError where the manifest names no classes that a page could show."""
        kind = super().bound(manifest)
        try:
            kind.vocabulary = Vocabulary(
                manifest.get("classes", ()), manifest.get("superclasses", {})
            )
        except (OptionError, TypeError, AttributeError) as error:
            raise DatasetError(f"manifest: {error}; convert the log again") from error
        return kind


class Tracing(OwnData):
    """One picture, to move, point or look over as asked. Logged by anybody's tool, see views."""

    dataset = "tracing"
    title = "own tracing data"
    images = TRACING_VIEWS
    events = TRACING_TRACES
    annotators = TRACING_ANNOTATORS
    key = ("image_id", "view")
    images_per_shard = 4_096
    several_labels = False
    class_columns = ("", "label")
    classes = ""
    asked = "A picture was shown, to move, point or look over as asked."
    task_category = "other"
    task_ids = ()
    score = "outside_share"
    stages: ClassVar[Mapping[str, str]] = {
        "derivation": "derivation.shard:TRACING",
        "checks": "checks.tracing:CHECKS",
        "statistics": "statistics.tracing:TRACING_STATISTICS",
        "acceptance": "acceptance.facts:no_rules()",
        "figures": "figures.tracing:TRACING_FIGURES",
        "pages": "reports.tracing:PAGES",
        "points": "exports.traces:TRACING",
        "explain": "explanations:of_traces",
        "workers": "workers.tracing:WORKERS",
        "attention": "attention.points:of_traces",
        "behaviour": "behaviour.views:of_traces",
        "from_views": "views.tracing:TRACING",
    }


BROWSING, TAGGING = Browsing(), Tagging()

KINDS: Mapping[str, Kind] = {kind.dataset: kind for kind in (BROWSING, TAGGING)}
"""Of the releases, by the name of the dataset."""

OWN_KINDS: Mapping[str, Kind] = {
    kind.dataset: kind for kind in (OwnBrowsing(), OwnTagging(), Tracing())
}
"""Of everybody else's data, by the name in the manifest."""

ALL_KINDS: Mapping[str, Kind] = {**KINDS, **OWN_KINDS}
"""Those that a dataset folder can be of."""


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """The kind of a dataset folder.

    Args:
        manifest: of store.folder.read_manifest.

    Raises:
        DatasetError: a kind that this luab does not know.
    """
    name = manifest["dataset"]
    if name not in ALL_KINDS:
        raise DatasetError(
            f"holds {name!r}, which this luab does not know; expected one of"
            f" {', '.join(ALL_KINDS)}. A newer luab may have written it: upgrade"
        )
    return ALL_KINDS[name].bound(manifest)


def tables_of(manifest: Mapping[str, Any]) -> tuple[Table, Table, Table]:
    """The tables of a dataset folder, the default config first, with its optional columns.

    Args:
        manifest: its `dataset`, and `schemas` (config -> column -> type), which say what is there.
    """
    found = manifest.get("schemas", {})
    images, events, annotators = (
        table.having(list(found.get(table.config, ()))) for table in kind_of(manifest).tables
    )
    return images, events, annotators


def about_of(manifest: Mapping[str, Any]) -> About:
    """A dataset folder in words: its owner's of a collection, else its release's; simulated or not.

    Raises:
        DatasetError: the manifest's `collection` is not what luab writes.
    """
    kind = kind_of(manifest)
    if "collection" in manifest:
        describe = import_module("luab_data.hub.own").own_about
        about: About = describe(manifest, kind.asked, kind.events.config)
    else:
        about = kind.about
    return about.simulated() if manifest.get("simulated") else about
