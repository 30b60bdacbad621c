"""The scripts of results/ and benchmarks/ import names that are there; CI runs few of them."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path for folder in ("results", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_imports_names_of_ours_that_exist(script: Path):
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("luab_"):
            module = import_module(node.module)
            for name in (alias.name for alias in node.names):
                if not hasattr(module, name):
                    import_module(f"{node.module}.{name}")
