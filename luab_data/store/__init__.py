"""Stage 4: tables in, a dataset folder out, and back.

Enters: Arrow tables. Leaves: Parquet, a card that `load_dataset` understands, checksums, a manifest
that is written last: where it is, the dataset is whole.
"""
