"""[I/O] A dataset folder -> one HTML page that holds all it needs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.columns.regions import sort_corners
from luab_data.console import install_command
from luab_data.errors import DatasetError, LuabError, OutputError
from luab_data.exports.target import new_target
from luab_data.reports.drawn import Drawn, drawn
from luab_data.reports.figures import Picture, pictures
from luab_data.reports.html import GENERATOR, Header, page_html
from luab_data.reports.pages import PAGE_COLUMNS, Chosen, asked, choose, coco_pages, imagenet_pages
from luab_data.reports.replay import (
    COCO_COLUMNS,
    IMAGENET_COLUMNS,
    Replay,
    coco_replay,
    imagenet_replay,
)
from luab_data.reports.rows import rows_with
from luab_data.reports.tables import groups
from luab_data.reports.thumbnails import thumbnails
from luab_data.reports.workers import flagged_workers, overview, worker_table
from luab_data.schema import DATASETS, Table
from luab_data.statistics.dataset import measured, measures_of, sequences, stats
from luab_data.statistics.estimate import Estimate
from luab_data.store.folder import locked, read_columns, read_manifest
from luab_data.store.load import find_dataset
from luab_data.workers.dataset import Annotators, annotators

PAGES = 4
"""Pages that are shown if nobody says which or how many."""

PAGE_NAME = "index.html"

_NEEDED = {"matplotlib": "figures", "jinja2": "the page", "PIL": "pictures"}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What was written: the page, its size in bytes, pages it replays, pictures it lacks."""

    page: Path
    num_bytes: int
    num_replays: int
    num_without_picture: int


def report(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    page: Sequence[str] = (),
    pages: int | None = None,
) -> Reported:
    """Write OUT/index.html: statistics, figures, annotators, replays of pages.

    Args:
        dataset: a dataset folder, or a name under $LUAB_DATA_HOME.
        out: folder to make. One that holds nothing but an earlier report is written anew.
        images: folder of its image files, at any depth; without it pictures are grey boxes.
        page: pages to replay: ASSIGNMENT:PAGE, or an image id of COCO.
        pages: how many others to choose; by default 4, or none if `page` names some.

    Raises:
        LuabError: matplotlib, jinja2 or pillow is not installed.
        DatasetError: no dataset, or no such page. ImagesError: no such images. OptionError: a page
            is not named as expected. OutputError: `out` holds other things or cannot be written;
            it is as it was then.
    """
    _check_installed()
    folder, target = find_dataset(dataset), Path(out)
    manifest = read_manifest(folder)
    kind = manifest["dataset"]
    named = asked(page, kind)
    number = (0 if named else PAGES) if pages is None else pages
    with _page_file(target) as path:
        workers = annotators(folder)
        chosen = {c.key: c for c in _chosen(folder, kind, number, flagged_workers(workers))}
        shown = [*({c.key: c for c in named} | chosen).values()]
        # Pages and pictures before statistics: a wrong one is told in seconds.
        replays, without = _replays(folder, kind, shown, None if images is None else Path(images))
        counts, estimates = stats(folder).counts, measured(folder)
        html = page_html(
            header=_header(manifest, counts),
            groups=groups(measures_of(folder), estimates),
            figures=_figures(folder, kind, estimates, workers),
            annotators=worker_table(workers),
            replays=replays,
        )
        path.write_text(html, encoding="utf-8")
    return Reported(
        page=target / PAGE_NAME,
        num_bytes=len(html.encode()),
        num_replays=len(replays),
        num_without_picture=without,
    )


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        lacks = ", ".join(f"{name.replace('PIL', 'pillow')} ({_NEEDED[name]})" for name in missing)
        raise LuabError(f"a report needs {lacks}, not installed here: {install_command('report')}")


# --- where it goes -------------------------------------------------------------------------------


@contextmanager
def _page_file(out: Path) -> Iterator[Path]:
    """A file to write; the page is at its place when the block ends well, and not before."""
    out = Path(os.path.abspath(out))
    if not _is_report(out):
        with new_target(out) as partial:
            partial.mkdir()
            yield partial / PAGE_NAME
        return
    written = out / f".{PAGE_NAME}.partial"
    try:
        with locked(out):
            try:
                yield written
                written.replace(out / PAGE_NAME)
            finally:
                written.unlink(missing_ok=True)
    except LuabError:
        raise
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}). The report in it is as it was;"
            " make room or choose another --out"
        ) from error


def _is_report(out: Path) -> bool:
    """Whether a folder holds a report of ours and nothing else."""
    if not out.is_dir() or {entry.name for entry in out.iterdir()} != {PAGE_NAME}:
        return False
    with (out / PAGE_NAME).open("rb") as file:
        return f'<meta name="generator" content="{GENERATOR}'.encode() in file.read(4096)


# --- what is in it -------------------------------------------------------------------------------


def _header(manifest: Mapping[str, Any], counts: Mapping[str, Any]) -> Header:
    return Header(
        dataset=manifest["dataset"],
        version=manifest["version"],
        digest=manifest["content_digest"],
        source=manifest["source"]["name"],
        counts={k: v for k, v in counts.items() if v is None or isinstance(v, int)},
    )


