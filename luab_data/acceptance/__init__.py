"""Rows of an assignment in; out comes whether the paper accepts it, why not, and what it costs."""
