"""[I/O] A dataset folder -> one HTML page that holds all it needs."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.console import install_command, progress
from luab_data.errors import LuabError
from luab_data.figures.scatter import overview
from luab_data.files import new_folder
from luab_data.kinds import Kind, kind_of
from luab_data.ragged import Ints
from luab_data.reports.html import embed, page_html, player, thumbnails
from luab_data.reports.pages import Key, PageReader
from luab_data.reports.svg import svg
from luab_data.reports.tables import flagged_workers, groups, quotes, worker_table
from luab_data.statistics.dataset import Stats, stats
from luab_data.store.folder import read_columns, read_manifest
from luab_data.store.load import find_dataset
from luab_data.words import count
from luab_data.workers.annotators import Annotators, annotators

PAGES = 4
"""Pages that are shown if nobody says which or how many."""

PAGE_NAME = "index.html"

_NEEDED = {"matplotlib": "figures", "jinja2": "the page", "PIL": "pictures"}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What was written.

    Attributes:
        page: the file. num_bytes: its size.
        num_replays: pages that it replays. num_without_picture: pictures on them without a file.
        same: whether this very report was there already, so nothing was done; the numbers are None.
    """

    page: Path
    num_bytes: int
    num_replays: int | None = None
    num_without_picture: int | None = None
    same: bool = False


def report(
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    page: str | int | Sequence[str | int] = (),
    pages: int | None = None,
    force: bool = False,
    shown: bool | None = None,
) -> Reported:
    """Write OUT/index.html: findings, statistics, figures, annotators, replays of pages.

    Args:
        dataset: a dataset folder, or a name under $LUAB_DATA_HOME.
        out: folder to make. One that holds the report of the same arguments is left as it is.
        images: folder of its image files, at any depth; without it pictures are grey boxes.
        page: one or more to replay: ASSIGNMENT:PAGE, or the id or file name of an image.
        pages: how many others to choose; by default 4, or none if `page` names some.
        force: replace another report.
        shown: whether progress is shown; None: once it takes longer than a moment.

    Raises:
        LuabError: matplotlib, jinja2 or pillow is not installed.
        DatasetError: no dataset, or no such page or image. ImagesError: no such images, or none of
            this dataset. OutputError: `out` is not ours to replace or cannot be written; it is as
            it was then.
    """
    _check_installed()
    folder, target = find_dataset(dataset), Path(out)
    manifest = read_manifest(folder)
    kind = kind_of(manifest)
    pictures = None if images is None else Path(images)
    asked = [page] if isinstance(page, (str, int)) else page
    keys = [key for name in asked for key in kind.pages.named(folder, str(name))]
    named = dict.fromkeys(keys, "asked for")
    number = (0 if named else PAGES) if pages is None else pages
    settings = {
        "dataset": manifest["content_digest"], "luab": version("luab"),
        "pages": [[str(part) for part in key] for key in named], "others": number,
        "images": pictures and hashlib.sha256(os.fsencode(pictures.resolve())).hexdigest()[:16],
    }  # fmt: skip
    with new_folder(target, by="report", settings=settings, force=force) as making:
        if making.same:
            return Reported(page=target / PAGE_NAME, num_bytes=_size(target), same=True)
        bar = progress(what="report", total=5, unit="step", shown=shown)
        # Logs hold coordinates such as 1e308, which overflow in sums: such numbers then read so.
        with np.errstate(over="ignore", invalid="ignore"), bar as steps:
            workers = annotators(folder, shown=shown)
            steps.update()
            others: dict[Key, str] = {}
            if number:
                batches = read_columns(folder, kind.events, [*kind.pages.choice_columns])
                pages_there = candidates(kind.pages, batches)
                others = choose(kind.pages, pages_there, number, flagged=flagged_workers(workers))
            # Pages and pictures before statistics: a wrong one is told in seconds.
            chosen = {**named, **{key: why for key, why in others.items() if key not in named}}
            replays, num_without = _players(folder, kind, chosen, pictures)
            steps.update()
            found = stats(folder)
            estimates, lacking = found.estimates, found.lacking
            measures = [m for m in found.measures if m not in lacking]
            steps.update()
            figures = _figures(kind, found, workers)
            steps.update()
            html = page_html(
                {
                    "title": kind.title, "manifest": manifest, "cards": _cards(found),
                    "reader": kind.pages, "groups": groups(measures, estimates),
                    "lacking": ", ".join(m.title for m in lacking),
                    "findings": quotes(kind.pages.findings, measures, estimates),
                    "figures": figures,
                    "annotators": worker_table(workers) if workers.worker_id else None,
                    "replays": replays,
                }
            )  # fmt: skip
            (making.path / PAGE_NAME).write_text(html, encoding="utf-8")
            steps.update()
    return Reported(
        page=target / PAGE_NAME,
        num_bytes=_size(target),
        num_replays=len(replays),
        num_without_picture=num_without,
    )


