"""Byproducts and pictures: which row belongs to which image file, or row of an image dataset.

rows     the byproducts' side: a dataset folder, an Arrow table or a Hugging Face dataset
images   the pictures' side: ids from file names, no picture is opened
joined   join_images: both, matched by id; what is left over is counted and shown
"""
