"""The training half, the test half and the tuning images of 20 Tiny ImageNet classes.     [I/O]

    WORK/released                 dataset folder of the training half alone; as in the release, the
                                  log has boxes of two images in five
    WORK/calibrated.parquet       its clicks, calibrated by those boxes
    WORK/imagenet-ab              the same rows with the box of every image, for the oracle
    WORK/{train,test,val}/<wnid>  links to the images, with `<wnid>_boxes.txt` beside them
    WORK/off-middle/...           imagenet-ab, train, test and val again, every picture cut so that
                                  its object lies off the middle (`off_middle`), clicks and boxes
                                  moved along

The published validation images are too few (50 a class) to tell arms apart, so half of the 500
training images a class are held out as `test`; `val` only ever tunes. The dataset is converted from
the records of the training half: no click or box of a test image reaches a model or the
calibration.

    python results/tiny-imagenet/prepare.py --work WORK [--data ../shared/data]
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from off_middle import FULL, SIDE, clicks, cut_box, middles, moved_clicks, windows
from PIL import Image

from luab_data import calibrate, convert_imagenet, read_boxes
from luab_train.data.targets import uniform

DATA = Path(__file__).parents[3] / "shared" / "data"
SPLITS = ("train", "test", "val")
CALIBRATED = "calibrated.parquet"
OFF_MIDDLE = "off-middle"
# The workers are simulated; a key that everyone knows gives everyone the same dataset digest.
KEY = b"results/tiny-imagenet"


def halves(image_id: list[str]) -> tuple[list[str], list[str]]:
    """(train, test) of the images of one class, each in file order.

    A hash of the id decides, so the halves depend on no order, machine or library version.
    """
    rank = np.argsort(uniform(np.array(image_id), 0, stream="test half"), kind="stable")
    test = set(rank[: len(image_id) // 2].tolist())
    return (
        [name for at, name in enumerate(image_id) if at not in test],
        [name for at, name in enumerate(image_id) if at in test],
    )


def link_images(source: Path, names: list[str], folder: Path) -> None:
    """Link the images `names` of a class folder into another, and write the boxes they have."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.JPEG").symlink_to((source / f"{name}.JPEG").resolve())
    wanted = {f"{name}.JPEG" for name in names}
    boxes = f"{source.name}_boxes.txt"
    lines = (source / boxes).read_text().splitlines(keepends=True)
    (folder / boxes).write_text("".join(line for line in lines if line.split()[0] in wanted))


def link_splits(data: Path, work: Path, *, per_class: int | None = None) -> set[str]:
    """Make WORK/train, WORK/test and WORK/val; the ids of the training half.

    Args:
        data: holds `train` and `val`.
        work: where to.
        per_class: keep so many images a class in each; None keeps all.
    """
    kept: set[str] = set()
    for source in sorted(path for path in (data / "train").iterdir() if path.is_dir()):
        train, test = halves(sorted(path.stem for path in source.glob("*.JPEG")))
        train, test = train[:per_class], test[:per_class]
        link_images(source, train, work / "train" / source.name)
        link_images(source, test, work / "test" / source.name)
        kept |= set(train)
    for source in sorted(path for path in (data / "val").iterdir() if path.is_dir()):
        names = sorted(path.stem for path in source.glob("*.JPEG"))[:per_class]
        link_images(source, names, work / "val" / source.name)
    return kept


def cut_splits(work: Path, out: Path) -> dict[str, tuple[int, int]]:
    """Make the splits of `work` again in `out`, cut; the corner of each image's window, px."""
    corners: dict[str, tuple[int, int]] = {}
    for source in sorted(path for split in SPLITS for path in (work / split).iterdir()):
        folder = out / source.relative_to(work)
        folder.mkdir(parents=True)
        boxes = read_boxes(source)
        corners |= (of_class := windows(boxes))
        lines = []
        for name, (left, top) in of_class.items():
            with Image.open(source / f"{name}.JPEG") as image:
                cut = image.crop((left, top, left + SIDE, top + SIDE))
            cut.save(folder / f"{name}.JPEG", quality=100, subsampling=0)
            box = cut_box(boxes[name][0], (left, top)).astype(int)
            lines.append("\t".join([f"{name}.JPEG", *map(str, box.tolist())]) + "\n")
        (folder / f"{source.name}_boxes.txt").write_text("".join(lines))
    return corners


