"""What luab-data answers today, written down, so that a change of any of it shows as a diff.

    python tests/goldens.py --compare [NAME...]   # prints a unified diff, exits 1 if there is any
    python tests/goldens.py --write [NAME...]     # a difference that is meant: write them anew
    python tests/goldens.py --list

NAME is a golden (`stats.coco-ab`), a part of its name (`stats`, `coco-ab`), or a group: `synthetic`
(seeded inputs that this script writes) or `shared` (digests only, of the logs in ../shared/data;
left out where that folder is absent). No NAME is all. A line `-` of the diff is what is written
down, `+` what the code says now.

The command line is run in processes of its own, as by `python -m luab_data`, and files are read
from disk; nothing of luab is imported here. $PYTHONPATH decides which tree runs, by default the one
this script is in; so goldens of an older commit are written with
`PYTHONPATH=OLD_TREE python tests/goldens.py --write`. Dates, temporary paths, versions of libraries
and the bytes of Parquet files are left out; content digests and all numbers are kept as printed.
Goldens hold for the versions of libraries in `goldens/made-with.json`.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
GOLDENS = HERE / "goldens"
MADE_WITH = GOLDENS / "made-with.json"
SHARED = HERE.parent.parent / "shared" / "data"
KINDS = ("imagenet-ab", "coco-ab")
OPTIONAL_COLUMNS = "notebook_point_x,notebook_point_y"
COCO_IDS = {1: "person", 3: "car", 17: "cat", 18: "dog", 44: "bottle", 62: "chair", 72: "tv"}
COCO_NAMES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire "
    "hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, "
    "bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, "
    "snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis "
    "racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, "
    "orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, "
    "dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, "
    "toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear, hair drier, "
    "toothbrush"
).split(", ")
"""COCO's 80 classes; their ids are 1 to 90 without COCO_GAPS."""
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_SECONDS = 600  # that one command may take
_SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
_DATE = re.compile(r"\b20\d\d-\d\d-\d\d\b")


class Answer(NamedTuple):
    """What a process said."""

    exit_code: int
    out: str
    error: str


def _succeeded(command: Sequence[str], answer: Answer) -> Answer:
    if answer.exit_code:
        raise SystemExit(
            f"luab-data {' '.join(command)}\nended with {answer.exit_code}:\n{answer.error[-3000:]}"
        )
    return answer


_SERVE = """
import io, json, runpy, sys, traceback
own = sys.stdout
for line in sys.stdin:
    sys.argv = ["luab-data", *json.loads(line)]
    sys.stdout, sys.stderr = said = [io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2)]
    code = 0
    try:
        runpy.run_module("luab_data", run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        code = 1
        traceback.print_exc()
    for stream in said:
        stream.flush()
    print(json.dumps([code, *(s.buffer.getvalue().decode() for s in said)]), file=own, flush=True)
"""
"""`python -m luab_data` for each line of stdin, in one process: most of their time is imports."""


