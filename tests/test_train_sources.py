"""The same pictures in every layout: the same names, the same pixels, in loader processes too."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import signal
import tarfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from train_world import make_world

from luab_data.errors import ImagesError, LuabError
from luab_train.data.arrow import ArrowImages
from luab_train.data.folders import image_names
from luab_train.data.loader import batches, worker_setup
from luab_train.data.matching import match_rows
from luab_train.data.rows import read_annotations
from luab_train.data.sources import ImageFiles, open_images
from luab_train.data.splits import Split, labelled_split
from luab_train.data.tars import TarShards
from luab_train.evaluate.parts import folder_part

datasets = pytest.importorskip("datasets")


class Picture(NamedTuple):
    wnid: str
    image_id: str
    png: bytes


def pictures(names: list[tuple[str, str]]) -> list[Picture]:
    rng = np.random.default_rng(0)
    return [
        Picture(wnid, image_id, png(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)))
        for wnid, image_id in names
    ]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


IMAGENET = pictures(
    [
        ("n00000001", "n00000001_10"),
        ("n00000001", "n00000001_9"),
        ("n00000002", "n00000002_1"),
        ("n00000002", "n00000002_3"),
        ("n00000002", "n00000002_20"),
    ]
)
COCO = pictures([("", "9"), ("", "10"), ("", "123456"), ("", "1000000000001")])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def write_files(root: Path, found: list[Picture], name: str = "{0}/{1}.png") -> Path:
    for picture in found:
        path = root / name.format(picture.wnid, picture.image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.png)
    return root


def write_tars(root: Path, found: list[Picture], name: str = "{1}.png", shards: int = 2) -> Path:
    root.mkdir(exist_ok=True)
    for shard in range(shards):
        with tarfile.open(root / f"train-{shard:06d}.tar", "w", format=tarfile.GNU_FORMAT) as tar:
            for picture in found[shard::shards]:
                add(tar, name.format(picture.wnid, picture.image_id), picture.png)
                add(tar, name.format(picture.wnid, picture.image_id)[:-4] + ".json", b"{}")
    return root


def add(tar: tarfile.TarFile, name: str, body: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(body)
    tar.addfile(member, io.BytesIO(body))


def rows_of(found: list[Picture], *, ids: str = "image_id", path: str | None = None) -> dict:
    rows = {
        "image": [{"bytes": p.png, "path": path and path.format(p.wnid, p.image_id)} for p in found]
    }
    if ids:
        rows[ids] = [int(p.image_id) if not p.wnid else p.image_id for p in found]
    return rows


def write_saved(root: Path, found: list[Picture], **options) -> Path:
    features = datasets.Dataset.from_dict(rows_of(found, **options)).features
    features["image"] = datasets.Image()
    dataset = datasets.Dataset.from_dict(rows_of(found, **options), features=features)
    dataset.save_to_disk(str(root), num_shards=min(2, len(found)))
    return root


def write_parquet(root: Path, found: list[Picture], shards: int = 2, **options) -> Path:
    (root / "data").mkdir(parents=True)
    shards = min(shards, len(found))
    for shard in range(shards):
        table = pa.table(rows_of(found[shard::shards], **options))
        file = root / "data" / f"train-{shard:05d}-of-{shards:05d}.parquet"
        pq.write_table(table, file, row_group_size=1)
    return root


LAYOUTS = {
    "tree": (ImageFiles, IMAGENET, write_files, {}),
    "flat": (ImageFiles, IMAGENET, write_files, {"name": "{1}.png"}),
    "hub names": (ImageFiles, IMAGENET, write_files, {"name": "{1}_{0}.png"}),
    "coco 2017": (ImageFiles, COCO, write_files, {"name": "{1:0>12}.png"}),
    "coco 2014": (ImageFiles, COCO, write_files, {"name": "COCO_train2014_{1:0>12}.png"}),
    "tar": (TarShards, IMAGENET, write_tars, {}),
    "tar of folders": (TarShards, IMAGENET, write_tars, {"name": "train/{0}/{1}.png"}),
    "tar of coco": (TarShards, COCO, write_tars, {"name": "{1:0>12}.png"}),
    "saved": (ArrowImages, IMAGENET, write_saved, {}),
    "saved, by path": (ArrowImages, IMAGENET, write_saved, {"ids": "", "path": "{1}_{0}.png"}),
    "saved coco": (ArrowImages, COCO, write_saved, {}),
    "parquet": (ArrowImages, IMAGENET, write_parquet, {}),
    "parquet of coco": (ArrowImages, COCO, write_parquet, {}),
}


@pytest.fixture(params=sorted(LAYOUTS))
def layout(request, tmp_path):
    kind, found, write, options = LAYOUTS[request.param]
    shuffled = [found[i] for i in np.random.default_rng(1).permutation(len(found))]
    return kind, found, write(tmp_path / "images", shuffled, **options)


def test_every_layout_gives_the_same_images_in_the_same_order(layout):
    kind, found, root = layout
    source = open_images(root)
    assert isinstance(source, kind)
    order = sorted(found, key=lambda p: (p.wnid, 0 if p.wnid else int(p.image_id), p.image_id))
    assert list(zip(source.wnid.tolist(), source.image_id.tolist(), strict=True)) == [
        picture[:2] for picture in order
    ]
    for index, picture in enumerate(order):
        image = source.load(index)
        assert image.mode == "RGB"
        assert np.array_equal(image, Image.open(io.BytesIO(picture.png)))
        assert str(root) in source.name(index) and picture.image_id in source.name(index)


class Pixels(Dataset):
    def __init__(self, source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source.image_id)

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self.source.load(index))


def test_loader_processes_see_the_same_images(layout):
    source = open_images(layout[2])
    source.load(0)  # whatever a source keeps open is open before the fork
    pixels = Pixels(source)
    with warnings.catch_warnings():
        # Python 3.12 warns at any fork once a library has started a thread
        warnings.simplefilter("ignore", DeprecationWarning)
        batches = list(DataLoader(pixels, batch_size=2, num_workers=2, collate_fn=list))
    again = pickle.loads(pickle.dumps(source))
    for index, seen in enumerate(image for batch in batches for image in batch):
        assert np.array_equal(seen, source.load(index))
        assert np.array_equal(seen, again.load(index))


def test_what_is_pickled_of_a_dataset_is_where_it_is_not_what_is_in_it(tmp_path):
    big = [p._replace(png=p.png + bytes(10**6)) for p in IMAGENET]
    for write in (write_saved, write_parquet, write_tars):
        source = open_images(write(tmp_path / write.__name__, big))
        assert len(pickle.dumps(source)) < 10**5


def test_rows_meet_their_images_in_any_layout(tmp_path):
    world = make_world(tmp_path)
    table = read_annotations(world.data)
    found = [
        Picture(file.parent.name, file.stem, file.read_bytes())
        for file in world.images.rglob("*.png")
    ]
    reference = open_images(world.images)
    for layout, (_, which, write, options) in LAYOUTS.items():
        if which is COCO:
            continue
        source = open_images(write(tmp_path / layout, found, **options))
        matched = match_rows(table, source, missing="raise", where=world.data)
        assert matched.rows_without_image.count == matched.images_without_row.count == 0
        first = match_rows(table, reference, missing="raise", where=world.data)
        for mine, other in zip(matched.image, first.image, strict=True):
            assert np.array_equal(source.load(mine), reference.load(other))


def test_a_class_comes_from_the_folder_the_id_or_a_column(tmp_path):
    classes = ("n00000001", "n00000002")
    for number, options in enumerate([{}, {"name": "{0}/{1}.png"}]):
        source = open_images(write_tars(tmp_path / str(number), IMAGENET, **options))
        assert labelled_split(source, classes, {}).label.tolist() == [0, 0, 1, 1, 1]
    table = pa.table({**rows_of(IMAGENET), "wnid": ["n00000002"] * 5})
    (tmp_path / "p").mkdir()
    pq.write_table(table, tmp_path / "p" / "x.parquet")
    assert labelled_split(open_images(tmp_path / "p"), classes, {}).label.tolist() == [1] * 5
    source = open_images(write_tars(tmp_path / "coco", COCO, name="{1:0>12}.png"))
    with pytest.raises(ImagesError, match=r"4 of 4 images name no class, e\.g\. 9; expected"):
        labelled_split(source, classes, {})


def test_a_selection_of_a_dataset_is_what_is_read(tmp_path):
    whole = datasets.load_from_disk(str(write_saved(tmp_path / "whole", IMAGENET)))
    whole.select([3, 1]).save_to_disk(str(tmp_path / "part"))
    assert open_images(tmp_path / "part").image_id.tolist() == ["n00000001_9", "n00000002_3"]


def test_members_that_are_no_images_are_passed_over(tmp_path):
    long = f"{'d' * 150}/n00000001/n00000001_1.png"
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo("n00000001")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in ("a.seg.png", ".hidden.png", "b.cls", "._n00000001_2.png", "c"):
            add(tar, name, b"")
        add(tar, long, IMAGENET[0].png)
        add(tar, "größe.png", IMAGENET[1].png)
        add(tar, "n00000001_2.PNG", IMAGENET[2].png)
    source = open_images(tmp_path)
    assert source.image_id.tolist() == ["größe", "n00000001_1", "n00000001_2"]
    assert source.wnid.tolist() == ["", "n00000001", "n00000001"]
    for index, number in enumerate([1, 0, 2]):
        assert np.array_equal(source.load(index), Image.open(io.BytesIO(IMAGENET[number].png)))


def test_a_damaged_tar_says_where(tmp_path):
    root = write_tars(tmp_path / "t", IMAGENET, shards=1)
    tar = root / "train-000000.tar"
    whole = tar.read_bytes()
    third = next(
        start for start in range(0, len(whole), 512) if whole[start : start + 9] == b"n00000002"
    )
    for cut in (third, third + 300, third + 512 + 10):
        tar.write_bytes(whole[:cut])
        with pytest.raises(ImagesError, match=rf"train-000000\.tar: .* at byte {third} \(.*zeros"):
            open_images(root)
    tar.write_bytes(whole[:third] + bytes([whole[third] ^ 1]) + whole[third + 1 :])
    with pytest.raises(ImagesError, match=rf"at byte {third} \(bad checksum"):
        open_images(root)
    tar.write_bytes(b"\x1f\x8b" + whole[2:])
    with pytest.raises(ImagesError, match=r"at byte 0 .*uncompressed"):
        open_images(root)
    tar.write_bytes(b"")
    with pytest.raises(ImagesError, match="at byte 0"):
        open_images(root)


def test_every_cut_of_a_tar_is_noticed_or_leaves_all_images(tmp_path):
    root = write_tars(tmp_path / "t", IMAGENET, shards=1)
    tar = root / "train-000000.tar"
    whole = tar.read_bytes()
    noticed = 0
    for cut in range(0, len(whole), 500):
        tar.write_bytes(whole[:cut])
        try:
            assert len(open_images(root).image_id) == len(IMAGENET)
        except ImagesError:
            noticed += 1
    assert noticed > 10


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_damage_anywhere_in_a_header_is_an_error_of_ours_or_harmless(tmp_path, kind):
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w", format=kind) as tar:
        for number in range(3):
            member = tarfile.TarInfo(f"{'d' * 90}/{'e' * 20}/n00000001_{number}.png")
            member.size, member.mtime = 5, 1.5 if kind == tarfile.PAX_FORMAT else 1
            tar.addfile(member, io.BytesIO(b"12345"))
    whole = file.read_bytes()
    assert open_images(tmp_path).body[:, 1].tolist() == [5, 5, 5]
    rng = np.random.default_rng(0)
    noticed = 0
    for _ in range(100):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole.rstrip(b"\0")), 3):
            damaged[at] = rng.choice([0, 255, ord("9"), ord("7"), int(rng.integers(256))])
        file.write_bytes(damaged)
        try:
            open_images(tmp_path)
        except ImagesError:
            noticed += 1
    assert noticed > 30


def test_a_tar_that_shrinks_under_a_run_is_named(tmp_path):
    root = write_tars(tmp_path / "t", IMAGENET, shards=1)
    source = open_images(root)
    tar = root / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(ImagesError, match=r"of .* bytes are there; the tar was cut"):
        source.load(4)
    tar.unlink()
    with pytest.raises(ImagesError, match="cannot be read"):
        source.load(4)


def test_an_image_that_is_there_twice_is_refused(tmp_path):
    write_files(tmp_path / "f", COCO[:1], "000000000009.png")
    write_files(tmp_path / "f", COCO[:1], "COCO_train2014_000000000009.png")
    with pytest.raises(ImagesError, match=r"000000000009\.png and .* are the same image"):
        open_images(tmp_path / "f")
    root = write_tars(tmp_path / "t", IMAGENET[:1], shards=1)
    shutil.copy(root / "train-000000.tar", root / "train-000001.tar")
    with pytest.raises(ImagesError, match="are the same image"):
        open_images(root)
    with pytest.raises(ImagesError, match="9 and 9 are the same image"):
        open_images(write_parquet(tmp_path / "p", [COCO[0]] * 2))


def test_a_broken_image_is_named_in_any_layout(layout, tmp_path):
    kind, found, _ = layout
    for number, content in enumerate((b"", b"not an image", found[0].png[:60])):
        broken = [found[0]._replace(png=content), *found[1:]]
        _, _, write, options = next(row for row in LAYOUTS.values() if row[:2] == (kind, found))
        source = open_images(write(tmp_path / str(number), broken, **options))
        index = source.image_id.tolist().index(found[0].image_id)
        split = Split(
            source=source,
            source_index=np.array([index]),
            image_id=source.image_id[[index]],
            label=np.zeros(1, np.int64),
            boxes=None,
        )
        with pytest.raises(ImagesError, match=rf"{found[0].image_id}.*: cannot be decoded"):
            split.load(0)


def test_orientation_of_exif_is_ignored_in_any_layout(tmp_path):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (7, 5)).save(file, "JPEG", exif=exif)
    turned = [Picture("n00000001", "n00000001_1", file.getvalue())]
    for layout, (_, which, write, options) in LAYOUTS.items():
        if which is IMAGENET:
            assert open_images(write(tmp_path / layout, turned, **options)).load(0).size == (7, 5)


def test_folders_that_are_none_of_it_say_what_was_expected(tmp_path):
    with pytest.raises(ImagesError, match="not a folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(ImagesError, match=r"no image found; expected <wnid>/.*COCO.*tar.*Parquet"):
        open_images(tmp_path)
    (tmp_path / "train.tar.gz").write_bytes(b"")
    with pytest.raises(ImagesError, match=r"Unpack train\.tar\.gz"):
        open_images(tmp_path)
    write_tars(tmp_path / "t", [], shards=1)
    with pytest.raises(ImagesError, match="no image in 1 tars"):
        open_images(tmp_path / "t")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"picture": [b""]}, "columns picture; expected one called image"),
        ({"image": ["x.png"]}, "column image is string; expected encoded images"),
        ({"image": [b""]}, "no column image_id, and the images have no paths"),
        ({"image": [{"bytes": b"", "path": None}]}, "path is null in 1 of 1 rows"),
        ({"image": [b"", b""], "image_id": ["a", None]}, "image_id is null in 1 of 2 rows"),
    ],
)
def test_tables_without_pictures_or_names_are_refused(tmp_path, table, message):
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(ImagesError, match=message):
        open_images(tmp_path)


def test_datasets_that_are_not_one_split_of_whole_files(tmp_path):
    root = write_parquet(tmp_path / "p", IMAGENET)
    (root / "data" / "validation-00000-of-00001.parquet").write_bytes(b"")
    with pytest.raises(ImagesError, match="Parquet files of train, validation; expected those of"):
        open_images(root)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImagesError, match=r"a\.parquet: cannot be read"):
        open_images(tmp_path / "d")
    root = write_saved(tmp_path / "s", IMAGENET)
    (root / "dataset_dict.json").write_text("{}")
    with pytest.raises(ImagesError, match="a saved DatasetDict; expected the folder of one split"):
        open_images(root)
    (root / "dataset_dict.json").unlink()
    next(root.glob("*.arrow")).unlink()
    with pytest.raises(ImagesError, match="cannot be opened as a saved dataset"):
        open_images(root)


def test_images_of_a_row_may_lie_beside_the_dataset(tmp_path):
    file = write_files(tmp_path / "f", IMAGENET[:1]) / "n00000001" / "n00000001_10.png"
    rows = {"image": [{"bytes": None, "path": str(file)}], "image_id": ["n00000001_10"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    (tmp_path / "p").mkdir()
    (tmp_path / "a.parquet").rename(tmp_path / "p" / "a.parquet")
    assert open_images(tmp_path / "p").load(0).size == (7, 5)


# --- validation images as Hugging Face has them --------------------------------------------------

VAL = pictures(
    [
        ("n00000002", "ILSVRC2012_val_00000001"),
        ("n00000001", "ILSVRC2012_val_00000002"),
        ("n00000002", "ILSVRC2012_val_00000010"),
    ]
)
CLASSES = ("n00000001", "n00000002")


def labelled(root: Path, found: list[Picture], names: list[str] | None, path: str | None) -> dict:
    """Rows of `image` and `label`, as imagenet-1k on the Hub has them."""
    rows = rows_of(found, ids="", path=path)
    rows["label"] = [CLASSES.index(picture.wnid) for picture in found]
    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    if names is not None:
        features["label"] = datasets.ClassLabel(names=names)
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def write_val(kind: str, root: Path, names: list[str] | None, path: str | None) -> Path:
    dataset = labelled(root, VAL, names, path)
    root.mkdir(parents=True, exist_ok=True)
    if kind == "saved":
        dataset.save_to_disk(str(root))
    else:
        dataset.to_parquet(str(root / "validation-00000-of-00001.parquet"))
    return root


HUB = "{1}_{0}.JPEG"


@pytest.mark.parametrize(
    "write",
    [
        lambda root: write_files(root, VAL, HUB),
        lambda root: write_files(root, VAL, "{0}/" + HUB),
        lambda root: write_tars(root, VAL, HUB),
        lambda root: write_parquet(root, VAL, ids="", path=HUB),
        lambda root: write_saved(root, VAL, ids="", path=HUB),
        lambda root: write_val("parquet", root, None, HUB),
        lambda root: write_val("saved", root, ["tench", "goldfish"], HUB),
    ],
)
def test_validation_images_under_their_names_on_the_hub_have_class_and_id(tmp_path, write):
    boxes = {"ILSVRC2012_val_00000010": np.array([[1.0, 1, 2, 2]])}
    split = labelled_split(open_images(write(tmp_path / "val")), CLASSES, boxes)
    found = dict(zip(split.image_id.tolist(), split.label.tolist(), strict=True))
    assert found == {p.image_id: CLASSES.index(p.wnid) for p in VAL}
    assert split.image_id[split.boxes.counts > 0].tolist() == ["ILSVRC2012_val_00000010"]
    pixels = {p.image_id: Image.open(io.BytesIO(p.png)) for p in VAL}
    for index, name in enumerate(split.image_id.tolist()):
        assert np.array_equal(split.load(index), pixels[name])


@pytest.mark.parametrize("kind", ["saved", "parquet"])
@pytest.mark.parametrize("names", [None, list(CLASSES), ["tench", "goldfish"]])
@pytest.mark.parametrize("path", [None, "{1}.JPEG"])
def test_a_column_of_labels_is_the_class_where_names_tell_none(tmp_path, kind, names, path):
    split = labelled_split(open_images(write_val(kind, tmp_path / "v", names, path)), CLASSES, {})
    assert sorted(split.label.tolist()) == [0, 1, 1]
    for index in range(3):
        picture = next(
            p for p in VAL if np.array_equal(split.load(index), Image.open(io.BytesIO(p.png)))
        )
        assert CLASSES[split.label[index]] == picture.wnid
    with pytest.raises(ImagesError, match="are not classes of the run"):
        labelled_split(open_images(tmp_path / "v"), ("n00000009",), {})


def test_the_1000_names_of_imagenet_1k_are_its_wnids_in_order(tmp_path):
    names = [f"name {k}" for k in range(1000)]
    source = open_images(write_val("saved", tmp_path / "v", names, None))
    assert set(source.wnid.tolist()) == {"n01440764", "n01443537"}


# --- labels in members of their own --------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        lambda k: {"cls": str(k).encode()},
        lambda k: {"cls": CLASSES[k].encode() + b"\n"},
        lambda k: {"json": f'{{"label": {k}, "width": 7}}'.encode()},
        lambda k: {"json": f'{{"wnid": "{CLASSES[k]}", "label": 99}}'.encode()},
        lambda k: {"cls": str(k).encode(), "json": b'{"width": 7}'},
    ],
)
def test_members_cls_and_json_tell_the_class(tmp_path, members):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, picture in enumerate(VAL):
            for suffix, body in members(CLASSES.index(picture.wnid)).items():
                add(tar, f"sample{number}.{suffix}", body)
            add(tar, f"sample{number}.png", picture.png)
    split = labelled_split(open_images(tmp_path), CLASSES, {})
    found = dict(zip(split.image_id.tolist(), split.label.tolist(), strict=True))
    assert found == {f"sample{n}": CLASSES.index(p.wnid) for n, p in enumerate(VAL)}


@pytest.mark.parametrize(
    "own", ['"image_id": "{1}"', '"filename": "{0}/{1}.JPEG"', '"filename": "{1}_{0}.JPEG"']
)
def test_a_member_json_tells_the_id(tmp_path, own):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, picture in enumerate(IMAGENET):
            told = own.replace("{0}", picture.wnid).replace("{1}", picture.image_id)
            add(tar, f"{number:06d}.json", f"{{{told}}}".encode())
            add(tar, f"{number:06d}.png", picture.png)
    source = open_images(tmp_path)
    found = zip(source.wnid.tolist(), source.image_id.tolist(), strict=True)
    assert list(found) == sorted(picture[:2] for picture in IMAGENET)
    png = dict(zip([p.image_id for p in IMAGENET], [p.png for p in IMAGENET], strict=True))
    for index, name in enumerate(source.image_id.tolist()):
        assert np.array_equal(source.load(index), Image.open(io.BytesIO(png[name])))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "000001.json", b"{")
        add(tar, "000001.png", IMAGENET[0].png)
    with pytest.raises(ImagesError, match=r"a\.tar: 000001\.json is not JSON"):
        open_images(tmp_path)


def test_what_luab_data_exports_is_read_with_its_ids(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for picture in COCO:
            add(
                tar,
                f"{int(picture.image_id):012d}.json",
                f'{{"image_id": {picture.image_id}}}'.encode(),
            )
            add(tar, f"{int(picture.image_id):012d}.png", picture.png)
    assert open_images(tmp_path).image_id.tolist() == [p.image_id for p in COCO]


# --- names and processes that are no good --------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "n00000001"])
def test_a_file_name_that_is_no_text_is_one_sentence_before_anything_is_computed(tmp_path, folder):
    write_files(tmp_path, IMAGENET[:1], "n00000001/a.png" if folder else "a.png")
    path = tmp_path / folder / "k\udce4se.png"  # Latin-1
    path.write_bytes(IMAGENET[0].png)
    with pytest.raises(ImagesError, match=r"the file name b'k\\xe4se\.png' is not UTF-8"):
        open_images(tmp_path)
    with pytest.raises(ImagesError, match=r"is not UTF-8"):
        folder_part("part", tmp_path, {"n00000001": ("n00000001",)}, CLASSES) if folder else (
            image_names(tmp_path)
        )


class Dies(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_loader_process_that_is_killed_is_one_sentence():
    loader = DataLoader(Dies(), num_workers=1, prefetch_factor=1, worker_init_fn=worker_setup())
    with pytest.raises(
        LuabError, match=r"a loader process was killed .*; what was finished before"
    ):
        list(batches(loader))


class DiesLater(Dataset):
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        return os.getpid()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_one_that_is_killed_while_the_network_works_is_the_same_sentence():
    loader = DataLoader(DiesLater(), num_workers=2, worker_init_fn=worker_setup())
    before = signal.getsignal(signal.SIGCHLD)
    try:
        with pytest.raises(LuabError, match="a loader process was killed"):
            for pids in batches(loader):
                os.kill(int(pids[0]), signal.SIGKILL)
                time.sleep(5)  # the network
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
