"""Which pages are worth showing: a fixed choice, so that a report made again shows the same ones.

A page of `coco-ab` is one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import OptionError
from luab_data.ragged import Ints, ragged

PAGE_COLUMNS = {
    "imagenet-ab": (
        *("assignment_id", "page_idx", "worker_id", "image_width", "image_height"),
        *("hovered_record_time_ms", "selected", "selected_record_time_ms"),
    ),
    "coco-ab": (
        *("image_id", "worker_id", "action_histories_action_type", "mouse_tracking_time_at_ms"),
    ),
}
"""Dataset -> columns of `rounds` or `actions` that the choice reads."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A page to show.

    Attributes:
        key: (assignment_id, page_idx), or (image_id,).
        why: a few words for its heading.
    """

    key: tuple[Any, ...]
    why: str


_WHY = {
    "imagenet-ab": ("the most pictures logged", "a median page", "the most deselections"),
    "coco-ab": ("the most icon actions", "a median image", "the most removals"),
}
_ASKED = "asked for"


def imagenet_pages(rounds: Iterable[pa.Table]) -> pa.Table:
    """One row a page that can be shown, sorted by its key.

    Args:
        rounds: batches of `rounds` with PAGE_COLUMNS.
    Returns: assignment_id, page_idx, worker_id; `size`, pictures logged that have a size;
    `activity`, times one was entered; `undone`, deselections that the clicks prove.
    """
    keys = ["assignment_id", "page_idx", "worker_id"]
    parts = []
    for table in rounds:
        clicks = ragged(table["selected_record_time_ms"]).lengths
        kept = pc.fill_null(table["selected"], False).to_numpy().astype(np.int64)
        facts = pa.table(
            {
                **{name: table[name] for name in keys},
                "size": pa.array(_has_size(table)),
                "activity": pa.array(ragged(table["hovered_record_time_ms"]).lengths),
                "undone": pa.array(np.maximum(clicks - kept, 0)),
            }
        )
        parts.append(_summed(facts, keys))
    return _ranked(parts, keys)


def coco_pages(actions: Iterable[pa.Table]) -> pa.Table:
    """One row an image that was worked on, sorted by image_id.

    Args:
        actions: batches of `actions` with PAGE_COLUMNS.
    Returns: image_id, worker_id; `size`, actions on icons; `activity`, trace records; `undone`,
    removals.
    """
    keys = ["image_id", "worker_id"]
    parts = []
    for table in actions:
        kinds = ragged(table["action_histories_action_type"], null="")
        removed = kinds._replace(values=(kinds.values == "remove").astype(np.int64))
        parts.append(
            pa.table(
                {
                    **{name: table[name] for name in keys},
                    "size": pa.array(kinds.lengths),
                    "activity": pa.array(ragged(table["mouse_tracking_time_at_ms"]).lengths),
                    "undone": pa.array(removed.reduce(np.add, 0)),
                }
            )
        )
    return _ranked(parts, keys)


def _has_size(table: pa.Table) -> Ints:
    sizes = [pc.fill_null(table[f"image_{side}"], 0).to_numpy() > 0 for side in ("width", "height")]
    both: Ints = (sizes[0] & sizes[1]).astype(np.int64)
    return both


def _summed(facts: pa.Table, keys: list[str]) -> pa.Table:
    sums = facts.group_by(keys).aggregate([(n, "sum") for n in ("size", "activity", "undone")])
    return sums.rename_columns([name.removesuffix("_sum") for name in sums.column_names])


def _ranked(parts: list[pa.Table], keys: list[str]) -> pa.Table:
    if not parts:
        return pa.table({name: pa.array([]) for name in (*keys, "size", "activity", "undone")})
    pages = _summed(pa.concat_tables(parts), keys)
    pages = pages.filter(pc.greater(pages["size"], 0))
    return pages.sort_by([(name, "ascending") for name in keys])


def choose(
    pages: pa.Table, dataset: str, number: int, *, flagged: Sequence[str] = ()
) -> tuple[Chosen, ...]:
    """The pages to show if nobody asks for others.

    The largest, the median one, the one with most taken back and the largest of a flagged
    annotator; then more at even steps of size down to the smallest. None is shown twice; ties go to
    the busier page, then to the first by key.

    Args:
        pages: of imagenet_pages or coco_pages.
        dataset: `imagenet-ab` or `coco-ab`.
        number: at most so many.
        flagged: worker ids that stood out, the worst first.
    """
    if not len(pages) or number < 1:
        return ()
    size, activity, undone = (
        pages[name].to_numpy().astype(np.int64) for name in ("size", "activity", "undone")
    )
    by_size, by_undone = (
        np.lexsort((np.arange(len(pages)), -activity, -values)) for values in (size, undone)
    )
    most, median, taken_back = _WHY[dataset]
    reasons = {int(by_size[0]): [most]}
    reasons.setdefault(int(by_size[len(by_size) // 2]), []).append(median)
    if undone[by_undone[0]] > 0:
        reasons.setdefault(int(by_undone[0]), []).append(taken_back)
    suspicious = _of_flagged(pages, by_size, flagged)
    if suspicious is not None:
        reasons.setdefault(suspicious, []).append("by a flagged annotator")
    for step in np.linspace(0, len(pages) - 1, number + 2).astype(int)[1:]:
        reasons.setdefault(int(by_size[step]), ["one more"])
    keys = [n for n in ("assignment_id", "page_idx", "image_id") if n in pages.column_names]
    return tuple(
        Chosen(key=tuple(pages[name][row].as_py() for name in keys), why=", ".join(why))
        for row, why in [*reasons.items()][:number]
    )


def _of_flagged(pages: pa.Table, by_size: Ints, flagged: Sequence[str]) -> int | None:
    """The largest page of the first flagged worker who has one."""
    workers = pages["worker_id"].take(pa.array(by_size))
    for worker in flagged:
        place = pc.index(workers, worker).as_py()
        if place >= 0:
            return int(by_size[place])
    return None


def asked(pages: Iterable[str], dataset: str) -> tuple[Chosen, ...]:
    """Pages that the user names: ASSIGNMENT:PAGE, or an image id of COCO.

    Raises:
        OptionError: a name has another form.
    """
    return tuple(Chosen(key=_key(page, dataset), why=_ASKED) for page in pages)


def _key(page: str, dataset: str) -> tuple[Any, ...]:
    if dataset == "coco-ab":
        if page.isascii() and page.isdigit():
            return (int(page),)
        raise OptionError(f"page {page!r}: expected the number of a COCO image, e.g. 34")
    assignment, colon, number = page.rpartition(":")
    if colon and assignment and number.isascii() and number.isdigit():
        return assignment, int(number)
    raise OptionError(f"page {page!r}: expected ASSIGNMENT:PAGE, e.g. 3MD9PLUKKS6S:0")
