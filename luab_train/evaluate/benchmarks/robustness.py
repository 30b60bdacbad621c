"""Pictures that were corrupted, staged, or pasted on other backgrounds: one entry each.

Protocols follow docs/definitions.md#imagenet-benchmarks; what is open there is logged in both ways.
Licences and sizes are what the sources say as far as we remember; read the source before use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from luab_train.data.folders import subfolders
from luab_train.evaluate import measures
from luab_train.evaluate.benchmark import Benchmark, Classes, Roots, one_accuracy
from luab_train.evaluate.benchmarks.imagenet import P0, SORTED, r50
from luab_train.evaluate.classes import (
    IN9_FILE,
    IN9_ORIGIN,
    in9_accepted,
    objectnet_accepted,
    si_score_accepted,
)
from luab_train.evaluate.layouts import (
    Dataset,
    class_folders,
    corruption_folders,
    corruptions,
    superclass_folders,
)
from luab_train.evaluate.parts import Part, folder_part, foreground_parts
from luab_train.metrics.robustness import (
    C15,
    EXTRA,
    MCE_OFFSET,
    SEVERITIES,
    cells,
    mce_cells,
)
from luab_train.metrics.sums import Metric

_IN9 = "Xiao et al., Noise or signal, ICLR 2021"
_IN9_FOLDER = r"(^|/)(bg[-_]?challenge|backgrounds?[-_]challenge(_data)?|imagenet-?9)$"
AS_STORED = "as stored, 224"


def _corruptions(roots: Roots, classes: Classes) -> Iterator[Part]:
    for name, folder in corruption_folders(roots[0]).items():
        for severity in SEVERITIES:
            root = folder / str(severity)
            accepted = {wnid: (wnid,) for wnid in subfolders(root)}
            yield folder_part(
                f"{name}-{severity}", root, accepted, classes, prepared="stored",
                num_published=50_000,
            )  # fmt: skip


def _objectnet(roots: Roots, classes: Classes) -> Iterator[Part]:
    label_of, accepted = objectnet_accepted(roots[0] / "mappings")
    yield folder_part(
        "objectnet", roots[0] / "images", accepted, classes, label_of=label_of, prepared="framed",
        num_published=18_574,
    )  # fmt: skip


def _si_score(name: str, num_published: int) -> Callable[[Roots, Classes], Iterator[Part]]:
    def parts(roots: Roots, classes: Classes) -> Iterator[Part]:
        accepted = si_score_accepted(roots[0] / "foreground_classes.csv")
        yield folder_part(name, roots[0], accepted, classes, num_published=num_published)

    return parts


def _mixed(roots: Roots, classes: Classes) -> Iterator[Part]:
    for variant in ("mixed_same", "mixed_rand"):
        root = roots[0] / variant / "val"
        accepted = in9_accepted(roots[0] / IN9_FILE, subfolders(root))
        yield folder_part(variant, root, accepted, classes, prepared="stored", num_published=4_050)


def _of_cells(name: str, title: str, weights: dict[str, float], **changes: object) -> Metric:
    options: dict[str, object] = {"weights": weights, "per": float(len(weights)), **changes}
    return one_accuracy(title, name=name, **options)


IN_C = (
    _of_cells("accuracy_c15", "mean of 15 corruptions", cells(C15)),
    _of_cells("accuracy_c19", "mean of 19 corruptions", cells((*C15, *EXTRA))),
    _of_cells("mce", "mCE against AlexNet", mce_cells(), direction="down", offset=MCE_OFFSET),
    *(_of_cells(name, name, cells([name]), detail=True) for name in (*C15, *EXTRA)),
    *(_of_cells(name, name, {name: 1.0}, detail=True) for name in cells((*C15, *EXTRA))),
)

ROBUSTNESS = (
    Benchmark(
        name="in-c",
        title="IN-C",
        datasets=(
            Dataset(
                name="ImageNet-C",
                place="imagenet-c",
                pattern=r"(^|/)imagenet-?c$",
                check=corruptions,
                citation="Hendrycks and Dietterich, Benchmarking neural network robustness, ICLR"
                " 2019",
                licence="CC BY 4.0",
                size="75 GB",
            ),
        ),
        parts=_corruptions,
        metrics=IN_C,
        preparation=AS_STORED,
        mapping=SORTED,
        quoted=r50("43.8", "44.7", metric="accuracy_c15"),
    ),
    Benchmark(
        name="objectnet",
        title="ObjNet",
        datasets=(
            Dataset(
                name="ObjectNet",
                place="objectnet-1.0",
                pattern=r"(^|/)objectnet(-1\.0)?$",
                required=("images", "mappings"),
                check=class_folders("images"),
                telling=True,
                citation="Barbu et al., ObjectNet, NeurIPS 2019",
                licence="its own; never train or tune on it",
                size="190 GB",
            ),
        ),
        parts=_objectnet,
        metrics=(
            one_accuracy("any of the class's wnids"),
            one_accuracy(
                "its first wnid only", name="accuracy_first", measure=measures.first_correct
            ),
        ),
        preparation=f"EXIF followed, 2 px of frame off, {P0}",
        mapping="the archive's four files; 113 classes, argmax over all",
        quoted=r50("27.8", "28.5", "28.1"),
    ),
    *(
        Benchmark(
            name=f"si-{short}",
            title=f"SI-{short}",
            datasets=(
                Dataset(
                    name=f"SI-Score {factor}",
                    place=f"object_{factor}",
                    pattern=rf"(^|/)object_{factor}$",
                    required=("foreground_classes.csv",),
                    check=class_folders(""),
                    citation="Djolonga et al., On robustness and transferability, CVPR 2021",
                    licence="Apache-2.0",
                    size="?",
                ),
            ),
            parts=_si_score(f"si-{short}", num_published),
            metrics=(one_accuracy(),),
            preparation=P0,
            mapping="the set's foreground_classes.csv",
            quoted=quoted,
        )
        for short, factor, num_published, quoted in (
            ("size", "size", 92_884, r50("53.9", "55.6", "54.5")),
            ("loc", "location", 541_548, r50("31.9", "33.5", "31.5")),
            ("rot", "rotation", 39_540, r50("40.1", "40.9", "39.7")),
        )
    ),
    Benchmark(
        name="bgc-gap",
        title="BGC-gap",
        datasets=(
            Dataset(
                name="Backgrounds Challenge, mixed",
                place="bg_challenge",
                pattern=_IN9_FOLDER,
                required=("mixed_same/val", "mixed_rand/val", IN9_FILE),
                check=superclass_folders("mixed_same/val", "mixed_rand/val"),
                telling=True,
                origin=IN9_ORIGIN,
                citation=_IN9,
                licence="ImageNet terms",
                size="0.3 GB",
            ),
        ),
        parts=_mixed,
        metrics=(
            one_accuracy(
                "mixed-same minus mixed-rand", name="gap", direction="down", independent=True,
                weights={"mixed_same": 1.0, "mixed_rand": -1.0},
            ),
            one_accuracy("mixed-same", name="accuracy_mixed_same", weights={"mixed_same": 1.0}),
            one_accuracy("mixed-rand", name="accuracy_mixed_rand", weights={"mixed_rand": 1.0}),
        ),
        preparation=AS_STORED,
        mapping="in_to_in9.json after the argmax",
        quoted=r50("6.3", "5.6", "5.9", metric="gap"),
    ),
    Benchmark(
        name="bgc-acc",
        title="BGC-acc",
        datasets=(
            Dataset(
                name="Backgrounds Challenge",
                place="bg_challenge",
                pattern=_IN9_FOLDER,
                required=("original/val", "fg_mask/val", "only_bg_t/val", IN9_FILE),
                check=superclass_folders("original/val", "fg_mask/val", "only_bg_t/val"),
                telling=True,
                origin=IN9_ORIGIN,
                citation=_IN9,
                licence="ImageNet terms",
                size="1 GB",
            ),
        ),
        parts=lambda roots, classes: foreground_parts(roots[0], classes),
        metrics=(one_accuracy("right on every background", measure=measures.robust),),
        preparation="pasted in [0, 1], as stored, 224",
        mapping="in_to_in9.json after the argmax",
        quoted=r50("26.7", "27.4", "27.6"),
    ),
)  # fmt: skip
"""Of Table 1."""
