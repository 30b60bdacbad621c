"""Where the point that a run trains on comes from: the arms of a comparison, one function each.

A target is a point in fractions of the original image, (N, 2) float64, NaN where the image has
none. What is drawn depends on the seed and the image's id alone: not on the order of the rows, on
other images (but for `shuffled`), on the epoch or on the number of processes. So every epoch, every
rerun and every resumed run regresses the same points, and a paired comparison changes nothing else.

    none         no point at all; the head is built and its term is 0 (decay still shrinks it, and
                 with attentive pooling it learns from the labels)
    random       one fixed uniform point for exactly the images that have a click
                 (docs/definitions.md#unknowns)
    centre       (.5, .5) for exactly the images that have a click
    shuffled     the clicks, dealt out again among the images of the same class that have one
    click        the final click of the images selected in the end
    oracle       the centre of the box nearest to the click, for images with boxes and a click:
                 fewer points than the other arms wherever not every image has boxes

Other byproducts come through the same door, for images that have a click too:

    first_click  the first selecting click of the deciding round
    hull_centre  centroid of the convex hull of the last records before the click
    calibrated   the click without the crowd's bias, from `luab-data calibrate --out`
    trace        where the cursor was at 0, .1, ... 1 of the time to the click: eleven points, a map
    hull         the corners of that hull: an area to look at (loss.attention), no place
    box          the corners of the box that `oracle` takes the centre of; likewise
    dwell_time   log(1 + seconds over the image), standardised over the training images: one number

Those of a tracing dataset are in `traces`: trace_last, trace_centroid, hull_centre and trace.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from luab_data.errors import OptionError
from luab_train.data.boxes import Boxes, nearest_box, nearest_centre
from luab_train.data.coco import CocoAnnotations
from luab_train.data.rows import Annotations

ARMS = ("none", "random", "centre", "shuffled", "click", "oracle")
"""Targets made of clicks and boxes, or drawn; the others are byproducts of their own."""


class TrainingPoints(NamedTuple):
    """What the head of a run learns, row for row with its images."""

    values: np.ndarray
    """(N, K, D) float64, NaN where there is none; places are fractions of the original image."""
    weight: np.ndarray
    """(N,) float64, how much an image's points count."""


def training_points(
    rows: Annotations | CocoAnnotations,
    *,
    target: str,
    seed: int,
    point_noise: float = 0.0,
    weighted: bool = False,
) -> TrainingPoints:
    """The targets of a run; where an image has several labels and no trace, K is the classes.

    Args:
        rows: read for this target.
        target: its arm, see the module.
        seed: of the run.
        point_noise: standard deviation of what is added to each, fractions of the image.
        weighted: by the reliability of each click.
    """
    weight = np.ones(len(rows.image_id))
    if isinstance(rows, CocoAnnotations):
        values = rows.byproduct
        if values is None:
            values = make_coco_target(target, seed=seed, coco=rows)
    elif rows.byproduct is not None:
        has_click = np.isfinite(rows.click).all(axis=1)
        values = np.where(has_click[:, None, None], rows.byproduct, np.nan)
        if target == "dwell_time":
            values = _standardised(values)
    elif target == "box":
        values = _box_corners(rows)
    else:
        values = make_target(
            target,
            seed=seed,
            image_id=rows.image_id,
            label=rows.label,
            click=rows.click,
            size_wh=rows.size_wh,
            boxes=rows.boxes,
        )[:, None]
    if point_noise:
        values = values + point_noise * noise(rows.image_id, seed, values.shape[1:])
    if weighted and isinstance(rows, Annotations) and rows.reliability is not None:
        weight = np.nan_to_num(rows.reliability)
    return TrainingPoints(values, weight)


def _box_corners(rows: Annotations) -> np.ndarray:
    """(N, 4, 2) fractions of the image, the corners of the box nearest to the click in order."""
    box = nearest_box(rows.boxes, rows.click * rows.size_wh)
    corners: np.ndarray = box[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] / rows.size_wh[:, None]
    return corners


def _standardised(values: np.ndarray) -> np.ndarray:
    deviation = np.nanstd(values) if np.isfinite(values).any() else 0.0
    return (values - np.nanmean(values)) / deviation if deviation else values * 0


