"""What the network sees of an image, and where its point lies in the original."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures.network import DATA
from miniatures.objectnet import ORIENTATION
from PIL import Image
from torchvision import transforms as tvt

from luab_data.errors import ImagesError
from luab_train.data.inputs import load_input
from luab_train.recipe import Data

STANDARD = Data(image_size=224, eval_resize=256, interpolation="bicubic")


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (301, 333), (64, 900)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_p0_is_torchvisions_resize_and_centre_crop(tmp_path, size, interpolation):
    path = tmp_path / "image.png"
    noise(*size).save(path)
    mode = tvt.InterpolationMode(interpolation)
    reference = tvt.Compose([tvt.Resize(256, interpolation=mode), tvt.CenterCrop(224)])
    data = Data(image_size=224, eval_resize=256, interpolation=interpolation)
    found = load_input(path, "p0", data)
    assert np.array_equal(found.pixels, np.asarray(reference(Image.open(path))))


def test_stored_pixels_stay_as_they_are(tmp_path):
    image = noise(224, 224)
    image.save(tmp_path / "image.png")
    found = load_input(tmp_path / "image.png", "stored", STANDARD)
    assert np.array_equal(found.pixels, np.asarray(image)) and not found.resized
    assert found.region.tolist() == [0, 0, 1, 1]


def test_another_size_than_the_networks_is_resized_and_said(tmp_path):
    noise(224, 224).save(tmp_path / "image.png")
    found = load_input(tmp_path / "image.png", "stored", DATA)
    assert found.pixels.shape == (32, 32, 3) and found.resized


def test_grey_and_palette_images_become_rgb(tmp_path):
    for mode in ("L", "P", "RGBA", "CMYK"):
        path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
        noise(40, 50).convert(mode).save(path)
        assert load_input(path, "p0", DATA).pixels.shape == (32, 32, 3)


def test_the_red_frame_is_cut_off(tmp_path):
    pixels = np.full((44, 54, 3), (255, 0, 0), np.uint8)
    pixels[2:-2, 2:-2] = (10, 200, 30)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    framed = load_input(tmp_path / "image.png", "framed", Data(image_size=40, eval_resize=40))
    assert (framed.pixels == (10, 200, 30)).all()
    assert framed.region == pytest.approx([7 / 54, 2 / 44, 47 / 54, 42 / 44])
    plain = load_input(tmp_path / "image.png", "p0", Data(image_size=44, eval_resize=44))
    assert (plain.pixels[0] == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_objectnet_images_are_turned_as_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = noise(44, 54)
    image.save(tmp_path / "image.png", exif=exif)
    upright = Image.new("RGB", (1, 1))
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}
    found = load_input(tmp_path / "image.png", "framed", DATA)
    assert found.turned == (orientation != 1)
    if orientation in turns:
        upright = image.transpose(turns[orientation])
        upright.save(tmp_path / "upright.png")
        expected = load_input(tmp_path / "upright.png", "framed", DATA)
        assert np.array_equal(found.pixels, expected.pixels)
    # Everywhere else the tag is ignored, as in training.
    assert not load_input(tmp_path / "image.png", "p0", DATA).turned


@given(st.integers(33, 120), st.integers(33, 120), st.sampled_from(["p0", "framed"]))
def test_the_region_is_where_the_crop_came_from(width, height, prepared):
    """A picture whose colours are its coordinates says where each pixel of the crop was."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    pixels = np.zeros((height, width, 3))
    pixels[..., 0], pixels[..., 1] = 255 * x, 255 * y[:, None]
    path = _FOLDER / "ramp.png"
    Image.fromarray(pixels.round().astype(np.uint8)).save(path)
    found = load_input(path, prepared, Data(image_size=32, eval_resize=40))
    x0, y0, x1, y1 = found.region
    middle = found.pixels[15:17, 15:17].astype(float).mean(axis=(0, 1)) / 255
    assert middle[0] == pytest.approx((x0 + x1) / 2, abs=0.03)
    assert middle[1] == pytest.approx((y0 + y1) / 2, abs=0.03)


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory):
    global _FOLDER
    _FOLDER = tmp_path_factory.mktemp("ramps")


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 cut off"])
def test_a_bad_file_is_named(tmp_path, content):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ImagesError, match=r"bad\.jpg: cannot be decoded"):
        load_input(path, "p0", DATA)


def test_a_truncated_jpeg_is_bad(tmp_path):
    noise(80, 80).save(tmp_path / "image.jpg")
    content = (tmp_path / "image.jpg").read_bytes()
    (tmp_path / "image.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ImagesError, match="cannot be decoded"):
        load_input(tmp_path / "image.jpg", "p0", DATA)
