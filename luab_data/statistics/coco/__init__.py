"""COCO-AB: batches of `default` and `actions` in, terms of its statistics out.

`measures` names them all.
"""
