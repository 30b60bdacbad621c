"""ImageNet-X: what makes a validation image hard, by the package's own annotations.     [I/O]

Each image has the one factor that sets it apart most from the prototypes of its class; prototypes
are left out. Source: Idrissi et al., ImageNet-X, ICLR 2023, and `get_factor_accuracies` of its
package imagenet-x, which is read where it is installed and never imported: it asks for pandas.
"""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

import numpy as np

from luab_data.errors import ImagesError
from luab_train.data.classes import package_file
from luab_train.evaluate.benchmark import Benchmark, one_accuracy, wnid_parts
from luab_train.evaluate.benchmarks.imagenet import IN_1K, P0, SORTED
from luab_train.evaluate.measures import right
from luab_train.evaluate.predictions import Predicted
from luab_train.metrics.sums import Cell

FACTORS = (
    "pose", "background", "pattern", "color", "smaller", "shape", "partial_view", "subcategory",
    "texture", "larger", "darker", "object_blocking", "person_blocking", "style", "brighter",
    "multiple_objects",
)  # fmt: skip
EVERY = "every image"


def _annotations(name: str) -> str:
    file = package_file("imagenet_x", "annotations", name)
    if file is None:
        raise ImagesError(f"imagenet-x has no {name}; expected version 0.0.7: pip install it again")
    return file.read_text(encoding="utf-8")


@functools.cache
def factors_of() -> Mapping[str, frozenset[str]]:
    """File name -> its factors, of the annotated images that are no prototypes."""
    rows = csv.DictReader(_annotations("prototypical_paths.csv").splitlines())
    prototypes = {row["file_name"] for row in rows}
    lines = _annotations("imagenet_x_val_top_factor.jsonl").splitlines()
    found = (json.loads(line) for line in lines)
    return {
        row["file_name"]: frozenset(name for name in FACTORS if row[name] == 1)
        for row in found
        if row["file_name"] not in prototypes
    }


def by_factor(part: Predicted) -> Iterator[Cell]:
    """Right or wrong, of all annotated images and of those with each factor."""
    known = factors_of()
    factors = [known.get(PurePosixPath(name).name) for name in part.image_id.tolist()]
    value = right(part)
    for name in (EVERY, *FACTORS):
        chosen = np.array([f is not None and (name == EVERY or name in f) for f in factors], bool)
        yield Cell(name, part.image_id[chosen], value[chosen])


def worst_factor(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
    """(R,) the lowest accuracy over the factors that some image has, percent."""
    return np.asarray(100 * np.nanmin(np.where(n > 0, sums / np.maximum(n, 1), np.nan), axis=1))


def error_ratio(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
    """(R,) how many times more often than on every image the model is wrong with a factor."""
    with np.errstate(invalid="ignore", divide="ignore"):
        error = 1 - sums / n
        return np.asarray(error[:, 1] / error[:, 0])


def _needed() -> str | None:
    if package_file("imagenet_x", "annotations", "imagenet_x_val_top_factor.jsonl") is not None:
        return None
    return "its annotations are in the package imagenet-x (CC BY-NC 4.0): pip install imagenet-x"


IMAGENET_X = Benchmark(
    name="in-x",
    title="IN-X",
    datasets=(IN_1K,),
    parts=wnid_parts("val", 50_000),
    metrics=(
        one_accuracy("every annotated image", measure=by_factor, weights={EVERY: 1.0}),
        one_accuracy(
            "the worst of 16 factors", name="worst_factor", measure=by_factor,
            weights=dict.fromkeys(FACTORS, 1.0), finish=worst_factor,
        ),
        *(
            one_accuracy(name, name=name, measure=by_factor, weights={name: 1.0}, detail=True)
            for name in FACTORS
        ),
        *(
            one_accuracy(
                f"{name}, error ratio", name=f"{name}_error_ratio", measure=by_factor,
                direction="down", weights={EVERY: 1.0, name: 1.0}, finish=error_ratio,
                unit="times", detail=True,
            )
            for name in FACTORS
        ),
    ),
    preparation=P0,
    mapping=SORTED,
    stored_as="in-1k",
    in_all=False,
    needs=_needed,
)  # fmt: skip
