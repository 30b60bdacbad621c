"""Recipes by name: `imagenet_ab:resnet50` is one of ours, a module of this folder a dataset, and
`my_package.my_module:my_function` one of yours.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Callable

from luab_data.errors import OptionError
from luab_train.recipe import Recipe


def find_recipe(name: str) -> Recipe:
    """The recipe `module:function`; a module without dots is looked for among ours first, and as
    with `python -m`, modules of the current folder are found too.
    """
    module_name, separator, function_name = name.partition(":")
    if not (module_name and separator and function_name):
        raise OptionError(
            f"recipe {name!r}: expected module:function, e.g. debug:tiny; `luab-train recipes`"
            " lists ours"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _recipe_module(module_name)
    function = getattr(module, function_name, None)
    if function is None or function_name not in recipe_functions(module):
        known = ", ".join(recipe_functions(module)) or "none"
        raise OptionError(f"recipe {name!r}: no such recipe in {module.__name__}; it has {known}")
    recipe = function()
    if not isinstance(recipe, Recipe):
        raise OptionError(
            f"recipe {name!r}: the function returned {type(recipe).__name__}, expected a"
            " luab_train.Recipe"
        )
    return recipe


def recipe_functions(module: types.ModuleType) -> dict[str, Callable[[], Recipe]]:
    """Public functions of a module that are declared to return a Recipe, in its order."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, types.FunctionType)
        and not name.startswith("_")
        and value.__module__ == module.__name__
        and value.__annotations__.get("return") in (Recipe, "Recipe", "luab_train.Recipe")
    }


def _recipe_module(name: str) -> types.ModuleType:
    candidates = [name] if "." in name else [f"luab_train.recipes.{name}", name]
    for candidate in candidates:
        try:
            return importlib.import_module(candidate)
        except ModuleNotFoundError as error:
            # A module that exists but lacks one of its own imports is the user's to see.
            if error.name is None or not (
                candidate == error.name or candidate.startswith(f"{error.name}.")
            ):
                raise
    raise OptionError(
        f"recipe module {name!r} not found; tried {' and '.join(candidates)}. `luab-train recipes`"
        " lists ours"
    )
