"""Figures of datasets: the catalogue lists them, the other modules draw on an Axes.

Importing this loads no matplotlib; drawing needs `pip install luab[report]`.
"""

from luab_data.figures.catalogue import BROWSING_FIGURES as BROWSING_FIGURES
from luab_data.figures.catalogue import TAGGING_FIGURES as TAGGING_FIGURES
from luab_data.figures.catalogue import PlannedFigure as PlannedFigure
from luab_data.figures.style import drawing as drawing
from luab_data.figures.style import new_figure as new_figure
from luab_data.figures.style import png as png
from luab_data.figures.style import svg as svg