def _figures(
    folder: Path, kind: str, estimates: Mapping[str, Estimate], workers: Annotators
) -> tuple[Picture, ...]:
    tables = {"workers": overview(workers)}
    if kind == "coco-ab" and len(found := sequences(folder)):
        tables["sequences"] = found
    return pictures(kind, estimates, tables)


def _table(kind: str, config: str) -> Table:
    return next(table for table in DATASETS[kind] if table.config == config)


def _chosen(folder: Path, kind: str, number: int, flagged: Sequence[str]) -> tuple[Chosen, ...]:
    if not number:
        return ()
    config = "rounds" if kind == "imagenet-ab" else "actions"
    batches = read_columns(folder, _table(kind, config), list(PAGE_COLUMNS[kind]))
    pages = imagenet_pages(batches) if kind == "imagenet-ab" else coco_pages(batches)
    return choose(pages, kind, number, flagged=flagged)


def _replays(
    folder: Path, kind: str, chosen: Sequence[Chosen], images: Path | None
) -> tuple[tuple[Drawn, ...], int]:
    """The pages, drawn, and how many of their pictures have no file."""
    read = _imagenet_pages if kind == "imagenet-ab" else _coco_pages
    found = read(folder, chosen) if chosen else []
    ids = {p.image_id for replay, _, _ in found for p in replay.pictures}
    id_type = pa.string() if kind == "imagenet-ab" else pa.int64()
    sources = {} if images is None else thumbnails(images, ids, id_type)
    return tuple(
        drawn(replay, title=title, why=c.why, sources=sources, extra=extra)
        for c, (replay, title, extra) in zip(chosen, found, strict=True)
    ), len(ids) - len(sources)


Page: TypeAlias = tuple[Replay, str, tuple[str, ...]]
"""A page, its title and more facts about it."""


def _imagenet_pages(folder: Path, chosen: Sequence[Chosen]) -> list[Page]:
    kind, wanted = "imagenet-ab", {assignment for assignment, _ in (c.key for c in chosen)}
    columns = [*IMAGENET_COLUMNS, "wnid", "worker_id", "page_idx"]
    rounds = rows_with(folder, _table(kind, "rounds"), columns, "assignment_id", wanted)
    boxes = _boxes(folder, set(rounds["image_id"].to_pylist()))
    found: list[Page] = []
    for assignment, page in (c.key for c in chosen):
        this = pc.and_(
            pc.equal(rounds["assignment_id"], assignment), pc.equal(rounds["page_idx"], page)
        )
        shown = rounds.filter(this)
        if not len(shown):
            raise DatasetError(
                f"{folder}: no page {assignment}:{page}; expected an assignment_id and a page_idx"
                " of its rounds"
            )
        wnids = sorted({str(name) for name in shown["wnid"].to_pylist()})
        worker = shown["worker_id"][0].as_py() or "unknown"
        extra = (f"class {', '.join(wnids)}", f"annotator {worker}")
        found.append((imagenet_replay(shown, boxes), f"Page {page} of {assignment}", extra))
    return found


def _boxes(
    folder: Path, image_ids: Collection[str]
) -> dict[str, tuple[tuple[float, float, float, float], ...]]:
    """image_id -> its boxes as fractions of the picture; images without a size are left out."""
    columns = ["width", "height", "boxes"]
    images = rows_with(folder, _table("imagenet-ab", "default"), columns, "image_id", image_ids)
    return {
        row["image_id"]: tuple(
            (x0 / row["width"], y0 / row["height"], x1 / row["width"], y1 / row["height"])
            for x0, y0, x1, y1 in sort_corners(np.reshape(row["boxes"] or (), (-1, 4))).tolist()
        )
        for row in images.to_pylist()
        if row["width"] and row["height"]
    }


def _coco_pages(folder: Path, chosen: Sequence[Chosen]) -> list[Page]:
    wanted = {c.key[0] for c in chosen}
    columns = [*COCO_COLUMNS, "worker_id", "time_spent_ms"]
    actions = rows_with(folder, _table("coco-ab", "actions"), columns, "image_id", wanted)
    images = rows_with(
        folder, _table("coco-ab", "default"), ["width", "height"], "image_id", wanted
    )
    sizes = {row["image_id"]: (row["width"], row["height"]) for row in images.to_pylist()}
    found: list[Page] = []
    for (image_id,) in (c.key for c in chosen):
        row = actions.filter(pc.equal(actions["image_id"], image_id))
        if not len(row):
            raise DatasetError(
                f"{folder}: no image {image_id}; expected an image_id of its actions"
            )
        spent, worker = row["time_spent_ms"][0].as_py(), row["worker_id"][0].as_py()
        extra = (
            *((f"{spent / 1000:.1f} s on the page",) if spent else ()),
            f"annotator {worker or 'unknown'}",
        )
        found.append((coco_replay(row, size=sizes.get(image_id)), f"Image {image_id}", extra))
    return found
