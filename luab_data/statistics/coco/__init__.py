"""COCO-AB: batches of `default` and `actions` in, parts of its statistics out.

`measures` names them all.
"""
