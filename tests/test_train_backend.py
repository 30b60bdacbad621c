"""`data.backend=fast` beside Pillow: the same files, the same places, nearly the same pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from miniatures.objectnet import ORIENTATION
from PIL import Image
from torchvision import transforms as tvt

from luab_data.errors import ImagesError
from luab_train.data.augment import TrainCrop
from luab_train.data.inputs import decode, decode_rgb, size_of
from luab_train.data.jitter import ColourJitter
from luab_train.data.loader import Samples, collate, make_loader
from luab_train.data.splits import evaluation_split
from luab_train.recipe import Data, from_json
from luab_train.recipes import find_recipe
from luab_train.settings import flatten, to_json


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Edges and slopes of all sizes, as in photographs, and some grain."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height))
    for side in (3, 7, 17, 61):
        colours = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        image = Image.blend(image, colours.resize((width, height), Image.Resampling.BICUBIC), 0.5)
    noise = np.asarray(image) + rng.normal(0, 4, (height, width, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def fast(encoded: bytes, **options: bool) -> Image.Image | np.ndarray:
    return decode(encoded, "image", **{"upright": False, "backend": "fast", **options})


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (17, 9), (333, 250)])
@pytest.mark.parametrize(
    "options",
    [
        *({"subsampling": s, "progressive": p} for s in SUBSAMPLINGS for p in (False, True)),
        {"subsampling": "4:4:4", "keep_rgb": True},  # RGB is not subsampled
    ],
)
def test_a_colour_jpeg_has_pillows_pixels(size, options):
    encoded = jpeg(photo(*size), **options)
    found = fast(encoded)
    assert isinstance(found, np.ndarray) and size_of(found) == size
    assert np.array_equal(found, decode_rgb(encoded, "image"))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpegs_are_pillows(mode):
    encoded = jpeg(photo(40, 30).convert(mode))
    found = fast(encoded)
    assert isinstance(found, Image.Image) and np.array_equal(found, decode_rgb(encoded, "image"))


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16", "P", "RGBA"])
def test_what_is_no_jpeg_is_pillows(tmp_path, mode):
    grey = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    image = Image.fromarray(grey) if mode == "I;16" else photo(4, 3).convert(mode)
    image.save(tmp_path / "image.png")
    found = decode(tmp_path / "image.png", "image", upright=False, backend="fast")
    assert isinstance(found, Image.Image)
    assert np.array_equal(found, decode_rgb(tmp_path / "image.png", "image"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_followed_where_pillow_follows_it(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    encoded = jpeg(photo(40, 30), exif=exif)
    for upright in (False, True):
        found = fast(encoded, upright=upright)
        assert np.array_equal(found, decode_rgb(encoded, "image", upright=upright))
    assert size_of(found) == ((30, 40) if orientation > 4 else (40, 30))


def test_a_cut_file_is_named_and_others_are_decoded_as_pillow_does():
    encoded = jpeg(photo(60, 40))
    for length in (0, 2, 10, 200, 700, len(encoded) // 2, len(encoded) - 20, len(encoded) - 2):
        try:
            expected = decode_rgb(encoded[:length], "cat.jpg")
        except ImagesError as error:
            with pytest.raises(ImagesError, match=r"^cat\.jpg: cannot be decoded") as found:
                decode(encoded[:length], "cat.jpg", upright=False, backend="fast")
            assert str(found.value)[:40] == str(error)[:40]
        else:
            assert np.array_equal(fast(encoded[:length]), expected)


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImagesError, match="decompression bomb"):
        fast(jpeg(photo(30, 20)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_random_crops_and_their_points_are_pillows(interpolation):
    """1,000 of the usual crops, with flips, of pictures as ImageNet's."""
    crop = TrainCrop(Data(image_size=224, interpolation=interpolation))
    sizes = [(500, 375), (375, 500), (500, 333), (640, 480), (300, 225), (260, 900)]
    files = [jpeg(photo(*size, seed=n)) for n, size in enumerate(sizes)]
    pairs = [(fast(file), decode_rgb(file, "image")) for file in files]
    points = np.random.default_rng(0).random((500, 2, 2))
    differences = []
    for number, point in enumerate(points):
        picture, pillows = pairs[number % len(pairs)]
        mine, theirs, size = crop(picture, number), crop(pillows, number), size_of(picture)
        for a, b in zip(mine.place(point, size), theirs.place(point, size), strict=True):
            assert np.array_equal(a, b)
        differences.append(np.abs(mine.image.astype(int) - theirs.image).mean())
    assert 0 < np.mean(differences) < 0.1


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (9, 70), (31, 20)])
def test_what_is_much_enlarged_is_pillows(size):
    crop = TrainCrop(Data(image_size=96, color_jitter=0.4))
    encoded = jpeg(photo(*size))
    for seed in range(8):
        mine, theirs = crop(fast(encoded), seed), crop(decode_rgb(encoded, "image"), seed)
        assert np.array_equal(mine.image, theirs.image)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_dot_is_where_its_matrix_says(interpolation):
    """Its centre of mass, in enlarged and in reduced crops, mirrored or not."""
    y, x = np.mgrid[:240, :320] + 0.5
    blob = np.exp(-((x - 170.25) ** 2 + (y - 110.75) ** 2) / (2 * 9.0**2))
    picture = np.repeat((250 * blob).round().astype(np.uint8)[..., None], 3, axis=2)
    crop = TrainCrop(Data(image_size=96, interpolation=interpolation, crop_scale=(0.3, 1.0)))
    checked = 0
    for seed in range(60):
        centres = []
        for source in (picture, Image.fromarray(picture)):
            found = crop(source, seed)
            placed, _ = found.place(np.array([[170.25 / 320, 110.75 / 240]]), (320, 240))
            mass = found.image[..., 0].astype(float)
            at = np.mgrid[:96, :96][::-1] + 0.5
            centres.append((at * mass).sum((1, 2)) / mass.sum())
        if 0.35 < placed.min() and placed.max() < 0.65:  # all of it is in sight
            checked += 1
            assert np.abs(centres[0] - centres[1]).max() < 0.01
            assert np.abs(centres[0] - 96 * placed[0]).max() < 0.05
    assert checked > 10


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_jitter_is_torchvisions_by_pillow_to_the_bit(strength):
    mine, theirs = ColourJitter(strength, 48), tvt.ColorJitter(strength, strength, strength)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    for seed in range(40):
        pixels = noise if seed % 2 else np.asarray(photo(48, 48, seed))
        torch.manual_seed(seed)
        expected = np.asarray(theirs(Image.fromarray(pixels)))
        torch.manual_seed(seed)
        assert np.array_equal(mine(pixels), expected)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number in range(12):
        folder = root / f"n0000000{number % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{folder.name}_{number}.JPEG").write_bytes(jpeg(photo(90, 70, number)))
    return evaluation_split(root, ("n00000000", "n00000001"))


