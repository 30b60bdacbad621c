"""The columns of the paper's Table 1, one entry each: images, labels, metrics, source.

An entry is data and two functions: `parts` lists the images, `score` turns their predictions into
numbers. Protocols follow docs/definitions.md#imagenet-benchmarks; what is open there is logged in
both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from luab_train.data.inputs import Preparation, imagenet_classes
from luab_train.data.sources import subfolders
from luab_train.evaluate import datasets as where
from luab_train.evaluate import scoring
from luab_train.evaluate.backgrounds import MAPPING, foreground_parts
from luab_train.evaluate.layouts import Dataset, corruption_folders
from luab_train.evaluate.mappings import (
    in9_accepted,
    objectnet_accepted,
    si_score_accepted,
    timm_synsets,
)
from luab_train.evaluate.parts import Part, View, folder_part
from luab_train.evaluate.scores import SEVERITIES
from luab_train.evaluate.scoring import Score, Stored

Classes = tuple[str, ...]
"""wnids of the model in label order."""
Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Metric:
    """A number of a benchmark: its key, how it is called, and which way is better."""

    name: str
    title: str
    direction: Direction = "up"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One column.

    Args:
        name: on the command line, and of its folder of predictions.
        title: in tables, as the paper writes it.
        datasets: what it reads.
        parts: (folders of the datasets, classes of the model) -> parts, one at a time.
        score: stored predictions -> scores.
        metrics: the first is the paper's; the others are logged beside it.
        preparation, mapping: what is done to images, and how labels are found; for people.
        stored_as: folder of its predictions, where it shares them with another benchmark.
    """

    name: str
    title: str
    datasets: tuple[Dataset, ...]
    parts: Callable[[Sequence[Path], Classes], Iterable[Part]]
    score: Callable[[Stored], list[Score]]
    metrics: tuple[Metric, ...]
    preparation: str
    mapping: str
    stored_as: str = ""

    @property
    def folder(self) -> str:
        """Name of its folder of predictions."""
        return self.stored_as or self.name

    def metric(self, name: str) -> Metric:
        """The metric of that name; details such as one corruption are accuracies."""
        found = [metric for metric in self.metrics if metric.name == name]
        return found[0] if found else Metric(name, name)


def _wnids(
    name: str,
    num_published: int,
    *,
    mask: tuple[str, ...] | None = None,
    prepared: Preparation = "p0",
    views: dict[str, View] | None = None,
) -> Callable[[Sequence[Path], Classes], Iterator[Part]]:
    """Parts of a folder `<wnid>/*`, one a view."""

    def parts(roots: Sequence[Path], classes: Classes) -> Iterator[Part]:
        accepted = {wnid: (wnid,) for wnid in subfolders(roots[0])}
        for part, view in (views or {name: "plain"}).items():
            yield folder_part(
                part, roots[0], accepted, classes, mask=mask, prepared=prepared, view=view,
                num_published=num_published,
            )  # fmt: skip

    return parts


def _indices(roots: Sequence[Path], classes: Classes) -> Iterator[Part]:
    """ImageNet-V2: the folder's name is the class index; sorted as text it would be another."""
    wnids = imagenet_classes()
    label_of = {name: wnids[int(name)] for name in subfolders(roots[0])}
    accepted = {wnid: (wnid,) for wnid in label_of.values()}
    yield folder_part("in-v2", roots[0], accepted, classes, label_of=label_of, num_published=10_000)


def _corruptions(roots: Sequence[Path], classes: Classes) -> Iterator[Part]:
    for name, folder in corruption_folders(roots[0]).items():
        for severity in SEVERITIES:
            root = folder / str(severity)
            accepted = {wnid: (wnid,) for wnid in subfolders(root)}
            yield folder_part(
                f"{name}-{severity}", root, accepted, classes, prepared="stored",
                num_published=50_000,
            )  # fmt: skip


def _outliers(roots: Sequence[Path], classes: Classes) -> Iterator[Part]:
    """ImageNet-O and the validation images of the same wnids; logits are cut to these columns."""
    wnids = tuple(subfolders(roots[0]))
    accepted = {wnid: (wnid,) for wnid in wnids}
    yield folder_part("out", roots[0], accepted, classes, mask=wnids, num_published=2_000)
    label_of = {wnid: wnid for wnid in wnids}
    yield folder_part(
        "in", roots[1], accepted, classes, mask=wnids, label_of=label_of, num_published=10_000
    )


def _objectnet(roots: Sequence[Path], classes: Classes) -> Iterator[Part]:
    label_of, accepted = objectnet_accepted(roots[0] / "mappings")
    yield folder_part(
        "objectnet", roots[0] / "images", accepted, classes, label_of=label_of, prepared="framed",
        num_published=18_574,
    )  # fmt: skip


def _si_score(name: str, num_published: int) -> Callable[[Sequence[Path], Classes], Iterator[Part]]:
    def parts(roots: Sequence[Path], classes: Classes) -> Iterator[Part]:
        accepted = si_score_accepted(roots[0] / "foreground_classes.csv")
        yield folder_part(name, roots[0], accepted, classes, num_published=num_published)

    return parts


def _mixed(roots: Sequence[Path], classes: Classes) -> Iterator[Part]:
    for variant in ("mixed_same", "mixed_rand"):
        root = roots[0] / variant / "val"
        accepted = in9_accepted(roots[0] / MAPPING, subfolders(root))
        yield folder_part(variant, root, accepted, classes, prepared="stored", num_published=4_050)


