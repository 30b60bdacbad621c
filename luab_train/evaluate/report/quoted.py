"""What the paper prints, for rows marked as quoted and nothing else: never a value of ours.

Source: Han et al., "Neglected Free Lunch", ICCV 2023, arXiv 2303.17595, through
docs/definitions.md. The paper gives no seeds and no intervals. Numbers that are not in that page
are left out, and their cells stay empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Key = tuple[str, str]
"""Benchmark and metric."""


class Quoted(NamedTuple):
    """One row of a table of the paper.

    Args:
        table: key of our table, see `layout`.
        model: network, as the paper names it.
        arm: `none`, `random` or `click`, as our targets are called.
        numbers: column -> as printed, with what it says of its precision.
        where: anchor of docs/definitions.md.
    """

    table: str
    model: str
    arm: str
    numbers: Mapping[Key, str]
    where: str

    @property
    def name(self) -> str:
        """In tables, where it must never look like ours."""
        return f"paper (quoted): {self.model}, {_ARMS[self.arm]}"


_ARMS = {"none": "baseline", "random": "random points", "click": "LUAB"}

_TABLE_1 = (
    *(("in-1k", "accuracy"), ("in-v2", "accuracy"), ("in-real", "accuracy"), ("in-a", "accuracy")),
    *(("in-c", "accuracy_c15"), ("in-o", "auroc"), ("sketch", "accuracy"), ("in-r", "accuracy")),
    *(("cocc", "accuracy"), ("objectnet", "accuracy"), ("si-size", "accuracy")),
    *(("si-loc", "accuracy"), ("si-rot", "accuracy"), ("bgc-gap", "gap"), ("bgc-acc", "accuracy")),
)


def _table_1(text: str) -> dict[Key, str]:
    return dict(zip(_TABLE_1, text.split(), strict=True))


_RANDOM = {
    ("in-1k", "accuracy"): "77.3",
    ("objectnet", "accuracy"): "28.1",
    ("si-size", "accuracy"): "54.5",
    ("si-loc", "accuracy"): "31.5",
    ("si-rot", "accuracy"): "39.7",
    ("bgc-gap", "gap"): "5.9",
    ("bgc-acc", "accuracy"): "27.6",
}
_MAP, _RAND, _WORST = ("coco", "map"), ("coco", "v_random"), ("coco", "v_worst")


def _coco(model: str, maps: str, rand: str = "", worst: str = "") -> tuple[Quoted, ...]:
    """Rows of one network: baseline, random points, LUAB."""
    found: list[dict[Key, str]] = [{_MAP: value} for value in maps.split()]
    for key, texts in ((_RAND, rand), (_WORST, worst)):
        for numbers, value in zip(found, texts.split(), strict=False):
            numbers[key] = value
    return tuple(
        Quoted(
            "coco",
            model,
            arm,
            numbers,
            "reliance-on-context" if worst else "mean-average-precision",
        )
        for arm, numbers in zip(_ARMS, found, strict=True)
    )


QUOTED: Sequence[Quoted] = (
    Quoted(
        "robustness", "R50", "none",
        _table_1("77.4 65.2 83.5 5.5 43.8 56.7 25.4 37.8 53.7 27.8 53.9 31.9 40.1 6.3 26.7"),
        "imagenet-benchmarks",
    ),
    Quoted("robustness", "R50", "random", _RANDOM, "published-recipes"),
    Quoted(
        "robustness", "R50", "click",
        _table_1("77.5 65.2 83.8 5.1 44.7 57.0 25.7 38.2 55.1 28.5 55.6 33.5 40.9 5.6 27.4"),
        "imagenet-benchmarks",
    ),
    Quoted(
        "wsol", "R50", "none",
        {("wsol", "top1_loc"): "46.8", ("coco", "mpxap"): "20.8"}, "published-localisation",
    ),
    Quoted(
        "wsol", "R50", "click",
        {("wsol", "top1_loc"): "48.4", ("coco", "mpxap"): "21.5"}, "published-localisation",
    ),
    *_coco("R18", "67.9 67.8 68.0"),
    *_coco("R50", "73.0 73.6 74.2", "25.0 24.9 24.5", "47.6 47.3 47.0"),
    *_coco("R152", "73.3 74.6 75.4"),
    *_coco("ViT-Ti", "72.6 72.2 72.7"),
    *_coco("ViT-S", "76.2 76.9 77.3"),
    *_coco("ViT-B", "76.4 74.5 77.5"),
)  # fmt: skip
"""All rows that are quoted. That the paper's IN-C is C15, IN-O is AUROC and its localisation is
top-1 at its best threshold is inferred, see
docs/definitions.md#in-c, docs/definitions.md#in-o, docs/definitions.md#published-localisation."""
