"""A calibration: learned from clicks on images with boxes, applied to clicks on any image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from luab_data.calibration import click_bias, reliability
from luab_data.calibration.click_bias import Bias, boxed_clicks, fit_bias, moved, points
from luab_data.calibration.reliability import (
    BEHAVIOURS,
    ErrorModel,
    behaviours,
    fit_errors,
)
from luab_data.errors import DatasetError
from luab_data.ragged import ArrowColumn, Ints, nullable
from luab_data.statistics.estimate import NOBODY

COLUMNS = tuple(dict.fromkeys((*click_bias.COLUMNS, *reliability.COLUMNS)))
"""Columns of `default` of ImageNet-AB that a calibration is learned from."""

APPLY_COLUMNS = tuple(name for name in COLUMNS if name not in ("width", "height", "boxes"))
"""Those it is applied to: no boxes among them."""

FORMAT = "luab calibration 1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What clicks on images with boxes teach about clicks anywhere: a few numbers a worker.

    Attributes:
        worker_id: (num_workers,) keyed hashes, sorted: codes of the arrays of `bias` and `errors`.
        bias: mean of click - box centre, of the crowd and of each worker.
        errors: expected squared distance of a click from the box centre.
    """

    worker_id: tuple[str, ...]
    bias: Bias
    errors: ErrorModel

    def as_dict(self) -> dict[str, Any]:
        """For JSON; None for NaN."""
        return {
            "format": FORMAT,
            "behaviours": list(BEHAVIOURS),
            "worker_id": list(self.worker_id),
            "bias": {
                name: _plain(np.asarray(value).tolist())
                for name, value in asdict(self.bias).items()
            },
            "errors": {
                name: _plain(np.asarray(value).tolist())
                for name, value in asdict(self.errors).items()
            },
        }

    @staticmethod
    def from_dict(found: Mapping[str, Any]) -> Calibration:
        """The inverse of as_dict.

        Raises:
            DatasetError: another format, a key too few or too many, an array of another shape.
        """
        if not isinstance(found, Mapping) or found.get("format") != FORMAT:
            raise DatasetError(f"no calibration; expected one whose format is {FORMAT!r}")
        if found.get("behaviours") != list(BEHAVIOURS):
            raise DatasetError(f"behaviours are not {', '.join(BEHAVIOURS)}; fit it again")
        ids = found.get("worker_id")
        if not isinstance(ids, list) or not all(isinstance(name, str) for name in ids):
            raise DatasetError("worker_id: expected a list of texts; fit it again")
        names = tuple(ids)
        workers, behaviour = len(names), len(BEHAVIOURS)
        of_bias: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("raw", "value", "low", "high"), (workers, 2)),
            **dict.fromkeys(("crowd", "crowd_low", "crowd_high", "spread"), (2,)),
            "num_clicks": (workers,),
        }
        of_errors: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(("low", "high", "mean", "scale", "slope", "missing"), (behaviour,)),
            **dict.fromkeys(("intercept", "crowd", "typical"), ()),
            "worker": (workers,),
        }
        assert of_bias.keys() == {f.name for f in fields(Bias)}
        assert of_errors.keys() == {f.name for f in fields(ErrorModel)}
        bias = _arrays(found.get("bias"), of_bias, "bias")
        errors = _arrays(found.get("errors"), of_errors, "errors")
        bias["num_clicks"] = bias["num_clicks"].astype(np.int64)
        scalars = {name: float(errors[name]) for name, shape in of_errors.items() if not shape}
        return Calibration(
            worker_id=names, bias=Bias(**bias), errors=ErrorModel(**{**errors, **scalars})
        )


def _plain(value: Any) -> Any:
    if isinstance(value, (list, np.ndarray)):
        return [*map(_plain, value if isinstance(value, list) else value.tolist())]
    return None if value != value else value


