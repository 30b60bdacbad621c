"""ImageNet-1k's validation images and the sets made in its likeness: one entry each.

Protocols follow docs/definitions.md#imagenet-benchmarks; what is open there is logged in both ways.
Licences and sizes are what the sources say as far as we remember; read the source before use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from luab_train.data.classes import imagenet_classes, timm_synsets
from luab_train.data.folders import subfolders
from luab_train.evaluate import measures
from luab_train.evaluate.benchmark import Benchmark, Classes, Roots, one_accuracy, wnid_parts
from luab_train.evaluate.layouts import Dataset, index_folders, wnid_folders, wnids_of
from luab_train.evaluate.parts import Part, folder_part
from luab_train.metrics.sums import Metric, Ranking

_ADVERSARIAL = "Hendrycks et al., Natural adversarial examples, CVPR 2021"
P0 = "shorter side 256, centre crop 224"
SORTED = "folder is the wnid"

IN_1K = Dataset(
    name="ImageNet-1k validation",
    place="imagenet/val",
    pattern=r"^val$|(^|/)(imagenet|imagenet-?1k|in-?1k|ilsvrc[^/]*|cls-loc)/val(idation)?$"
    r"|(^|/)(imagenet|imagenet-?1k|ilsvrc2012_img)[-_]val$",
    check=wnid_folders,
    citation="Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015",
    licence="ImageNet terms, non-commercial research",
    size="6.3 GB",
)


def r50(
    none: str, click: str, random: str = "", *, metric: str = "accuracy"
) -> Mapping[str, Mapping[str, str]]:
    """What the paper's Table 1 prints of a metric, without seeds or intervals."""
    found = {"R50 none": none, "R50 random": random, "R50 click": click}
    return {metric: {arm: text for arm, text in found.items() if text}}


def _indices(roots: Roots, classes: Classes) -> Iterator[Part]:
    """ImageNet-V2: the folder's name is the class index; sorted as text it would be another."""
    wnids = imagenet_classes()
    label_of = {name: wnids[int(name)] for name in subfolders(roots[0])}
    accepted = {wnid: (wnid,) for wnid in label_of.values()}
    yield folder_part("in-v2", roots[0], accepted, classes, label_of=label_of, num_published=10_000)


def _outliers(roots: Roots, classes: Classes) -> Iterator[Part]:
    """ImageNet-O and the validation images of the same wnids; logits are cut to these columns."""
    wnids = tuple(subfolders(roots[0]))
    accepted = {wnid: (wnid,) for wnid in wnids}
    yield folder_part("out", roots[0], accepted, classes, mask=wnids, num_published=2_000)
    label_of = {wnid: wnid for wnid in wnids}
    yield folder_part(
        "in", roots[1], accepted, classes, mask=wnids, label_of=label_of, num_published=10_000
    )


RANKINGS: dict[Ranking, str] = {
    "auroc": "AUROC",
    "aupr": "AUPR",
    "aupr_balanced": "AUPR, as many of both",
}
_OUTLIERS = {"in": 1.0, "out": 1.0}

