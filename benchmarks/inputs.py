"""[I/O] Logs to measure on: given, made by the generators of `../shared/tools`, or simulated.

Made logs are kept and used again; one that was not finished never has its final name. What needs
pyarrow or much memory runs as `python inputs.py head|simulate|unique ...`, a process of its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import subprocess
import sys
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any

GENERATORS = {"imagenet-ab": "gen_imagenet_ab.py", "coco-ab": "gen_coco_ab.py"}
SUFFIXES = {"imagenet-ab": ".tar.gz", "coco-ab": ".json"}
_PER_CLASS = 1270
_IMAGE_ID = re.compile(r'(?<="image_id": )\d+')
_LARGEST_COCO_ID = 581_929


class NoInput(Exception):
    """A log can neither be found nor made; the message says what to give."""


def log_of(dataset: str, records: int, work: Path, tools: Path | None) -> Path:
    """The made log of that many records in `work`; made now if it is not there.

    Raises:
        NoInput: the generator is missing and nothing can take its place, or it failed.
    """
    maker = "tools" if tools and (tools / GENERATORS[dataset]).is_file() else "simulator"
    out = work / f"{dataset}-{records}-{maker}{SUFFIXES[dataset]}"
    if out.is_file():
        return out
    work.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"partial-{out.name}")
    if tools and maker == "tools":
        words = [str(tools / GENERATORS[dataset]), "--n", str(records), "--out", str(temporary)]
    elif dataset == "imagenet-ab":
        words = [__file__, "simulate", str(records), str(temporary)]
    else:
        raise NoInput(
            f"no {GENERATORS[dataset]} in {tools}; expected the generators of ../shared/tools."
            " Give --tools DIR, or a log with --coco F.json"
        )
    print(f"making {out}", flush=True)
    _run(words)
    if dataset == "coco-ab":
        _run([__file__, "unique", str(temporary)])
    temporary.rename(out)
    return out


def _run(words: list[str]) -> None:
    made = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if made.returncode:
        raise NoInput(f"{' '.join(words)}: exit code {made.returncode}\n{made.stderr[-2000:]}")


def make_unique(path: Path) -> None:
    """Give each record of a made COCO-AB log an image id of its own, in the size range of COCO's.

    The generator draws ids with replacement, so some come twice; in the release none does, and a
    converter that leaves records out would be measured on fewer.
    """
    text = path.read_text(encoding="utf-8")
    count = len(_IMAGE_ID.findall(text))
    ids = iter(random.Random(1).sample(range(1, max(_LARGEST_COCO_ID, 2 * count)), count))
    path.write_text(_IMAGE_ID.sub(lambda match: str(next(ids)), text), encoding="utf-8")


def simulate(records: int, out: Path) -> None:
    """An ImageNet-AB log by luab's own simulator: about 1,500 records a second."""
    import numpy as np

    from luab_data import LabelledImage, simulate_imagenet

    box = np.array([[50.0, 40.0, 350.0, 300.0]])

    def image(index: int) -> LabelledImage:
        wnid = f"n{1440764 + index // _PER_CLASS * 13171:08d}"
        identity = f"{wnid}_{7 * (index % _PER_CLASS) + 1}"
        return LabelledImage(image_id=identity, wnid=wnid, width=500, height=375, boxes=box)

    truth = out.with_name(f"{out.name}.truth.jsonl")
    images = [image(index) for index in range(records)]
    simulate_imagenet(images, out, truth=truth, seed=1, num_workers=500)
    truth.unlink()


def describe(path: Path) -> dict[str, Any]:
    """Name, size and digest of a log, for the result row."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def head(dataset: str, source: Path, records: int, out: Path) -> None:
    """The first records of a log as a log of its own."""
    if dataset == "imagenet-ab":
        with tarfile.open(source, "r|*") as log, tarfile.open(out, "w:gz") as part:
            for info in islice((info for info in log if info.isfile()), records):
                file = log.extractfile(info)
                part.addfile(info, io.BytesIO(file.read() if file else b""))
        return
    from luab_data.raw.coco import raw_records
    from luab_data.raw.source import Source

    log_file = Source(source)
    out.write_text(json.dumps(list(islice(raw_records(log_file), records))), encoding="utf-8")
    log_file.close()


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    if what == "head":
        head(words[0], Path(words[1]), int(words[2]), Path(words[3]))
    elif what == "unique":
        make_unique(Path(words[0]))
    else:
        simulate(int(words[0]), Path(words[1]))