class World:
    """A temporary folder in which all commands run; logs and datasets are made on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "worker.key"
        self.key.write_text("0123456789abcdef0123456789abcdef\n")
        (folder / "tmp").mkdir()
        tree = os.environ.get("PYTHONPATH") or str(HERE.parent)
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in tree.split(os.pathsep)),
            "LUAB_WORKER_KEY_FILE": str(self.key),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_OFFLINE": "1",
            "TMPDIR": str(folder / "tmp"),
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "agg",
            "COLUMNS": "80",
            "LINES": "24",
            "NO_COLOR": "1",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }
        self.environment.pop("LUAB_DATA_HOME", None)
        self._made: dict[str, Future[Any]] = {}
        self._lock = threading.Lock()
        self._mine = threading.local()
        self._servers: list[subprocess.Popen[str]] = []

    def luab(self, *arguments: str, ok: bool = True) -> Answer:
        """`python -m luab_data ARGUMENTS` in the folder, in a process that this thread keeps.

        Args:
            ok: stop if the exit code is not 0.
        """
        if not hasattr(self._mine, "server"):
            self._mine.server = self._start(_SERVE, stdin=subprocess.PIPE)
            self._servers.append(self._mine.server)
        server = self._mine.server
        patience = threading.Timer(_SECONDS, server.kill)
        patience.start()
        server.stdin.write(json.dumps(arguments) + "\n")
        server.stdin.flush()
        line = server.stdout.readline()
        patience.cancel()
        if not line:
            raise SystemExit(f"luab-data {' '.join(arguments)}\nended its process")
        answer = self._without_paths(*json.loads(line))
        return _succeeded(arguments, answer) if ok else answer

    def luab_in_turn(self, *commands: Sequence[str], ok: bool = True) -> list[Answer]:
        """`python -m luab_data` for each command."""
        return [self.luab(*command, ok=ok) for command in commands]

    def program(self, code: str, *arguments: str) -> Answer:
        """What another program says, in a process of its own."""
        process = self._start(code, *arguments, stderr=subprocess.PIPE)
        out, error = process.communicate(timeout=_SECONDS)
        return _succeeded(arguments, self._without_paths(process.returncode, out, error))

    def _start(self, code: str, *arguments: str, **streams: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=self.folder, env=self.environment, encoding="utf-8",
            stdout=subprocess.PIPE, **streams,
        )  # fmt: skip

    def close(self) -> None:
        """End the processes."""
        for server in self._servers:
            server.communicate()

    def _without_paths(self, exit_code: int, out: str, error: str) -> Answer:
        folder = str(self.folder)
        return Answer(exit_code, out.replace(folder, "DIR"), error.replace(folder, "DIR"))

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, called once whoever asks first; the others wait."""
        with self._lock:
            mine = name not in self._made
            future = self._made.setdefault(name, Future())
        if mine:
            try:
                future.set_result(make())
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def log(self, kind: str) -> Answer:
        """Simulate `KIND.log` from pictures or instances of our own; what simulate said."""
        return self.once(f"log {kind}", lambda: self._simulate(kind))

    def _simulate(self, kind: str) -> Answer:
        if kind == "imagenet-ab":
            source = write_class_folders(self.folder / "imagenet-images")
            options = ["--boxes", "imagenet-images.csv", "--boxed-fraction", "0.75"]
        else:
            source = write_instances(self.folder)
            options = []
        return self.luab(
            *("simulate", kind, source.name, *options, "--workers", "8", "--seed", "3"),
            *("--out", LOG[kind], "--truth", f"{kind}.truth.jsonl"),
        )

    def dataset(self, kind: str) -> Answer:
        """Convert the log to the folder `KIND`; what convert said."""

        def convert() -> Answer:
            self.log(kind)
            return self.convert(kind, LOG[kind], kind)

        return self.once(f"dataset {kind}", convert)

    def convert(
        self, kind: str, log: str, out: str, *options: str, instances: str = "instances.json",
        ok: bool = True,
    ) -> Answer:  # fmt: skip
        given = ["--instances", instances] if kind == "coco-ab" else []
        key = ["--worker-key-file", self.key.name]
        return self.luab("convert", kind, log, "--out", out, *given, *key, *options, ok=ok)


LOG = {"imagenet-ab": "imagenet-ab.tar.gz", "coco-ab": "coco-ab.json"}
IMAGES = {"imagenet-ab": "imagenet-images", "coco-ab": "coco-images"}


# ---- inputs: drawn from a seed, in formats whose bytes depend on no library


def write_bmp(path: Path, pixels_HW3: np.ndarray) -> None:
    """An uncompressed picture of 24 bits a pixel."""
    height, width, _ = pixels_HW3.shape
    row_bytes = (3 * width + 3) // 4 * 4
    rows = np.zeros((height, row_bytes), np.uint8)
    rows[:, : 3 * width] = pixels_HW3[::-1, :, ::-1].reshape(height, -1)
    head = struct.pack("<2sIHHI", b"BM", 54 + rows.size, 0, 0, 54)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, rows.size, 2835, 2835, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + rows.tobytes())


