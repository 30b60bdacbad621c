"""The Backgrounds Challenge against trying every pair, and what stops it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from miniatures import network
from miniatures.backgrounds import FOLDERS, make_backgrounds, middle_mask
from miniatures.palette import CLASSES, NINE, SIZE
from PIL import Image
from torch import nn

from luab_data.errors import ImagesError, OptionError
from luab_train.evaluate.backgrounds import challenge, load_mask, load_square
from luab_train.evaluate.parts import foreground_parts
from luab_train.evaluate.run import evaluate_benchmarks
from luab_train.evaluate.settings import Settings
from luab_train.models.classifier import Outputs


class Picky(nn.Module):
    """Mostly reads the foreground, but some backgrounds fool it, some of the time."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.reader = network.oracle().model
        self.share = share
        self.seen = self.largest = 0

    def forward(self, image_BCHW):
        self.seen += len(image_BCHW)
        self.largest = max(self.largest, len(image_BCHW))
        outputs = self.reader(image_BCHW)
        told = image_BCHW.float()[:, :, 1, 1].sum(dim=1) + image_BCHW.float()[:, 0, 16, 16] / 7
        fooled = (told * 0.618) % 1 < self.share
        logits = torch.where(fooled[:, None], -outputs.logits_BC, outputs.logits_BC)
        return Outputs(logits, outputs.point_BKD)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("backgrounds")
    return make_backgrounds(root, per_class=3, backgrounds_per_class=4)


def by_trying_all(predictor, part) -> list[set[str]]:
    """Slow reference: the backgrounds that fool each foreground."""
    fooling = []
    for image_id, mask_id, label in zip(part.image_id, part.mask_id, part.label, strict=True):
        image = np.asarray(Image.open(part.root / image_id).convert("RGB")).astype(float)
        mask = np.load(part.root / mask_id)[..., None]
        fooling.append(set())
        for name in part.background_id:
            background = np.asarray(Image.open(part.root / name).convert("RGB")).astype(float)
            pasted = background * (1 - mask) + image * mask
            batch = torch.from_numpy(pasted.transpose(2, 0, 1)[None]).float()
            top1 = predictor.classes[predictor(batch).logits_BC[0].argmax()]
            if top1 not in part.accepted[label]:
                fooling[-1].add(str(name))
    return fooling


@pytest.mark.parametrize("share", [0.02, 0.1, 0.6])
@pytest.mark.parametrize(("batch_size", "seed"), [(1, 0), (7, 1), (64, 2)])
def test_stopping_early_finds_what_trying_all_finds(folder, share, batch_size, seed):
    predictor = network.predictor(Picky(share))
    num_robust = 0
    for part in foreground_parts(folder, CLASSES)[:3]:
        fooling = by_trying_all(predictor, part)
        table, counts = challenge(
            predictor, part, Settings(batch_size=batch_size, shown=False), what="", seed=seed
        )
        for row, backgrounds in zip(table.to_pylist(), fooling, strict=True):
            assert row["is_robust"] == (not backgrounds)
            assert (row["failed_background"] is None) == row["is_robust"]
            if backgrounds:
                assert row["failed_background"] in backgrounds
                assert row["failed_class"] not in part.accepted[row["label"]]
                assert 1 <= row["num_tried"] <= len(part.background_id)
            else:
                assert row["num_tried"] == len(part.background_id) and row["failed_class"] is None
            num_robust += row["is_robust"]
        assert counts["num_forwards"] <= len(part) * len(part.background_id)
    assert predictor.model.largest <= batch_size
    assert (num_robust > 0) == (share == 0.02) or share == 0.1


def test_the_first_failure_is_the_first_in_the_drawn_order(folder):
    predictor = network.predictor(Picky(0.3))
    (part, *_) = foreground_parts(folder, CLASSES)
    order = np.random.default_rng(5).permutation(len(part.background_id))
    fooling = by_trying_all(predictor, part)
    table, _ = challenge(predictor, part, Settings(batch_size=8, shown=False), what="", seed=5)
    for row, backgrounds in zip(table.to_pylist(), fooling, strict=True):
        tried = [str(part.background_id[i]) for i in order]
        first = next(i for i, name in enumerate(tried) if name in backgrounds)
        assert (row["failed_background"], row["num_tried"]) == (tried[first], first + 1)


def test_a_foreground_that_fails_is_not_tried_again(folder):
    model = Picky(1.0)
    (part, *_) = foreground_parts(folder, CLASSES)
    _, counts = challenge(
        network.predictor(model), part, Settings(batch_size=64, shown=False), what=""
    )
    assert counts["num_forwards"] == model.seen == len(part)


