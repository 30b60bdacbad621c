"""Image-level splits that stay put: by annotator, by HIT, by class-stratified fraction.

Who is where follows from a keyed hash of an id, never from a row's position: the same on every
machine, in every row order, and for old rows when new ones come. Anyone can recompute it:

    blake2b(str(id).encode(), digest_size=8, key=f"luab {what} {seed}".encode())

read as a big-endian number and divided by 2**64 is the id's place in [0, 1); `what` is
`annotator`, `hit` or `image`. Pure functions of Arrow columns; of a Hugging Face dataset take
`dataset.select_columns([...]).with_format("arrow")[:]`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import DatasetError, OptionError


def by_annotator(table: pa.Table, fractions: Mapping[str, float], *, seed: int = 0) -> pa.Array:
    """Split so that no worker is on two sides.

    Args:
        table: `default` of either dataset; needs `worker_id`, (num_rows,).
        fractions: split -> expected share of the *workers*, e.g. {"train": 0.9, "val": 0.1}; must
            add up to 1. A worker owns about 500 (COCO: 20) images a HIT, so the share of the rows
            is only near it; evening it out would move old rows whenever new ones come.
        seed: another seed, another split.

    Returns: string, (num_rows,), the split of each row; null where `worker_id` is null (an image
        without a round): nobody can say on which side such an image may be. Rows that are added
        change no old row. With a larger share of the first split it only grows.

    An ImageNet image may have been shown to a second worker in its other round; `default` holds the
    worker of the deciding one. Filter on `num_rounds == 1` where the other one matters too.

    Raises:
        OptionError: fractions that are no shares. DatasetError: no such column.
    """
    return _by_group(table, "worker_id", "annotator", fractions, seed)


def by_hit(table: pa.Table, fractions: Mapping[str, float], *, seed: int = 0) -> pa.Array:
    """Split so that no HIT is on two sides: images seen one after another stay together.

    As by_annotator, with `hit_id` in place of `worker_id`. In COCO-AB `hit_id` is also null where
    it was not logged.
    """
    return _by_group(table, "hit_id", "hit", fractions, seed)


def stratified_fraction(
    table: pa.Table, fraction: float, *, seed: int = 0, strata: str | None = "wnid"
) -> pa.Array:
    """The same fraction of every class: nested subsets, as in the paper's 100/95/90/80 % runs.

    Of a class of n images those with the max(1, floor(fraction n + 1/2)) smallest hashes are kept:
    exact within each class up to rounding, and the 80 % are inside the 90 % of the same seed.

    Args:
        table: needs `image_id`, (num_rows,), unique, and the column `strata`.
        fraction: in (0, 1].
        seed: another seed, another subset.
        strata: a column of one value a row. The default is ImageNet-AB's class. An image of COCO-AB
            has a list of classes, and a rule that picks one would stratify by the rule: take
            None, the whole table as one stratum, or any column with one value a row.
            Null is a stratum like any other.

    Returns: bool, (num_rows,), never null; whether the row is in the subset.

    When rows are added to a class, at most as many of its old rows change sides; those of other
    classes never do. An id's hash never changes, only its rank among more of them: a new image with
    a small hash may push out the largest one that was kept, one with a large hash may let in the
    smallest one that was not.

    Raises:
        OptionError: no fraction, or strata of a list column. DatasetError: no such column, or an
            image id twice or null.
    """
    if not 0 < fraction <= 1:
        raise OptionError(f"fraction {fraction}: expected a number in (0, 1]")
    ids = _text(table, "image_id")
    _check_unique(ids)
    place = _places(ids, "image", seed)
    stratum = _strata(table, strata)
    # Ranks within strata: rows sorted by (stratum, hash); the first k of each stratum are kept.
    order = np.lexsort((place, stratum))
    sizes = np.bincount(stratum)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = np.maximum(1, np.floor(fraction * sizes + 0.5).astype(np.int64))
    mask = np.empty(len(order), bool)
    mask[order] = np.arange(len(order)) - starts < np.repeat(kept, sizes)
    return pa.array(mask)


def _by_group(
    table: pa.Table, column: str, what: str, fractions: Mapping[str, float], seed: int
) -> pa.Array:
    names, edges = _edges(fractions)
    groups = _text(table, column).combine_chunks().dictionary_encode()
    places = _places(groups.dictionary, what, seed)
    side = np.searchsorted(edges, places, side="right")
    # Null groups have null indices, and a null index takes null.
    return pa.array(names, pa.string()).take(pa.array(side, pa.int64())).take(groups.indices)


def _edges(fractions: Mapping[str, float]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names of the splits, and the places in (0, 1) where one ends and the next begins."""
    shares = list(fractions.values())
    if not shares or not all(0 < share <= 1 for share in shares):
        raise OptionError(f"fractions {dict(fractions)}: expected a share in (0, 1] for each split")
    if not math.isclose(math.fsum(shares), 1, abs_tol=1e-9):
        raise OptionError(
            f"fractions {dict(fractions)}: add up to {math.fsum(shares):g}; expected 1. Give what"
            " is left over a name too"
        )
    edges = [math.fsum(shares[:k]) for k in range(1, len(shares))]
    return list(fractions), np.array(edges, np.float64)


def _places(ids: pa.Array | pa.ChunkedArray, what: str, seed: int) -> npt.NDArray[np.float64]:
    """(num_ids,) the place of each id in [0, 1), a multiple of 2**-53.

    A loop over ids on purpose: BLAKE2b can be recomputed anywhere, and takes 0.5 s a million.
    """
    if not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise OptionError(f"seed {seed!r}: expected a whole number of 64 bits")
    keyed = hashlib.blake2b(digest_size=8, key=f"luab {what} {seed}".encode())
    digests = bytearray()
    for chunk in ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]:
        for text in chunk.cast(pa.binary()).to_pylist():
            digest = keyed.copy()
            digest.update(text)
            digests += digest.digest()
    numbers = np.frombuffer(bytes(digests), ">u8") >> np.uint64(11)
    return numbers.astype(np.float64) * 2.0**-53


def _strata(table: pa.Table, strata: str | None) -> npt.NDArray[np.int64]:
    """(num_rows,) number of each row's stratum."""
    if strata is None:
        return np.zeros(len(table), np.int64)
    column = _column(table, strata)
    if pa.types.is_nested(column.type):
        raise OptionError(
            f"strata {strata!r}: is {column.type}; expected one value a row. Use strata=None, the"
            " whole table as one stratum, or another column"
        )
    codes = column.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
    numbers: npt.NDArray[np.int64] = codes.indices.to_numpy().astype(np.int64)
    return numbers


def _check_unique(ids: pa.ChunkedArray) -> None:
    if ids.null_count:
        raise DatasetError(f"image_id: {ids.null_count} are null; expected one id a row")
    if len(ids) != pc.count_distinct(ids).as_py():
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        raise DatasetError(
            f"image_id: {len(twice)} are there more than once, e.g. {twice[0]['values'].as_py()!r};"
            " expected one row an image, like the config `default`"
        )


def _text(table: pa.Table, name: str) -> pa.ChunkedArray:
    return _column(table, name).cast(pa.string())


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        found = ", ".join(table.column_names[:8]) or "none"
        raise DatasetError(
            f"no column {name!r}; found {found}. Expected a table of `default`"
            + (", or strata= for COCO-AB" if name == "wnid" else "")
        )
    return table[name]
