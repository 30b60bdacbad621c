"""Raw logs for tests, written in the layout of the releases by the shortest code that does it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner, Result

from luab_data.cli import main
from luab_data.errors import RecordError
from luab_data.raw.source import Source
from luab_data.raw.tar import runs

KEY = b"a secret for tests only"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def block(
    *,
    selected: bool = True,
    clicks: list[tuple[int, float, float]] | None = None,
    trace: list[tuple[int, float, float]] | None = None,
    hovered: list[tuple[str, int]] | None = None,
    submit: int = 1_640_000_000,
    worker: str = "00AA3B5E80",
    **other: Any,
) -> dict[str, Any]:
    """One metadata block as tag -> text or list of entries."""
    clicks = [(1000, 0.5, 0.5)] if clicks is None else clicks
    values: dict[str, Any] = {
        "assignment_id": "3A",
        "estimateTime": 120,
        "hit_id": "3H",
        "hit_submit_time": submit,
        "hoveredCount": 1,
        "hoveredRecord": [{"action": a, "time": t} for a, t in hovered or []],
        "imageHeight": 243,
        "imageID": None,
        "imagePosition": {"x": 10, "y": 20.5},
        "imageWidth": 324,
        "image_idx": 3,
        "imagenet_hit_id": "0" * 32,
        "mouseTracking": [{"time": t, "x": x, "y": y} for t, x, y in trace or []],
        "originalImageHeight": 100,
        "originalImageWidth": 200,
        "page_idx": 2,
        "selected": selected,
        "selectedCount": len(clicks),
        "selectedRecord": [{"time": t, "x": x, "y": y} for t, x, y in clicks],
        "worker_id": worker,
    }
    return {**values, **other}


def xml(
    image_id: str = "n00000001_1",
    blocks: list[dict[str, Any]] | None = None,
    boxes: list[tuple[float, ...]] | None = None,
    size: tuple[int, int] = (200, 100),
) -> bytes:
    """One file of the release."""
    wnid = image_id.rpartition("_")[0]
    lines = [f"  <folder>{wnid}</folder>", f"  <filename>{image_id}</filename>"]
    if boxes:
        lines += ["  <source>", "    <database>ILSVRC_2012</database>", "  </source>", "  <size>"]
        lines += [f"    <width>{size[0]}</width>", f"    <height>{size[1]}</height>"]
        lines += ["    <depth>3</depth>", "  </size>", "  <segmented>0</segmented>"]
    for box in boxes or []:
        edges = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        lines += ["  <object>", f"    <name>{wnid}</name>", "    <pose>Unspecified</pose>"]
        lines += ["    <truncated>0</truncated>", "    <difficult>0</difficult>", "    <bndbox>"]
        lines += [f"      <{edge}>{value}</{edge}>" for edge, value in edges]
        lines += ["    </bndbox>", "  </object>"]
    for values in [block()] if blocks is None else blocks:
        if values.get("imageID", "") is None:
            values["imageID"] = f"{wnid}/{image_id}"
        lines.append("  <metadata>")
        for tag, value in values.items():
            if isinstance(value, dict):
                value = [value]
            if not isinstance(value, list):
                lines.append(f"    <{tag}>{value}</{tag}>")
            elif not value:
                lines.append(f"    <{tag}>None</{tag}>")
            for entry in value if isinstance(value, list) else []:
                lines.append(f"    <{tag}>")
                lines += [f"      <{key}>{item!s}</{key}>" for key, item in entry.items()]
                lines.append(f"    </{tag}>")
        lines.append("  </metadata>")
    return ("<annotation>\n" + "\n".join(lines) + "\n</annotation>\n").encode()


def tar(path: Path, members: dict[str, bytes] | list[tuple[str, bytes]]) -> Path:
    """A tar.gz (or .tar by its name) of files."""
    items = members.items() if isinstance(members, dict) else members
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as out:
        for name, body in items:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            out.addfile(info, io.BytesIO(body))
    return path


def archive(path: Path, records: dict[str, bytes]) -> Path:
    """A release archive of image id -> XML."""
    return tar(path, {f"train_xml/{i.rpartition('_')[0]}/{i}.xml": b for i, b in records.items()})


def picture(path: Path, number: int = 0, size: tuple[int, int] = (20, 10), **options: Any) -> Path:
    """A JPEG of one colour that says which image it is: see number_of."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (number * 4, 255 - number * 4, 40)
    Image.new("RGB", size, colour).save(path, "JPEG", **{"quality": 95, **options})
    return path


def number_of(image: Any) -> int:
    return round(image.convert("RGB").getpixel((4, 4))[0] / 4)


def action(kind: str, icon: str, to: tuple[float, float] | None, at: int = 0) -> dict[str, Any]:
    point = None if to is None else {"x": to[0], "y": to[1]}
    start = None if kind == "add" else {"x": 0.1, "y": 0.1}
    return {
        **{"actionType": kind, "iconType": icon, "pointFrom": start},
        **{"pointTo": point, "timeAt": at},
    }


def coco_record(image_id: int, actions: list[dict[str, Any]], **other: Any) -> dict[str, Any]:
    """One object of the COCO-AB release."""
    return {
        "mouseTracking": [{"timeAt": 5, "x": 0.25, "y": 1.002}],
        "originalImageWidth": 20,
        "originalImageHeight": 10,
        "page_id": 0,
        "imageWidth": 450,
        "imageHeight": 450,
        "hit_id": "a" * 32,
        "worker_id": "00AA3B5E80",
        "actionHistories": actions,
        "timeSpent": 12000,
        "image_id": image_id,
        "categoryHistories": [
            {"categoryIndex": 1, "categoryName": "Animal", "timeAt": 7, "usingKeyboard": False}
        ],
        **other,
    }


def coco_log(path: Path, records: list[Any]) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def luab(*words: object, columns: int = 80) -> Result:
    """`luab-data WORDS` in this process, without a terminal."""
    runner = CliRunner(env={"COLUMNS": str(columns)})
    found = runner.invoke(main, [str(word) for word in words], prog_name="luab-data")
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Path in a folder -> content."""
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


class Member(NamedTuple):
    """One file of an archive: its bytes, or what is wrong with it."""

    name: str
    body: bytes
    problem: RecordError | None


def members(source: Source, **options: int) -> Iterator[Member]:
    """The members of all runs one by one."""
    for run in runs(source, **options):
        for index, name in enumerate(run.names):
            yield Member(name, run.body(index), run.problems.get(index))
