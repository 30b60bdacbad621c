"""The text of one ImageNet-AB record, byte for byte as the release writes it.

2-space indent, no XML declaration; keys sorted inside `metadata`; a list is repeated siblings and
an empty one is one element with the text None. With boxes `folder` comes before `filename`,
without them after it (docs/formats.md#imagenet-ab-log).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from luab_data.boxes import LabelledImage
from luab_data.simulate.page import Picture


@dataclass(frozen=True, kw_only=True)
class Hit:
    """What every block of one answered HIT repeats; `submit_time` is epoch seconds."""

    assignment_id: str
    hit_id: str
    imagenet_hit_id: str
    submit_time: int
    worker_id: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One `metadata` element: an image shown in one round.

    Attributes:
        hit: the HIT it was shown in.
        page_idx: 0..9.
        image_idx: 0..47, slot on the page.
        position: (x, y) px on the page.
        picture: what the tool logged.
        is_loaded: False when the browser never had the image; its sizes and position are then 0.
    """

    hit: Hit
    page_idx: int
    image_idx: int
    position: tuple[int, int]
    picture: Picture
    is_loaded: bool = True


def annotation(image: LabelledImage, blocks: Sequence[Block], *, has_box_part: bool) -> str:
    """The whole file."""
    image_id, wnid = escape(image.image_id), escape(image.wnid)
    names = (f"  <folder>{wnid}</folder>\n", f"  <filename>{image_id}</filename>\n")
    head = "".join(names) + _box_part(image, wnid) if has_box_part else names[1] + names[0]
    metadata = "".join(_metadata(image, f"{wnid}/{image_id}", block) for block in blocks)
    return f"<annotation>\n{head}{metadata}</annotation>\n"


def _box_part(image: LabelledImage, wnid: str) -> str:
    """source, size, segmented and one object per box, as ILSVRC published them."""
    objects = "".join(
        f"""  <object>
    <name>{wnid}</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>0</difficult>
    <bndbox>
      <xmin>{_number(xmin)}</xmin>
      <ymin>{_number(ymin)}</ymin>
      <xmax>{_number(xmax)}</xmax>
      <ymax>{_number(ymax)}</ymax>
    </bndbox>
  </object>
"""
        for xmin, ymin, xmax, ymax in image.boxes.tolist()
    )
    return f"""  <source>
    <database>ILSVRC_2012</database>
  </source>
  <size>
    <width>{image.width}</width>
    <height>{image.height}</height>
    <depth>3</depth>
  </size>
  <segmented>0</segmented>
{objects}"""


def _metadata(image: LabelledImage, image_path: str, block: Block) -> str:
    hit, picture = block.hit, block.picture
    # The release writes the height twice: a picture of 324 x 243 has imageWidth 243.
    height = picture.height if block.is_loaded else 0
    width_height = (image.width, image.height) if block.is_loaded else (0, 0)
    x, y = block.position if block.is_loaded else (0, 0)
    return f"""  <metadata>
    <assignment_id>{hit.assignment_id}</assignment_id>
    <estimateTime>{picture.estimate_time}</estimateTime>
    <hit_id>{hit.hit_id}</hit_id>
    <hit_submit_time>{hit.submit_time}</hit_submit_time>
    <hoveredCount>{picture.hovered_count}</hoveredCount>
{_hovered(picture.hovered_record)}    <imageHeight>{height}</imageHeight>
    <imageID>{image_path}</imageID>
    <imagePosition>
      <x>{x}</x>
      <y>{y}</y>
    </imagePosition>
    <imageWidth>{height}</imageWidth>
    <image_idx>{block.image_idx}</image_idx>
    <imagenet_hit_id>{hit.imagenet_hit_id}</imagenet_hit_id>
{_points("mouseTracking", picture.mouse_tracking)}    <originalImageHeight>{width_height[1]}</originalImageHeight>
    <originalImageWidth>{width_height[0]}</originalImageWidth>
    <page_idx>{block.page_idx}</page_idx>
    <selected>{picture.selected}</selected>
    <selectedCount>{len(picture.selected_record)}</selectedCount>
{_points("selectedRecord", picture.selected_record)}    <worker_id>{hit.worker_id}</worker_id>
  </metadata>
"""  # noqa: E501


def _hovered(records: Iterable[tuple[str, int]]) -> str:
    text = "".join(
        f"    <hoveredRecord>\n      <action>{action}</action>\n"
        f"      <time>{time}</time>\n    </hoveredRecord>\n"
        for action, time in records
    )
    return text or "    <hoveredRecord>None</hoveredRecord>\n"


def _points(key: str, points: Iterable[tuple[int, float, float]]) -> str:
    text = "".join(
        f"    <{key}>\n      <time>{time}</time>\n"
        f"      <x>{x!r}</x>\n      <y>{y!r}</y>\n    </{key}>\n"
        for time, x, y in points
    )
    return text or f"    <{key}>None</{key}>\n"


def _number(value: float) -> str:
    """36.0 -> 36: published boxes are whole pixels, others keep their fraction."""
    return str(int(value)) if value.is_integer() else repr(value)
