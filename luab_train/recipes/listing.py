"""What `luab-train recipes` prints: our recipes by family, and a recipe beside the paper."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from luab_data.errors import OptionError
from luab_train import recipes
from luab_train.recipe import Recipe
from luab_train.recipes import recipe_functions
from luab_train.recipes.paper import ON, Statements, statements_of
from luab_train.sections import Data, Loss, Mix, Model, Optim
from luab_train.settings import flatten

WIDTH = 100

_TRANSFER = "Mask R-CNN on COCO instances from a trained ResNet: luab-train transfer --help"


def list_recipes() -> str:
    """Name and summary of each of ours, under the title of its family; torch stays unimported."""
    lines: list[str] = []
    for title, group in itertools.groupby(_ours(), key=lambda found: found[0]):
        family = list(group)
        width = max(len(name) for _, name, _ in family)
        lines += ["", title] if lines else [title]
        lines += [f"  {name:<{width}}  {summary}" for _, name, summary in family]
    return "\n".join([*lines, "", _TRANSFER])


def _ours() -> Iterator[tuple[str, str, str]]:
    """(title of the family, name, summary)."""
    for module_info in pkgutil.iter_modules(recipes.__path__):
        module = importlib.import_module(f"{recipes.__name__}.{module_info.name}")
        for function_name, function in recipe_functions(module).items():
            name = f"{module_info.name}:{function_name}"
            statements = statements_of(name)
            title = statements.title if statements else module_info.name
            yield title, name, (function.__doc__ or "").strip().split("\n")[0]


class Row(NamedTuple):
    """One key of a recipe beside the paper."""

    key: str
    paper: str
    ours: str
    why: str


class Comparison(NamedTuple):
    """A recipe beside the paper; each key that can change a result of it is in one of these."""

    departures: list[Row]
    """The paper says something else."""
    silent: list[Row]
    """The paper gives no value, and ours has a reason or is not the default."""
    agreeing: list[str]
    """Keys."""
    defaults: list[str]
    """Keys that the paper does not mention and that are as everywhere else."""


def compare(recipe: Recipe, statements: Statements) -> Comparison:
    """Key by key; keys that have no effect in this recipe are left out."""
    result = Comparison([], [], [], [])
    flat = flatten(recipe)
    for key, value in flat.items():
        if not _matters(key, recipe):
            continue
        said, why = statements.said.get(key), statements.why.get(key)
        if said is None or said.evidence == "U":
            if said is None and why is None and value == _DEFAULTS.get(key, value):
                result.defaults.append(key)
            else:
                paper = f"{said.value} ({said.where})" if said else "silent"
                result.silent.append(
                    Row(key, paper, _text(value), why or "a choice of this recipe")
                )
        elif said.value == ON and value:
            reason = why or "a choice of this recipe"
            result.silent.append(
                Row(key, f"{ON} ({said.where}, {said.evidence})", _text(value), reason)
            )
        elif said.value == value:
            result.agreeing.append(key)
        else:
            paper = f"{_text(said.value)} ({said.where}, {said.evidence})"
            result.departures.append(
                Row(key, paper, _text(value), why or "a choice of this recipe")
            )
    return result


def describe_difference(name: str, recipe: Recipe) -> str:
    """The comparison as text: departures first, then what the paper leaves open.

    Args:
        name: of the recipe function, which says by `builds_on` what it is compared with.
        recipe: what that function returned.
    """
    statements = statements_of(name)
    if statements is None:
        raise OptionError(
            f"recipe {name!r} does not say what of the paper it builds on; expected"
            " @builds_on(DEIT), or another of luab_train.recipes.paper, above its function"
        )
    if not statements.said:
        return f"{name}: {statements.title}."
    found = compare(recipe, statements)
    num_stated = len(found.departures) + len(found.agreeing)
    parts = [
        f"{name} beside the paper: {statements.title}.",
        f"Departs in {len(found.departures)} of the {num_stated} keys with a value there"
        " (P: the paper says so, C: the code it builds on).",
    ]
    if found.departures:
        parts.append(_table(found.departures))
    parts.append("The paper gives no value:")
    parts.append(_table(found.silent))
    parts.append(_sentence("Equal: ", found.agreeing))
    parts.append(_sentence("Not mentioned there, at the default here: ", found.defaults))
    return "\n\n".join(parts)


def _matters(key: str, recipe: Recipe) -> bool:
    """Whether changing `key` alone could change what the recipe does."""
    if key.startswith("engine.") or key in _NOT_COMPARED:
        return False
    return key not in _ONLY_WHERE or bool(_ONLY_WHERE[key](recipe))


# Which run it is, and what changes no result.
_NOT_COMPARED = frozenset(
    {"name", "target", "seed", "model.name", "model.checkpoint", "data.num_workers", "data.cache"}
)


def _points(recipe: Recipe) -> bool:
    return recipe.target != "none"


def _regression(recipe: Recipe) -> bool:
    return _points(recipe) and recipe.model.point_head == "regression"


def _places(recipe: Recipe) -> bool:
    return _points(recipe) and recipe.model.point_head != "attention"


def _guided(recipe: Recipe) -> bool:
    return _points(recipe) and recipe.loss.attention is not None


def _mixes(recipe: Recipe) -> bool:
    return recipe.mix.on


def _several(recipe: Recipe) -> bool:
    return recipe.data.several_labels


_ONLY_WHERE: dict[str, Callable[[Recipe], bool]] = {
    "data.crop_keep": _points,
    "data.point_geometry": lambda r: _points(r) and r.data.auto_augment is not None,
    "data.point_noise": lambda r: _points(r) and r.target != "dwell_time",
    "data.notebook_labels": _several,
    "model.point_head": _points,
    "model.point_output": _regression,
    "model.attentive_pooling": lambda r: r.model.point_head == "attention",
    "model.attention_sigma": lambda r: _points(r) and r.model.point_head != "regression",
    "mix.prob": _mixes,
    "mix.switch": lambda r: r.mix.mixup > 0 and r.mix.cutmix > 0,
    "mix.paste": _points,
    "mix.paste_size": lambda r: r.mix.paste is not None,
    "mix.paste_labels": lambda r: r.mix.paste is not None,
    "mix.paste_share": lambda r: r.mix.paste is not None and r.mix.paste_labels == "fixed",
    "mix.points": lambda r: _points(r) and _mixes(r),
    "loss.lambda_reg": _points,
    "loss.regression": _places,
    "loss.beta": lambda r: _places(r) and r.loss.regression == "smooth_l1",
    "loss.point_mean": lambda r: _points(r) and (_several(r) or r.target == "trace"),
    "loss.attention": _points,
    "loss.lambda_attention": _guided,
    "loss.map_sigma": _guided,
    "loss.reliability_weights": _points,
    "optim.momentum": lambda r: r.optim.name in ("sgd", "momentum"),
    "optim.warmup_lr": lambda r: r.optim.warmup_epochs > 0,
}

_DEFAULTS = flatten(
    Recipe(
        name="",
        data=Data(),
        model=Model(name=""),
        mix=Mix(),
        loss=Loss(),
        optim=Optim(lr=1.0, weight_decay=0.0),
        epochs=100,
        batch_size=1,
    )
)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{v:.3g}" for v in value)
    if value is None or value is False:
        return "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: Iterable[Row]) -> str:
    """Aligned columns; the paper's words and the reasons are wrapped under themselves."""
    head = Row("key", "the paper", "this recipe", "why")
    rows = [head, *rows]
    key, ours = (max(len(getattr(row, name)) for row in rows) for name in ("key", "ours"))
    paper = min(30, max(len(row.paper) for row in rows))
    why = WIDTH - key - ours - paper - 6
    lines = []
    for row in rows:
        columns = [
            [row.key],
            textwrap.wrap(row.paper, paper),
            [row.ours],
            textwrap.wrap(row.why, why),
        ]
        for cells in itertools.zip_longest(*columns, fillvalue=""):
            widths = (key, paper, ours, 0)
            lines.append(
                "  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True)).rstrip()
            )
    return "\n".join(lines)


def _sentence(start: str, keys: list[str]) -> str:
    text = start + (", ".join(keys) or "none") + "."
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
