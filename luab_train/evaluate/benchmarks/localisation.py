"""Localisation and COCO: their images come with boxes and masks, and COCO wants its own classes.

ROOT/wsol/metadata/image_ids.txt, ...   a split of clovaai/wsolevaluation
ROOT/wsol/images/<image id>
ROOT/coco/val2014/COCO_val2014_*.jpg
ROOT/coco/annotations/instances_val2014.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luab_train.evaluate import measures
from luab_train.evaluate.benchmark import Benchmark, Result, Roots
from luab_train.evaluate.benchmarks.imagenet import P0
from luab_train.evaluate.layouts import Dataset, anything
from luab_train.metrics.sums import Metric

if TYPE_CHECKING:
    from luab_train.evaluate.predictor import Predictor
    from luab_train.evaluate.settings import Settings

INSTANCES = "annotations/instances_val2014.json"


def _localise(predictor: Predictor, roots: Roots, out: Path, settings: Settings) -> Result:
    from luab_train.evaluate.wsol.evaluate import evaluate_wsol

    return evaluate_wsol(predictor, roots[0], out, settings)


def _coco(predictor: Predictor, roots: Roots, out: Path, settings: Settings) -> Result:
    from luab_train.evaluate.coco.evaluate import coco_result

    return coco_result(predictor, roots[0], out, settings)


def _networks(**printed: str) -> Mapping[str, str]:
    """Network -> none, random, click -> `network arm` -> as printed."""
    return {
        f"{network.replace('_', '-')} {arm}": text
        for network, texts in printed.items()
        for arm, text in zip(("none", "random", "click"), texts.split(), strict=True)
    }


CONTEXT_NOTE = (
    "ours is a rate. The paper gives no formula: it compares the score of a class when the class"
    " itself is removed with its score when another one is, a random or the worst one; D is that"
    " difference"
)
"""Of docs/definitions.md#reliance-on-context, beside the two numbers that are our reading of it."""


def _coco_metric(name: str, title: str, **changes: Any) -> Metric:
    return Metric(name=name, title=title, measure=measures.nothing, **changes)


LOCALISATION = (
    Benchmark(
        name="wsol",
        title="WSOL",
        datasets=(
            Dataset(
                name="a split of wsolevaluation",
                place="wsol/metadata/image_ids.txt",
                pattern=r"^wsol$",
                required=("metadata/image_ids.txt", "images"),
                check=anything,
                citation="Choe et al., Evaluating weakly supervised object localization methods"
                " right, CVPR 2020",
                licence="that of its images",
                size="?",
            ),
        ),
        evaluate=_localise,
        metrics=tuple(
            Metric(name=name, title=title, measure=measure)
            for name, title, measure in (
                ("top1_loc", "Top-1 loc", measures.top1_localised),
                ("top1_loc_fixed", "at τ = 0.2", measures.top1_localised_fixed),
                ("max_box_acc", "MaxBoxAcc", measures.nothing),
                ("max_box_acc_v2", "MaxBoxAccV2", measures.nothing),
                ("point_in_box", "IN-1k: point in a box", measures.point_in_box),
                ("peak_in_box", "CAM peak in a box", measures.peak_in_box),
                ("centre_in_box", "centre in a box", measures.nothing),
            )
        ),
        preparation="resized to a square without a crop, maps at 224",
        mapping="class_labels.txt counts the model's classes",
        in_all=False,
        quoted={"top1_loc": {"R50 none": "46.8", "R50 click": "48.4"}},
    ),
    Benchmark(
        name="coco",
        title="COCO",
        datasets=(
            Dataset(
                name="COCO 2014 validation",
                place="coco/val2014",
                pattern=r"^coco$",
                required=("val2014", INSTANCES),
                check=anything,
                citation="Lin et al., Microsoft COCO, ECCV 2014",
                licence="CC BY 4.0 annotations, Flickr terms for images",
                size="6.2 GB",
            ),
        ),
        evaluate=_coco,
        metrics=(
            _coco_metric("map", "mAP"),
            _coco_metric("map_envelope", "mAP by the VOC envelope"),
            _coco_metric("v_random", "V random", direction="down"),
            _coco_metric("v_worst", "V worst", direction="down"),
            _coco_metric("difference", "D", direction="down", scale=1.0, unit="logits"),
            _coco_metric(
                "difference_worst", "D worst", direction="down", scale=1.0, unit="logits"
            ),
            _coco_metric("on_mask", "COCO: point on the mask"),
            _coco_metric("centre", "centre on the mask"),
            _coco_metric("mpxap", "COCO mPxAP"),
        ),
        preparation=f"{P0}; objects are erased before",
        mapping="80 classes by ascending category id",
        classes="COCO",
        in_all=False,
        quoted={
            "map": _networks(
                R18="67.9 67.8 68.0", R50="73.0 73.6 74.2", R152="73.3 74.6 75.4",
                ViT_Ti="72.6 72.2 72.7", ViT_S="76.2 76.9 77.3", ViT_B="76.4 74.5 77.5",
            ),
            "v_random": _networks(R50="25.0 24.9 24.5"),
            "v_worst": _networks(R50="47.6 47.3 47.0"),
            "mpxap": {"R50 none": "20.8", "R50 click": "21.5"},
        },
    ),
)  # fmt: skip
"""By name alone: a model of ImageNet has no place on COCO."""
