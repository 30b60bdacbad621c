"""The page: one template, one style and one script, all inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from luab_data.reports.drawn import Drawn
from luab_data.reports.figures import Picture
from luab_data.reports.tables import Group
from luab_data.reports.workers import WorkerTable
from luab_data.words import MISSING, count

GENERATOR = "luab-data report"
"""Start of the page's generator, by which a report is known as ours."""

_TITLES = {"imagenet-ab": "ImageNet-AB", "coco-ab": "COCO-AB"}

_COUNTS = {
    "num_images": "images",
    "num_rounds": "pictures shown",
    "num_with_interaction": "images with interaction",
    "num_with_boxes": "images with boxes",
    "num_selected": "images selected",
    "num_selected_round1": "selected in round 1",
    "num_evaluated": "clicks judged by boxes",
    "num_workers": "annotators",
    "num_trace_points": "trace records",
    "num_records": "images",
    "num_placed": "icons present at the end",
    "num_present": "class occurrences in the ground truth",
}

_LEADS = {
    "imagenet-ab": "What the tool logged of one page, at the place and time it happened. Of a"
    " page's pictures only those of the class asked for were logged, and no path over a picture"
    " while it was selected. Deselecting clicks are not logged; a later record proves one. While"
    " playing, pauses of more than 3 s are cut short.",
    "coco-ab": "What the tool logged of one image, at the place and time it happened. The pointer"
    " is not logged while an icon is dragged. Icons that were moved or removed later stay as faint"
    " rings. While playing, pauses of more than 3 s are cut short.",
}

_METHOD = (
    "Definitions are those of the paper and of the tools' logs; where they differ, the dataset's"
    " card says which was taken.",
    "Intervals are 95 %, from a bootstrap that draws whole annotators with replacement (1,000"
    " times, seeded), because clicks of one annotator are not independent; they are widened for few"
    " annotators (Hesterberg 2015, 5.2). With fewer than two annotators there is none.",
    "n is what a value is taken over: clicks, images, pages, icons, as its description says.",
    "The null is what the value would be without the effect, e.g. for the same points dealt to the"
    " images at random. Most statistics have none.",
    "“–” means that there is no such number: nothing was seen, or no such model exists. It is never"
    " a zero.",
    "Annotator ids are keyed hashes; the same annotator has the same hash everywhere in the"
    " dataset.",
    "Positions in replays are the logged fractions of a picture times its logged size; where the"
    " log's width is a copy of its height, the file's shape gives the width.",
)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What stands above the page; `counts` as luab_data.stats names them,
    None where unknown.
    """

    dataset: str
    version: str
    digest: str
    source: str
    counts: Mapping[str, int | None]

    @property
    def title(self) -> str:
        """The dataset as people write it."""
        return _TITLES.get(self.dataset, self.dataset)

    @property
    def cards(self) -> list[dict[str, str]]:
        """Title and value of each count."""
        return [
            {
                "title": _COUNTS.get(name, name.removeprefix("num_").replace("_", " ")),
                "value": MISSING if number is None else count(number),
            }
            for name, number in self.counts.items()
        ]


def page_html(
    *,
    header: Header,
    groups: Sequence[Group],
    figures: Sequence[Picture],
    annotators: WorkerTable | None,
    replays: Sequence[Drawn],
) -> str:
    """The whole page; everything that came from the data is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def words(text: str) -> Markup:
        """Text in which `names` are set as code."""
        parts = [Markup("<code>{}</code>" if k % 2 else "{}").format(p)
                 for k, p in enumerate(text.split("`"))]  # fmt: skip
        return Markup("").join(parts)

    here = files("luab_data.reports")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["words"] = words
    own: dict[str, Any] = {
        name: Markup((here / file).read_text(encoding="utf-8"))
        for name, file in (("style", "style.css"), ("script", "replay.js"))
    }
    plain = [{**vars(replay), "json": Markup(replay.json)} for replay in replays]
    template = environment.from_string((here / "template.html").read_text(encoding="utf-8"))
    return template.render(
        **own,
        generator=f"{GENERATOR} {version('luab')}",
        dataset=header.dataset,
        header=header,
        groups=groups,
        figures=figures,
        annotators=annotators,
        replays=plain,
        replays_lead=_LEADS[header.dataset],
        method=_METHOD,
    )
