"""`default` of ImageNet-AB, from image headers and metadata blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from luab_data.columns.regions import label
from luab_data.columns.registry import IMAGENET, Registry
from luab_data.columns.rounds import Deciding, Rounds, deciding_rows, order_rounds
from luab_data.schema import IMAGENET_IMAGES
from luab_data.table import Table, columns_of


def sources(
    images: pa.Table, rounds: Rounds, names: Iterable[str], registry: Registry = IMAGENET
) -> Mapping[str, Any]:
    """What the registry wants to know for some columns of `default`.

    Args:
        images: (num_images,) the raw columns of IMAGENET_IMAGES.
        rounds: their metadata blocks, from order_rounds.
        names: derived columns.
        registry: that has them.
    """
    wanted = [source.partition(".") for source in registry.sources(names)]
    rows = deciding_rows(rounds, [name for table, _, name in wanted if table == "round"])
    tables = {"raw": images, "round": rows, "rounds": rounds.table}
    given = {f"{table}.{name}": tables[table][name] for table, _, name in wanted if name}
    return {**given, "bounds": rounds.bounds}


def stored_sources(
    images: pa.Table,
    rounds: pa.Table,
    names: Iterable[str],
    classes: Sequence[str] | None,
    deciding: Deciding = "any",
    registry: Registry = IMAGENET,
) -> Mapping[str, Any]:
    """The same from tables of a dataset: rows of `default` with all their `rounds`.

    Args:
        images, rounds: the tables.
        names: derived columns.
        classes: the wnids of the dataset; None if no column needs them.
        deciding: which round counts.
        registry: that has the columns.
    """
    ordered = order_rounds(images["image_id"], rounds.drop_columns(["round"]), deciding)
    return {**sources(images, ordered, names, registry), "wnids": classes}


def image_table(images: pa.Table, rounds: Rounds, registry: Registry = IMAGENET) -> pa.Table:
    """All columns of the registry's table but `label`, which needs every wnid to be known.

    Args:
        images: (num_images,) the raw columns of IMAGENET_IMAGES.
        rounds: their metadata blocks, from order_rounds.
        registry: of the kind.
    """
    names = [name for name in registry.names(optional=False) if name != "label"]
    derived = registry.compute(names, sources(images, rounds, names, registry))
    return registry.table.of({**columns_of(images), **derived})


def with_labels(table: pa.Table, wnids: Sequence[str], images: Table = IMAGENET_IMAGES) -> pa.Table:
    """The table of image_table with `label`, the position of each wnid among the sorted `wnids`."""
    return images.of({**columns_of(table), "label": label(table["wnid"], wnids)})