def page_svg(
    dataset: str | os.PathLike[str],
    page: str | int,
    *,
    images: str | os.PathLike[str] | None = None,
) -> str:
    """One page as it was at its end, as an SVG file for a README, a paper or a browser.

    Args:
        dataset, images: as of `report`.
        page: ASSIGNMENT:PAGE, or the id or file name of an image: then the first page it was on.
    """
    folder = find_dataset(dataset)
    kind = kind_of(read_manifest(folder))
    (shown,) = kind.pages.read(folder, kind.pages.named(folder, str(page))[:1])
    sources = {}
    if images is not None:
        ids = {p.image_id for p in shown.replay.pictures}
        sources = thumbnails(Path(images), folder, ids)
    alt = f"{shown.title}: {', '.join(shown.facts)}"
    return svg(shown.replay, alt=alt, sources=sources, standalone=True)


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        lacks = ", ".join(f"{name.replace('PIL', 'pillow')} ({_NEEDED[name]})" for name in missing)
        raise LuabError(f"a report needs {lacks}, not installed here: {install_command('report')}")


def _size(target: Path) -> int:
    return (target / PAGE_NAME).stat().st_size


def _cards(found: Stats) -> list[tuple[str, str]]:
    """Value and title of each count; fractions have a row among the statistics.

    What a log has nothing of is told with the statistics that it lacks.
    """
    return [
        (count(number), found.kind.statistics.counts[name].title)
        for name, number in found.counts.items()
        if isinstance(number, int) and (number or not found.kind.statistics.may_lack)
    ]


def _figures(kind: Kind, found: Stats, workers: Annotators) -> list[dict[str, Any]]:
    numbers = {**found.estimates, "workers": overview(workers, kind.score)}
    return [
        embed(name, planned.title, planned.caption, planned.draw(numbers))
        for name, planned in kind.figures.items()
        if planned.is_drawable(numbers)
    ]


def _players(
    folder: Path, kind: Kind, chosen: Mapping[Key, str], images: Path | None
) -> tuple[list[dict[str, Any]], int]:
    """The pages as the template plays them, and how many of their pictures have no file."""
    pages = kind.pages.read(folder, [*chosen]) if chosen else []
    ids = {p.image_id for page in pages for p in page.replay.pictures}
    sources = {} if images is None else thumbnails(images, folder, ids)
    players = [
        player(page, why, sources, number)
        for number, (page, why) in enumerate(zip(pages, chosen.values(), strict=True), 1)
    ]
    return players, len(ids) - len(sources)


# --- which pages: a report made again shows the same ones ---------------------------------------


def candidates(reader: PageReader, events: Iterable[pa.Table]) -> pa.Table:
    """One row a page that can be shown, sorted by its key: see PageReader.facts_of.

    Args:
        events: batches with reader.choice_columns.
    """
    keys, sums = [*reader.key_columns, "worker_id"], ("size", "activity", "undone")
    found = [_summed(reader.facts_of(batch), keys, sums) for batch in events]
    if not found:
        return pa.table({name: pa.array([]) for name in (*keys, *sums)})
    pages = _summed(pa.concat_tables(found), keys, sums)
    pages = pages.filter(pc.greater(pages["size"], 0))
    return pages.sort_by([(name, "ascending") for name in keys])


def _summed(facts: pa.Table, keys: list[str], sums: Sequence[str]) -> pa.Table:
    found = facts.group_by(keys).aggregate([(name, "sum") for name in sums])
    return found.rename_columns([name.removesuffix("_sum") for name in found.column_names])


def choose(
    reader: PageReader, pages: pa.Table, number: int, *, flagged: Sequence[str] = ()
) -> dict[Key, str]:
    """The pages to show if nobody asks for others, each with a few words that say why.

    The largest, the median one, the one with most taken back and the largest of a flagged
    annotator; then more at even steps of size down to the smallest. None is shown twice; ties go to
    the busier page, then to the first by key.

    Args:
        pages: of `candidates`.
        number: at most so many.
        flagged: worker ids that stood out, the worst first.
    """
    if not len(pages) or number < 1:
        return {}
    size, activity, undone = (
        pages[name].to_numpy().astype(np.int64) for name in ("size", "activity", "undone")
    )
    by_size, by_undone = (
        np.lexsort((np.arange(len(pages)), -activity, -values)) for values in (size, undone)
    )
    most, median, taken_back = reader.why
    reasons = {int(by_size[0]): [most]}
    reasons.setdefault(int(by_size[len(by_size) // 2]), []).append(median)
    if undone[by_undone[0]] > 0:
        reasons.setdefault(int(by_undone[0]), []).append(taken_back)
    suspicious = _of_flagged(pages, by_size, flagged)
    if suspicious is not None:
        reasons.setdefault(suspicious, []).append("by a flagged annotator")
    for step in np.linspace(0, len(pages) - 1, number + 2).astype(int)[1:]:
        reasons.setdefault(int(by_size[step]), ["one more"])
    return {
        tuple(pages[n][row].as_py() for n in reader.key_columns): ", ".join(why)
        for row, why in [*reasons.items()][:number]
    }


def _of_flagged(pages: pa.Table, by_size: Ints, flagged: Sequence[str]) -> int | None:
    """The largest page of the first flagged worker who has one."""
    workers = pages["worker_id"].take(pa.array(by_size))
    for worker in flagged:
        place = pc.index(workers, worker).as_py()
        if place >= 0:
            return int(by_size[place])
    return None
