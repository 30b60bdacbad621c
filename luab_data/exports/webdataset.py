"""[I/O] `webdataset`: tar files of `<image_id>.jpg` and `<image_id>.json`, all columns in the json.

    OUT/train-000000.tar ...   SAMPLES_PER_SHARD images each, equal input gives equal bytes
    OUT/_info.json             shards and their lengths, as timm's `wds/` reads them
    OUT/README.md              with the features, so that load_dataset("OUT") need not guess

load_dataset("webdataset", data_files="OUT/*.tar") does guess, from the first five samples, which
must agree: a column that is null in one of them has another type there, and one that is null in all
has none. So five complete samples go first.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import ImagesError
from luab_data.exports.imagefolder import sample_names
from luab_data.exports.select import Subset, readme
from luab_data.hub.card import feature
from luab_data.join.joined import IMAGE_PATH
from luab_data.ragged import Bools, bounds_of
from luab_data.store.folder import version_of

SAMPLES_PER_SHARD = 4096
NUM_LEADING = 5  # NUM_EXAMPLES_FOR_FEATURES_INFERENCE of datasets' WebDataset builder


def write(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
    """Write the folder."""
    leading, suffixes = survey(subset.batches())
    paths: list[Path] = []
    lengths: list[int] = []
    digest = hashlib.sha256(subset.manifest["content_digest"].encode())
    samples = _samples(subset, leading)
    while shard := list(islice(samples, SAMPLES_PER_SHARD)):
        paths.append(out / f"train-{len(paths):06d}.tar")
        lengths.append(len(shard))
        _write_shard(paths[-1], shard, digest)
        advance(len(shard))
    info = _info(subset, [path.name for path in paths], lengths)
    (out / "_info.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    num_bytes = sum(path.stat().st_size for path in paths)
    matter = front_matter(subset, suffixes, version_of(digest.hexdigest()), num_bytes)
    (out / "README.md").write_text(readme(subset, "webdataset", matter), encoding="utf-8")


def front_matter(
    subset: Subset, suffixes: list[str], version: str, num_bytes: int
) -> dict[str, Any]:
    """The YAML that load_dataset("OUT") goes by; the version is there for its cache."""
    wnids = subset.classes.get("label", ())
    features = [
        *({"name": suffix, "dtype": "image"} for suffix in suffixes),
        {"name": "json", "struct": [feature(column, wnids) for column in subset.table.columns]},
        {"name": "__key__", "dtype": "string"},
        {"name": "__url__", "dtype": "string"},
    ]
    split = {"name": "train", "num_bytes": num_bytes, "num_examples": subset.num_rows}
    files = [{"split": "train", "path": "train-*.tar"}]
    return {
        "configs": [{"config_name": "default", "version": version, "data_files": files}],
        "dataset_info": [{"config_name": "default", "features": features, "splits": [split]}],
    }


def _info(subset: Subset, names: list[str], lengths: list[int]) -> dict[str, Any]:
    split = {
        "name": "train",
        "num_samples": subset.num_rows,
        "filenames": names,
        "shard_lengths": lengths,
        "alt_label": "label" if "label" in subset.classes else "",
    }
    return {"splits": {"train": split}}


# --- which samples go first ----------------------------------------------------------------------


def survey(batches: Iterator[pa.Table]) -> tuple[pa.Table, list[str]]:
    """Up to NUM_LEADING rows with values in the same columns, in as many as can be, and suffixes.

    Returns: (num_leading,) rows in the order they came; the images' suffixes, sorted.
    """
    found: dict[bytes, list[pa.Table]] = {}
    suffixes: set[str] = set()
    for batch in batches:
        filled = np.stack([_is_filled(column) for column in batch.columns], axis=1)
        suffixes.update(pc.unique(_suffixes(batch)).to_pylist())
        for row, pattern in zip(*_first_of_each(filled), strict=True):
            rows = found.setdefault(pattern, [])
            if len(rows) < NUM_LEADING:
                rows.append(batch.take(pa.array([row])))  # a copy: a slice would keep its batch
    num_rows = sum(len(rows) for rows in found.values())
    enough = [p for p, rows in found.items() if len(rows) >= min(NUM_LEADING, num_rows)]
    best = max(enough or found, key=lambda pattern: sum(byte.bit_count() for byte in pattern))
    return pa.concat_tables(found[best]), sorted(suffixes)


def _first_of_each(filled: Bools) -> tuple[list[int], list[bytes]]:
    """The first NUM_LEADING rows of each pattern, and their patterns."""
    packed = np.packbits(filled, axis=1)
    patterns = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}").reshape(-1)
    _, code = np.unique(patterns, return_inverse=True)
    order = np.argsort(code, kind="stable")
    rank = np.arange(len(order)) - np.searchsorted(code[order], code[order])
    rows = np.sort(order[rank < NUM_LEADING])
    return rows.tolist(), [patterns[row].tobytes() for row in rows]


def _is_filled(column: pa.ChunkedArray) -> Bools:
    """(num_rows,) whether the value, or any value in the list at any depth, is there."""
    if not pa.types.is_list(column.type):
        filled: Bools = pc.is_valid(column).to_numpy()
        return filled
    inner = np.concatenate([[0], np.cumsum(_is_filled(pa.chunked_array([_flat(column)])))])
    bounds = bounds_of(column)
    return inner[bounds[1:]] > inner[bounds[:-1]]


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pc.list_flatten(column.combine_chunks())


# --- samples -------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """One image: its key, the suffix of its file, where that is, and the row as JSON."""

    key: str
    suffix: str
    path: str
    json: bytes


def _suffixes(batch: pa.Table) -> pa.ChunkedArray:
    found = pc.extract_regex(batch[IMAGE_PATH.name], r"\.(?P<suffix>[^./\\]+)$")
    lower = pc.utf8_lower(pc.struct_field(found, "suffix"))
    return pc.if_else(pc.equal(lower, "jpeg"), "jpg", lower)


def _samples(subset: Subset, leading: pa.Table) -> Iterator[Sample]:
    """The leading rows, then the others in their order."""
    yield from _rows_of(leading)
    for batch in subset.batches():
        rest = pc.invert(
            pc.is_in(batch["image_id"], value_set=leading["image_id"].combine_chunks())
        )
        yield from _rows_of(batch.filter(rest))


def _rows_of(batch: pa.Table) -> Iterator[Sample]:
    keys = sample_names(batch)
    dotted = pc.match_substring(keys, ".")
    if pc.any(dotted).as_py():
        raise ImagesError(
            f"{keys.filter(dotted)[0].as_py()}: an image id with a dot; in a WebDataset the key"
            " ends at the first one. Use --format imagefolder"
        )
    paths = batch[IMAGE_PATH.name].to_pylist()
    rows = batch.drop_columns([IMAGE_PATH.name]).to_pylist()
    for key, suffix, path, row in zip(
        keys.to_pylist(), _suffixes(batch).to_pylist(), paths, rows, strict=True
    ):
        yield Sample(key, suffix, path, msgspec.json.encode(row))


def _write_shard(path: Path, samples: list[Sample], digest: Any) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for sample in samples:
            image = _read(sample.path)
            _add(tar, f"{sample.key}.{sample.suffix}", image)
            _add(tar, f"{sample.key}.json", sample.json)
            digest.update(hashlib.sha256(image).digest() + sample.json)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ImagesError(f"{path}: cannot be read ({error.strerror or error})") from error


def _add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)  # time 0, nobody's: the bytes depend on the content alone
    member.size = len(body)
    tar.addfile(member, io.BytesIO(body))
