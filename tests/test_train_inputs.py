"""The one way from a file to what the network sees, and where its point lies in the original."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from miniatures.network import DATA
from miniatures.objectnet import ORIENTATION
from miniatures.run import make_run
from PIL import Image
from torchvision import transforms as tvt

import luab_train
from luab_data.errors import ImagesError, OptionError
from luab_train.data.inputs import EvalCrop, decode_rgb, load_input, timm_data
from luab_train.data.loader import Samples, make_loader
from luab_train.data.splits import evaluation_split
from luab_train.evaluate.folder import evaluate
from luab_train.evaluate.parts import folder_part
from luab_train.evaluate.predict import predict_part
from luab_train.evaluate.predictor import load_predictor
from luab_train.evaluate.settings import Settings
from luab_train.evaluate.wsol.squash import squash
from luab_train.sections import Data
from luab_train.train.device import make_accelerator
from luab_train.train.run_folder import read_environment
from luab_train.train.validate import predict

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


# --- one crop ------------------------------------------------------------------------------------

ODD = [(37, 53), (61, 40), (33, 47), (90, 35), (41, 41), (35, 200)]


@pytest.fixture(scope="module")
def odd_world(tmp_path_factory):
    """A run, and images of odd sizes of its classes as a benchmark's folder."""
    folder = tmp_path_factory.mktemp("odd")
    run = make_run(folder)
    wnids = read_environment(run)["classes"]
    for number, size in enumerate(ODD * 2):
        path = folder / "imagenet" / "val" / wnids[number % len(wnids)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(*size, seed=number).save(path)
    text = (run / "recipe.json").read_text()
    # The crop must cut something off, or all ways look alike.
    cut = text.replace('"eval_resize": 32', '"eval_resize": 39')
    assert cut != text
    (run / "recipe.json").write_text(cut)
    return run, folder


def test_validation_folder_and_benchmark_give_one_prediction(odd_world):
    """`run --val`, `eval --images` and `eval --benchmarks in-1k`, image by image."""
    run, folder = odd_world
    predictor = load_predictor(run, device="cpu")
    part = folder_part(
        "val", folder / "imagenet" / "val", {c: (c,) for c in predictor.classes}, predictor.classes
    )
    settings = Settings(batch_size=4, num_workers=0, shown=False)
    table, _ = predict_part(predictor, part, settings, what="")
    split = evaluation_split(folder / "imagenet" / "val", predictor.classes)
    crop = EvalCrop(predictor.data)
    loader, _ = make_loader(
        Samples(split, crop), batch_size=4, seed=0, train=False, num_workers=0, pin_memory=False
    )
    pixels = {}
    accelerator = make_accelerator("no")
    for batch in loader:
        for index, image in zip(batch.index_B.tolist(), batch.image_BCHW, strict=True):
            pixels[split.image_id[index]] = image.permute(1, 2, 0).numpy()
    found = predict(accelerator, predictor.model, loader, crop, what="", shown=False)
    rows = {str(path).split("/")[1].split(".")[0]: i for i, path in enumerate(part.image_id)}
    order = [rows[name] for name in split.image_id]
    for name, row in zip(split.image_id, order, strict=True):
        path = part.root / str(part.image_id[row])
        assert np.array_equal(load_input(path, "p0", predictor.data).pixels, pixels[name])
    top1 = [classes[0] for classes in table["top5_class"].take(order).to_pylist()]
    assert top1 == [predictor.classes[k] for k in found.label]
    size = np.array([split.load(i).size for i in range(len(split))])
    point = np.stack([table[f"point_{axis}"].take(order).to_numpy() for axis in "xy"], axis=1)
    np.testing.assert_allclose(point, found.point_px / size, atol=1e-6)
    said = luab_train.predict(run, [part.root / str(part.image_id[row]) for row in order], top=1)
    assert [one.answers[0].name for one in said] == top1
    np.testing.assert_allclose([one.point for one in said], point, atol=1e-6)
    line = evaluate(run, images=part.root, batch_size=4, num_workers=0, shown=False)
    right = np.mean(np.array(top1) == np.array(table["label"].take(order).to_pylist()))
    assert line["accuracy"] == pytest.approx(right)


def test_localisation_squashes_by_the_same_code(tmp_path):
    image = noise(61, 40)
    image.save(tmp_path / "1.png")
    for size in (16, 32):
        pixels, size_wh = squash(tmp_path / "1.png", size)
        whole = image.resize((size, size), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels, np.asarray(whole)) and size_wh == (61, 40)


def test_what_decides_an_input_is_told():
    assert EvalCrop(STANDARD).describe() == {
        "image_size": 224, "resize": 256, "fit": "crop", "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "resnet50.a1_in1k",  # tested at another size and share than it was trained at
        "vit_base_patch16_224.augreg_in21k_ft_in1k",  # another mean, share .9
        "eva02_tiny_patch14_336.mim_in22k_ft_in1k",  # squashed
        "resnet18.tv_in1k",  # bilinear
    ],
)
@pytest.mark.parametrize("size", [(401, 300), (333, 501)])
def test_preprocessing_timm_is_what_timms_validate_gives(name, size):
    data = timm_data(name, preprocessing="timm")
    config = timm.data.resolve_data_config(
        {}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict(), use_test_size=True
    )
    chosen = {key: config[key] for key in ("input_size", "interpolation", "crop_pct", "crop_mode")}
    theirs = timm.data.create_transform(**chosen, use_prefetcher=True)(noise(*size))
    assert np.array_equal(EvalCrop(data)(noise(*size)).image, np.asarray(theirs).transpose(1, 2, 0))
    assert (data.mean, data.std) == (tuple(config["mean"]), tuple(config["std"]))
    paper = timm_data(name)
    assert paper.eval_resize == int(paper.image_size / 0.875) and paper.eval_fit == "crop"


