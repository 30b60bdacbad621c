"""Names of ImageNet's 1,000 classes, in words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files


@cache
def imagenet_names() -> Mapping[str, str]:
    """Wnid -> WordNet's lemmas of it, joined by commas, in the order of the labels of ImageNet-1k.

    Source: imagenet_classes.txt, whose head says where it is from.
    """
    text = files("luab_data").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    lines = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return dict(lines)


def with_name(wnid: str) -> str:
    """`n01440764 (tench)`: a class with the first word for it; other classes as they are."""
    names = imagenet_names()
    return f"{wnid} ({names[wnid].partition(',')[0]})" if wnid in names else wnid
