"""[I/O] What training is measured on: real images of two sizes, their XML files, their dataset.

Tiny ImageNet's images have 64 x 64 px, so that JPEG decoding costs almost nothing; no one trains on
that alone. `photos` are mosaics of 48 of them, 500 x 375 px, which is the usual size in ImageNet:
about 85 KB each at quality 90, where ImageNet's have 110 KB on average. Everything stays in a work
folder outside the project: the images are for non-commercial research.
"""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from luab_data import convert_imagenet
from luab_train.data.inputs import decode_rgb

PHOTO_WH = (500, 375)
QUALITY = 90
_COLUMNS, _ROWS, _TILE = 8, 6, 64


class NoInput(Exception):
    """The images or the log cannot be found; the message says what to give."""


class Inputs(NamedTuple):
    """Folders of one work folder, all about the same images."""

    photos: Path
    """`<wnid>/<image_id>.JPEG`, 500 x 375 px."""
    thumbs: Path
    """The same names, 64 x 64 px."""
    xml: Path
    """`<wnid>/<image_id>.xml`, the raw log's own bytes."""
    dataset: Path
    """What `luab-data convert imagenet-ab` makes of the log."""


def make_inputs(shared: Path, work: Path, count: int) -> Inputs:
    """Make what is not there yet; the first `count` / 20 images of each class.

    Raises:
        NoInput: `shared` lacks the images or the log.
    """
    source = shared / "data/tiny-imagenet/train"
    log = shared / "data/raw/imagenet_ab_tiny.tar.gz"
    if not source.is_dir() or not log.is_file():
        raise NoInput(f"{source} or {log} is absent; give --shared, the folder of shared inputs")
    made = Inputs(*(work / f"{name}-{count}" for name in ("photos", "thumbs", "xml", "dataset")))
    classes = sorted(folder for folder in source.iterdir() if folder.is_dir())
    files = [
        file
        for folder in classes
        for file in sorted(folder.glob("*.JPEG"))[: -(-count // len(classes))]
    ][:count]
    makers = (
        lambda out: make_photos(files, out),
        lambda out: _copy(files, out),
        lambda out: extract_xml(log, {file.stem for file in files}, out),
        lambda out: convert_imagenet(log, out, worker_key=b"a key for benchmarks", shown=False),
    )
    for folder, make in zip(made, makers, strict=True):
        if not folder.is_dir():
            partial = folder.with_name(f"partial-{folder.name}")
            shutil.rmtree(partial, ignore_errors=True)
            partial.parent.mkdir(parents=True, exist_ok=True)
            make(partial)
            partial.rename(folder)
    return made


def make_photos(files: list[Path], out: Path) -> None:
    """Image i is a mosaic of the files from i on, so that no two are alike."""
    tiles = [decode_rgb(file, file.name).resize((_TILE, _TILE)) for file in files]
    width, height = PHOTO_WH
    left, top = (_COLUMNS * _TILE - width) // 2, (_ROWS * _TILE - height) // 2
    for number, file in enumerate(files):
        mosaic = Image.new("RGB", (_COLUMNS * _TILE, _ROWS * _TILE))
        for place in range(_COLUMNS * _ROWS):
            row, column = divmod(place, _COLUMNS)
            mosaic.paste(tiles[(number + place) % len(tiles)], (column * _TILE, row * _TILE))
        photo = mosaic.crop((left, top, left + width, top + height))
        target = out / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        photo.save(target, "JPEG", quality=QUALITY)


def _copy(files: list[Path], out: Path) -> None:
    for file in files:
        target = out / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def extract_xml(log: Path, image_ids: set[str], out: Path) -> None:
    """The XML files of some images, as `<wnid>/<image_id>.xml`."""
    with tarfile.open(log, "r|*") as archive:
        for info in archive:
            path = Path(info.name)
            file = archive.extractfile(info)
            if file is not None and path.stem in image_ids:
                target = out / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read())
