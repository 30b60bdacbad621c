"""Every statistic of COCO-AB: name, meaning, definition. To add one, write its function and name it
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from luab_data.schema import COCO_CLASSES, COCO_SUPERCLASSES
from luab_data.statistics.coco import browsing, hits, icon_places, icons
from luab_data.statistics.coco.browsing import BrowsingBatch
from luab_data.statistics.coco.hits import HitBatch
from luab_data.statistics.coco.icons import IconBatch
from luab_data.statistics.estimate import share
from luab_data.statistics.maps import MAP_CELLS, OFFSETS, PICTURE, XY
from luab_data.statistics.measure import Batch, Measure

_ALIKE = "every HIT alike: the spread that chance alone gives"
_CLASSES: dict[str, Any] = {"shape": (len(COCO_CLASSES),), "axes": (("class", COCO_CLASSES),)}
_SUPERCLASSES: dict[str, Any] = {
    "shape": (len(COCO_SUPERCLASSES),),
    "axes": (("superclass", tuple(COCO_SUPERCLASSES)),),
}
_SIZES: dict[str, Any] = {
    "shape": (icon_places.NUM_SIZES,),
    "axes": (("bin of area", tuple(range(icon_places.NUM_SIZES))),),
}

COCO_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="icon_precision", title="icon precision", over="images",
        doc="final points of icons on a mask of their class, over icons present at the end",
        source="metrics 4.9", parts=icons.icon_precision,
    ),
    Measure(
        name="icon_precision_last_add", title="icon precision, last add", over="images",
        doc="last adds on a mask, over icons ever added, moved or removed later or not",
        source="metrics 4.9", parts=icons.icon_precision_last_add,
    ),
    Measure(
        name="icon_precision_all_adds", title="icon precision, all adds", over="images",
        doc="adds on a mask, over all adds",
        source="metrics 4.9", parts=icons.icon_precision_all_adds,
    ),
    Measure(
        name="precision_hit_mean", title="icon precision of a HIT", over="hits",
        doc="mean over HITs of their icon precision",
        source="metrics 4.9", parts=hits.precision_mean,
    ),
    Measure(
        name="precision_hit_sd", title="its spread over HITs", over="hits",
        doc="standard deviation over HITs of their icon precision",
        source="metrics 4.9, 4.10", parts=hits.precision_moments, num_cells=2,
        finish=hits.spread, null_doc=_ALIKE,
    ),
    Measure(
        name="recall", title="class recall", over="images",
        doc="classes of the ground truth with an icon at the end, over all (image, class)",
        source="metrics 4.10", parts=icons.recall,
    ),
    Measure(
        name="recall_image_mean", title="class recall of an image", over="images",
        doc="mean over images with any class of the share of classes with an icon",
        source="metrics 4.10", parts=icons.recall_image_mean,
    ),
    Measure(
        name="recall_hit_mean", title="class recall of a HIT", over="hits",
        doc="mean over HITs of the mean over their images",
        source="metrics 4.10", parts=hits.recall_mean,
    ),
    Measure(
        name="recall_hit_sd", title="its spread over HITs", over="hits",
        doc="standard deviation over HITs of the mean recall of their images",
        source="metrics 4.10", parts=hits.recall_moments, num_cells=2,
        finish=hits.spread, null_doc=_ALIKE,
    ),
    Measure(
        name="class_recall", title="recall by class", over="images", **_CLASSES,
        doc="images with an icon of the class, over images that have the class",
        source="metrics 4.12", parts=icons.class_recall,
    ),
    Measure(
        name="class_size", title="size of a class", over="images", unit="bin", **_CLASSES,
        doc="mean bin, 0 to 9, of the share of the image that a box covers; 1e-4 to 1 in log",
        source="metrics 4.12, U12", parts=icon_places.class_size,
    ),
    Measure(
        name="recall_by_size", title="recall by size", over="images", **_SIZES,
        doc="recall of classes by the bin of their largest box in the image",
        source="metrics 4.12", parts=icon_places.recall_by_size,
    ),
    Measure(
        name="recall_size_correlation", title="recall against size", over="images",
        doc=f"Pearson's r over classes that {icon_places.MIN_OCCURRENCES} images or more have",
        source="metrics 4.12", unit="correlation", parts=icon_places.recall_and_size,
        num_cells=1 + 2 * len(COCO_CLASSES), finish=icon_places.size_correlation,
        null=0.0, null_doc="size does not matter",
    ),
    Measure(
        name="icon_offset", title="icon from box centre", over="images", unit="box sizes", **XY,
        doc="mean offset of the final point from the centre of its box, in box sizes, y down",
        source="metrics 4.8", parts=icon_places.icon_offset,
        null=0.0, null_doc="icons scatter evenly about the centre",
    ),
    Measure(
        name="icon_offset_inside", title="same, of icons in the box", over="images", **XY,
        doc="likewise of icons that lie in their box, which no far icon can move",
        source="metrics 4.8", parts=icon_places.icon_offset_inside, unit="box sizes",
        null=0.0, null_doc="icons scatter evenly about the centre",
    ),
    Measure(
        name="icon_offset_density", title="icons about the box", over="images", **OFFSETS,
        doc="icons by their offset from the box's centre, among those within 1.05 box sizes",
        source="metrics 4.8", parts=icon_places.icon_offset_density, finish=share,
    ),
    Measure(
        name="box_centre_density", title="where box centres are", over="images", **PICTURE,
        doc="box instances by the cell of their centre, over all instances but crowds",
        source="metrics 4.5", parts=icon_places.box_centre_density, finish=share,
    ),
    Measure(
        name="central_cell_share", title="box centres in the central cell", over="images",
        doc="box instances whose centre is in the central of 11 x 11 cells",
        source="metrics 4.5", parts=icon_places.central_cell, null=1 / MAP_CELLS**2,
        null_doc="centres spread evenly",
    ),
    Measure(
        name="sequence_violation_share", title="impossible sequences", over="images",
        doc="icons present at the end whose actions the tool does not allow, such as add-add",
        source="metrics 4.11", parts=icons.sequence_violation_share,
    ),
    Measure(
        name="time_page_ms", title="time on a page", over="images", unit="ms",
        doc="median of the time on a page; the clock of a HIT's first page starts before its load",
        source="metrics 6.2-4", values=icons.time_page_ms,
    ),
    Measure(
        name="time_hit_ms", title="time for a HIT", over="hits", unit="ms",
        doc="median of the sum of the times of a HIT's pages, as many as are there",
        source="metrics 4.14", values=hits.time_ms,
    ),
    Measure(
        name="superclass_revisit_share", title="pages that go back", over="actions",
        doc="pages that return to an earlier superclass, over pages with any step",
        source="issue 4; metrics 6.2-5", parts=browsing.revisited,
    ),
    Measure(
        name="keyboard_share", title="steps by keyboard", over="actions",
        doc="steps to another superclass by keyboard, over all steps",
        source="issue 4", parts=browsing.by_keyboard,
    ),
    Measure(
        name="forward_step_share", title="steps forward", over="actions",
        doc="steps to a later superclass, over all steps",
        source="issue 4", parts=browsing.forward,
    ),
    Measure(
        name="superclass_time_share", title="time on a superclass", over="actions",
        doc="mean over pages of the share of the page's time that the superclass was shown",
        source="issue 4; metrics 6.2-5", parts=browsing.time_share, **_SUPERCLASSES,
    ),
    Measure(
        name="superclass_visits", title="visits to a superclass", over="actions", unit="visits",
        doc="mean visits of a page to the superclass, the first one's at the start included",
        source="issue 4; metrics 6.2-5", parts=browsing.visits, **_SUPERCLASSES,
    ),
)  # fmt: skip


def coco_sources(
    images: Iterable[pa.Table], actions: Iterable[pa.Table]
) -> Mapping[str, Iterable[Batch]]:
    """What the measures are over, for `measure.take`, which reads them in this order.

    Args:
        images: batches of `default` with IconBatch.columns.
        actions: batches of `actions` with BrowsingBatch.columns.
    """
    facts: list[pa.Table] = []

    def icon_batches() -> Iterator[IconBatch]:
        for table in images:
            batch = IconBatch(table)
            facts.append(hits.hit_facts(batch))
            yield batch

    found = icon_batches()

    def whole_hits() -> Iterator[Batch]:
        for _ in found:  # unread if no measure is over images
            pass
        if facts:
            yield HitBatch(pa.concat_tables(facts))
            facts.clear()

    return {"images": found, "hits": whole_hits(), "actions": map(BrowsingBatch, actions)}
