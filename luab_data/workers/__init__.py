"""Rows of workers in; out come their traits, pooled towards the crowd, and whom to look at."""
