"""Training and evaluation of image classifiers with annotation byproducts.

    from luab_train import evaluate, find_recipe, override, train

The names below are all that is public. They are imported when first used: torch takes seconds.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luab_train.data.points import PointDataset as PointDataset
    from luab_train.evaluate.folder import evaluate as evaluate
    from luab_train.models.weights import split_state_dict as split_state_dict
    from luab_train.predict import predict as predict
    from luab_train.recipe import Recipe as Recipe
    from luab_train.recipes import find_recipe as find_recipe
    from luab_train.sections import Data as Data
    from luab_train.sections import Loss as Loss
    from luab_train.sections import Model as Model
    from luab_train.sections import Optim as Optim
    from luab_train.settings import override as override
    from luab_train.train.loop import train as train
    from luab_train.train.run_folder import load_model as load_model

_HOME = {
    "Data": "sections",
    "Loss": "sections",
    "Model": "sections",
    "Optim": "sections",
    "PointDataset": "data.points",
    "Recipe": "recipe",
    "evaluate": "evaluate.folder",
    "find_recipe": "recipes",
    "load_model": "train.run_folder",
    "override": "settings",
    "predict": "predict",
    "split_state_dict": "models.weights",
    "train": "train.loop",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'luab_train' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"luab_train.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """A subpackage of a verb's name does not hide the verb: `evaluate` stays the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
