"""ObjectNet: framed PNGs by folder name, and the four mapping files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from miniatures.palette import COLOUR, INDEX, JEEP, NINE, flat, photo_size, save

AMBULANCE, BEE = NINE[2], NINE[5]
NAMES = {AMBULANCE: "ambulance", JEEP: "jeep, landrover", BEE: "bee"}
ORIENTATION = 0x0112


def make_objectnet(root: Path, *, per_class: int = 4, seed: int = 7) -> Path:
    """Of the vehicles, half show the class's second wnid; air fresheners are no ImageNet class."""
    rng = np.random.default_rng(seed)
    folder = root / "objectnet-1.0"
    shown = {"vehicle": [AMBULANCE, JEEP], "bee": [BEE], "air_freshener": [BEE]}
    for name, wnids in shown.items():
        for number in range(per_class):
            pixels = flat(COLOUR[wnids[number % len(wnids)]], rng, photo_size(rng))
            framed = np.full((pixels.shape[0] + 4, pixels.shape[1] + 4, 3), (255, 0, 0), np.uint8)
            framed[2:-2, 2:-2] = pixels
            save(framed, folder / "images" / name / f"{number:015x}.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    save(framed, folder / "images/bee/turned.png", exif=exif)
    _write_mappings(folder / "mappings")
    return folder


def _write_mappings(folder: Path) -> None:
    folder.mkdir(parents=True)
    labels = {"vehicle": "Vehicle", "bee": "Bee/wasp", "air_freshener": "Air freshener"}
    names = {
        "Vehicle": f"{NAMES[AMBULANCE]}; {NAMES[JEEP]}",
        "Bee/wasp": NAMES[BEE],
    }
    # Line of the label file and class index differ, as they do in the archive.
    line = {index: 999 - index for index in range(1000)}
    texts = [f"class {number}" for number in range(1000)]
    for wnid, name in NAMES.items():
        texts[line[INDEX[wnid]]] = name
    (folder / "folder_to_objectnet_label.json").write_text(json.dumps(labels))
    (folder / "objectnet_to_imagenet_1k.json").write_text(json.dumps(names))
    (folder / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps(line))
    (folder / "imagenet_to_label_2012_v2").write_text("".join(text + "\n" for text in texts))
