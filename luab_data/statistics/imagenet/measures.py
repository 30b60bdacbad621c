"""Every statistic of ImageNet-AB: name, meaning, definition. To add one, write its function and
name it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from luab_data.schema import LAST_N, QUANTILES
from luab_data.statistics.estimate import share
from luab_data.statistics.imagenet import clicks, pages, rounds
from luab_data.statistics.imagenet.clicks import ImageBatch
from luab_data.statistics.imagenet.rounds import RoundBatch
from luab_data.statistics.maps import MAP_CELLS, OFFSETS, PICTURE, XY
from luab_data.statistics.measure import Batch, Measure
from luab_data.tools import BROWSING_PAGES, SLOTS

_DEALT = "the same points dealt to the images at random"
_QUANTILES: dict[str, Any] = {"shape": (len(QUANTILES),), "axes": (("quantile", QUANTILES),)}
_ROUNDS: dict[str, Any] = {"shape": (2,), "axes": (("round", (1, 2)),)}
_SLOTS: dict[str, Any] = {
    "shape": (SLOTS,),
    "axes": (("slot", tuple(range(SLOTS))),),
}
_PAGES: dict[str, Any] = {
    "shape": (BROWSING_PAGES,),
    "axes": (("page", tuple(range(BROWSING_PAGES))),),
}
_SIDES: dict[str, Any] = {"shape": (4,), "axes": (("side", rounds.SIDES_OF_PICTURE),)}

IMAGENET_MEASURES: tuple[Measure, ...] = (
    Measure(
        name="coverage", title="images with any interaction", over="images",
        doc="images with a hovered, tracking or selected record, over all images",
        source="metrics 4.2", parts=rounds.coverage,
    ),
    Measure(
        name="selected_share", title="re-selected images", over="images",
        doc="images that any round ended with selected, over all images",
        source="metrics 4.1", parts=rounds.selected,
    ),
    Measure(
        name="decided_by_round", title="images selected by round", over="images", **_ROUNDS,
        doc="images whose selecting round is 1 or 2, over all images",
        source="metrics 4.1", parts=rounds.decided_by_round,
    ),
    Measure(
        name="selected_share_by_round", title="pictures selected when shown", over="rounds",
        doc="pictures selected over pictures shown, in round 1 and in round 2",
        source="metrics 4.1", parts=rounds.selected_by_round, **_ROUNDS,
    ),
    Measure(
        name="selected_second_less_first", title="round 2 less round 1", over="rounds",
        doc="share selected in round 2 less that in round 1", unit="difference of shares",
        source="metrics 4.1", parts=rounds.selected_by_round, num_cells=2,
        finish=rounds.second_less_first, null=0.0,
        null_doc="a second showing is selected as often as a first",
    ),
    Measure(
        name="parity_disagrees", title="odd-length rule wrong", over="images",
        doc="images whose `selected` is not what an odd number of selecting clicks would say",
        source="metrics 6.1-1", parts=rounds.parity_disagrees,
    ),
    Measure(
        name="click_accuracy", title="click accuracy", over="images", null_doc=_DEALT,
        doc="final clicks in any box, over selected images with boxes",
        source="metrics 4.3", parts=clicks.click_accuracy,
    ),
    Measure(
        name="first_click_accuracy", title="first-click accuracy", over="images", null_doc=_DEALT,
        doc="first selecting clicks of the deciding round in any box, over the same images",
        source="metrics 4, which click", parts=clicks.first_click_accuracy,
    ),
    Measure(
        name="centre_accuracy", title="centre-click accuracy", over="images",
        doc="the picture's centre in any box, over the same images",
        source="metrics 4.3b", parts=clicks.centre_accuracy,
    ),
    Measure(
        name="boxed_centre_accuracy", title="centre-click accuracy, all boxed", over="images",
        doc="the picture's centre in any box, over all images with boxes",
        source="metrics 4.3", parts=clicks.boxed_centre_accuracy,
    ),
    Measure(
        name="click_less_centre", title="click less centre accuracy", over="images",
        doc="click accuracy less centre accuracy", unit="difference of shares",
        source="metrics 4.3", parts=clicks.click_and_centre, num_cells=2,
        finish=clicks.difference, null=0.0, null_doc="a click is right as often as the centre",
    ),
    Measure(
        name="off_centre_share", title="off-centre images", over="images",
        doc="selected images with boxes none of which holds the centre, over those with boxes",
        source="metrics 4.3c", parts=clicks.off_centre_share,
    ),
    Measure(
        name="off_centre_click_accuracy", title="off-centre click accuracy", over="images",
        doc="click accuracy on images none of whose boxes holds the centre",
        source="metrics 4.3c", parts=clicks.off_centre_click_accuracy,
    ),
    Measure(
        name="on_centre_click_accuracy", title="on-centre click accuracy", over="images",
        doc="click accuracy on images of which a box holds the centre",
        source="metrics 4.3, implied value", parts=clicks.on_centre_click_accuracy,
    ),
    Measure(
        name="random_click_curve", title="random clicks", over="images",
        doc="chance that a point of the centred square of side t is in a box; t = 0 is the centre",
        source="metrics 4.4", parts=clicks.random_click_curve,
        shape=(len(clicks.SIDES),), axes=(("side t", clicks.SIDES),),
    ),
    Measure(
        name="box_centre_density", title="where box centres are", over="images", **PICTURE,
        doc="box instances by the cell of their centre, over all instances",
        source="metrics 4.5", parts=clicks.box_centre_density, finish=share,
    ),
    Measure(
        name="central_cell_share", title="box centres in the central cell", over="images",
        doc="box instances whose centre is in the central of 11 x 11 cells",
        source="metrics 4.5", parts=clicks.central_cell, null=1 / MAP_CELLS**2,
        null_doc="centres spread evenly",
    ),
    Measure(
        name="click_density", title="where clicks are", over="images", **PICTURE,
        doc="final clicks by cell, over all selected images",
        source="metrics 4.6", parts=clicks.click_density, finish=share,
    ),
    Measure(
        name="accuracy_by_box_centre", title="accuracy by box centre", over="images", **PICTURE,
        doc="click accuracy by the cell of the box's centre, once a box",
        source="metrics 4.6a", parts=clicks.accuracy_by_box_centre,
    ),
    Measure(
        name="accuracy_by_click", title="accuracy by click", over="images", **PICTURE,
        doc="click accuracy by the cell of the click",
        source="metrics 4.6b", parts=clicks.accuracy_by_click,
    ),
    Measure(
        name="last_n_accuracy", title="N records before the click", over="images",
        doc="the N-th trace record before the click in a box; shorter visits are left out",
        source="metrics 4.7", parts=clicks.last_n_accuracy, null_doc=_DEALT,
        shape=(LAST_N,), axes=(("N", tuple(range(LAST_N))),),
    ),
    Measure(
        name="trace_quantile_accuracy", title="along the trace, by record", over="images",
        doc="the trace record at quantile q of its visit's records in a box",
        source="metrics 4.7", parts=clicks.trace_quantile_accuracy, null_doc=_DEALT, **_QUANTILES,
    ),
    Measure(
        name="time_quantile_accuracy", title="along the trace, by time", over="images",
        doc="the trace record at quantile q of its visit's time in a box",
        source="metrics 4.7", parts=clicks.time_quantile_accuracy, null_doc=_DEALT, **_QUANTILES,
    ),
    Measure(
        name="click_offset", title="click from box centre", over="images", unit="box sizes",
        doc="mean offset of the click from the centre of its box, in box sizes, y down",
        source="metrics 4.8", parts=clicks.click_offset_parts, **XY,
        null=0.0, null_doc="clicks scatter evenly about the centre",
    ),
    Measure(
        name="click_offset_inside", title="same, of clicks in the box", over="images",
        doc="likewise of clicks that lie in their box, which no far click can move",
        source="metrics 4.8", parts=clicks.click_offset_inside, unit="box sizes", **XY,
        null=0.0, null_doc="clicks scatter evenly about the centre",
    ),
    Measure(
        name="click_offset_density", title="clicks about the box", over="images", **OFFSETS,
        doc="clicks by their offset from the box's centre, among those within 1.05 box sizes",
        source="metrics 4.8", parts=clicks.click_offset_density, finish=share,
    ),
    Measure(
        name="estimate_time_ms", title="time on a picture, tool", over="rounds", unit="ms",
        doc="median of the tool's estimate over pictures the cursor was on",
        source="raw-formats.md, estimateTime", values=rounds.estimate_time_ms,
    ),
    Measure(
        name="dwell_time_ms", title="time on a picture, dwell", over="images", unit="ms",
        doc="median time between enter and leave over deciding rounds the cursor was in",
        source="raw-formats.md, hoveredRecord", values=rounds.dwell_time_ms,
    ),
    Measure(
        name="trace_records", title="trace records of a picture", over="rounds", unit="records",
        doc="median number of trace records over pictures the cursor was on",
        source="raw-formats.md, mouseTracking", values=rounds.trace_records,
    ),
    Measure(
        name="page_time_ms", title="time on a page", over="pages", unit="ms",
        doc="median time from the first to the last record of a page's logged pictures",
        source="issue 4; metrics 4.15", values=pages.time_ms,
    ),
    Measure(
        name="hit_time_ms", title="time for a HIT", over="hits", unit="ms",
        doc="median time from an assignment's first record to its submission",
        source="metrics 4.14", values=pages.time_ms,
    ),
    Measure(
        name="revisited_share", title="pictures entered again", over="rounds",
        doc="pictures entered more than once, over pictures entered",
        source="issue 4", parts=rounds.revisited,
    ),
    Measure(
        name="passed_over_share", title="unselected, but looked at", over="rounds",
        doc="unselected pictures that the cursor had entered, over unselected ones",
        source="issue 4", parts=rounds.passed_over,
    ),
    Measure(
        name="serpentine_forward", title="forward in serpentines", over="steps",
        doc="steps to the next picture that go forward when every second row is read leftwards",
        source="issue 4", parts=pages.serpentine_forward, null=0.5, null_doc="random order",
    ),
    Measure(
        name="reading_forward", title="forward in reading order", over="steps",
        doc="steps to the next picture that go forward when every row is read rightwards",
        source="issue 4", parts=pages.reading_forward, null=0.5, null_doc="random order",
    ),
    Measure(
        name="leftward_odd_less_even", title="serpentine rows", over="steps",
        doc="of steps within a row, the share going left in odd rows less that in even rows",
        unit="difference of shares", source="issue 4", parts=pages.leftward_by_row, num_cells=2,
        finish=clicks.difference, null=0.0, null_doc="every row is read alike",
    ),
    Measure(
        name="entry_side", title="side of entry", over="rounds", **_SIDES,
        doc="side of the picture that the trace's first record is nearest to",
        source="issue 4", parts=rounds.entry_side, finish=share,
        null=0.25, null_doc="all sides alike",
    ),
    Measure(
        name="exit_side", title="side of exit", over="rounds", **_SIDES,
        doc="side nearest to the last record where the cursor left an unselected picture",
        source="issue 4", parts=rounds.exit_side, finish=share,
        null=0.25, null_doc="all sides alike",
    ),
    Measure(
        name="selected_share_by_slot", title="selected by slot", over="rounds", **_SLOTS,
        doc="pictures selected over shown, by slot on the page",
        source="issue 4", parts=rounds.selected_by_slot,
    ),
    Measure(
        name="accuracy_by_slot", title="click accuracy by slot", over="images", **_SLOTS,
        doc="click accuracy by slot on the page",
        source="issue 4", parts=rounds.accuracy_by_slot,
    ),
    Measure(
        name="selected_share_by_page", title="selected by page", over="rounds", **_PAGES,
        doc="pictures selected over shown, by page of the HIT",
        source="issue 4", parts=rounds.selected_by_page,
    ),
    Measure(
        name="accuracy_by_page", title="click accuracy by page", over="images", **_PAGES,
        doc="click accuracy by page of the HIT",
        source="issue 4", parts=rounds.accuracy_by_page,
    ),
)  # fmt: skip


def imagenet_sources(
    images: Iterable[pa.Table], shown: Iterable[pa.Table]
) -> Mapping[str, Iterable[Batch]]:
    """What the measures are over, for `measure.take`, which reads them in this order.

    Args:
        images: batches of `default` with ImageBatch.columns.
        shown: batches of `rounds` with RoundBatch.columns.
    """
    facts: list[pa.Table] = []
    found: list[pages.Pages] = []

    def round_batches() -> Iterator[RoundBatch]:
        for table in shown:
            batch = RoundBatch(table)
            facts.append(pages.page_facts(batch))
            yield batch

    def of_pages(name: str) -> Iterator[Batch]:
        if not found and facts:
            found.append(pages.Pages(facts))
            facts.clear()
        for whole in found:
            yield getattr(whole, name)()

    return {
        "images": map(ImageBatch, images),
        "rounds": round_batches(),
        **{name: of_pages(name) for name in ("pages", "hits", "steps")},
    }
