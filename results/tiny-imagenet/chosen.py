"""The weight of the point term that the sweep chose, and the click's runs at that weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments import LAMBDAS, SWEPT, best_lambda, tuned_recipe


class Chosen(NamedTuple):
    """What noise, controls and data fractions of a model were made at."""

    weight: float
    click: str
    """Name of the runs of the click arm, all data and no noise, at that weight."""


def choose(model: str, rows: Sequence[Mapping[str, Any]]) -> Chosen | None:
    """None where there is no sweep, or before it is over."""
    recipe = tuned_recipe(model, rows) if model in SWEPT else None
    weight = None if recipe is None else best_lambda(model, recipe, rows)
    if weight is None:
        return None
    swept = weight in LAMBDAS
    return Chosen(weight, f"lambda-{model}-click-{weight:g}" if swept else f"arms-{model}-click")