_P0 = "shorter side 256, centre crop 224"
_SORTED = "folder is the wnid"
_TOP1 = Metric("accuracy", "top-1 accuracy")


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        name="in-1k",
        title="IN-1k",
        datasets=(where.IN_1K,),
        parts=_wnids("val", 50_000),
        score=scoring.top1,
        metrics=(_TOP1,),
        preparation=_P0,
        mapping=_SORTED,
    ),
    Benchmark(
        name="in-v2",
        title="IN-V2",
        datasets=(where.IN_V2,),
        parts=_indices,
        score=scoring.top1,
        metrics=(_TOP1,),
        preparation=_P0,
        mapping="folder is the class index",
    ),
    Benchmark(
        name="in-real",
        title="IN-Real",
        datasets=(where.IN_1K,),
        parts=_wnids("val", 50_000),
        score=scoring.real,
        metrics=(
            Metric("accuracy", "ReaL, of labelled images"),
            Metric("accuracy_all", "ReaL, of all images"),
        ),
        preparation=_P0,
        mapping="timm's ReaL labels by file name",
        stored_as="in-1k",
    ),
    Benchmark(
        name="in-a",
        title="IN-A",
        datasets=(where.IN_A,),
        parts=_wnids("in-a", 7_500, mask=timm_synsets("imagenet_a_synsets.txt")),
        score=scoring.top1,
        metrics=(_TOP1,),
        preparation=_P0,
        mapping="folder is the wnid; argmax among timm's 200",
    ),
    Benchmark(
        name="in-c",
        title="IN-C",
        datasets=(where.IN_C,),
        parts=_corruptions,
        score=scoring.corruptions,
        metrics=(
            Metric("accuracy_c15", "mean of 15 corruptions"),
            Metric("accuracy_c19", "mean of 19 corruptions"),
            Metric("mce", "mCE against AlexNet", "down"),
        ),
        preparation="as stored, 224",
        mapping=_SORTED,
    ),
    Benchmark(
        name="in-o",
        title="IN-O",
        datasets=(where.IN_O, where.IN_1K),
        parts=_outliers,
        score=scoring.outliers,
        metrics=(
            Metric("auroc", "AUROC"),
            Metric("aupr", "AUPR"),
            Metric("aupr_balanced", "AUPR, as many of both"),
        ),
        preparation=_P0,
        mapping="softmax over the wnids of its folders",
    ),
    Benchmark(
        name="sketch",
        title="Sketch",
        datasets=(where.SKETCH,),
        parts=_wnids("sketch", 50_889),
        score=scoring.top1,
        metrics=(_TOP1,),
        preparation=_P0,
        mapping=_SORTED,
    ),
    Benchmark(
        name="in-r",
        title="IN-R",
        datasets=(where.IN_R,),
        parts=_wnids("in-r", 30_000, mask=timm_synsets("imagenet_r_synsets.txt")),
        score=scoring.top1,
        metrics=(_TOP1,),
        preparation=_P0,
        mapping="folder is the wnid; argmax among timm's 200",
    ),
    Benchmark(
        name="cocc",
        title="Cocc",
        datasets=(where.IN_1K,),
        parts=_wnids("cocc", 50_000, views={"after": "hole-after", "before": "hole-before"}),
        score=scoring.occluded,
        metrics=(
            Metric("accuracy", "hole after normalisation"),
            Metric("accuracy_before", "hole before normalisation"),
        ),
        preparation=f"{_P0}, middle 112 to 0",
        mapping=_SORTED,
    ),
    Benchmark(
        name="objectnet",
        title="ObjNet",
        datasets=(where.OBJECTNET,),
        parts=_objectnet,
        score=scoring.objectnet,
        metrics=(
            Metric("accuracy", "any of the class's wnids"),
            Metric("accuracy_first", "its first wnid only"),
        ),
        preparation=f"EXIF followed, 2 px of frame off, {_P0}",
        mapping="the archive's four files; 113 classes, argmax over all",
    ),
    *(
        Benchmark(
            name=f"si-{short}",
            title=f"SI-{short}",
            datasets=(dataset,),
            parts=_si_score(f"si-{short}", num_published),
            score=scoring.top1,
            metrics=(_TOP1,),
            preparation=_P0,
            mapping="the set's foreground_classes.csv",
        )
        for short, dataset, num_published in zip(
            ("size", "loc", "rot"), where.SI_SCORE, (92_884, 541_548, 39_540), strict=True
        )
    ),
    Benchmark(
        name="bgc-gap",
        title="BGC-gap",
        datasets=(where.BG_MIXED,),
        parts=_mixed,
        score=scoring.background_gap,
        metrics=(
            Metric("gap", "mixed-same minus mixed-rand", "down"),
            Metric("accuracy_mixed_same", "mixed-same"),
            Metric("accuracy_mixed_rand", "mixed-rand"),
        ),
        preparation="as stored, 224",
        mapping="in_to_in9.json after the argmax",
    ),
    Benchmark(
        name="bgc-acc",
        title="BGC-acc",
        datasets=(where.BG_CHALLENGE,),
        parts=lambda roots, classes: foreground_parts(roots[0], classes),
        score=scoring.robust_foregrounds,
        metrics=(Metric("accuracy", "right on every background"),),
        preparation="pasted in [0, 1], as stored, 224",
        mapping="in_to_in9.json after the argmax",
    ),
)
"""In the order of the paper's Table 1."""

BY_NAME = {benchmark.name: benchmark for benchmark in BENCHMARKS}
