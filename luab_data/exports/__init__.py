"""Subsets with their images, in the formats that other tools read: a module a format, and `run`."""
