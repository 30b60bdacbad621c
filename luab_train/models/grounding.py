"""A point by choosing a cell of the last feature map, and a place inside it. Our design.

Regressing coordinates asks one vector where things are; a network that keeps places apart has said
it already, cell by cell. Here a learned query attends over the cells (patch tokens of a ViT, places
of a CNN's map) and the likeliest one holds the point, as MolmoPoint (Clark et al. 2026, arXiv
2603.28069) chooses tokens where others write coordinates. The choice learns from a Gaussian about
the annotator's point, the place inside a cell from the cell that holds it.

`K` queries, one a point; the grid of `H` x `W` cells is that of `attention`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Grounding(NamedTuple):
    """What the head says of every cell, float32."""

    choice_BKHW: Tensor
    """Log-probabilities: each point's cells sum to 1."""
    inside_BKHW2: Tensor
    """Logits of x, y of the point if it is in this cell, in the cell's sides."""


class GroundingHead(nn.Module):
    """(B, H, W, D) features of cells -> Grounding."""

    def __init__(self, num_features: int, num_points: int = 1) -> None:
        super().__init__()
        self.num_points = num_points
        # Three numbers a point, in one product: the query's score, then x and y of all points.
        self.cell = nn.Linear(num_features, 3 * num_points)
        # Begins almost even, and in the middle of each cell.
        nn.init.normal_(self.cell.weight, std=0.01)
        nn.init.zeros_(self.cell.bias)

    def forward(self, cells_BHWD: Tensor) -> Grounding:
        """See the class."""
        said = self.cell(cells_BHWD).float()
        scores_BHWK, inside = said.tensor_split([self.num_points], dim=3)
        choice_BHWK = scores_BHWK.flatten(1, 2).log_softmax(dim=1).view_as(scores_BHWK)
        inside_BHWK2 = inside.unflatten(3, (self.num_points, 2))
        return Grounding(choice_BHWK.permute(0, 3, 1, 2), inside_BHWK2.permute(0, 3, 1, 2, 4))


def chosen_point(grounding: Grounding) -> Tensor:
    """(B, K, 2) x, y: the place inside the likeliest cell, fractions of the crop."""
    rows, columns = grounding.choice_BKHW.shape[2:]
    cell_BK = grounding.choice_BKHW.flatten(2).argmax(dim=2)
    corner_BK2 = torch.stack([cell_BK % columns, cell_BK // columns], dim=2)
    return (corner_BK2 + inside_of(grounding, cell_BK)) / corner_BK2.new_tensor((columns, rows))


def inside_of(grounding: Grounding, cell_BK: Tensor) -> Tensor:
    """(B, K, 2) x, y from 0 to 1 inside the cells of these numbers, row by row from 0; K may be any
    number of cells where there is one query.
    """
    logits_BKC2 = grounding.inside_BKHW2.flatten(2, 3)
    if logits_BKC2.shape[1] == 1:
        logits_BKC2 = logits_BKC2.expand(-1, cell_BK.shape[1], -1, -1)
    index_BK12 = cell_BK[:, :, None, None].expand(-1, -1, 1, 2)
    return logits_BKC2.gather(2, index_BK12).squeeze(2).sigmoid()
