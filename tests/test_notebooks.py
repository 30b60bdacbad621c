"""Notebooks run on simulated data, hold no outputs, and are the same as their paired scripts."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest
import simulated

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
NAMES = [
    "01_imagenet_ab_statistics",
    "02_coco_ab_statistics",
    "03_annotators_and_bias",
    "04_calibration",
    "05_load_and_join",
]


def test_there_are_these_notebooks_and_each_has_its_script():
    for suffix in (".ipynb", ".py"):
        assert [p.stem for p in sorted(NOTEBOOKS.glob(f"*{suffix}"))] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebook_and_script_say_the_same_and_hold_no_outputs(name: str):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    script = jupytext.read(NOTEBOOKS / f"{name}.py")
    cells = [(cell.cell_type, cell.source) for cell in script.cells]
    assert [(c.cell_type, c.source) for c in notebook.cells] == cells, (
        f"run `jupytext --sync notebooks/{name}.py`"
    )
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_define_nothing(name: str):
    """They read, plot and explain; what computes is in the packages, under test."""
    tree = ast.parse((NOTEBOOKS / f"{name}.py").read_text())
    logic = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.While, ast.Try)
    assert not [node for node in ast.walk(tree) if isinstance(node, logic)]


@pytest.fixture(scope="module")
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    corner = tmp_path_factory.mktemp("notebooks")
    simulated.imagenet_ab(corner)
    simulated.coco_ab(corner)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUAB_DATA_HOME", str(corner))
        patch.setenv("LUAB_IMAGES", str(corner / "images"))
        patch.setenv("IPYTHONDIR", str(corner / "ipython"))
        patch.delenv("MPLBACKEND")
        yield corner


@pytest.mark.parametrize("name", NAMES)
# Kernel and client talk over sockets that the interpreter finds open at its end.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_the_notebook_runs_and_ends_with_the_papers_table(name: str, data_home: Path):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(data_home)}}
    )
    client.execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert not [out for out in outputs if out.output_type == "error"]
    warnings = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    assert not [text for text in warnings if "Warning" in text], warnings
    pictures = [o for o in outputs if {"image/png", "image/svg+xml"} & {*o.get("data", {})}]
    assert pictures
    last = json.dumps(notebook.cells[-1].outputs)
    assert "how_computed" in last
    assert "paper" in last
