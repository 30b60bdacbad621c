"""Weakly supervised localisation: a classifier and images go in, box, pixel and point metrics out.

The order of the flow: cam, score_maps, contours, overlap, localisation | pixels | points; localise.
Pixels of COCO are pooled by `evaluation.coco.class_pixels`.
"""
