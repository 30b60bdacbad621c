"""Small ImageNet-AB and COCO-AB folders, and older releases of `datasets` to open them with."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from logs import KEY, action, block, coco_log, coco_record, tar, xml

import luab_data
from luab_data.files import MANIFEST
from luab_data.kinds import kind_of
from luab_data.schema import COCO_CATEGORIES, Table
from luab_data.store.folder import read_manifest

# --- datasets ------------------------------------------------------------------------------------


def make_datasets(root: Path) -> Path:
    """`root/imagenet-ab` and `root/coco-ab`: simulated records and, among them, the odd ones.

    Two tables are split into three shards each, as in a folder of a million images.
    """
    root.mkdir(exist_ok=True)
    raw = root / "raw"
    raw.mkdir()
    luab_data.convert_imagenet(imagenet_log(raw), root / "imagenet-ab", worker_key=KEY)
    instances = coco_instances(raw / "instances.json")
    log = coco_records(raw, instances)
    luab_data.convert_coco(log, root / "coco-ab", instances=instances, worker_key=KEY)
    split_shards(root / "imagenet-ab", "rounds")
    split_shards(root / "coco-ab", "data")
    return root


def imagenet_log(folder: Path, count: int = 24) -> Path:
    """Simulated annotators, an image nobody met, one without boxes, clicks outside, odd names."""
    box = [[8.0, 8.0, 40.0, 40.0]]
    images = [
        luab_data.LabelledImage(
            image_id=f"n0000000{1 + i % 2}_{i}",
            **{"wnid": f"n0000000{1 + i % 2}", "width": 64, "height": 64, "boxes": box},
        )
        for i in range(count)
    ]
    simulated = folder / "simulated.tar.gz"
    luab_data.simulate_imagenet(images, simulated, truth=folder / "truth.jsonl", seed=3)
    with tarfile.open(simulated) as archive:
        members = [(m.name, archive.extractfile(m).read()) for m in archive if m.isfile()]  # type: ignore[union-attr]
    trace = [(900, 0.1, 0.2), (950, 1e-300, 0.30000000000000004), (1000, 1.002, -0.25)]
    odd = {
        "n00000001_900": xml("n00000001_900", []),
        "n00000002_901": xml("n00000002_901", [block(clicks=[], selected=False)]),
        "n00000002_902": xml(
            "n00000002_902",
            [block(clicks=[(1000, 1.002, -0.25)], trace=trace, hovered=[("enter", 900)])],
            boxes=[(0, 0, 9.5, 100), (1, 2, 3, 4)],
        ),
    }
    members += [(f"train_xml/{i.rpartition('_')[0]}/{i}.xml", body) for i, body in odd.items()]
    return tar(folder / "imagenet.tar.gz", members)


def coco_instances(path: Path, count: int = 12) -> Path:
    """Per image a rectangle each of four classes."""
    ids = list(COCO_CATEGORIES)
    annotations = []
    for index in range(count):
        for place in range(4):
            x, y = 10 + 70 * place, 20 + 5 * index
            box = [x, y, x + 60, y, x + 60, y + 90, x, y + 90]
            category = ids[(7 * index + 11 * place) % len(ids)]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 1, "category_id": category}
                | {"segmentation": [box], "iscrowd": 0, "area": 5400, "bbox": [x, y, 60, 90]}
            )
    images = [{"id": i + 1, "width": 320, "height": 240} for i in range(count)]
    categories = [{"id": key, "name": name} for key, name in COCO_CATEGORIES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def coco_records(folder: Path, instances: Path) -> Path:
    """Simulated records and three that the instances file lacks: no icons, icons, nulls inside."""
    simulated = folder / "simulated.json"
    luab_data.simulate_coco(instances, simulated, truth=folder / "coco-truth.jsonl", seed=3)
    placed = [action("add", "dog", (0.5, 0.5)), action("move", "dog", (0.9, 1.001), 40)]
    removed = [action("add", "cat", (0.1, 0.2)), action("remove", "cat", None, 90)]
    odd = [coco_record(900, []), coco_record(901, placed), coco_record(902, placed + removed)]
    return coco_log(folder / "coco.json", json.loads(simulated.read_text()) + odd)


def script_of(folder: Path) -> Path:
    """The loading script that the conversion wrote."""
    (path,) = (folder / "legacy").iterdir()
    return path


def split_shards(folder: Path, table: str, count: int = 3) -> None:
    """One shard as several of nearly equal length, checksums of the manifest renewed."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (only,) = (folder / table).glob("*.parquet")
    rows = pq.read_table(only)
    only.unlink()
    del manifest["files"][f"{table}/{only.name}"]
    edges = [len(rows) * i // count for i in range(count + 1)]
    for number in range(count):
        path = folder / table / f"train-{number:05d}-of-{count:05d}.parquet"
        some = rows.slice(edges[number], edges[number + 1] - edges[number])
        pq.write_table(some, path, row_group_size=4, write_page_checksum=True)
        name = path.relative_to(folder).as_posix()
        manifest["files"][name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


def configs_of(folder: Path) -> dict[str, Table]:
    """Config -> table."""
    return {table.config: table for table in kind_of(read_manifest(folder)).tables}


def true_rows(folder: Path, table: Table) -> list[dict[str, Any]]:
    """What the Parquet files hold, without any `datasets`."""
    return list(pq.read_table(folder / table.folder).to_pylist())


# --- environments --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Release:
    """One release of `datasets` with what was current then, and what luab_data needs there."""

    name: str
    pins: tuple[str, ...]
    below_python: tuple[int, int]  # the first Python without wheels of the pins


_OURS = ("click==8.1.8", "isal==1.7.2", "msgspec==0.19.0", "pycocotools==2.0.10", "pyyaml==6.0.2")

RELEASES = (
    Release(
        "datasets-2.14.7",
        (
            *("datasets==2.14.7", "pyarrow==14.0.2", "numpy==1.26.4", "pandas==2.1.4"),
            *("fsspec==2023.10.0", "huggingface_hub==0.36.0", "shapely==2.0.6", *_OURS),
        ),
        (3, 13),
    ),
    Release(
        "datasets-3.6.0",
        (
            *("datasets==3.6.0", "pyarrow==18.1.0", "numpy==2.2.6", "pandas==2.2.3"),
            *("fsspec==2025.3.0", "huggingface_hub==0.36.0", "shapely==2.0.7", *_OURS),
        ),
        (3, 14),
    ),
)


def environment(release: Release, cache: Path) -> Path:
    """The Python of a virtual environment with the release; made once, then kept in the cache.

    Skips the test where the index cannot be reached or has no wheels for this Python.
    """
    version = sys.version_info[:2]
    if version >= release.below_python:
        pytest.skip(f"{release.name}: its pins have no wheels for Python {version[0]}.{version[1]}")
    digest = hashlib.sha256(repr((release.pins, sys.version)).encode()).hexdigest()[:8]
    folder = cache / f"{release.name}-{digest}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if sys.platform == "win32":
        python = folder / "Scripts" / "python.exe"
    with FileLock(f"{folder}.lock"):  # pytest-xdist
        if not ready.is_file():
            command = [sys.executable, "-m", "venv", "--clear", str(folder)]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            _install(python, release)
            ready.touch()
    return python


def _install(python: Path, release: Release) -> None:
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--retries=1"]
    command += ["--timeout=30", "--only-binary=:all:", *release.pins]
    found = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if found.returncode:
        last = found.stderr.strip().splitlines()[-1]
        if "Retrying (" in found.stderr or "from versions: none" in found.stderr:
            pytest.skip(f"{release.name}: pip reaches no package index ({last})")
        pytest.fail(f"{release.name}: pip failed\n{found.stderr[-3000:]}")
