"""Every statistic of a browsing log of somebody's own.

They are those of the release that hold on any page, and how annotators agree on images that several
of them saw. Pages, slots and rows of the page are those of the log; what the log lacks gives
estimates over nothing, which have no value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.own_views import OF_IMAGES, of_rounds, views_as_images
from luab_data.ragged import ArrowColumn, Bools, Floats, Ints, is_true, one_array
from luab_data.statistics import imagenet
from luab_data.statistics import imagenet_clicks as clicks
from luab_data.statistics import imagenet_pages as pages
from luab_data.statistics.estimate import Terms, by_place, mean_of
from luab_data.statistics.measure import Count, Measure, Source, Statistics, hits

if TYPE_CHECKING:
    from luab_data.kinds import OwnBrowsing

MOST_PLACES = 100
"""Slots, pages or classes that a curve has at most; further ones are left out of it."""

_DEFINED = "docs/log-format.md#"
_TOLD_OTHERWISE: Mapping[str, tuple[str, str]] = {
    "coverage": ("images with any interaction",
                 "images with an entry, a move or a click that selected, over all images"),
    "selected_share": ("selected images",
                       "images that are selected by the rule that decides, over all images"),
    "hit_time_ms": ("time for a session",
                    "median time from a session's first record to its last submission"),
    "click_accuracy": ("click accuracy",
                       "final clicks in any box, over those on images with boxes"),
    "first_click_accuracy": ("first-click accuracy",
                             "first selecting clicks of a view in any box, over the same views"),
    "off_centre_share": ("off-centre images",
                         "final clicks on images with boxes none of which holds the centre, over"
                         " those on images with boxes"),
    "click_density": ("where clicks are", "final clicks by cell"),
    "dwell_time_ms": ("time on a picture, dwell",
                      "median time between enter and leave over views that the cursor was in"),
    "selected_share_by_page": ("selected by page",
                               "pictures selected over shown, by page of the task"),
    "accuracy_by_page": ("click accuracy by page", "click accuracy by page of the task"),
}  # fmt: skip
"""Measure of the release -> its title and meaning here."""
_OF_ROUNDS = (
    *("decided_by_round", "selected_share_by_round", "selected_second_less_first"),
    *("parity_disagrees", "estimate_time_ms"),
)
"""Measures of the release's two rounds and of its tool alone."""
_OF_IMAGES = (
    *("coverage", "selected_share", "boxed_centre_accuracy", "box_centre_density"),
    "central_cell_share",
)
"""Measures of images; the others that the release takes of its deciding rounds are of all views."""


class OwnImages(clicks.ImageBatch):
    """Rows of `default`."""

    columns = (*clicks.ImageBatch.columns, "label", "num_rounds", "num_selected")

    @cached_property
    def seen_again(self) -> Bools:
        """(num_rows,) whether there are several views of the image."""
        again: Bools = self.floats("num_rounds") > 1
        return again

    @cached_property
    def unanimous(self) -> Bools:
        """(num_rows,) whether all views ended alike."""
        selected = self.floats("num_selected")
        alike: Bools = (selected == 0) | (selected == self.floats("num_rounds"))
        return alike


class Clicks(clicks.ImageBatch):
    """Rows of `rounds`, each as if it decided: the clicks of all annotators.

    Args:
        rounds: (num_rows,) with the `columns`.
        images: all rows of `default` with OF_IMAGES.

    Attributes:
        derived: what each has, as `default` has it of its deciding view.
    """

    derived = (
        *("worker_id", "label", "selected", "width", "height", "boxes", "click_in_box"),
        *("dwell_time_ms", "final_click_x", "final_click_y", "first_click_x", "first_click_y"),
        *("trace_quantile_x", "trace_quantile_y", "time_quantile_x", "time_quantile_y"),
        *("last_n_x", "last_n_y", "image_idx", "page_idx"),
    )
    columns = of_rounds(derived)

    def __init__(self, rounds: pa.Table, images: pa.Table) -> None:
        super().__init__(views_as_images(rounds, images, self.derived))


