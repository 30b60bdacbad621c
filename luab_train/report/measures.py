"""What a run is judged by, and what its arm is called: per dataset, for tables, figures and words.

ImageNet-AB has one label an image and boxes to point at, COCO-AB several labels and no place on its
validation images. Keys are those of a line of metrics.jsonl without `val_`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from luab_train.recipe import Recipe

ARM_WORDS: Mapping[str, str] = {
    "none": "labels alone",
    "random": "a random point, drawn once",
    "centre": "the image's centre",
    "shuffled": "the click of another image of the class",
    "click": "where annotators clicked last",
    "first_click": "where annotators clicked first",
    "hull_centre": "the middle of where the cursor was just before the click",
    "calibrated": "the click without the crowd's bias",
    "oracle": "the centre of the box nearest to the click",
    "trace": "the cursor's path to the click, as a map",
    "dwell_time": "time over the image, which is no place",
}
"""Target -> what a run learns beside the labels."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One column of a table.

    Args:
        key: in metrics.jsonl; a fraction, for `point_error` of the image's side.
        name: head of its column, where differences are listed.
        of: what it is counted over, a format of the counts, e.g. `n = {boxed}`; may be empty.
        is_of_place: it judges the point of the head, and says nothing where that learned no place.
        panel: title of its panel among the training curves; None has none.
    """

    key: str
    name: str
    of: str = ""
    is_of_place: bool = False
    panel: str | None = None


_MEASURES = {
    "imagenet-ab": (
        Measure(
            key="accuracy", name="accuracy", of="n = {num_images}", panel="validation accuracy, %"
        ),
        Measure(
            key="localisation", name="localisation", of="n = {boxed}", is_of_place=True,
            panel="validation localisation, %: all boxes",
        ),
        Measure(
            key="localisation_off_centre", name="off-centre", of="n = {off_centre}",
            is_of_place=True, panel="validation localisation, %: boxes off the centre",
        ),
        Measure(key="point_error", name="point error", is_of_place=True),
    ),
    "coco-ab": (
        Measure(
            key="map", name="mAP", of="n = {num_images}, {num_classes} classes",
            panel="validation mAP, %",
        ),
    ),
}  # fmt: skip

_COUNTS = {
    "imagenet-ab": ("num_images", "boxed", "off_centre"),
    "coco-ab": ("num_images", "num_classes"),
}

_PLACE = frozenset(
    measure.key for measures in _MEASURES.values() for measure in measures if measure.is_of_place
)


def measures_of(dataset: str) -> tuple[Measure, ...]:
    """The columns of a dataset's tables, in order."""
    return _MEASURES[dataset]


def keys_of(dataset: str) -> tuple[str, ...]:
    """What is compared between arms: the columns, and `label_loss` in nats."""
    return (*(measure.key for measure in _MEASURES[dataset]), "label_loss")


def counts_of(dataset: str) -> tuple[str, ...]:
    """Sizes of a test set, which are the same whatever the model says."""
    return _COUNTS[dataset]


def is_of_place(key: str) -> bool:
    """Whether a metric judges the point of the head."""
    return key in _PLACE


def learns_place(recipe: Recipe) -> bool:
    """Whether the point that a recipe's head answers was learned.

    Not without targets or weight, unless the labels train the map that the classifier looks
    through; and dwell time is no place.
    """
    if recipe.target == "dwell_time":
        return False
    is_trained = recipe.target != "none" and recipe.loss.lambda_reg > 0
    return is_trained or recipe.model.attentive_pooling
