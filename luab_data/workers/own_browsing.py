"""What every annotator of a browsing log of somebody's own did, and how far others agree.

Traits are those of the release that hold on any page, of all views, deciding or not. Where several
annotators saw an image, a view is also compared with those of the others; no boxes are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from luab_data.columns.own_views import OF_IMAGES, of_rounds, views_as_images
from luab_data.own_tables import OWN_BROWSERS
from luab_data.statistics.estimate import Workers
from luab_data.statistics.own_browsing import others_alike
from luab_data.workers import imagenet
from luab_data.workers.observations import Collector, Columns, Observations, owner_table
from luab_data.workers.pooling import Suspicion, all_of
from luab_data.workers.traits import Trait

_AGREEMENT = Trait(
    "agreement", "views of the same image by other annotators that ended alike",
    over="rounds", of=("agreement",), scale="share",
)  # fmt: skip
_DISAGREEING = Suspicion(
    "disagreeing", "behaviour", all_of,
    "others who saw the same images ended otherwise, far more often than with ordinary annotators",
    ({"agreement": -1},),
)  # fmt: skip
_OF_THE_TOOL = "estimate_time_ms"


_OF_TABLE = ("worker_id", "final_click_x", "final_click_y", "click_in_box", *OF_IMAGES[2:])


def _collected(
    images: Iterable[pa.Table],
    rounds: Iterable[pa.Table],
    names: Sequence[str],
    of_view: Callable[[pa.Table], Columns],
    of_click: Callable[[pa.Table], Columns],
) -> tuple[list[str], dict[str, Observations]]:
    """Rows of `rounds`, and of `images`: each view as if it decided.

    Args:
        images: batches of `default` with OF_IMAGES. rounds: of `rounds`.
        names: columns of `default` that of_click reads.
    """
    found, numbers = Collector(), Workers()
    beside = pa.concat_tables(images)
    for batch in rounds:
        image = numbers.codes(batch["image_id"]).astype(np.float64)
        row = {**of_view(batch), "image": image}
        found.add("rounds", batch["worker_id"], row, batch["assignment_id"])
        view = views_as_images(batch, beside, names)
        found.add("images", batch["worker_id"], of_click(view), batch["assignment_id"])
    return found.collected()


def collect(
    images: Iterable[pa.Table], rounds: Iterable[pa.Table]
) -> tuple[list[str], dict[str, Observations]]:
    """Slim rows of a dataset, as imagenet.collect; `rounds` have `agreement`, NaN if alone."""
    of_image = imagenet.IMAGE_COLUMNS
    names, rows = _collected(images, rounds, of_image, imagenet.round_row, imagenet.image_row)
    rows = imagenet.completed(rows)
    return names, {**rows, "rounds": _compared(rows["rounds"])}


def _compared(rounds: Observations) -> Observations:
    others, alike = others_alike(
        rounds["image"].astype(np.int64), rounds.worker, rounds["selected"] > 0
    )
    agreement = np.divide(alike, others, out=np.full(len(others), np.nan), where=others > 0)
    return rounds.adding({"agreement": agreement})


def table(images: Iterable[pa.Table], rounds: Iterable[pa.Table]) -> pa.Table:
    """OWN_BROWSERS, sorted by worker_id."""
    names, rows = _collected(images, rounds, _OF_TABLE, imagenet.shown_row, imagenet.click_row)
    clicks = rows["images"]
    rows = {**rows, "images": clicks.where(~np.isnan(clicks["x"]))}
    compared = _compared(rows["rounds"])
    numbers = {
        **imagenet.numbers(rows),
        "num_compared": compared.count(compared["agreement"]),
        "agreement": compared.mean(compared["agreement"]),
    }
    return owner_table(names, numbers, OWN_BROWSERS.schema())


def _told(trait: Trait) -> Trait:
    """A trait of the release in the words of sessions."""
    return replace(trait, doc=trait.doc.replace("HIT", "session"))


WORKERS = replace(
    imagenet.WORKERS,
    image_columns=OF_IMAGES,
    event_columns=tuple(
        dict.fromkeys((*imagenet.ROUND_COLUMNS, *of_rounds(imagenet.IMAGE_COLUMNS)))
    ),
    collect=collect,
    traits=(_AGREEMENT, *(_told(t) for t in imagenet.TRAITS if t.name != _OF_THE_TOOL)),
    suspicions=(*imagenet.SUSPICIONS, _DISAGREEING),
    shown=("agreement", *imagenet.WORKERS.shown),
    table_columns=(
        OF_IMAGES, tuple(dict.fromkeys((*imagenet.TABLE_COLUMNS[1], *of_rounds(_OF_TABLE)))),
    ),
    table=table,
)  # fmt: skip
