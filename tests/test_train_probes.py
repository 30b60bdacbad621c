"""Pictures whose object or background was taken away, and what models say to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from train_world import small_recipe

from luab_train.data.boxes import Boxes
from luab_train.data.sources import open_images
from luab_train.data.splits import Split, labelled_split
from luab_train.evaluate.probes import pictures
from luab_train.evaluate.probes.pictures import (
    NOWHERE,
    Region,
    beside,
    centre_region,
    elsewhere,
    object_regions,
)
from luab_train.evaluate.probes.probe import load_probed, probe, rows_of
from luab_train.evaluate.probes.views import NONE, VARIANTS, draw_donors
from luab_train.models.classifier import Outputs, build_model

S = 8
GREY = np.full(3, ord("-"), np.uint8)


def drawn(picture: str) -> np.ndarray:
    """Rows of letters -> (S, S, 3) uint8, each pixel the letter's code in all channels."""
    rows = [[ord(c) for c in row] for row in picture.split()]
    return np.repeat(np.array(rows, np.uint8)[:, :, None], 3, axis=2)


def shown(picture: np.ndarray) -> list[str]:
    assert (picture == picture[:, :, :1]).all()
    return ["".join(map(chr, row)) for row in picture[:, :, 0]]


# A receiver of distinct background columns a to h, its object X; a donor of distinct rows, its Y.
PICTURE = drawn("abcdefgh abcdefgh abXXXfgh abXXXfgh abcdefgh abcdefgh abcdefgh abcdefgh")
OBJECT = Region(2, 2, 5, 4)
DONOR = drawn("11111111 22222222 33333333 444YYYYY 555YYYYY 66666666 77777777 88888888")
DONOR_OBJECT = Region(3, 3, 8, 5)


def test_the_object_is_filled_and_nothing_else():
    assert shown(pictures.filled(PICTURE, OBJECT, GREY)) == [
        "abcdefgh", "abcdefgh", "ab---fgh", "ab---fgh", "abcdefgh", "abcdefgh", "abcdefgh",
        "abcdefgh",
    ]  # fmt: skip


def test_the_object_is_left_alone():
    expected = ["-" * 8] * 2 + ["--XXX---"] * 2 + ["-" * 8] * 4
    assert shown(pictures.alone(PICTURE, OBJECT, GREY)) == expected


def test_the_donors_object_is_tiled_with_the_largest_rectangle_beside_it():
    # left of Y 3 x 8, above 8 x 3, below 8 x 3: the first of equals is the left one, read from its
    # own top left corner: rows 1 and 2, repeated after 3 columns (they are alike here).
    assert beside(DONOR_OBJECT, S) == Region(0, 0, 3, 8)
    assert shown(pictures.background(DONOR, DONOR_OBJECT)) == [
        "11111111", "22222222", "33333333", "44411111", "55522222", "66666666", "77777777",
        "88888888",
    ]  # fmt: skip


def test_a_tile_smaller_than_the_object_repeats():
    picture = drawn("abOOOOOO cdOOOOOO efOOOOOO ghOOOOOO abOOOOOO cdOOOOOO efOOOOOO ghOOOOOO")
    assert shown(pictures.background(picture, Region(2, 0, 8, 8))) == [
        row * 4 for row in ("ab", "cd", "ef", "gh", "ab", "cd", "ef", "gh")
    ]


def test_the_object_stands_before_the_donors_background_at_its_place():
    made = pictures.on_background(PICTURE, OBJECT, DONOR, DONOR_OBJECT)
    assert shown(made) == [
        "11111111", "22222222", "33XXX333", "44XXX111", "55522222", "66666666", "77777777",
        "88888888",
    ]  # fmt: skip


def test_no_picture_is_changed_in_place():
    before, donor = PICTURE.copy(), DONOR.copy()
    pictures.filled(PICTURE, OBJECT, GREY)[:] = 0
    pictures.alone(PICTURE, OBJECT, GREY)[:] = 0
    pictures.on_background(PICTURE, OBJECT, DONOR, DONOR_OBJECT)[:] = 0
    assert (before == PICTURE).all() and (donor == DONOR).all()


