"""`luab-train predict`: what a model says of some images, and where on them it points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from miniatures.network import DATA, Reader, predictor
from miniatures.palette import CLASSES, COLOUR
from miniatures.run import make_run
from PIL import Image
from torch import nn

import luab_train
from luab_data.errors import ImagesError, OptionError
from luab_data.schema import COCO_CLASSES
from luab_data.words import imagenet_names
from luab_train.cli import main
from luab_train.models.classifier import Outputs
from luab_train.predict import prediction_figure

WNID = CLASSES[0]


def picture(path: Path, size_wh: tuple[int, int], wnid: str = WNID) -> Path:
    Image.new("RGB", size_wh, tuple(COLOUR[wnid].tolist())).save(path)
    return path


def test_points_are_places_of_the_whole_image(tmp_path: Path):
    model = predictor(Reader((0.4, 0.4, 0.6, 0.6), CLASSES, point=(0.25, 0.75)))
    assert (DATA.image_size, DATA.eval_resize) == (32, 36)
    wide = picture(tmp_path / "wide.png", (72, 36))
    large = picture(tmp_path / "large.png", (72, 144), CLASSES[1])
    one, other = luab_train.predict(model, [str(wide), large], top=2, batch_size=1)
    # The crop is 32 px from x = 20 and y = 2 of the 72 x 36, ...
    assert one.point == pytest.approx(((20 + 0.25 * 32) / 72, (2 + 0.75 * 32) / 36))
    # ... and 64 px from x = 4, y = 40 of the other, which is halved first.
    assert other.point == pytest.approx(((4 + 0.25 * 64) / 72, (40 + 0.75 * 64) / 144))
    assert [found.answers[0].name for found in (one, other)] == [WNID, CLASSES[1]]
    assert one.answers[0].title == imagenet_names()[WNID].split(",")[0]
    assert one.size_wh == (72, 36) and one.image == str(wide) and len(one.answers) == 2
    assert one.answers[0].probability > one.answers[1].probability >= 0
    assert [found.answers for found in luab_train.predict(model, [wide, large], top=2)] == [
        one.answers, other.answers
    ]  # fmt: skip


def test_an_untrained_head_points_nowhere(tmp_path: Path):
    model = predictor(Reader((0.4, 0.4, 0.6, 0.6), CLASSES), point_trained=False)
    (one,) = luab_train.predict(model, [picture(tmp_path / "a.png", (40, 40))])
    assert one.point is None


class Several(nn.Module):
    """Two classes are there, each at a place of its own."""

    def forward(self, image_BCHW: torch.Tensor) -> Outputs:
        logits = torch.full((len(image_BCHW), len(COCO_CLASSES)), -4.0)
        logits[:, 3], logits[:, 7] = 2.0, 1.0
        point = torch.full((len(image_BCHW), len(COCO_CLASSES), 2), 0.5)
        point[:, 7] = torch.tensor([0.0, 1.0])
        return Outputs(logits, point)


def test_a_model_of_several_classes_has_a_point_each(tmp_path: Path):
    model = predictor(Several(), COCO_CLASSES)
    (one,) = luab_train.predict(model, [picture(tmp_path / "a.png", (36, 36))], top=2)
    assert one.point is None
    assert [answer.name for answer in one.answers] == [COCO_CLASSES[3], COCO_CLASSES[7]]
    assert [answer.probability for answer in one.answers] == pytest.approx(
        [1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))]
    )
    assert one.answers[0].point == pytest.approx((0.5, 0.5))
    assert one.answers[1].point == pytest.approx((2 / 36, 34 / 36))


def test_the_cross_is_where_the_model_points(tmp_path: Path):
    model = predictor(Reader((0.4, 0.4, 0.6, 0.6), CLASSES, point=(0.25, 0.75)))
    files = [picture(tmp_path / f"{i}.png", (72, 36)) for i in range(5)]
    figure = prediction_figure(luab_train.predict(model, files))
    crosses = [line.get_xydata()[0] for ax in figure.axes for line in ax.lines]
    np.testing.assert_allclose(crosses, [[28, 26]] * 5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def test_the_command_prints_draws_and_refuses(run: Path, tmp_path: Path):
    file, out = picture(tmp_path / "a.png", (40, 50)), tmp_path / "drawn.png"

    def call(*arguments: object, code: int = 0) -> str:
        found = CliRunner().invoke(main, ["predict", *map(str, arguments)])
        assert found.exit_code == code, found.output
        return found.stderr if code else found.stdout

    table = call(run, file, "--top", 2, "--out", out)
    assert table.startswith(f"{file}, points at x ") and len(table.splitlines()) == 3
    assert out.read_bytes().startswith(b"\x89PNG")
    printed = call(run, file, "--top", 2, "--json")
    (one,) = json.loads(printed)
    (direct,) = luab_train.predict(run, [file], top=2)
    assert one["point"] == list(direct.point or ())
    assert [a["name"] for a in one["answers"]] == [a.name for a in direct.answers]
    assert f"{one['answers'][0]['probability']:.1%}" in table
    for arguments, said in (
        ((run, file, "--out", tmp_path / "drawn.jpg"), "ends in .png"),
        ((run, file, "--arch", "resnet18"), "--arch has no meaning"),
        (("resnett18", file), "did you mean"),
        ((run, file, file, "--out", out), "--force"),
    ):
        assert said in call(*arguments, code=1)
    foreign = tmp_path / "mine.png"
    foreign.write_bytes(b"GIF89a")
    assert "mine.png" in call(run, file, "--out", foreign, "--force", code=1)
    assert foreign.read_bytes() == b"GIF89a"


def test_what_is_no_image_or_no_number_is_said(run: Path, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ImagesError, match=r"a\.png"):
        luab_train.predict(run, [tmp_path / "a.png"])
    with pytest.raises(OptionError, match="top is 0"):
        luab_train.predict(run, [], top=0)
    assert luab_train.predict(run, []) == []
