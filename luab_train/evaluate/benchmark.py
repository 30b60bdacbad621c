"""What a benchmark is: data, the images it asks for, and metrics. Entries are in `benchmarks`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from luab_train.data.folders import subfolders
from luab_train.evaluate.classes import Accepted
from luab_train.evaluate.layouts import Dataset
from luab_train.evaluate.parts import Part, View, folder_part
from luab_train.metrics.intervals import Estimate
from luab_train.metrics.sums import Metric

if TYPE_CHECKING:
    from luab_train.data.inputs import Preparation
    from luab_train.evaluate.predictor import Predictor
    from luab_train.evaluate.settings import Settings

Classes = tuple[str, ...]
"""wnids of the model in label order."""
Roots = Sequence[Path]
"""Folders of a benchmark's datasets."""


class Result(NamedTuple):
    """What came of a benchmark.

    Args:
        estimates: metric -> its number, in the metric's unit.
        notes: metric -> what must be known of it.
        counts: images that were left out, skipped, turned, ...
        partial: metric -> which part of the published set it is of; absent if of all of it.
        status: metric -> its status where that is not `done` or `incomplete`.
        unwritten: why something could not be written, empty if everything was.
    """

    estimates: Mapping[str, Estimate]
    notes: Mapping[str, str]
    counts: Mapping[str, int]
    partial: Mapping[str, str] = {}
    status: Mapping[str, str] = {}
    unwritten: str = ""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One column of a table.

    Args:
        name: on the command line, and of its folder of predictions.
        title: in tables, as the paper writes it.
        datasets: what it reads.
        metrics: the first is the paper's; the others are logged beside it.
        parts: (folders of the datasets, classes of the model) -> parts, one at a time.
        evaluate: instead of `parts`, for what is no classification.
        preparation, mapping: what is done to images, and how labels are found; for people.
        stored_as: folder of its predictions, where it shares them with another benchmark.
        classes: whose classes a model must have.
        in_all: whether `all` means it, too: the columns of Table 1 are.
        needs: what else it needs and lacks here, as a sentence; None if nothing.
        quoted: metric -> network and arm, e.g. `R50 click` -> what the paper prints.
    """

    name: str
    title: str
    datasets: tuple[Dataset, ...]
    metrics: tuple[Metric, ...]
    parts: Callable[[Roots, Classes], Iterable[Part]] = lambda _roots, _classes: ()
    evaluate: Callable[[Predictor, Roots, Path, Settings], Result] | None = None
    preparation: str
    mapping: str
    stored_as: str = ""
    classes: Literal["ImageNet", "COCO"] = "ImageNet"
    in_all: bool = True
    needs: Callable[[], str | None] = lambda: None
    quoted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of its folder of predictions."""
        return self.stored_as or self.name

    def factor(self, name: str) -> float:
        """From fractions, or scores, to the metric's unit."""
        found = self.metric(name)
        return 100.0 if found is None else found.scale

    def metric(self, name: str) -> Metric | None:
        """The metric of that name."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def wnid_parts(
    name: str,
    num_published: int,
    *,
    mask: Callable[[], tuple[str, ...]] = lambda: (),
    prepared: Preparation = "p0",
    views: Mapping[str, View] | None = None,
) -> Callable[[Roots, Classes], Iterator[Part]]:
    """Parts of a folder `<wnid>/*`, one a view, of that many images as published."""

    def parts(roots: Roots, classes: Classes) -> Iterator[Part]:
        accepted: Accepted = {wnid: (wnid,) for wnid in subfolders(roots[0])}
        for part, view in (views or {name: "plain"}).items():
            yield folder_part(
                part, roots[0], accepted, classes, mask=mask() or None, prepared=prepared,
                view=view, num_published=num_published,
            )  # fmt: skip

    return parts


def one_accuracy(title: str = "top-1 accuracy", **changes: Any) -> Metric:
    """Accuracy over the images of all parts."""
    from luab_train.evaluate.measures import correct

    return Metric(**{"name": "accuracy", "title": title, "measure": correct, **changes})


def nothing(benchmark: Benchmark, note: str, status: str) -> Result:
    """No number, and why."""
    name = benchmark.metrics[0].name
    return Result({name: Estimate(math.nan)}, {name: note}, {}, status={name: status})