def test_all_backgrounds_count_those_of_the_same_class_too(folder):
    """Only a background of its own class fools: the official code does not leave those out."""

    class OwnClassFools(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front, self.back = network.oracle().model, network.corner().model

        def forward(self, image_BCHW):
            front, back = self.front(image_BCHW), self.back(image_BCHW)
            same = front.logits_BC.argmax(1) == back.logits_BC.argmax(1)
            return Outputs(torch.where(same[:, None], -1, 1) * front.logits_BC, front.point_BKD)

    for part in foreground_parts(folder, CLASSES)[:2]:
        table, _ = challenge(
            network.predictor(OwnClassFools()), part, Settings(batch_size=64, shown=False), what=""
        )  # fmt: skip
        assert not any(table["is_robust"].to_pylist())
        assert all(f"/{part.name}/" in name for name in table["failed_background"].to_pylist())


def test_parts_are_the_nine_classes_with_their_masks(folder):
    parts = foreground_parts(folder, CLASSES)
    assert [part.name for part in parts] == list(FOLDERS)
    assert all(len(part) == 3 and len(part.background_id) == 36 for part in parts)
    assert parts[0].image_id[0] == f"original/val/00_dog/{NINE[0]}_0.JPEG"
    assert parts[0].mask_id[0] == f"fg_mask/val/00_dog/{NINE[0]}_0.npy"
    few = foreground_parts(folder, NINE[:2])
    assert [len(part) for part in few] == [3, 3, *[0] * 7]
    assert [part.num_left_out for part in few] == [0, 0, *[3] * 7]
    assert len({part.digest for part in parts}) == 9


def test_files_that_do_not_fit_are_named(tmp_path):
    folder = make_backgrounds(tmp_path)
    mask = folder / f"fg_mask/val/00_dog/{NINE[0]}_0.npy"
    cases = [
        (np.ones((8, 8), np.uint8), r"shape \(8, 8\)"),
        (255 * middle_mask(), "values 0 to 255; expected"),
    ]
    for content, message in cases:
        np.save(mask, content)
        with pytest.raises(ImagesError, match=message):
            load_mask(mask, SIZE)
    mask.write_bytes(b"no array")
    with pytest.raises(ImagesError, match="cannot be read"):
        load_mask(mask, SIZE)
    Image.new("RGB", (20, 30)).save(tmp_path / "odd.png")
    with pytest.raises(ImagesError, match="20 x 30 px; expected 20 x 20"):
        load_square(tmp_path / "odd.png", 0)
    (folder / f"original/val/00_dog/{NINE[0]}_0.JPEG").unlink()
    with pytest.raises(ImagesError, match=r"expected one for each of 2 masks, 1 have none"):
        foreground_parts(folder, CLASSES)


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (SIZE, SIZE, 1), (SIZE, SIZE, 3), (3, SIZE, SIZE)])
def test_masks_may_have_channels(tmp_path, shape):
    mask = middle_mask()
    content = {2: mask, 3: np.broadcast_to(mask[..., None], (SIZE, SIZE, shape[-1]))}[len(shape)]
    if shape[0] == 3:
        content = np.broadcast_to(mask, shape)
    np.save(tmp_path / "mask.npy", content)
    assert np.array_equal(load_mask(tmp_path / "mask.npy", SIZE)[0], mask)


def test_bad_files_are_counted_when_skipped(tmp_path):
    folder = make_backgrounds(tmp_path)
    (folder / f"original/val/00_dog/{NINE[0]}_0.JPEG").write_bytes(b"bad")
    (folder / f"only_bg_t/val/01_bird/{NINE[1]}_0.JPEG").write_bytes(b"bad")
    arguments = {"root": tmp_path, "out": tmp_path / "out", "names": ["bgc-acc"]}
    (row,) = evaluate_benchmarks(network.oracle(), **arguments)
    assert row["status"] == "failed" and "cannot be decoded" in row["note"]
    (row,) = evaluate_benchmarks(network.oracle(), **arguments, settings=Settings(on_bad="skip"))
    # One foreground, and a background that each of the nine parts met.
    assert (row["n"], row["value"], row["num_bad"]) == (17, 100, 10)
    table = pq.read_table(tmp_path / "out/bgc-acc/00_dog.parquet")
    assert table["is_robust"].to_pylist() == [None, True]


def test_the_order_of_backgrounds_decides_nothing(folder):
    predictor = network.predictor(Picky(0.05))
    parts = foreground_parts(folder, CLASSES)[:2]
    found = [
        [
            challenge(predictor, part, Settings(batch_size=16, shown=False), what="", seed=s)[0][
                "is_robust"
            ].to_pylist()
            for part in parts
        ]
        for s in range(4)
    ]
    assert all(a == b for a, b in itertools.pairwise(found))


def test_a_model_that_answers_nan_is_an_error_here_too(folder):
    predictor = network.oracle()
    predictor.model.colours[:] = float("nan")
    with pytest.raises(OptionError, match="answers NaN or infinity"):
        challenge(predictor, foreground_parts(folder, CLASSES)[0], Settings(shown=False), what="")


def test_no_readable_background_is_no_robustness(tmp_path):
    for path in (make_backgrounds(tmp_path) / "only_bg_t").rglob("*.JPEG"):
        path.write_bytes(b"bad")
    (row,) = evaluate_benchmarks(
        network.oracle(), root=tmp_path, out=tmp_path / "out", names=["bgc-acc"],
        settings=Settings(on_bad="skip"),
    )  # fmt: skip
    assert "none of its 18 backgrounds can be read" in row["note"]


def test_pairs_are_resized_for_another_network_after_pasting_and_said(folder):
    model = network.oracle().model
    shown = []
    model.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    predictor = network.predictor(model, data=replace(network.DATA, image_size=48))
    part = foreground_parts(folder, CLASSES)[0]
    _, counts = challenge(predictor, part, Settings(batch_size=1, shown=False), what="", seed=3)
    assert counts["num_resized"] == counts["num_forwards"] == len(shown) > 0
    name = part.background_id[np.random.default_rng(3).permutation(len(part.background_id))[0]]
    images = [load_square(part.root / str(p), SIZE) for p in (part.image_id[0], name)]
    pasted = np.where(load_mask(part.root / str(part.mask_id[0]), SIZE) > 0, *images)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(pasted[None]).float(), (48, 48), mode="bicubic", antialias=True
    )
    assert torch.equal(shown[0], expected.clamp(0, 255))
