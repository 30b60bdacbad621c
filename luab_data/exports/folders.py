"""[I/O] Folders of image files with all columns, as `datasets`, WebDataset and timm read them.

`imagefolder`: image files in class folders, and metadata.parquet with every column.

    OUT/<wnid>/<image_id>.JPEG   (COCO: OUT/000000000009.jpg)
    OUT/metadata.parquet         file_name and the columns of `default`
    OUT/README.md

`datasets` reads it with load_dataset("OUT") or load_dataset("imagefolder", data_dir="OUT"),
version 3 or later (2 passes over metadata.parquet), and so does timm (`hfds/`). It takes features
from the Parquet file's own metadata, never from a card, so that is where class names go, in words
that versions 3 to 5 all know. A card with `configs` would moreover freeze its cache
(docs/decisions.md, 2).

`webdataset`: tar files of `<image_id>.jpg` and `<image_id>.json`, all columns in the json.

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
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.errors import DatasetError, ImagesError, OutputError
from luab_data.exports import Subset, readme
from luab_data.hub.card import feature
from luab_data.hub.legacy import dtype_name
from luab_data.join import IMAGE_PATH
from luab_data.ragged import Bools, bounds_of
from luab_data.store.folder import version_of

METADATA = "metadata.parquet"
SAMPLES_PER_SHARD = 4096
NUM_LEADING = 5  # NUM_EXAMPLES_FOR_FEATURES_INFERENCE of datasets' WebDataset builder


# --- imagefolder ---------------------------------------------------------------------------------


def write_imagefolder(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
    """Write the folder.

    Files are hard links where the file system allows, else copies: what is linked is the image
    itself, so whoever changes one in place changes the original.
    """
    file_name = pa.field("file_name", pa.string())
    fields = [file_name, *subset.table.schema()]
    features = {
        field.name: _feature(field.type, subset.classes.get(field.name)) for field in fields
    }
    about = json.dumps({"info": {"features": features}})
    schema = pa.schema(fields, metadata={"huggingface": about})
    with pq.ParquetWriter(
        out / METADATA, schema, compression="zstd", write_page_checksum=True
    ) as writer:
        for batch in subset.batches():
            names = file_names(subset, batch)
            place(out, batch[IMAGE_PATH.name].to_pylist(), names.to_pylist())
            columns = [names, *batch.drop_columns([IMAGE_PATH.name]).columns]
            writer.write_table(pa.table(columns, schema))
            advance(len(batch))
    text = readme(subset, "imagefolder", {"tags": ["annotation-byproducts"]})
    (out / "README.md").write_text(text, encoding="utf-8")


def file_names(subset: Subset, batch: pa.Table) -> pa.ChunkedArray:
    """(num_rows,) path of each image below the exported folder."""
    suffix = pc.extract_regex(batch[IMAGE_PATH.name], r"(?P<suffix>\.[^./\\]+)$")
    suffix = pc.struct_field(suffix, "suffix")
    name = pc.binary_join_element_wise(sample_names(subset, batch), suffix, "")
    if "wnid" not in subset.table.schema().names:
        return name
    folder = _name(batch["wnid"])
    bad = pc.match_substring_regex(folder, r"\x00|^\.{0,2}$")
    if pc.any(pc.fill_null(bad, True)).as_py():
        raise DatasetError(
            f"{subset.kind.dataset}: a class is no name for a folder; check the dataset"
        )
    return pc.binary_join_element_wise(folder, name, "/")


def _name(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """(num_rows,) names as those of one file or folder: slashes as a URL has them."""
    return pc.replace_substring(pc.replace_substring(text, "/", "%2F"), "\\", "%5C")


def sample_names(subset: Subset, batch: pa.Table) -> pa.ChunkedArray:
    """(num_rows,) the image's name without extension: its id; COCO's has 12 digits.

    Of several views of an image, each a row, those after the first have `-view2`, ... behind it.
    """
    ids = batch["image_id"]
    if subset.kind.has_view_rows:
        later = pc.binary_join_element_wise(ids, batch["view"].cast(pa.string()), "-view")
        return pc.if_else(pc.equal(batch["view"], 1), ids, later)
    if pa.types.is_integer(ids.type):
        return pc.utf8_lpad(ids.cast(pa.string()), 12, "0")
    return _name(ids)


def place(out: Path, sources: list[str], names: list[str]) -> None:
    """Put each source at its name below a folder."""
    folders = {os.path.dirname(name) for name in names}
    for folder in sorted(folders):
        (out / folder).mkdir(exist_ok=True)
    for source, name in zip(sources, names, strict=True):
        link_or_copy(source, out / name)


def link_or_copy(source: str, target: Path) -> None:
    """A hard link to the file (of a link: to what it points at), or a copy of it.

    Raises:
        ImagesError: the source cannot be read. OutputError: the target cannot be written.
    """
    real = os.path.realpath(source)  # a link to a relative link would point nowhere
    with suppress(OSError):  # another file system, a foreign owner, too many links
        os.link(real, target)
        return
    try:
        with open(real, "rb") as image:
            _copy(image, target)
    except OutputError:
        raise
    except OSError as error:
        raise ImagesError(f"{source}: cannot be read ({error.strerror or error})") from error


def _copy(image: Any, target: Path) -> None:
    try:
        with target.open("xb") as file:
            shutil.copyfileobj(image, file, 2**20)
    except OSError as error:
        raise OutputError(f"{target}: cannot be copied ({error.strerror or error})") from error


def _feature(type: pa.DataType, names: tuple[str, ...] | None) -> dict[str, Any]:
    """A type as `datasets` 2 to 5 all read it: later ones still know `Sequence`."""
    if pa.types.is_list(type):
        return {"feature": _feature(type.value_type, names), "_type": "Sequence"}
    if names:
        return {"names": list(names), "_type": "ClassLabel"}
    return {"dtype": dtype_name(type), "_type": "Value"}


# --- webdataset ----------------------------------------------------------------------------------


def write_webdataset(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
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
    matter = _front_matter(subset, suffixes, version_of(digest.hexdigest()), num_bytes)
    (out / "README.md").write_text(readme(subset, "webdataset", matter), encoding="utf-8")


def _front_matter(
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
    yield from _rows_of(subset, leading)
    first = sample_names(subset, leading).combine_chunks()
    for batch in subset.batches():
        rest = pc.invert(pc.is_in(sample_names(subset, batch), value_set=first))
        yield from _rows_of(subset, batch.filter(rest))


def _rows_of(subset: Subset, batch: pa.Table) -> Iterator[Sample]:
    keys = sample_names(subset, batch)
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
