"""Which images each run got right, small enough to be kept with the rows.     [I/O]

    hits.parquet     a line a run, measure and test image set: one bit an image, packed
    images.parquet   the test images' ids and classes, in the order of the bits

Both again as hits-off.parquet and images-off.parquet, of the set whose objects lie off the middle.
With these every interval can be computed again without the images. `S` runs that differ in their
seed alone, `N` test images.

    python results/tiny-imagenet/hits.py --work WORK

gathers what probe_runs.py left in WORK/probes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from luab_data.errors import LuabError
from luab_train.evaluate.probes.probe import Probed, load_probed
from luab_train.evaluate.probes.views import VARIANTS

HITS = Path(__file__).with_name("hits.parquet")
IMAGES = Path(__file__).with_name("images.parquet")

OFF_FILES = (HITS.with_stem("hits-off"), IMAGES.with_stem("images-off"))
"""The same files of the runs `off-*`."""
POINTED = "point_in_box"
PULLED = "answered_donor_class"
BITS = (*VARIANTS, POINTED, PULLED)
"""What is kept: right answers to each variant, points in a box, and answers to `other_background`
that name the class of the background.
"""


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Bits of all runs.

    Args:
        bits: (key of a run, one of BITS) -> (N,) bool, True only where `shown`.
        shown: one of BITS -> (N,) bool, whether the image counts; the same for all runs.
        centred: (N,) bool, the image's centre is in its box.
    """

    bits: Mapping[tuple[str, str], np.ndarray]
    shown: Mapping[str, np.ndarray]
    centred: np.ndarray


def bits_of(probed: Probed) -> dict[str, np.ndarray]:
    """One of BITS -> (N,) bool."""
    correct, at = probed.correct, VARIANTS.index("other_background")
    found = {name: correct[:, i] for i, name in enumerate(VARIANTS)}
    found[POINTED] = probed.in_box[:, 0] & probed.boxed
    found[PULLED] = probed.shown[:, at] & (probed.prediction[:, at] == probed.donor_label)
    return found


def shown_of(probed: Probed) -> dict[str, np.ndarray]:
    """One of BITS -> (N,) bool, whether the image counts."""
    found = {name: probed.shown[:, i] for i, name in enumerate(VARIANTS)}
    return found | {POINTED: probed.boxed, PULLED: found["other_background"]}


def gather(files: Sequence[Path], hits: Path, images: Path) -> int:
    """Add .npz of runs to the two files; how many runs were added.

    Runs that are there stay, or are written anew where they are among `files`.

    Raises:
        LuabError: the runs answered other images than those there.
    """
    if not files:
        return 0
    old = pq.read_table(hits).to_pylist() if hits.exists() else []
    known = pq.read_table(images) if images.exists() else None
    rows = [row for row in old if row["key"] not in {file.stem for file in files}]
    for file in files:
        probed = load_probed(file)
        found = pa.table(
            {
                "image_id": probed.image_id,
                "label": probed.label,
                "centred": probed.centred,
                **{f"shown_{name}": shown for name, shown in shown_of(probed).items()},
            }
        )
        known = found if known is None else known
        if not found.equals(known):
            raise LuabError(
                f"{file}: answers to other images than those of {images.name}; expected the test"
                " images of that file, so remove both files and gather all runs again"
            )
        for name, bits in bits_of(probed).items():
            rows.append({"key": file.stem, "name": name, "bits": np.packbits(bits).tobytes()})
    pq.write_table(pa.Table.from_pylist(rows), hits, compression="zstd")
    pq.write_table(known, images, compression="zstd")
    return len(files)


def read_hits(hits: Path = HITS, images: Path = IMAGES) -> Hits:
    """Read the two files."""
    of_images = pq.read_table(images)
    count = len(of_images)
    bits = {
        (row["key"], row["name"]): np.unpackbits(
            np.frombuffer(row["bits"], np.uint8), count=count
        ).astype(bool)
        for row in pq.read_table(hits).to_pylist()
    }
    shown = {name: of_images[f"shown_{name}"].to_numpy(zero_copy_only=False) for name in BITS}
    return Hits(bits=bits, shown=shown, centred=of_images["centred"].to_numpy(zero_copy_only=False))


@click.command()
@click.option(
    "--work",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Folder that probe_runs.py filled.",
)
@click.option("--out", type=click.Path(path_type=Path), default=HITS.parent, help="Where to.")
def main(work: Path, out: Path) -> None:
    """Gather the answers of the runs that are there."""
    files = sorted((work / "probes").glob("[!.]*.npz"))
    off = [file for file in files if file.stem.startswith("off-")]
    count = gather([file for file in files if file not in off], out / HITS.name, out / IMAGES.name)
    count_off = gather(off, *(out / file.name for file in OFF_FILES))
    click.echo(f"{count} runs, {count_off} of the set off the middle")


if __name__ == "__main__":
    main()
