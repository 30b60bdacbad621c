"""Which object leans on which: for each ordered pair of classes, what erasing one does to the score
of the other. Pure.

`K` ordered pairs in one image, see `context.Pairs`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from luab_data.statistics.estimate import LEVEL
from luab_train.evaluate.coco.context import Pairs
from luab_train.metrics.intervals import wilson_ends

SCHEMA = pa.schema(
    [
        ("label", pa.int64()),
        ("name", pa.string()),
        ("other_label", pa.int64()),
        ("other_name", pa.string()),
        ("num_images", pa.int64()),
        ("drop", pa.float64()),
        ("drop_low", pa.float64()),
        ("drop_high", pa.float64()),
        ("q_value", pa.float64()),
        ("own_drop", pa.float64()),
        ("violation_rate", pa.float64()),
        ("violation_low", pa.float64()),
        ("violation_high", pa.float64()),
        ("covered", pa.float64()),
    ]
)
"""drop: mean over images of the class's score minus its score with the other erased, t interval;
own_drop: the same with the class itself erased; violation_rate: share of images with no smaller
score without itself than without the other, with Wilson's interval; covered: mean share of the
class's pixels that erasing the other takes too, where a drop is no sign of leaning; q_value: of a
drop other than 0 in either direction, Benjamini and Hochberg over all pairs, for with 6,320 pairs a
dozen stand out by chance. Null where there are too few images."""


def leaning(
    pairs: Pairs,
    unedited_K: np.ndarray,
    covered_K: np.ndarray,
    classes: tuple[str, ...],
) -> pa.Table:
    """One row for each ordered pair of classes that some image has, the surest drop first.

    Args:
        pairs: of all images.
        unedited_K: score of the class in the unedited image.
        covered_K: share of the class's pixels that erasing the other takes.
        classes: names by label.
    Returns: a table of SCHEMA, by falling `drop_low`, rows without an interval last.
    """
    code, place_K = np.unique(pairs.label_K * len(classes) + pairs.other_K, return_inverse=True)
    n = np.bincount(place_K, minlength=len(code)).astype(np.float64)

    def mean(values_K: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.bincount(place_K, values_K, len(code))
        return total / n

    unedited_K = unedited_K.astype(np.float64)
    drop_K = unedited_K - pairs.without_other_K
    drop = mean(drop_K)
    spread = np.bincount(place_K, (drop_K - drop[place_K]) ** 2, len(code))
    reach, p_value = _student(drop, spread, n)
    rate = mean(pairs.violated_K.astype(np.float64))
    low, high = wilson_ends(np.bincount(place_K, pairs.violated_K, len(code)), n)
    label, other = np.divmod(code, len(classes))
    names = np.array(classes, dtype=object)
    columns = {
        "label": label,
        "name": names[label],
        "other_label": other,
        "other_name": names[other],
        "num_images": n.astype(np.int64),
        "drop": drop,
        "drop_low": drop - reach,
        "drop_high": drop + reach,
        "q_value": _false_discovery(p_value),
        "own_drop": mean(unedited_K - pairs.without_itself_K),
        "violation_rate": rate,
        "violation_low": low,
        "violation_high": high,
        "covered": mean(covered_K),
    }
    order = np.lexsort((code, -drop, -np.nan_to_num(columns["drop_low"], nan=-np.inf)))
    arrays = [pa.array(columns[f.name][order], f.type, from_pandas=True) for f in SCHEMA]
    return pa.table(arrays, schema=SCHEMA)


def _student(mean: np.ndarray, spread: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the t interval and the two-sided p value of a mean; NaN unless two values differ.

    Args:
        mean, n: of each group.
        spread: sum of squared deviations.
    """
    from scipy.special import stdtr, stdtrit

    freedom = np.where(n > 1, n - 1, np.nan)
    error = np.sqrt(spread / freedom / n)
    # Two images that agree to the last bit are no proof: they have neither.
    error = np.where(error > 0, error, np.nan)
    reach = stdtrit(freedom, (1 + LEVEL) / 2) * error
    return reach, 2 * stdtr(freedom, -np.abs(mean / error))


def _false_discovery(p_value: np.ndarray) -> np.ndarray:
    from scipy.stats import false_discovery_control

    q_value = np.full(len(p_value), np.nan)
    there = ~np.isnan(p_value)
    if there.any():
        q_value[there] = false_discovery_control(p_value[there])
    return q_value
