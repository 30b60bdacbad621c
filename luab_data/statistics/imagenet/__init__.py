"""ImageNet-AB: batches of `default` and `rounds` in, parts of its statistics out.

`measures` names them all.
"""