DATA = Data(image_size=32, eval_resize=32, color_jitter=0.4, auto_augment=None)


@pytest.mark.parametrize("backend", ["fast", "pillow"])
def test_neither_workers_nor_the_cache_change_a_bit(photos, backend):
    crop = TrainCrop(Data(image_size=32, eval_resize=32, color_jitter=0.4, backend=backend))
    seen = []
    for workers, cache in ((0, "none"), (2, "none"), (0, "memory")):
        samples = Samples(photos, crop, seed=7, cache=cache, shown=False)
        loader, order = make_loader(
            samples, batch_size=4, seed=7, train=True, num_workers=workers, pin_memory=False
        )
        order.epoch = 3
        seen.append(torch.cat([batch.image_BCHW for batch in loader]))
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


def test_a_bad_file_is_named_or_skipped(photos, tmp_path):
    folder = tmp_path / "n00000000"
    folder.mkdir()
    good = photos.source.path(0).read_bytes()
    (folder / "n00000000_1.JPEG").write_bytes(good)
    (folder / "n00000000_2.JPEG").write_bytes(good[: len(good) // 2])
    split = evaluation_split(tmp_path, ("n00000000",))
    with pytest.raises(ImagesError, match=r"n00000000_2\.JPEG: cannot be decoded"):
        Samples(split, TrainCrop(DATA))[(0, 1, 0)]
    skipping = Samples(split, TrainCrop(DATA), corrupt="skip")
    batch = collate([skipping[(0, n, 0)] for n in range(2)])
    assert batch.valid_B.tolist() == [True, False]


def test_a_run_from_before_the_key_was_pillows():
    recipe = find_recipe("imagenet_ab:resnet50")
    text = to_json(recipe)
    assert recipe.data.backend == "fast" and from_json(text) == recipe
    older = from_json(text.replace('    "backend": "fast",\n', ""))
    assert older.data.backend == "pillow" and flatten(older)["data.crop_scale"] == (0.08, 1.0)
