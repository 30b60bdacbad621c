"""The layout of an ImageNet-AB record as the release has it, and which column a value is for."""

from __future__ import annotations

from typing import NamedTuple

from luab_data.raw.layout import Template


class Part(NamedTuple):
    """A template and the columns that its values are for, in its order."""

    template: Template
    columns: tuple[str, ...]


def _part(columns: str, text: str) -> Part:
    return Part(Template(text), tuple(columns.split()))


NAMES = (
    _part("wnid image_id", "  <folder>{}</folder>\n  <filename>{}</filename>\n"),
    _part("image_id wnid", "  <filename>{}</filename>\n  <folder>{}</folder>\n"),
)
SIZE = _part(
    "database width height depth segmented",
    """\
  <source>
    <database>{}</database>
  </source>
  <size>
    <width>{}</width>
    <height>{}</height>
    <depth>{}</depth>
  </size>
  <segmented>{}</segmented>
""",
)
BOX_EDGES = ("xmin", "ymin", "xmax", "ymax")
OBJECT = _part(
    "box_name box_pose box_truncated box_difficult xmin ymin xmax ymax",
    """\
  <object>
    <name>{}</name>
    <pose>{}</pose>
    <truncated>{}</truncated>
    <difficult>{}</difficult>
    <bndbox>
      <xmin>{}</xmin>
      <ymin>{}</ymin>
      <xmax>{}</xmax>
      <ymax>{}</ymax>
    </bndbox>
  </object>
""",
)
BLOCK_START = _part(
    "assignment_id estimate_time_ms hit_id hit_submit_time hovered_count",
    """\
  <metadata>
    <assignment_id>{}</assignment_id>
    <estimateTime>{}</estimateTime>
    <hit_id>{}</hit_id>
    <hit_submit_time>{}</hit_submit_time>
    <hoveredCount>{}</hoveredCount>
""",
)
HOVERED = _part(
    "hovered_record_action hovered_record_time_ms",
    """\
    <hoveredRecord>
      <action>{}</action>
      <time>{}</time>
    </hoveredRecord>
""",
)
PICTURE = _part(
    "image_height image_id_raw image_position_x image_position_y image_width image_idx"
    " imagenet_hit_id",
    """\
    <imageHeight>{}</imageHeight>
    <imageID>{}</imageID>
    <imagePosition>
      <x>{}</x>
      <y>{}</y>
    </imagePosition>
    <imageWidth>{}</imageWidth>
    <image_idx>{}</image_idx>
    <imagenet_hit_id>{}</imagenet_hit_id>
""",
)
TRACKING = _part(
    "mouse_tracking_time_ms mouse_tracking_x mouse_tracking_y",
    """\
    <mouseTracking>
      <time>{}</time>
      <x>{}</x>
      <y>{}</y>
    </mouseTracking>
""",
)
ANSWER = _part(
    "original_image_height original_image_width page_idx selected selected_count",
    """\
    <originalImageHeight>{}</originalImageHeight>
    <originalImageWidth>{}</originalImageWidth>
    <page_idx>{}</page_idx>
    <selected>{}</selected>
    <selectedCount>{}</selectedCount>
""",
)
SELECTED = _part(
    "selected_record_time_ms selected_record_x selected_record_y",
    """\
    <selectedRecord>
      <time>{}</time>
      <x>{}</x>
      <y>{}</y>
    </selectedRecord>
""",
)
BLOCK_END = _part("worker_id", "    <worker_id>{}</worker_id>\n  </metadata>\n")
