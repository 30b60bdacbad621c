"""Byproducts and pictures: which row belongs to which image file, or row of an image dataset."""
