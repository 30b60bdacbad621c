"""One run from another: a recipe function that changes a few keys of its base.

A table of the paper is one base and some rows. Each row gets a name, a docstring and a command of
its own, and says only in what it differs:

    resnet18 = network(resnet50, "resnet18", "ResNet-18", "resnet18")
    resnet18_click = arm(resnet18, "click")
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from luab_train.recipe import Recipe
from luab_train.recipes.paper import NONE, Said, builds_on, statements_of
from luab_train.settings import override

_ALONE = "labels alone"
_ARMS = {"click": "labels and clicks", "random": "labels and random points"}


def variant(
    base: Callable[[], Recipe],
    name: str,
    summary: str,
    changes: Mapping[str, Any],
    *,
    note: str = "",
    said: Mapping[str, Said] | None = None,
) -> Callable[[], Recipe]:
    """`base` with some keys changed, as a recipe function of the base's module.

    Args:
        base: a recipe function; the variant has its docstring, with another name and summary.
        name: of the variable that the result is bound to.
        summary: first line of the docstring.
        changes: dotted key -> value, as for `override`.
        note: a sentence to put behind the changes.
        said: what the paper says of this run and not of the base.
    """
    full_name = f"{base.__module__.rpartition('.')[2]}:{name}"

    def build() -> Recipe:
        return override(base(), {**changes, "name": full_name})

    build.__name__ = build.__qualname__ = name
    build.__module__ = base.__module__
    build.__doc__ = _docstring(base, name, summary, changes, note)
    statements = statements_of(f"{base.__module__}:{base.__name__}") or NONE
    if said:
        statements = statements._replace(said={**statements.said, **said})
    return builds_on(statements)(build)


def network(
    base: Callable[[], Recipe],
    name: str,
    words: str,
    model: str,
    changes: Mapping[str, Any] | None = None,
    *,
    note: str = "",
) -> Callable[[], Recipe]:
    """`base` with another network.

    Args:
        words: the network, as the first word of the summary.
        model: its name in timm.
        changes: what else differs.
    """
    summary, _, _ = (base.__doc__ or "").partition("\n")
    summary = words + summary[len(summary.split()[0].rstrip(",")) :]
    return variant(base, name, summary, {"model.name": model, **(changes or {})}, note=note)


def arm(base: Callable[[], Recipe], target: str) -> Callable[[], Recipe]:
    """A run on labels alone, as a run with points from `target`; named `<base>_<target>`."""
    summary, _, _ = (base.__doc__ or "").partition("\n")
    assert _ALONE in summary, f"{base.__name__}: {summary}"
    return variant(
        base,
        f"{base.__name__}_{target}",
        summary.replace(_ALONE, _ARMS[target]),
        {"target": target},
    )


def _docstring(
    base: Callable[[], Recipe], name: str, summary: str, changes: Mapping[str, Any], note: str
) -> str:
    """The base's, with commands that run the variant into a folder of its own."""
    _, _, body = inspect.cleandoc(base.__doc__ or "").partition("\n")
    body = re.sub(rf"(\brun \w+:){base.__name__}\b", rf"\g<1>{name}", body)
    body = re.sub(rf"\bruns/((?:coco_)?){base.__name__}_0\b(?!/)", rf"runs/\g<1>{name}_0", body)
    changed = ", ".join(f"{key}={value}" for key, value in changes.items())
    here = textwrap.fill(
        f"Here:    {changed}. {note}", 96, subsequent_indent=" " * 9, break_on_hyphens=False
    )
    return f"{summary}\n{body}\n{here}\n"
