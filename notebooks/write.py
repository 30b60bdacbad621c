"""Run the notebooks on simulated logs and keep their outputs. `make notebooks`.

The scripts NN_name.py are what one edits; this writes NN_name.ipynb beside them. Seeds, worker key
and paths are fixed, and what differs from run to run (times, progress, versions) is left out, so
the same code writes the same file.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbclient
import nbformat
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))  # the drawn pictures that the tests use too

import simulated

MOST_BYTES = 400_000


def smaller(png: str) -> str:
    """A figure in 96 colours, base64 as notebooks have it; a third of the bytes."""
    small = io.BytesIO()
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    image.quantize(96, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def kept(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Without progress: what is written to stderr, and widgets."""
    shown = [o for o in outputs if o.get("name") != "stderr"]
    return [o for o in shown if not any("widget" in kind for kind in o.get("data", {}))]


def clean(notebook: nbformat.NotebookNode, corner: Path) -> None:
    """Drop what differs from run to run."""
    notebook.metadata = {
        key: value for key, value in notebook.metadata.items() if key in ("jupytext", "kernelspec")
    }
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        cell.outputs = kept(cell.outputs)
        for output in cell.outputs:
            output.metadata = {}
            data = output.get("data", {})
            if "image/png" in data:
                data.pop("text/plain", None)
                data["image/png"] = smaller(data["image/png"])
            for kind, text in data.items():
                if kind != "image/png" and isinstance(text, str):
                    data[kind] = re.sub(rf"{re.escape(str(corner))}/?", "", text)


def write(script: Path, corner: Path) -> Path:
    """Run one script as a notebook in the folder that holds the datasets."""
    notebook = jupytext.read(script)
    notebook.cells = [nbformat.from_dict(cell) for cell in notebook.cells]
    resources = {"metadata": {"path": str(corner)}}
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources=resources, record_timing=False, kernel_name="python3"
    )
    client.execute()
    clean(notebook, corner)
    path = script.with_suffix(".ipynb")
    nbformat.write(notebook, path)
    size = path.stat().st_size
    print(f"{path.name}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{path.name} has {size:,} bytes; at most {MOST_BYTES:,} are committed")
    return path


def main() -> None:
    """Write those that are named, or all."""
    wanted = sys.argv[1:] or [p.stem for p in sorted(HERE.glob("0*.py"))]
    with tempfile.TemporaryDirectory() as name:
        corner = Path(name).resolve()
        key = corner / "worker-key"
        key.write_text("of the simulated workers of the notebooks\n")
        os.environ["LUAB_WORKER_KEY_FILE"] = str(key)
        os.environ["LUAB_DATA_HOME"] = str(corner)
        os.environ["LUAB_IMAGES"] = str(corner / "images")
        os.environ["IPYTHONDIR"] = str(corner / "ipython")
        os.environ["HF_HOME"] = str(corner / "hf")
        simulated.imagenet_ab(corner, num_images=1800)
        simulated.coco_ab(corner, num_images=1200, num_workers=16)
        simulated.looks(corner, num_images=400)
        for stem in wanted:
            write(HERE / f"{stem}.py", corner)


if __name__ == "__main__":
    main()
