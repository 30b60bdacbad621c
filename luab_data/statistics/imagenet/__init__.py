"""ImageNet-AB: batches of `default` and `rounds` in, terms of its statistics out.

`measures` names them all.
"""
