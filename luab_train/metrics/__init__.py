"""Arithmetic of every number: NumPy arrays in, numbers out, without a model and without files.

`sums`: the mean over images that a metric is, its interval, and two models image by image.
`intervals`: the intervals themselves. `ranking`: AUROC and average precision. `robustness`: right
and wrong, and the units of the benchmarks. `places`: points and boxes.
"""
