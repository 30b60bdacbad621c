"""One arm in one column, and one arm less another: a number with its interval.     [I/O]

Numbers of runs are means over seeds; two runs of one seed began with the same weights, order and
augmentation, so differences are taken seed by seed. Where there are too few seeds to say how much
they differ, and the answers to each image were kept, the interval is over images instead, which
says less: see LEAST_SEEDS. Numbers are those of the last epoch, never of the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from luab_train.evaluate.stored import difference
from luab_train.metrics.intervals import Difference, Estimate, over_seeds, t_interval, unless_flat
from luab_train.report.arms import VALIDATION, Arm, Model
from luab_train.report.layouts import Cell, Column, Key

LEAST_SEEDS = 3
"""Fewer say too little of how much seeds differ; then the interval is over images, if there is one.
Training's own numbers have no images to fall back on, and take two."""
ONE_SEED = "no interval: of one seed"


def pairs_of(arms: Sequence[Arm], reference: str) -> list[tuple[Arm, Arm]]:
    """(arm, versus): every arm against those of the reference, then click against random.

    Args:
        arms: in the order of the rows.
        reference: target of the arm that the others are compared with; if no arm has it, the first
            arm is.
    """
    references = [arm for arm in arms if arm.target == reference] or list(arms[:1])
    found = [
        (a, b)
        for b in references
        for a in arms
        if a is not b and not (a in references and arms.index(a) < arms.index(b))
    ]
    found += [
        (a, b)
        for b in arms
        for a in arms
        if (a.target, b.target) == ("click", "random") and (a, b) not in found
    ]
    return found


def arm_cell(arm: Arm, column: Column) -> Cell:
    """Mean of an arm's models, with its interval over seeds, or over images with one model."""
    rows = [row for model in arm.models if (row := model.row(column.key))]
    known = [row for row in rows if row["value"] is not None]
    if not known:
        done = [row for row in rows if row["status"] not in ("missing", "failed")]
        # Said by the metric's own row, or by the missing benchmark's, which is its first metric's.
        note = next((row["note"] for row in done or rows if row.get("note")), "")
        failed = any(row["status"] == "failed" for row in rows)
        return Cell(status="none" if done else "failed" if failed else "missing", note=note)
    found = t_interval(column.factor * float(row["value"]) for row in known)
    notes = [row["note"] for row in known if row.get("note")]
    marks = _marks(arm.models, column.key, len(known), len(arm.models))
    if found.n >= _least_seeds(column):
        low, high, n, over = found.low, found.high, found.n, "seeds"
        notes.append(found.why_none)
    elif len(known) == 1 and known[0]["low"] is not None and known[0]["high"] is not None:
        ends = (np.array(column.factor * known[0][end]) for end in ("low", "high"))
        low, high = map(float, unless_flat(*ends))  # an older evaluation has flat ones
        n, over = known[0]["n"], "images"
        notes.append(Estimate(found.value, low, high, n, known[0]["interval"]).why_none)
    else:
        low, high, n, over = math.nan, math.nan, known[0]["n"], ""
        if not column.by_image:
            notes.append(ONE_SEED)
        elif found.n > 1:
            notes.append(f"no interval: of {found.n} seeds; one over seeds takes {LEAST_SEEDS}")
    return Cell(
        status="value",
        value=found.value,
        low=low,
        high=high,
        n=n,
        over=over,
        note="; ".join(filter(None, dict.fromkeys(notes))),
        marks=marks,
    )


def difference_cell(a: Arm, b: Arm, column: Column) -> Cell:
    """One arm less another in one column."""
    models, others = _compared(a, b, column)
    if not (models and others):
        cells = [arm_cell(arm, column) for arm in (a, b)]
        if all(cell.status == "value" for cell in cells):
            return Cell(status="none", note="no seed in common: not compared")
        lacking = [cell.status for cell in cells if cell.status in ("missing", "failed")]
        return Cell(status=lacking[0] if lacking else "none")
    first, second = ([m.value(column.key) for m in of] for of in (models, others))
    mean = column.factor * (math.fsum(first) / len(first) - math.fsum(second) / len(second))
    common = len(set(a.seeds) & set(b.seeds))
    is_paired = len(models) == len(others)
    marks = _marks((*models, *others), column.key, len(models), common if is_paired else 0)
    found: Difference | None
    if is_paired and len(models) >= _least_seeds(column):
        found = over_seeds(first, second)
        value, low, high = (column.factor * end for end in found[:3])
        found = found._replace(value=value, low=low, high=high)
    else:
        of_a, of_b = ([model.folder for model in of] for of in (models, others))
        found = difference(of_a, of_b, *column.key) if column.by_image else None
    if found is None:
        note = _why_none(models, others, column) if column.by_image else ONE_SEED
        return Cell(status="value", value=mean, n=len(models), marks=marks, note=note)
    notes = [found.why_none]
    if found.over == "images" and abs(found.value - mean) > 1e-6:
        sizes = [row["n"] for m in (*models, *others) if (row := m.row(column.key))]
        notes.append(
            f"over the {found.n:,} images that all have; of {max(sizes):,} the difference is"
            f" {mean:+.2f}"
        )
    verdict = 0
    if column.direction and (found.low > 0 or found.high < 0):
        verdict = 1 if (found.value > 0) == (column.direction == "up") else -1
    return Cell(
        status="value", value=found.value, low=found.low, high=found.high, n=found.n,
        over=found.over, p_value=found.p_value, test=found.test, verdict=verdict, marks=marks,
        note="; ".join(filter(None, notes)),
    )  # fmt: skip


def _least_seeds(column: Column) -> int:
    return LEAST_SEEDS if column.by_image else 2


def _marks(models: Sequence[Model], key: Key, num: int, of: int) -> tuple[str, ...]:
    seeds = [f"{num} of {of} seeds"] if num < of else []
    return tuple(dict.fromkeys([*seeds, *(m for model in models for m in partial(model, key))]))


def partial(model: Model, key: Key) -> list[str]:
    """In what a number is not one of the whole published set; empty if it is."""
    row = model.row(key)
    if row is None or key[0].startswith(VALIDATION):  # the user's own images
        return []
    found = [str(row["partial"])] if row.get("partial") else []
    if "partial" not in row:
        found.append("of an older evaluation, which does not say whether of all images")
    if row.get("num_bad"):
        found.append(f"without {row['num_bad']:,} images that cannot be read")
    return found


def _compared(a: Arm, b: Arm, column: Column) -> tuple[list[Model], list[Model]]:
    """Models to compare: by seed if both are runs, else all of one arm with all of the other.

    Arms of one model each are compared image by image whatever their seeds.
    """
    first, second = (
        [m for m in arm.models if math.isfinite(m.value(column.key))] for arm in (a, b)
    )
    is_one_each = len(first) == len(second) == 1 and column.by_image
    if not (first and second) or is_one_each or None in (a.target, b.target):
        return first, second
    of_seed = {model.seed: model for model in second}
    pairs = [(model, of_seed[model.seed]) for model in first if model.seed in of_seed]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _why_none(a: Sequence[Model], b: Sequence[Model], column: Column) -> str:
    if column.benchmark in ("in-o", "coco") and not len(a) == len(b) == 1:
        return "no interval: this metric has one over images for one model against one"
    return "no interval: predictions were not kept, or do not tell it"
