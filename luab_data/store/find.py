"""[I/O] The rows of an image or a page: only a key is scanned, then row groups that hold it.

An id is the file's name without folder and extension. Two habits are undone: Hugging Face's
imagenet-1k names its images `<image_id>_<wnid>.JPEG`, and COCO 2014 says `COCO_train2014_` before
the number.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.boxes import IMAGE_SUFFIXES
from luab_data.errors import DatasetError
from luab_data.schema import Table
from luab_data.store.folder import parquet_files, read_columns

_MAX_CANDIDATES = 20_000
_NEAR = 3
_SUFFIX = rf"(?i)({'|'.join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES))})$"


# --- ids in names --------------------------------------------------------------------------------


def imagenet_ids(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """String, (num_paths,): `x/n01440764_10026.JPEG`, `n01440764_10026_n01440764.JPEG` -> id;
    `ILSVRC2012_val_00000001_n01751748.JPEG` -> ILSVRC2012_val_00000001.

    Never null but where the path is: any other name is its own id, without folder and extension.
    """
    stems = _stems(paths)
    return pc.replace_substring_regex(stems, r"^((?:n\d{8}|ILSVRC2012_[a-z]+)_\d+)_n\d{8}$", r"\1")


def coco_ids(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """int64, (num_paths,): `000000000009.jpg`, `COCO_train2014_000000000009.jpg` -> 9.

    Null where the name is another one.
    """
    pattern = r"^(?:COCO_[a-z]+\d{4}_)?(?P<id>\d{1,18})$"
    return pc.struct_field(pc.extract_regex(_stems(paths), pattern), "id").cast(pa.int64())


def _stems(paths: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    # Paths inside Hugging Face datasets may come from Windows.
    names = pc.replace_substring_regex(paths, r"^(?s).*[/\\]", "")
    names = pc.utf8_normalize(names, "NFC")  # macOS writes ä as two characters, logs as one
    return pc.replace_substring_regex(names, _SUFFIX, "")


def ids_of(paths: pa.Array | pa.ChunkedArray, id_type: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """The ids that file names hold, as `id_type` has them: see imagenet_ids and coco_ids."""
    return coco_ids(paths) if pa.types.is_integer(id_type) else imagenet_ids(paths)


def read_image_id(text: str | int, table: Table) -> str | int:
    """What a user typed as an image id: paths and extensions of the image or its XML may stay.

    Args:
        table: that has such ids; see ids_of.

    Raises:
        DatasetError: its ids are numbers, and there is none in the text.
    """
    name = pa.array([re.sub(r"\.xml$", "", str(text), flags=re.IGNORECASE)], pa.string())
    (found,) = ids_of(name, table["image_id"].type).to_pylist()
    if found is None:
        raise DatasetError(
            f"{text!r} is no image id of this dataset; expected a number such as 9, or a file name"
            " that ends in one"
        )
    return found  # type: ignore[no-any-return]


def read_image_ids(text: str | int, table: Table) -> list[str | int]:
    """What a user may have meant, the likeliest first: ids that are text may be written as they
    are; else as read_image_id reads them, with the folder before it where names repeat.
    """
    found = read_image_id(text, table)
    if isinstance(found, int):
        return [found]
    whole = unicodedata.normalize("NFC", str(text))
    folders = whole.replace("\\", "/").split("/")[:-1]
    # Of equal file names in two class folders, the later image has its folder in the id.
    inside = [f"{'/'.join(folders[k:])}_{found}" for k in range(len(folders))]
    return list(dict.fromkeys([whole, *inside, found]))


# --- rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RowPlace:
    """Where one row lies.

    Args:
        config: `default`, `rounds` or `actions`.
        file: path in the dataset folder.
        row_group, row: from 0; `row` counts within the row group.
        file_row: from 0, within the file.
    """

    config: str
    file: str
    row_group: int
    row: int
    file_row: int


def find_rows(
    folder: Path,
    table: Table,
    values: Collection[Any],
    columns: Sequence[str] | None = None,
    *,
    key: str = "image_id",
    first: int = 0,
    enough: int | None = None,
) -> tuple[pa.Table, list[RowPlace]]:
    """The rows of a config whose `key` is one of the values, and where they are.

    Rows of one page lie close together, and only row groups that hold one are read whole: far less
    than a pass over the traces of all.

    Args:
        folder: the dataset.
        table: the config.
        values: as in the column `key`.
        columns: these, then `key` if not among them; None: all columns of the files.
        first: number of the shard to look in first.
        enough: stop with the shard after which that many rows are found.

    Returns: (num_found,) in order; num_found can be 0.

    Raises:
        DatasetError: a file is damaged; says which.
    """
    schema = table.schema()
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in dict.fromkeys([*columns, key])])
    names = None if columns is None else schema.names
    rows: list[pa.Table] = []
    places: list[RowPlace] = []
    paths = parquet_files(folder, table) if values else []
    for path in paths[first : first + 1] + paths[:first] + paths[first + 1 :]:
        name = path.relative_to(folder).as_posix()
        for group, start, numbers, part in _matches(path, names, key, values):
            rows.append(part.select(names or part.column_names))
            places += [
                RowPlace(config=table.config, file=name, row_group=group, row=n, file_row=start + n)
                for n in numbers
            ]
        if enough is not None and len(places) >= enough:
            break
    return (pa.concat_tables(rows) if rows else schema.empty_table()), places


def _matches(
    path: Path, columns: list[str] | None, key: str, values: Collection[Any]
) -> Iterator[tuple[int, int, list[int], pa.Table]]:
    """(row group, its first row in the file, rows whose key is one of the values, these rows).

    A group is read only if a value can be between its least and its greatest key.
    """
    start, least, most = 0, min(values), max(values)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            wanted = pa.array(values, file.schema_arrow.field(key).type)
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                chunks = (about.column(i) for i in range(about.num_columns))
                bounds = next((c.statistics for c in chunks if c.path_in_schema == key), None)
                if not (bounds and bounds.has_min_max) or (
                    bounds.min <= most and least <= bounds.max
                ):
                    column = file.read_row_group(group, columns=[key])[key]
                    found = pc.indices_nonzero(pc.is_in(column, value_set=wanted))
                    if len(found):
                        part = file.read_row_group(group, columns=columns).take(found)
                        yield group, start, found.to_pylist(), part
                start += about.num_rows
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path}: damaged ({error}); `luab-data check` says what else is. Convert the raw log"
            " again or copy the folder again"
        ) from error


def not_there(folder: Path, table: Table, image_id: str | int, manifest: dict[str, Any]) -> str:
    """Why an image may not be found, and which are near: the text of an error."""
    near = ", ".join(map(str, _near(folder, table, image_id)))
    text = f"{folder}: no image {image_id!r} among {manifest['num_rows']['default']:,}"
    text += f"; near it {near}" if near else ""
    reason = _skipped(folder, image_id)
    if reason:
        return f"{text}. The conversion left it out as a bad record: {reason}"
    where = "; see skipped.jsonl for records that were left out" if manifest.get("skipped") else ""
    return f"{text}. Expected an image_id of the log{where}"


def _near(folder: Path, table: Table, image_id: str | int) -> list[Any]:
    """Up to three ids like the one that is not there."""
    ids = (part["image_id"] for part in read_columns(folder, table, ["image_id"]))
    if isinstance(image_id, int):
        found: list[int] = []
        for column in ids:
            distance = pc.abs(pc.subtract(column, image_id))
            closest = pc.select_k_unstable(distance, _NEAR, [("", "ascending")])
            found = sorted(
                {*found, *column.take(closest).to_pylist()}, key=lambda i: abs(i - image_id)
            )
            found = found[:_NEAR]
        return found
    prefix, _, number = image_id.rpartition("_")
    candidates: list[str] = []
    for column in ids:
        like = pc.match_substring(column, image_id, ignore_case=True)
        for start in (f"{prefix}_",) if prefix else ():
            like = pc.or_(like, pc.starts_with(column, start))
        if number:
            like = pc.or_(like, pc.ends_with(column, f"_{number}"))
        candidates += column.filter(like).to_pylist()
        if len(candidates) > _MAX_CANDIDATES:
            break
    return (
        difflib.get_close_matches(image_id, candidates, n=_NEAR, cutoff=0.6) or candidates[:_NEAR]
    )


def _skipped(folder: Path, image_id: str | int) -> str | None:
    """What skipped.jsonl says of an image; None if it is not in there."""
    path = folder / "skipped.jsonl"
    ends = (f"/{image_id}.xml", f"(image_id={image_id})")
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if str(row["where"]).endswith(ends):
                    return f"{row['reason']} [{row['rule']}]"
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None
