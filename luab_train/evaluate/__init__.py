"""A model goes in, results on public benchmarks come out: a row a metric, a Parquet file a set.

`luab-train eval` runs it. Models come from `predictor`, what a benchmark is from `benchmarks`.
"""
