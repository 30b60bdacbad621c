"""COCO's average precision of boxes and masks, as pycocotools computes it.     [I/O]"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

_STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def detections(
    output: dict[str, Tensor], *, image_id: int, category_id: np.ndarray
) -> list[dict[str, Any]]:
    """What torchvision's Mask R-CNN found in one image, in COCO's format of results.

    Args:
        output: boxes (n, 4) xyxy px, labels (n,) from 1, scores (n,), masks (n, 1, H, W).
        image_id: COCO's.
        category_id: (C,) COCO's number of label 1, 2, ...
    """
    if not len(output["scores"]):
        return []
    boxes = output["boxes"].double().cpu().numpy()
    boxes[:, 2:] -= boxes[:, :2]
    masks = (output["masks"][:, 0] > 0.5).byte().permute(1, 2, 0).cpu().numpy()
    packed = coco_mask.encode(np.asfortranarray(masks))
    labels = category_id[output["labels"].cpu().numpy() - 1]
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "bbox": box.tolist(),
            "segmentation": mask,
            "score": float(score),
        }
        for label, box, mask, score in zip(
            labels, boxes, packed, output["scores"].cpu().numpy(), strict=True
        )
    ]


def average_precision(truth: COCO, found: list[dict[str, Any]]) -> dict[str, float]:
    """Of boxes and of masks, fractions: bbox_ap, bbox_ap50, ..., segm_ap_large.

    `ap` is the mean over IoU .5, .55, ..., .95 and classes; small, medium and large objects are
    below 32^2, below 96^2 and above, px. NaN where the images hold no such object.
    """
    result: dict[str, float] = {}
    for kind in ("bbox", "segm"):
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(truth, _results(truth, found, kind), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        stats = evaluation.stats[: len(_STATS)]
        values = np.where(stats < 0, np.nan, stats).tolist()
        result |= {f"{kind}_{name}": v for name, v in zip(_STATS, values, strict=True)}
    return result


def _results(truth: COCO, found: list[dict[str, Any]], kind: str) -> COCO:
    """Areas must be those of what is compared: pycocotools takes the box's where there is one."""
    if not found:  # loadRes looks at the first
        nothing = COCO()
        nothing.dataset = {
            "images": truth.dataset["images"],
            "categories": truth.dataset["categories"],
            "annotations": [],
        }
        nothing.createIndex()
        return nothing
    other = "segmentation" if kind == "bbox" else "bbox"
    return truth.loadRes([{k: v for k, v in one.items() if k != other} for one in found])