class OwnRounds(pages.RoundBatch):
    """Rows of `rounds`, each one view."""

    columns = (*pages.RoundBatch.columns, "image_id")


def slim_rounds(rounds: OwnRounds) -> pa.Table:
    """What is kept of each view."""
    image = one_array(rounds.table["image_id"]).dictionary_encode()
    slim = pages.slim_rounds(rounds).append_column("image_id", image)
    return slim.append_column("selected", rounds.table["selected"])


@dataclass(frozen=True)
class Compared:
    """Views beside those of other annotators of the same image.

    Attributes:
        worker_id: (num_views,)
        selected: (num_views,) whether each ended selected.
        others, alike: (num_views,) how many there are, and how many of these ended the same.
    """

    worker_id: ArrowColumn
    selected: Bools
    others: Floats
    alike: Floats


def others_alike(image: Ints, worker: Ints, selected: Bools) -> tuple[Floats, Floats]:
    """How many views others have of each one's image, and how many of these ended the same.

    Args:
        image, worker: (num_views,) codes from 0; a worker is -1 where nobody knows who it was.
        selected: (num_views,) whether each ended selected.
    Returns: two (num_views,); both are 0 of an unknown annotator's, who may be any of the others.
    """
    known = worker >= 0
    same = np.unique(image * (worker.max(initial=0) + 2) + worker, return_inverse=True)[1]

    def per(group: Ints, flags: Bools) -> Ints:
        counts: Ints = np.bincount(group[flags], minlength=int(group.max(initial=-1)) + 1)
        return counts[group] if len(group) else counts[:0]

    def others(flags: Bools) -> Ints:
        return per(image, flags) - per(same.reshape(-1), flags)

    there = others(known)
    alike = np.where(selected, others(known & selected), others(known & ~selected))
    return np.where(known, there, 0.0), np.where(known, alike, 0.0)


def views(shown: pa.Table) -> Compared:
    """All views, compared."""
    image, worker = (
        pc.fill_null(one_array(shown[name]).indices, -1).to_numpy().astype(np.int64)
        for name in ("image_id", "worker_id")
    )
    selected = is_true(shown["selected"])
    return Compared(shown["worker_id"], selected, *others_alike(image, worker, selected))


def agreement(found: Compared) -> Terms:
    """Other annotators of the same image whose view ended the same, over all of them.

    Its null is the same answers dealt to the views at random.
    """
    row = np.flatnonzero(found.others > 0)
    whole = found.others[row]
    share = float((found.selected[row] * whole).sum() / whole.sum()) if len(row) else np.nan
    chance = np.where(found.selected[row], share, 1 - share)
    # Both views of a pair are rows here, and half of the pair each.
    return Terms(row=row, part=found.alike[row] / 2, whole=whole / 2, null=whole / 2 * chance)


