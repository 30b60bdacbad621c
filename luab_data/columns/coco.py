"""`default` of COCO-AB, from the records of the log and COCO's instances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from luab_data.columns.icons import Truth
from luab_data.columns.registry import COCO
from luab_data.schema import COCO_IMAGES


def sources(actions: pa.Table, truth: Truth | None, names: Iterable[str]) -> Mapping[str, Any]:
    """What the registry wants to know for some columns of `default`.

    Args:
        actions: (num_images,) columns of COCO_ACTIONS.
        truth: the instances file, or None when there is none.
        names: derived columns.
    """
    wanted = [source.partition(".") for source in COCO.sources(names)]
    given = {f"{table}.{name}": actions[name] for table, _, name in wanted if name}
    return {**given, "truth": truth}


def image_table(actions: pa.Table, truth: Truth | None) -> pa.Table:
    """COCO_IMAGES from COCO_ACTIONS.

    Args:
        actions: (num_images,) COCO_ACTIONS.
        truth: the instances file, or None when there is none.
    """
    names = COCO.names(optional=False)
    raw = {column.name: actions[column.name] for column in COCO_IMAGES.columns if column.raw}
    return COCO_IMAGES.of({**raw, **COCO.compute(names, sources(actions, truth, names))})