@pytest.mark.parametrize(
    ("side", "expected"), [(8, (2, 2, 6, 6)), (48, (12, 12, 36, 36)), (9, (2, 2, 6, 6))]
)
def test_the_centre_is_a_quarter_of_the_picture(side, expected):
    assert centre_region(side) == expected


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([[2, 2, 5, 5]], (1, 1, 3, 3)),  # px 2 to 5 of 16, that is [2, 6]
        ([[2, 3, 5, 5]], (1, 1, 3, 3)),  # half a pixel counts whole
        ([[0, 0, 15, 15]], (0, 0, 8, 8)),
        ([[0, 0, 16, 16]], (0, 0, 8, 8)),  # a box that ends past the last pixel
        ([[0, 0, 1, 1], [10, 12, 11, 13]], (0, 0, 6, 7)),  # the rectangle about both
        ([[-9, -9, -4, -4]], NOWHERE),  # outside
        ([], NOWHERE),
        (None, NOWHERE),
    ],
)
def test_boxes_become_whole_pixels_of_the_crop(box, expected):
    region = object_regions(Boxes.of([box]), np.array([[0.0, 0, 16, 16]]), S)
    assert tuple(region[0]) == expected


def test_a_crop_that_leaves_part_of_the_image_out_moves_and_cuts_the_box():
    seen = np.array([[8.0, 4, 24, 20]])  # the centre of an image of 32 x 24
    region = object_regions(Boxes.of([[[0, 4, 11, 11]]]), seen, S)
    assert tuple(region[0]) == (0, 0, 2, 4)


@given(
    st.integers(0, 7), st.integers(0, 7), st.integers(1, 8), st.integers(1, 8), st.floats(0, 0.999)
)
def test_elsewhere_is_as_large_and_shares_no_pixel(x, y, width, height, draw):
    region = Region(x, y, min(x + width, S), min(y + height, S))
    found = elsewhere(region, S, draw)
    a, b = np.zeros((S, S), bool), np.zeros((S, S), bool)
    a[region.slices] = True
    if found == NOWHERE:
        wide, high = region.x1 - region.x0, region.y1 - region.y0
        assert region.x0 < wide and S - region.x1 < wide
        assert region.y0 < high and S - region.y1 < high
    else:
        b[found.slices] = True
        assert b.sum() == a.sum() == found.area and not (a & b).any()
        assert found.x1 - found.x0 == region.x1 - region.x0


def test_elsewhere_draws_each_place_equally_often():
    # 1 x 8 columns: seven places beside the one at x = 3.
    found = [elsewhere(Region(3, 0, 4, 8), S, d).x0 for d in np.arange(70) / 70]
    assert np.bincount(found, minlength=8).tolist() == [10, 10, 10, 0, 10, 10, 10, 10]


def test_nothing_lies_elsewhere_of_nothing_or_of_everything():
    assert elsewhere(NOWHERE, S, 0.5) == NOWHERE
    assert elsewhere(Region(0, 0, 8, 8), S, 0.5) == NOWHERE


IDS = np.array([f"i{n}" for n in range(400)])
LABELS = np.arange(400) % 4


def reference_donors(may_give: np.ndarray, donors) -> None:
    for i in range(len(may_give)):
        of_class = LABELS[: len(may_give)] == LABELS[i]
        same = np.flatnonzero(may_give & of_class & (np.arange(len(may_give)) != i))
        other = np.flatnonzero(may_give & ~of_class)
        assert donors.same[i] in (same.tolist() or [NONE])
        assert donors.other[i] in (other.tolist() or [NONE])


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 5))
def test_donors_are_others_that_may_give_of_the_class_asked(may_give, seed):
    mask = np.array(may_give, bool)
    n = len(mask)
    reference_donors(mask, draw_donors(IDS[:n], LABELS[:n], mask, seed=seed))


def test_donors_depend_on_no_order_and_change_with_the_seed():
    may_give = np.arange(400) % 3 > 0
    found = draw_donors(IDS, LABELS, may_give, seed=0)
    turned = np.random.default_rng(0).permutation(400)
    again = draw_donors(IDS[turned], LABELS[turned], may_give[turned], seed=0)
    for a, b in zip(found, again, strict=True):
        assert (a[turned] == turned[b]).all()
    assert (found.other != draw_donors(IDS, LABELS, may_give, seed=1).other).mean() > 0.9


def test_every_giver_is_drawn_about_equally_often():
    ids, labels = np.array([f"i{n}" for n in range(6000)]), np.arange(6000) % 3
    may_give = np.arange(6000) < 6
    for drawn_from in draw_donors(ids, labels, may_give, seed=0):
        counts = np.bincount(drawn_from, minlength=6)
        assert len(counts) == 6 and np.abs(counts - 1000).max() < 120


