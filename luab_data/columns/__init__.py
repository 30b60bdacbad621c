"""Stage 2: records in, derived columns out.

Enters: the tables of stage 1. Leaves: one row per image with the columns of `default`.
Everything here is pure: Arrow and NumPy in, Arrow and NumPy out, no files.
"""
