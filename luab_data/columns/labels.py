"""Class labels: one dataset-wide numbering, so it waits until every class is known."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import ArrowColumn


def label(wnid: ArrowColumn, wnids: Sequence[str]) -> ArrowColumn:
    """Index of the image's class over the sorted wnids of the dataset.

    Args:
        wnid: (num_rows,) string; wnids: every class of the dataset, sorted.
    Returns: (num_rows,) int64.
    Null where the class is not among them.
    Source: decisions.md, "ClassLabel over the sorted wnids"; metrics 1.
    """
    names = pa.array(wnids, pa.string())
    return pc.index_in(wnid, value_set=names).cast(pa.int64())
