"""[I/O] The pictures of a study: found once, shown smaller, never touched.

A picture is known by a key, a hash of its path below the folder, so no path of anybody's is ever
asked for. What is served is encoded anew, as JPEG or PNG: nothing else that a file may hold goes
out.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from PIL import Image, ImageOps

from luab_data.errors import ImagesError
from luab_data.ours import is_noise

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What Pillow may read: no format that it hands to another program, whatever a file is called."""
WIDTHS = (160, 324, 648, 900, 1800)
"""Widths that pictures are served in, px: the next larger one than is asked for."""
_QUALITY = 88
MOST_PIXELS = 120_000_000
"""Of a picture: some 1 GB of memory while it is made smaller."""
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow says of a file that is no picture, or unpacks to more than it will hold."""


@dataclass(frozen=True)
class Picture:
    """One picture.

    Args:
        key: of its path: 16 hex digits.
        path: below the folder, with `/`.
        image_id: what logs call it: its name without suffix, with the folders where there are
            several of that name.
        width, height: px, turned as EXIF says.
    """

    key: str
    path: str
    image_id: str
    width: int
    height: int

    def is_in(self, folder: str) -> bool:
        """Whether it lies in that folder, which may be one in another, or below it."""
        return normalize("NFC", self.path).startswith(f"{normalize('NFC', folder)}/")


def find_pictures(root: Path) -> dict[str, Picture]:
    """Pictures below a folder by key, in the order of their paths; headers are read.

    Raises:
        ImagesError: there is no such folder, no picture in it, or one that cannot be opened.
    """
    if not root.is_dir():
        raise ImagesError(f"{root}: no such folder; expected the pictures of the study")
    inside = [
        path.relative_to(root)
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not is_noise(path.relative_to(root).as_posix())
        and path.is_file()
    ]
    if not inside:
        raise ImagesError(f"{root}: holds no picture; expected {', '.join(SUFFIXES)}")
    names = Counter(path.stem for path in inside)
    found: dict[str, Picture] = {}
    for path in inside:
        text = path.as_posix()
        key = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        name = path.stem if names[path.stem] == 1 else path.with_suffix("").as_posix()
        found[key] = Picture(key, text, normalize("NFC", name), *_size(root / path))
    return found


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ImagesError(
                    f"{path}: has {width} x {height} pixels; expected {MOST_PIXELS:,} at most:"
                    " put a smaller copy in its place"
                )
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except _UNREADABLE as error:
        raise ImagesError(
            f"{path}: cannot be opened as a picture ({error}); mend or remove it"
        ) from error
    return (height, width) if turned else (width, height)


class Thumbnails:
    """Pictures as they are served.

    Args:
        root: folder of the pictures.
        pictures: by key.
        cache: folder to keep what was made.
    """

    def __init__(self, root: Path, pictures: Mapping[str, Picture], cache: Path) -> None:
        self._root, self._pictures, self._cache = root, pictures, cache

    def get(self, key: str, width: int) -> tuple[bytes, str] | None:
        """A picture at least so wide, or as it is if it is smaller, and its media type.

        Returns: None for a key of no picture.

        Raises:
            ImagesError: the file cannot be read any more.
        """
        picture = self._pictures.get(key)
        if picture is None:
            return None
        width = next((w for w in WIDTHS if w >= width), WIDTHS[-1])
        is_png = picture.path.lower().endswith((".png", ".gif"))
        kind, suffix = ("image/png", ".png") if is_png else ("image/jpeg", ".jpg")
        kept = self._cache / f"{key}-{width}{suffix}"
        if kept.exists():
            return kept.read_bytes(), kind
        body = self._made(self._root / picture.path, width, "PNG" if is_png else "JPEG")
        temporary = kept.with_name(f"{kept.name}.{secrets.token_hex(4)}")  # others may make it too
        with suppress(OSError):  # a full disk: it is made again for who asks next
            self._cache.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(body)
                temporary.replace(kept)
            finally:
                temporary.unlink(missing_ok=True)
        return body, kind

    def _made(self, path: Path, width: int, format: str) -> bytes:
        try:
            with Image.open(path, formats=FORMATS) as image:
                image.draft("RGB", (width, width))
                shown = ImageOps.exif_transpose(image)
                shown = shown.convert("RGB" if format == "JPEG" else "RGBA")
                if shown.width > width:
                    height = max(1, round(shown.height * width / shown.width))
                    shown = shown.resize((width, height), Image.Resampling.LANCZOS)
                shown.info.clear()  # comments, profiles: nothing but pixels goes out
                out = io.BytesIO()
                shown.save(out, format, quality=_QUALITY, optimize=format == "PNG")
        except _UNREADABLE as error:
            raise ImagesError(f"{path.name}: cannot be read ({error})") from error
        return out.getvalue()
