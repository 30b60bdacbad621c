"""Figures of both datasets: FIGURES lists them, each file draws one kind on an Axes.

Importing this loads no matplotlib; drawing needs `pip install luab[report]`.
"""

from luab_data.figures.catalogue import FIGURES as FIGURES
from luab_data.figures.catalogue import PlannedFigure as PlannedFigure
from luab_data.figures.catalogue import drawable as drawable
from luab_data.figures.page import page_figure as page_figure
from luab_data.figures.pictures import coco_image_figure as coco_image_figure
from luab_data.figures.pictures import image_figure as image_figure
from luab_data.figures.style import drawing as drawing
from luab_data.figures.style import new_figure as new_figure
from luab_data.figures.style import png as png
from luab_data.figures.style import svg as svg
