"""The paper's tables as lists of columns; ours have the same columns in the same order."""

from __future__ import annotations

from typing import NamedTuple

from luab_train.evaluate.benchmarks import BENCHMARKS
from luab_train.metrics.sums import Direction

ARROWS = {"up": "↑", "down": "↓"}


class Column(NamedTuple):
    """One column: whose metric it is, its head, and which way is better."""

    benchmark: str
    metric: str
    title: str
    direction: Direction = "up"

    @property
    def key(self) -> tuple[str, str]:
        """Of the row of results."""
        return self.benchmark, self.metric

    @property
    def head(self) -> str:
        """Title with its arrow."""
        return f"{self.title} {ARROWS[self.direction]}"

    def is_better(self, difference: float) -> bool:
        """Whether a model that is so much higher is better."""
        return difference > 0 if self.direction == "up" else difference < 0


class Layout(NamedTuple):
    """One table.

    Args:
        key: of files and labels.
        title, caption: of the table; what the columns are.
        columns: left to right.
    """

    key: str
    title: str
    caption: str
    columns: tuple[Column, ...]


ROBUSTNESS = Layout(
    "robustness",
    "Classification and robustness",
    "The paper's Table 1, percent; IN-O is an AUROC, BGC-gap a difference in points.",
    tuple(
        Column(b.name, b.metrics[0].name, b.title, b.metrics[0].direction) for b in BENCHMARKS
    ),
)  # fmt: skip
WSOL = Layout(
    "wsol",
    "Weakly supervised localisation",
    "The paper's Tables 4 and 5, percent: top-1 localisation at the best threshold on the split"
    " itself, and mPxAP on COCO. Beside them the same at a fixed threshold, and the family of"
    " metrics that is often taken for it.",
    (
        Column("wsol", "top1_loc", "Top-1 loc"),
        Column("wsol", "top1_loc_fixed", "at τ = 0.2"),
        Column("wsol", "max_box_acc", "MaxBoxAcc"),
        Column("wsol", "max_box_acc_v2", "MaxBoxAccV2"),
        Column("coco", "mpxap", "COCO mPxAP"),
    ),
)
COCO = Layout(
    "coco",
    "COCO: accuracy and reliance on context",
    "The paper's Tables 6 and 7, percent. V is how often a class is rated higher without itself"
    " than without another class of the image: the worst one, or a random one. D is the mean"
    " difference of these scores, in logits.",
    (
        Column("coco", "map", "mAP"),
        Column("coco", "v_worst", "V worst", "down"),
        Column("coco", "v_random", "V random", "down"),
        Column("coco", "difference", "D", "down"),
    ),
)
LOCALISATION = Layout(
    "localisation",
    "Where the model says the object is",
    "Percent. The paper draws these without numbers. The image's centre is what a model that"
    " learnt nothing about places would answer.",
    (
        Column("wsol", "point_in_box", "IN-1k: point in a box"),
        Column("wsol", "peak_in_box", "CAM peak in a box"),
        Column("wsol", "centre_in_box", "centre in a box"),
        Column("coco", "on_mask", "COCO: point on the mask"),
        Column("coco", "centre", "centre on the mask"),
    ),
)
LAYOUTS = (ROBUSTNESS, WSOL, COCO, LOCALISATION)
