"""Published boxes of images, and the list of labelled images, from the usual files.     [I/O]

One small reader per format; every one yields `image id -> (K, 4) boxes` with the numbers as they
stand in the file: xyxy, pixels, Pascal VOC or Tiny ImageNet convention, never clipped, shifted or
sorted (columns.regions.sort_corners does that). A point is in a box when
`xmin <= x * width <= xmax` and the same for y, borders included.
"""

from __future__ import annotations

import csv
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize
from xml.etree import ElementTree

import numpy as np

from luab_data.errors import ImagesError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def file_stem(path: str) -> str:
    """A picture's file without folders and extension, NFC-normalised: how images are known."""
    name = normalize("NFC", path.replace("\\", "/").rpartition("/")[2])
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ID_COLUMNS = ("image_id", "file", "filename")

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImage:
    """One image of a class folder tree.

    Attributes:
        image_id: file name without its extension, e.g. `n01443537_0`.
        wnid: name of the class folder.
        width: px, as the file's header says (EXIF orientation is not applied).
        height: px.
        boxes: (K, 4) float64, xyxy px; K is 0 for an image without published boxes. Given as
            anything that NumPy makes such an array of.
    """

    image_id: str
    wnid: str
    width: int
    height: int
    boxes: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", np.asarray(self.boxes, dtype=float).reshape(-1, 4))


