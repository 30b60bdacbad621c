"""ImageNet-C: `<corruption>/<severity>/<wnid>/<image>`, stored at the size of the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from luab_train.metrics.robustness import C15, EXTRA, SEVERITIES
from miniatures.palette import BANANA, COLOUR, NINE, flat, save

WNIDS = NINE[:2]
PER_CLASS = 2


def survivors(corruption: str, severity: int) -> int:
    """Of the images of a class, how many still show it; the others look like bananas."""
    return max(0, PER_CLASS - max(0, severity - 1 - (*C15, *EXTRA).index(corruption) % 5))


def make_c(root: Path, *, names=(*C15, *EXTRA), grouped: bool = False, seed: int = 6) -> Path:
    """`grouped` nests the corruptions as the tars do, in `all/`."""
    rng = np.random.default_rng(seed)
    folder = root / "imagenet-c"
    for name in names:
        for severity in SEVERITIES:
            for wnid in WNIDS:
                for number in range(PER_CLASS):
                    shown = wnid if number < survivors(name, severity) else BANANA
                    place = folder / ("all" if grouped else "") / name / str(severity) / wnid
                    save(flat(COLOUR[shown], rng), place / f"ILSVRC2012_val_0000000{number}.JPEG")
    return folder
