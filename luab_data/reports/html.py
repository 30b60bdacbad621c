"""The page: one template, its styles and one script, all inside."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from luab_data.errors import ImagesError
from luab_data.figures.style import png, svg
from luab_data.join import match_files
from luab_data.reports.pages import ICON_EVENTS, Page, visits_of
from luab_data.reports.svg import for_player, path_of
from luab_data.reports.svg import svg as page_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SVG_BYTES = 150_000
"""Larger drawings (maps of many cells) are embedded as PNG, twice as dense as a screen."""
LONGEST_SIDE = 340
"""px of a picture; the tools show one no larger than about this."""
MOST_VISIBLE_RATIO = 1.2
"""Pages taller than this many widths are shown in a window that scrolls, beside a map."""

_PX_PER_INCH = 96

_METHOD = (
    "Definitions are those of the paper and of the tools' logs; where they differ, the dataset's"
    " card says which was taken.",
    "Intervals are 95 %, from a bootstrap that draws whole annotators with replacement (1,000"
    " times, seeded), because clicks of one annotator are not independent; they are widened for few"
    " annotators (Hesterberg 2015, 5.2). With fewer than two annotators there is none.",
    "n is what a value is divided by: clicks, images, pages, icons, as its description says. Of a"
    " curve it is the least and the largest of its values.",
    "The null is what the value would be without the effect, e.g. for the same points dealt to the"
    " images at random. Most statistics have none.",
    "“–” means that there is no such number: nothing was seen, or no such model exists. It is never"
    " a zero.",
    "Annotator ids are keyed hashes; the same annotator has the same hash everywhere in the"
    " dataset.",
)


def page_html(shown: Mapping[str, Any]) -> str:
    """The whole page; everything that came from the data is escaped.

    Args:
        shown: what template.html shows: `title` of the dataset, as people write it; `manifest`;
            `cards`, value and title of each count; `reader` of its kind; `findings` and `groups`
            of tables; `lacking`, titles of statistics that the log has nothing for; `figures` of
            `embed`; `annotators` of worker_table, or None; `replays` of `player`.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def with_code(text: str) -> Markup:
        """Text in which what stands between backticks is set as code."""
        pieces = text.split("`")
        return Markup("").join(
            Markup("<code>{}</code>" if k % 2 else "{}").format(piece)
            for k, piece in enumerate(pieces)
        )

    here = files("luab_data.reports")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["with_code"] = with_code
    own = {name: (here / name).read_text(encoding="utf-8")
           for name in ("style.css", "replay.css", "replay.js", "template.html")}  # fmt: skip
    return environment.from_string(own["template.html"]).render(
        style=Markup(own["style.css"] + own["replay.css"]),
        script=Markup(own["replay.js"]),
        generator=f"luab-data report {version('luab')}",
        method=(*_METHOD, shown["reader"].positions),
        **shown,
    )


def player(page: Page, why: str, sources: Mapping[str, str], number: int) -> dict[str, Any]:
    """What the template needs of one page.

    Args:
        why: it is shown.
        sources: image_id -> data URI of its picture; others are drawn as boxes with the id.
        number: of the player on the page.
    """
    replay = page.replay
    marked = ("click", *ICON_EVENTS)
    ticks = [(e.time_ms, e.kind) for e in replay.events if e.kind in marked]
    return {
        "title": page.title, "why": why, "facts": page.facts, "grid": replay.is_grid,
        "view": [round(edge, 1) for edge in replay.view],
        "trail": path_of(replay.events).trail, "visits": visits_of(replay.events),
        "ticks": ticks, "duration": replay.duration_ms, "end": f"{replay.duration_ms / 1000:.2f} s",
        "scrolls": replay.view[3] > MOST_VISIBLE_RATIO * replay.view[2],
        "json": for_player(replay),
        "svg": page_svg(
            replay, alt=f"{page.title}: {', '.join(page.facts)}", sources=sources,
            name=f"replay-{number}-pictures",
        ),
    }  # fmt: skip


# --- pictures inside the page --------------------------------------------------------------------


def embed(key: str, title: str, caption: str, figure: Figure) -> dict[str, Any]:
    """A drawn figure, as SVG unless that is large: its words, data URI and size in CSS px."""
    width, height = (round(float(side) * _PX_PER_INCH) for side in figure.get_size_inches())
    drawing = svg(figure).encode()
    if len(drawing) <= MOST_SVG_BYTES:
        src = data_uri(drawing, "image/svg+xml")
    else:
        figure.set_dpi(2.5 * _PX_PER_INCH)
        src = data_uri(png(figure), "image/png")
    words = {"key": key, "title": title, "caption": caption}
    return {**words, "src": src, "width": width, "height": height}


def thumbnails(images: Path, folder: Path, image_ids: Iterable[str]) -> dict[str, str]:
    """image_id -> data URI of its picture, made small; ids without a file are left out.

    Args:
        images: image files at any depth, named by id as find_images has it.
        folder: the dataset.
        image_ids: those to show.

    Raises:
        ImagesError: no such folder, no image of this dataset in it, an id twice, or a file that is
            no picture.
    """
    found = match_files(folder, images).images  # a folder of other images is refused
    wanted = pa.array(sorted(set(image_ids)), pa.string()).cast(found.ids.type)
    kept = pc.is_in(found.ids, value_set=wanted)
    ids, paths = (column.filter(kept).to_pylist() for column in (found.ids, found.places))
    return {
        str(name): data_uri(small_jpeg(os.path.join(found.root or "", path)))
        for name, path in zip(ids, paths, strict=True)
    }


def small_jpeg(image: Any) -> bytes:
    """A picture as JPEG, no side longer than LONGEST_SIDE, turned as a browser turns it.

    Args:
        image: a path, or a PIL image.
    """
    from PIL import Image, ImageOps

    try:
        with image.copy() if isinstance(image, Image.Image) else Image.open(image) as file:
            shown: Any = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(
            f"{image}: cannot be read as a picture ({error}); mend or remove the file, or leave out"
            " --images"
        ) from error
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=80, optimize=True)
    return buffer.getvalue()


def data_uri(data: bytes, kind: str = "image/jpeg") -> str:
    """The bytes as a URI that a page can hold."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
