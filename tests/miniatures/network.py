"""Models with chosen outputs, as predictors."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from luab_train.evaluate.predictor import Predictor
from luab_train.models.classifier import Outputs
from luab_train.models.weights import weights_digest
from luab_train.sections import Data
from miniatures.palette import CLASSES, COLOUR, NINE, SIZE

DATA = Data(image_size=SIZE, eval_resize=36, interpolation="bilinear", num_workers=0)


class Reader(nn.Module):
    """Answers the class whose colour is closest to the mean of a patch of the input.

    Args:
        patch: x0, y0, x1, y1 in fractions of the input; a wnid: always that class.
        classes: wnids, each with a colour.
        point: what it says about the point, fractions of the input.
    """

    def __init__(self, patch, classes, *, point=(0.25, 0.75)) -> None:
        super().__init__()
        self.patch = patch
        self.point = point
        colours = torch.from_numpy(np.stack([COLOUR[wnid] for wnid in classes])).float()
        self.colours = nn.Parameter(colours, requires_grad=False)
        self.always = classes.index(patch) if isinstance(patch, str) else None
        told = [float(self.always)] if isinstance(patch, str) else list(patch)
        self.told = nn.Parameter(torch.tensor(told), requires_grad=False)
        self.mean = 255 * torch.tensor(DATA.mean).view(1, -1, 1, 1)
        self.std = 255 * torch.tensor(DATA.std).view(1, -1, 1, 1)

    def forward(self, image_BCHW):
        return self.forward_normalised((image_BCHW.float() - self.mean) / self.std)

    def forward_normalised(self, image_BCHW):
        image = image_BCHW * self.std + self.mean
        point = torch.tensor(self.point).expand(len(image), 1, 2)
        if self.always is not None:
            logits = torch.zeros(len(image), len(self.colours))
            logits[:, self.always] = 1.0
            return Outputs(logits, point)
        height, width = image.shape[-2:]
        x0, y0, x1, y1 = self.patch
        inside = image[..., round(y0 * height) : round(y1 * height), :]
        colour = inside[..., round(x0 * width) : round(x1 * width)].mean(dim=(2, 3))
        distance = (colour[:, None] - self.colours[None]).square().sum(dim=2)
        return Outputs(-distance / 2000, point)


class Hashed(nn.Module):
    """Answers a class drawn by the image's pixels: as good as random, and the same every time."""

    def __init__(self, classes, seed=0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(3 * SIZE * SIZE, len(classes), generator=generator)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, image_BCHW):
        # Only the noise: the colour would make it a classifier by chance.
        noise = image_BCHW.float() % 13 - 6
        return Outputs(noise.flatten(1) @ self.weight, torch.full((len(noise), 1, 2), 0.5))

    def forward_normalised(self, image_BCHW):
        return self((image_BCHW * 64).round())


CENTRE = (0.4, 0.4, 0.6, 0.6)
CORNER = (0.02, 0.02, 0.2, 0.2)


def predictor(model: nn.Module, classes=CLASSES, *, point_trained=True, data=DATA) -> Predictor:
    return Predictor(
        model=model.eval(),
        classes=tuple(classes),
        data=data,
        point_trained=point_trained,
        name=type(model).__name__,
        digest=weights_digest(model.state_dict()),
    )


def oracle(classes=CLASSES) -> Predictor:
    """Reads the middle of the image, where the object is."""
    return predictor(Reader(CENTRE, classes), classes)


def corner(classes=CLASSES) -> Predictor:
    """Reads a corner of the image, where the background is."""
    return predictor(Reader(CORNER, classes), classes)


def constant(classes=CLASSES, answer=NINE[0]) -> Predictor:
    """Always answers one class, golden retriever, as sure as ever."""
    return predictor(Reader(answer, classes), classes)


def random(classes=CLASSES) -> Predictor:
    """Answers at random."""
    return predictor(Hashed(classes), classes, point_trained=False)
