"""PixMo-Points and PixMo-Count of Ai2, Parquet: points at what a phrase names, a row a view.

Seen: the cards of allenai/pixmo-points and allenai/pixmo-count (columns and their types), and
Ai2's own reader, allenai/molmo at 793fa38, olmo/data/pixmo_datasets.py and download_urls.py.
The card of PixMo-Points says that x and y are pixels; Ai2's reader takes them as per cent of the
picture (`point_scale=100`). In PixMo-Count `points` is a struct of two lists, and they are pixels;
only train has them. So units are decided from the numbers themselves, or asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from luab_data.errors import ArchiveError, ImagesError, OptionError, RecordError
from luab_data.importers import Importer
from luab_data.importers.files import OnRead, csv_rows, files, image_name
from luab_data.importers.pictures import size_of as size_of_file
from luab_data.importers.points import event_lists
from luab_data.importers.units import Places, Units, units_of
from luab_data.ragged import Floats, Ints, Ragged, bounds_of, floats, one_array
from luab_data.views import CODE, Reading, views

_NEEDED = ("image_url", "image_sha256", "points", "label")
_MORE = ("count", "collection_method")
_ROWS = 4096
_ENOUGH = 100
"""So many points within the first hundred pixels of their pictures, up to _FAR, are per cent."""
_FAR = 90.0

Size = tuple[int, int] | None
SizeOf = Callable[[str, str], Size]
"""(image_url, image_sha256) -> width and height, px, as shown; None where not known."""


def read(
    paths: Sequence[Path], unknown: Counter[str], on_read: OnRead, /, **options: str
) -> Iterator[Reading]:
    """The rows in their order; points have no time."""
    found = files(paths, ".parquet")
    size_of = _sizes(options)
    units = _units(found, size_of, options.get("units"))
    for path in found:
        number = 0
        for table in _tables(path):
            yield _reading(table, f"{path.name}, row", number, units, size_of)
            number += len(table)
        on_read(path.stat().st_size)


def _tables(path: Path) -> Iterator[pa.Table]:
    """The columns that are understood, some rows at a time.

    Raises:
        ArchiveError: no Parquet file, or one without these columns.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for name in _NEEDED:
                if name not in names:
                    raise ArchiveError(
                        f"{path}: has no column {name!r}; found {', '.join(names)}; expected"
                        " PixMo-Points or PixMo-Count"
                    )
            columns = [name for name in (*_NEEDED, *_MORE) if name in names]
            for batch in file.iter_batches(_ROWS, columns=columns):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as error:
        raise ArchiveError(f"{path}: no Parquet file, or cut; expected one of PixMo") from error


class Points(NamedTuple):
    """The points of some rows: those of row i are bounds[i]:bounds[i + 1]."""

    xy: Floats  # (num_points, 2) in the units of the file; NaN where there is no number
    bounds: Ints  # (num_rows + 1,)
    are_lists: bool  # a struct of two lists, as PixMo-Count has

    def of_row(self, values: Floats) -> Floats:
        """(num_points, ...) values of rows, for each of their points."""
        return np.repeat(values, np.diff(self.bounds), axis=0)


def _points(column: pa.ChunkedArray) -> Points:
    points = one_array(column)
    if pa.types.is_struct(points.type):
        x, y = (pc.struct_field(points, name) for name in "xy")
        if not np.array_equal(bounds_of(x), bounds_of(y)):
            raise ArchiveError("PixMo-Count: a row has more x than y; get the file again")
        xy = np.stack([floats(x.flatten()), floats(y.flatten())], axis=1)
        return Points(xy, bounds_of(x), True)
    flat = points.flatten()
    xy = np.stack([floats(pc.struct_field(flat, name)) for name in "xy"], axis=1)
    return Points(xy, bounds_of(points), False)


# --- units ---------------------------------------------------------------------------------------


def _units(paths: Sequence[Path], size_of: SizeOf | None, given: str | None) -> Units:
    """The units of all points of the files: those that fit.

    Raises:
        OptionError: several fit, or none.
    """
    places, are_lists = Places(), False
    for path in paths:
        for table in _tables(path):
            points = _points(table["points"])
            are_lists = points.are_lists
            is_known = np.isfinite(points.xy).all(axis=1)
            x, y = points.xy[is_known].T
            places.add(x, y, *points.of_row(_sizes_of(table, size_of))[is_known].T)
    # Of lists, or of fewer points, the first hundred pixels could be meant.
    fill = not are_lists and places.num >= _ENOUGH and _FAR < max(places.most) <= 100
    if given is None and fill and not places.is_likely("px"):
        given = "percent"
    return units_of(paths[0].name, places, given)


