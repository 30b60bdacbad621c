"""Notebooks run on simulated data, keep its outputs, and say what their scripts say."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest
import simulated

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
sys.path.append(str(NOTEBOOKS))

from write import kept  # noqa: E402

NAMES = [
    "01_imagenet_ab_statistics",
    "02_coco_ab_statistics",
    "03_annotators_and_bias",
    "04_calibration",
    "05_load_and_join",
    "06_ways_of_looking",
]
WITHOUT_PAPER = ("06_ways_of_looking",)


def test_there_are_these_notebooks_and_each_has_its_script():
    for suffix in (".ipynb", ".py"):
        assert [p.stem for p in sorted(NOTEBOOKS.glob(f"[0-9]*{suffix}"))] == NAMES


def outputs_of(notebook: nbformat.NotebookNode) -> list[list[nbformat.NotebookNode]]:
    """Outputs of each code cell, without progress."""
    return [kept(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_and_script_say_the_same(name: str):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    script = jupytext.read(NOTEBOOKS / f"{name}.py")
    cells = [(cell.cell_type, cell.source) for cell in script.cells]
    assert [(c.cell_type, c.source) for c in notebook.cells] == cells, "run `make notebooks`"


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_committed_with_small_outputs_of_nobodys_machine(name: str):
    path = NOTEBOOKS / f"{name}.ipynb"
    assert path.stat().st_size < 400_000
    shown = [o for outputs in outputs_of(nbformat.read(path, as_version=4)) for o in outputs]
    assert [o for o in shown if {"image/png", "image/svg+xml"} & {*o.get("data", {})}]
    assert not [o for o in shown if o.output_type == "error" or o.get("name") == "stderr"]
    assert not re.search(r"/tmp/|/home/|/root/|widget-view", path.read_text())


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
    simulated.looks(corner)
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
    committed = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    now, then = ([len(cell) for cell in outputs_of(book)] for book in (notebook, committed))
    assert now == then, "run `make notebooks`"
    pictures = [o for o in outputs if {"image/png", "image/svg+xml"} & {*o.get("data", {})}]
    assert pictures
    if name in WITHOUT_PAPER:
        return
    last = json.dumps(notebook.cells[-1].outputs)
    assert "how_computed" in last
    assert "paper" in last