def _places(name: str, number: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return ((name, tuple(range(min(max(number, 1), MOST_PLACES)))),)


def _by(column: str, of: str, num: int) -> Callable[[Any], Terms]:
    return lambda b: by_place(getattr(b, of), b.floats(column), num)


def _measures(kind: OwnBrowsing) -> tuple[Measure, ...]:
    images, rounds = (partial(Measure, over=over) for over in ("images", "rounds"))
    found = []
    for measure in imagenet.IMAGENET_MEASURES:
        if measure.name in _OF_ROUNDS:
            continue
        if measure.name in _TOLD_OTHERWISE:
            title, doc = _TOLD_OTHERWISE[measure.name]
            measure = replace(measure, title=title, doc=doc)
        if measure.over == "images" and measure.name not in _OF_IMAGES:
            measure = replace(measure, over="clicks")
        if measure.over == "hits":
            measure = replace(measure, over="sessions")
        for end, column, number in (
            ("_by_slot", "image_idx", kind.num_slots), ("_by_page", "page_idx", kind.num_pages),
        ):  # fmt: skip
            if measure.name.endswith(end):
                axes = _places(end.removeprefix("_by_"), number)
                of = "selected" if measure.over == "rounds" else "right"
                terms = _by(column, of, len(axes[0][1]))
                measure = replace(measure, axes=axes, terms=terms)
        if measure.name == "passed_over_share" and not kind.has_entries:
            measure = replace(measure, terms=lambda b: mean_of(np.full(len(b), np.nan)))
        if measure.name == "trace_records" and not kind.has_moves:
            measure = replace(measure, values=lambda b: np.full(len(b), np.nan))
        found.append(measure)
    by_class = (("class", kind.class_names[:MOST_PLACES]),)
    num_classes = len(by_class[0][1])
    agreeing = (
        images("overlap_share", "images seen again", "images with several views, over all images",
               _DEFINED + "deciding", lambda b: mean_of(b.seen_again)),
        images("unanimous_share", "images all agree on",
               "images whose views all ended alike, over those with several views",
               _DEFINED + "deciding", lambda b: mean_of(b.unanimous, where=b.seen_again)),
        Measure("agreement", "agreement of annotators",
                "pairs of views of one image by different annotators that ended alike, over all"
                " such pairs", _DEFINED + "deciding", agreement, over="views",
                null_doc="the same answers dealt to the views at random"),
        rounds("selected_share_of_views", "pictures selected when shown",
               "pictures selected over pictures shown", _DEFINED + "browsing",
               lambda b: mean_of(b.selected)),
    )  # fmt: skip
    of_classes = (
        images("selected_share_by_class", "selected by class",
               "images selected by the rule that decides, over all images, by class",
               _DEFINED + "deciding", axes=by_class,
               terms=lambda b: by_place(b.floats("selected"), b.floats("label"), num_classes)),
        Measure("accuracy_by_class", "click accuracy by class", "click accuracy by class",
                "docs/definitions.md#click-accuracy", axes=by_class, over="clicks",
                terms=_by("label", "right", num_classes)),
    )  # fmt: skip
    coverage, selected, *rest = found
    return (coverage, selected, *agreeing, *of_classes, *rest)


_COUNTED: Mapping[str, str] = {
    "num_images": "images",
    "num_rounds": "views: an image shown once to an annotator",
    "num_with_interaction": "images with any entry, move or click that selected",
    "num_with_boxes": "images with boxes",
    "num_selected": "images that are selected by the rule that decides",
    "num_evaluated": "final clicks on images with boxes and a size: the set S",
}


def own_statistics(kind: OwnBrowsing) -> Statistics:
    """Of a browsing log of somebody's own."""
    measures = _measures(kind)
    own = {m.name: m for m in measures}
    release = imagenet.IMAGENET_STATISTICS
    counts: dict[str, Count] = {}
    for name, count in release.counts.items():
        if name != "num_selected_round1":
            measure = own.get(count.measure.name, count.measure)
            counts[name] = count._replace(title=_COUNTED.get(name, count.title), measure=measure)
        if name == "num_rounds":
            counts["num_seen_again"] = Count(
                "images with several views", own["overlap_share"], hits
            )
    images, rounds = release.sources
    steps = partial(pages.steps, num_slots=None, unknown=0)
    return Statistics(
        counts=counts,
        measures=measures,
        sources=(
            replace(images, batch=OwnImages, counted=(*images.counted, "num_rounds")),
            Source("clicks", "rounds", Clicks, counted=Clicks.columns, beside=OF_IMAGES),
            replace(
                rounds, batch=OwnRounds, slim=slim_rounds,
                whole={
                    "pages": pages.page_spans, "sessions": pages.hit_spans, "steps": steps,
                    "views": views,
                },
            ),
        ),
        printed={},
        may_lack=True,
    )  # fmt: skip