def test_a_crop_of_timms_that_is_not_offered_is_refused_by_name(monkeypatch):
    config = timm.get_pretrained_cfg("resnet18.tv_in1k")
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _: replace(config, crop_mode="border"))
    with pytest.raises(OptionError, match=r"crop_mode border .* expected --preprocessing"):
        timm_data("resnet18", preprocessing="timm")


# --- files of more than 8 bits -------------------------------------------------------------------


def ramp(dtype, low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, 256).reshape(16, 16).astype(dtype)


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (ramp(np.uint16, 0, 65535), "png"),
        (ramp(np.uint16, 0, 4095), "tif"),  # 12 bits of a camera
        (ramp(np.uint16, 1000, 3000), "png"),
        (ramp(np.int32, -5, 100_000), "tif"),
        (ramp(np.float32, 0, 1), "tif"),
        (ramp(np.float32, -3e5, 1e-2), "tif"),
    ],
)
def test_more_than_8_bits_of_grey_are_scaled_by_the_range_of_the_file(tmp_path, values, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(values).save(path)
    for encoded in (path, path.read_bytes()):
        found = np.asarray(decode_rgb(encoded, "image"))
        assert found.shape == (16, 16, 3) and (found[..., 0] == found[..., 2]).all()
        np.testing.assert_allclose(found[..., 0].ravel(), np.arange(256), atol=1)


def test_16_bits_of_colour_keep_their_high_byte(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "image.tif", pixels, photometric="rgb")
    found = np.asarray(decode_rgb(tmp_path / "image.tif", "image"))
    assert np.abs(found.astype(int) - pixels / 257).max() <= 1


def test_floats_that_are_no_numbers_and_many_channels_are_refused_by_name(tmp_path):
    values = ramp(np.float32, 0, 1)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tif")
    with pytest.raises(ImagesError, match=r"nan\.tif: cannot be decoded \(has values that are no"):
        load_input(tmp_path / "nan.tif", "p0", DATA)
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((8, 8, 3), np.float32), photometric="rgb")
    with pytest.raises(ImagesError, match=r"rgb\.tif: cannot be decoded"):
        load_input(tmp_path / "rgb.tif", "p0", DATA)


def test_no_other_module_opens_a_picture_or_makes_a_crop_of_its_own():
    package = Path(luab_train.__file__).parent
    opened = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\bImage\.open\(|tvt?\.(Resize|CenterCrop)\(", path.read_text())
    }
    assert opened - {"report/draw.py"} == {"data/inputs.py"}  # which puts its own figures together


def test_a_timm_model_answers_as_in_timms_validate(tmp_path):
    """Pixels, normalisation and network together, on odd sizes."""
    name = "test_vit.r160_in1k"  # tested at 160 px, share .95
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    ours = load_predictor(tmp_path / "w.pth", arch=name, preprocessing="timm", device="cpu")
    config = timm.data.resolve_model_data_config(model, use_test_size=True)
    transform = timm.data.create_transform(**config)
    for number, size in enumerate(((203, 171), (333, 501), (64, 90))):
        noise(*size, seed=number).save(tmp_path / "1.png")
        pixels = load_input(tmp_path / "1.png", "p0", ours.data).pixels.copy()
        found = ours(torch.from_numpy(pixels).permute(2, 0, 1)[None]).logits_BC
        with torch.no_grad():
            expected = model(transform(Image.open(tmp_path / "1.png").convert("RGB"))[None])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
