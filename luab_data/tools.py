"""What annotation tools show: the numbers of the release's two pages, and the classes to choose of.

Whatever simulates, draws, counts or judges a page takes them from here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from unicodedata import normalize

from luab_data.errors import OptionError

SLOTS, GRID_COLUMNS = 48, 3
"""Pictures on a page of the browsing tool, and how many of them stand in a row."""

CELL_WIDTH, CELL_HEIGHT = 324, 340
"""The largest picture on that page, px: a column of 340 px less margin and border; heights are
capped."""

BROWSING_PAGES, TAGGING_PAGES = 10, 20
"""Pages of a HIT, 48 pictures or one picture each."""

BOARD_HEIGHT = 450
"""Height of every picture on the page of the tagging tool, px."""

MAX_BOARD_WIDTH = 880
"""A picture that would be wider there is squeezed to this width, not scaled, px."""

BORDER_PX = 2
"""Border of that picture: inside the area that hears the mouse, outside of the fractions."""

COCO_SUPERCLASSES: dict[str, tuple[str, ...]] = {
    "PersonAccessory": ("person", "backpack", "umbrella", "handbag", "tie", "suitcase"),
    "Animal": (
        *("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    ),
    "Vehicle": (*("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),),
    "OutdoorObj": ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    "Sports": (
        *("frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat"),
        *("baseball glove", "skateboard", "surfboard", "tennis racket"),
    ),
    "Kitchenware": ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    "Food": (
        *("banana", "apple", "sandwich", "orange", "broccoli", "carrot"),
        *("hot dog", "pizza", "donut", "cake"),
    ),
    "Furniture": ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    "Appliance": ("microwave", "oven", "toaster", "sink", "refrigerator"),
    "Electronics": ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    "IndoorObjects": (
        *("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
    ),
}
"""The 11 superclasses of the COCO annotation tool with their icons, in the order it shows them."""

COCO_CATEGORIES: dict[int, str] = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign",
    14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep",
    21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 27: "backpack",
    28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove",
    41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass",
    47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza",
    60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote",
    76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink",
    82: "refrigerator", 84: "book", 85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear",
    89: "hair drier", 90: "toothbrush",
}  # fmt: skip
"""COCO's category ids, 1..90 with gaps, and names; a contiguous label is a position in here."""

COCO_CLASSES = tuple(COCO_CATEGORIES.values())
"""The 80 names by contiguous label 0..79."""


@dataclass(frozen=True)
class Vocabulary:
    """The classes of a tagging log, and the groups that a page shows them in.

    Names are NFC-normalised: the same word typed on another machine is the same class.

    Args:
        names: by contiguous label; of any script.
        superclasses: group -> its classes, both in the order of the page; every class is in one.
            None at all: the page shows all classes together.
        ids: of each class in COCO's files; none: 1, 2, ... by label.

    Raises:
        OptionError: a name that is blank or there twice, a class in no group or in two.
    """

    names: tuple[str, ...]
    superclasses: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        names = tuple(normalize("NFC", name) for name in self.names)
        groups = {
            normalize("NFC", group): tuple(normalize("NFC", name) for name in members)
            for group, members in self.superclasses.items()
        }
        grouped = Counter(name for members in groups.values() for name in members)
        for name, times in Counter(names).items():
            if not name.strip() or times > 1:
                found = "a blank name" if not name.strip() else f"{name!r:.60} {times} times"
                raise OptionError(f"classes: found {found}; expected each class once, by its name")
            if groups and grouped[name] != 1:
                raise OptionError(
                    f"superclasses: {name!r:.60} is in {grouped[name]} of them; expected every"
                    " class in one, or no superclasses at all"
                )
        if strangers := [*grouped.keys() - {*names}]:
            raise OptionError(
                f"superclasses: {min(strangers)!r:.60} is none of the {len(names)} classes; add it"
                " to the classes, or leave it out"
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "superclasses", groups)
        object.__setattr__(self, "ids", self.ids or tuple(range(1, len(names) + 1)))

    def __str__(self) -> str:
        owner = "COCO's" if self.names == COCO_CLASSES else "the"
        return f"{owner} {len(self.names)} classes"

    @cached_property
    def _groups(self) -> dict[str, str]:
        return {name: group for group, names in self.superclasses.items() for name in names}

    def group_of(self, name: str) -> str:
        """The superclass of a class; empty where there are none."""
        return self._groups.get(name, "")


COCO = Vocabulary(COCO_CLASSES, COCO_SUPERCLASSES, tuple(COCO_CATEGORIES))
"""Of COCO-AB."""
