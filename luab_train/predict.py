"""What a model says of some images: classes, probabilities and where it points.     [I/O]"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch

from luab_data.errors import OptionError
from luab_data.files import ALREADY, new_file
from luab_data.words import in_words
from luab_train.data.inputs import EvalCrop, decode_rgb
from luab_train.evaluate.predictor import Predictor, load_predictor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A class and how sure the model is of it.

    Attributes:
        name: the class: a wnid, one of COCO's, or one of your own data.
        title: in words; the name where it is one.
        probability: softmax over the model's classes, or of this class alone where an image may
            have several.
        point: x, y of the object of this class, as of `Prediction`; None where the model has one
            point for the image.
    """

    name: str
    title: str
    probability: float
    point: Point | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        image: the file.
        size_wh: px, as the model sees it: a turn in its EXIF data is followed as in training, by
            models of your own data alone.
        answers: the most probable first.
        point: x, y where the object is, fractions of that image: of an attention head the
            mean of its map; outside [0, 1] only if the crop reaches beyond it. None if the head was
            not trained for a place, or is one point a class.
    """

    image: str
    size_wh: tuple[int, int]
    answers: tuple[Answer, ...]
    point: Point | None


def predict(
    model: str | os.PathLike[str] | Predictor,
    images: Iterable[str | os.PathLike[str]],
    *,
    top: int = 5,
    batch_size: int = 32,
    **options: Any,
) -> list[Prediction]:
    """Classes and points of image files, in their order.

    Args:
        model: folder of a run, a file of weights, a timm name, or one that is open already.
        images: files.
        top: answers an image, at most.
        batch_size: images at a time; no effect on the result but for rounding.
        **options: of `load_predictor`, e.g. arch="resnet50" for a file of weights.

    Raises:
        OptionError: there is no such model. ImagesError: a file is no image.
    """
    if top < 1 or batch_size < 1:
        raise OptionError(f"top is {top}, batch_size {batch_size}; expected at least 1")
    predictor = model if isinstance(model, Predictor) else load_predictor(model, **options)
    files = [Path(image) for image in images]
    return [
        one
        for start in range(0, len(files), batch_size)
        for one in _batch(predictor, files[start : start + batch_size], top)
    ]


def _batch(predictor: Predictor, files: Sequence[Path], top: int) -> Iterator[Prediction]:
    crop = EvalCrop(predictor.data)
    upright = predictor.data.as_shown
    pictures = [decode_rgb(file, str(file), upright=upright) for file in files]
    size_wh = np.array([picture.size for picture in pictures])
    pixels = np.stack([crop(picture).image for picture in pictures]).transpose(0, 3, 1, 2)
    outputs = predictor(torch.from_numpy(np.ascontiguousarray(pixels)))
    logits = outputs.logits_BC.cpu()
    probability = logits.sigmoid() if predictor.multi_label else logits.softmax(dim=1)
    seen_px = crop.regions(size_wh)[:, None]
    point_px = seen_px[..., :2] + outputs.point_BKD.cpu().numpy()[..., :2] * (
        seen_px[..., 2:] - seen_px[..., :2]
    )
    place = point_px / size_wh[:, None]
    if not predictor.point_trained:
        place = np.full_like(place, np.nan)
    each = place.shape[1] > 1
    for row, file in enumerate(files):
        best = probability[row].topk(min(top, len(predictor.classes)))
        yield Prediction(
            image=str(file),
            size_wh=pictures[row].size,
            answers=tuple(
                Answer(
                    name=predictor.classes[label],
                    title=in_words(predictor.classes[label]),
                    probability=value,
                    point=_point(place[row, label]) if each else None,
                )
                for value, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ),
            point=None if each else _point(place[row, 0]),
        )


def _point(xy: np.ndarray) -> Point | None:
    return (float(xy[0]), float(xy[1])) if np.isfinite(xy).all() else None


def prediction_figure(predictions: Sequence[Prediction], *, upright: bool = False) -> Figure:
    """Each image with its first answer below it and a cross where the model points.

    Args:
        upright: whether the model saw images turned as EXIF says.
    """
    from luab_data.figures.style import PAGE_INCH, YELLOW, drawing, new_figure, outlined

    columns = min(4, len(predictions))
    rows = -(-len(predictions) // columns)
    width = PAGE_INCH * columns / 4
    figure, axes = new_figure(rows, columns, height=(0.25 + width / columns) * rows, width=width)
    with drawing():
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, one in zip(axes.flat, predictions, strict=False):
            (width_px, height_px), first = one.size_wh, one.answers[0]
            picture = decode_rgb(Path(one.image), one.image, upright=upright)
            ax.imshow(np.asarray(picture), extent=(0, width_px, height_px, 0))
            for point in {one.point, *(answer.point for answer in one.answers[:1])} - {None}:
                assert point is not None
                ax.plot(
                    point[0] * width_px, point[1] * height_px, "+", color=YELLOW, markersize=11,
                    markeredgewidth=2, path_effects=outlined(4, "black"), clip_on=False,
                )  # fmt: skip
            ax.set_title(f"{first.title} {first.probability:.0%}", loc="center")
    return figure


@click.command("predict")
@click.argument("model", metavar="MODEL")
@click.argument(
    "images", metavar="IMAGE...", nargs=-1, required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)  # fmt: skip
@click.option("--arch", help="The timm model that a file of weights is of.")
@click.option("--weights-key", help="Which weights of a checkpoint: ema, or its name for them.")
@click.option("--pretrained", is_flag=True, help="Load a timm model's own weights.")
@click.option("--random-weights", is_flag=True, help="A timm model as it begins.")
@click.option(
    "--preprocessing", type=click.Choice(["paper", "timm"]), default="paper", show_default=True,
    help="A timm model sees .875 of the resized side, or what timm's validate.py shows it.",
)  # fmt: skip
@click.option(
    "--top", type=click.IntRange(1), default=5, show_default=True, help="Answers an image."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="PNG",
    help="Draw the images with first answers and points.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace another picture at PNG.")
def predict_command(
    model: str,
    images: tuple[Path, ...],
    top: int,
    as_json: bool,
    out: Path | None,
    force: bool,
    **options: Any,
) -> None:
    """What MODEL says of IMAGEs: classes with probabilities, and where it points.

    MODEL is a RUN, an exported file, a file of weights with --arch, or a timm model.
    """
    if out is not None and out.suffix.lower() != ".png":
        raise OptionError(f"{out}: expected a name that ends in .png")
    predictor = load_predictor(model, **options)
    for note in predictor.notes:
        click.echo(note, err=True)
    found = predict(predictor, images, top=top)
    click.echo(json.dumps([asdict(one) for one in found]) if as_json else _table(found))
    if out is not None:
        from luab_data.figures.style import png

        with new_file(out, mark=b"\x89PNG", force=force) as target:
            figure = prediction_figure(found, upright=predictor.data.as_shown)
            target.path.write_bytes(png(figure))
        click.echo(f"{out}: {ALREADY}" if target.same else f"written: {out}", err=True)


def _table(found: Sequence[Prediction]) -> str:
    """An image and its point, then an answer a line."""
    lines = []
    for one in found:
        lines.append(f"{one.image}{_at(one.point)}")
        for answer in one.answers:
            name = "" if answer.title == answer.name else f" ({answer.name})"
            said = f"{answer.title}{name}{_at(answer.point)}"
            lines.append(f"  {answer.probability:6.1%}  {said}")
    return "\n".join(lines)


def _at(point: Point | None) -> str:
    return "" if point is None else f", points at x {point[0]:.1%}, y {point[1]:.1%}"
