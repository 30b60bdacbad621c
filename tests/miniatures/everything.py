"""All miniatures in one folder. Run as a script: `python -m miniatures.everything FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from miniatures.backgrounds import make_backgrounds
from miniatures.corruptions import make_c
from miniatures.imagenet import make_a, make_o, make_r, make_sketch, make_v2, make_val
from miniatures.objectnet import make_objectnet
from miniatures.si_score import make_si


def make_everything(root: Path) -> Path:
    """Every dataset of the suite."""
    for make in (make_val, make_v2, make_a, make_r, make_o, make_sketch, make_c):
        make(root)
    make_objectnet(root)
    for factor in ("size", "location", "rotation"):
        make_si(root, factor)
    make_backgrounds(root)
    return root


if __name__ == "__main__":
    print(make_everything(Path(sys.argv[1])))
