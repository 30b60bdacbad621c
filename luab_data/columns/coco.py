"""`default` of a tagging log, from its `actions` and the instances of the images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from luab_data.columns.ground_truth import Truth
from luab_data.columns.icons import final_action, group_icons
from luab_data.columns.registry import Registry
from luab_data.errors import OptionError
from luab_data.ragged import Ints, one_array

HISTORY = tuple(f"action_histories_{name}" for name in ("action_type", "icon_type", "point_to_x",
                                                        "point_to_y"))  # fmt: skip
"""Columns of `actions` that group_icons takes, in its order."""


@dataclass(frozen=True)
class Tagged:
    """How the rows of `default` follow from those of `actions`.

    Args:
        registry: the derived columns.
        classes: their names by label.
        deciding: which view of an image `default` is about where several annotators saw it: the
            `last`, or by `majority` the one whose classes agree most with those of the others.

    Raises:
        OptionError: no such rule.
    """

    registry: Registry
    classes: tuple[str, ...]
    deciding: str = "last"

    def __post_init__(self) -> None:
        if self.deciding not in ("last", "majority"):
            raise OptionError(
                f"deciding is {self.deciding!r}; of tagging data expected last or majority"
            )

    def decide(self, actions: pa.Table, bounds: Ints) -> Ints:
        """(num_images,) the deciding row of `actions` of each image.

        Args:
            actions: (num_views,) with HISTORY, the views of an image side by side, in their order.
            bounds: (num_images + 1,) image i has the views bounds[i]:bounds[i + 1], one or more.
        """
        rows = bounds[1:] - 1
        several = np.flatnonzero(np.diff(bounds) > 2)  # of two, each agrees as much as the other
        if self.deciding == "last" or not len(several):
            return rows
        icons = group_icons(self.classes, *(actions[name] for name in HISTORY))
        there = final_action(icons) >= 0
        placed: list[set[int]] = [set() for _ in range(len(actions))]
        for row, label in zip(icons.image[there].tolist(), icons.label[there].tolist(),
                              strict=True):  # fmt: skip
            placed[row].add(label)
        for image in several.tolist():
            views = range(*bounds[image : image + 2].tolist())
            shared = {v: sum(_overlap(placed[v], placed[other]) for other in views) for v in views}
            rows[image] = max(views, key=lambda v: (round(shared[v], 9), v))
        return rows

    def sources(
        self, actions: pa.Table, bounds: Ints, truth: Truth | None, names: Iterable[str]
    ) -> Mapping[str, Any]:
        """What the registry wants to know for some columns of `default`.

        Args:
            actions: (num_views,) of the images; see decide.
            bounds: (num_images + 1,) which are of which image.
            truth: the instances file, or None when there is none.
            names: derived columns.
        """
        rows = actions
        if len(actions) != len(bounds) - 1:
            rows = actions.take(pa.array(self.decide(actions, bounds)))
        given = self.registry.logged(names, rows)
        return {**given, "truth": truth, "classes": self.classes, "bounds": bounds}

    def image_table(self, actions: pa.Table, bounds: Ints, truth: Truth | None) -> pa.Table:
        """The whole of `default`, (num_images,); arguments as of sources."""
        table, names = self.registry.table, self.registry.names(optional=False)
        given = self.sources(actions, bounds, truth, names)
        raw = {column.name: given[f"raw.{column.name}"] for column in table.columns if column.raw}
        return table.of({**raw, **self.registry.compute(names, given)})


def _overlap(one: set[int], other: set[int]) -> float:
    """Share of the classes of either that both have; 1 for none at all."""
    return len(one & other) / len(one | other) if one or other else 1.0


def views_of(images: pa.Table, actions: pa.Table) -> Ints:
    """(num_images + 1,) which rows of `actions` are of which image, from `image_id` of both.

    Raises:
        LookupError: the rows of an image do not stand side by side, in the order of the images.
    """
    ids = one_array(actions["image_id"])
    runs = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(runs, prepend=-1))
    if not ids.take(pa.array(starts)).equals(one_array(images["image_id"])):
        raise LookupError
    return np.append(starts, len(runs)).astype(np.int64)
