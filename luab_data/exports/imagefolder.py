"""[I/O] `imagefolder`: image files in class folders, and metadata.parquet with every column.

    OUT/<wnid>/<image_id>.JPEG   (COCO: OUT/000000000009.jpg)
    OUT/metadata.parquet         file_name and the columns of `default`
    OUT/README.md

`datasets` reads it with load_dataset("OUT") or load_dataset("imagefolder", data_dir="OUT"),
version 3 or later (2 passes over metadata.parquet), and so does timm (`hfds/`). It takes features
from the Parquet file's own metadata, never from a card, so that is where class names go, in words
that versions 3 to 5 all know. A card with `configs` would moreover freeze its cache
(docs/decisions.md, 2).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.errors import DatasetError, ImagesError, OutputError
from luab_data.exports.select import Subset, readme
from luab_data.join.joined import IMAGE_PATH

METADATA = "metadata.parquet"


def write(subset: Subset, out: Path, advance: Callable[[int], object]) -> None:
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
    name = pc.binary_join_element_wise(sample_names(batch), pc.struct_field(suffix, "suffix"), "")
    if "wnid" not in subset.table.schema().names:
        return name
    bad = pc.match_substring_regex(batch["wnid"], r"[/\\\x00]|^\.{0,2}$")
    if pc.any(pc.fill_null(bad, True)).as_py():
        raise DatasetError(
            f"{subset.kind.dataset}: a wnid is no name for a folder; check the dataset"
        )
    return pc.binary_join_element_wise(batch["wnid"], name, "/")


def sample_names(batch: pa.Table) -> pa.ChunkedArray:
    """(num_rows,) the image's name without extension: its id; COCO's has 12 digits."""
    ids = batch["image_id"]
    if pa.types.is_integer(ids.type):
        return pc.utf8_lpad(ids.cast(pa.string()), 12, "0")
    return ids


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
    dtype = {"double": "float64", "float": "float32"}.get(str(type), str(type))
    return {"dtype": dtype, "_type": "Value"}