IMAGENET = (
    Benchmark(
        name="in-1k",
        title="IN-1k",
        datasets=(IN_1K,),
        parts=wnid_parts("val", 50_000),
        metrics=(one_accuracy(),),
        preparation=P0,
        mapping=SORTED,
        quoted=r50("77.4", "77.5", "77.3"),
    ),
    Benchmark(
        name="in-v2",
        title="IN-V2",
        datasets=(
            Dataset(
                name="ImageNet-V2, matched frequency",
                place="imagenetv2-matched-frequency-format-val",
                pattern=r"imagenet-?v2[^/]*matched-?frequency[^/]*$",
                check=index_folders,
                citation="Recht et al., Do ImageNet classifiers generalize to ImageNet?, ICML 2019",
                licence="MIT",
                size="1.2 GB",
            ),
        ),
        parts=_indices,
        metrics=(one_accuracy(),),
        preparation=P0,
        mapping="folder is the class index",
        quoted=r50("65.2", "65.2"),
    ),
    Benchmark(
        name="in-real",
        title="IN-Real",
        datasets=(IN_1K,),
        parts=wnid_parts("val", 50_000),
        metrics=(
            one_accuracy("ReaL, of labelled images", measure=measures.real),
            one_accuracy("ReaL, of all images", name="accuracy_all", measure=measures.real_all),
        ),
        preparation=P0,
        mapping="timm's ReaL labels by file name",
        stored_as="in-1k",
        quoted=r50("83.5", "83.8"),
    ),
    Benchmark(
        name="in-a",
        title="IN-A",
        datasets=(
            Dataset(
                name="ImageNet-A",
                place="imagenet-a",
                pattern=r"(^|/)imagenet-?a$",
                check=wnids_of("imagenet_a_synsets.txt"),
                citation=_ADVERSARIAL,
                licence="MIT",
                size="0.7 GB",
            ),
        ),
        parts=wnid_parts("in-a", 7_500, mask=lambda: timm_synsets("imagenet_a_synsets.txt")),
        metrics=(one_accuracy(),),
        preparation=P0,
        mapping="folder is the wnid; argmax among timm's 200",
        quoted=r50("5.5", "5.1"),
    ),
    Benchmark(
        name="in-o",
        title="IN-O",
        datasets=(
            Dataset(
                name="ImageNet-O",
                place="imagenet-o",
                pattern=r"(^|/)imagenet-?o$",
                check=wnid_folders,
                citation=_ADVERSARIAL,
                licence="MIT",
                size="0.1 GB",
            ),
            IN_1K,
        ),
        parts=_outliers,
        metrics=tuple(
            Metric(name=kind, title=title, measure=measures.unsure, weights=_OUTLIERS, ranking=kind)
            for kind, title in RANKINGS.items()
        )
        + tuple(
            Metric(name=name, title=title, measure=of, weights=_OUTLIERS, ranking="auroc")
            for name, title, of in (
                ("auroc_logit", "AUROC by the highest logit", measures.low_logit),
                ("auroc_energy", "AUROC by the energy", measures.low_energy),
            )
        ),
        preparation=P0,
        mapping="softmax over the wnids of its folders",
        quoted=r50("56.7", "57.0", metric="auroc"),
    ),
    Benchmark(
        name="sketch",
        title="Sketch",
        datasets=(
            Dataset(
                name="ImageNet-Sketch",
                place="sketch",
                pattern=r"(^|/)(imagenet[-_]?)?sketch$",
                check=wnid_folders,
                citation="Wang et al., Learning robust global representations, NeurIPS 2019",
                licence="MIT",
                size="7 GB",
            ),
        ),
        parts=wnid_parts("sketch", 50_889),
        metrics=(one_accuracy(),),
        preparation=P0,
        mapping=SORTED,
        quoted=r50("25.4", "25.7"),
    ),
    Benchmark(
        name="in-r",
        title="IN-R",
        datasets=(
            Dataset(
                name="ImageNet-R",
                place="imagenet-r",
                pattern=r"(^|/)imagenet-?r$",
                check=wnids_of("imagenet_r_synsets.txt"),
                citation="Hendrycks et al., The many faces of robustness, ICCV 2021",
                licence="MIT",
                size="2.1 GB",
            ),
        ),
        parts=wnid_parts("in-r", 30_000, mask=lambda: timm_synsets("imagenet_r_synsets.txt")),
        metrics=(one_accuracy(),),
        preparation=P0,
        mapping="folder is the wnid; argmax among timm's 200",
        quoted=r50("37.8", "38.2"),
    ),
    Benchmark(
        name="cocc",
        title="Cocc",
        datasets=(IN_1K,),
        parts=wnid_parts("cocc", 50_000, views={"after": "hole-after", "before": "hole-before"}),
        metrics=(
            one_accuracy("hole after normalisation", weights={"after": 1.0}),
            one_accuracy(
                "hole before normalisation", name="accuracy_before", weights={"before": 1.0}
            ),
        ),
        preparation=f"{P0}, middle 112 to 0",
        mapping=SORTED,
        quoted=r50("53.7", "55.1"),
    ),
)
"""Of Table 1."""
