"""Finished runs in, a comparison of their arms out."""
