"""[I/O] A study to try: handwritten digits, which come with scikit-learn."""

from __future__ import annotations

import os
from pathlib import Path

from luab_data.collect.study import STUDY, init
from luab_data.console import install_command
from luab_data.errors import LuabError

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_EACH = 24
_SIDE = 192


def write_demo(folder: str | os.PathLike[str]) -> Path:
    """A browsing study of ten digits, 24 pictures each; one that is there is left as it is.

    Args:
        folder: of the study; the pictures are in `pictures/` there.

    Returns: the folder.

    Raises:
        LuabError: scikit-learn is not installed. OutputError: the folder cannot be written.
    """
    place = Path(folder)
    if (place / STUDY).exists():
        return place
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        hint = install_command("demo")
        raise LuabError(f"the demo's pictures come with scikit-learn: {hint}") from error
    from PIL import Image

    digits = load_digits()
    counts = dict.fromkeys(NAMES, 0)
    for pixels, digit in zip(digits.images, digits.target, strict=True):
        name = NAMES[int(digit)]
        if counts[name] < _EACH:
            into = place / "pictures" / name
            into.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray((255 - pixels * 255 / 16).astype("uint8"))
            shown = picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            shown.save(into / f"{name}_{counts[name]}.png")
            counts[name] += 1
    init(place, images=place / "pictures", task="browsing", title="Which digit is it?")
    file = place / STUDY
    text = file.read_text(encoding="utf-8").replace("rows = 16", "rows = 4")
    file.write_text(text.replace("pages = 10", "pages = 3"), encoding="utf-8")
    return place