def read_boxes(source: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Boxes by image id, from a folder or from one file.

    Args:
        source: a folder, walked to its leaves for `*_boxes.txt` (Tiny ImageNet) and `*.xml`
            (ILSVRC, Pascal VOC); or one such file; or one `.csv`, either with the columns
            image_id (or file, or filename), xmin, ymin, xmax, ymax, or Kaggle's
            `LOC_val_solution.csv` (ImageId, PredictionString).

    Returns:
        `image id -> (K, 4)` float64, xyxy px, in file order; K > 0, an image without boxes is
        absent. A folder with none of these files gives an empty dict.

    Raises:
        ImagesError: a line that is no box, or an image with boxes in two files.
    """
    source = Path(source)
    if source.is_dir():
        return _merge(_read_file(path) for path in box_files(source))
    if not source.is_file():
        raise ImagesError(f"{source}: no such file or folder; expected boxes or an image folder")
    return _merge([_read_file(source)])


def read_labelled_images(
    tree: str | os.PathLike[str], boxes: str | os.PathLike[str] | None = None
) -> list[LabelledImage]:
    """The images `TREE/<wnid>/*` (jpg, jpeg, png, webp, bmp), sorted by class and file name.

    Args:
        tree: folder of class folders. Only image headers are read.
        boxes: what `read_boxes` takes; by default the box files inside the tree itself.

    Raises:
        ImagesError: no image, an unreadable image, one image id twice, or `boxes` of other images.
    """
    tree = Path(tree)
    if not tree.is_dir():
        raise ImagesError(f"{tree}: not a folder; expected class folders with images inside")
    boxes_of = read_boxes(tree if boxes is None else boxes)
    images: list[LabelledImage] = []
    path_of: dict[str, Path] = {}
    for folder in sorted(path for path in tree.iterdir() if path.is_dir()):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
                continue
            if path.stem in path_of:
                raise ImagesError(
                    f"{path}: its image id {path.stem!r} is also that of {path_of[path.stem]}; "
                    "expected one file per image id. Rename or remove one of them."
                )
            path_of[path.stem] = path
            width, height, _ = read_frame(path)
            found = boxes_of.get(path.stem)
            images.append(
                LabelledImage(
                    image_id=path.stem,
                    wnid=folder.name,
                    width=width,
                    height=height,
                    boxes=np.empty((0, 4)) if found is None else found,
                )
            )
    if not images:
        raise ImagesError(f"{tree}: found no image; expected <wnid>/*.JPEG (or png, webp, bmp)")
    if boxes is not None and boxes_of and path_of.keys().isdisjoint(boxes_of):
        raise ImagesError(
            f"{boxes}: none of its {len(boxes_of)} images is in {tree}, e.g. "
            f"{next(iter(boxes_of))!r}; expected boxes of these images, e.g. {images[0].image_id!r}"
        )
    return images


class Frame(NamedTuple):
    """A picture file, and how it is shown: browsers and annotators see it turned.

    Attributes:
        width, height: px of the picture as stored.
        orientation: EXIF's, 1 to 8: how the stored picture is turned to be shown; 1 if it says
            nothing.
    """

    width: int
    height: int
    orientation: int = 1

    def stored(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the picture as shown is in the picture as stored; fractions."""
        return (
            *((x, y), (1 - x, y), (1 - x, 1 - y), (x, 1 - y)),
            *((y, x), (y, 1 - x), (1 - y, 1 - x), (1 - y, x)),
        )[self.orientation - 1]

    def shown(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the picture as stored is in the picture as shown; fractions."""
        opposite = {6: 8, 8: 6}.get(self.orientation, self.orientation)
        return self._replace(orientation=opposite).stored(x, y)


def read_frame(path: Path) -> Frame:
    """Size and orientation of a picture from its header alone.

    Raises:
        ImagesError: no picture that Pillow can read, or no Pillow.
    """
    try:
        from PIL import ExifTags, Image  # lazily: convert and stats run without Pillow
    except ImportError as error:
        raise ImagesError(
            f"{path}: reading image sizes needs Pillow, which is not installed. "
            "Install it with `pip install pillow`."
        ) from error
    try:
        with warnings.catch_warnings():
            # No pixel is decoded here, so a large image is no decompression bomb to us.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
                return Frame(*image.size, orientation if orientation in range(1, 9) else 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(f"{path}: not a readable image ({error})") from error


def box_files(folder: Path) -> Iterator[Path]:
    """`*_boxes.txt` and `*.xml` below a folder, in sorted order."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            # Archives from macOS carry `._name.xml` twins that are not XML.
            if name.endswith(("_boxes.txt", ".xml")) and not name.startswith("."):
                yield Path(root, name)


def _merge(files: Iterable[tuple[Path, dict[str, list[Box]]]]) -> dict[str, np.ndarray]:
    """Join files; inside one file boxes of an image add up, across files they are a clash."""
    boxes_of: dict[str, np.ndarray] = {}
    path_of: dict[str, Path] = {}
    for path, found in files:
        for image_id, boxes in found.items():
            if image_id in path_of:
                raise ImagesError(
                    f"{path}: boxes of image {image_id!r} were already read from "
                    f"{path_of[image_id]}; expected the boxes of an image in one file. "
                    "Give a folder or a file that holds one version of the annotations."
                )
            path_of[image_id] = path
            boxes_of[image_id] = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return boxes_of


def _read_file(path: Path) -> tuple[Path, dict[str, list[Box]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ImagesError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ImagesError(f"{path}: byte {error.start} is not UTF-8; expected text") from error
    if "\0" in text:
        # expat takes `<\0` for UTF-16 whatever it was told, so a DTD could pass the check below.
        raise ImagesError(f"{path}: holds NUL characters; expected UTF-8 text")
    match path.suffix.lower():
        case ".csv":
            return path, _read_csv(path, text)
        case ".xml":
            return path, _read_voc(path, text)
        case ".txt":
            return path, _read_boxes_txt(path, text)
    raise ImagesError(
        f"{path}: found a {path.suffix or 'nameless'} file; expected boxes as .csv, .xml (Pascal "
        "VOC) or _boxes.txt (Tiny ImageNet), or a folder of them"
    )


def _read_boxes_txt(path: Path, text: str) -> dict[str, list[Box]]:
    """Tiny ImageNet: one box a line, `file xmin ymin xmax ymax`, tabs or spaces between."""
    boxes: dict[str, list[Box]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split("\t") if "\t" in line else line.split()
        where = f"{path}, line {number}"
        if len(fields) != 5:
            raise ImagesError(
                f"{where}: found {len(fields)} fields; expected 5: file, xmin, ymin, xmax, ymax"
            )
        boxes.setdefault(_image_id(fields[0], where), []).append(_box(fields[1:], where))
    return boxes


def _read_csv(path: Path, text: str) -> dict[str, list[Box]]:
    """One box a row under named columns, or Kaggle's ImageId, PredictionString."""
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        kaggle = "predictionstring" in header and "imageid" in header
        if kaggle:
            columns = [header.index("imageid"), header.index("predictionstring")]
        else:
            columns = _named_columns(path, header)
        boxes: dict[str, list[Box]] = {}
        for row in rows:
            if not any(map(str.strip, row)):
                continue
            where = f"{path}, line {rows.line_num}"
            if len(row) != len(header):
                raise ImagesError(
                    f"{where}: found {len(row)} fields; expected {len(header)} as in the header"
                )
            name, *rest = (row[column] for column in columns)
            found = _kaggle_boxes(rest[0], where) if kaggle else [_box(rest, where)]
            if found:
                boxes.setdefault(_image_id(name, where), []).extend(found)
    except csv.Error as error:
        raise ImagesError(f"{path}, line {rows.line_num}: not CSV ({error})") from error
    return boxes


def _named_columns(path: Path, header: list[str]) -> list[int]:
    """Where the image name and the four corners stand."""
    names = [name for name in _ID_COLUMNS if name in header]
    missing = [name for name in _CORNERS if name not in header]
    if not names or missing:
        raise ImagesError(
            f"{path}, line 1: found the columns {', '.join(header) or '(none)'}; expected one of "
            f"{', '.join(_ID_COLUMNS)} and {', '.join(_CORNERS)}, or ImageId, PredictionString"
        )
    return [header.index(name) for name in (names[0], *_CORNERS)]


def _kaggle_boxes(text: str, where: str) -> list[Box]:
    """`wnid x0 y0 x1 y1 wnid x0 ...` of LOC_val_solution.csv."""
    fields = text.split()
    if len(fields) % 5:
        raise ImagesError(
            f"{where}: PredictionString has {len(fields)} words; expected groups of 5: "
            "wnid, xmin, ymin, xmax, ymax"
        )
    return [_box(fields[at + 1 : at + 5], where) for at in range(0, len(fields), 5)]


def _read_voc(path: Path, text: str) -> dict[str, list[Box]]:
    """Pascal VOC: annotation/filename and annotation/object/bndbox, one file an image."""
    # Decoded text is checked, so no other encoding can hide a declaration from us.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ImagesError(
            f"{path}: found a DTD or an entity declaration; expected plain Pascal VOC"
        )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise ImagesError(f"{path}: not well-formed XML ({error})") from error
    if root.tag != "annotation":
        raise ImagesError(f"{path}: found <{root.tag}> as the root; expected <annotation>")
    boxes = []
    for index, instance in enumerate(root.findall("object")):
        where = f"{path}, object {index}"
        corners = [instance.findtext(f"bndbox/{name}") for name in _CORNERS]
        if None in corners:
            raise ImagesError(f"{where}: found no complete bndbox; expected {', '.join(_CORNERS)}")
        boxes.append(_box([corner or "" for corner in corners], where))
    # ILSVRC's training XMLs have the literal text `%s` where the name should be.
    name = (root.findtext("filename") or "").strip()
    image_id = path.stem if name in ("", "%s") else _image_id(name, str(path))
    return {image_id: boxes} if boxes else {}


def _image_id(name: str, where: str) -> str:
    """File name (perhaps with folders, perhaps without extension) -> image id."""
    image_id = file_stem(name.strip())
    if not image_id:
        raise ImagesError(f"{where}: found no image name; expected one, e.g. n01443537_0.JPEG")
    return image_id


def _box(fields: list[str], where: str) -> Box:
    numbers = []
    for name, field in zip(_CORNERS, fields, strict=True):
        text = field.strip()
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise ImagesError(f"{where}: {name} is {text!r}; expected a number of pixels")
        numbers.append(float(text))
    xmin, ymin, xmax, ymax = numbers
    return xmin, ymin, xmax, ymax