# Class c: background 40 + 40 c everywhere but in the object's box, which is 200 + 10 c.
BOX = (3, 3, 5, 5)  # px 3 to 5, a region of 3 x 3
GREY_CLASS = 2


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    """Three classes of four images, 8 x 8; the last image of each class has no box."""
    root = tmp_path_factory.mktemp("probes")
    boxes = {}
    for label, name in enumerate(("a", "b", "c")):
        (root / name).mkdir()
        for number in range(4):
            pixels = np.full((S, S, 3), 40 + 40 * label, np.uint8)
            pixels[3:6, 3:6] = 200 + 10 * label
            Image.fromarray(pixels).save(root / name / f"{name}{number}.png")
            if number < 3:
                boxes[f"{name}{number}"] = np.array([BOX], float)
    return labelled_split(open_images(root), ("a", "b", "c"), boxes)


def recipe():
    small = small_recipe()
    data = replace(small.data, image_size=S, eval_resize=S, mean=(0.5, 0.5, 0.5))
    return replace(small, data=data)


class Reader(nn.Module):
    """Reads one pixel: background, object, or what is neither (the mean, 128) as GREY_CLASS."""

    def __init__(self, at: tuple[int, int] | None, point: tuple[float, float] = (0.5, 0.5)):
        super().__init__()
        self.at = at
        self.point = point

    def forward(self, image_BCHW):
        assert image_BCHW.dtype == torch.uint8
        if self.at is None:
            label = torch.zeros(len(image_BCHW), dtype=torch.int64)
        else:
            value = image_BCHW[:, 0, self.at[1], self.at[0]].long()
            label = torch.where(value >= 200, (value - 200) // 10, (value - 40) // 40)
        logits = nn.functional.one_hot(label, 3).float() * 9
        return Outputs(logits, torch.tensor(self.point).expand(len(image_BCHW), 1, 2))


def table(rows) -> dict[tuple[str, str], tuple[float | None, int]]:
    return {(row["probe"], row["metric"]): (row["value"], row["n"]) for row in rows}


def test_one_who_reads_only_the_background_fails_on_other_backgrounds_alone(split):
    found = table(rows_of(probe(Reader((0, 0)), split, recipe(), shown=False)))
    assert found["original", "accuracy"] == (1, 12)
    assert found["same_background", "accuracy"] == (1, 9)
    assert found["other_background", "accuracy"] == (0, 9)
    assert found["other_background", "donor_class"] == (1, 9)
    assert found["same_background less other_background", "less"] == (1, 9)
    assert found["object_masked", "accuracy"] == (1, 9)
    assert found["centre_masked", "accuracy"] == (1, 12)
    # 128 is grey, read as class (128 - 40) // 40 = 2: right for a third.
    assert found["object_only", "accuracy"] == (pytest.approx(1 / 3), 9)


def test_one_who_reads_only_the_object_fails_without_it_alone(split):
    found = table(rows_of(probe(Reader((4, 4)), split, recipe(), shown=False)))
    for name in ("original", "same_background", "other_background", "object_only"):
        assert found[name, "accuracy"][0] == 1
    assert found["other_background", "donor_class"] == (0, 9)
    assert found["same_background less other_background", "less"] == (0, 9)
    for name, n in (("object_masked", 9), ("centre_masked", 12)):
        assert found[name, "accuracy"] == (pytest.approx(1 / 3), n)
    # Of 8 px, 3 are left and 2 right of the object, and so above and below: 3 x 3 fits elsewhere.
    assert found["elsewhere_masked", "accuracy"] == (1, 9)
    assert found["elsewhere_masked less object_masked", "less"] == (pytest.approx(2 / 3), 9)


def test_one_who_always_answers_the_same_leans_on_nothing(split):
    found = table(rows_of(probe(Reader(None), split, recipe(), shown=False)))
    for name in VARIANTS:
        assert found[name, "accuracy"][0] == pytest.approx(1 / 3)
    assert found["same_background less other_background", "less"][0] == 0
    assert found["elsewhere_masked less object_masked", "less"][0] == 0


def test_every_pixel_of_every_variant_is_what_hand_and_eye_say(split):
    seen: list[np.ndarray] = []

    class Recorder(Reader):
        def forward(self, image_BCHW):
            seen.append(image_BCHW[:, 0].numpy())
            return super().forward(image_BCHW)

    found = probe(Recorder(None), split, recipe(), batch_size=1, shown=False)
    background, inside, grey = 40, 200, 128
    original = np.full((S, S), background)
    original[3:6, 3:6] = inside
    masked, only = np.full((S, S), background), np.full((S, S), grey)
    masked[3:6, 3:6], only[3:6, 3:6] = grey, inside
    centre = original.copy()
    centre[2:6, 2:6] = grey
    other = np.full((S, S), 40 + 40 * found.donor_label[0])
    other[3:6, 3:6] = inside
    first = dict(zip(VARIANTS, seen[0], strict=True))
    assert found.donor_label[0] in (1, 2)
    for name, expected in {
        "original": original,
        "same_background": original,
        "other_background": other,
        "object_masked": masked,
        "centre_masked": centre,
        "object_only": only,
    }.items():
        np.testing.assert_array_equal(first[name], expected, err_msg=name)
    elsewhere_px = first["elsewhere_masked"]
    assert (elsewhere_px == grey).sum() == 9 and (elsewhere_px[3:6, 3:6] == inside).all()
    # Without a box there are but two pictures to show.
    np.testing.assert_array_equal(found.shown[3], [True, False, False, False, False, True, False])
    assert [len(s) for s in seen] == [7, 7, 7, 2] * 3


def test_an_object_that_fills_more_than_half_has_no_background_variant(split):
    boxes = Boxes.of([[[0, 0, 7, 3]]] + [[[0, 0, 7, 4]]] * 11)  # 32 px, a half; 40 px
    found = probe(Reader(None), replace(split, boxes=boxes), recipe(), shown=False)
    assert found.shown[0].tolist() == [True, False, False, True, True, True, True]  # no donor
    assert found.shown[1:, [0, 5]].all() and found.shown[1:].sum() == 22


def test_an_object_too_small_to_see_has_no_variant_but_lends_its_background(split):
    small, large = [[0, 0, 0, 2]], [[0, 0, 1, 1]]  # 3 and 4 of 64 px, a twentieth is 3.2
    boxes = Boxes.of([small, large, small, small] + [None] * 8)
    found = probe(Reader(None), replace(split, boxes=boxes), recipe(), shown=False)
    assert found.shown[:, 3].tolist() == [False, True] + [False] * 10
    assert found.shown[1].tolist() == [True, True, False, True, True, True, True]


def test_points_are_judged_on_images_whose_box_misses_the_centre(split):
    boxes = Boxes.of([[[0, 0, 2, 2]]] * 3 + [[[0, 0, 5, 5]]] * 3 + [None] * 6)
    there = replace(split, boxes=boxes)
    found = table(rows_of(probe(Reader(None, (0.2, 0.2)), there, recipe(), shown=False)))
    assert found["original", "localisation"] == (1, 6)
    assert found["original", "localisation_off_centre"] == (1, 3)
    found = table(rows_of(probe(Reader(None, (0.5, 0.5)), there, recipe(), shown=False)))
    assert found["original", "localisation"] == (0.5, 6)
    assert found["original", "localisation_off_centre"] == (0, 3)


def test_a_model_that_points_nowhere_has_no_localisation(split):
    class Timer(Reader):
        def forward(self, image_BCHW):
            outputs = super().forward(image_BCHW)
            return outputs._replace(point_BKD=torch.zeros(len(image_BCHW), 1, 1))

    found = table(rows_of(probe(Timer(None), split, recipe(), shown=False)))
    assert found["original", "localisation"] == (None, 0)


def test_a_real_model_keeps_its_mode_and_its_answers_do_not_depend_on_batches(split, tmp_path):
    small = recipe()
    torch.manual_seed(0)
    data = replace(small.data, image_size=32, eval_resize=32)
    model = build_model(small.model, data, num_classes=3).train()
    small = replace(small, data=data)
    found = probe(model, split, small, shown=False)
    assert model.training
    again = probe(model, split, small, batch_size=5, num_workers=1, shown=False)
    np.testing.assert_allclose(found.probability, again.probability, atol=1e-6)
    np.testing.assert_allclose(np.nansum(found.probability, axis=2), found.shown, atol=1e-6)
    found.save(tmp_path / "probes.npz")
    read = load_probed(tmp_path / "probes.npz")
    assert rows_of(read) == rows_of(found)
    assert read.probability.dtype == np.float32
