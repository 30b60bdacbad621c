"""Weakly supervised localisation: a classifier and images go in, box, pixel and point metrics out.

The order of the flow: cam, score_maps, contours, boxes | pixels; localise.
Pixels of COCO are pooled by `evaluate.coco.class_pixels`.
"""