def _arrays(found: Any, shapes: Mapping[str, tuple[int, ...]], where: str) -> dict[str, Any]:
    if not isinstance(found, Mapping) or found.keys() != shapes.keys():
        raise DatasetError(f"{where}: expected the keys {', '.join(sorted(shapes))}; fit it again")
    out = {}
    for name, shape in shapes.items():
        try:
            out[name] = np.array(found[name], np.float64).reshape(shape)
        except (ValueError, TypeError) as error:
            raise DatasetError(
                f"{where}.{name}: is not numbers of shape {shape}; fit it again"
            ) from error
    return out


def fit(images: pa.Table) -> Calibration:
    """Learn from the final clicks on images with boxes.

    Args:
        images: rows of `default` of ImageNet-AB with COLUMNS; those without click, boxes or size
            are left out. Pass the images (or the workers) to learn from: a part of a table, say by
            `luab_data.splits`.

    Raises:
        DatasetError: a column is missing, or no click is on an image with boxes.
    """
    check_columns(images, COLUMNS)
    images = images.filter(images["final_click_x"].is_valid())
    clicks = boxed_clicks(images, np.zeros(len(images), np.int64))
    if not len(clicks):
        raise DatasetError(
            "no click is on an image with boxes, so there is nothing to learn from; convert an"
            " archive with boxes, or load a calibration that was fitted elsewhere"
        )
    taught = images.take(pa.array(clicks.row))
    names = tuple(sorted(pc.unique(taught["worker_id"].cast(pa.string())).drop_null().to_pylist()))
    worker = codes(taught["worker_id"], names)
    return Calibration(
        worker_id=names,
        bias=fit_bias(clicks.offset, worker, len(names)),
        errors=fit_errors(behaviours(taught), clicks.offset, worker, len(names)),
    )


def apply(calibration: Calibration, images: pa.Table) -> pa.Table:
    """Calibrated points and reliabilities of the final clicks; no boxes are needed.

    Args:
        calibration: of `fit` or `load`.
        images: rows of `default` of ImageNet-AB with APPLY_COLUMNS; further columns are kept.

    Returns: the table with three more columns, float64, null where final_click is null:
        calibrated_click_x, calibrated_click_y: the click less its worker's bias (the crowd's for
            workers the calibration does not know), in fractions of the picture. A point moves at
            most to the border; one that was logged outside is not moved farther out.
        click_reliability: weight in (0, 1] of the *click* as a sign of where the object's centre
            is, 1/2 for a typical one: 1 / (1 + expected squared error / typical one).

    Columns of these names are replaced.

    Raises:
        DatasetError: a column is missing.
    """
    check_columns(images, APPLY_COLUMNS)
    click = points(images)
    there = np.asarray(np.isfinite(click).all(axis=1))
    worker = codes(images["worker_id"], calibration.worker_id)
    point = moved(click, -calibration.bias.of(worker))
    error = calibration.errors.error(behaviours(images), worker)
    made = {
        "calibrated_click_x": point[:, 0],
        "calibrated_click_y": point[:, 1],
        "click_reliability": calibration.errors.reliability(error),
    }
    images = images.drop_columns([name for name in made if name in images.column_names])
    for name, values in made.items():
        images = images.append_column(name, nullable(values, there, pa.float64()))
    return images


def codes(worker_id: ArrowColumn, names: tuple[str, ...]) -> Ints:
    """(num_rows,) place of each row's worker in `names`; NOBODY for null and unknown ones."""
    places = pc.index_in(worker_id.cast(pa.string()), value_set=pa.array(names, pa.string()))
    found: Ints = pc.fill_null(places, NOBODY).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def check_columns(images: pa.Table, names: tuple[str, ...]) -> None:
    """Raise DatasetError if the table lacks one of the columns."""
    missing = [name for name in names if name not in images.column_names]
    if missing:
        raise DatasetError(
            f"no column {missing[0]!r}; expected rows of `default` of ImageNet-AB with"
            f" {', '.join(names)}"
        )