def _sizes(options: Mapping[str, str]) -> SizeOf | None:
    """Sizes of pictures by address, digest or name, of the option that was given."""
    known: dict[str, tuple[int, int]] = {}
    if "sizes" in options:
        path = Path(options["sizes"])
        for line, row in csv_rows(path, lambda _: None, ("image", "width", "height")):
            try:
                known[row["image"]] = int(row["width"]), int(row["height"])
            except ValueError:
                raise OptionError(f"{path}, line {line}: expected whole px") from None
        return lambda url, sha256: known.get(sha256) or known.get(url) or known.get(image_name(url))
    if "images" not in options:
        return None
    inside = {path.stem: path for path in Path(options["images"]).rglob("*") if path.is_file()}
    if not inside:
        raise OptionError(f"option images: {options['images']} has no file; expected pictures")

    @cache
    def of_files(url: str, sha256: str) -> Size:
        # Ai2's own download calls a file by the digest of its address.
        names = (sha256, hashlib.sha256(url.encode()).hexdigest(), image_name(url))
        path = next((inside[name] for name in names if name in inside), None)
        try:
            return size_of_file(path) if path else None
        except ImagesError:  # a download that failed
            return None

    return of_files


def _sizes_of(table: pa.Table, size_of: SizeOf | None) -> Floats:
    """(num_rows, 2) width and height, px; NaN where not known."""
    if size_of is None:
        return np.full((len(table), 2), np.nan)
    urls, digests = (table[name].to_pylist() for name in ("image_url", "image_sha256"))
    sizes = [size_of(u or "", d or "") or (np.nan,) * 2 for u, d in zip(urls, digests, strict=True)]
    return np.array(sizes, float).reshape(-1, 2)


# --- rows as views -------------------------------------------------------------------------------


def _reading(
    table: pa.Table, name: str, first: int, units: Units, size_of: SizeOf | None
) -> Reading:
    points = _points(table["points"])
    sizes = _sizes_of(table, size_of)
    has_size = np.isfinite(sizes[:, 0]) | (units != "px")
    has_size |= np.diff(points.bounds) == 0
    no_number = np.asarray(~np.isfinite(points.xy).all(axis=1))
    is_good = has_size & ~Ragged(no_number, points.bounds).any(no_number)
    whole = points.of_row(sizes) if units == "px" else {"percent": 100, "fraction": 1}[units]
    xy = points.xy / whole
    kept = Ragged(xy[:, 0], points.bounds).only(np.flatnonzero(is_good))
    errors = [
        RecordError(f"{name} {first + row}", *(_NO_NUMBER if has_size[row] else _NO_SIZE))
        for row in np.flatnonzero(~is_good).tolist()
    ]
    y = Ragged(xy[:, 1], points.bounds).only(np.flatnonzero(is_good)).values
    rows = table.filter(pa.array(is_good))
    names = [f"{name} {first + row}" for row in np.flatnonzero(is_good).tolist()]
    return Reading(_views(rows, sizes[is_good], kept.values, y, kept.bounds), names, errors)


_NO_NUMBER = ("no-number", "has a point without x or y; expected numbers")
_NO_SIZE = (
    "no-size",
    "its points are pixels; expected the size of its picture, which is not known",
)


def _views(rows: pa.Table, sizes: Floats, x: Floats, y: Floats, bounds: Ints) -> pa.Table:
    known = {name: rows[name] for name in rows.column_names}
    events = np.full(len(x), CODE["click"], np.int8)
    width, height = (pa.array(sizes[:, i], from_pandas=True).cast(pa.int32()) for i in (0, 1))
    found: dict[str, Any] = {
        "image_id": pc.coalesce(rows["image_sha256"], rows["image_url"]),
        "image_file": rows["image_url"],
        "width": width,
        "height": height,
        "label": rows["label"],
        **event_lists(bounds, events, x, y, np.full(len(x), np.nan)),
    }
    if "count" in known:
        found["answer"] = known["count"].cast(pa.string())
    if "collection_method" in known:
        found["prompt"] = known["collection_method"]
    return views(found)


IMPORTER = Importer(
    name="pixmo-points",
    title="PixMo-Points",
    kind="tracing",
    files="Parquet files of allenai/pixmo-points or allenai/pixmo-count, or the folder with them",
    read=read,
    options={
        "units": "px or percent, where the numbers do not tell",
        "images": "folder of the pictures, called by image_sha256, by their address's SHA-256 (as"
        " Ai2's download does) or by their names: sizes, which pixels need",
        "sizes": "CSV of image (image_sha256, address or name), width, height, in the place of it",
    },
    license="odc-by",
    citation="""@article{deitke2024molmo,
  title   = {Molmo and {PixMo}: Open Weights and Open Data for State-of-the-Art Multimodal Models},
  author  = {Deitke, Matt and Clark, Christopher and Lee, Sangho and others},
  journal = {arXiv preprint arXiv:2409.17146},
  year    = {2024}
}""",
    url="https://huggingface.co/datasets/allenai/pixmo-points",
    description="Points that people set on everything that a phrase names (PixMo-Points, 2.4"
    " million phrases), or that a detector and a filter gave (PixMo-Count). A view is a phrase.",
    limits=(
        ("No time", "Points are in order and have no time; the pointer between them is not"
         " recorded."),
        ("No annotator", "Who pointed is not told."),
        ("No points", "A phrase without points means that nothing of it is there; in validation and"
         " test of PixMo-Count it means that only the number is told."),
        ("Pictures", "Pictures are addresses, of which many are gone; compare image_sha256."),
    ),
)  # fmt: skip
"""Kind tracing: clicks on what was asked for."""