def keep_records(source: Path, kept: set[str], out: Path) -> int:
    """Copy the records of the images `kept` into an archive of their own; how many there are."""
    count = 0
    with tarfile.open(source) as old, tarfile.open(out, "w") as new:
        for member in old:
            if Path(member.name).stem in kept:
                new.addfile(member, old.extractfile(member))
                count += 1
    return count


def box_every_image(
    released: Path,
    images: Path,
    out: Path,
    *,
    corners: Mapping[str, tuple[int, int]] | None = None,
) -> pa.Table:
    """Copy the image table, with the boxes found beside the images instead of the log's.

    Of the arms only the oracle looks at boxes, so all arms can read the one table. Columns that
    were derived from the log's boxes are left out.

    Args:
        released: dataset folder.
        images: the training images, with their boxes.
        out: where to.
        corners: of the windows that the images were cut to, px; the clicks are moved along.
    Returns: the table.
    """
    table = pa.concat_tables(pq.read_table(file) for file in sorted((released / "data").iterdir()))
    boxes = read_boxes(images)
    of_row = [boxes[name].tolist() for name in table["image_id"].to_pylist()]
    changed = {
        "boxes": pa.array(of_row, table.schema.field("boxes").type),
        "has_boxes": pa.array([True] * len(table)),
        # Null where the log has neither boxes nor a size; Tiny ImageNet has one size.
        "width": pc.fill_null(table["width"], 64),
        "height": pc.fill_null(table["height"], 64),
    }
    for name, column in changed.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    table = table.drop_columns([name for name in table.column_names if name.startswith("box_")])
    table = table.drop_columns(["click_in_box"])
    if corners is not None:
        table = moved_clicks(table, corners)
    (out / "data").mkdir(parents=True)
    file = "data/train-00000.parquet"
    pq.write_table(table, out / file)
    manifest = json.loads((released / "manifest.json").read_text())
    digest = f"{manifest['content_digest']} with the box of every image"
    digest += "" if corners is None else ", cut off the middle"
    files = {file: hashlib.sha256((out / file).read_bytes()).hexdigest()}
    changed_manifest = {**manifest, "content_digest": digest, "files": files}
    (out / "manifest.json").write_text(json.dumps(changed_manifest))
    return table


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option("--data", type=click.Path(path_type=Path, exists=True), default=DATA,
              help="Folder that holds tiny-imagenet and raw.")  # fmt: skip
@click.option("--per-class", type=int, help="For a rehearsal: so many images a class and split.")
def main(work: Path, data: Path, per_class: int | None) -> None:
    """Make WORK from scratch; runs already in it stay."""
    released, boxed, calibrated = work / "released", work / "imagenet-ab", work / CALIBRATED
    work.mkdir(parents=True, exist_ok=True)
    off = work / OFF_MIDDLE
    for old in (*(work / name for name in SPLITS), released, boxed, off):
        shutil.rmtree(old, ignore_errors=True)
    calibrated.unlink(missing_ok=True)
    kept = link_splits(data / "tiny-imagenet", work, per_class=per_class)
    archive = work / "train_half.tar"
    count = keep_records(data / "raw" / "imagenet_ab_tiny.tar.gz", kept, archive)
    click.echo(f"{len(kept)} training images, {count} records")
    convert_imagenet(archive, released, worker_key=KEY)
    calibrate(released, out=calibrated)
    of_set = {work: (box_every_image(released, work / "train", boxed), FULL)}
    corners = cut_splits(work, off)
    cut = box_every_image(released, off / "train", off / "imagenet-ab", corners=corners)
    of_set[off] = cut, SIDE
    for folder, (table, side) in of_set.items():
        shares = {name: round(middles(read_boxes(folder / name), side), 4) for name in SPLITS}
        click.echo(f"{folder}: middle in the box {shares}; training images: {clicks(table)}")


if __name__ == "__main__":
    main()
