"""Derived columns again, from a dataset folder alone: no raw log.

The unit of work is a pair of shards, so threads, or the machines of a Ray cluster, share it.
"""