def write_class_folders(folder: Path, num_images: int = 120) -> Path:
    """`folder/<wnid>/*.bmp`, a block on a plain ground, and the blocks as boxes in `folder`.csv."""
    rng = np.random.default_rng(11)
    lines = ["image_id,xmin,ymin,xmax,ymax"]
    for number in range(num_images):
        wnid = f"n0000000{number % 8 + 1}"
        width, height = (int(side) for side in rng.integers(20, 44, 2))
        pixels = np.full((height, width, 3), (90, 110, 130), np.uint8)
        name = f"{wnid}_{number}"
        for _ in range(1 + number % 7 // 6):
            w, h = (int(rng.integers(6, side // 2 + 4)) for side in (width, height))
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            pixels[y : y + h, x : x + w] = (200, 80, 40)
            lines.append(f"{name},{x},{y},{x + w},{y + h}")
        write_bmp(folder / wnid / f"{name}.bmp", pixels)
    folder.with_suffix(".csv").write_text("\n".join(lines) + "\n")
    return folder


def write_instances(folder: Path, num_images: int = 150) -> Path:
    """`instances.json` of rectangles in seven classes, and the pictures in `coco-images`."""
    rng = np.random.default_rng(12)
    annotations: list[dict[str, Any]] = []
    images = []
    for image_id in range(1, num_images + 1):
        width, height = (int(side) for side in rng.integers(32, 64, 2))
        pixels = np.full((height, width, 3), (90, 140, 140), np.uint8)
        for category in rng.permutation(list(COCO_IDS))[: rng.integers(1, 5)].tolist():
            w, h = (int(rng.integers(4, side // 2)) for side in (width, height))
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            pixels[y : y + h, x : x + w] = (2 * category, 80, 40)
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "category_id": category,
                    "iscrowd": 0, "area": w * h, "bbox": [x, y, w, h],
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                }
            )  # fmt: skip
        name = f"COCO_train2014_{image_id:012d}.bmp"
        write_bmp(folder / IMAGES["coco-ab"] / name, pixels)
        images.append({"id": image_id, "width": width, "height": height, "file_name": name})
    numbers = [number for number in range(1, 91) if number not in COCO_GAPS]
    named = zip(numbers, COCO_NAMES, strict=True)
    categories = [{"id": number, "name": name} for number, name in named]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def write_bad_log(world: World, kind: str) -> str:
    """The simulated log with a few records broken in different ways; its name."""
    world.log(kind)
    good = world.folder / LOG[kind]
    bad = good.with_name(f"bad-{good.name}")
    if kind == "coco-ab":
        records = json.loads(good.read_text())
        del records[3]["actionHistories"]
        records[8]["timeSpent"] = "a while"
        records[21]["image_id"] = records[20]["image_id"]
        bad.write_text(json.dumps(records))
        return bad.name
    with tarfile.open(good) as source, tarfile.open(bad, "w:gz") as target:
        for number, member in enumerate(m for m in source.getmembers() if m.isfile()):
            file = source.extractfile(member)
            assert file is not None
            text = file.read()
            if number == 4:
                text = text[: len(text) // 2]
            if number == 13:
                text = text.replace(b"<selected>", b"<chosen>").replace(
                    b"</selected>", b"</chosen>"
                )
            if number == 29:
                text = re.sub(rb"(<hit_submit_time>)[^<]*", rb"\1yesterday", text)
            member.size = len(text)
            target.addfile(member, io.BytesIO(text))
    return bad.name


# ---- what is written down


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _column_digests(table: pa.Table) -> dict[str, str]:
    """Column -> digest of its values, whatever the chunks."""
    return {
        name: _short(json.dumps(table[name].to_pylist(), default=str).encode())
        for name in table.column_names
    }


def _schema(schema: pa.Schema) -> dict[str, str]:
    """Column -> type and metadata."""
    described = {}
    for field in schema:
        metadata = {k.decode(): v.decode() for k, v in sorted((field.metadata or {}).items())}
        null = "" if field.nullable else " not null"
        described[field.name] = f"{field.type}{null} {json.dumps(metadata, ensure_ascii=False)}"
    return described


def _configs(folder: Path) -> dict[str, Any]:
    """Folder of shards -> rows, schema, layout in the files, and a digest of every column."""
    described = {}
    for name in sorted({p.parent for p in folder.rglob("*.parquet")}):
        shards = sorted(name.glob("*.parquet"))
        files = [pq.ParquetFile(path) for path in shards]
        groups = [f.metadata.row_group(k) for f in files for k in range(f.num_row_groups)]
        columns = [group.column(k) for group in groups for k in range(group.num_columns)]
        schema = files[0].schema_arrow
        table = pa.concat_tables([file.read() for file in files])
        described[name.relative_to(folder).as_posix()] = {
            "shards": [path.name for path in shards],
            "rows_by_row_group": [group.num_rows for group in groups],
            "compression": sorted({column.compression for column in columns}),
            "schema_metadata": sorted(key.decode() for key in schema.metadata or {}),
            "schema": _schema(schema),
            "values": _column_digests(table),
        }
    return described


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest without versions of libraries and without digests of Parquet bytes."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["versions"] = sorted(manifest["versions"])
    if "job" in manifest:  # of a conversion; its digest is of the versions, too
        manifest["job"] = len(manifest["job"])
    manifest["files"] = sorted(manifest["files"])
    return dict(manifest)


def _dataset(folder: Path) -> dict[str, Any]:
    skipped = folder / "skipped.jsonl"
    return {
        "manifest": _manifest(folder),
        "files": sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()),
        "checksums_list": sorted(
            line.split("  ", 1)[1] for line in _lines((folder / "SHA256SUMS").read_text())
        ),
        "skipped": _lines(skipped.read_text()) if skipped.exists() else None,
        "configs": _configs(folder),
    }


def simulate(world: World, kind: str) -> Any:
    said = world.log(kind)
    truth = (world.folder / f"{kind}.truth.jsonl").read_bytes()
    log = (world.folder / LOG[kind]).read_bytes()
    return {"stdout": _lines(said.out), "log": _short(log), "truth": _short(truth)}


def convert(world: World, kind: str) -> Any:
    said = world.dataset(kind)
    return {"stdout": _lines(said.out), **_dataset(world.folder / kind)}


def convert_bad(world: World, kind: str) -> Any:
    """A log with broken records: stop at the first, or leave them out."""
    log = write_bad_log(world, kind)
    refused = world.convert(kind, log, f"refused-{kind}", ok=False)
    said = world.convert(kind, log, f"bad-{kind}", "--on-bad", "skip")
    folder = world.folder / f"bad-{kind}"
    manifest = _manifest(folder)
    kept = ("skipped", "unknown", "version", "content_digest", "num_rows", "files")
    return {
        "raise": {"exit_code": refused.exit_code, "stderr": _lines(refused.error)},
        "skip": {
            "stdout": _lines(said.out),
            "manifest": {key: manifest[key] for key in kept},
            "skipped": _lines((folder / "skipped.jsonl").read_text()),
        },
    }


def _plain_and_json(*verb: str) -> Callable[[World, str], Any]:
    def record(world: World, kind: str) -> Any:
        world.dataset(kind)
        name, *options = verb
        command = [name, kind, *options]
        plain, as_json = world.luab_in_turn(command, [*command, "--json"])
        return {"plain": _lines(plain.out), "json": json.loads(as_json.out)}

    return record


def calibrate(world: World, kind: str) -> Any:
    if kind == "coco-ab":
        world.dataset(kind)
        refused = world.luab("calibrate", kind, ok=False)
        return {"exit_code": refused.exit_code, "stderr": _lines(refused.error)}
    world.dataset(kind)
    out, command = "calibrated.parquet", ["calibrate", kind]
    by_worker, as_json, by_image = world.luab_in_turn(
        command, [*command, "--json"], [*command, "--split", "image", "--out", out]
    )
    table = pq.read_table(world.folder / out)
    return {
        "plain": _lines(by_worker.out),
        "json": json.loads(as_json.out),
        "split_image": _lines(by_image.out),
        "out": {"schema": _schema(table.schema), "values": _column_digests(table)},
    }


def check_damaged(world: World, kind: str) -> Any:
    """A shard cut short, the card gone and a stranger in the folder."""
    world.dataset(kind)
    folder = world.folder / f"damaged-{kind}"
    shutil.copytree(world.folder / kind, folder)
    shard = sorted(folder.rglob("*.parquet"))[-1]
    shard.write_bytes(shard.read_bytes()[:-100])
    (folder / "README.md").unlink()
    (folder / "notes.txt").write_text("mine\n")
    said = world.luab("check", folder.name, "--json", ok=False)
    found = json.loads(_SHA256.sub("SHA256", said.out))
    # What the lint finds is in check.KIND.
    return {"exit_code": said.exit_code, **{k: v for k, v in found.items() if k != "lint"}}


def card(world: World, kind: str) -> Any:
    world.dataset(kind)
    return _lines((world.folder / kind / "README.md").read_text())


_KEEP_TEMPORARY = """
import runpy, sys, tempfile
tempfile.TemporaryDirectory.cleanup = lambda self: self._finalizer.detach()
tempfile.TemporaryDirectory.__exit__ = lambda self, *_: self.cleanup()
sys.argv[0] = "luab-data"
runpy.run_module("luab_data", run_name="__main__", alter_sys=True)
"""
"""Runs the command line and keeps its temporary folders: what a dry run would have sent."""


def publish(world: World, kind: str) -> Any:
    world.dataset(kind)
    said = world.program(_KEEP_TEMPORARY, "publish", kind, "--repo-id", "me/some", "--dry-run")
    listed = re.sub(r"SHA256 +[\d,]+", "SHA256 BYTES", _SHA256.sub("SHA256", said.out))
    listed = re.sub(r"[\d,]+ bytes", "BYTES", listed)
    staged = [
        path.parent
        for path in (world.folder / "tmp").rglob("croissant.json")
        if json.loads((path.parent / "manifest.json").read_text())["dataset"] == kind
    ]
    if not staged:
        return {"stdout": _lines(listed), "files": "none found under $TMPDIR"}
    cards = (world.folder / kind, staged[0])
    croissant = _DATE.sub("DATE", _SHA256.sub("SHA256", (staged[0] / "croissant.json").read_text()))
    croissant = re.sub(r'"contentSize": "\d+ B"', '"contentSize": "BYTES"', croissant)
    return {
        "stdout": _lines(listed),
        "croissant": _with_short_fields(json.loads(croissant)),
        "citation": _lines(_DATE.sub("DATE", (staged[0] / "CITATION.cff").read_text())),
        "card_against_that_of_the_folder": list(
            difflib.unified_diff(*(_lines((f / "README.md").read_text()) for f in cards), n=0)
        ),
    }


def _with_short_fields(croissant: dict[str, Any]) -> dict[str, Any]:
    """Fields as id, type and a digest of all they say: the card has their sentences."""
    for records in croissant["recordSet"]:
        records["field"] = [
            f"{field['@id']} {field.get('dataType')} {_short(json.dumps(field).encode())}"
            for field in records.get("field", [])
        ]
    return croissant


def export(world: World, kind: str) -> Any:
    world.dataset(kind)
    name = "n00000002" if kind == "imagenet-ab" else "dog"
    options = {
        "imagefolder": ["--fraction", "0.5"],
        "webdataset": ["--class", name],
        "coco-keypoints": [],
    }
    outs = {f: f"{kind}-{f}" + ".json" * (f == "coco-keypoints") for f in options}
    answers = world.luab_in_turn(
        *(
            ["export", kind, "--format", f, "--images", IMAGES[kind], "--out", outs[f], *chosen]
            for f, chosen in options.items()
        )
    )
    return {
        format: {"stdout": _lines(said.out), "files": _contents(world.folder / outs[format])}
        for format, said in zip(options, answers, strict=True)
    }


def _contents(path: Path) -> dict[str, Any]:
    """Path in a folder (or the one file) -> digest; of tables and archives, of what is inside."""
    found_files = (p for p in path.rglob("*") if p.is_file() and p.name != ".luab.json")
    files = sorted(found_files) if path.is_dir() else [path]
    found: dict[str, Any] = {}
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            found[name] = {"schema": _schema(table.schema), "values": _column_digests(table)}
        elif file.suffix == ".tar":
            with tarfile.open(file) as tar:
                found[name] = {
                    m.name: _short(tar.extractfile(m).read())  # type: ignore[union-attr]
                    for m in tar.getmembers()
                }
        elif file.suffix == ".json":
            content = json.loads(file.read_bytes())
            head = {k: v if not isinstance(v, list) else v[:1] for k, v in content.items()}
            found[name] = {"digest": _short(file.read_bytes()), "start": head}
        else:
            found[name] = _short(file.read_bytes())
    return found


def trace(world: World, kind: str) -> Any:
    """The first image of the folder, and the one with the most rounds (and selected) or actions."""
    world.dataset(kind)
    data = sorted((world.folder / kind / "data").glob("*.parquet"))
    rows = pa.concat_tables([pq.read_table(path) for path in data]).to_pylist()
    if kind == "imagenet-ab":
        most = max(rows, key=lambda row: (row["num_rounds"], bool(row["selected"])))
    else:
        most = max(rows, key=lambda row: sum(row["num_actions"] or []))
    chosen = [str(row["image_id"]) for row in (rows[0], most)]
    commands = [["trace", kind, k, *json_] for k in chosen for json_ in ([], ["--json"])]
    answers = iter(world.luab_in_turn(*commands))
    return {
        k: {"plain": _lines(next(answers).out), "json": json.loads(next(answers).out)}
        for k in chosen
    }


def derive(world: World, kind: str) -> Any:
    world.dataset(kind)
    given = ["--instances", "instances.json"] if kind == "coco-ab" else []
    options = {"optional": ["--columns", OPTIONAL_COLUMNS, *given], "all_again": given}
    outs = {name: f"derived-{name}/{kind}" for name in options}
    for out in outs.values():
        (world.folder / out).parent.mkdir(exist_ok=True)
    answers = world.luab_in_turn(
        *(["derive", kind, "--out", outs[name], *chosen] for name, chosen in options.items())
    )
    record = {}
    for (name, out), said in zip(outs.items(), answers, strict=True):
        manifest = _manifest(world.folder / out)
        kept = ("version", "content_digest", "num_rows")
        record[name] = {
            "stdout": _lines(said.out),
            "manifest": {key: manifest[key] for key in kept},
            "values": {config: c["values"] for config, c in _configs(world.folder / out).items()},
        }
    return record


def errors(world: World) -> Any:
    """Exit codes and texts of what people get wrong."""
    for kind in KINDS:
        world.dataset(kind)
    (world.folder / "mine").mkdir()
    (world.folder / "mine" / "thesis.txt").write_text("all of it\n")
    wrong = [
        ["stats", "nowhere"],
        ["trace", "imagenet-ab", "n00000001_999"],
        ["check", "imagenet-ab", "--rule", "no-such-rule"],
        ["derive", "coco-ab", "--columns", "no_such_column"],
        ["annotators", "coco-ab", "--sort", "no_such_trait"],
        ["convert", "imagenet-ab", LOG["imagenet-ab"], "--out", "mine"],
        ["publish", "coco-ab", "--repo-id", "no-owner", "--dry-run"],
        ["stats"],
        ["no-such-verb"],
    ]
    return {
        " ".join(command): {"exit_code": said.exit_code, "stderr": _lines(said.error)}
        for command, said in zip(wrong, world.luab_in_turn(*wrong, ok=False), strict=True)
    }


_HELP = """
import inspect, json, runpy, sys
import click

def shown(value):
    return value if isinstance(value, (str, int, float, bool, type(None))) else (
        [shown(v) for v in value] if isinstance(value, (list, tuple)) else
        None if "UNSET" in repr(value) or callable(value) else str(value))

def parameter(param):
    kind = param.type.to_info_dict()
    usual = ("param_type", "name", "file_okay", "readable")
    kind = {k: shown(v) for k, v in kind.items() if k not in usual and v not in (None, False)}
    known = {"type": param.type.name, **kind, "required": param.required,
             "default": shown(param.default)}
    known.update({k: shown(getattr(param, k)) for k in
                  ("multiple", "nargs", "is_flag", "metavar", "envvar", "hidden", "show_default")
                  if getattr(param, k, None) not in (None, False, 1)})
    if isinstance(param, click.Option):
        known["help"] = param.help
        return " ".join([*param.opts, *param.secondary_opts]), known
    return param.name.upper(), known

def command(found, context):
    known = {"help": inspect.cleandoc(found.help or "").split("\\n")}
    known["parameters"] = dict(parameter(p) for p in found.get_params(context))
    if isinstance(found, click.Group):
        known["verbs"] = {}
        for name in sorted(found.list_commands(context)):
            verb = found.get_command(context, name)
            known["verbs"][name] = command(verb, click.Context(verb, context, name))
    return known

def main(self, *args, **kwargs):
    print(json.dumps(command(self, click.Context(self, info_name="luab-data",
                                                 **self.context_settings))))
    sys.exit()

click.Command.main = click.Group.main = main
sys.argv = ["luab-data"]
runpy.run_module("luab_data", run_name="__main__", alter_sys=True)
"""
"""Walks the tree of verbs of whatever group `python -m luab_data` starts."""


def cli(world: World) -> Any:
    """Every verb with help, arguments and options."""
    tree = json.loads(world.program(_HELP).out)
    for option in tree["parameters"].values():
        option.pop("callback", None)
    return tree


_PUBLIC = """
import inspect, json, luab_data
names = getattr(luab_data, "__all__", None) or [n for n in dir(luab_data) if n[0] != "_"]
found = {}
for name in sorted(names):
    value = getattr(luab_data, name)
    if inspect.ismodule(value):
        continue
    try:
        parameters = inspect.signature(value).parameters.values()
        found[name] = [str(p.replace(annotation=p.empty)) for p in parameters]
    except (TypeError, ValueError):
        found[name] = type(value).__name__
print(json.dumps(found))
"""


def public(world: World) -> Any:
    """Names of `luab_data` (not modules) and their parameters."""
    return json.loads(world.program(_PUBLIC).out)


def shared(world: World, log: str) -> Any:
    """Digests of a log in ../shared/data: content, rows and the text of every verb."""
    kind = "coco-ab" if log.endswith(".json") else "imagenet-ab"
    stem = log.split(".")[0]
    out = f"shared-{stem}/{kind}"
    (world.folder / out).parent.mkdir()
    instances = SHARED / "coco" / "annotations" / "instances_train.json"
    options = ["--on-bad", "skip"] if "dirty" in stem else []
    source = str(SHARED / "raw" / log)
    world.convert(kind, source, out, *options, instances=str(instances))
    manifest = _manifest(world.folder / out)
    kept = ("version", "content_digest", "num_rows", "skipped", "unknown")
    verbs = [
        ["stats", "--json"], ["stats"], ["annotators", "--json"], ["annotators"],
        ["accept", "--json"], ["accept"], ["check", "--json"], ["check"],
    ]  # fmt: skip
    if kind == "imagenet-ab":
        verbs.append(["calibrate", "--json"])
    answers = world.luab_in_turn(*([name, out, *given] for name, *given in verbs), ok=False)
    texts = {
        " ".join(verb): f"exit {said.exit_code} {_short(_without_prose(said.out).encode())}"
        for verb, said in zip(verbs, answers, strict=True)
    }
    files = {
        name: _short((world.folder / out / name).read_bytes())
        for name in ("README.md", "skipped.jsonl")
        if (world.folder / out / name).exists()
    }
    values = {name: config["values"] for name, config in _configs(world.folder / out).items()}
    return {
        **{key: manifest.get(key) for key in kept},
        "text_outputs": texts,
        "files": files,
        "values": values,
    }


_PROSE = {"doc", "null_doc", "source", "meaning", "unit"}


def _without_prose(out: str) -> str:
    """JSON without its sentences, so that a digest is of keys and numbers; other text as it is."""
    if not out.startswith("{"):
        return out
    return json.dumps(
        json.loads(out, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if k not in _PROSE})
    )


BY_KIND: dict[str, Callable[[World, str], Any]] = {
    "simulate": simulate,
    "convert": convert,
    "convert-bad": convert_bad,
    "stats": _plain_and_json("stats"),
    "annotators": _plain_and_json("annotators"),
    "accept": _plain_and_json("accept"),
    "calibrate": calibrate,
    "check": _plain_and_json("check"),
    "check-damaged": check_damaged,
    "card": card,
    "publish": publish,
    "export": export,
    "trace": trace,
    "derive": derive,
}
SHARED_LOGS = ("imagenet_ab_tiny.tar.gz", "imagenet_ab_dirty.tar.gz", "coco_ab_tiny.json")


def all_goldens() -> dict[str, Callable[[World], Any]]:
    """Name -> what records it."""
    found: dict[str, Callable[[World], Any]] = {"cli": cli, "public": public, "errors": errors}
    for verb, record in BY_KIND.items():
        for kind in KINDS:
            found[f"{verb}.{kind}"] = lambda world, record=record, kind=kind: record(world, kind)
    for log in SHARED_LOGS:
        found[f"shared.{log.split('.')[0]}"] = lambda world, log=log: shared(world, log)
    return found


def selected(names: Sequence[str]) -> list[str]:
    """The goldens that are asked for; those of ../shared only where it is there."""
    known = list(all_goldens())
    chosen = []
    for name in names or known:
        if name == "synthetic":
            found = [k for k in known if not k.startswith("shared.")]
        else:
            found = [k for k in known if name == k or name in k.split(".")]
        if not found:
            raise SystemExit(f"{name}: no such golden; expected a part of {', '.join(known)}")
        chosen += found
    left_out = not SHARED.is_dir()
    if left_out and any(name.startswith("shared.") for name in chosen):
        print(f"left out: shared.*, since {SHARED} is not there", file=sys.stderr)
    return [k for k in known if k in chosen and not (left_out and k.startswith("shared."))]


# ---- text, comparison


def as_text(value: Any) -> str:
    return _pretty(value, "") + "\n"


def _pretty(value: Any, indent: str) -> str:
    """JSON: what fits in a line stands in one, short items of a long list fill lines."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(flat) <= _WIDTH or not isinstance(value, dict | list):
        return flat
    deeper = indent + " "
    if isinstance(value, dict):
        items = [f"{deeper}{json.dumps(k)}: {_pretty(v, deeper)}" for k, v in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    items = [_pretty(v, deeper) for v in value]
    if not any(isinstance(v, dict) for v in value) and max(map(len, items)) <= _SHORT:
        items = textwrap.wrap(  # with the spaces inside of items held together
            ", ".join(item.replace(" ", "\0") for item in items), _WIDTH - len(deeper)
        )
        items = [item.replace("\0", " ").removesuffix(",") for item in items]
    return "[\n" + ",\n".join(deeper + item for item in items) + f"\n{indent}]"


_WIDTH = 100
_SHORT = 24  # characters of an item that shares its line


def record(names: Sequence[str]) -> dict[str, str]:
    """Golden -> its text by the code of today."""
    goldens = all_goldens()
    with tempfile.TemporaryDirectory(prefix="luab-goldens-") as name:
        world = World(Path(name).resolve())
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            made = {golden: pool.submit(goldens[golden], world) for golden in names}
            try:
                found = {golden: as_text(future.result()) for golden, future in made.items()}
            finally:
                world.close()
    # The version follows from the content: `convert` and `shared` hold it, others would repeat it.
    return {
        name: text if name.startswith(("convert.", "shared.")) else _VERSION.sub("1.0.N", text)
        for name, text in found.items()
    }


_VERSION = re.compile(r"1\.0\.\d{4,}")


def differences(names: Sequence[str]) -> dict[str, str]:
    """Golden -> unified diff, of those that differ."""
    found = {}
    for name, now in record(names).items():
        path = GOLDENS / f"{name}.json"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if now != before:
            lines = difflib.unified_diff(
                before.splitlines(), now.splitlines(), f"goldens/{name}.json", "now", lineterm=""
            )
            found[name] = "\n".join(lines)
    return found


def made_with() -> dict[str, str]:
    """Versions that numbers and texts can depend on."""
    names = ("numpy", "pyarrow", "scipy", "shapely", "click")
    return {"python": "{}.{}".format(*sys.version_info), **{name: version(name) for name in names}}


def other_versions() -> str:
    """The versions that are not those of the goldens, as a sentence; empty if all are."""
    then, now = json.loads(MADE_WITH.read_text()), made_with()
    changed = [f"{k} {now[k]} (goldens: {v})" for k, v in then.items() if now[k] != v]
    return f"other versions than the goldens were made with: {', '.join(changed)}" * bool(changed)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--compare", nargs="*", metavar="NAME", help="print a diff; exit 1 if any")
    mode.add_argument("--write", nargs="*", metavar="NAME", help="write the goldens anew")
    mode.add_argument("--list", action="store_true", help="print the names")
    given = parser.parse_args()
    if given.list:
        print("\n".join(all_goldens()))
        return 0
    if given.write is not None:
        for name, text in record(selected(given.write)).items():
            (GOLDENS / f"{name}.json").write_text(text, encoding="utf-8")
        MADE_WITH.write_text(as_text(made_with()), encoding="utf-8")
        return 0
    names = selected(given.compare)
    found = differences(names)
    print("\n".join(found.values()) if found else f"{len(names)} goldens are equal")
    if found:
        print(f"\n{len(found)} of {len(names)} goldens differ: {', '.join(found)}")
        print(other_versions() or "meant? tests/goldens.py --write, and a line in CHANGELOG.md")
    return bool(found)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # `| head`
        sys.stdout = None  # type: ignore[assignment]
        sys.exit(1)