def noise(image_id: np.ndarray, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """(N, *shape) standard normal numbers that follow from (image id, seed) alone."""
    streams = [f"noise/{number}" for number in range(int(np.prod(shape)))]
    uniforms = np.stack([uniform(image_id, seed, stream=stream) for stream in streams], axis=1)
    # 0 has no quantile; the smallest step is as near as a float64 in [0, 1) comes to it.
    drawn: np.ndarray = ndtri(np.maximum(uniforms, 2.0**-53)).reshape(-1, *shape)
    return drawn


def share_of_each_class(image_id: np.ndarray, label: np.ndarray, fraction: float) -> np.ndarray:
    """(n,) int64 ascending rows: `fraction` of the images of each class, rounded, at least one.

    Drawn by a hash of the id: the same for every seed, and a smaller share is part of a larger.
    """
    draw = uniform(image_id, 0, stream="fraction")
    order = np.lexsort((draw, label))
    _, first, count = np.unique(label[order], return_index=True, return_counts=True)
    rank = np.arange(len(label)) - np.repeat(first, count)
    keep = rank < np.maximum(np.rint(np.repeat(count, count) * fraction), 1)
    return np.sort(order[keep])


def make_target(
    kind: str,
    *,
    seed: int,
    image_id: np.ndarray,
    label: np.ndarray,
    click: np.ndarray,
    size_wh: np.ndarray,
    boxes: Boxes,
) -> np.ndarray:
    """Points to train on, (N, 2) float64 fractions of the original image; NaN where there is none.

    Args:
        kind: one of ARMS, see the module.
        seed: of the run; only `random` and `shuffled` draw.
        image_id: (N,) text, unique.
        label: (N,) int64, class index.
        click: (N, 2) float64 fractions, NaN where the image was not selected in the end.
        size_wh: (N, 2) px of the original image; only `oracle` looks.
        boxes: px of the original image; only `oracle` looks.
    """
    has_click = np.isfinite(click).all(axis=1)
    if kind == "none":
        return np.full_like(click, np.nan)
    if kind == "click":
        return np.where(has_click[:, None], click, np.nan)
    if kind == "centre":
        return np.where(has_click[:, None], np.full_like(click, 0.5), np.nan)
    if kind == "random":
        drawn = np.stack(
            [uniform(image_id, seed, stream="x"), uniform(image_id, seed, stream="y")], 1
        )
        return np.where(has_click[:, None], drawn, np.nan)
    if kind == "shuffled":
        return _shuffled(click, has_click, label, image_id, seed)
    if kind == "oracle":
        px = np.where(has_click[:, None], click * size_wh, np.nan)
        centre: np.ndarray = nearest_centre(boxes, px) / size_wh
        return centre
    raise OptionError(f"target {kind!r}: expected one of {', '.join(ARMS)}")


def make_coco_target(kind: str, *, seed: int, coco: CocoAnnotations) -> np.ndarray:
    """Points to train on, (N, C, 2) float64 fractions of the image; NaN where there is none.

    Arms as in `make_target`, for exactly the pairs that have an icon: what is drawn
    follows from seed, image and class, `shuffled` deals the icons of a class out among the images
    that have one, and `oracle` takes the nearest box of the class.
    """
    if kind == "first_click":
        if coco.first_P2 is None:
            raise ValueError("first adds were not read; read_coco(..., target='first_click')")
        points = coco.first_P2
    else:
        names = np.char.add(coco.image_id[coco.pair_row], "/")
        points = make_target(
            kind,
            seed=seed,
            image_id=np.char.add(names, coco.pair_label.astype(str)),
            label=coco.pair_label,
            click=coco.click_P2,
            size_wh=coco.size_wh[coco.pair_row],
            boxes=coco.pair_boxes,
        )
    result = np.full((*coco.label_NC.shape, 2), np.nan)
    result[coco.pair_row, coco.pair_label] = points
    return result


def _shuffled(
    click: np.ndarray, has_click: np.ndarray, label: np.ndarray, image_id: np.ndarray, seed: int
) -> np.ndarray:
    # Two independent orders of the same rows, each sorted by class first: matching them rank by
    # rank is a uniform permutation within each class, whatever order the rows came in.
    rows = np.flatnonzero(has_click)
    takes = rows[np.lexsort((uniform(image_id[rows], seed, stream="takes"), label[rows]))]
    gives = rows[np.lexsort((uniform(image_id[rows], seed, stream="gives"), label[rows]))]
    result = np.full_like(click, np.nan)
    result[takes] = click[gives]
    return result


def uniform(image_id: np.ndarray, seed: int, *, stream: str) -> np.ndarray:
    """(N,) float64 in [0, 1), a hash of (image_id, seed, stream); the same on every machine and
    NumPy version.

    FNV-1a over the UTF-8 bytes, finished by splitmix64: 0.8 s for the 1.28 M ids of ImageNet.
    """
    encoded = np.char.encode(np.asarray(image_id, dtype=str), "utf-8")
    state = np.full(len(encoded), _fnv1a(f"{seed}/{stream}/".encode()), dtype=np.uint64)
    if len(encoded) and encoded.dtype.itemsize:
        columns = np.frombuffer(encoded.tobytes(), np.uint8).reshape(len(encoded), -1).T
        for column in columns:
            # Padding zeros leave the state alone, so an id hashes alike whatever ids it is stored
            # beside.
            state = np.where(column == 0, state, (state ^ column) * np.uint64(_FNV_PRIME))
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits: np.ndarray = (z ^ (z >> np.uint64(31))) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


_FNV_PRIME = 0x100000001B3


def _fnv1a(data: bytes) -> int:
    state = 0xCBF29CE484222325
    for byte in data:
        state = (state ^ byte) * _FNV_PRIME % 2**64
    return state
