"""What every annotator of a browsing log of somebody's own did, and how far others agree.

Traits are those of the release that hold on any page. Where several annotators saw an image, a view
is also compared with those of the others; no boxes are needed for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from luab_data.own_tables import OWN_BROWSERS
from luab_data.ragged import Floats
from luab_data.statistics.estimate import Workers
from luab_data.statistics.own_browsing import others_alike
from luab_data.workers import imagenet
from luab_data.workers.observations import Observations
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


def _with_images(rounds: Iterable[pa.Table]) -> Iterable[pa.Table]:
    """Batches of `rounds` with `image`, a number of each image: what is compared goes by it."""
    images = Workers()
    for batch in rounds:
        yield batch.append_column("image", pa.array(images.codes(batch["image_id"])))


def collect(
    images: Iterable[pa.Table], rounds: Iterable[pa.Table]
) -> tuple[list[str], dict[str, Observations]]:
    """Slim rows of a dataset, as imagenet.collect; `rounds` have `agreement`, NaN if alone."""
    names, rows = imagenet.collect(images, _with_images(rounds), also=("image",))
    return names, {**rows, "rounds": _compared(rows["rounds"])}


def _compared(rounds: Observations) -> Observations:
    others, alike = others_alike(
        rounds["image"].astype(np.int64), rounds.worker, rounds["selected"] > 0
    )
    agreement = np.divide(alike, others, out=np.full(len(others), np.nan), where=others > 0)
    return rounds.adding({"agreement": agreement})


def table(images: Iterable[pa.Table], rounds: Iterable[pa.Table]) -> pa.Table:
    """OWN_BROWSERS, sorted by worker_id."""
    return imagenet.table(
        images, _with_images(rounds), OWN_BROWSERS.schema(), also=("image",), numbers=_agreement
    )


def _agreement(rows: Mapping[str, Observations]) -> dict[str, Floats]:
    rounds = _compared(rows["rounds"])
    return {
        "num_compared": rounds.count(rounds["agreement"]).astype(np.float64),
        "agreement": rounds.mean(rounds["agreement"]),
    }


def _told(trait: Trait) -> Trait:
    """A trait of the release in the words of sessions; `default` has one view an image."""
    doc = trait.doc.replace("HIT", "session")
    return replace(trait, doc=f"{doc}; of views that decide" if trait.over == "images" else doc)


WORKERS = replace(
    imagenet.WORKERS,
    event_columns=(*imagenet.ROUND_COLUMNS, "image_id"),
    collect=collect,
    traits=(_AGREEMENT, *(_told(t) for t in imagenet.TRAITS if t.name != _OF_THE_TOOL)),
    suspicions=(*imagenet.SUSPICIONS, _DISAGREEING),
    shown=("agreement", *imagenet.WORKERS.shown),
    table_columns=(imagenet.TABLE_COLUMNS[0], (*imagenet.TABLE_COLUMNS[1], "image_id")),
    table=table,
)
