"""A digest of values: equal for equal rows, whatever their order, batches, encoding or library.

Parquet bytes differ between versions of pyarrow; the values do not. Rows stand in the order of the
log, which an archive and the folder that it was unpacked to do not share. So each row has a hash,
and the digest is their sum, in two lanes of 64 bits: rows may come in any order and in batches and
shards of any size. It is made to tell datasets apart, not to resist somebody who forges one: what
lies on the disk is covered by SHA256SUMS.

The hash of a row is the mixed sum of its columns'; that of a list, the sum of its elements' hashes,
each times an odd random number for its place (multilinear hashing: Lemire and Kaser, "Strongly
universal string hashing is fast", 2014); mixing is the finaliser of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", 2014).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.ragged import Ints, Ragged, bounds_of, characters

Hashes = npt.NDArray[np.uint64]

_NULL, _LANE = np.uint64(0x5AD6B02C98F73E11), np.uint64(0x9E3779B97F4A7C15)
_MOD = 2**64
_ROWS_AT_ONCE = 2**12
"""What is computed of more is large beside the rows themselves."""


class ShardDigest:
    """The rows of one shard, given in any order and in any batches.

    Attributes:
        num_bytes: of the values and lengths, however they were batched.
    """

    def __init__(self) -> None:
        self.num_bytes = 0
        self._lanes = [0, 0]
        self._bounds: Ints = np.zeros(0, np.int64)
        self._multipliers: Hashes = np.zeros(0, np.uint64)

    def update(self, table: pa.Table) -> None:
        """Add rows; every call has the same columns."""
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            rows = np.zeros(len(batch), np.uint64)
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                rows += _mix(self._hash(column) + _seed(f"{name}:{_kind(column.type)}"))
            for lane, hashes in enumerate((_mix(rows), _mix(rows ^ _LANE))):
                self._lanes[lane] = (self._lanes[lane] + int(hashes.sum())) % _MOD

    def hexdigest(self) -> str:
        """Of all rows so far: 32 hex digits, which content_digest adds up."""
        return "".join(f"{lane:016x}" for lane in self._lanes)

    def _hash(self, values: pa.Array) -> Hashes:
        """(num_values,) a hash of each value, null included."""
        type, filled = values.type, values
        if values.null_count and not (pa.types.is_list(type) or pa.types.is_string(type)):
            filled = pc.fill_null(values, pa.scalar(0).cast(type))
        if pa.types.is_list(type):
            hashes = self._hash_lists(bounds_of(values), self._hash(values.flatten()))
        elif pa.types.is_string(type):
            hashes = self._hash_texts(values)
        else:
            plain = filled.to_numpy(zero_copy_only=False)
            self.num_bytes += plain.nbytes
            plain = plain.astype(np.float64 if plain.dtype.kind == "f" else np.int64, copy=False)
            hashes = plain.view(np.uint64)
        if values.null_count:
            self.num_bytes += 8 * values.null_count
            hashes = np.where(values.is_null().to_numpy(zero_copy_only=False), _NULL, hashes)
        return hashes

    def _hash_texts(self, values: pa.StringArray) -> Hashes:
        """(num_values,) the hash of each text as a list of bytes; equal ones are hashed once.

        Nulls have that of the empty text: filling them in is dearer than all the rest.
        """
        encoded = values.dictionary_encode()
        texts = pa.concat_arrays([encoded.dictionary, pa.array([""], encoded.dictionary.type)])
        place = pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy()
        lengths = pc.binary_length(texts).to_numpy().astype(np.int64)
        self.num_bytes += int(lengths[place].sum()) + 4 * len(values)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        hashes = self._hash_rows(
            bounds, np.frombuffer(characters(texts), np.uint8).astype(np.uint64)
        )
        return np.asarray(hashes[place])

    def _hash_lists(self, bounds: Ints, elements: Hashes) -> Hashes:
        """(num_lists,) the hash of each list of elements."""
        self.num_bytes += 4 * (len(bounds) - 1)
        # Floats differ in their upper bits alone, which a product would carry out of the word.
        terms = elements >> np.uint64(32)
        terms ^= elements
        return self._hash_rows(bounds, terms)

    def _hash_rows(self, bounds: Ints, terms: Hashes) -> Hashes:
        """(num_rows,) the hash of each row; overwrites its terms."""
        lengths = np.diff(bounds)
        terms *= self._multipliers_of(bounds, lengths)
        return _mix(Ragged(terms, bounds).reduce(np.add, 0) + lengths.astype(np.uint64))

    def _multipliers_of(self, bounds: Ints, lengths: Ints) -> Hashes:
        """(num_elements,) the multiplier of each element's place; columns run side by side."""
        if not np.array_equal(bounds, self._bounds):
            place = np.arange(int(lengths.sum()))
            place -= np.repeat(bounds[:-1], lengths)
            self._bounds = bounds
            self._multipliers = _multipliers(int(lengths.max(initial=0)))[place]
        return self._multipliers


def _mix(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


@lru_cache
def _seed(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


@lru_cache(1)
def _drawn(count: int) -> Hashes:
    return _mix(np.arange(1, count + 1, dtype=np.uint64) * _LANE) | np.uint64(1)


def _multipliers(count: int) -> Hashes:
    """(at least count,) an odd number for each place in a list, the same ones always."""
    return _drawn(max(1024, 1 << (count - 1).bit_length() if count else 0))


def _kind(type: pa.DataType) -> str:
    """A type's name without the inner names of lists, which Parquet changes."""
    return f"list<{_kind(type.value_type)}>" if pa.types.is_list(type) else str(type)


def hashes_of(values: pa.Array) -> Hashes:
    """(num_values,) a hash of each value, null included, the same ones always."""
    return _mix(ShardDigest()._hash(values))


def shard_digest(batches: Iterable[pa.Table]) -> str:
    """Digest of one shard's rows."""
    digest = ShardDigest()
    for batch in batches:
        digest.update(batch)
    return digest.hexdigest()


def content_digest(shards: Mapping[str, Sequence[str]]) -> str:
    """Digest of a dataset: config -> digests of its shards, in any order."""
    lines = []
    for config, digests in shards.items():
        lanes = [sum(int(d[k : k + 16], 16) for d in digests) % _MOD for k in (0, 16)]
        lines.append(f"{config} {lanes[0]:016x}{lanes[1]:016x}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
